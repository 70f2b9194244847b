"""The studio: gradient ascent on one Frame, octave by octave.

Mordvintsev, Olah and Tyka (2015), google/deepdream, dream.ipynb: octaves carry only the *detail*
that was dreamt, so that the picture itself stays sharp; each step is taken on a picture rolled by a
random shift; the gradient is divided by its mean absolute value. We add to that a smoothing of the
gradient by three Gaussians (gordicaleksa/pytorch-deepdream), which removes the checkerboards of
strided layers, and weights over any number of layers (see `net.Network`).
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product
from pathlib import Path

import psutil
import torch
from torch import Tensor

from zoomdream.engine import large_blocks_kept
from zoomdream.errors import UsageError
from zoomdream.frame import Frame, blur, resize, to_opponent
from zoomdream.net import Network
from zoomdream.paper import near_lines
from zoomdream.spec import DreamSpec

SMOOTHING = (0.5, 1.0, 2.0)  # Gaussians, in units of `smooth`, that are averaged
LARGE = 10_000_000  # values of a picture whose memory has to be looked after
MARGIN = 96  # px around a tile that its gradient also looks at
SMALLEST = 64  # px of a tile's side, when memory has run out
COARSEST = 96  # px of the shorter side at the smallest octave, where their number is not given
MOST_OCTAVES = 12  # likewise
GENTLER = 0.8  # size of a step at one octave to that at the coarser one before it, likewise
TILE_MEMORY = 0.2  # share of the machine's memory that one tile may take
TILE_MOST = 2_000_000_000  # bytes that it may take on a CPU
ALL_MOST = 3_000_000_000  # bytes that it may take there with the picture, held `COPIES` times
COPIES = 9
KEPT_MOST = (
    1_000_000_000  # bytes that a gradient takes, up to which freed blocks of any size are kept
)


Mix = Sequence[Tensor]  # for each target (1, C, 1, 1): factors of its channels' energies
Watch = Callable[[float, Callable[[], Frame]], None]
"""Is told the objective before each step, and gets the frame as it is after it from the function."""


@dataclass(frozen=True)
class Dreamt:
    """A dreamt frame, and the objective on it before its last step."""

    frame: Frame
    objective: float


def dream(
    frame: Frame,
    network: Network,
    spec: DreamSpec,
    chance: torch.Generator,
    amount: Tensor | None = None,
    mix: Mix | None = None,
    watch: Watch | None = None,
) -> Dreamt:
    """Dreams on a Frame; same inputs and same generator state give the same pixels.

    frame: (1, 3, H, W) in 0..1, on the network's device. amount: (1, 1, H, W), a factor of the steps at
    each place; where it is 0 nothing is dreamt. chance: a CPU generator, from which
    jitter and tile shifts are drawn. watch: is told of each step. The objective is the mean squared
    activation of the targets (geometric mean over several, by their weights).
    """
    if spec.steps == 0:
        return Dreamt(frame, 0.0)
    if not spec.tile:
        tile = network.tile or tile_side(network, frame.shape[2] * frame.shape[3])
        spec = spec.model_copy(update={"tile": tile})
    if spec.grow:
        near = near_lines(frame, spec.grow)
        amount = near if amount is None else near * amount
    with large_blocks_kept(_fits_twice(frame, network, spec.tile)):
        picture, objective = _ascended(frame, network, spec, chance, amount, mix, watch)
    if not math.isfinite(objective) or not torch.isfinite(picture.sum()):
        raise UsageError(
            f"the gradient of {network.kind.name} overflows in {network.at.dtype}: use --precision fp32"
        )
    return Dreamt(picture if amount is None else picture.where(amount > 0, frame), objective)


def _ascended(
    frame: Frame,
    network: Network,
    spec: DreamSpec,
    chance: torch.Generator,
    amount: Tensor | None,
    mix: Mix | None,
    watch: Watch | None,
) -> tuple[Frame, float]:
    """A frame after all steps at all octaves, and the objective before the last; as for `dream`."""
    picture, objective = frame, 0.0
    detail: Frame | None = None
    sizes = octave_sizes(frame.shape[-2:], spec, network.kind.least)
    for octave, size in enumerate(sizes):
        now = spec if spec.octaves else _gentler(spec, octave)
        base = frame if size == tuple(frame.shape[-2:]) else resize(frame, size).clamp_(0, 1)
        picture = base if detail is None else (base + resize(detail, size)).clamp_(0, 1)
        here = None if amount is None else resize(amount, size).clamp_min(0)
        for number in range(spec.steps):
            measured = watch is not None or number == spec.steps - 1
            picture, objective = step(picture, network, now, chance, here, mix, measured)
            if watch:
                watch(objective, partial(_laid, frame, base, picture, amount))
        if octave < len(sizes) - 1:
            detail = picture - base
    return picture, objective


def _fits_twice(frame: Frame, network: Network, tile: int) -> bool:
    """Whether a picture is dreamt whole on a CPU, in so little memory that twice of it does no harm."""
    whole = max(frame.shape[-2:]) <= min(tile, network.tile or tile)
    small = frame.device.type == "cpu" and network.bytes_per_pixel * frame[0, 0].numel() < KEPT_MOST
    return whole and small


def _laid(frame: Frame, base: Frame, picture: Frame, amount: Tensor | None) -> Frame:
    """What was dreamt at some octave, in full size. base: the frame at that octave's size."""
    dreamt = (frame + resize(picture - base, (frame.shape[2], frame.shape[3]))).clamp_(0, 1)
    return dreamt if amount is None else dreamt.where(amount > 0, frame)


def octave_sizes(
    size: tuple[int, int] | torch.Size, spec: DreamSpec, least: int
) -> list[tuple[int, int]]:
    """(height, width) of each octave, small to full; those too small for the network are left out."""
    height, width = size
    octaves = spec.octaves or _enough(min(size), spec.octave_scale)
    shrunk = [spec.octave_scale**-k for k in reversed(range(octaves))]
    sizes = [(round(height * s), round(width * s)) for s in shrunk]
    return [s for s in sizes[:-1] if min(s) >= least] + [(height, width)]


def _enough(side: int, scale: float) -> int:
    """Octaves for which the smallest is `COARSEST` px or more on its shorter side, so that creatures are
    as large a part of a picture whatever its size."""
    wanted = 1 + max(0, math.floor(math.log(side / COARSEST) / math.log(scale)))
    return min(wanted, MOST_OCTAVES)


def _gentler(spec: DreamSpec, octave: int) -> DreamSpec:
    """Of a dream with as many octaves as are needed: each finer one's steps are smaller, so that all of
    them together change a large picture no more than a small one."""
    return spec.model_copy(update={"step_size": spec.step_size * GENTLER**octave})


def step(
    picture: Frame,
    network: Network,
    spec: DreamSpec,
    chance: torch.Generator,
    amount: Tensor | None = None,
    mix: Mix | None = None,
    measured: bool = True,
) -> tuple[Frame, float]:
    """One step of ascent, clipped to 0..1; and the objective before it, where it is measured.

    spec: as `dream` takes it, with a `tile`.
    """
    reach = min(spec.jitter, min(picture.shape[-2:]) // 2)
    shift = _draw(chance, -reach, reach), _draw(chance, -reach, reach)
    gradient, objective = _gradient(
        picture.roll(shift, (2, 3)), network, spec, chance, mix, measured
    )
    gradient = smooth(gradient, spec.smooth).roll((-shift[0], -shift[1]), (2, 3))
    if spec.keep_color:  # the same change in R, G and B leaves both chroma planes alone
        gradient = to_opponent(gradient)[:, :1].expand_as(gradient)
    size = spec.step_size / (torch.linalg.vector_norm(gradient, 1) / gradient.numel() + 1e-12)
    if amount is not None:
        gradient = gradient * amount
    return torch.addcmul(picture, gradient, size).clamp_(0, 1), objective


def channel_mix(network: Network, spec: DreamSpec, seed: int, t: float) -> Mix | None:
    """What the network looks for at t seconds: a mixture of channels that changes slowly.

    A zoom whose objective stays the same locks into whatever is its own enlargement, an eye in the
    middle for ever. Each channel's energy is multiplied by exp(variety * sin(...)), a wave of its own
    phase and of about `cycle` seconds, so that there is always something else to become. From (seed,
    t) alone. None without variety.
    """
    if spec.variety == 0:
        return None
    chance, mix = torch.Generator().manual_seed(seed), []
    for channels in network.channels:
        phase, pace = torch.rand(2, channels, generator=chance)
        waves = torch.sin(2 * math.pi * (phase + t / spec.cycle * (0.5 + pace)))
        factors = torch.exp(spec.variety * waves).view(1, -1, 1, 1)
        mix.append(factors.to(network.at.device, network.at.dtype))
    return mix


def smooth(gradient: Tensor, sigma: float) -> Tensor:
    """The mean of three Gaussian blurs, of `SMOOTHING` times sigma px; 0 leaves it as it is.

    Of a large picture plane by plane, in place: it takes a third of the memory, and as long.
    """
    if sigma == 0:
        return gradient
    if gradient.numel() > LARGE:
        for plane in torch.split(gradient, 1, 1):
            plane.copy_(_smoothed(plane, sigma))
        return gradient
    return _smoothed(gradient, sigma)


def _smoothed(planes: Tensor, sigma: float) -> Tensor:
    total = blur(planes, sigma * SMOOTHING[0])
    for share in SMOOTHING[1:]:
        total += blur(planes, sigma * share)
    return total.div_(len(SMOOTHING))


def _draw(chance: torch.Generator, low: int, high: int) -> int:
    """An integer, both ends included."""
    return int(torch.randint(low, high + 1, (1,), generator=chance)) if high > low else low


def _gradient(
    picture: Frame,
    network: Network,
    spec: DreamSpec,
    chance: torch.Generator,
    mix: Mix | None,
    measured: bool,
) -> tuple[Tensor, float]:
    """The gradient of the whole picture, by tiles where it is larger than one.

    Where memory runs out the network's `tile` becomes half as large, and stays so.
    """
    side = spec.tile
    shift = _draw(chance, 0, side - 1), _draw(chance, 0, side - 1)  # drawn even when not needed
    while True:
        side = min(side, network.tile or side)
        try:
            return _tiled(picture, network, side, shift, mix, measured)
        except (MemoryError, RuntimeError) as error:
            if not _is_full(error):
                raise
        network.forget()
        network.tile = _smaller(picture, network, side)


def _is_full(error: Exception) -> bool:
    """Whether an error says that memory has run out, in the words of any of torch's devices."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(
        words in str(error) for words in ("out of memory", "not enough memory", "allocate memory")
    )


def _smaller(picture: Frame, network: Network, side: int) -> int:
    """Half the tile's side; raises UsageError where that would be too small."""
    if picture.device.type == "cuda":
        torch.cuda.empty_cache()
    half = min(side, max(picture.shape[-2:])) // 2 // 32 * 32
    if half < SMALLEST:
        raise UsageError(
            f"there is not enough memory to dream with {network.kind.name}, even in tiles of {side} px: "
            "close other programs, or take a smaller --size or network"
        )
    return half


def _tiled(
    picture: Frame,
    network: Network,
    side: int,
    shift: tuple[int, int],
    mix: Mix | None,
    measured: bool,
) -> tuple[Tensor, float]:
    """By tiles of a side, on a grid that is shifted."""
    height, width = picture.shape[-2:]
    if height <= side and width <= side:
        gradient, energies = network.gradient(picture, mix, measured)
        return gradient, network.objective(energies)
    gradient = torch.zeros_like(picture)
    sums: list[float] = []
    for (top, bottom), (left, right) in product(
        _cuts(height, side, shift[0]), _cuts(width, side, shift[1])
    ):
        (y0, y1), (x0, x1) = _window(top, bottom, height), _window(left, right, width)
        found, energies = network.gradient(picture[..., y0:y1, x0:x1], mix, measured)
        inner = found[..., top - y0 : bottom - y0, left - x0 : right - x0]
        gradient[..., top:bottom, left:right] = inner
        share = (bottom - top) * (right - left) / (height * width)
        sums = [a + b * share for a, b in zip(sums or [0.0] * len(energies), energies, strict=True)]
    return gradient, network.objective(sums)


def _cuts(length: int, side: int, shift: int) -> Iterator[tuple[int, int]]:
    """Tiles of one axis: starts and ends, the grid shifted by up to a side."""
    edges = [0, *(e for e in range(shift % side, length, side) if e > 0), length]
    yield from pairwise(edges)


def _window(start: int, end: int, length: int) -> tuple[int, int]:
    """A tile with its margin, on the network's grid (multiples of 32 px), inside the picture."""
    low = max(0, (start - MARGIN) // 32 * 32)
    high = min(length, -(-(end + MARGIN) // 32) * 32)
    return low, high


def _container_memory() -> float:
    """Bytes that the container this runs in may take; infinite without one."""
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            return int(Path(file).read_text())
    return math.inf


def tile_side(network: Network, pixels: int) -> int:
    """The side of the largest tile for a picture of so many pixels, a multiple of 64 px.

    From the memory that is built in, so that a seed gives the same pixels on most machines, and from
    what is free where that is too little; a film keeps what was taken for it (`Network.tile`). On a CPU no
    more than lets a frame of 3840x2160 px, or a photograph of 24 megapixels, be dreamt within 4 GB.
    """
    device = network.at.device
    if device.type == "cuda":
        room = TILE_MEMORY * torch.cuda.get_device_properties(device).total_memory
    else:
        there = psutil.virtual_memory()
        most = min(TILE_MOST, ALL_MOST - COPIES * 12 * pixels)
        room = min(TILE_MEMORY * min(there.total, _container_memory()), there.available / 2, most)
    side = math.sqrt(max(room, 0) / network.bytes_per_pixel)
    return max(256, min(4096, int(side - 2 * MARGIN) // 64 * 64))
