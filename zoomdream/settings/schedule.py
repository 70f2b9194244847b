"""Evaluates values that change over time, keyframes or an expression, for all frames at once.

    1.5                                         a number
    "1.3 + 0.2*sin(2*pi*t/4)"                   an expression
    {"0s" = 1.2, "4s" = 2.0, ease = "in-out"}   keyframes, in s(econds), f(rames), % or b(eats)

Between keyframes numbers go over into the next by `ease`; a keyframe that is an expression runs until
the next key. Before the first key its value is held, after the last one its own.

Expressions are read by simpleeval, with the names and functions listed here and nothing else; they
are capped in length and depth, and work on whole arrays, so that a film's worth costs what one frame does.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from zoomdream.settings.clock import Clock, Values
from zoomdream.settings.easing import EASES, EASINGS, monotone_cubic
from zoomdream.settings.expression import (
    Expression,
    ScheduleError,
    near_names,
    read_expression,
    schedule_error,
)

_TIME = re.compile(r"\s*(-?\d+(?:\.\d*)?|-?\.\d+)\s*(s|f|%|b|)\s*")


@dataclass(frozen=True)
class Key:
    """One keyframe: its time as it was written, and a number or an expression."""

    amount: float
    unit: str  # s, f, % or b
    value: float | str

    def seconds(self, clock: Clock) -> float:
        if self.unit == "b":
            if not clock.bpm:
                raise ScheduleError(f"{self.amount:g}b counts beats: give bpm as well")
            return self.amount * 60 / clock.bpm
        scale = {"s": 1.0, "f": 1 / float(clock.fps), "%": clock.duration / 100}
        return self.amount * scale[self.unit]

    @property
    def written(self) -> str:
        return f"{self.amount:g}{self.unit}"


@dataclass(frozen=True)
class Schedule:
    """Keyframes, or an expression as the only one. Make it with `read_schedule`.

    per: `second`, or `frame` for rates that are given per frame and interpolated as they stand.
    """

    keys: tuple[Key, ...]
    ease: str = "linear"
    per: str = "second"

    @property
    def source(self) -> str | dict[str, float | str]:
        """Gives it as a preset writes it: an expression, or a table of keyframes."""
        only = self.keys[0]
        if len(self.keys) == 1 and isinstance(only.value, str) and self.per == "second":
            return only.value
        written: dict[str, float | str] = {key.written: key.value for key in self.keys}
        if self.ease != "linear":
            written["ease"] = self.ease
        if self.per != "second":
            written["per"] = self.per
        return written

    @cached_property
    def _expressions(self) -> dict[str, Expression]:
        return {
            key.value: read_expression(key.value) for key in self.keys if isinstance(key.value, str)
        }

    def check(self) -> None:
        """Raises ScheduleError for expressions that cannot be read."""
        _ = self._expressions

    def notes(self, clock: Clock) -> list[str]:
        """Warns of what a user may not have meant."""
        first = min(self.keys, key=lambda key: key.seconds(clock))
        if first.seconds(clock) > 0:
            return [f"there is no key at 0: the value of {first.written} is held until then"]
        return []

    def values(self, clock: Clock, logarithmic: bool = False) -> Values:
        """Evaluates it at each frame, in the setting's own unit (rates per second). Raises ScheduleError.

        logarithmic: numbers are interpolated in their logarithm, as factors are.
        """
        logarithmic = logarithmic and self.per == "second" and len(self.keys) > 1
        seconds = np.arange(clock.frames) / float(clock.fps)
        keys = sorted((key.seconds(clock), n) for n, key in enumerate(self.keys))
        for (early, a), (late, b) in pairwise(keys):
            if late - early < 1e-9:
                raise ScheduleError(
                    f"the keys {self.keys[a].written} and {self.keys[b].written} are the same moment"
                )
        times = np.array([time for time, _ in keys])
        ordered = [self.keys[n] for _, n in keys]
        numbers = np.array(
            [self._at(key, clock, time) for key, time in zip(ordered, times, strict=True)]
        )
        if logarithmic:
            if (numbers <= 0).any():
                raise ScheduleError("a factor has to be above 0 at every key")
            numbers = np.log(numbers)
        series = self._between(times, numbers, seconds)
        series = np.exp(series) if logarithmic else series
        starts = np.searchsorted(seconds, times - 1e-9)
        starts[0] = 0
        for key, start, end in zip(ordered, starts, [*starts[1:], len(seconds)], strict=True):
            if isinstance(key.value, str) and start < end:
                at = np.maximum(seconds[start:end], times[0])
                series[start:end] = self._expressions[key.value].values(clock, at)
        return self._finite(series, clock)

    def _at(self, key: Key, clock: Clock, time: float) -> float:
        if isinstance(key.value, float):
            return key.value
        return float(self._expressions[key.value].values(clock, np.array([time]))[0])

    def _between(self, times: Values, numbers: Values, seconds: Values) -> Values:
        if len(times) == 1:
            return np.full(len(seconds), numbers[0])
        if self.ease == "smooth":
            return monotone_cubic(times, numbers, seconds)
        k = np.clip(np.searchsorted(times, seconds + 1e-9, "right") - 1, 0, len(times) - 2)
        share = np.clip((seconds - times[k]) / (times[k + 1] - times[k]), 0, 1)
        eased = np.where(share < 1, EASINGS[self.ease](share), 1.0)
        return numbers[k] + (numbers[k + 1] - numbers[k]) * eased

    def _finite(self, series: Values, clock: Clock) -> Values:
        bad = np.flatnonzero(~np.isfinite(series))
        if len(bad):
            at = int(bad[0])
            text = next(iter(self._expressions), str(self.source))
            raise schedule_error(
                text, f"at frame {at} ({at / float(clock.fps):.2f} s) this is {series[at]}", 0
            )
        return series


def read_schedule(value: str | Mapping[str, Any]) -> Schedule:
    """Makes a schedule of an expression or a table of keyframes; raises ScheduleError."""
    if isinstance(value, str):
        schedule = Schedule((Key(0.0, "s", value),))
        schedule.check()
        return schedule
    keys, ease, per = [], "linear", "second"
    for name, content in value.items():
        if name == "ease":
            if content not in EASES:
                raise ScheduleError(
                    f'there is no ease "{content}": {near_names(str(content), EASES)}'
                )
            ease = content
        elif name == "per":
            if content not in ("second", "frame"):
                raise ScheduleError('per is "second" or "frame"')
            per = content
        else:
            keys.append(_key(str(name), content))
    if not keys:
        raise ScheduleError('keyframes are missing, such as "0s" = 1.2')
    for (amount, unit), count in Counter((key.amount, key.unit) for key in keys).items():
        if count > 1:
            raise ScheduleError(f"the key {amount:g}{unit} is given twice")
    schedule = Schedule(tuple(keys), ease, per)
    schedule.check()
    return schedule


def _key(name: str, content: Any) -> Key:
    time = _TIME.fullmatch(name) if len(name) < 40 else None
    if not time:
        raise ScheduleError(f'"{name[:60]}" is no time of a key: 4s, 120f, 50% or 8b would do')
    if isinstance(content, bool) or not isinstance(content, int | float | str):
        raise ScheduleError(f"the key {name} holds no number and no expression")
    if isinstance(content, str):
        return Key(float(time[1]), time[2] or "s", content)
    try:
        number = float(content)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ScheduleError(f"the key {name} is {content}, which is no finite number")
    return Key(float(time[1]), time[2] or "s", number)
