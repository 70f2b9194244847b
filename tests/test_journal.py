"""Renders that are killed, cut off and damaged, and go on as if nothing had happened."""

import hashlib
import itertools
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import zoomdream as zd
from tests.conftest import decode
from zoomdream import journal, write
from zoomdream.journal import folder_of
from zoomdream.render import render_film
from zoomdream.spec import shipped

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


# --- A process that dies ---------------------------------------------------------------------------

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
    write.COMMIT_EVERY = 0.0
    count = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event in WATCHED and any(".zoomdream" in str(a) or "film" in str(a) for a in arguments):
            count += 1
            if count == fatal:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    render_film(job(mode, target), resume=True)
    if counted:
        Path(counted).write_text(str(count))


@pytest.fixture(scope="module")
def start() -> Callable[..., int]:
    """Runs `_render` in a fresh process; its exit code. `after` seconds it is killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["zoomdream.render", "tests.test_journal"])

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
        return journal.digest(film)
    return hashlib.sha256(decode(film).frames.tobytes()).hexdigest()


def damage(folder: Path, chance: random.Random) -> None:
    """What a power cut does to a file that was not flushed: its end is missing, or is rubbish."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.stat().st_size and p.name != "lock"]
    newest = sorted(files, key=lambda p: p.stat().st_mtime_ns)[-chance.randint(1, 2) :]
    for path in newest:
        content = bytearray(path.read_bytes())
        keep = max(0, len(content) - chance.randint(1, 300))
        rubbish = b"" if chance.random() < 0.5 else chance.randbytes(len(content) - keep)
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
    assert not folder_of(film).exists()
    expected, moments = fingerprint(film), int((tmp_path / "count").read_text())
    film = tmp_path / "cut" / name
    seen = {"renders": 0, "kills": 0, "in a row": 0, "damaged": 0, "late": 0}
    for seed in itertools.count():
        if seen["kills"] >= wanted:
            break
        seen["renders"] += 1
        chance = random.Random(f"{mode} {seed}")
        rows = chance.choice((1, 1, 2, 3))
        for row in range(rows):
            if chance.random() < 0.75:
                code = start(mode, film, fatal=chance.randint(1, moments))
            else:
                code = start(mode, film, after=chance.uniform(0.3, 1) * seconds)
            if code == 0:
                seen["late"] += 1
                break
            assert code == -signal.SIGKILL
            seen["kills"] += 1
            seen["in a row"] += row > 0
            if film.exists() and not (folder_of(film) / "journal").exists():  # in the last moment
                assert start(mode, film) == 1  # it is there already
                seen["late"] += 1
                break
            if chance.random() < 0.3 and folder_of(film).exists() and not film.exists():
                damage(folder_of(film), chance)
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


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["zoom", "clip", "render", "loop"])
def test_two_hundred_kills(mode: str, tmp_path: Path, start: Callable[..., int]) -> None:
    seen = kills(mode, 200, tmp_path, start)
    sys.stderr.write(f"{mode}: {seen}\n")
    assert seen["kills"] >= 200
