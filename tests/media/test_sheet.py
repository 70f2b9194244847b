"""Contact sheets as files: whole, or not there."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from zoomdream.errors import OutputError
from zoomdream.media.sheet import (
    BACKGROUND,
    GAP,
    MARK,
    TEXT,
    Cell,
    contact_sheet,
    grid_sheet,
    wrapped,
    write_sheet,
)

CELL = Cell(torch.zeros(1, 3, 32, 48), ("a name", "that is long enough to go on in a next line"))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_a_sheet_is_written_as_its_name_says(tmp_path: Path, name: str) -> None:
    canvas = contact_sheet([CELL] * 3, 2, 48)
    write_sheet(tmp_path / name, canvas)
    with Image.open(tmp_path / name) as picture:
        assert picture.size == (canvas.shape[1], canvas.shape[0])
        assert picture.format in ("PNG", "JPEG", "WEBP")
        assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - canvas).mean() < 8


def test_what_cannot_be_written_is_not_there(tmp_path: Path) -> None:
    canvas = contact_sheet([CELL], 0, 48)
    long = f"{'a' * 248}.png"  # a name that may be, but not with .part after it
    with pytest.raises(OutputError, match="cannot be written: its name is too long"):
        write_sheet(tmp_path / long, canvas, force=True)
    with pytest.raises(OutputError, match="more than WEBP holds"):
        write_sheet(tmp_path / "a.webp", canvas.repeat(400, 1))
    assert not list(tmp_path.iterdir())


def test_cells_stand_in_rows_of_one_height() -> None:
    tall = dataclasses.replace(CELL, picture=torch.zeros(1, 3, 96, 48))
    plain = contact_sheet([CELL] * 2, 2, 96)
    mixed = contact_sheet([CELL, tall], 2, 96)
    assert mixed.shape[0] == plain.shape[0] + 64
    assert mixed.shape[1] == plain.shape[1]
    assert contact_sheet([CELL] * 2, 1, 96).shape[0] > plain.shape[0]
    marked = contact_sheet([dataclasses.replace(CELL, mark=(0.25, 0.25, 0.75, 0.75))], 1, 48)
    assert (marked == MARK).all(2).any()


def test_captions_break_at_blanks_and_then_after_marks() -> None:
    font = ImageFont.load_default(TEXT)
    text = "keep-color=false step_size=0.004"
    assert wrapped(text, 160, font) == ["keep-color=false", "step_size=0.004"]
    assert wrapped(text, 80, font) == ["keep-color=", "false", "step_size=", "0.004"]
    assert wrapped("features.12.conv", 80, font) == ["features.12.", "conv"]
    assert "".join(wrapped("unbreakable" * 3, 40, font)) == "unbreakable" * 3


def test_rows_of_a_grid_need_not_be_equally_long() -> None:
    black, white = torch.zeros(1, 3, 32, 48), torch.ones(1, 3, 32, 48)
    sheet = grid_sheet([[Cell(black)], [Cell(white), Cell(black)]], 48)
    assert sheet.shape == (2 * (32 + GAP) + GAP, 2 * (48 + GAP) + GAP, 3)
    assert (sheet[GAP : GAP + 32, GAP : GAP + 48] == 0).all()
    assert (sheet[GAP : GAP + 32, 2 * GAP + 48 :] == BACKGROUND).all()
    assert (sheet[2 * GAP + 32 : -GAP, GAP : GAP + 48] == 255).all()
