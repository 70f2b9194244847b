"""Says what a sweep varies: a setting, or the preset, with its values; also read from `steps=2,4,8`."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from zoomdream.errors import UsageError, nearest
from zoomdream.settings.definitions import SETTINGS
from zoomdream.settings.expression import split_at_commas
from zoomdream.settings.setting_paths import plain_value

PRESET = "preset"  # varies as a setting does, and is none
NOT_VARIED = ("source", "target", "force", "max_pixels")  # one for a whole sheet
MOST_VALUES = 100
_NUMBER = r"(-?\d*\.?\d+)"
_RANGE = re.compile(rf"{_NUMBER}\.\.{_NUMBER}(?::(\d+))?")


@dataclass(frozen=True)
class Choice:
    """One value of what is varied.

    written: what a person writes to get it, such as `steps=4`. changes: settings by path, where `preset`
    is the name of one.
    """

    written: str
    changes: Mapping[str, Any]


def choices(name: str, values: Iterable[Any]) -> list[Choice]:
    """Makes the choices that a sweep has for a setting. name: as `varied_path` takes it.

    Raises UsageError for a name that is none.
    """
    path = varied_path(name)
    return [Choice(f"{name}={_written(plain_value(value))}", {path: value}) for value in values]


def read_choices(text: str, read: Callable[[str, str], Mapping[str, Any]]) -> list[Choice]:
    """Reads NAME=VALUE,VALUE,... as choices; raises UsageError.

    read: makes changes of a path and a value's text. Values with commas of their own are separated by
    semicolons instead; A..B stands for whole numbers and A..B:N for N numbers, evenly from A to B.
    """
    name, mark, values = (part.strip() for part in text.partition("="))
    if not mark:
        raise UsageError(f'"{text}" is not NAME=VALUE,VALUE,... such as steps=2,4,8')
    path = varied_path(name)
    separated = values.split(";") if ";" in values else split_at_commas(values)
    parts = [part.strip() for part in separated]
    if parts[-1] == "" and ";" in values:  # a single value with commas
        parts.pop()
    if not all(parts):
        raise UsageError(f'"{text}" has an empty value: {name}=A,B,... or {name}=A;B;... would do')
    return [
        Choice(f"{name}={value}", read(path, value))
        for part in parts
        for value in _counted_out(path, part)
    ]


def varied_path(name: str) -> str:
    """Finds a setting's path by it, by its option or by its own name; `preset` stays what it is.

    Raises UsageError, with the nearest names, for one that is none or is not to be varied.
    """
    varied = {path: known for path, known in SETTINGS.items() if path not in NOT_VARIED}
    if name in varied or name == PRESET:
        return name
    short = name.removeprefix("--").replace("_", "-")
    by_flag = [path for path, known in varied.items() if known.flag == short]
    by_name = [p for p in varied if p.rpartition(".")[2].replace("_", "-") == short]
    found = by_flag or by_name
    if not found:
        names = varied if "." in name else [PRESET, *(known.flag for known in varied.values())]
        raise UsageError(f'there is no setting "{name}" to vary: {nearest(name, names)}')
    if len(found) > 1:
        raise UsageError(f'"{name}" may be {" or ".join(found)}: write one of these')
    return found[0]


def _counted_out(path: str, text: str) -> list[str]:
    """Counts out a range A..B or A..B:N; all else is a single value."""
    match = _RANGE.fullmatch(text)
    if match is None:
        return [text]
    low, high = float(match[1]), float(match[2])
    whole = low.is_integer() and high.is_integer()
    if match[3] is None and not whole:
        raise UsageError(f"{path}: {text} wants to know how many, such as {text}:5")
    count = int(match[3] or abs(high - low) + 1)
    if not 2 <= count <= MOST_VALUES:
        raise UsageError(f"{path}: {text} is {count} values: 2 to {MOST_VALUES} would do")
    numbers = (low + (high - low) * step / (count - 1) for step in range(count))
    if path in SETTINGS and SETTINGS[path].field.annotation is int:
        return list(dict.fromkeys(str(round(number)) for number in numbers))
    return [f"{number:.6g}" for number in numbers]


def _written(value: Any) -> str:
    """Writes a value as an option takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={_written(part)}" for key, part in value.items())
    return ",".join(map(_written, value)) if isinstance(value, list) else str(value)
