"""Where films and pictures are put: file systems that can less, names of every kind, what is there."""

import contextlib
import errno
import fcntl
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoomdream as zd
from tests.conftest import decode
from tests.films import counting, run
from tests.films import write as write_clip
from zoomdream.errors import OutputError, UsageError
from zoomdream.film.film_spec import FilmSpec
from zoomdream.film.journal import journal_folder
from zoomdream.film.resume import already_finished
from zoomdream.film.target_check import check_film_target
from zoomdream.film.writer import open_writer
from zoomdream.media.ffmpeg import count_frames, ffmpeg_path
from zoomdream.media.image_formats import check_image_target
from zoomdream.media.image_writer import staged_pictures
from zoomdream.network.network import Network
from zoomdream.settings.definitions import Output
from zoomdream.size import Size

pytestmark = pytest.mark.skipif(os.name == "nt", reason="of file systems that Linux has")
SIZE, RATE, FRAMES = Size(64, 48), Fraction(25), 3
PICTURE = np.full((8, 8, 3), 128, np.uint8)
STATE = {"last": torch.zeros(3)}


def write(target: Path, resume: bool = False, force: bool = False, level: float = 0.5) -> None:
    """Writes a film of three grey frames."""
    spec = FilmSpec(target, Output(), SIZE, RATE, FRAMES)
    check_film_target(target, force, spec.output)
    with open_writer(spec, {"all": "the same"}, resume, force) as writer:
        for _ in range(writer.frame, FRAMES):
            writer.add(torch.full((1, 3, *SIZE.shape), level))
        writer.commit(STATE)
        writer.join()
        writer.place(force)


def write_picture(target: Path, force: bool = True) -> None:
    check_image_target(target, force)
    with staged_pictures(target) as staged:
        staged.add(target, PICTURE)
        staged.place(force)


def frames_of(target: Path) -> int:
    return len(list(target.glob("*.png"))) if target.is_dir() else count_frames(target)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


Failing = Callable[..., None]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Makes a function of the system fail with an error, where its arguments are as a test says."""

    def fail(module: Any, name: str, number: int, where: Callable[..., bool]) -> None:
        real = getattr(module, name)

        def failing_call(*arguments: Any, **options: Any) -> Any:
            if where(*arguments):
                raise OSError(number, os.strerror(number))
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, failing_call)

    return fail


def is_folder(handle: int) -> bool:
    return os.path.isdir(f"/proc/self/fd/{handle}")  # noqa: PTH112


# --- What a file system cannot do


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES])
def test_folders_that_cannot_be_flushed(tmp_path: Path, failing: Failing, number: int) -> None:
    failing(os, "fsync", number, is_folder)
    for name in ("a.mp4", "frames"):
        write(tmp_path / name)
        assert frames_of(tmp_path / name) == FRAMES
    write_picture(tmp_path / "a.png")
    assert names(tmp_path) == ["a.mp4", "a.png", "frames"]


@pytest.mark.parametrize(
    ("number", "told"), [(errno.EIO, "Input/output error"), (errno.EDQUOT, "the disk is full")]
)
def test_data_that_does_not_reach_the_disk_is_an_error(
    tmp_path: Path, failing: Failing, number: int, told: str
) -> None:
    failing(os, "fsync", number, lambda handle: not is_folder(handle))
    for target, put in ((tmp_path / "a.mp4", write), (tmp_path / "a.png", write_picture)):
        with pytest.raises(OutputError, match=f"{target.name} cannot be written: {told}"):
            put(target)
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_locks_two_renders_are_kept_apart_all_the_same(
    tmp_path: Path, failing: Failing, number: int
) -> None:
    failing(fcntl, "flock", number, lambda *_: True)
    spec = FilmSpec(tmp_path / "a.mp4", Output(), SIZE, RATE, FRAMES)
    with (
        open_writer(spec, {"all": "the same"}),
        pytest.raises(OutputError, match="is being rendered by another process"),
    ):
        write(spec.target, force=True)
    write(spec.target)
    assert names(tmp_path) == ["a.mp4"]


def test_without_links_a_folder_is_copied(tmp_path: Path, failing: Failing) -> None:
    failing(os, "link", errno.EPERM, lambda *_: True)
    write(tmp_path / "frames")
    assert names(tmp_path / "frames") == [f"00000{n}.png" for n in range(FRAMES)]


# --- Names that nothing can be renamed to


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EXDEV])
@pytest.mark.parametrize("name", ["a.mp4", "frames"])
def test_a_mount_point_is_written_into(
    tmp_path: Path, failing: Failing, number: int, name: str
) -> None:
    """As a container's volume: what is there has to stay, and gets other content."""
    target = tmp_path / name
    write(target, level=0.1)
    if target.is_dir():
        (target / "000099.png").write_bytes(b"of an older film")
    before = target.stat().st_ino

    def concerns_it(source: Any, to: Any) -> bool:
        return str(target) in (str(source), str(to))

    failing(os, "replace", number, concerns_it)
    failing(os, "rename", number, concerns_it)
    write(target, force=True, level=0.8)
    assert frames_of(target) == FRAMES
    assert target.stat().st_ino == before
    if target.is_file():
        assert decode(target).frames.mean() == pytest.approx(0.8 * 255, abs=3)
    assert names(tmp_path) == [name]


def test_what_is_put_into_a_folder_that_is_closed_from_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal lies in the folder then, and a render that is interrupted is found there."""
    target = tmp_path / "frames"
    target.mkdir()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, *how: path != tmp_path and real(path, *how))
    assert journal_folder(target).parent == target
    spec = FilmSpec(target, Output(), SIZE, RATE, FRAMES, label="seed = 1\n")
    check_film_target(target, False, spec.output)
    with pytest.raises(KeyError), open_writer(spec, {"all": "the same"}) as writer:
        writer.add(torch.zeros(1, 3, *SIZE.shape))
        writer.commit(STATE)
        raise KeyError
    assert names(target) == ["frames.zoomdream"]
    check_film_target(target, False, spec.output)
    with open_writer(spec, {"all": "the same"}, resume=True) as writer:
        assert writer.frame == 1
        writer.join()
        writer.place()
    assert names(target) == ["000000.png", "frames.toml"]
    assert names(tmp_path) == ["frames"]
    with pytest.raises(OutputError, match="may not be written to: choose another folder"):
        check_film_target(tmp_path / "a.mp4", False, spec.output)


def test_a_folder_can_be_looked_at_before_it_is_whole(tmp_path: Path) -> None:
    spec = FilmSpec(tmp_path / "frames", Output(), SIZE, RATE, FRAMES)
    with pytest.raises(KeyError), open_writer(spec, {"all": "the same"}) as writer:
        writer.add(torch.zeros(1, 3, *SIZE.shape))
        writer.commit(STATE)
        raise KeyError
    for _ in range(2):
        assert zd.join_so_far(spec.target) == (tmp_path / "frames-so-far", 1)
        assert names(tmp_path / "frames-so-far") == ["000000.png"]
    assert names(tmp_path) == ["frames-so-far", "frames.zoomdream"]


# --- The journal goes last


@pytest.mark.parametrize("name", ["a.mp4", "frames"])
def test_a_journal_stays_until_the_film_was_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As where a disk says that all is well, and it is not."""
    target, real = tmp_path / name, os.replace

    def damaging(source: Any, to: Any, **options: Any) -> None:
        real(source, to, **options)
        if str(to) == str(target):
            file = target if target.is_file() else next(target.iterdir())
            os.truncate(file, 20)

    with monkeypatch.context() as patch:
        for function in ("replace", "rename"):
            patch.setattr(os, function, damaging)
        with pytest.raises(
            OutputError, match="is not what was written; 3 frames are safe; to go on"
        ):
            write(target)
    assert names(tmp_path) == [f"{name}.zoomdream"] or frames_of(target) == 0
    assert not already_finished(target, resume=True)
    write(target, resume=True)
    assert frames_of(target) == FRAMES
    assert names(tmp_path) == [name]


def test_a_film_that_went_after_it_was_placed_is_placed_again(tmp_path: Path) -> None:
    """Its journal is there still, as after a kill, and its name is empty or another's."""
    spec = FilmSpec(tmp_path / "frames", Output(), SIZE, RATE, FRAMES)
    write(spec.target)
    with open_writer(spec, {"all": "the same"}, force=True) as writer:
        writer.add(torch.zeros(1, 3, *SIZE.shape))
        writer.commit(STATE)
        writer.join()
        writer.place(force=True)
        shutil.copytree(journal_folder(spec.target), tmp_path / "kept")
    (tmp_path / "kept").rename(journal_folder(spec.target))
    (spec.target / "000000.png").unlink()
    assert not already_finished(spec.target, resume=True)
    with open_writer(spec, {"all": "the same"}, resume=True) as writer:
        writer.join()
        writer.place(force=True)
    assert names(spec.target) == ["000000.png"]
    assert names(tmp_path) == ["frames"]


# --- Names


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_a_link(tmp_path: Path, there: bool) -> None:
    (tmp_path / "disk").mkdir()
    for name in ("a.mp4", "frames", "a.png"):
        real, link = tmp_path / "disk" / name, tmp_path / name
        put = write_picture if name == "a.png" else write
        if there:
            put(real)
        link.symlink_to(real)
        if there:
            with pytest.raises(OutputError, match="is there already"):
                put(link, force=False)
        put(link, force=True)
        assert link.is_symlink()
        assert name == "a.png" or frames_of(real) == FRAMES
    assert names(tmp_path / "disk") == ["a.mp4", "a.png", "frames"]
    (tmp_path / "b.mp4").symlink_to(tmp_path / "none" / "b.mp4")
    with pytest.raises(OutputError, match="none is not a folder: create it"):
        write(tmp_path / "b.mp4")


def test_devices_and_pipes_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "null.mp4").symlink_to(os.devnull)
    for target in (tmp_path / "pipe.mp4", tmp_path / "null.mp4", Path(os.devnull)):
        with pytest.raises(OutputError, match="is a device or a pipe: name a file or a new folder"):
            check_film_target(target, True, Output())


def test_a_name_has_to_leave_room_for_what_lies_beside_it(tmp_path: Path) -> None:
    write(tmp_path / f"{'a' * 240}.mp4")
    for put, suffix in ((write, ".mp4"), (write_picture, ".png")):
        with pytest.raises(OutputError, match="its name is too long, with what lies beside it"):
            put(tmp_path / f"{'b' * 248}{suffix}")
    assert names(tmp_path) == [f"{'a' * 240}.mp4"]
    for length in (248, 300):
        with pytest.raises(OutputError, match="its name is too long"):
            zd.render_film(zd.RenderJob(target=tmp_path / f"{'b' * length}.mp4"))
    with pytest.raises(UsageError, match=r'"/" has no name: write to a file or a new folder'):
        zd.render_film(zd.RenderJob(target=Path("/")))


def test_a_name_that_the_file_system_does_not_take(tmp_path: Path, failing: Failing) -> None:
    """As FAT refuses a colon; before anything is made."""
    failing(os, "open", errno.EINVAL, lambda path, *_: ":" in str(path))
    for put, name in ((write, "12:30.mp4"), (write_picture, "12:30.png")):
        with pytest.raises(OutputError, match=r"none that the file system takes: leave out < > :"):
            put(tmp_path / name)


def test_a_film_is_not_put_over_the_clip_that_it_is_made_from(tmp_path: Path) -> None:
    clip = write_clip(counting(4), tmp_path / "a.mp4")
    job = zd.RenderJob(source=clip, target=clip, flow=zd.FlowBlend(), device="cpu", force=True)
    with pytest.raises(UsageError, match="is what is dreamt on: write to another file"):
        zd.render_film(job)


# --- Limits


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """No file may grow past 1000 bytes, as if FAT held so little; the tests' own output neither."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_file_that_would_be_too_large(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    told = "a.* cannot be written: it is larger than a file may be there"
    with small_files():
        with pytest.raises(OutputError, match=told), staged_pictures(tmp_path / "a.png") as staged:
            staged.add(tmp_path / "a.png", noise)
        with pytest.raises(OutputError, match=told):
            write(tmp_path / "a.mp4")
    assert names(tmp_path) == []


def test_a_picture_whose_name_was_taken_meanwhile_is_kept_elsewhere(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    with (
        pytest.raises(OutputError, match=r"is there already: .*; what was made is in .*a\.png-"),
        staged_pictures(target) as staged,
    ):
        staged.add(target, PICTURE)
        target.write_bytes(b"theirs")
        staged.place(force=False)
    assert target.read_bytes() == b"theirs"
    kept = next(path for path in tmp_path.iterdir() if path.is_dir())
    assert names(kept) == ["a.png"]


# --- A film that cannot be finished is saved by what the message advises


def fails_to_join(folder: Path) -> Path:
    """An ffmpeg that cannot join segments with sound, and else is our own."""
    path = folder / "ffmpeg"
    path.write_text(
        '#!/bin/sh\ncase "$*" in *segments.txt*sound*) echo "Invalid argument" >&2; exit 9;; esac\n'
        f'exec "{ffmpeg_path()}" "$@"\n'
    )
    path.chmod(0o755)
    return path


@pytest.fixture
def job(tmp_path: Path) -> zd.RenderJob:
    """A clip of four frames with sound, to be dreamt quickly."""
    silent, clip = write_clip(counting(4), tmp_path / "silent.mp4"), tmp_path / "clip.mkv"
    sound = ("-f", "lavfi", "-i", "sine=440:d=0.2")
    run("-i", silent, *sound, "-map", 0, "-map", 1, "-c:v", "copy", clip)
    return zd.RenderJob(
        source=clip, target=tmp_path / "a.mp4", flow=zd.FlowBlend(flow="none", scenes=False),
        device="cpu", precision="fp32", dream=zd.DreamSpec(octaves=1, steps=1),
    )  # fmt: skip


def has_sound(film: Path) -> bool:
    return "Audio: " in decode(film).about


def test_a_film_that_cannot_be_joined_is_saved_by_what_is_advised(
    tmp_path: Path, job: zd.RenderJob, pocket: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert job.source
    assert job.target
    clip, film = job.source, job.target
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(fails_to_join(tmp_path)))
    advice = "`resume=True` with `output.audio=False` leaves out its sound"
    with pytest.raises(OutputError, match=advice):
        zd.render_film(job, network=pocket)
    shutil.copytree(journal_folder(film), tmp_path / "kept")
    zd.render_film(job.change(output=zd.Output(audio=False)), network=pocket, resume=True)
    assert (frames_of(film), has_sound(film)) == (4, False)
    film.unlink()
    (tmp_path / "kept").rename(journal_folder(film))
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    clip.rename(tmp_path / "away.mkv")  # its sound is in the journal
    assert zd.join_so_far(film) == (tmp_path / "a.so-far.mp4", 4)
    assert has_sound(tmp_path / "a.so-far.mp4")
    (tmp_path / "away.mkv").rename(clip)
    zd.render_film(zd.interrupted_job(film), network=pocket, resume=True)
    assert (frames_of(film), has_sound(film)) == (4, True)


def test_a_clip_may_go_while_its_film_is_made(job: zd.RenderJob, pocket: Network) -> None:
    assert job.source
    assert job.target
    clip = job.source

    def remove(event: object) -> None:
        if isinstance(event, zd.Progress):
            clip.unlink(missing_ok=True)

    assert zd.render_film(job, remove, network=pocket).frames == 4
    assert has_sound(job.target)
