"""Renders that are killed, cut off and damaged, and go on as if nothing had happened."""

import hashlib
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
import zlib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import zoomdream as zd
from tests.conftest import Command, decode, difference
from tests.conftest import start as start_command
from tests.watching import watched_network
from zoomdream.errors import Interrupted, OutputError, UsageError
from zoomdream.events import Note
from zoomdream.files import digest, shipped
from zoomdream.film.journal import journal_folder
from zoomdream.film.render import render_film
from zoomdream.film.resume import join_so_far
from zoomdream.media.ffmpeg import ffmpeg_path
from zoomdream.media.image_reader import read_still
from zoomdream.network.catalog import network_info
from zoomdream.network.device import choose_place
from zoomdream.network.network import load_network
from zoomdream.network.weights import weights_path
from zoomdream.network.weights_file import read_weights

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs signals")
QUICK = zd.DreamSpec(octaves=1, steps=1)
SMALL = zd.Output(size=(64, 48), fps=4, frames=30)  # segments of 8 frames
CLIP = zd.FlowBlend(end=1.5)


def job(mode: str, target: Path) -> zd.RenderJob:
    """A render of four segments."""
    base = zd.RenderJob(target=target, dream=QUICK, device="cpu", source=shipped("sample.jpg"))
    if mode == "clip":
        output = zd.Output(size=SMALL.size, fps=20)
        return base.change(flow=CLIP, source=shipped("sample.mp4"), output=output)
    if mode == "loop":
        return base.change(output=SMALL.change(loop=True), anchor=zd.Anchor(to="running"))
    if mode == "render":
        preset = zd.load_preset("pulse")
        return preset.change(target=target, source=base.source, dream=QUICK, device="cpu",
                             output=SMALL.change(frames=24, fps=10))  # fmt: skip
    return base.change(output=SMALL)


WATCHED = (
    "open",
    "os.rename",
    "os.remove",
    "os.truncate",
    "os.rmdir",
    "os.link",
    "subprocess.Popen",
)


def _render(mode: str, target: Path, fatal: int | None, counted: str | None) -> None:
    """In a process of its own: renders, and is killed when it touches a file for the nth time."""
    count = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event in WATCHED and any(".zoomdream" in str(a) or "film" in str(a) for a in arguments):
            count += 1
            if count == fatal:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    render_film(job(mode, target), resume=True, commit_seconds=0.0)
    if counted:
        Path(counted).write_text(str(count))


@pytest.fixture(scope="module")
def start() -> Callable[..., int]:
    """Runs `_render` in a fresh process; its exit code. `after` seconds it is killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["zoomdream.film.render", "tests.film.test_journal"])

    def run(
        mode: str,
        target: Path,
        fatal: int | None = None,
        counted: Path | None = None,
        after: float | None = None,
    ) -> int:
        child = context.Process(
            target=_render, args=(mode, target, fatal, counted and str(counted))
        )
        child.start()
        child.join(after)
        if child.is_alive():
            assert child.pid
            os.kill(child.pid, signal.SIGKILL)
            child.join()
        assert child.exitcode is not None
        return child.exitcode

    return run


def fingerprint(film: Path) -> str:
    """Of all decoded frames."""
    if film.is_dir():
        return digest(film)
    return hashlib.sha256(decode(film).frames.tobytes()).hexdigest()


def damage(folder: Path, rng: random.Random) -> None:
    """What a power cut does to a file that was not flushed: its end is missing, or is rubbish."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.stat().st_size and p.name != "lock"]
    newest = sorted(files, key=lambda p: p.stat().st_mtime_ns)[-rng.randint(1, 2) :]
    for path in newest:
        content = bytearray(path.read_bytes())
        keep = max(0, len(content) - rng.randint(1, 300))
        rubbish = b"" if rng.random() < 0.5 else rng.randbytes(len(content) - keep)
        path.write_bytes(bytes(content[:keep]) + rubbish)


def kills(
    mode: str, wanted: int, tmp_path: Path, start: Callable[..., int], name: str = "a.mp4"
) -> dict[str, int]:
    """Kills renders at random moments, lets them go on, and compares; what was seen."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    film = tmp_path / "whole" / name
    begun = time.monotonic()
    assert start(mode, film, counted=tmp_path / "count") == 0
    seconds = time.monotonic() - begun
    assert not journal_folder(film).exists()
    expected, moments = fingerprint(film), int((tmp_path / "count").read_text())
    film = tmp_path / "cut" / name
    seen = {"renders": 0, "kills": 0, "in a row": 0, "damaged": 0, "late": 0}
    for seed in itertools.count():
        if seen["kills"] >= wanted:
            break
        seen["renders"] += 1
        rng = random.Random(f"{mode} {seed}")
        rows = rng.choice((1, 1, 2, 3))
        for row in range(rows):
            if rng.random() < 0.75:
                code = start(mode, film, fatal=rng.randint(1, moments))
            else:
                code = start(mode, film, after=rng.uniform(0.3, 1) * seconds)
            if code == 0:
                seen["late"] += 1
                break
            assert code == -signal.SIGKILL
            seen["kills"] += 1
            seen["in a row"] += row > 0
            if (
                film.exists() and not (journal_folder(film) / "journal").exists()
            ):  # in the last moment
                assert start(mode, film) == 1  # it is there already
                seen["late"] += 1
                break
            if rng.random() < 0.3 and journal_folder(film).exists() and not film.exists():
                damage(journal_folder(film), rng)
                seen["damaged"] += 1
        else:
            assert start(mode, film) == 0
        assert fingerprint(film) == expected, f"seed {seed}"
        assert sorted(p.name for p in (tmp_path / "cut").iterdir()) == [name, f"{name}.toml"]
        shutil.rmtree(tmp_path / "cut")
        (tmp_path / "cut").mkdir()
    return seen


@pytest.mark.parametrize("mode", ["zoom", "clip", "render", "loop"])
def test_a_killed_render_goes_on_as_if_nothing_had_happened(
    mode: str, tmp_path: Path, start: Callable[..., int]
) -> None:
    assert kills(mode, 6, tmp_path, start)["kills"] >= 6


@pytest.mark.parametrize("name", ["a.gif", "a.webm", "frames"])
def test_every_format_goes_on(name: str, tmp_path: Path, start: Callable[..., int]) -> None:
    assert kills("zoom", 2, tmp_path, start, name)["kills"] >= 2


def stop_after(frames: int) -> Callable[[], bool]:
    """For `stopping`: yes after so many frames."""
    counted = iter([False] * (frames - 1))
    return lambda: next(counted, True)


def begin(film: Path, frames: int = 11, **changes: object) -> zd.RenderJob:
    """A zoom that is stopped after some frames; its job."""
    wanted = job("zoom", film).change(**changes)
    with pytest.raises(Interrupted, match=f"after {frames} of 30 frames"):
        render_film(wanted, stopping=stop_after(frames))
    return wanted


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The fingerprint of the zoom as it is without interruption."""
    film = tmp_path_factory.mktemp("expected") / "a.mp4"
    render_film(job("zoom", film))
    return fingerprint(film)


def test_the_commands_go_on(tmp_path: Path, zoomdream: Command, expected: str) -> None:
    begin(tmp_path / "a.mp4", 11)
    told = zoomdream("resume", "a.mp4")
    assert told.code == 0, told.err
    assert "Going on after 11 frames that are there." in told.err
    assert fingerprint(tmp_path / "a.mp4") == expected
    words = ("zoom", "sample", "-o", "b.mp4", "--size", "64x48", "--fps", 4, "--frames", 30,
             "--octaves", 1, "--steps", 1, "--device", "cpu", "--resume")  # fmt: skip
    begin(tmp_path / "b.mp4", 5)
    told = zoomdream(*words)
    assert told.code == 0, told.err
    assert "Going on after 5 frames" in told.err
    assert fingerprint(tmp_path / "b.mp4") == expected
    assert zoomdream(*words[:3], "c.mp4", *words[4:]).code == 0  # nothing to go on with: it begins
    assert fingerprint(tmp_path / "c.mp4") == expected
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []


def test_there_has_to_be_something_to_go_on_with(tmp_path: Path, zoomdream: Command) -> None:
    for words in (("resume", "a.mp4"), ("resume", "a.mp4", "--join-now")):
        told = zoomdream(*words)
        assert (told.code, "no render of a.mp4 was interrupted" in told.err) == (2, True)
    (tmp_path / "b.mp4").write_bytes(b"whole")
    told = zoomdream("resume", "b.mp4")
    assert (told.code, "b.mp4 is whole" in told.err) == (2, True)


def dying_ffmpeg(folder: Path, output: str) -> Path:
    """An ffmpeg that dies after a frame where it is to write such a file, and else is our own."""
    path = folder / "dying-ffmpeg"
    path.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *-{output}*) head -c 9216 >/dev/null; echo "I died" >&2; exit 9;; esac\n'
        f'exec "{ffmpeg_path()}" "$@"\n'
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("row", ["exception", "listener", "ffmpeg"])
def test_whatever_goes_wrong_it_goes_on(
    row: str, tmp_path: Path, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = tmp_path / "a.mp4"

    def fail(event: object) -> None:
        if isinstance(event, zd.Progress) and event.frame == 20:
            raise KeyError("mine")

    with monkeypatch.context() as patch:
        if row == "ffmpeg":  # dies while it encodes the second segment
            dying = dying_ffmpeg(tmp_path, "segment-000001")
            patch.setenv("IMAGEIO_FFMPEG_EXE", str(dying))
            with pytest.raises(OutputError, match="cannot be written: ffmpeg says I died"):
                render_film(job("zoom", film), commit_seconds=0.0)
        elif row == "listener":
            with pytest.raises(KeyError, match="mine"):
                render_film(job("zoom", film), fail, commit_seconds=0.0)
        else:
            calls = itertools.count()

            def fail_late(_: torch.Tensor) -> None:
                if next(calls) == 25:
                    raise ArithmeticError("theirs")

            network = watched_network(fail_late, device="cpu")
            with pytest.raises(ArithmeticError):
                render_film(job("zoom", film), network=network, commit_seconds=0.0)
    assert not film.exists()
    begun: list[int] = []
    render_film(
        job("zoom", film),
        lambda e: begun.append(e.done) if isinstance(e, zd.Start) else None,
        resume=True,
    )
    assert begun[0] >= 8
    assert fingerprint(film) == expected


def test_a_second_signal_ends_at_once_and_nothing_is_lost(tmp_path: Path, expected: str) -> None:
    words = ("zoom", "sample", "-o", "a.mp4", "--size", "64x48", "--fps", 4, "--frames", 30,
             "--octaves", 1, "--steps", 1, "--device", "cpu", "--json")  # fmt: skip
    process = start_command(tmp_path, *words)
    assert process.stdout
    for line in process.stdout:
        if '"progress"' in line:
            break
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    process = start_command(tmp_path, *words, "--resume")
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert fingerprint(tmp_path / "a.mp4") == expected


def test_what_was_begun_otherwise_is_refused_with_what_differs(
    tmp_path: Path, zoomdream: Command, expected: str
) -> None:
    film = tmp_path / "a.mp4"
    photo = tmp_path / "photo.jpg"
    shutil.copy(shipped("sample.jpg"), photo)
    begun = begin(film, source=photo)
    kept = sorted(p.name for p in journal_folder(film).iterdir())
    weights = read_weights(weights_path(network_info("pocket")))
    save_file(
        {name: value * 1.01 for name, value in weights.items()}, tmp_path / "other.safetensors"
    )
    other = load_network(
        "pocket", weights=tmp_path / "other.safetensors", at=choose_place("cpu", "fp32")
    )
    differing: list[tuple[zd.RenderJob, dict[str, Any], str]] = [
        (begun.change(seed=3), {}, "seed was 0 and is 3"),
        (
            begun.change(dream=QUICK.change(step_size=0.03)),
            {},
            "dream.step_size was 0.02 and is 0.03",
        ),
        (begun.change(source=shipped("sample.mp4")), {}, "no picture"),
        (begun.change(precision="fp32"), {"network": other}, "weights was "),
    ]
    for changed, more, told in differing:
        with pytest.raises(zd.ZoomdreamError, match=told):
            render_film(changed, resume=True, **more)
    both = begun.change(seed=3, model="pocket", camera=zd.Camera(zoom=1.6))
    with pytest.raises(
        UsageError,
        match=r"seed was 0 and is 3; camera.zoom was 1.5 and is 1.6|camera.zoom .*; seed was",
    ):
        render_film(both, resume=True)
    photo.write_bytes(photo.read_bytes() + b"x")
    with pytest.raises(UsageError, match=r"source was .* and is "):
        render_film(begun, resume=True)
    photo.unlink()
    answer = zoomdream("resume", "a.mp4")
    assert (answer.code, "photo.jpg: there is no such file" in answer.err) == (3, True)
    assert (
        sorted(p.name for p in journal_folder(film).iterdir()) == kept
    )  # nothing is lost by a refusal
    shutil.copy(shipped("sample.jpg"), photo)
    assert zoomdream("resume", "a.mp4").code == 0
    assert fingerprint(film) == expected


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = begin(tmp_path / "a.mp4")
    real = metadata.version
    versions = {"zoomdream": "9.9", "torch": "8.8"}
    monkeypatch.setattr(metadata, "version", lambda name: versions.get(name) or real(name))
    with pytest.raises(UsageError, match=r"zoomdream was .* and is 9.9; torch was .* and is 8.8"):
        render_film(begun, resume=True)


def rewrite_first_entry(film: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Changes the first entry of a journal: JSON, and its checksum."""
    path = journal_folder(film) / "journal"
    first, *others = path.read_bytes().splitlines(keepends=True)
    text = json.dumps(change(json.loads(first.rpartition(b" ")[0]))).encode()
    path.write_bytes(b"".join((text, b" %08x\n" % zlib.crc32(text), *others)))


def as_of_0_1_0(entry: dict[str, Any]) -> dict[str, Any]:
    """As 0.1.0 wrote it, which named no format."""
    return {"passport": entry["identity"], "job": entry["job"], "order": entry["film"]}


def as_of_later(entry: dict[str, Any]) -> dict[str, Any]:
    """As a later version may write it."""
    return {"format": entry["format"] + 1, "something": "else"}


@pytest.mark.parametrize("written", [as_of_0_1_0, as_of_later])
def test_a_journal_of_another_format_is_refused_in_a_sentence(
    written: Callable[[dict[str, Any]], dict[str, Any]],
    tmp_path: Path,
    zoomdream: Command,
    expected: str,
) -> None:
    begun = begin(tmp_path / "a.mp4")
    rewrite_first_entry(tmp_path / "a.mp4", written)
    before = digest(journal_folder(tmp_path / "a.mp4"))
    again = ("zoom", "sample", "-o", "a.mp4")
    refused = "a.mp4 was begun by another version of zoomdream, whose journal this one cannot read"
    for words in (
        ("resume", "a.mp4"),
        ("resume", "a.mp4", "--join-now"),
        (*again, "--resume"),
        again,
    ):
        answer = zoomdream(*words)
        assert (answer.code, refused in " ".join(answer.err.split())) == (2, True)
    assert digest(journal_folder(tmp_path / "a.mp4")) == before
    render_film(begun.change(force=True))
    assert fingerprint(tmp_path / "a.mp4") == expected


def test_without_its_first_entry_a_journal_is_damaged(tmp_path: Path, expected: str) -> None:
    begun = begin(tmp_path / "a.mp4")
    path = journal_folder(tmp_path / "a.mp4") / "journal"
    path.write_bytes(path.read_bytes()[20:])
    notes: list[str] = []
    render_film(
        begun, lambda e: notes.extend(e.notes) if isinstance(e, zd.Start) else None, resume=True
    )
    assert "what was there is damaged: all begins anew" in notes
    assert fingerprint(tmp_path / "a.mp4") == expected


def test_an_interrupted_render_is_not_begun_anew_unless_asked(
    tmp_path: Path, expected: str
) -> None:
    begun = begin(tmp_path / "a.mp4")
    with pytest.raises(
        OutputError, match="`resume=True` goes on with it, `force=True` begins anew"
    ):
        render_film(begun)
    render_film(begun.change(force=True))
    assert fingerprint(tmp_path / "a.mp4") == expected


def test_two_renders_to_one_target(tmp_path: Path) -> None:
    words = ("zoom", "-o", "a.mp4", "--size", "64x64", "--frames", 5000, "--json")
    process = start_command(tmp_path, *words)
    assert process.stdout
    for line in process.stdout:
        if '"progress"' in line:
            break
    wanted = job("zoom", tmp_path / "a.mp4")
    for again in (wanted, wanted.change(force=True)):
        for resume in (False, True):
            with pytest.raises(OutputError, match="is being rendered by another process"):
                render_film(again, resume=resume)
    with pytest.raises(UsageError, match="no render of"):
        join_so_far(tmp_path / "b.mp4")
    process.kill()  # the lock dies with it
    process.communicate()
    render_film(wanted.change(force=True))
    assert len(decode(tmp_path / "a.mp4").frames) == 30


def test_what_there_is_can_be_watched_while_it_is_made(tmp_path: Path, expected: str) -> None:
    film = tmp_path / "a.mp4"
    seen: list[tuple[int, int]] = []

    def look(event: object) -> None:
        if isinstance(event, zd.Progress) and event.frame in (3, 19, 28):
            shown, frames = join_so_far(film)
            assert shown == tmp_path / "a.so-far.mp4"
            seen.append((frames, len(decode(shown).frames)))

    render_film(job("zoom", film), look, commit_seconds=0.0)
    for (frames, decoded), there in zip(seen, (4, 20, 29), strict=True):
        assert there - 3 <= frames == decoded <= there  # some are still on their way
    so_far = decode(tmp_path / "a.so-far.mp4").frames.astype(int)
    whole = decode(film).frames[: len(so_far)].astype(int)
    assert np.array_equal(so_far[:24], whole[:24])  # closed segments are the film's own
    assert np.abs(so_far - whole).mean() < 2
    assert fingerprint(film) == expected
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "a.mp4.toml", "a.so-far.mp4"]


def test_a_target_that_became_a_folder(tmp_path: Path, zoomdream: Command) -> None:
    begin(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").mkdir()
    told = zoomdream("resume", "a.mp4")
    assert (told.code, "a.mp4 is a folder: name a file" in told.err) == (4, True)
    assert (journal_folder(tmp_path / "a.mp4") / "journal").exists()


def test_a_folder_of_that_name_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    folder = journal_folder(tmp_path / "a.mp4")
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(OutputError, match="no journal of ours: rename it"):
            render_film(job("zoom", tmp_path / "a.mp4"), resume=resume)
    assert [p.name for p in folder.iterdir()] == ["mine.txt"]


def test_damage_is_told(tmp_path: Path, expected: str) -> None:
    film = tmp_path / "a.mp4"
    begun = begin(film)
    for state in journal_folder(film).glob("state-*"):
        state.write_bytes(b"rubbish")
    told: list[str] = []
    render_film(
        begun, lambda e: told.extend(e.notes) if isinstance(e, zd.Start) else None, resume=True
    )
    assert any("is damaged" in note for note in told)
    assert fingerprint(film) == expected


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_without_enough_memory_it_goes_on_in_tiles(error: Exception, tmp_path: Path) -> None:
    """As if a gradient of more than 480x480 px were too much; and it stays so when it goes on."""
    big = zd.Output(size=(512, 480), fps=4, frames=4)
    wanted = job("zoom", tmp_path / "whole").change(output=big, dream=zd.DreamSpec(octaves=1))
    render_film(wanted)
    asked: list[int] = []  # px of the pictures that were looked at; the layer's stride is 16

    def on_look(value: torch.Tensor) -> None:
        asked.append(16 * 16 * value.shape[2] * value.shape[3])
        if asked[-1] > 480 * 480:
            raise error

    network = watched_network(on_look, device="cpu")
    notes: list[str] = []

    def listen(event: object) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    tiled = wanted.change(target=tmp_path / "tiled")
    with pytest.raises(Interrupted):
        render_film(tiled, listen, network=network, stopping=stop_after(2))
    assert notes == ["memory ran out: it goes on in tiles of 256 px"]
    del asked[:]
    render_film(tiled, listen, network=network, resume=True)
    assert len(notes) == 1
    assert max(asked) <= 480 * 480  # it is not tried again
    one, other = (read_still(tmp_path / name / "000000.png") for name in ("whole", "tiled"))
    assert 0 < difference(one, other) < 2  # of the same picture: later ones have fed on others


def test_without_any_memory_it_says_so(tmp_path: Path) -> None:
    def fail(_: torch.Tensor) -> None:
        raise MemoryError

    network = watched_network(fail, device="cpu")
    with pytest.raises(
        UsageError, match="not enough memory to dream with pocket, even in tiles of"
    ):
        render_film(job("zoom", tmp_path / "a.mp4"), network=network)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["zoom", "clip", "render", "loop"])
def test_two_hundred_kills(mode: str, tmp_path: Path, start: Callable[..., int]) -> None:
    seen = kills(mode, 200, tmp_path, start)
    sys.stderr.write(f"{mode}: {seen}\n")
    assert seen["kills"] >= 200
