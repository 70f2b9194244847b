"""Contact sheets: pictures side by side, each with its caption under it."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zoomdream.errors import OutputError, UsageError
from zoomdream.files import write_atomically
from zoomdream.media.frame import Frame, ImageArray, resize, to_bytes
from zoomdream.size import Size

GAP = 8  # px between pictures
TEXT = 14  # px, height of a caption's letters
LINE = TEXT + 4  # px from one line to the next
PAPER, INK, FAINT = (250, 249, 246), (20, 20, 20), (120, 118, 112)
MARK = (255, 214, 0)
SHAPE = 1.5  # width by height that a sheet has about, where its columns are not given
SHEET_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
SHEET_LONGEST = {"JPEG": 65535, "WEBP": 16383, "PNG": 100_000}  # px of a side that a format holds
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Box = tuple[float, float, float, float]  # left, top, right, bottom, as fractions of a picture


@dataclass(frozen=True)
class Cell:
    """One picture of a sheet, and its caption: a line, and fainter ones under it.

    detail: a second picture, which stands under the first. mark: a box that is drawn on the first.
    """

    picture: Frame
    caption: tuple[str, ...] = ()
    detail: Frame | None = None
    mark: Box | None = None


def contact_sheet(cells: Sequence[Cell], columns: int, side: int) -> ImageArray:
    """Cells in rows of `columns`, (H, W, 3): pictures shrunk to fit a square of `side` px.

    columns: 0 chooses, so that the sheet is about half as wide again as high. A picture that is smaller
    keeps its size. A caption's line that is too long goes on in the next.
    """
    font = ImageFont.load_default(TEXT)
    shown = [_pictures(cell, side) for cell in cells]
    width = max(part.width for parts in shown for part in parts)
    texts = [_caption(cell.caption, width, font) for cell in cells]
    tall = [sum(part.height + GAP for part in parts) - GAP for parts in shown]
    whole = max(tall) + max(map(len, texts)) * LINE + GAP
    columns = columns or fitting_columns(len(cells), Size(width + GAP, whole))
    rows = [range(i, min(i + columns, len(cells))) for i in range(0, len(cells), columns)]
    below = [max(tall[i] for i in row) + 4 for row in rows]  # where captions begin
    lines = [max(len(texts[i]) for i in row) for row in rows]
    heights = [
        place + count * LINE if count else place - 4
        for place, count in zip(below, lines, strict=True)
    ]
    across = min(columns, len(cells)) * (width + GAP) + GAP
    size = Size(across, sum(heights) + GAP * (len(rows) + 1))
    canvas = Image.new("RGB", size, PAPER)
    draw, top = ImageDraw.Draw(canvas), GAP
    for row, height, place in zip(rows, heights, below, strict=True):
        for column, i in enumerate(row):
            left, under = GAP + column * (width + GAP), top
            for part in shown[i]:
                canvas.paste(part, (left, under))
                under += part.height + GAP
            for number, (text, ink) in enumerate(texts[i]):
                draw.text((left, top + place + number * LINE), text, ink, font)
        top += height + GAP
    return np.asarray(canvas).copy()


def fitting_columns(count: int, cell: Size) -> int:
    """How many columns make a sheet of about `SHAPE`; few places stay empty. cell: a cell's size."""

    def badness(columns: int) -> float:
        rows = -(-count // columns)
        shape = abs(math.log(columns * cell.width / (rows * cell.height) / SHAPE))
        return shape + (rows * columns - count) / count

    return min(range(1, count + 1), key=badness)


def check_sheet(path: Path, force: bool) -> None:
    """Raises UsageError and OutputError where a sheet could not be put, before any work is done."""
    if path.suffix.lower() not in SHEET_FORMATS:
        raise UsageError(f"{path} is no name for a sheet: .png, .jpg or .webp would do")
    if not path.absolute().parent.is_dir():
        raise OutputError(
            f"{path.absolute().parent} is not a folder: create it, or write elsewhere"
        )
    if path.is_dir():
        raise OutputError(f"{path} is a folder: name a file")
    if path.exists() and not force:
        raise OutputError(
            f"{path} is there already: add `force=True` to replace it, or take another name"
        )


def write_sheet(path: Path, canvas: ImageArray, force: bool = False, quality: int = 92) -> None:
    """Writes a picture, (H, W, 3), as its name's ending says: as a whole or not at all.

    quality: of JPEG and WebP, up to 100. Raises UsageError and OutputError.
    """
    check_sheet(path, force)
    form = SHEET_FORMATS[path.suffix.lower()]
    size = Size.of_channels_last(canvas)
    if size.longer > SHEET_LONGEST[form]:
        raise OutputError(
            f"{path} would be {size} pixels, which is more than "
            f"{form} holds: a .png, or a smaller `size`, would do"
        )
    content = BytesIO()
    Image.fromarray(canvas).save(content, form, quality=quality, optimize=True)
    try:
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None


def _pictures(cell: Cell, side: int) -> list[Image.Image]:
    """A cell's picture, and its detail, at the size they are shown at."""
    found = []
    for picture in (cell.picture, cell.detail):
        if picture is not None:
            small = resize(picture.cpu(), Size.of(picture).within(side))
            found.append(Image.fromarray(to_bytes(small)))
    if cell.mark is not None:
        _outline(found[0], cell.mark)
    return found


def _outline(picture: Image.Image, box: Box) -> None:
    """A bright line within a dark one, which shows on any picture."""
    left, top, right, bottom = (
        round(share * (length - 1)) for share, length in zip(box, picture.size * 2, strict=True)
    )
    draw = ImageDraw.Draw(picture)
    draw.rectangle((left, top, right, bottom), outline=INK, width=4)
    if min(right - left, bottom - top) > 2:
        draw.rectangle((left + 1, top + 1, right - 1, bottom - 1), outline=MARK, width=2)


def _caption(
    lines: Sequence[str], width: int, font: Font
) -> list[tuple[str, tuple[int, int, int]]]:
    """Lines that fit, each with its ink: the first as given is dark, also where it goes on."""
    return [
        (part, FAINT if number else INK)
        for number, text in enumerate(lines)
        for part in wrapped(text, width, font)
    ]


def wrapped(text: str, width: int, font: Font) -> list[str]:
    """The text in lines of at most `width` px: broken after blanks, dots and the like, else within a word."""
    lines = [""]
    for word in re.findall(r"[^\s.:_]*[.:_]?\s*", text):
        if lines[-1] and font.getlength((lines[-1] + word).rstrip()) > width:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength((lines[-1] + letter).rstrip()) > width:
                lines.append("")
            lines[-1] += letter
    return [line.strip() for line in lines]
