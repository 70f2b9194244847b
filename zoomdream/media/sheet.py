"""Draw and write contact sheets: pictures side by side, each with its caption under it."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zoomdream.errors import OutputError
from zoomdream.files import readable_errors, write_atomically
from zoomdream.media.frame import Frame, ImageArray, resize, to_bytes
from zoomdream.media.image_formats import check_sheet_target, sheet_format
from zoomdream.media.image_writer import encode_image
from zoomdream.size import Size

GAP = 8  # px between pictures
TEXT = 14  # px, height of a caption's letters
LINE = TEXT + 4  # px from one line of a caption to the next
CAPTION_GAP = 4  # px between pictures and their captions
BACKGROUND, INK, FAINT_INK = (250, 249, 246), (20, 20, 20), (120, 118, 112)
MARK = (255, 214, 0)  # the colour of a box
SHEET_SHAPE = 1.5  # width by height that a sheet has about, where its columns are not given
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Ink = tuple[int, int, int]
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


@dataclass(frozen=True)
class _CellParts:
    """What of a cell is drawn: its pictures, one under the other, and the lines of its caption."""

    pictures: list[Image.Image]
    lines: list[tuple[str, Ink]]

    @property
    def height(self) -> int:
        """px of its pictures, with the gap between them."""
        return sum(picture.height + GAP for picture in self.pictures) - GAP


@dataclass(frozen=True)
class _Row:
    """Cells beside each other, whose captions begin at one height."""

    cells: list[_CellParts]
    cell_width: int  # px of the widest picture on the sheet

    @property
    def caption_top(self) -> int:
        """px from the row's top to where captions begin."""
        return max(cell.height for cell in self.cells) + CAPTION_GAP

    @property
    def height(self) -> int:
        lines = max(len(cell.lines) for cell in self.cells)
        return self.caption_top + lines * LINE if lines else self.caption_top - CAPTION_GAP


def contact_sheet(cells: Sequence[Cell], columns: int, side: int) -> ImageArray:
    """Draws cells in rows of `columns`, (H, W, 3): pictures shrunk to fit a square of `side` px.

    columns: 0 chooses, so that the sheet is about half as wide again as high. A picture that is smaller
    keeps its size. A caption's line that is too long goes on in the next.
    """
    (row,) = _rows([cells], side)
    cell = Size(row.cell_width + GAP, row.height + GAP)
    columns = columns or fitting_columns(len(cells), cell)
    parts = [row.cells[i : i + columns] for i in range(0, len(cells), columns)]
    return _drawn([_Row(cells, row.cell_width) for cells in parts])


def grid_sheet(rows: Sequence[Sequence[Cell]], side: int) -> ImageArray:
    """Draws rows of cells, which need not be equally many, (H, W, 3); else as `contact_sheet`."""
    return _drawn(_rows(rows, side))


def _rows(rows: Sequence[Sequence[Cell]], side: int) -> list[_Row]:
    """Shrinks all pictures, and wraps captions to the width of the widest."""
    pictures = [[_shrunk(cell, side) for cell in row] for row in rows]
    width = max(picture.width for row in pictures for of_cell in row for picture in of_cell)
    return [
        _Row(
            [
                _CellParts(of_cell, _caption(cell.caption, width))
                for of_cell, cell in zip(shrunk, row, strict=True)
            ],
            width,
        )
        for shrunk, row in zip(pictures, rows, strict=True)
    ]


def _drawn(rows: Sequence[_Row]) -> ImageArray:
    """Draws rows under each other."""
    columns = max(len(row.cells) for row in rows)
    pitch = rows[0].cell_width + GAP
    size = Size(columns * pitch + GAP, sum(row.height + GAP for row in rows) + GAP)
    canvas = Image.new("RGB", size, BACKGROUND)
    top = GAP
    for row in rows:
        for column, cell in enumerate(row.cells):
            _draw_cell(canvas, cell, GAP + column * pitch, top, row.caption_top)
        top += row.height + GAP
    return np.asarray(canvas).copy()


def _draw_cell(
    canvas: Image.Image, cell: _CellParts, left: int, top: int, caption_top: int
) -> None:
    """Draws pictures and their caption. caption_top: px from `top` to where it begins."""
    picture_top = top
    for picture in cell.pictures:
        canvas.paste(picture, (left, picture_top))
        picture_top += picture.height + GAP
    draw = ImageDraw.Draw(canvas)
    for number, (text, ink) in enumerate(cell.lines):
        draw.text((left, top + caption_top + number * LINE), text, ink, _font())


def fitting_columns(count: int, cell: Size) -> int:
    """How many columns make a sheet of about `SHEET_SHAPE` with few empty places. cell: a cell's size."""

    def badness(columns: int) -> float:
        rows = -(-count // columns)
        shape = abs(math.log(columns * cell.width / (rows * cell.height) / SHEET_SHAPE))
        return shape + (rows * columns - count) / count

    return min(range(1, count + 1), key=badness)


def write_sheet(path: Path, canvas: ImageArray, force: bool = False, quality: int = 92) -> None:
    """Writes a picture, (H, W, 3), as its name's ending says: as a whole or not at all.

    quality: of JPEG and WebP, up to 100. Raises UsageError and OutputError.
    """
    check_sheet_target(path, force)
    form = sheet_format(path)
    size = Size.of_channels_last(canvas)
    if size.longer > form.longest:
        raise OutputError(
            f"{path} would be {size} pixels, which is more than "
            f"{form.name.upper()} holds: a .png, or a smaller `size`, would do"
        )
    content = encode_image(form, canvas, quality=quality, optimize=True)
    with readable_errors(path):
        write_atomically(path, content)


@cache
def _font() -> Font:
    """The letters of captions."""
    return ImageFont.load_default(TEXT)


def _shrunk(cell: Cell, side: int) -> list[Image.Image]:
    """A cell's picture, and its detail, at the size they are shown at."""
    pictures = []
    for frame in (cell.picture, cell.detail):
        if frame is not None:
            small = resize(frame.cpu(), Size.of(frame).within(side))
            pictures.append(Image.fromarray(to_bytes(small)))
    if cell.mark is not None:
        _outline(pictures[0], cell.mark)
    return pictures


def _outline(picture: Image.Image, box: Box) -> None:
    """Draws a box as a bright line within a dark one, which shows on any picture."""
    left, top, right, bottom = (
        round(share * (length - 1)) for share, length in zip(box, picture.size * 2, strict=True)
    )
    draw = ImageDraw.Draw(picture)
    draw.rectangle((left, top, right, bottom), outline=INK, width=4)
    if min(right - left, bottom - top) > 2:
        draw.rectangle((left + 1, top + 1, right - 1, bottom - 1), outline=MARK, width=2)


def _caption(lines: Sequence[str], width: int) -> list[tuple[str, Ink]]:
    """Wraps lines to a width, each with its ink: the first as given is dark, also where it goes on."""
    return [
        (part, FAINT_INK if number else INK)
        for number, text in enumerate(lines)
        for part in wrapped(text, width, _font())
    ]


def wrapped(text: str, width: int, font: Font) -> list[str]:
    """Wraps a text to lines of at most `width` px, at blanks.

    A word that is wider is parted after a dot, a comma and the like (a decimal point is none), and, where
    that is not enough, anywhere.
    """

    def fits(line: str) -> bool:
        return font.getlength(line.rstrip()) <= width

    lines = [""]
    for word in re.findall(r"\S+\s*", text):
        parts = re.findall(r"(?:[^.:_,=]|(?<=\d)\.(?=\d))+[.:_,=]?|[.:_,=]", word)
        if lines[-1] and not fits(lines[-1] + word):
            lines.append("")
        for part in [word] if fits(word) else parts:
            if lines[-1] and not fits(lines[-1] + part):
                lines.append("")
            for letter in part:
                if lines[-1] and not fits(lines[-1] + letter):
                    lines.append("")
                lines[-1] += letter
    return [line.strip() for line in lines]
