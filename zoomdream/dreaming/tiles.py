"""The gradient of a large picture, tile by tile, within the memory there is."""

import contextlib
import math
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path

import psutil
import torch
from torch import Tensor

from zoomdream.dreaming.rng import draw_integer
from zoomdream.dreaming.session import ChannelWeights, DreamSession
from zoomdream.errors import UsageError
from zoomdream.media.frame import Frame
from zoomdream.network.network import Network
from zoomdream.settings.definitions import DreamSpec
from zoomdream.size import Size

MARGIN = 96  # px around a tile that its gradient also looks at
SMALLEST_TILE = 64  # px of a tile's side, when memory has run out
TILE_MEMORY = 0.2  # share of the machine's memory that one tile may take
TILE_MOST = 2_000_000_000  # bytes that it may take on a CPU
ALL_MOST = 3_000_000_000  # bytes that it may take there with the picture, held `COPIES` times
COPIES = 9
KEPT_MOST = 1_000_000_000  # bytes of a gradient, up to which freed blocks of any size are kept


def fits_twice(frame: Frame, session: DreamSession, tile: int, most: int = KEPT_MOST) -> bool:
    """Says whether pictures are dreamt whole on a CPU, in so little memory that twice of it does no harm.

    most: bytes that are little.
    """
    whole = Size.of(frame).longer <= min(tile, session.tile or tile)
    needed = session.network.bytes_per_pixel * frame[:, 0].numel()
    return whole and frame.device.type == "cpu" and needed < most


def tiled_gradient(
    picture: Frame,
    session: DreamSession,
    spec: DreamSpec,
    rng: torch.Generator,
    channel_weights: ChannelWeights | None,
    measured: bool,
) -> tuple[Tensor, float]:
    """Computes the gradient of the whole picture, by tiles where it is larger than one.

    Where memory runs out the session's `tile` becomes half as large, and stays so.
    """
    side = spec.tile
    # drawn even where a single tile needs no shift
    shift = draw_integer(rng, 0, side - 1), draw_integer(rng, 0, side - 1)
    while True:
        side = min(side, session.tile or side)
        try:
            return _tiled(picture, session, side, shift, channel_weights, measured)
        except (MemoryError, RuntimeError) as error:
            if not _is_full(error):
                raise
        session.free_memory()
        session.tile = _smaller(picture, session.network.info.name, side)


def _is_full(error: Exception) -> bool:
    """Says whether an error means that memory has run out, in the words of any of torch's devices."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(
        words in str(error) for words in ("out of memory", "not enough memory", "allocate memory")
    )


def _smaller(picture: Frame, network: str, side: int) -> int:
    """Halves a tile's side; raises UsageError where that would be too small."""
    if picture.device.type == "cuda":
        torch.cuda.empty_cache()
    half = min(side, Size.of(picture).longer) // 2 // 32 * 32
    if half < SMALLEST_TILE:
        raise UsageError(
            f"there is not enough memory to dream with {network}, even in tiles of {side} px: "
            "close other programs, or take a smaller `output.size` or network"
        )
    return half


def _tiled(
    picture: Frame,
    session: DreamSession,
    side: int,
    shift: tuple[int, int],
    channel_weights: ChannelWeights | None,
    measured: bool,
) -> tuple[Tensor, float]:
    """Computes the gradient by tiles of a side, on a grid that is shifted."""
    height, width = picture.shape[-2:]
    if height <= side and width <= side:
        gradient, energies = session.gradient(picture, channel_weights, measured)
        return gradient, session.objective(energies)
    gradient = torch.zeros_like(picture)
    sums: list[float] = []
    for (top, bottom), (left, right) in product(
        _cuts(height, side, shift[0]), _cuts(width, side, shift[1])
    ):
        (y0, y1), (x0, x1) = _window(top, bottom, height), _window(left, right, width)
        tile, energies = session.gradient(picture[..., y0:y1, x0:x1], channel_weights, measured)
        inner = tile[..., top - y0 : bottom - y0, left - x0 : right - x0]
        gradient[..., top:bottom, left:right] = inner
        share = (bottom - top) * (right - left) / (height * width)
        sums = [a + b * share for a, b in zip(sums or [0.0] * len(energies), energies, strict=True)]
    return gradient, session.objective(sums)


def _cuts(length: int, side: int, shift: int) -> Iterator[tuple[int, int]]:
    """Cuts one axis into tiles: starts and ends, the grid shifted by up to a side."""
    edges = [0, *(e for e in range(shift % side, length, side) if e > 0), length]
    yield from pairwise(edges)


def _window(start: int, end: int, length: int) -> tuple[int, int]:
    """Widens a tile by its margin, to the network's grid (multiples of 32 px), inside the picture."""
    low = max(0, (start - MARGIN) // 32 * 32)
    high = min(length, -(-(end + MARGIN) // 32) * 32)
    return low, high


def _container_memory() -> float:
    """Reads how many bytes the container this runs in may take; infinite without one."""
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            return int(Path(file).read_text())
    return math.inf


def tile_side(network: Network, pixels: int) -> int:
    """Chooses the side of the largest tile for a picture of so many pixels, a multiple of 64 px.

    From the memory that is built in, so that a seed gives the same pixels on most machines, and from
    what is free where that is too little; a film keeps what was taken for it (`DreamSession.tile`).
    On a CPU no more than lets a frame of 3840x2160 px, or a photograph of 24 megapixels, be dreamt within
    4 GB.
    """
    device = network.at.device
    if device.type == "cuda":
        room = TILE_MEMORY * torch.cuda.get_device_properties(device).total_memory
    else:
        memory = psutil.virtual_memory()
        most = min(TILE_MOST, ALL_MOST - COPIES * 12 * pixels)
        built_in = min(memory.total, _container_memory())
        room = min(TILE_MEMORY * built_in, memory.available / 2, most)
    side = math.sqrt(max(room, 0) / network.bytes_per_pixel)
    return max(256, min(4096, int(side - 2 * MARGIN) // 64 * 64))
