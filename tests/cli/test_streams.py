"""Stdin, stdout and stderr that are closed, full, or read by nobody; signals that are to be ignored."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.conftest import ROOT, decode
from zoomdream.cli.streams import LastingStream

pytestmark = pytest.mark.skipif(os.name == "nt", reason="streams and signals are different there")
FILM = (
    "zoom",
    "-o",
    "a.mp4",
    "--size",
    "64x64",
    "--octaves",
    "1",
    "--steps",
    "1",
    "--device",
    "cpu",
)


def start(folder: Path, shell: str, *words: str) -> "subprocess.Popen[str]":
    """Starts `python -m zoomdream ...` by a line of sh, in which "$@" stands for it."""
    return subprocess.Popen(
        ["sh", "-c", shell, "sh", sys.executable, "-m", "zoomdream", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lasting(number: int) -> LastingStream:
    return LastingStream(open(number, "w", closefd=False))


def test_a_full_stream_drops_what_comes_and_says_so() -> None:
    number = os.open("/dev/full", os.O_WRONLY)
    stream = lasting(number)
    assert stream.write(b"lost") == stream.write(b"too") + 1 == 4
    assert (stream.loss, stream.is_missed) == ("the disk is full", True)
    os.close(number)


def test_a_pipe_that_nobody_reads_any_more_is_not_missed() -> None:
    reader, number = os.pipe()
    stream = lasting(number)
    stream.write(b"read")
    assert os.read(reader, 9) == b"read"
    os.close(reader)
    stream.write(b"unread")
    assert (stream.loss, stream.is_missed) == ("nobody reads it any more", False)
    os.close(number)


def test_a_stream_that_does_not_wait_gets_all_of_it() -> None:
    reader, number = os.pipe()
    os.set_blocking(number, False)
    content, stream = os.urandom(1_000_000), lasting(number)
    writer = threading.Thread(target=stream.write, args=(content,))
    writer.start()
    with open(reader, "rb") as file:  # noqa: PTH123
        assert file.read(len(content)) == content
    writer.join()
    assert stream.error is None
    os.close(number)


@pytest.mark.parametrize(
    ("shell", "code", "told"),
    [
        ('"$@" >/dev/full', 4, "Error: stdout cannot be written: the disk is full\n"),
        ('exec "$@" >&-', 0, ""),
        ('exec "$@" <&- 2>&-', 0, ""),
        ('{ "$@"; echo $? >code; } | head -n 1; exit $(cat code)', 0, ""),
    ],
)
def test_what_was_asked_for_is_written_or_missed(
    tmp_path: Path, shell: str, code: int, told: str
) -> None:
    process = start(tmp_path, shell, "presets", "schema")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (code, told)
    assert (out.count("\n") == 1) == ("head" in shell)


def test_a_film_is_made_without_any_stream(tmp_path: Path) -> None:
    process = start(tmp_path, 'exec "$@" <&- >&- 2>&-', *FILM, "--frames", "3")
    process.communicate(timeout=100)
    assert process.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "a.mp4.toml"}
    assert len(decode(tmp_path / "a.mp4").frames) == 3
    assert "frame" not in (tmp_path / "a.mp4.toml").read_text().splitlines()[0]


def test_events_that_cannot_be_told_end_no_film(tmp_path: Path) -> None:
    process = start(tmp_path, 'exec "$@" >/dev/full', *FILM, "--frames", "2", "--json")
    _, err = process.communicate(timeout=100)
    assert (process.returncode, (tmp_path / "a.mp4").exists()) == (0, True)
    assert err == "Warning: not all could be told on stdout: the disk is full\n"


def test_a_film_is_made_when_its_reader_leaves_and_ignored_signals_come(tmp_path: Path) -> None:
    """As in `nohup zoomdream ... --json | head -1`, stopped and continued meanwhile."""
    shell = "trap '' HUP INT; exec \"$@\" 2>/dev/full"
    process = start(tmp_path, shell, *FILM, "--frames", "12", "--json")
    assert process.stdout
    assert json.loads(process.stdout.readline())["event"] == "start"
    process.stdout.close()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTSTP, signal.SIGCONT):
        process.send_signal(number)
    assert process.wait(100) == 0
    assert len(decode(tmp_path / "a.mp4").frames) == 12
