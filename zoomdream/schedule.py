"""A value over time: keyframes or an expression, evaluated for all frames at once.

    1.5                                         a number
    "1.3 + 0.2*sin(2*pi*t/4)"                   an expression
    {"0s" = 1.2, "4s" = 2.0, ease = "in-out"}   keyframes, in s(econds), f(rames), % or b(eats)

Between keyframes numbers go over into the next by `ease`; a keyframe that is an expression runs until
the next key. Before the first key its value is held, after the last one its own.

Expressions are read by simpleeval, with the names and functions listed here and nothing else; they
are capped in length and depth, and work on whole arrays, so that a film's worth costs what one frame does.
"""

import ast
import difflib
import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, reduce
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simpleeval import SimpleEval

from zoomdream.errors import UsageError

Values = NDArray[np.float64]  # one per moment

LONGEST, DEEPEST = 1000, 40  # characters and nested operations of an expression


@dataclass(frozen=True)
class Clock:
    """When a film's frames are shown."""

    fps: Fraction
    frames: int
    seed: int = 0
    bpm: float | None = None

    @property
    def duration(self) -> float:
        return float(self.frames / self.fps)

    def names(self, seconds: Values) -> dict[str, Any]:
        """What an expression may name, at given moments."""
        frame = seconds * float(self.fps)
        return {
            "t": seconds,
            "frame": np.where(np.abs(frame - np.round(frame)) < 1e-6, np.round(frame), frame),
            "frames": float(self.frames),
            "fps": float(self.fps),
            "duration": self.duration,
            "seed": float(self.seed),
            "beat": seconds * (self.bpm or 60.0) / 60,
            "pi": math.pi,
            "tau": math.tau,
        }


NAMES = ("t", "frame", "frames", "fps", "duration", "seed", "beat", "pi", "tau")


def noise(x: Any, seed: float = 0.0) -> Values:
    """Smooth noise of -1 to 1 that changes from one whole number to the next."""
    x = np.asarray(x, np.float64)
    whole = np.floor(np.clip(x, -(2.0**52), 2.0**52))
    share = x - whole
    share = share * share * share * (share * (share * 6 - 15) + 10)
    values: Values = _hash(whole, seed) * (1 - share) + _hash(whole + 1, seed) * share
    return values


def _hash(whole: Values, seed: float) -> Values:
    """-1 to 1, by chance, the same for the same whole number (splitmix64)."""
    with np.errstate(over="ignore"):
        mixed = whole.astype(np.int64).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed = mixed + np.uint64(int(seed) % 2**63)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return mixed.astype(np.float64) / 2.0**63 - 1


def _smoothstep(low: Any, high: Any, x: Any) -> Any:
    share: Any = np.clip((x - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {  # and how many arguments they take
    "sin": (np.sin, 1, 1), "cos": (np.cos, 1, 1), "tan": (np.tan, 1, 1), "exp": (np.exp, 1, 1),
    "log": (np.log, 1, 1), "sqrt": (np.sqrt, 1, 1), "abs": (np.abs, 1, 1), "floor": (np.floor, 1, 1),
    "min": (lambda *a: reduce(np.minimum, a), 1, 20), "max": (lambda *a: reduce(np.maximum, a), 1, 20),
    "clamp": (lambda x, low, high: np.minimum(np.maximum(x, low), high), 3, 3),
    "lerp": (lambda a, b, share: a + (b - a) * share, 3, 3), "smoothstep": (_smoothstep, 3, 3),
    "where": (np.where, 3, 3), "noise": (noise, 1, 2),
}  # fmt: skip

OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide,
    ast.FloorDiv: np.floor_divide, ast.Mod: np.mod, ast.Pow: np.float_power,
    ast.USub: np.negative, ast.UAdd: np.positive,
    ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal,
    ast.Eq: np.equal, ast.NotEq: np.not_equal,
}  # fmt: skip


class ScheduleError(UsageError):
    """A schedule cannot be read or evaluated; the message shows where."""


def _wrong(text: str, what: str, at: int | None = None) -> ScheduleError:
    """With a caret under the place that is meant, where it is known."""
    if at is None or "\n" in text or len(text) > 200:
        return ScheduleError(f'{what}: "{text[:200]}"')
    return ScheduleError(f"{what}\n    {text}\n    {' ' * at}^")


class Expression:
    """An expression, checked and compiled once. Raises ScheduleError."""

    def __init__(self, text: str) -> None:
        self.text = text
        stripped = text.strip()
        if not stripped:
            raise ScheduleError("an expression is empty: a number, or something such as 1 + sin(t)")
        if len(text) > LONGEST:
            raise ScheduleError(
                f"an expression of {len(text)} characters is too long: {LONGEST} at most"
            )
        try:
            with warnings.catch_warnings(action="ignore"):  # of strange escapes in strings
                parsed = ast.parse(stripped, mode="eval").body
        except SyntaxError as error:
            at = (error.offset or 1) - 1 + len(text) - len(text.lstrip())
            raise _wrong(text, "this is no expression", min(at, len(text))) from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise _wrong(text, f"this is no expression ({error})") from None
        self._indent = len(text) - len(text.lstrip())
        self._parsed = self._checked(parsed, 0)
        self._evaluator = SimpleEval(
            operators=OPERATORS, functions={name: made for name, (made, _, _) in FUNCTIONS.items()}
        )

    def _checked(self, node: ast.AST, depth: int) -> ast.AST:
        """The same, its numbers as floats; raises ScheduleError for what is not allowed."""

        def wrong(what: str) -> ScheduleError:
            column = len(
                self.text.strip().encode()[: getattr(node, "col_offset", 0)].decode(errors="ignore")
            )
            return _wrong(self.text, what, column + self._indent)

        if depth > DEEPEST:
            raise wrong(f"this is nested more than {DEEPEST} deep")
        match node:
            case ast.Constant(value=bool()):
                raise wrong("True and False are no numbers")
            case ast.Constant(value=int() | float() as number):
                try:
                    return ast.copy_location(ast.Constant(float(number)), node)
                except OverflowError:
                    raise wrong("this number is too large") from None
            case ast.Name(id=name):
                if name not in NAMES:
                    hint = " (a function, to be called)" if name in FUNCTIONS else ""
                    raise wrong(f'there is no "{name}" here{hint}: {_near(name, NAMES)}')
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                if name not in FUNCTIONS:
                    raise wrong(f'there is no function "{name}": {_near(name, FUNCTIONS)}')
                _, least, most = FUNCTIONS[name]
                if not least <= len(arguments) <= most:
                    raise wrong(
                        f"{name} takes {least if least == most else f'{least} to {most}'} values"
                    )
                node.args = [self._checked(a, depth + 1) for a in arguments]  # type: ignore[misc]
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in OPERATORS:
                node.left = self._checked(left, depth + 1)  # type: ignore[assignment]
                node.right = self._checked(right, depth + 1)  # type: ignore[assignment]
            case ast.UnaryOp(op=operator, operand=operand) if type(operator) in OPERATORS:
                node.operand = self._checked(operand, depth + 1)  # type: ignore[assignment]
            case ast.Compare(left=left, ops=[operator], comparators=[right]) if (
                type(operator) in OPERATORS
            ):
                node.left = self._checked(left, depth + 1)  # type: ignore[assignment]
                node.comparators = [self._checked(right, depth + 1)]  # type: ignore[list-item]
            case ast.IfExp() | ast.BoolOp() | ast.Compare():
                raise wrong("choose with where(condition, this, that)")
            case _:
                raise wrong("only numbers, + - * / // % **, comparisons and functions are allowed")
        return node

    def values(self, clock: Clock, seconds: Values) -> Values:
        """At given moments; not all need be finite. Raises ScheduleError."""
        self._evaluator.names = clock.names(seconds)
        try:
            with np.errstate(all="ignore"):
                found = self._evaluator._eval(self._parsed)
                return np.broadcast_to(np.asarray(found, np.float64), seconds.shape)
        except (ArithmeticError, ValueError, TypeError) as error:
            raise _wrong(self.text, f"this cannot be evaluated ({error})") from None


def _near(name: str, known: Any) -> str:
    found = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(found)}?" if found else f"there are {', '.join(known)}"


# --- Easing ----------------------------------------------------------------------------------------

_CURVES: dict[str, Callable[[Values], Values]] = {
    "quad": lambda u: u**2,
    "cubic": lambda u: u**3,
    "sine": lambda u: 1 - np.cos(u * math.pi / 2),
    "expo": lambda u: (2.0 ** (10 * u) - 1) / 1023,
    "circ": lambda u: 1 - np.sqrt(np.maximum(1 - u**2, 0)),
    "back": lambda u: u * u * (2.70158 * u - 1.70158),
}


def _easings() -> dict[str, Callable[[Values], Values]]:
    """linear, step, and in, out, in-out of every curve (Penner 2002); without a curve it is cubic."""
    made: dict[str, Callable[[Values], Values]] = {"linear": lambda u: u, "step": np.zeros_like}
    for name, curve in _CURVES.items():
        made[f"in-{name}"] = curve
        made[f"out-{name}"] = lambda u, c=curve: 1 - c(1 - u)  # type: ignore[misc]
        made[f"in-out-{name}"] = lambda u, c=curve: np.where(  # type: ignore[misc]
            u < 0.5, c(2 * u) / 2, 1 - c(2 - 2 * u) / 2
        )
    return made | {kind: made[f"{kind}-cubic"] for kind in ("in", "out", "in-out")}


EASINGS = _easings()
EASES = (*EASINGS, "smooth")


def _monotone(x: Values, y: Values, at: Values) -> Values:
    """Cubic interpolation that never overshoots (Fritsch and Carlson 1980, in Brodlie's weights)."""
    h, slope = np.diff(x), np.diff(y) / np.diff(x)
    tangent = np.zeros_like(y)
    tangent[0], tangent[-1] = slope[0], slope[-1]
    same = slope[:-1] * slope[1:] > 0
    weight = (h[:-1] + 2 * h[1:]) / (3 * (h[:-1] + h[1:]))
    with np.errstate(all="ignore"):
        mean = slope[:-1] * slope[1:] / (weight * slope[1:] + (1 - weight) * slope[:-1])
    tangent[1:-1] = np.where(same, mean, 0)
    k = np.clip(np.searchsorted(x, at, "right") - 1, 0, len(h) - 1)
    u = np.clip((at - x[k]) / h[k], 0, 1)
    a, b = y[k], y[k + 1]
    return (
        (2 * u**3 - 3 * u**2 + 1) * a
        + (u**3 - 2 * u**2 + u) * h[k] * tangent[k]
        + (3 * u**2 - 2 * u**3) * b
        + (u**3 - u**2) * h[k] * tangent[k + 1]
    )


# --- Schedules -------------------------------------------------------------------------------------

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
        """As it was, or could have been, written."""
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
        return {key.value: Expression(key.value) for key in self.keys if isinstance(key.value, str)}

    def check(self) -> None:
        """Raises ScheduleError for expressions that cannot be read."""
        _ = self._expressions

    def notes(self, clock: Clock) -> list[str]:
        """What a user may not have meant."""
        first = min(self.keys, key=lambda key: key.seconds(clock))
        if first.seconds(clock) > 0:
            return [f"there is no key at 0: the value of {first.written} is held until then"]
        return []

    def values(self, clock: Clock, logarithmic: bool = False) -> Values:
        """One for each frame, in the setting's own unit (rates per second). Raises ScheduleError.

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
        found = self._between(times, numbers, seconds)
        found = np.exp(found) if logarithmic else found
        for n, key in enumerate(ordered):
            if isinstance(key.value, str):
                end = times[n + 1] if n + 1 < len(times) else np.inf
                start = -np.inf if n == 0 else times[n] - 1e-9
                here = (seconds >= start) & (seconds < end - 1e-9)
                if here.any():
                    at = np.maximum(seconds[here], times[0])
                    found[here] = self._expressions[key.value].values(clock, at)
        return self._finite(found, clock)

    def _at(self, key: Key, clock: Clock, time: float) -> float:
        if isinstance(key.value, float):
            return key.value
        return float(self._expressions[key.value].values(clock, np.array([time]))[0])

    def _between(self, times: Values, numbers: Values, seconds: Values) -> Values:
        if len(times) == 1:
            return np.full(len(seconds), numbers[0])
        if self.ease == "smooth":
            return _monotone(times, numbers, seconds)
        k = np.clip(np.searchsorted(times, seconds + 1e-9, "right") - 1, 0, len(times) - 2)
        share = np.clip((seconds - times[k]) / (times[k + 1] - times[k]), 0, 1)
        eased = np.where(share < 1, EASINGS[self.ease](share), 1.0)
        return numbers[k] + (numbers[k + 1] - numbers[k]) * eased

    def _finite(self, found: Values, clock: Clock) -> Values:
        bad = np.flatnonzero(~np.isfinite(found))
        if len(bad):
            at = int(bad[0])
            text = next(iter(self._expressions), str(self.source))
            raise _wrong(
                text, f"at frame {at} ({at / float(clock.fps):.2f} s) this is {found[at]}", 0
            )
        return found


def read_schedule(value: str | Mapping[str, Any]) -> Schedule:
    """A schedule from an expression or a table of keyframes; raises ScheduleError."""
    if isinstance(value, str):
        made = Schedule((Key(0.0, "s", value),))
        made.check()
        return made
    keys, ease, per = [], "linear", "second"
    for name, content in value.items():
        if name == "ease":
            if content not in EASES:
                raise ScheduleError(f'there is no ease "{content}": {_near(str(content), EASES)}')
            ease = content
        elif name == "per":
            if content not in ("second", "frame"):
                raise ScheduleError('per is "second" or "frame"')
            per = content
        else:
            keys.append(_key(str(name), content))
    if not keys:
        raise ScheduleError('keyframes are missing, such as "0s" = 1.2')
    written = [(key.amount, key.unit) for key in keys]
    for key in keys:
        if written.count((key.amount, key.unit)) > 1:
            raise ScheduleError(f"the key {key.written} is given twice")
    made = Schedule(tuple(keys), ease, per)
    made.check()
    return made


def _key(name: str, content: Any) -> Key:
    found = _TIME.fullmatch(name) if len(name) < 40 else None
    if not found:
        raise ScheduleError(f'"{name[:60]}" is no time of a key: 4s, 120f, 50% or 8b would do')
    if isinstance(content, bool) or not isinstance(content, int | float | str):
        raise ScheduleError(f"the key {name} holds no number and no expression")
    if isinstance(content, str):
        return Key(float(found[1]), found[2] or "s", content)
    try:
        number = float(content)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ScheduleError(f"the key {name} is {content}, which is no finite number")
    return Key(float(found[1]), found[2] or "s", number)
