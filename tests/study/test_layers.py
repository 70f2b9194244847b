"""Layers are seen at equal strength, on whole and labelled sheets; mistakes are told before the work."""

import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from PIL import Image, ImageFont
from safetensors.torch import load, save_file

from tests.conftest import Command
from zoomdream.dreaming.ascent import dream
from zoomdream.dreaming.session import DreamSession
from zoomdream.errors import OutputError, UsageError
from zoomdream.media.color import to_lab
from zoomdream.media.frame import Frame
from zoomdream.media.sheet import (
    GAP,
    MARK,
    TEXT,
    Cell,
    contact_sheet,
    fitting_columns,
    wrapped,
    write_sheet,
)
from zoomdream.network.catalog import CATALOG, network_info
from zoomdream.network.layer_objectives import Target
from zoomdream.network.layers import network_layers
from zoomdream.network.network import load_network
from zoomdream.settings.definitions import STUDY_JOB
from zoomdream.size import Size
from zoomdream.study.layer_sheet import cut_detail, detail_box
from zoomdream.study.layers import STRENGTH, LayerDream, dream_layers
from zoomdream.study.visible_change import faded, visible_change

QUICK = STUDY_JOB.change(
    dream=STUDY_JOB.dream.change(octaves=2, steps=3), device="cpu", precision="fp32"
)


def test_every_layer_changes_the_picture_as_much(photo: Frame) -> None:
    dreams = list(dream_layers(QUICK, photo))
    assert [one.layer for one in dreams] == network_layers(network_info("pocket"))
    for one in dreams:
        assert one.change == pytest.approx(STRENGTH, rel=0.02)
        assert one.change == pytest.approx(visible_change(photo, one.picture), rel=1e-3)
    drawn = {one.layer.name: one.picture - photo for one in dreams}
    alike = torch.corrcoef(torch.stack([change.flatten() for change in drawn.values()]))
    assert float(alike.fill_diagonal_(0).max()) < 0.9  # each sees something else


def test_equal_sizes_are_not_equal_changes(photo: Frame) -> None:
    """What the levelling is for; in free colours, as one palette makes layers more alike."""
    spec, changes = QUICK.dream.change(colors="free"), []
    for name in ("strokes", "creatures"):
        session = DreamSession(load_network("pocket", [name]))
        rng = torch.Generator().manual_seed(0)
        after = dream(photo, session, spec, rng).frame
        changes.append(visible_change(photo, after))
    assert max(changes) > 1.25 * min(changes)


def test_strength_is_seen_in_lab(photo: Frame) -> None:
    grey = photo.mean(1, keepdim=True).expand_as(photo) * 0.8
    lighter = grey + 0.05
    at = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    away = (to_lab(grey) - to_lab(lighter))[at].square().sum(1).mean().sqrt()
    assert visible_change(grey, lighter) == pytest.approx(float(away), rel=0.1)
    checks = torch.ones_like(photo) * 0.5
    checks[..., ::2, ::2] += 0.1
    checks[..., 1::2, 1::2] += 0.1
    smooth = torch.full_like(photo, 0.5) + torch.tensor([0.0, 0.1]).repeat_interleave(64)
    flat = torch.full_like(photo, 0.55)
    assert visible_change(flat, smooth) > 3 * visible_change(flat, checks)


def test_fading_goes_both_ways_and_knows_of_clipping() -> None:
    before = torch.full((1, 3, 32, 32), 0.9)
    after = before.clone()
    after[..., 16:] = 1.0
    after[..., :16] = 0.8
    for strength in (2.0, 6.0):
        mixed = faded(before, after, strength)
        assert float(mixed.max()) <= 1
        assert visible_change(before, mixed) == pytest.approx(strength, rel=0.01)


def test_a_detail_is_the_same_part_of_every_picture() -> None:
    assert detail_box((0.5, 0.5, 0.25)) == (0.25, 0.25, 0.75, 0.75)
    assert detail_box((0.0, 1.0, 0.1)) == (0.0, 0.8, 0.2, 1.0)  # moved inside
    picture = torch.zeros(1, 3, 40, 80)
    picture[..., :20, 60:] = 1.0
    part = cut_detail(picture, detail_box((0.9, 0.1, 0.1)))
    assert part.shape == picture.shape
    assert float(part.min()) > 0.999
    for wrong in ((0.5, 0.5), (0.5, 2, 0.1), (0.5, 0.5, 0), (0.5, 0.5, float("nan"))):
        with pytest.raises(UsageError, match=r"X,Y,R such as 0.5,0.4,0.15"):
            detail_box(wrong)


@pytest.mark.parametrize("name", list(CATALOG))
def test_no_label_is_cut_off(name: str) -> None:
    font = ImageFont.load_default(TEXT)
    layers = network_layers(network_info(name))
    for layer in layers:
        for text in LayerDream(Target(layer.name), layer, torch.zeros(1), 0.0).caption:
            for width in (96, 320):
                parts = wrapped(text, width, font)
                assert "".join(parts).replace(" ", "") == text.replace(" ", "")
                assert all(font.getlength(part) <= width for part in parts)
                assert len(parts) == 1 or width < 320
    columns = fitting_columns(len(layers) + 1, Size(328, 280))
    rows = -(-(len(layers) + 1) // columns)
    assert 0.8 < columns * 328 / (rows * 280) < 3
    assert rows * columns - len(layers) - 1 < columns


def test_other_networks_have_sheets_too(
    tmp_path: Path, zoomdream: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    module = network_info("googlenet").bare()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            spread = max(1, parameter[0].numel()) ** -0.5  # what goes in stays about as large
            fill = torch.randn_like(parameter) * spread * 1.4 if parameter.ndim > 1 else None
            parameter.copy_(torch.full_like(parameter, "weight" in name) if fill is None else fill)
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    reads: list[bytes] = []

    def read(content: bytes) -> Any:
        reads.append(content)
        return load(content)

    monkeypatch.setattr(safetensors.torch, "load", read)
    done = zoomdream(
        "layers", "sample", "-o", "sheet.png", "--model", "googlenet", "--weights", "w.safetensors",
        "--layers", "conv1,inception4c:7,class:lion", "--zoom-in", "0.4,0.3,0.2", "--json",
        "--size", "64", "--steps", "1", "--octaves", "1",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert [event.get("name") for event in done.events] == [
        "conv1",
        "inception4c:7",
        "class:lion",
        None,
    ]
    assert "the whole picture, channel 291 of 1000" in done.err
    assert all(abs(e["change"] / STRENGTH - 1) < 0.03 for e in done.events[:-1])
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert list(sheet.size) == done.events[-1]["size"]
    assert len(reads) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sheet.png", "w.safetensors"]


def test_what_is_refused_is_refused_before_the_work(
    tmp_path: Path, zoomdream: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        pytest.fail("nothing may be dreamt")

    monkeypatch.setattr(torch, "randint", fail)  # from which each step draws its jitter
    (tmp_path / "there.png").write_bytes(b"")
    for words, code, message in (
        (("sample",), 2, "add -o layers.png"),
        (("sample", "-o", "sheet.gif"), 2, ".png, .jpg or .webp would do"),
        (("sample", "-o", "there.png"), 4, "--force"),
        (("sample", "-o", "none/sheet.png"), 4, "not a folder"),
        (("none.jpg", "-o", "sheet.png"), 3, "no such file"),
        (("sample", "-o", "sheet.png", "--layers", "eyez"), 2, "did you mean eyes"),
        (("sample", "-o", "sheet.png", "--layers", "eyes:384"), 2, "0 to 383"),
        (("sample", "-o", "sheet.png", "--zoom-in", "a,b,c"), 2, "0.5,0.4,0.15"),
        (("sample", "-o", "sheet.png", "--zoom-in", "1,1"), 2, "0.5,0.4,0.15"),
        (("sample", "-o", "sheet.png", "--model", "poket"), 2, "did you mean pocket"),
    ):
        done = zoomdream("layers", *words)
        assert done.code == code, (words, done.err)
        assert message in done.err.replace("\n", " "), words
    assert sorted(p.name for p in tmp_path.iterdir()) == ["there.png"]


def test_a_sheet_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canvas = contact_sheet([Cell(torch.zeros(1, 3, 32, 48), ("a",))], 0, 48)
    for name in ("a.png", "a.jpg", "a.webp"):
        write_sheet(tmp_path / name, canvas)
        with Image.open(tmp_path / name) as sheet:
            assert sheet.size == (canvas.shape[1], canvas.shape[0])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match=r"b.png cannot be written: the disk is full"):
            write_sheet(tmp_path / "b.png", canvas)
    assert not (tmp_path / "b.png").exists()
    with pytest.raises(OutputError, match="more than WEBP holds"):
        write_sheet(tmp_path / "b.webp", canvas.repeat(400, 1))


def test_a_second_picture_stands_under_the_first() -> None:
    black, white = torch.zeros(1, 3, 32, 48), torch.ones(1, 3, 32, 48)
    plain = contact_sheet([Cell(black, ("a",))], 1, 48)
    both = contact_sheet([Cell(black, ("a",), white)], 1, 48)
    assert both.shape[0] == plain.shape[0] + 32 + GAP
    assert (both[8:40, 8:56] == 0).all()
    assert (both[48:80, 8:56] == 255).all()
    marked = contact_sheet([Cell(black, (), None, (0.25, 0.25, 0.75, 0.75))], 1, 48)
    assert (marked == MARK).all(2).any()


def test_what_means_nothing_is_refused(zoomdream: Command) -> None:
    for words, message in (
        (("--layers", ","), 'layer "" is not NAME'),
        (("--layers", ""), 'layer "" is not NAME'),
        (("--layers", "eyes=-1"), '"eyes=-1" has a weight'),
        (("--steps", 0), "--steps 0 dreams nothing"),
    ):
        done = zoomdream("layers", "sample", "-o", "a.png", "--size", 64, *words)
        assert done.code == 2
        assert message in done.err, done.err


def test_a_tiny_detail_is_marked_all_the_same(zoomdream: Command, tmp_path: Path) -> None:
    words = ("--size", 64, "--steps", 1, "--octaves", 1, "--layers", "strokes,eyes:3+7-0.5*12")
    done = zoomdream("layers", "sample", "-o", "a.png", *words, "--zoom-in", "1,1,0.01")
    assert done.code == 0, done.err
    assert "a sum of 3 channels of 384" in done.err
    assert (tmp_path / "a.png").exists()
