import json
import os
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from tests.conftest import decode
from zoomdream.errors import OutputError, UsageError
from zoomdream.film.encoder import FrameCount, SegmentEncoder, encode_segment
from zoomdream.film.film_spec import FilmSpec
from zoomdream.film.journal import journal_folder, raw_file
from zoomdream.film.resume import already_finished
from zoomdream.film.target_check import check_film_target
from zoomdream.film.writer import FilmWriter, open_writer
from zoomdream.media.ffmpeg import count_frames
from zoomdream.media.film_formats import film_format, nearest_supported
from zoomdream.media.frame import Frame
from zoomdream.settings.definitions import Output
from zoomdream.size import Size

SIZE = Size(64, 48)
RATE = Fraction(25)


def grey(level: float, size: Size = SIZE) -> Frame:
    return torch.full((1, 3, *size.shape), level)


STATE = {"last": torch.zeros(3)}
STANDARD = Output()


@contextmanager
def writing(
    target: Path,
    output: Output = STANDARD,
    size: Size = SIZE,
    fps: Fraction = RATE,
    frames: int = 10,
    force: bool = True,
) -> Iterator[FilmWriter]:
    spec = FilmSpec(target, output, size, fps, frames)
    with open_writer(spec, {"all": "the same"}, force=force) as writer:
        yield writer
        writer.commit(STATE)
        writer.join()
        writer.place(force)


def write(target: Path, frames: int = 10, fps: Fraction = RATE, size: Size = SIZE) -> None:
    with writing(target, size=size, fps=fps, frames=frames) as writer:
        for number in range(frames):
            writer.add(grey(number / frames, size))


NAMES = [
    "a.mp4",
    "with space.mp4",
    "-dash.mp4",
    "12:30 a:b.mp4",
    "日本 ü é.mp4",
    "it's %d 100%.gif",
    "a.webm",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_every_kind(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path(name))
    film = decode(tmp_path / name)
    assert film.frames.shape == (10, *SIZE.shape, 3)
    levels = film.frames.mean((1, 2, 3)) / 255
    assert levels == pytest.approx(np.arange(10) / 10, abs=0.03)
    assert "25 fps" in film.about
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_an_mp4_is_tagged_and_starts_fast(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", fps=Fraction(30000, 1001))
    about = decode(tmp_path / "a.mp4").about
    assert "h264" in about
    assert "yuv420p(tv, bt709" in about
    assert "29.97 fps" in about
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.webm"])
def test_colours_come_back(tmp_path: Path, name: str) -> None:
    colours = torch.tensor([[0.8, 0.2, 0.2], [0.2, 0.7, 0.2], [0.2, 0.2, 0.9], [0.9, 0.9, 0.2]])
    picture = colours.T.view(1, 3, 1, 4).repeat_interleave(16, 3).repeat_interleave(48, 2)
    with writing(tmp_path / name, Output(quality=10)) as writer:
        for _ in range(5):
            writer.add(picture)
    decoded = decode(tmp_path / name).frames[2, 24, 8::16] / 255
    assert decoded == pytest.approx(colours.numpy(), abs=0.03)


def test_a_folder_of_png(tmp_path: Path) -> None:
    write(tmp_path / "frames", 3)
    names = sorted(p.name for p in (tmp_path / "frames").iterdir())
    assert names == ["000000.png", "000001.png", "000002.png"]
    with pytest.raises(OutputError, match="force=True"):
        check_film_target(tmp_path / "frames", force=False, output=Output())
    write(tmp_path / "frames", 2)
    assert len(list((tmp_path / "frames").iterdir())) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["frames"]


def test_sizes_and_rates_that_fit() -> None:
    odd = Size(47, 63)
    assert nearest_supported(Path("a.mp4"), odd, Fraction(30)) == (Size(46, 62), Fraction(30))
    assert nearest_supported(Path("a.gif"), odd, Fraction(24)) == (odd, Fraction(25))
    assert nearest_supported(Path("a.gif"), odd, Fraction(12)) == (odd, Fraction(10))
    assert nearest_supported(Path("frames"), odd, Fraction(30)) == (odd, Fraction(30))


def test_a_gif_of_odd_size(tmp_path: Path) -> None:
    write(tmp_path / "a.gif", size=Size(63, 47))
    assert decode(tmp_path / "a.gif").frames.shape == (10, 47, 63, 3)


def test_a_wrong_frame_is_refused_and_nothing_left(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="65x48 instead of 64x48"),
        writing(tmp_path / "a.mp4") as writer,
    ):
        writer.add(grey(0.5, Size(65, 48)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.mp4", "frames"])
def test_an_interrupted_film_leaves_nothing_and_no_ffmpeg(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        writing(tmp_path / name) as writer,
    ):
        writer.add(grey(0.5))
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    assert not [p for p in psutil.Process().children() if "ffmpeg" in p.name()]


def test_the_old_film_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(RuntimeError), writing(tmp_path / "a.mp4") as writer:
        writer.add(grey(0.5))
        raise RuntimeError
    assert (tmp_path / "a.mp4").read_bytes() == b"old"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if _mount(folder, "size=8m"):
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def _mount(folder: Path, options: str) -> int:
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(words, capture_output=True, check=False).returncode


def test_too_small_a_disk_is_noticed_before_the_start(disk: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"needs about .* MB .* 8.4 MB are free there"),
        writing(disk / "a.mp4", size=Size.square(512), frames=1000),
    ):
        pass
    assert not list(disk.iterdir())


def test_a_full_disk_stops_with_everything_committed(disk: Path) -> None:
    expected = (
        1  # frames, while more will come, so that too small a disk is not noticed at the start
    )
    spec = FilmSpec(disk / "a.mp4", Output(quality=0), Size.square(256), RATE, expected)
    frames, committed = torch.rand(60, 1, 3, 256, 256), 0
    with (
        pytest.raises(OutputError, match="disk is full"),
        open_writer(spec, {"all": "the same"}) as writer,
    ):
        for frame in frames:
            writer.add(frame)
            writer.commit(STATE)
            writer.flush()
            committed = writer.frame
    assert committed >= 20
    assert not spec.target.exists()
    assert not _mount(disk, "remount,size=100m")
    with open_writer(spec, {"all": "the same"}, resume=True) as writer:
        assert writer.frame == committed
        for frame in frames[committed:]:
            writer.add(frame)
        writer.join()
        writer.place()
    decoded = torch.tensor(decode(spec.target).frames).permute(0, 3, 1, 2) / 255
    assert (decoded - frames[:, 0]).abs().mean() < 0.25  # 4:2:0 of noise
    assert sorted(p.name for p in disk.iterdir()) == ["a.mp4"]


def fake_ffmpeg(folder: Path, script: str) -> Path:
    path = folder / "fake-ffmpeg"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("cat >/dev/null; echo 'Unknown encoder x' >&2; exit 1", "Unknown encoder x"),
        ("echo 'I died' >&2; exit 9", "I died"),
        ("cat >/dev/null; exit 0", "cannot be written|frames of|No such file"),
    ],
)
def test_an_ffmpeg_that_fails_is_believed_to_have_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, told: str
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(fake_ffmpeg(tmp_path, script)))
    with pytest.raises(OutputError, match=told):
        write(tmp_path / "a.mp4", 100)
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
def test_an_ffmpeg_that_dies_between_two_frames_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "head -c 9216 >/dev/null; echo 'I died' >&2; exit 9"
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(fake_ffmpeg(tmp_path, script)))
    with pytest.raises(OutputError, match="I died"), writing(tmp_path / "a.mp4") as writer:
        writer.add(grey(0.1))
        time.sleep(0.5)  # it has come and gone, and what feeds it waits for more
        writer.add(grey(0.2))
        writer.flush()


def test_frames_that_cannot_be_read_again_are_told(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    with pytest.raises(OutputError, match="cannot be read again"), writing(target) as writer:
        writer.add(grey(0.1))
        writer.flush()
        os.truncate(raw_file(journal_folder(target), 0), 0)
        writer.add(grey(0.2))
        writer.flush()
    assert not target.exists()


def test_what_was_given_before_a_fault_is_safe(tmp_path: Path) -> None:
    spec = FilmSpec(tmp_path / "a.mp4", Output(), SIZE, RATE, 10)
    with pytest.raises(KeyError), open_writer(spec, {"all": "the same"}) as writer:
        for _ in range(3):
            writer.add(grey(0.1))
        writer.commit(STATE)
        raise KeyError("theirs")
    with open_writer(spec, {"all": "the same"}, resume=True) as writer:
        assert writer.frame == 3


def test_targets_are_checked_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "there.mp4").write_text("")
    (tmp_path / "folder.mp4").mkdir()
    for target, told in (
        (tmp_path / "none" / "a.mp4", "create it"),
        (tmp_path / "there.mp4", "force=True"),
        (tmp_path / "folder.mp4", "is a folder"),
        (tmp_path / "file", "is a file"),
        (tmp_path, "which is no frame"),
    ):
        with pytest.raises(OutputError, match=told):
            check_film_target(target, force=False, output=Output())
    check_film_target(tmp_path / "there.mp4", force=True, output=Output())
    with pytest.raises(UsageError, match=r"\.mp4, \.webm or \.gif"):
        film_format(Path("a.avi"))


def test_an_unwritable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(OutputError, match="may not be written"):
        check_film_target(tmp_path / "a.mp4", force=False, output=Output())


def test_frames_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", 7)
    assert count_frames(tmp_path / "a.mp4") == 7
    (tmp_path / "b.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:300])
    assert count_frames(tmp_path / "b.mp4") == 0


@pytest.mark.parametrize("name", ["a.gif", "frames"])
def test_a_name_that_was_taken_meanwhile_is_not_overwritten(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    with (
        pytest.raises(OutputError, match="meanwhile"),
        writing(target, force=False) as writer,
    ):
        writer.add(grey(0.5))
        if target.suffix:
            target.write_bytes(b"theirs")
        else:
            target.mkdir()
            (target / "000000.png").write_bytes(b"theirs")
    left = target.read_bytes() if target.suffix else (target / "000000.png").read_bytes()
    assert left == b"theirs"
    spec = FilmSpec(target, STANDARD, SIZE, RATE, 10)
    with open_writer(spec, {"all": "the same"}, resume=True) as writer:  # the work is not lost
        assert writer.frame == 1
        writer.join()
        writer.place(force=True)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert len(list(target.iterdir())) == 1 if target.is_dir() else target.read_bytes() != left


def test_a_fault_of_the_caller_stays_the_callers(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError),
        writing(tmp_path / "a.gif") as writer,
    ):
        writer.add(grey(0.5))
        raise FileNotFoundError("mine")


def test_a_long_gif_is_not_held_in_memory(tmp_path: Path) -> None:
    with writing(tmp_path / "a.gif") as writer:
        for number in range(10):
            writer.add(grey(number / 10))
    film = decode(tmp_path / "a.gif")
    assert film.frames.mean((1, 2, 3)) / 255 == pytest.approx(np.arange(10) / 10, abs=0.03)


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
def test_without_hardware_it_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(fake_ffmpeg(tmp_path, "exit 1")))
    output = Output(encoder="hardware")
    with pytest.raises(OutputError, match=r"no hardware encoder works here \(h264_nvenc, "):
        check_film_target(tmp_path / "a.mp4", force=False, output=output)
    with pytest.raises(UsageError, match="a loop has all its frames coded alike"):
        check_film_target(tmp_path / "a.mp4", False, Output(encoder="hardware", loop=True))
    with pytest.raises(UsageError, match=r"hardware encodes \.mp4 alone, and a\.gif is none"):
        check_film_target(tmp_path / "a.gif", force=False, output=output)


def test_an_encoder_gets_many_frames_at_once_or_what_there_is() -> None:
    patient = FrameCount(at_once=4, longest_wait=60.0)
    patient.update(4, complete=False)
    assert patient.wait_for_more(0) == 4
    patient.update(6, complete=False)
    threading.Timer(0.2, patient.update, (8, False)).start()
    assert patient.wait_for_more(4) == 8
    hasty = FrameCount(at_once=4, longest_wait=0.05)
    hasty.update(9, complete=False)  # slow dreams are not waited for
    assert hasty.wait_for_more(8) == 9
    threading.Timer(0.2, hasty.update, (9, True)).start()
    assert hasty.wait_for_more(9) == 9  # no more will come


@pytest.mark.parametrize(("at_once", "longest_wait"), [(1, 60.0), (7, 0.01), (100, 60.0)])
def test_however_frames_come_the_segment_is_the_same(
    tmp_path: Path, at_once: int, longest_wait: float
) -> None:
    spec, raw = FilmSpec(tmp_path / "a.mp4", Output(), SIZE, RATE, 10), tmp_path / "frames.rgb"
    content = np.random.default_rng(1).bytes(20 * spec.plan.frame_bytes)
    raw.write_bytes(content)
    whole = (tmp_path / encode_segment(spec, tmp_path, 0, raw, 20)).read_bytes()
    raw.write_bytes(b"")
    encoder = SegmentEncoder(spec, tmp_path, 1, raw, at_once, longest_wait)
    for number in range(20):
        with raw.open("ab") as file:
            file.write(content[number * spec.plan.frame_bytes :][: spec.plan.frame_bytes])
        encoder.update(number + 1, complete=number == 19)
        time.sleep(0.02)
    assert (tmp_path / encoder.finish()).read_bytes() == whole


def test_a_film_is_joined_by_what_its_journal_has_of_it() -> None:
    spec = FilmSpec(Path("a.mp4"), Output(quality=20), Size(63, 47), RATE, 10, 5)
    again = FilmSpec.from_record(Path("b.mp4"), json.loads(json.dumps(spec.record)))
    assert (again.size, again.fps, again.plan) == (spec.size, spec.fps, spec.plan)
    assert again.output.quality == 20


def test_a_film_of_unknown_length(tmp_path: Path) -> None:
    spec = FilmSpec(tmp_path / "a.mp4", Output(), SIZE, RATE, frames=None)
    known = FilmSpec(tmp_path / "a.mp4", Output(), SIZE, RATE, frames=10_000)
    assert 0 < spec.disk_space(-1) < known.disk_space(-1)
    with open_writer(spec, {"all": "the same"}) as writer:
        for number in range(7):
            writer.add(grey(number / 10))
        writer.commit(STATE)
        assert count_frames(writer.join()) == 7
        assert not spec.target.exists()
        writer.place()
    assert count_frames(spec.target) == 7
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_a_film_that_is_joined_but_refused_leaves_only_its_journal(tmp_path: Path) -> None:
    spec = FilmSpec(tmp_path / "a.mp4", Output(), SIZE, RATE, 10)
    with (
        pytest.raises(OutputError, match="does not close"),
        open_writer(spec, {"all": "the same"}) as writer,
    ):
        writer.add(grey(0.5))
        writer.commit(STATE)
        joined = writer.join()
        assert joined.is_file()
        raise OutputError("it does not close")
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4.zoomdream"]
    assert not joined.exists()
    with open_writer(spec, {"all": "the same"}, resume=True) as writer:
        assert writer.frame == 1


def test_a_film_that_cannot_take_its_name_is_not_taken_for_finished(tmp_path: Path) -> None:
    spec = FilmSpec(tmp_path / "a.mp4", Output(), SIZE, RATE, 10)
    with (
        pytest.raises(OutputError, match="cannot be written"),
        open_writer(spec, {"all": "the same"}, force=True) as writer,
    ):
        writer.add(grey(0.5))
        writer.commit(STATE)
        writer.join()
        (spec.target / "a folder").mkdir(parents=True)
        writer.place(force=True)
    assert not already_finished(spec.target, resume=True)
    shutil.rmtree(spec.target)
    with open_writer(spec, {"all": "the same"}, resume=True) as writer:
        assert writer.frame == 1
        writer.join()
        writer.place()
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
