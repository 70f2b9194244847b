"""Find pictures that are taken in turns: those of a folder, or of a pattern such as `frame-%05d.png`."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from PIL import Image

from zoomdream.errors import InputError
from zoomdream.media.image_formats import PILLOW_READS

_NUMBER = re.compile(r"%(?:%|(0?)(\d*)d)")  # as ffmpeg and C have it; %% is a mere %
_DIGITS = re.compile(r"(\d+)")


def picture_files(path: Path) -> list[Path] | None:
    """Lists the pictures that a folder holds or a pattern names, in their natural order: 9 before 10.

    Hidden files of a folder are left out, such as macOS's `._1.png`. None where it is neither. Raises
    InputError where there are none.
    """
    if path.is_dir():
        found = [p for p in path.iterdir() if _is_shown_picture(p) and p.is_file()]
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


def _is_shown_picture(path: Path) -> bool:
    return not path.name.startswith(".") and path.suffix.lower() in picture_endings()


def is_pattern(path: Path) -> bool:
    """Whether a name stands for many, numbered: no file has it, and it holds %d, %05d or the like."""
    return any(part[0] != "%%" for part in _NUMBER.finditer(path.name)) and not path.exists()


def _pattern(name: str) -> re.Pattern[str]:
    """Makes an expression of a pattern; `%05d` takes five digits or more."""
    parts, end = [], 0
    for number in _NUMBER.finditer(name):
        digits = f"[0-9]{{{number[2]},}}" if number[1] and number[2] else "[0-9]+"
        parts += [re.escape(name[end : number.start()]), "%" if number[0] == "%%" else digits]
        end = number.end()
    return re.compile("".join([*parts, re.escape(name[end:])]))


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Sorts files by name, with numbers in the names by their value."""
    return sorted(paths, key=lambda path: (_numbers_apart(path.stem.lower()), path.name))


def _numbers_apart(name: str) -> list[tuple[bool, int, str]]:
    """Splits a name where numbers begin and end; words come after numbers."""
    parts = filter(None, _DIGITS.split(name))
    return [(False, int(part), "") if part.isdecimal() else (True, 0, part) for part in parts]


def missing_numbers(paths: Sequence[Path]) -> int:
    """How many numbers are left out between the first and the last file.

    0 where names do not differ in one number.
    """
    places = zip(*(map(int, _DIGITS.findall(path.stem)) for path in paths), strict=False)
    counting = [numbers for numbers in map(set, places) if len(numbers) > 1]
    if len(counting) != 1:
        return 0
    numbers: set[int] = counting[0]
    return max(numbers) - min(numbers) + 1 - len(numbers)


@cache
def picture_endings() -> frozenset[str]:
    """The endings of names of pictures that can be read, drawings included; in lower case."""
    Image.init()
    by_pillow = [end for end, kind in Image.registered_extensions().items() if kind in PILLOW_READS]
    return frozenset({*by_pillow, ".mpo", ".exr", ".hdr", ".pdf", ".svg", ".svgz"})
