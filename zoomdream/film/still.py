"""A single picture, dreamt at its full size, and the dream as it grows."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoomdream.dreaming.ascent import dream, octave_sizes
from zoomdream.dreaming.finish import age_paper
from zoomdream.dreaming.guide import guide_of
from zoomdream.dreaming.rng import frame_rng
from zoomdream.dreaming.tiles import tile_side
from zoomdream.dreaming.variety import channel_weights_at
from zoomdream.errors import OutputError, UsageError
from zoomdream.events import Listener, Picture, Start, Step, ignore_events
from zoomdream.film.frames import layer_weights
from zoomdream.film.identity import as_label
from zoomdream.film.inputs import (
    CLIP_LONGER_SIDE,
    check_size,
    film_size,
    open_network,
    resolve_source,
)
from zoomdream.film.spec import FilmSpec
from zoomdream.film.target import check_film_target
from zoomdream.film.writer import FilmWriter, open_writer
from zoomdream.media.formats import nearest_supported
from zoomdream.media.frame import Frame, as_frame, cover, resize, to_bytes
from zoomdream.media.image_reader import decode_image, read_mask
from zoomdream.media.image_writer import (
    Pixels,
    check_image_size,
    check_image_target,
    image_format,
    staged_pictures,
)
from zoomdream.media.noise import noise_picture
from zoomdream.media.source import still_clip
from zoomdream.network.network import Network
from zoomdream.settings import presets
from zoomdream.settings.model import STILL_DREAM, Output, RenderJob
from zoomdream.settings.timeline import Timeline, nominal_clock
from zoomdream.size import Size

BALANCE_SIDE = 512  # px of the longer side at which layers are weighed against each other
GROWTH_SECONDS = 5.0  # seconds that a film of the dream growing lasts, about
ENDING_SECONDS = 1.0  # seconds that its last frame stays


def dream_image(
    job: RenderJob,
    progress: Listener = ignore_events,
    *,
    picture: Any = None,
    network: Network | None = None,
    strip: int = 0,
    film: Path | None = None,
) -> Picture:
    """Dreams a job's source as a single picture, at its own size or `job.output.size`, to its target.

    `progress` is called with a Start and a Step after each. picture: an array, tensor or figure instead of
    the file `job.source` (see `as_frame`); without either, noise. strip: the picture after every so many
    steps is kept too, as NAME-step-0010.EXT beside the target, or as a frame of `film`. What changes over
    time is taken at the middle of its film. Of the settings, camera, flow and anchor are not looked at.

    Raises UsageError, InputError, OutputError, WeightsError.
    """
    target = job.target
    if target is None:
        raise UsageError("the job has no target: name a picture to write")
    check_image_target(target, job.force)
    _check_beside(job, target)
    if film is not None:
        check_film_target(film, job.force, Output())
    if job.output.size:
        check_image_size(target, job.output.size)
    now, t = _in_the_middle(job)
    original = _original(now, picture)
    network = network or open_network(job)
    taken = _Steps(original.frame, now, network, progress)
    check_image_size(target, original.size)
    every = strip or (1 if film else 0)
    steps = range(every, taken.total + 1, every) if every else range(0)
    beside = {} if film else {n: target.with_stem(f"{target.stem}-step-{n:04}") for n in steps}
    for other in beside.values():
        check_image_target(other, job.force)
    label = as_label(job, network)
    progress(_start(taken, network, (*original.notes, *original.losses(target))))
    with ExitStack() as stack:
        staged = stack.enter_context(staged_pictures(target))
        plan = (
            stack.enter_context(_growth_film(film, original, len(steps), label, job.force))
            if film
            else None
        )

        def look(step: int, so_far: Callable[[], Frame]) -> None:
            if plan and step in steps:
                plan.add(so_far())
            elif step in beside:
                staged.add(beside[step], original.pixels(so_far(), beside[step]))

        dreamt = dreamt_still(original.frame, now, network, t, taken.look(look))
        staged.add(target, original.pixels(dreamt, target))
        staged.add_text(_label_of(target), presets.written(label))
        check_image_target(target, job.force)  # someone else may have been quicker
        if plan:
            plan.finish(dreamt)
        staged.place()
    others = (film,) if film else tuple(beside.values())
    return Picture(target, original.size, taken.seconds, others)


def _check_beside(job: RenderJob, target: Path) -> None:
    """Raises UsageError and OutputError for a target whose label could not be put, or would be untrue."""
    label = _label_of(target)
    if label.is_dir():
        raise OutputError(
            f"{label} is a folder, and the picture's settings go there: name it otherwise"
        )
    source = job.source
    if source is not None and source.exists() and target.exists() and source.samefile(target):
        raise UsageError(f"{target} is the picture that is dreamt on: write to another file")


def _label_of(target: Path) -> Path:
    """Where a picture's settings are put."""
    return target.with_name(f"{target.name}.toml")


def dream_picture(picture: Any, **settings: Any) -> Any:
    """One picture, dreamt at its own size: a tensor gives a Frame, all else a uint8 array.

    picture: see `as_frame`. settings: the fields of RenderJob; `dream` is `spec.STILL` unless given. Raises
    UsageError and WeightsError.
    """
    job = RenderJob(**{"dream": STILL_DREAM, **settings})
    now, t = _in_the_middle(job)
    dreamt = dreamt_still(as_frame(picture), now, open_network(job), t)
    return dreamt if isinstance(picture, torch.Tensor) else to_bytes(dreamt)


StillListener = Callable[[float, Callable[[], Frame]], None]
"""Is told the objective at each step, and gets the picture so far from the function (see `dream.Watch`)."""


@torch.no_grad()
def dreamt_still(
    frame: Frame,
    job: RenderJob,
    network: Network,
    t: float = 0.0,
    look: StillListener | None = None,
) -> Frame:
    """A Frame, dreamt by a job of plain numbers. t: the time, in seconds, of what it looks for."""
    frame = frame.to(network.at.device)
    mask = None
    if job.mask is not None:
        mask = cover(read_mask(job.mask, job.max_pixels), Size.of(frame)).to(frame.device)

    def finished(dreamt: Frame) -> Frame:
        whole = dreamt if mask is None else frame.lerp(dreamt, mask)
        return age_paper(whole, job.paper, job.seed)

    def watch(objective: float, so_far: Callable[[], Frame]) -> None:
        if look:
            look(objective, lambda: finished(so_far()))

    network.tile = tile_side(network, Size.of(frame).pixels)
    network.balance(resize(frame, Size.of(frame).within(BALANCE_SIDE)).clamp(0, 1))
    network.weights = layer_weights(job, network)
    network.guides = guide_of(job, network)(job.guide, t)
    channel_weights = channel_weights_at(network, job.dream, job.seed, t)
    return finished(
        dream(frame, network, job.dream, frame_rng(job.seed, 0), mask, channel_weights, watch).frame
    )


def _in_the_middle(job: RenderJob) -> tuple[RenderJob, float]:
    """A job of plain numbers, as it is at the middle of its film, and when that is, in seconds."""
    clock = nominal_clock(job)
    middle = clock.frames // 2
    return Timeline(job, clock).at(middle), float(middle / clock.fps)


@dataclass(frozen=True)
class _Original:
    """The picture that is dreamt on, and what of it goes around the dream.

    frame: over white, in the size that is wanted. alpha: (1, 1, H, W), and straight: its colours with
    nothing under them, where parts are clear. deep: 16 bits.
    """

    frame: Frame
    notes: tuple[str, ...] = ()
    alpha: Tensor | None = None
    straight: Frame | None = None
    deep: bool = False

    @property
    def size(self) -> Size:
        return Size.of(self.frame)

    def losses(self, target: Path) -> Iterator[str]:
        """What the target's format cannot hold."""
        form = image_format(target)
        if self.alpha is not None and not form.alpha:
            yield f"{form.name} holds no transparency: the picture lies on white"
        if self.deep and not form.deep:
            yield f"{form.name} holds 8 bits a channel: .png or .tiff would keep its 16"

    def pixels(self, dreamt: Frame, target: Path) -> Pixels:
        """(H, W, 3 or 4), as the target's format holds them."""
        form = image_format(target)
        dreamt, straight = dreamt.cpu(), self.straight
        planes = list(dreamt[0])
        if self.alpha is not None and straight is not None and form.alpha:
            planes = [*straight[0] + (dreamt[0] - self.frame[0]), self.alpha[0, 0]]
        deep = self.deep and form.deep
        made = np.empty((*self.size.shape, len(planes)), np.uint16 if deep else np.uint8)
        for number, plane in enumerate(planes):  # one by one, as floats take much
            made[..., number] = plane.clamp(0, 1).mul_(65535 if deep else 255).round_().numpy()
        return made


def _original(job: RenderJob, picture: Any) -> _Original:
    """The source, in the size that is wanted; raises InputError, and UsageError for noise of no size."""
    size = job.output.size
    if picture is None and job.source is None:
        if size is None:
            raise UsageError(
                "a dream from noise needs a size: add --size 512x512, or name a picture"
            )
        return _sized(job, _Original(noise_picture(film_size(job, size), job.seed)))
    if picture is not None:
        return _sized(job, _Original(as_frame(picture)))
    assert job.source is not None
    found = decode_image(resolve_source(job.source, job), job.max_pixels, size)
    deep = found.pixels.dtype == np.uint16
    clear = found.pixels.shape[2] == 4 and found.pixels[..., 3].min() < (65535 if deep else 255)
    if not clear or job.paper:  # paper is there, whether a drawing has any or not
        frame = as_frame(found.pixels if clear else found.pixels[..., :3])
        return _sized(job, _Original(frame, found.notes, deep=deep))
    alpha, straight = as_frame(found.pixels[..., 3])[:, :1], as_frame(found.pixels[..., :3])
    return _sized(job, _Original(as_frame(found.pixels), found.notes, alpha, straight, deep))


def _sized(job: RenderJob, original: _Original) -> _Original:
    """In the size that is wanted."""
    wanted = original.size
    if job.output.size or job.output.scale != 1:
        wanted = film_size(job, original.size, longest=original.size.longer)

    def fit(planes: Tensor | None) -> Tensor | None:
        return planes if planes is None or original.size == wanted else cover(planes, wanted)

    frame = fit(original.frame)
    assert frame is not None
    return dataclasses.replace(
        original, frame=frame, alpha=fit(original.alpha), straight=fit(original.straight)
    )


class _Steps:
    """Counts the steps of a still, and reports them."""

    def __init__(self, frame: Frame, job: RenderJob, network: Network, progress: Listener) -> None:
        check_size(still_clip(frame, Fraction(1), 1), network)
        sizes = octave_sizes(Size.of(frame), job.dream, network.info.least)
        self.size = sizes[-1]
        self._sizes = [size for size in sizes for _ in range(job.dream.steps)]
        self._work = np.cumsum([size.pixels for size in self._sizes])
        self._progress, self._begun = progress, time.monotonic()

    @property
    def total(self) -> int:
        return len(self._sizes)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def look(self, look: Callable[[int, Callable[[], Frame]], None]) -> StillListener:
        """For `dreamt_still`. look: is told of the step's number, from 1, and how to get the picture."""
        numbers = iter(range(self.total))
        self._begun = time.monotonic()

        def told(objective: float, so_far: Callable[[], Frame]) -> None:
            number = next(numbers)
            size, share = self._sizes[number], float(self._work[number] / self._work[-1])
            self._progress(Step(number, self.total, size, share, self.seconds, objective))
            look(number + 1, so_far)

        return told


def _start(taken: _Steps, network: Network, notes: tuple[str, ...]) -> Start:
    return Start(
        taken.size,
        None,
        taken.total,
        network.info.name,
        tuple(map(str, network.targets)),
        network.at.device.type,
        str(network.at.dtype).removeprefix("torch."),
        network.at.why,
        notes,
    )


class _GrowthFilm:
    """A short film of a dream that grows."""

    def __init__(self, writer: FilmWriter, spec: FilmSpec, force: bool) -> None:
        self._writer, self._spec, self._force = writer, spec, force

    def add(self, frame: Frame) -> None:
        self._writer.add(cover(frame, self._spec.size))

    def finish(self, last: Frame) -> None:
        """Stays at the last frame for a while, and gives the film its name."""
        for _ in range(max(1, round(ENDING_SECONDS * self._spec.fps))):
            self.add(last)
        self._writer.join()
        self._writer.place(self._force)


@contextmanager
def _growth_film(
    film: Path, original: _Original, steps: int, label: RenderJob, force: bool
) -> Iterator[_GrowthFilm]:
    """A film of the picture and what becomes of it. steps: frames that will be added."""
    wanted = film_size(RenderJob(), original.size, longest=CLIP_LONGER_SIDE)
    rate = Fraction(min(30, max(5, round(steps / GROWTH_SECONDS))))
    size, fps = nearest_supported(film, wanted, rate)
    frames = 1 + steps + max(1, round(ENDING_SECONDS * fps))
    spec = FilmSpec(film, Output(), size, fps, frames)
    with open_writer(spec, {"seed": str(label.seed)}, force=force) as writer:
        plan = _GrowthFilm(writer, spec, force)
        plan.add(original.frame)
        yield plan
