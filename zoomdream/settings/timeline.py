"""Evaluates a job's settings at every frame, before the first one is rendered."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from zoomdream.errors import UsageError
from zoomdream.settings.clock import Clock, Values
from zoomdream.settings.definitions import SECTIONS, SETTINGS, RenderJob
from zoomdream.settings.expression import ScheduleError
from zoomdream.settings.schedule import Schedule
from zoomdream.settings.traits import Settings, Traits


def nominal_clock(job: RenderJob) -> Clock:
    """Tells when frames are shown, without a look at the input: a clip is taken to last 10 s."""
    fps = job.output.fps or Fraction(30)
    frames = round(10 * fps) if job.flow else job.output.length(fps)
    return Clock(fps, max(1, frames), job.seed, job.bpm)


def at_start(job: RenderJob) -> RenderJob:
    """Returns a job as it is at its first frame, with plain numbers; raises UsageError."""
    return Timeline(job, nominal_clock(job)).at(0)


def at_middle(job: RenderJob) -> tuple[RenderJob, float]:
    """A job of plain numbers, as it is at the middle of its film, and when that is, in seconds."""
    clock = nominal_clock(job)
    middle = clock.frames // 2
    return Timeline(job, clock).at(middle), float(middle / clock.fps)


class Timeline:
    """A job's settings at each frame. Raises UsageError for the first that is wrong, with its frame."""

    def __init__(self, job: RenderJob, clock: Clock) -> None:
        self._job, self._clock = job, clock
        self.notes: list[str] = []
        self._changing: dict[str, dict[str, Any]] = {}
        for section in SECTIONS:
            settings = getattr(job, section)
            if settings is None:
                continue
            changing = {
                name: self._over_time(section, name, value)
                for name, value in settings
                if _changes(value)
            }
            if changing:
                self._changing[section] = changing
                self._check(section, settings, changing)

    def at(self, frame: int) -> RenderJob:
        """Returns the job with plain numbers, as it is at a frame; frames beyond the end begin again."""
        if not self._changing:
            return self._job
        frame %= self._clock.frames
        sections = {
            section: getattr(self._job, section).model_copy(
                update={
                    name: _pick(value, frame, getattr(self._job, section), name)
                    for name, value in changing.items()
                }
            )
            for section, changing in self._changing.items()
        }
        return self._job.model_copy(update=sections)

    def _over_time(self, section: str, name: str, value: Any) -> Any:
        path = f"{section}.{name}"
        traits = SETTINGS[path].traits
        if isinstance(value, dict):
            return {key: self._values(f"{path}.{key}", part, traits) for key, part in value.items()}
        if isinstance(value, tuple):
            return tuple(self._values(path, part, traits) for part in value)
        return self._values(path, value, traits)

    def _values(self, path: str, value: Any, traits: Traits) -> Any:
        if not isinstance(value, Schedule):
            return value
        if value.per == "frame" and not (traits.factor or traits.rate):
            raise UsageError(f'{path}: per = "frame" is for rates, which this is not')
        try:
            self.notes += [f"{path}: {note}" for note in value.notes(self._clock)]
            series = value.values(self._clock, logarithmic=traits.factor)
        except ScheduleError as error:
            raise UsageError(f"{path}: {error}") from None
        if value.per == "frame":
            fps = float(self._clock.fps)
            series = series**fps if traits.factor else series * fps
        return series

    def _check(self, section: str, settings: Settings, changing: dict[str, Any]) -> None:
        """Raises UsageError unless the least and the largest of each one's values are in its range."""
        kind, plain = SECTIONS[section], dict(settings)
        for name, values in changing.items():
            for index, key, series in _arrays(values):
                if isinstance(values, dict):
                    continue
                for frame in {int(series.argmin()), int(series.argmax())}:
                    number = _round(float(series[frame]), kind, name)
                    written = plain[name]
                    candidate = (
                        number
                        if key is None
                        else tuple(
                            number if i == index else (0.5 if isinstance(part, Schedule) else part)
                            for i, part in enumerate(written)
                        )
                    )
                    others = {n: v for n, v in plain.items() if n not in changing}
                    try:
                        kind(**{**others, name: candidate})
                    except UsageError as error:
                        at = f"at frame {frame} ({frame / float(self._clock.fps):.2f} s)"
                        raise UsageError(f"{section}.{error} {at}") from None


def _changes(value: Any) -> bool:
    if isinstance(value, dict):
        return any(isinstance(part, Schedule) for part in value.values())
    return isinstance(value, Schedule) or (
        isinstance(value, tuple) and any(isinstance(part, Schedule) for part in value)
    )


def _arrays(values: Any) -> Iterator[tuple[int, Any, Values]]:
    """Yields (index, the same or None where it is no tuple, values over time) of each part that changes."""
    if isinstance(values, tuple):
        for index, part in enumerate(values):
            if not isinstance(part, int | float):
                yield index, index, part
    elif not isinstance(values, dict):
        yield 0, None, values


def _pick(value: Any, frame: int, settings: Settings, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _pick(part, frame, settings, name) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_pick(part, frame, settings, name) for part in value)
    if isinstance(value, int | float):
        return value
    return _round(float(value[frame]), type(settings), name)


def _round(value: float, kind: type[Settings], name: str) -> float:
    """Turns a value into what a setting takes: a whole number for a setting that is one."""
    return round(value) if kind.model_fields[name].annotation is int else value
