"""One picture, dreamt at full size: what goes in comes out, but for the dream."""

import json
import os
import signal
import tomllib
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps

import zoomdream as zd
from tests.conftest import Command, decode, difference, start
from tests.test_hostile import pdf
from tests.watching import watched_network
from zoomdream.dreaming.ascent import plan_octaves
from zoomdream.dreaming.line_mask import near_lines
from zoomdream.dreaming.session import DreamSession
from zoomdream.files import shipped
from zoomdream.film.picture import dream_still
from zoomdream.media.frame import Frame, as_frame, to_bytes
from zoomdream.media.image_reader import read_still
from zoomdream.media.image_writer import srgb_profile
from zoomdream.media.python_pictures import one_frame
from zoomdream.network.network import Network
from zoomdream.settings import presets
from zoomdream.settings.setting_paths import plain_value
from zoomdream.settings.timeline import at_middle
from zoomdream.size import Size

QUICK = ("--octaves", 1, "--steps", 1, "--step-size", 0.05, "--device", "cpu")
TWO_OCTAVES = ("--size", "96x64", "--octaves", 2, "--finest-share", 1, "--device", "cpu")
CALM = ("--octaves", 1, "--steps", 0, "--device", "cpu")  # what goes in comes out
SAMPLE = Image.open(shipped("sample.jpg")).convert("RGB").resize((60, 40))


def near(made: Path, expected: Image.Image, most: float) -> bool:
    with Image.open(made) as image:
        found, wanted = (np.asarray(i.convert("RGBA")).astype(int) for i in (image, expected))
    return found.shape == wanted.shape and np.abs(found - wanted).mean() < most


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tiff", "a.tif", "A.JPEG"])
def test_a_picture_keeps_its_size_in_every_format(
    zoomdream: Command, tmp_path: Path, name: str
) -> None:
    SAMPLE.save(tmp_path / "in.png")
    for words in (CALM, QUICK):
        done = zoomdream("image", "in.png", "-o", name, "--force", *words)
        assert done.code == 0, done.err
        assert f"{name}: 60x40" in done.err
        assert near(tmp_path / name, SAMPLE, 4) == (words == CALM)
    with Image.open(tmp_path / name) as image:
        own = ImageCms.ImageCmsProfile(BytesIO(image.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(own)


def test_events_tell_of_every_step(zoomdream: Command, tmp_path: Path) -> None:
    words = (*TWO_OCTAVES, "--steps", 2)
    done = zoomdream("image", "sample", "-o", "a.png", "--json", *words)
    assert done.code == 0, done.err
    assert done.err == ""
    first, *steps, end = done.events
    assert (first["event"], first["size"], first["fps"], first["total"]) == (
        "start",
        [96, 64],
        None,
        4,
    )
    assert [(s["event"], s["step"], s["size"]) for s in steps] == [
        ("step", 0, [69, 46]), ("step", 1, [69, 46]), ("step", 2, [96, 64]), ("step", 3, [96, 64]),
    ]  # fmt: skip
    assert [s["share"] for s in steps] == sorted(s["share"] for s in steps)
    assert (steps[-1]["share"], steps[-1]["left"]) == (1, 0)
    assert (end["event"], end["path"], end["size"]) == ("done", "a.png", [96, 64])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a.png.toml"]
    plain = zoomdream("image", "sample", "-o", "b.png", *words).err
    assert "96x64, 4 steps" in plain
    assert "step 4/4, at 96x64" in plain


def test_what_lies_beside_a_picture_makes_it_again(zoomdream: Command, tmp_path: Path) -> None:
    SAMPLE.save(tmp_path / "in.png")
    words = ("--seed", 4, "--size", "64x48", "--layer", "eyes", *QUICK)
    assert zoomdream("image", "in.png", "-o", "a.png", *words).code == 0
    again = zoomdream("image", "--preset", "a.png.toml", "-o", "b.png")
    assert again.code == 0, again.err
    with Image.open(tmp_path / "a.png") as one, Image.open(tmp_path / "b.png") as two:
        assert one.tobytes() == two.tobytes()
    other = zoomdream("image", "--preset", "a.png.toml", "-o", "c.png", "--seed", 5)
    assert other.code == 0
    with Image.open(tmp_path / "a.png") as one, Image.open(tmp_path / "c.png") as two:
        assert one.tobytes() != two.tobytes()


def test_a_mood_is_taken_from_a_preset(zoomdream: Command, tmp_path: Path) -> None:
    words = ("image", "sample", "-o", "a.png", "--size", "64x48", *QUICK)
    assert zoomdream(*words, "--preset", "underwater", "--smooth", 0.3).code == 0
    made = tomllib.loads((tmp_path / "a.png.toml").read_text())
    mood = zd.load_preset("underwater").dream
    assert list(made["dream"]["layers"]) == list(mood.layers)
    assert made["dream"]["smooth"] == 0.3
    assert made["dream"]["octave_scale"] in (mood.octave_scale, zd.STILL_DREAM.octave_scale)
    assert "nothere" in zoomdream(*words, "--preset", "nothere", "--force").err


def test_what_changes_over_time_is_taken_in_the_middle() -> None:
    text = (
        '[dream]\nlayers = { strokes = { "0%" = 1.0, "100%" = 0.0 }, eyes = "1 - 1" }\nsteps = "t"'
    )
    job = presets.job_of(text, "a.toml")
    now, t = at_middle(job)
    assert t == 3.0
    assert now.dream.steps == 3
    assert now.dream.layers["strokes"] == pytest.approx(0.5, abs=0.01)


def test_from_noise(zoomdream: Command, tmp_path: Path) -> None:
    told = zoomdream("image", "-o", "a.png").err
    assert "a dream from noise needs a size: add --size 512x512" in told
    for seed, name in ((1, "a.png"), (1, "b.png"), (2, "c.png")):
        done = zoomdream("image", "-o", name, "--seed", seed, "--size", "64x48", *QUICK)
        assert done.code == 0, done.err
    one, same, other = (read_still(tmp_path / f"{n}.png") for n in "abc")
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.std() > 0.08


WRONG = [
    (("image", "sample"), 2, "add -o dream.png"),
    (("image", "none.png", "-o", "a.png"), 3, "none.png: there is no such file"),
    (("image", "sample", "-o", "a.mp4"), 2, '"a.mp4" is no kind of picture: name it .png, .jpg, .webp'),
    (("image", "sample", "-o", "a"), 2, '"a" is no kind of picture'),
    (("image", "sample", "-o", "none/a.png"), 4, "create it"),
    (("image", "sample", "-o", "a.webp", "--size", "16384x32"), 4,
     "a.webp: WebP holds 16383 pixels a side, and this has 16384: name it .png or .tiff"),
    (("image", "sample", "-o", "a.png", "--size", "20x20"), 2, "too small for pocket"),
    (("image", "sample", "-o", "a.png", "--film", "a.avi"), 2, ".mp4, .webm or .gif"),
    (("image", "sample", "-o", "a.png", "--mask", "none.png"), 3, "none.png: there is no such file"),
    (("image", "sample", "-o", "a.png", "--grow", "-1"), 2, "--grow"),
    (("image", "sample", "-o", "a.png", "--strip", "-1"), 2, "--strip"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "code", "told"), WRONG)
def test_mistakes_get_one_sentence(
    zoomdream: Command, tmp_path: Path, words: tuple[str, ...], code: int, told: str
) -> None:
    done = zoomdream(*words)
    assert done.code == code, done.err
    assert told in done.err
    assert not list(tmp_path.iterdir())


def test_nothing_is_replaced_without_force(zoomdream: Command, tmp_path: Path) -> None:
    words = ("image", "sample", "-o", "a.png", "--strip", 1, "--size", "64x48", *QUICK)
    for name in ("a.png", "a-step-0001.png"):
        (tmp_path / name).write_bytes(b"mine")
        done = zoomdream(*words)
        assert (done.code, f"{name} is there already: add --force" in done.err) == (4, True)
        assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"mine"]
        assert zoomdream(*words, "--force").code == 0
        assert (tmp_path / name).read_bytes() != b"mine"
        for path in tmp_path.iterdir():
            path.unlink()


@pytest.mark.parametrize("more", [(), ("--strip", 1), ("--film", "a.gif")])
def test_a_dream_that_fails_leaves_nothing(
    zoomdream: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[object, ...]
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = zoomdream("image", "sample", "-o", "a.png", "--size", "64x48", *more, *QUICK)
    assert (done.code, "cannot be written: the disk is full" in done.err) == (4, True)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="signals are different there")
def test_a_signal_leaves_nothing(tmp_path: Path) -> None:
    words = ("image", "sample", "-o", "a.png", "--steps", 1000, "--size", "64x64", "--json")
    process = start(tmp_path, *words, "--strip", 2, "--film", "a.mp4")
    assert process.stdout
    for line in process.stdout:
        if json.loads(line)["event"] == "step":
            break
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; nothing was written" in told
    assert not list(tmp_path.iterdir())


def test_a_strip_shows_how_it_grew(zoomdream: Command, tmp_path: Path) -> None:
    words = (*TWO_OCTAVES, "--steps", 3)
    done = zoomdream("image", "sample", "-o", "a.png", "--strip", 2, *words)
    assert done.code == 0, done.err
    names = [f"a-step-{n:04}.png" for n in (2, 4, 6)]
    assert sorted(p.name for p in tmp_path.iterdir()) == [*names, "a.png", "a.png.toml"]
    source = zoomdream("image", "sample", "-o", "b.png", "--size", "96x64", *CALM)
    assert source.code == 0
    first = read_still(tmp_path / "b.png")
    away = [difference(read_still(tmp_path / name), first) for name in names]
    assert 0 < away[0] < away[1] < away[2]
    assert difference(read_still(tmp_path / names[-1]), read_still(tmp_path / "a.png")) < 0.6
    assert f"How it grew: {names[0]} and 2 more" in done.err


@pytest.mark.parametrize("name", ["grow.mp4", "grow.gif"])
def test_a_film_shows_how_it_grew(zoomdream: Command, tmp_path: Path, name: str) -> None:
    words = (*TWO_OCTAVES, "--steps", 3, "--step-size", 0.05)
    done = zoomdream("image", "sample", "-o", "a.png", "--film", name, *words)
    assert done.code == 0, done.err
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["a.png", "a.png.toml", name])
    film = decode(tmp_path / name).frames
    assert film.shape[1:] == (64, 96, 3)
    assert len(film) >= 1 + 6 + 5  # the picture, each step, and a second of the last
    away = [difference(as_frame(film[n]), read_still(tmp_path / "a.png")) for n in (0, 3, -1)]
    assert away[0] > away[1] > 1.5 * away[2]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff"])
def test_a_turned_picture_is_turned_once(zoomdream: Command, tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    SAMPLE.save(tmp_path / f"in{suffix}", exif=exif)
    assert zoomdream("image", f"in{suffix}", "-o", f"out{suffix}", *CALM).code == 0
    with Image.open(tmp_path / f"out{suffix}") as made:
        assert made.getexif().get(0x0112, 1) == 1
        assert made.size == (40, 60)
    with Image.open(tmp_path / f"in{suffix}") as image:
        assert near(tmp_path / f"out{suffix}", ImageOps.exif_transpose(image), 3)


def wide_gamut() -> bytes:
    """An ICC profile of Adobe RGB's primaries (D50-adapted) and gamma."""
    import struct

    def tag(kind: bytes, body: bytes) -> bytes:
        return kind + b"\0\0\0\0" + body

    def xyz(*values: float) -> bytes:
        return tag(b"XYZ ", b"".join(struct.pack(">i", round(v * 65536)) for v in values))

    text = b"Wide"
    tags = {
        b"desc": tag(b"desc", struct.pack(">I", len(text) + 1) + text + b"\0" + b"\0" * 78),
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
        b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
    }
    curve = tag(b"curv", struct.pack(">IH", 1, round(2.19921875 * 256)) + b"\0\0")
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    head = struct.pack(
        ">I4sI4s4s4s", at + len(body), b"lcms", 0x02100000, b"mntr", b"RGB ", b"XYZ "
    )
    head += b"\0" * 12 + b"acsp" + b"\0" * 28 + struct.pack(">iii", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def test_a_wide_gamut_comes_out_in_its_right_colours(zoomdream: Command, tmp_path: Path) -> None:
    wide = ImageCms.ImageCmsProfile(BytesIO(wide_gamut()))
    made = ImageCms.profileToProfile(
        SAMPLE,
        ImageCms.createProfile("sRGB"),
        wide,
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    assert made is not None
    assert np.abs(np.asarray(made).astype(int) - np.asarray(SAMPLE)).mean() > 3
    made.save(tmp_path / "in.png", icc_profile=wide_gamut())
    assert difference(read_still(tmp_path / "in.png"), as_frame(np.asarray(SAMPLE))) < 1.5
    by_pil = one_frame(Image.open(tmp_path / "in.png"))
    assert difference(by_pil, read_still(tmp_path / "in.png")) == 0
    assert zoomdream("image", "in.png", "-o", "out.png", *CALM).code == 0
    assert near(tmp_path / "out.png", SAMPLE, 1.5)
    clear = made.copy()
    clear.putalpha(Image.linear_gradient("L").resize(made.size))
    clear.save(tmp_path / "clear.png", icc_profile=wide_gamut())
    assert zoomdream("image", "clear.png", "-o", "out.webp", *CALM).code == 0
    deep = np.asarray(made).astype(np.uint16) * 257
    good, content = cv2.imencode(".png", cv2.cvtColor(deep, cv2.COLOR_RGB2BGR))
    assert good
    buffer = BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG", icc_profile=wide_gamut())
    whole, profile = content.tobytes(), buffer.getvalue()
    start = profile.index(b"iCCP") - 4
    chunk = profile[start : start + 12 + int.from_bytes(profile[start : start + 4], "big")]
    (tmp_path / "deep.png").write_bytes(whole[:33] + chunk + whole[33:])
    done = zoomdream("image", "deep.png", "-o", "deep-out.png", *CALM)
    assert "Note" not in done.err
    kept = cv2.imread(str(tmp_path / "deep-out.png"), cv2.IMREAD_UNCHANGED)
    assert kept is not None
    assert kept.dtype == np.uint16
    assert near(tmp_path / "deep-out.png", SAMPLE, 1.5)


def test_a_profile_that_cannot_be_read_is_told_of(zoomdream: Command, tmp_path: Path) -> None:
    SAMPLE.save(tmp_path / "in.png", icc_profile=b"no profile" * 20)
    done = zoomdream("image", "in.png", "-o", "out.png", *CALM)
    assert done.code == 0, done.err
    assert "its colour profile cannot be used: its colours are taken as sRGB" in done.err
    assert near(tmp_path / "out.png", SAMPLE, 0.01)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_alpha_is_kept_without_a_white_rim(zoomdream: Command, tmp_path: Path, suffix: str) -> None:
    clear = SAMPLE.copy()
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(tmp_path / "in.png")
    for words in (CALM, QUICK):
        assert zoomdream("image", "in.png", "-o", f"out{suffix}", "--force", *words).code == 0
        with Image.open(tmp_path / f"out{suffix}") as made:
            assert made.mode == "RGBA"
            found, wanted = np.asarray(made).astype(int), np.asarray(clear).astype(int)
        assert (found[..., 3] == wanted[..., 3]).all()
        seen = wanted[..., 3] > 20
        assert (np.abs(found - wanted)[seen].mean() < 4) == (words == CALM)


def test_jpeg_holds_no_alpha_and_says_so(zoomdream: Command, tmp_path: Path) -> None:
    clear = SAMPLE.copy()
    clear.putalpha(0)
    clear.save(tmp_path / "in.png")
    done = zoomdream("image", "in.png", "-o", "out.jpg", *CALM)
    assert "JPEG holds no transparency: the picture lies on white" in done.err
    assert read_still(tmp_path / "out.jpg").min() > 0.97


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_stay_sixteen(zoomdream: Command, tmp_path: Path, suffix: str) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (40, 60, 4), np.uint16)
    for channels in (3, 4):
        cv2.imwrite(str(tmp_path / "in.png"), deep[..., :channels])
        assert zoomdream("image", "in.png", "-o", f"out{suffix}", "--force", *CALM).code == 0
        made = cv2.imread(str(tmp_path / f"out{suffix}"), cv2.IMREAD_UNCHANGED)
        assert made is not None
        assert made.dtype == np.uint16
        assert np.abs(made.astype(int) - deep[..., :channels].astype(int)).max() <= 1
    done = zoomdream("image", "in.png", "-o", "out.webp", *CALM)
    assert "WebP holds 8 bits a channel: .png or .tiff would keep its 16" in done.err


def test_a_large_picture_goes_by_tiles(tmp_path: Path) -> None:
    """Larger than a tile on both sides; no piece that the network sees is larger than tile and margins."""
    sides: list[int] = []  # of `creatures`, whose stride is 16
    network = watched_network(lambda value: sides.append(max(value.shape[-2:])), device="cpu")
    dream = zd.STILL_DREAM.change(octaves=1, steps=1, step_size=0.05, tile=256)
    job = zd.RenderJob(target=tmp_path / "out.jpg", dream=dream, device="cpu")
    zd.dream_image(job, picture=np.asarray(SAMPLE.resize((900, 600))), network=network)
    with Image.open(tmp_path / "out.jpg") as made:
        assert made.size == (900, 600)
    assert len(sides) > 9
    assert max(sides) <= 512 / 16


def test_creatures_are_as_large_a_part_of_a_large_picture() -> None:
    for size in (Size(640, 480), Size(1600, 1200), Size(6000, 4000)):
        octaves = plan_octaves(size, zd.STILL_DREAM, 32)
        assert 96 <= min(octaves[0].size) < 96 * zd.STILL_DREAM.octave_scale
        assert octaves[-1].size == size
    assert [octave.size for octave in plan_octaves(Size(90, 60), zd.STILL_DREAM, 32)] == [(90, 60)]
    assert len(plan_octaves(Size.square(400), zd.STILL_DREAM.change(octaves=2), 32)) == 2


def test_the_command_and_python_dream_the_same(zoomdream: Command, tmp_path: Path) -> None:
    SAMPLE.save(tmp_path / "in.png")
    assert zoomdream("image", "in.png", "-o", "a.png", "--seed", 3, *QUICK).code == 0
    network = zd.load("pocket", device="cpu")
    made = zd.dream(np.asarray(SAMPLE), network, seed=3, octaves=1, steps=1, step_size=0.05)
    assert near(tmp_path / "a.png", Image.fromarray(made), 0.01)


def test_a_job_in_python(tmp_path: Path) -> None:
    heard: list[object] = []
    job = zd.RenderJob(
        target=tmp_path / "a.png", dream=zd.STILL_DREAM.change(octaves=1, steps=2), device="cpu"
    )
    done = zd.dream_image(job, heard.append, picture=np.asarray(SAMPLE), strip=1)
    assert (done.path, done.size) == (job.target, (60, 40))
    assert [path.name for path in done.others] == ["a-step-0001.png", "a-step-0002.png"]
    assert [type(event).__name__ for event in heard] == ["Start", "Step", "Step"]
    assert json.dumps(plain_value(zd.load_preset(tmp_path / "a.png.toml").dream.steps)) == "2"


def test_a_figure_is_a_picture() -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1.5), dpi=64, facecolor="#ffeedd")
    figure.subplots().plot([1, 3, 2], color="#ff0000")
    frame = one_frame(figure)
    assert frame.shape == (1, 3, 96, 128)
    assert to_bytes(frame)[0, 0].tolist() == [0xFF, 0xEE, 0xDD]
    assert bool(((frame[:, 0] > 0.9) & (frame[:, 1] < 0.1)).any())
    made = zd.dream(figure, octaves=1, steps=1)
    assert made.shape == (96, 128, 3)
    small = zd.Output(size=(64, 48), frames=1)
    job = zd.RenderJob(output=small, dream=zd.DreamSpec(octaves=1, steps=1))
    with zd.render(job, picture=figure) as film:
        (first,) = film
    assert first.image.shape == (48, 64, 3)


def ring(size: int = 96) -> Frame:
    """A black ring on white."""
    at = (torch.arange(size) + 0.5) / size - 0.5
    far = torch.hypot(at[:, None], at[None, :])
    return 1 - ((far - 0.2).abs() < 0.015).float().expand(1, 3, size, size)


def test_dreams_grow_from_lines_and_leave_the_paper(pocket: Network) -> None:
    drawing = ring()
    drawing = 0.9 * drawing  # not burnt: white cannot become brighter
    job = zd.RenderJob(dream=zd.STILL_DREAM.change(octaves=1, steps=3, step_size=0.05))
    everywhere = dream_still(drawing, job, DreamSession(pocket))
    job = job.change(dream=job.dream.change(grow=0.04))
    grown = dream_still(drawing, job, DreamSession(pocket))
    corner, line = (..., slice(0, 12), slice(0, 12)), (..., 48, slice(24, 34))
    assert difference(everywhere[corner], drawing[corner]) > 3
    assert difference(grown[corner], drawing[corner]) < 1
    assert difference(grown[line], drawing[line]) > 5


def test_paper_ages_but_keeps_its_ink(pocket: Network) -> None:
    drawing, session = ring(), DreamSession(pocket)
    job = zd.RenderJob(dream=zd.STILL_DREAM.change(steps=0), paper=0.8, seed=1)
    old = dream_still(drawing, job, session)
    red, _, blue = (float(old[0, n, :12, :12].mean()) for n in range(3))
    assert 1 > red > blue > 0.4
    assert old[..., 48, 29].max() < 0.05  # ink
    assert float(old[..., 40:56, 40:56].std()) > 0.001
    assert not torch.equal(old, dream_still(drawing, job.change(seed=2), session))
    assert torch.equal(drawing, dream_still(drawing, job.change(paper=0), session))


def test_ink_only_darkens_old_paper(pocket: Network) -> None:
    drawing = ring()
    job = zd.RenderJob(dream=zd.STILL_DREAM.change(octaves=1, steps=2, step_size=0.05), paper=0.8)
    undreamt = job.change(dream=zd.STILL_DREAM.change(steps=0))
    sheet = dream_still(torch.ones_like(drawing), undreamt, DreamSession(pocket))
    dreamt = dream_still(drawing, job, DreamSession(pocket))
    assert bool((dreamt <= sheet + 1e-6).all())
    assert difference(dreamt, sheet) > 5


def test_lines_are_near_and_paper_is_far() -> None:
    near = near_lines(ring(), 0.03)[0, 0]
    assert near[48, 33] > 0.5  # beside the line
    assert near[48, 29] < 0.8 * near[48, 33]  # on it: so that it can be read
    assert near[:8, :8].max() < 0.02
    assert near_lines(ring(), 0.2)[0, 0, 8, 8] > near[8, 8] + 0.1
    assert near_lines(torch.ones(1, 3, 40, 60), 0.1).max() == 0
    wide = near_lines(ring(800), 0.03)[0, 0]  # the same for a larger picture
    assert wide[400, 275] > 0.5
    assert wide[:66, :66].max() < 0.02


def test_a_zoom_may_have_grown_on_old_paper(zoomdream: Command, tmp_path: Path) -> None:
    Image.fromarray(to_bytes(ring())).save(tmp_path / "in.png")
    words = ("--frames", 2, "--size", "64x64", *QUICK, "--paper", 0.8, "--grow", 0.03)
    done = zoomdream("zoom", "in.png", "-o", "a.gif", *words)
    assert done.code == 0, done.err
    corner = decode(tmp_path / "a.gif").frames[0][:8, :8].reshape(-1, 3).mean(0)
    assert corner[0] > corner[2] + 10


def test_a_pdf_is_drawn_at_the_size_that_is_wanted(zoomdream: Command, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf("0 0 60 40"))
    assert read_still(tmp_path / "a.pdf").shape == (1, 3, 683, 1024)
    done = zoomdream("image", "a.pdf", "-o", "a.png", "--size", "120x80", *CALM)
    assert done.code == 0, done.err
    frame = read_still(tmp_path / "a.png")
    assert frame.shape == (1, 3, 80, 120)
    assert frame[0, :, 40, 30].tolist() == [1, 0, 0]
    assert frame[0, :, 40, 90].tolist() == [1, 1, 1]


def test_without_the_extra_a_pdf_gets_one_sentence(
    zoomdream: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    (tmp_path / "a.pdf").write_bytes(pdf("0 0 60 40"))
    done = zoomdream("image", "a.pdf", "-o", "a.png")
    assert done.code == 3
    assert 'a.pdf is a PDF: pip install "zoomdream[pdf]" to use those' in done.err


def test_a_picture_is_not_written_over_what_it_is_dreamt_from(
    zoomdream: Command, tmp_path: Path
) -> None:
    SAMPLE.save(tmp_path / "in.png")
    before = (tmp_path / "in.png").read_bytes()
    done = zoomdream("image", "in.png", "-o", "in.png", "--force", *QUICK)
    assert (done.code, "in.png is what is dreamt on" in done.err) == (2, True)
    assert (tmp_path / "in.png").read_bytes() == before
    (tmp_path / "out.png.toml").mkdir()
    done = zoomdream("image", "in.png", "-o", "out.png", *QUICK)
    assert (done.code, "out.png.toml is a folder" in done.err) == (4, True)
    assert not (tmp_path / "out.png").exists()


def test_the_same_dream_is_the_same_file(zoomdream: Command, tmp_path: Path) -> None:
    SAMPLE.save(tmp_path / "in.png")
    for name in ("a.png", "b.png"):
        assert zoomdream("image", "in.png", "-o", name, *QUICK).code == 0
        srgb_profile.cache_clear()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("words", [("image",), ("layers",), ("zoom", "--frames", 1)])
def test_a_name_that_is_too_long_gets_a_sentence(
    zoomdream: Command, tmp_path: Path, words: tuple[object, ...]
) -> None:
    SAMPLE.save(tmp_path / "in.png")
    suffix = ".mp4" if words[0] == "zoom" else ".png"
    done = zoomdream(words[0], "in.png", "-o", "a" * 300 + suffix, *words[1:])
    assert (done.code, "too long" in done.err, "fault" in done.err) == (4, True, False)
