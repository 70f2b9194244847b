"""Find pictures that are taken in turns: those of a folder, or of a pattern such as `frame-%05d.png`."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from PIL import Image

from zoomdream.errors import InputError

_NUMBER = re.compile(r"%(0?)(\d*)d")  # as ffmpeg, Blender and C have it
_DIGITS = re.compile(r"(\d+)")


def picture_files(path: Path) -> list[Path] | None:
    """Lists the pictures that a folder holds or a pattern names, in their natural order: 9 before 10.

    None where it is neither. Raises InputError where there are none.
    """
    if path.is_dir():
        found = [p for p in path.iterdir() if p.is_file() and p.suffix.lower() in picture_endings()]
        if not found:
            raise InputError(f"{path} holds no pictures: put PNG or JPEG there")
        return natural_order(found)
    if not is_pattern(path):
        return None
    name = _pattern(path.name)
    found = (
        [p for p in path.parent.iterdir() if name.fullmatch(p.name)] if path.parent.is_dir() else []
    )
    if not found:
        raise InputError(f"{path}: no file has a name of that pattern")
    return natural_order(found)


def is_pattern(path: Path) -> bool:
    """Whether a name stands for many, numbered: no file has it, and it holds %d, %05d or the like."""
    return bool(_NUMBER.search(path.name)) and not path.exists()


def _pattern(name: str) -> re.Pattern[str]:
    """Makes an expression of a pattern; `%05d` takes five digits or more."""
    parts, end = [], 0
    for number in _NUMBER.finditer(name):
        digits = f"[0-9]{{{number[2]},}}" if number[1] and number[2] else "[0-9]+"
        parts += [re.escape(name[end : number.start()]), digits]
        end = number.end()
    return re.compile("".join([*parts, re.escape(name[end:])]))


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Sorts files by name, with numbers in the names by their value."""
    return sorted(paths, key=lambda path: (_numbers_apart(path.name.lower()), path.name))


def _numbers_apart(name: str) -> list[tuple[int, str]]:
    """Splits a name where numbers begin and end; words come after numbers."""
    parts = filter(None, _DIGITS.split(name))
    return [(int(part), "") if part.isdecimal() else (1 << 62, part) for part in parts]


def missing_numbers(paths: Sequence[Path]) -> int:
    """How many numbers are left out between the first and the last file; 0 where names have none."""
    last_numbers = [_DIGITS.findall(path.stem) for path in paths]
    if not all(last_numbers):
        return 0
    numbers = {int(found[-1]) for found in last_numbers}
    return max(numbers) - min(numbers) + 1 - len(numbers)


@cache
def picture_endings() -> frozenset[str]:
    """The endings of names that pictures have, drawings included; in lower case."""
    Image.init()
    return frozenset({*Image.registered_extensions(), ".exr", ".hdr", ".svg", ".svgz"})
