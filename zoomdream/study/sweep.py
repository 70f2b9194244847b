"""Dreams a picture once for each value of one or two settings, to choose with the eye.

A cell is dreamt as `dream_image` would at its size, or is the frame at a time of the film that `render`
would make; so it looks the same whatever else is on the sheet, and can be had again by its settings.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, product
from typing import Any

from zoomdream.dreaming.session import DreamSession
from zoomdream.errors import UsageError
from zoomdream.events import Event, Start
from zoomdream.files import readable_inputs
from zoomdream.film.frame_renderer import layer_weights
from zoomdream.film.inputs import (
    STILL_FPS,
    STILL_LONGER_SIDE,
    film_size,
    open_clip,
    open_network,
    resolve_source,
)
from zoomdream.film.picture import dream_still
from zoomdream.film.render import closing_clip, render
from zoomdream.media.frame import Frame, cover
from zoomdream.media.image_formats import check_sheet_target
from zoomdream.media.image_reader import read_still
from zoomdream.media.noise import noise_picture
from zoomdream.media.sheet import Cell, contact_sheet, grid_sheet, write_sheet
from zoomdream.network.network import Network
from zoomdream.settings import presets
from zoomdream.settings.definitions import FILES, STILL_DREAM, RenderJob
from zoomdream.settings.setting_paths import change_job, settings_by_path
from zoomdream.settings.timeline import at_middle
from zoomdream.settings.variation import PRESET, Choice
from zoomdream.size import Size

SWEEP_SIDE = 256  # px of each picture's longer side
MOST_CELLS = 100  # of a sheet
OF_FILMS = ("camera", "flow", "anchor")  # sections that no still dream looks at


@dataclass(frozen=True)
class SweepCell:
    """A picture of a sweep: the original, which has no choices, or a dream.

    choices: what it has of each setting that is varied. job: all that it was made with; its `output.size`
    is the picture's. at: seconds into the film at which it is the frame; None for a still dream. picture:
    (1, 3, H, W) in 0..1. seconds: that it took. note: what is not as one may think.
    """

    choices: tuple[Choice, ...]
    job: RenderJob
    at: float | None
    picture: Frame
    seconds: float = 0.0
    note: str = ""

    @property
    def written(self) -> str:
        """What to write to get it."""
        return " ".join(choice.written for choice in self.choices) or "original"

    @property
    def caption(self) -> tuple[str, ...]:
        """What to write to get it; and how long it took, with the note."""
        if not self.choices:
            return (self.written,)
        seconds = f"{self.seconds:.1f} s"
        return self.written, f"{seconds}, {self.note}" if self.note else seconds


@dataclass(frozen=True)
class _Plan:
    """What a cell is to be, before it is dreamt."""

    choices: tuple[Choice, ...]
    job: RenderJob
    at: float | None
    note: str = ""


def sweep(
    job: RenderJob,
    *vary: Sequence[Choice],
    at: float | None = None,
    size: int = SWEEP_SIDE,
    changes: Mapping[str, Any] | None = None,
) -> Iterator[SweepCell]:
    """Yields a picture, and its dream for each choice, or for each pair of choices, row by row.

        for cell in zd.sweep(job, zd.choices("steps", [2, 4]), zd.choices("layer", ["eyes", "faces"])):
            show(cell.picture, cell.written)

    job: what all cells have; its target is not looked at, and without a source they begin from noise.
    vary: choices of one setting, or of two: the rows and the columns. at: seconds; each cell is the frame
    at that time of a zoom, or of a clip where the job has a flow; None for still dreams. size: px of the
    longer side, at most. changes: settings by path that win over a preset that is varied. A preset for
    clips gives, on a picture, a still dream.

    All is checked, and the networks are loaded, before this returns. Raises UsageError, InputError and
    WeightsError.
    """
    changes = changes or {}
    plans = _plans(job, vary, at, changes)
    base = change_job(job, changes)
    original = _Original(base, at, size)
    networks: dict[tuple[Any, ...], Network] = {}
    for plan in plans:
        key = _what_is_loaded(plan.job)
        if key not in networks:
            networks[key] = open_network(plan.job)
        networks[key].info.check_size(original.size_in(plan.job))

    def cells() -> Iterator[SweepCell]:
        yield SweepCell((), base, at, original.frame_in(base))
        for plan in plans:
            yield _dream(plan, original, networks[_what_is_loaded(plan.job)])

    return cells()


def sweep_sheet(
    job: RenderJob,
    *vary: Sequence[Choice],
    at: float | None = None,
    size: int = SWEEP_SIDE,
    changes: Mapping[str, Any] | None = None,
    columns: int = 0,
    quality: int = 92,
    progress: Callable[[SweepCell, int], None] = lambda *_: None,
) -> Size:
    """Writes a labelled sheet of a sweep to the job's target; gives the sheet's size.

    The first cell is the original. The values of one setting go on in rows of `columns` (0 chooses); those
    of two are rows and columns. quality: of JPEG and WebP. progress: is called after each dream, with how
    many there are. All else is as `sweep` takes it. Raises UsageError, InputError, OutputError and
    WeightsError.
    """
    if job.target is None:
        raise UsageError("a sweep's sheet needs a target: name it in the job")
    check_sheet_target(job.target, job.force)
    if columns and len(vary) == 2:
        raise UsageError(
            "`columns` is for one setting: of two, the second's values are the columns"
        )
    cells = []
    for cell in sweep(job, *vary, at=at, size=size, changes=changes):
        cells.append(Cell(cell.picture, cell.caption))
        if cell.choices:
            progress(cell, math.prod(map(len, vary)))
    if len(vary) == 2:
        across = len(vary[1])
        rows = [cells[i : i + across] for i in range(1, len(cells), across)]
        sheet = grid_sheet([cells[:1], *rows], size)
    else:
        sheet = contact_sheet(cells, columns, size)
    write_sheet(job.target, sheet, job.force, quality)
    return Size.of_channels_last(sheet)


def _plans(
    job: RenderJob, vary: Sequence[Sequence[Choice]], at: float | None, changes: Mapping[str, Any]
) -> list[_Plan]:
    """Plans all cells, row by row; raises UsageError and InputError for whatever is wrong in one."""
    if not 1 <= len(vary) <= 2 or not all(vary):
        raise UsageError("a sheet shows the values of one setting, or of two")
    if len(vary) == 2 and (twice := vary[0][0].changes.keys() & vary[1][0].changes.keys()):
        raise UsageError(f"{min(twice)} varies twice: give all its values at once")
    if at is None:
        for path in (path for one in vary for path in one[0].changes):
            if path.partition(".")[0] in OF_FILMS:
                raise UsageError(
                    f"{path}: a still dream does not look at it: `at=2` shows frames of zooms, and with "
                    "`preset=clip` those of a clip"
                )
    if (count := math.prod(map(len, vary))) > MOST_CELLS:
        raise UsageError(f"{count} pictures are too many for a sheet: {MOST_CELLS} at most")
    if at is not None and not 0 <= at < math.inf:
        raise UsageError(f"at: {at:g} is no time in a film: 0 s or more would do")
    return [_plan(job, chosen, at, changes) for chosen in product(*vary)]


def _plan(
    job: RenderJob, chosen: tuple[Choice, ...], at: float | None, changes: Mapping[str, Any]
) -> _Plan:
    varied = {path: value for choice in chosen for path, value in choice.changes.items()}
    preset, note = varied.pop(PRESET, None), ""
    if preset is not None:
        is_clip = at is not None and job.flow is not None
        is_for_clips = presets.load_preset(preset).flow is not None
        if is_clip and not is_for_clips:
            raise UsageError(f'the preset "{preset}" is for stills, and this is a clip')
        if is_for_clips and not is_clip:
            note = "a still: it is for clips"
            job = job if at is None else job.change(dream=STILL_DREAM)
            at = None
        job = presets.overlay(job, preset, moves=at is not None)
    job = change_job(change_job(job, changes), varied)
    at_middle(job)  # raises for a value that is wrong at some time
    for path, value in settings_by_path(job):
        if path in FILES and path != "source" and value is not None:
            with readable_inputs(value):
                value.stat()
    if at is not None and job.flow is None:
        fps = job.output.fps or STILL_FPS
        if round(at * fps) >= (frames := job.output.length(fps)):
            length = float(frames / fps)
            raise UsageError(f"at: a film of {length:g} s has no frame at {at:g} s")
    return _Plan(chosen, job, at, note)


def _what_is_loaded(job: RenderJob) -> tuple[Any, ...]:
    """All that a job's network follows from; weights of layers are the session's."""
    return job.model, job.weights, job.device, job.precision, *job.dream.layers


class _Original:
    """What is dreamt on, read once: a picture, a clip's frame, or noise."""

    def __init__(self, job: RenderJob, at: float | None, size: int) -> None:
        """job: its source is read. at: of a clip's frame. size: px of the longer side, at most."""
        self._longest = size
        self._picture: Frame | None = None
        if at is not None and job.flow is not None:
            self._picture = _frame_of_clip(job, at)
        elif job.source is not None:
            path = resolve_source(job.source, job)
            self._picture = read_still(path, job.max_pixels, Size.square(size))

    def size_in(self, job: RenderJob) -> Size:
        """Gives the size that a job's picture has on the sheet: its shape, and not more pixels than it."""
        natural = Size.square(STILL_LONGER_SIDE)
        if self._picture is not None:
            natural = Size.of(self._picture)
        wanted = film_size(job, natural, self._longest)
        return wanted.within(self._longest, least=16, multiple=2)

    def frame_in(self, job: RenderJob) -> Frame:
        """Gives it in a job's size."""
        size = self.size_in(job)
        return (
            noise_picture(size, job.seed) if self._picture is None else cover(self._picture, size)
        )


def _frame_of_clip(job: RenderJob, at: float) -> Frame:
    """Reads a clip's frame at a time, in seconds."""
    with closing_clip(open_clip(job.model_copy(update={"target": None}))) as clip:
        return _at(clip.frames, at, clip.fps)


def _dream(plan: _Plan, original: _Original, network: Network) -> SweepCell:
    """Dreams a cell."""
    begun = time.monotonic()
    size = original.size_in(plan.job)
    job = plan.job.change(output=plan.job.output.change(size=size, scale=1.0))
    if plan.at is None:
        now, t = at_middle(job)
        session = DreamSession(network)
        session.weights = layer_weights(now, network)
        picture = dream_still(original.frame_in(job), now, session, t)
    else:
        source = None if job.flow else original.frame_in(job)
        picture = _frame_of_film(job, plan.at, network, source)
    seconds = time.monotonic() - begun
    return SweepCell(plan.choices, job, plan.at, picture.cpu(), seconds, plan.note)


def _frame_of_film(job: RenderJob, at: float, network: Network, source: Frame | None) -> Frame:
    """Renders a job's film up to a time, in seconds, and gives the frame there; writes nothing."""
    in_memory = job.model_copy(update={"target": None, "weights": None})  # the network has them
    starts: list[Event] = []
    with render(in_memory, starts.append, network=network, picture=source) as film:
        start = starts[0]
        assert isinstance(start, Start)
        assert start.fps is not None
        return _at((rendered.frame for rendered in film), at, start.fps)


def _at(frames: Iterator[Frame], at: float, fps: Fraction) -> Frame:
    """Takes the frame at a time, in seconds; raises UsageError where there are too few."""
    frame = next(islice(frames, round(at * fps), None), None)
    if frame is None:
        raise UsageError(f"at: the clip ends before {at:g} s")
    return frame
