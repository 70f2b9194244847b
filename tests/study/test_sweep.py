"""A sweep's cells are what its settings make anywhere else, on a whole and labelled sheet."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import zoomdream as zd
from tests.conftest import Command
from zoomdream.files import shipped
from zoomdream.media.frame import to_bytes
from zoomdream.media.sheet import GAP
from zoomdream.size import Size

SMALL = {"output.size": Size(64, 48), "dream.octaves": 1}
STILL = zd.RenderJob(
    source=shipped("sample.jpg"),
    dream=zd.STILL_DREAM.change(octaves=1, steps=1),
    output=zd.Output(size=Size(64, 48)),
    device="cpu",
    precision="fp32",
)
ZOOM = STILL.change(dream=zd.DreamSpec(octaves=1), output=zd.Output(size=Size(64, 48), seconds=1))
WORDS = ("--octaves", 1, "--steps", 1, "--size", 64)


def test_a_still_cell_is_what_dream_image_writes(tmp_path: Path) -> None:
    steps, seeds = zd.choices("steps", [1, 2]), zd.choices("seed", [0, 7])
    original, *cells = zd.sweep(STILL, steps, seeds, size=64)
    assert original.caption == ("original",)
    assert [cell.written for cell in cells] == [
        "steps=1 seed=0",
        "steps=1 seed=7",
        "steps=2 seed=0",
        "steps=2 seed=7",
    ]
    last = cells[-1]
    zd.dream_image(last.job.change(target=tmp_path / "a.png"))
    assert (np.asarray(Image.open(tmp_path / "a.png")) == to_bytes(last.picture)).all()
    _, *alone = zd.sweep(STILL.change(seed=7), zd.choices("dream.steps", [2]), size=64)
    assert torch.equal(alone[0].picture, last.picture)
    assert not torch.equal(cells[0].picture, cells[1].picture)


def test_a_cell_at_a_time_is_the_frame_of_the_film() -> None:
    _, still, zoomed = zd.sweep(ZOOM, zd.choices("camera.zoom", [1.0, 3.0]), at=0.1, size=64)
    with zd.render(zoomed.job) as film:
        frame = next(frame for frame in film if frame.number == 3)
    assert torch.equal(frame.frame, zoomed.picture)
    assert not torch.equal(still.picture, zoomed.picture)


def test_frames_of_a_clip_can_be_compared() -> None:
    job = zd.load_preset("clip").change(source="sample", dream=zd.DreamSpec(octaves=1, steps=1))
    original, weak, strong = zd.sweep(job, zd.choices("strength", [0.1, 3]), at=0.1, size=64)
    assert Size.of(original.picture) == Size.of(weak.picture) == Size(64, 48)
    away = [float((one.picture - original.picture).abs().mean()) for one in (weak, strong)]
    assert away[1] > 2 * away[0]
    with pytest.raises(zd.UsageError, match="the clip ends before 99 s"):
        zd.sweep(job, zd.choices("strength", [1]), at=99)
    with pytest.raises(zd.UsageError, match='"ink" is for stills, and this is a clip'):
        zd.sweep(job, zd.choices("preset", ["ink"]), at=0)


def test_presets_come_as_their_own_kind_and_settings_win_over_them() -> None:
    moods = zd.choices("preset", ["ink", "carnival"])
    _, ink, carnival = zd.sweep(ZOOM, moods, at=0.1, size=64, changes=SMALL)
    assert (ink.at, ink.job.dream.keep_color, ink.job.camera.zoom) == (0.1, True, 1.2)
    assert (carnival.at, carnival.job.flow) == (None, None)
    assert "for clips" in carnival.caption[1]
    assert carnival.job.dream.steps == zd.STILL_DREAM.steps
    assert list(carnival.job.dream.layers) == ["eyes", "faces"]
    assert {ink.job.dream.octaves, carnival.job.dream.octaves} == {1}


def test_without_a_source_each_seed_has_its_own_noise() -> None:
    job = STILL.model_copy(update={"source": None})
    original, same, other = zd.sweep(job, zd.choices("seed", [0, 1]), size=64)
    near, far = (float((c.picture - original.picture).abs().mean()) for c in (same, other))
    assert far > 2 * near


def test_a_network_is_loaded_once_for_its_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    load = safetensors.torch.load

    def read(content: bytes) -> dict[str, torch.Tensor]:
        reads.append(content)
        return load(content)

    monkeypatch.setattr(safetensors.torch, "load", read)
    layers = zd.choices("layer", [{"eyes": 1}, {"eyes": 0.5}, {"faces": 1}])
    list(zd.sweep(STILL, layers, zd.choices("seed", range(3)), size=64))
    assert len(reads) == 2


def test_the_command_of_a_cell_makes_it_again(zoomdream: Command, tmp_path: Path) -> None:
    vary = ("--vary", "layer=eyes;faces=0.5,class:lion", "--columns", 3)
    done = zoomdream("sweep", "sample", "-o", "s.png", *vary, *WORDS, "--json", "--seed", 3)
    assert done.code == 0, done.err
    *cells, end = done.events
    assert [cell["written"] for cell in cells] == ["layer=eyes", "layer=faces=0.5,class:lion"]
    assert [(cell["done"], cell["total"]) for cell in cells] == [(1, 2), (2, 2)]
    sheet = np.asarray(Image.open(tmp_path / "s.png"))
    assert end["size"] == [sheet.shape[1], sheet.shape[0]] == [3 * (64 + GAP) + GAP, sheet.shape[0]]
    program, *words = shlex.split(cells[1]["command"])
    assert program == "zoomdream"
    assert zoomdream(*words).code == 0
    dream = np.asarray(Image.open(tmp_path / "dream.png"))
    left = GAP + 2 * (64 + GAP)
    assert (sheet[GAP : GAP + 64, left : left + 64] == dream).all()
    assert "zoomdream image sample -o dream.png" in done.err


def test_two_settings_are_rows_and_columns(zoomdream: Command, tmp_path: Path) -> None:
    vary = ("--vary", "anchor=none,sample.jpg", "--vary", "zoom=1..3")
    Image.open(shipped("sample.jpg")).save(tmp_path / "sample.jpg")
    small = (*WORDS, "--set", "output.seconds=0.1", "--at", "0s")
    done = zoomdream("sweep", "sample.jpg", "-o", "s.jpg", *vary, *small)
    assert done.code == 0, done.err
    with Image.open(tmp_path / "s.jpg") as sheet:
        assert sheet.width == 3 * (64 + GAP) + GAP
        assert sheet.height > 3 * (64 + GAP)
    assert "6 of 6: anchor=sample.jpg zoom=3" in done.err
    again = "zoomdream zoom sample.jpg -o dream.mp4 --octaves 1 --steps 1 --anchor none --zoom 1"
    assert again in done.err.replace("--set output.seconds=0.1", "").replace("--seconds 0.1 ", "")


def test_mistakes_are_told_before_anything_is_dreamt(
    zoomdream: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> torch.Tensor:
        pytest.fail("nothing may be dreamt")

    monkeypatch.setattr(torch, "randint", fail)  # from which each step draws its jitter
    steps = ("-o", "s.png", "--vary", "steps=1,2")
    for words, code, message in (
        ((), 2, "add -o sweep.png"),
        (("-o", "s.png"), 2, "add --vary steps=2,4,8"),
        (("-o", "s.gif", "--vary", "steps=1"), 2, ".png, .jpg or .webp"),
        (("-o", "none/s.png", "--vary", "steps=1"), 4, "not a folder"),
        (("-o", "s.png", "--vary", "stepz=1"), 2, "did you mean steps"),
        (("-o", "s.png", "--vary", "steps=1,-1"), 2, "greater than or equal to 0"),
        (("-o", "s.png", "--vary", "layer=eyes,eyez"), 2, "did you mean eyes"),
        (("-o", "s.png", "--vary", "layer=eyes,eyes:999"), 2, "0 to 383"),
        (("-o", "s.png", "--vary", "model=pocket,poket"), 2, "did you mean pocket"),
        (("-o", "s.png", "--vary", "mask=none.png"), 3, "no such file"),
        (("-o", "s.png", "--vary", "preset=ink,inc"), 2, "did you mean ink"),
        (("-o", "s.png", "--vary", "preset=ink", "--preset", "eyes"), 2, "give one"),
        (("-o", "s.png", "--vary", "zoom=1,2"), 2, "--at 2 shows frames of zooms"),
        ((*steps, "--vary", "dream.steps=3"), 2, "dream.steps varies twice"),
        ((*steps, "--vary", "seed=0..50"), 2, "102 pictures are too many"),
        ((*steps, "--vary", "seed=0", "--vary", "zoom=1"), 2, "of one setting, or of two"),
        ((*steps, "--vary", "seed=0", "--columns", 2), 2, "--columns is for one setting"),
        ((*steps, "--at", "6"), 2, "a film of 6 s has no frame at 6 s"),
        ((*steps, "--at", "-1"), 2, "0 s or more"),
        ((*steps, "--at", "soon"), 2, "no time in seconds"),
        ((*steps, "--set", "dream.stepz=1"), 2, "did you mean dream.steps"),
    ):
        done = zoomdream("sweep", "sample", *words)
        assert done.code == code, (words, done.err)
        assert message in done.err.replace("\n", " "), (words, done.err)
    assert list(tmp_path.iterdir()) == []
