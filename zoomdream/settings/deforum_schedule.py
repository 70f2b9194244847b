"""Reads Deforum's schedules, such as `0:(1.0), 60:(1.02+0.01*sin(2*3.14*t/30))`, as Deforum does.

Deforum (deforum-art/sd-webui-deforum, `animation_key_frames.py`) splits them at commas, and leaves keys
and values to numexpr. In a value t is the frame, s the seed and max_f the last frame; in a key s, max_f, and
frame, the key before it. A plain number goes over into the next key's linearly; anything else, also
`( 1 )` with its blanks and `1e-3`, is an expression, which runs until the next key.

Where Deforum fails (no key at 0, commas inside an expression or at the end, keys without commas, typographic
quotes and dashes, a mere number) the evident meaning is taken.
"""

import ast
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from zoomdream.settings.clock import Clock, Values
from zoomdream.settings.expression import (
    Expression,
    ScheduleError,
    near_names,
    parse_expression,
    read_expression,
    schedule_error,
)

MOST_EXPRESSIONS = 20_000  # of a schedule; mere numbers may be as many as there are
Keys = dict[int, float | str]  # by frame: numbers, and expressions of ours

_NUMBER = re.compile(r"(?=.)[+-]?[0-9]*(\.[0-9]+)?$")  # what Deforum takes for a plain number
_SEPARATOR = re.compile(r"""[,;]|(?<=[)"'\d.])\s+(?=["']?\d+["']?\s*:)""")  # also none but a blank
_COMMENT = re.compile(r"#[^\n]*")
_QUOTES = str.maketrans("", "", "\"'")
_QUOTES_AND_BRACKETS = str.maketrans("", "", "\"'()")
_TYPOGRAPHY = dict.fromkeys(map(ord, "\ufeff\u200b"), "") | str.maketrans(
    "‘’‚“”„«»‐‑‒–—−×÷",  # noqa: RUF001
    '\'\'\'"""""------*/',
)
_IN_VALUES = {"t": "frame", "i": "frame", "s": "seed", "max_f": "(frames-1)", "pi": "pi"}


def read_deforum_schedule(text: str, frames: int, seed: int = 0) -> tuple[Keys, list[str]]:
    """Makes keys of ours of a schedule of Deforum's, in order, and notes; raises ScheduleError.

    frames: of the film; keys after its end are left out, as Deforum does.
    """
    clock, before = Clock(Fraction(1), frames, seed), 0
    written: dict[int, str] = {}
    parts = list(_split(text))
    _check_count(key for key, _ in parts)
    for key, value in parts:
        before = _read_frame(key, clock, before)
        written[before] = value  # the last one counts
    if not written:
        raise ScheduleError("this is empty: 0:(1.02) would do")
    shown = {frame: written[frame] for frame in sorted(written) if 0 <= frame < frames}
    outside = sorted(written.keys() - shown.keys())
    notes = [f"{_listed(outside)} before the start or after the end, and left out"] * bool(outside)
    if not shown:  # the film is over before the first key, whose value is held until then
        shown = {0: written[min(outside, key=abs)]}
    _check_count(shown.values())
    keys = {frame: _read_value(value) for frame, value in shown.items()}
    held = [value for frame, value in shown.items() if _is_held(value, keys[frame])]
    if held and len(keys) > 1:
        notes.append(f"{held[0][:40]!r} is held until the next key, as Deforum does")
    return keys, notes


def evaluate_schedule(text: str, frames: int, seed: int = 0) -> Values:
    """Evaluates a schedule as Deforum does: one value per frame; raises ScheduleError."""
    keys, _ = read_deforum_schedule(text, frames, seed)
    return evaluate_keys(keys, frames, seed)[0]


def evaluate_keys(keys: Keys, frames: int, seed: int = 0) -> tuple[Values, bool]:
    """Evaluates keys: one value per frame, and whether there are gaps; raises ScheduleError.

    Gaps are frames at which an expression is no finite number. Where it is none at all, as sqrt(-1), its
    neighbours are interpolated; infinities stay.
    """
    clock, values, gaps = Clock(Fraction(1), frames, seed), np.full(frames, np.nan), False
    for (first, value), (end, _) in pairwise([*keys.items(), (frames, 0.0)]):
        if isinstance(value, str):
            series = read_expression(value).values(clock, np.arange(first, end, dtype=np.float64))
            values[first:end] = series
            gaps = gaps or not np.isfinite(series).all()
        else:
            values[first] = value
    return interpolate(values, np.isnan(values)), gaps


def interpolate(values: Values, missing: NDArray[np.bool_]) -> Values:
    """Replaces values that are missing by those between their neighbours; raises ScheduleError."""
    known, gaps = np.flatnonzero(~missing), np.flatnonzero(missing)
    if not len(known):
        raise ScheduleError("this is no number at any frame")
    filled = values.copy()
    filled[gaps] = np.interp(gaps, known, values[known])
    return filled


def _split(text: str) -> Iterator[tuple[str, str]]:
    """Yields each key and its value as they are written; without a key the value is frame 0's."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_TYPOGRAPHY))
    text = text.strip().removeprefix("{").removesuffix("}")
    parts: list[list[str]] = []  # each in pieces, for there may be commas inside an expression
    for part in _SEPARATOR.split(text):
        if not _COMMENT.sub("", part).strip():
            continue
        if ":" in part:
            parts.append([part])
        elif parts:
            parts[-1].append(part)
        else:
            parts.append(["0:" + part])
    for pieces in parts:
        part = ",".join(pieces).strip()
        key, value = part.split(":")[:2]  # Deforum takes nothing from after a second colon
        if not key.strip() or not value.strip():
            raise ScheduleError(f'"{part[:60]}" is not frame:(value), such as 0:(1.02)')
        yield key, value.strip()


def _check_count(texts: Iterable[str]) -> None:
    """Raises ScheduleError where there are more expressions than anybody waits for."""
    count = sum(_read_number(text) is None for text in texts)
    if count > MOST_EXPRESSIONS:
        raise ScheduleError(f"there are {count} expressions, and {MOST_EXPRESSIONS} at most")


def _read_number(text: str) -> float | None:
    """Reads what Deforum takes for a plain number; None is any other expression."""
    plain = text.translate(_QUOTES_AND_BRACKETS)
    return float(plain) if _NUMBER.match(plain) and plain.strip("+-\n") else None


def _read_frame(key: str, clock: Clock, before: int) -> int:
    """Evaluates a key, such as 30, "30" or (max_f/2); before: the key before it."""
    key = _COMMENT.sub("", key).strip()
    frame = _read_number(key)
    if frame is None:
        names = {"s": "seed", "max_f": "(frames-1)", "frame": f"({before})"}
        frame = float(Expression(_translate(key, names)).values(clock, np.zeros(1))[0])
    if not math.isfinite(frame):
        raise ScheduleError(f'"{key[:60]}" is no frame, such as 30')
    return int(frame)


def _read_value(value: str) -> float | str:
    number = _read_number(value)
    return _translate(value, _IN_VALUES) if number is None else number


def _is_held(written: str, value: float | str) -> bool:
    """Tells whether a value is a number to everybody, but an expression to Deforum."""
    try:
        float(written.translate(_QUOTES_AND_BRACKETS))
    except ValueError:
        return False
    return isinstance(value, str)


def _listed(frames: list[int]) -> str:
    if len(frames) == 1:
        return f"the key {frames[0]} is"
    few = len(frames) <= 3
    return f"the keys {', '.join(map(str, frames))} are" if few else f"{len(frames)} keys are"


def _translate(text: str, names: dict[str, str]) -> str:
    """Writes an expression of numexpr's as one of ours; names: what variables are called here.

    All of ours means the same but for powers: whole numbers to the power of whole ones stay whole there,
    and 2**-t is 0 from frame 1 on.
    """
    text = " ".join(_COMMENT.sub(" ", text).translate(_QUOTES).split())
    if not text.isascii():
        raise schedule_error(text, "this is no expression")
    tree, letters = parse_expression(text), list(text)
    nodes = list(ast.walk(tree))
    called = {node.func for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        match node:
            case ast.Name(id=name) if node not in called:
                if name not in names:
                    what = f'there is no "{name[:40]}" here: {near_names(name, names)}'
                    raise schedule_error(text, what, node.col_offset)
                _replace(letters, node, names[name])
            case ast.Name(id="sum" | "prod"):  # of the one value there is
                _replace(letters, node, "")
            case ast.Constant(value=bool(value)):
                _replace(letters, node, str(int(value)))
    whole, changing = _whole_numbers(nodes), _changing(nodes)
    for node in nodes:
        match node:
            case ast.BinOp(left=base, op=ast.Pow(), right=power) if (
                base in whole and power in whole and power in changing
            ):
                letters[node.col_offset] = "trunc(" + letters[node.col_offset]
                letters[(node.end_col_offset or 0) - 1] += ")"
    return "".join(letters)


def _replace(letters: list[str], node: ast.expr, text: str) -> None:
    """Replaces a node's letters by a text, and keeps the places of all others."""
    start, end = node.col_offset, node.end_col_offset or 0
    letters[start:end] = [text, *[""] * (end - start - 1)]


def _changing(nodes: list[ast.AST]) -> set[ast.AST]:
    """Finds the nodes that a variable is in; nodes: of a tree, parents before children."""
    changing: set[ast.AST] = set()
    for node in reversed(nodes):
        if isinstance(node, ast.Name) or not changing.isdisjoint(ast.iter_child_nodes(node)):
            changing.add(node)
    return changing


def _whole_numbers(nodes: list[ast.AST]) -> set[ast.AST]:
    """Finds the nodes that numexpr evaluates as integers; nodes: of a tree, parents before children."""
    whole: set[ast.AST] = set()
    for node in reversed(nodes):
        match node:
            case ast.Constant(value=int()) | ast.Name() | ast.Compare():
                parts: list[ast.expr] = []
            case ast.UnaryOp(operand=operand):
                parts = [operand]
            case ast.BinOp(left=left, op=operator, right=right) if not isinstance(
                operator, ast.Div
            ):
                parts = [left, right]
            case ast.Call(func=ast.Name(id="where"), args=[_, *parts]):
                pass
            case ast.Call(func=ast.Name(id="round" | "sign" | "copy"), args=parts):
                pass
            case _:
                continue
        if all(part in whole for part in parts):
            whole.add(node)
    return whole
