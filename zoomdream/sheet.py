"""The lightbox: pictures side by side, each with its caption under it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zoomdream.frame import Bytes, Frame, resize, to_bytes

GAP = 8  # px between pictures
TEXT = 14  # px, height of a caption's letters
PAPER, INK, FAINT = (250, 249, 246), (20, 20, 20), (120, 118, 112)


@dataclass(frozen=True)
class Cell:
    """One picture of a sheet, and its caption: a line, and fainter ones under it."""

    picture: Frame
    caption: tuple[str, ...] = ()


def contact_sheet(cells: Sequence[Cell], columns: int, side: int) -> Bytes:
    """Cells in rows of `columns`, (H, W, 3): pictures shrunk to fit a square of `side` px.

    A picture that is smaller keeps its size. Captions that are too long are cut, with an ellipsis.
    """
    sizes = [_fitted(cell.picture, side) for cell in cells]
    width = max(w for _, w in sizes)
    lines = max(len(cell.caption) for cell in cells)
    rows = [
        range(start, min(start + columns, len(cells))) for start in range(0, len(cells), columns)
    ]
    heights = [
        max(sizes[i][0] for i in row) + lines * (TEXT + 4) + (4 if lines else 0) for row in rows
    ]
    across = min(columns, len(cells))
    size = across * (width + GAP) + GAP, sum(heights) + GAP * (len(rows) + 1)
    canvas = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(TEXT)
    top = GAP
    for row, height in zip(rows, heights, strict=True):
        for column, i in enumerate(row):
            left = GAP + column * (width + GAP)
            canvas.paste(
                Image.fromarray(to_bytes(resize(cells[i].picture.cpu(), sizes[i]))), (left, top)
            )
            for line, text in enumerate(cells[i].caption):
                at = left, top + height - (lines - line) * (TEXT + 4)
                draw.text(at, _cut(text, width, font), INK if line == 0 else FAINT, font)
        top += height + GAP
    return np.asarray(canvas).copy()


def _fitted(picture: Frame, side: int) -> tuple[int, int]:
    height, width = picture.shape[-2:]
    shrink = min(1.0, side / max(height, width))
    return max(1, round(height * shrink)), max(1, round(width * shrink))


def _cut(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, or as much of it as fits."""
    while len(text) > 1 and font.getlength(text) > width:
        text = text.rstrip("\u2026")[:-1] + "\u2026"
    return text
