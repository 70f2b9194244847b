"""Gradient ascent on pictures, octave by octave.

Mordvintsev, Olah and Tyka (2015), google/deepdream, dream.ipynb: octaves carry only the *detail*
that was dreamt, so that the picture itself stays sharp; each step is taken on a picture rolled by a
random shift; the gradient is divided by its mean absolute value. We add to that a smoothing of the
gradient by three Gaussians (gordicaleksa/pytorch-deepdream), which removes the checkerboards of
strided layers; weights over any number of layers (see `session`); and what makes dreams look made of one
piece: steps go in a palette's colours (see `colors`), the network looks through a little noise, flat
places stay calm (see `busyness`), and finer octaves take fewer and smaller steps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from zoomdream.dreaming.line_mask import near_lines
from zoomdream.dreaming.rng import draw_integer
from zoomdream.dreaming.session import ChannelWeights, DreamSession
from zoomdream.dreaming.tiles import fits_twice, tile_side, tiled_gradient
from zoomdream.media.color import mixed
from zoomdream.media.frame import Frame, blur, resize
from zoomdream.process_settings import exact_cudnn, freed_memory_kept, large_blocks_kept
from zoomdream.settings.definitions import DreamSpec
from zoomdream.size import Size

SMOOTHING = (0.5, 1.0, 2.0)  # Gaussians, in units of `smooth`, that are averaged
LARGE_PICTURE = 10_000_000  # values of pictures that are smoothed with less memory
CALM_CELL = 16  # px of a side of what is looked at together, by `calm`
COARSEST_SIDE = 96  # px of the shorter side at the smallest octave, where their number is not given
MOST_OCTAVES = 12  # likewise
StepListener = Callable[[float, Callable[[], Frame]], bool | None]
"""Gets the objective before each step, and a function for the picture after it; False ends the dream."""


@dataclass(frozen=True)
class Dreamt:
    """Dreamt pictures, and the objective on them before their last step."""

    frame: Frame
    objective: float


def dream(
    frame: Frame,
    session: DreamSession,
    spec: DreamSpec,
    rng: torch.Generator,
    step_mask: Tensor | None = None,
    channel_weights: ChannelWeights | None = None,
    on_step: StepListener | None = None,
    source: Frame | None = None,
) -> Dreamt:
    """Dreams on pictures; the same inputs and the same generator state give the same pixels.

    frame: (N, 3, H, W) in 0..1, on the network's device; several are dreamt side by side, each as if it
    were alone, with the same shifts. step_mask: (1, 1, H, W), a factor of the steps at each place; where it
    is 0 nothing is dreamt. rng: a CPU generator, from which jitter and the shifts of tiles and noise are
    drawn. on_step: is called after each step; where it returns False the dream ends. source: the pictures
    whose colours the setting `colors` = source means; else the frame. The objective is the mean squared
    activation of what is wanted (the geometric mean over several objectives, by their weights). Raises
    UsageError where the gradient overflows.
    """
    if spec.steps == 0:
        return Dreamt(frame, 0.0)
    if not spec.tile:
        tile = session.tile or tile_side(session.network, len(frame) * Size.of(frame).pixels)
        spec = spec.model_copy(update={"tile": tile})
    if spec.grow:
        near = near_lines(frame, spec.grow)
        step_mask = near if step_mask is None else near * step_mask
    matrix = session.colors.matrix(spec, frame if source is None else source)
    with exact_cudnn, freed_memory_kept, large_blocks_kept(fits_twice(frame, session, spec.tile)):
        picture, objective = _ascended(
            frame, session, spec, rng, step_mask, channel_weights, matrix, on_step
        )
    session.network.check_finite(objective)
    session.network.check_finite(picture.sum())
    return Dreamt(picture if step_mask is None else picture.where(step_mask > 0, frame), objective)


def _ascended(
    frame: Frame,
    session: DreamSession,
    spec: DreamSpec,
    rng: torch.Generator,
    step_mask: Tensor | None,
    channel_weights: ChannelWeights | None,
    color_matrix: Tensor | None,
    on_step: StepListener | None,
) -> tuple[Frame, float]:
    """Pictures after all steps at all octaves, and the objective before the last; as for `dream`."""
    picture, objective = frame, 0.0
    detail: Frame | None = None
    octaves = plan_octaves(Size.of(frame), spec, session.network.info.least)
    for octave in octaves:
        base = frame if octave.size == Size.of(frame) else resize(frame, octave.size).clamp_(0, 1)
        picture = base if detail is None else (base + resize(detail, octave.size)).clamp_(0, 1)
        mask = None if step_mask is None else resize(step_mask, octave.size).clamp_min(0)
        octave_spec = spec.model_copy(update={"step_size": octave.step_size})
        for number in range(octave.steps):
            measured = on_step is not None or number == octave.steps - 1
            picture, objective = step(
                picture, session, octave_spec, rng, mask, channel_weights, color_matrix, measured
            )
            whole = partial(_enlarged, frame, base, picture, step_mask)
            if on_step and on_step(objective, whole) is False:
                return whole(), objective
        if octave is not octaves[-1]:
            detail = picture - base
    return picture, objective


def _enlarged(frame: Frame, base: Frame, picture: Frame, step_mask: Tensor | None) -> Frame:
    """Lays what was dreamt at some octave over the frame. base: the frame at that octave's size."""
    dreamt = (frame + resize(picture - base, Size.of(frame))).clamp_(0, 1)
    return dreamt if step_mask is None else dreamt.where(step_mask > 0, frame)


@dataclass(frozen=True)
class Octave:
    """One of the sizes that a picture is dreamt at: how many steps are taken there, and how large."""

    size: Size
    steps: int
    step_size: float


def plan_octaves(size: Size, spec: DreamSpec, least: int) -> list[Octave]:
    """Plans a dream's octaves, small to full; those too small for the network are left out.

    A finer octave's steps are smaller: shapes come from the coarse ones, dots from the fine. The finest of
    several, which costs most, gets a share of the steps.
    """
    count = spec.octaves or _enough(size.shorter, spec.octave_scale)
    smaller = [size.scaled(spec.octave_scale**-k) for k in range(count - 1, 0, -1)]
    sizes = [*(small for small in smaller if small.shorter >= least), size]
    step_sizes = [spec.step_size * spec.octave_gain**k for k in range(len(sizes))]
    steps = [spec.steps] * len(sizes)
    if len(sizes) > 1:
        steps[-1] = math.ceil(spec.steps * spec.finest_share)
    return [Octave(*parts) for parts in zip(sizes, steps, step_sizes, strict=True)]


def _enough(side: int, scale: float) -> int:
    """Counts the octaves for which the smallest has `COARSEST_SIDE` px or more on its shorter side.

    So creatures are as large a part of a picture whatever its size.
    """
    wanted = 1 + max(0, math.floor(math.log(side / COARSEST_SIDE) / math.log(scale)))
    return min(wanted, MOST_OCTAVES)


def step(
    picture: Frame,
    session: DreamSession,
    spec: DreamSpec,
    rng: torch.Generator,
    step_mask: Tensor | None = None,
    channel_weights: ChannelWeights | None = None,
    color_matrix: Tensor | None = None,
    measured: bool = True,
) -> tuple[Frame, float]:
    """Takes one step of ascent, clipped to 0..1; gives also the objective before it, where it is measured.

    spec: as `dream` takes it, with a `tile`. color_matrix: (1 or N, 3, 3), what the colours of the gradient
    are multiplied by; None leaves them.
    """
    reach = min(spec.jitter, Size.of(picture).shorter // 2)
    shift = draw_integer(rng, -reach, reach), draw_integer(rng, -reach, reach)
    seen = picture.roll(shift, (2, 3))
    if spec.noise:
        seen += spec.noise * session.noise(Size.of(picture), rng)
    gradient, objective = tiled_gradient(seen, session, spec, rng, channel_weights, measured)
    gradient = smooth(gradient, spec.smooth).roll((-shift[0], -shift[1]), (2, 3))
    if color_matrix is not None:
        gradient = mixed(gradient, color_matrix)
    if spec.calm:
        gradient = gradient * busyness(gradient) ** spec.calm
    size = spec.step_size / (_mean_absolute(gradient) + 1e-12)
    if step_mask is not None:
        gradient = gradient * step_mask
    return torch.addcmul(picture, gradient, size).clamp_(0, 1), objective


def busyness(gradient: Tensor) -> Tensor:
    """Measures how strong a gradient (N, 3, H, W) is around each place, (N, 1, H, W), 1 on the average.

    A network finds a little of everything in a clear sky; weighed by this the sky stays clear, and what the
    picture already suggests grows.
    """
    cells = F.avg_pool2d(gradient.square().mean(1, keepdim=True), CALM_CELL, ceil_mode=True)
    around = blur(cells, 1.0) / blur(torch.ones_like(cells), 1.0)
    relative = around / around.mean((2, 3), keepdim=True).clamp_min(1e-30)
    return resize(relative.sqrt(), Size.of(gradient)).clamp_min(0)


def _mean_absolute(gradient: Tensor) -> Tensor:
    """Measures each picture's mean absolute gradient, (N, 1, 1, 1); of a single one a scalar."""
    if len(gradient) == 1:
        norm: Tensor = torch.linalg.vector_norm(gradient, 1)
        return norm / gradient.numel()
    norms: Tensor = torch.linalg.vector_norm(gradient, 1, dim=(1, 2, 3), keepdim=True)
    return norms / gradient[0].numel()


def smooth(gradient: Tensor, sigma: float) -> Tensor:
    """Averages three Gaussian blurs, of `SMOOTHING` times sigma px; 0 leaves the gradient as it is.

    A large one is smoothed plane by plane, in place: it takes a third of the memory, and as long.
    """
    if sigma == 0:
        return gradient
    if gradient.numel() > LARGE_PICTURE:
        for plane in torch.split(gradient, 1, 1):
            plane.copy_(_smoothed(plane, sigma))
        return gradient
    return _smoothed(gradient, sigma)


def _smoothed(planes: Tensor, sigma: float) -> Tensor:
    total = blur(planes, sigma * SMOOTHING[0])
    for share in SMOOTHING[1:]:
        total += blur(planes, sigma * share)
    return total.div_(len(SMOOTHING))
