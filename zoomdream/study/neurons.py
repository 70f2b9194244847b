"""The microscope: what single neurons look for, as the pictures that excite them most.

Activation maximisation after Olah, Mordvintsev and Schubert (2017), "Feature Visualization", and their
code, tensorflow/lucid: Adam on a picture's Fourier coefficients, scaled by 1/f, in decorrelated colours,
through a sigmoid. Before each look the picture is shifted, scaled and turned a little, so that only what
survives that can grow. Lucid does one neuron at a time, we many in a batch.

A neuron that is silent has no gradient after its ReLU. Lucid lets gradients through every ReLU for the
first steps, which would mean to rewrite each network; we begin, for each neuron, with that one of many
noises which excites it most; and as long as it is silent, it is the whole layer that we excite.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from zoomdream.dreaming.tiles import tile_side
from zoomdream.errors import UsageError
from zoomdream.film.inputs import resolve_source
from zoomdream.media.frame import Frame, cover, resize
from zoomdream.media.image_reader import read_still
from zoomdream.media.sheet import Cell, check_sheet, contact_sheet, write_sheet
from zoomdream.network.catalog import network_info
from zoomdream.network.device import choose_place
from zoomdream.network.network import Network, load_network
from zoomdream.network.objective import CLASS, Target, class_names
from zoomdream.settings.model import NeuronSpec, RenderJob
from zoomdream.size import Size

# tensorflow/lucid, optvis/param/color.py: from independent colours to those of ImageNet's pictures
_CORRELATION = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
COLOURS = _CORRELATION / _CORRELATION.norm(dim=0).max()
RATE_FROM_NOISE = 0.08  # Adam's rate from noise; lucid takes 512 steps of 0.05
RATE_FROM_PICTURE = 0.03  # and from a picture, so that it can still be seen
GAIN = 0.25  # of lucid's, from planes to what goes into the sigmoid
SMOOTH = 0.7  # px of the blur that fine coefficients are weakened by
CONTRAST = 0.3  # deviation of a noise that is begun with, before the sigmoid
NOISE_COUNT = 48  # among which each neuron chooses its first picture; fewer of more than 512 x 512
PIXELS_AT_ONCE = 600_000  # pixels that are optimised in one batch
SHIFT, ZOOM, TURN = 1 / 12, 0.2, 15.0  # of a look, at most: of the side, a factor, degrees
FIRST_CHANNELS = 16  # channels of a layer, where nothing else is asked for
EXCITE_LONGER_SIDE = 320  # px that a picture is shrunk to, to find the channels that it excites
DIVERSITY_COST = 1.0  # how much it costs that answers to one neuron are alike


def layer_channels(network: Network, start: int = 0, stop: int | None = None) -> list[Target]:
    """Each channel of the network's first layer from `start` to before `stop`; raises UsageError."""
    layer, count = network.targets[0].layer, network.channels[0]
    end = count if stop is None else stop
    if not 0 <= start < end <= count:
        raise UsageError(
            f"`within={start}:{end}` is not in {layer} of {network.info.name}, which has {count} channels: "
            f"0:{min(count, 16)} would do"
        )
    return [_channel(layer, number) for number in range(start, end)]


def top_channels(network: Network, frame: Frame, count: int) -> list[Target]:
    """The channels of the network's first layer that a picture excites most for what they usually are.

    frame: (1, 3, H, W) in 0..1. A channel's mean over the map is compared with its means on `NOISES`
    pictures of 1/f noise, which have a photograph's spectrum and nothing in it, as a standard score:
    (mean - mean of means) / deviation of means. So a channel that is always on gains nothing by it. No
    deviation counts as less than the layer's mean one, or those that noise hardly ever wakes would win with
    next to nothing. Raises UsageError where there are not so many.
    """
    layer, channels = network.targets[0].layer, network.channels[0]
    if not 1 <= count <= channels:
        raise UsageError(
            f"`top={count}` is not in {layer} of {network.info.name}, which has {channels} channels"
        )
    usual = torch.cat([_means(network, noise) for noise in _eights(_noises(Size.of(frame), 0))])
    here = _means(network, frame)[0]
    spread = usual.std(0)
    score = (here - usual.mean(0)) / (spread.clamp_min(float(spread.mean())) + 1e-12)
    return [
        _channel(layer, int(n)) for n in score.argsort(dim=0, descending=True, stable=True)[:count]
    ]


def _channel(layer: str, number: int) -> Target:
    return Target(layer, ((number, 1.0),))


def _eights(pictures: Tensor) -> Iterator[Tensor]:
    """Eight at a time."""
    for start in range(0, len(pictures), 8):
        yield pictures[start : start + 8]


@torch.no_grad()
def _means(network: Network, frames: Tensor) -> Tensor:
    """(N, C): each channel's mean over the map."""
    return network.values(frames.to(network.at.device))[0].float().mean((2, 3)).cpu()


def neuron_label(target: Target, classes: int) -> str:
    """What a target's picture is called: as it is dreamt with, and a class by its name."""
    (channel, _), *_ = target.terms
    if target.layer == CLASS and classes == len(class_names()) and not target.is_direction:
        return class_names()[channel]
    return target.name


def neuron_sheet(
    job: RenderJob,
    spec: NeuronSpec,
    what: str,
    *,
    within: str | None = None,
    top: int | None = None,
    on: Path | None = None,
    columns: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Writes a labelled sheet of pictures to the job's target, and tells what is on it.

    job: its network, weights, seed, machine, source (none for noise), target and force are used. what: as
    `wanted` takes it. within: A:B, of a layer; without, its first `FIRST` channels. top: instead, the
    channels that the picture `on` excites most. columns: 0 chooses. Raises UsageError, InputError,
    OutputError and WeightsError.
    """
    assert job.target is not None
    check_sheet(job.target, job.force)
    layer, targets = parse_channels(what)
    _one_choice(layer, what, within, top, on)
    start, stop = (0, None) if within is None else _range(within)
    size = Size.square(spec.size)
    begin = None if job.source is None else cover(_picture(job.source, job), size)
    looked_on = None if on is None else _shrunk(_picture(on, job), network_info(job.model).least)
    at = choose_place(job.device, job.precision)
    network = load_network(job.model, [layer], weights=job.weights, at=at)
    count = network.channels[0]
    if top is not None and looked_on is not None:
        targets = top_channels(network, looked_on, top)
    elif not targets:
        targets = layer_channels(
            network, start, min(FIRST_CHANNELS, count) if within is None else stop
        )
    found = visualize_neurons(network, targets, spec, job.seed, begin, progress)
    across = columns or (spec.diverse if spec.diverse > 1 else 0)
    write_sheet(
        job.target,
        contact_sheet(neuron_cells(network, targets, found), across, spec.size),
        job.force,
    )
    more = f", {spec.diverse} pictures each" if spec.diverse > 1 else ""
    return f"{len(targets)} of the {count} channels of {layer} of {network.info.name}{more}"


def _one_choice(
    layer: str, what: str, within: str | None, top: int | None, on: Path | None
) -> None:
    """Raises UsageError where channels are chosen in two ways, or half a way."""
    if what != layer and (within is not None or top is not None):
        raise UsageError(f"`within` and `top` choose from a whole layer: {layer} instead of {what}")
    if within is not None and top is not None:
        raise UsageError("`within` and `top` both choose channels: give one")
    if (top is None) != (on is None):
        raise UsageError("`top=N` and `on=IMAGE` go together: how many, and what excites them")


def neuron_cells(network: Network, targets: Sequence[Target], found: Tensor) -> list[Cell]:
    """What `study` found, each picture with its name, for a contact sheet.

    What stays silent even so is said to be: its picture shows what the layer sees, and nothing of its own.
    """
    made = []
    for target, answers in zip(targets, found, strict=True):
        for picture, mean in zip(answers, _means(network, answers), strict=True):
            reached = sum(abs(share * float(mean[channel])) for channel, share in target.terms)
            name = neuron_label(target, network.channels[0])
            made.append(Cell(picture[None], (name, *(("silent",) if reached == 0 else ()))))
    return made


def parse_channels(text: str) -> tuple[str, list[Target]]:
    """A layer, and the targets in it that are named: LAYER, or LAYER:CHANNEL,CHANNEL,DIRECTION."""
    layer, colon, parts = text.partition(":")
    if "=" in text:
        raise UsageError(f'"{text}": a picture shows one thing at full weight: leave out the =')
    if not colon:
        return Target.parse(layer).layer, []
    return layer, [Target.parse(f"{layer}:{part.strip()}") for part in parts.split(",")]


def _range(text: str) -> tuple[int, int | None]:
    """A:B; either may be left out."""
    found = re.fullmatch(r"(\d*):(\d*)", text, re.ASCII)
    if not found:
        raise UsageError(f'`within="{text}"` is not A:B, as in 0:64 or 128:')
    return int(found[1] or 0), int(found[2]) if found[2] else None


def _picture(path: Path, job: RenderJob) -> Frame:
    return read_still(resolve_source(path, job), job.max_pixels, Size.square(EXCITE_LONGER_SIDE))


def _shrunk(frame: Frame, least: int) -> Frame:
    """At most `LONGEST` px long, as neurons see things of a certain size, and at least `least`."""
    return resize(frame, Size.of(frame).within(EXCITE_LONGER_SIDE, least=least)).clamp(0, 1)


class Pictures:
    """A batch of pictures as Fourier coefficients in decorrelated colours, to be optimised.

    `coefficients`: (N, 3, H, W // 2 + 1, 2), real and imaginary.
    """

    def __init__(self, planes: Tensor) -> None:
        """planes: (N, 3, H, W), as `_planes_of` makes them."""
        self.size = Size.of(planes)
        self._scale = _scale(self.size).to(planes.device)
        self._colours = COLOURS.to(planes.device)
        spectrum = torch.fft.rfft2(planes, norm="ortho") / self._scale
        self.coefficients = torch.view_as_real(spectrum).contiguous().requires_grad_(True)

    def frames(self) -> Tensor:
        """(N, 3, H, W) in 0..1."""
        spectrum = torch.view_as_complex(self.coefficients) * self._scale
        planes = torch.fft.irfft2(spectrum, s=self.size.shape, norm="ortho")
        return torch.einsum("ij,njhw->nihw", self._colours, planes).sigmoid()


def _scale(size: Size) -> Tensor:
    """(H, W // 2 + 1): what a coefficient counts: 1/f, so that all scales grow alike (lucid).

    The finest count less, as after a Gaussian blur: else the grids of strided layers show as dots.
    """
    down, across = torch.fft.fftfreq(size.height)[:, None], torch.fft.rfftfreq(size.width)
    frequency = torch.hypot(down, across)
    fine = torch.exp(-2 * (math.pi * SMOOTH * frequency) ** 2)
    return GAIN * fine / frequency.clamp_min(1 / size.longer)


def _planes_of(frames: Tensor) -> Tensor:
    """What `Pictures.frames` makes these of, a little off black and white."""
    inverse = torch.linalg.inv(COLOURS.double()).float().to(frames.device)
    return torch.einsum("ij,njhw->nihw", inverse, frames.clamp(0.02, 0.98).logit())


def _noises(size: Size, seed: int) -> Tensor:
    """`NOISES` of 1/f noise, (N, 3, H, W) in 0..1, with a photograph's colours."""
    return Pictures(_noise_planes(size, seed)).frames().detach()


def _noise_planes(size: Size, seed: int, least: int = 1) -> Tensor:
    """`NOISES` of them, or as many as fit memory well, but `least`; (N, 3, H, W), before the sigmoid."""
    rng = torch.Generator().manual_seed(seed)
    count = max(least, min(NOISE_COUNT, NOISE_COUNT * 512**2 // size.pixels))
    white = torch.randn(count, 3, size.height, size.width // 2 + 1, 2, generator=rng)
    spectrum = torch.view_as_complex(white) * _scale(size)
    spectrum[..., 0, 0] = 0
    planes: Tensor = torch.fft.irfft2(spectrum, s=size.shape, norm="ortho")
    return planes * (CONTRAST / planes.std())


def visualize_neurons(
    network: Network,
    targets: Sequence[Target],
    spec: NeuronSpec,
    seed: int = 0,
    start: Frame | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """For each target, pictures that excite it most: (targets, answers, 3, size, size) in 0..1.

    network: one whose first layer is the targets'. start: the picture to begin with, (1, 3, size, size);
    none means noise. A target's pictures depend on the seed, not on what else is asked for. progress:
    told (steps done, steps in all). Raises UsageError where size is too small for the network,
    or its gradient overflows.
    """
    if spec.size < network.info.least:
        raise UsageError(
            f"`size={spec.size}` is too small for {network.info.name}: {network.info.least} or more would do"
        )
    for target in targets:
        target.check(network.channels[0], network.info.name)
    side, answers = spec.size, spec.diverse
    spec = spec.change(
        step_size=spec.step_size or (RATE_FROM_NOISE if start is None else RATE_FROM_PICTURE)
    )
    first = _noise_planes(Size.square(side), seed, answers)
    if start is not None:  # other answers begin a little off it, or they would never differ
        off = 0.5 * first[: answers - 1]
        first = _planes_of(start.cpu()) + torch.cat([torch.zeros_like(first[:1]), off])
    excitement = _excitement(network, targets, first, spec.neuron)
    room = min(PIXELS_AT_ONCE, tile_side(network, PIXELS_AT_ONCE) ** 2)
    each = max(1, room // (side**2 * answers))  # targets in a batch
    total, found = math.ceil(len(targets) / each) * spec.steps, []
    for number, begin in enumerate(range(0, len(targets), each)):
        best = excitement[begin : begin + each].argsort(dim=1, descending=True, stable=True)
        chosen = best[:, torch.arange(answers) % len(first)].flatten()

        def tell(step: int, before: int = number * spec.steps) -> None:
            if progress:
                progress(before + step, total)

        made = _climb(network, targets[begin : begin + each], spec, seed, first[chosen], tell)
        found.append(made.view(-1, answers, 3, side, side))
    return torch.cat(found)


def _excitement(
    network: Network, targets: Sequence[Target], planes: Tensor, neuron: bool
) -> Tensor:
    """(targets, N): how much each of N first pictures excites each target already."""
    rows = []
    with torch.no_grad():
        for part in _eights(planes):
            value = network.values(Pictures(part.to(network.at.device)).frames())[0].float()
            mean = _looked_at(value, neuron)
            rows.append(torch.stack([(mean * t.vector(value)[..., 0, 0]).sum(1) for t in targets]))
    return torch.cat(rows, 1).cpu()


def _looked_at(value: Tensor, neuron: bool) -> Tensor:
    """(N, C) of a layer (N, C, H, W): its mean over the map, or the neurons in the middle of it."""
    if neuron:
        return value[..., value.shape[2] // 2, value.shape[3] // 2]
    return value.mean((2, 3))


def _climb(
    network: Network,
    targets: Sequence[Target],
    spec: NeuronSpec,
    seed: int,
    planes: Tensor,
    tell: Callable[[int], None],
) -> Tensor:
    """A batch of pictures after all steps, (N, 3, H, W) on the CPU; N is a multiple of the targets."""
    at = network.at.device
    pictures = Pictures(planes.to(at))
    directions = torch.cat([t.vector(torch.zeros(1, network.channels[0], 1, 1)) for t in targets])
    directions = directions[..., 0, 0].to(at).repeat_interleave(spec.diverse, 0)  # (N, C)
    rng = torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam([pictures.coefficients], eps=1e-12)
    for step in range(spec.steps):
        for group in adam.param_groups:  # in the second half they become smaller, and settle
            group["lr"] = (spec.step_size or RATE_FROM_NOISE) * min(
                1.0, 2 * (1 - step / spec.steps) + 0.1
            )
        value = network.values(_glance(pictures.frames(), rng))[0].float()
        seen = _looked_at(value, spec.neuron)
        score = (seen * directions).sum(1)
        wanted = torch.where(score == 0, seen.mean(1), score)
        if spec.diverse > 1:
            wanted = wanted - DIVERSITY_COST * score.detach().abs() * _likeness(value, spec.diverse)
        whole = (
            wanted.sum() * value[0, 0].numel()
        )  # Adam does not mind, and fp16 has no tiny numbers
        (gradient,) = torch.autograd.grad(whole, pictures.coefficients)
        pictures.coefficients.grad = -gradient
        adam.step()
        tell(step + 1)
    if not torch.isfinite(pictures.coefficients).all():
        raise UsageError(
            f"the gradient of {network.info.name} overflows in {network.at.dtype}: use `precision=fp32`"
        )
    return pictures.frames().detach().cpu()


def _glance(frames: Tensor, rng: torch.Generator) -> Tensor:
    """Pictures as they are seen shifted, scaled and turned by chance, all alike; mirrored at the border."""
    sideways, down, zoom, turn = (2 * torch.rand(4, generator=rng) - 1).tolist()
    scale, angle = math.exp(zoom * math.log1p(ZOOM)), math.radians(TURN) * turn
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    matrix = torch.tensor([[cos, -sin, 2 * SHIFT * sideways], [sin, cos, 2 * SHIFT * down]])
    one = F.affine_grid(matrix[None], [1, 1, *frames.shape[2:]], align_corners=False)
    grid = one.to(frames.device).expand(len(frames), -1, -1, -1)
    return F.grid_sample(frames, grid, padding_mode="reflection", align_corners=False)


def _likeness(value: Tensor, answers: int) -> Tensor:
    """(N,): how like each picture's Gram matrix is to those of the other answers to the same neuron.

    The mean cosine, 0..1 (lucid, `diversity`: the texture is what should differ, not the place). value:
    (N, C, H, W), of which `answers` after one another belong together.
    """
    flat = value.flatten(2)  # (N, C, places)
    gram = flat @ flat.transpose(1, 2)
    gram = F.normalize(gram.flatten(1), dim=1).view(-1, answers, gram.shape[1] ** 2)
    alike = gram @ gram.transpose(1, 2)  # (targets, answers, answers)
    others = alike.sum(2) - alike.diagonal(dim1=1, dim2=2)
    return others.flatten() / (answers - 1)
