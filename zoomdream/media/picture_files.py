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

    Hidden files are left out: those of some systems beside each picture look like one by their names.

    None where it is neither. Raises InputError where there are none.
    """
    if path.is_dir():
        found = [
            p
            for p in path.iterdir()
            if p.is_file() and p.suffix.lower() in picture_endings() and not p.name.startswith(".")
        ]
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
    """How many numbers are left out between the first and the last file; 0 where names have none.

    The numbers are the last ones in the names that are not all the same.
    """
    found = [map(int, _DIGITS.findall(path.stem)[::-1]) for path in paths]
    columns = map(set, zip(*found, strict=False))
    numbers = next((column for column in columns if len(column) > 1), None)
    return max(numbers) - min(numbers) + 1 - len(numbers) if numbers else 0


@cache
def picture_endings() -> frozenset[str]:
    """The endings of names that pictures have, drawings included; in lower case."""
    Image.init()
    return frozenset({*Image.registered_extensions(), ".exr", ".hdr", ".svg", ".svgz"})
