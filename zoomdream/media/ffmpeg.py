"""Run ffmpeg: find it, start and end its processes, and name files to it."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import imageio_ffmpeg

from zoomdream.errors import OutputError
from zoomdream.files import WRITE_REASONS


def ffmpeg_path() -> str:
    """The ffmpeg binary of imageio-ffmpeg (`IMAGEIO_FFMPEG_EXE` overrides); raises OutputError."""
    with contextlib.suppress(RuntimeError):
        if path := shutil.which(str(imageio_ffmpeg.get_ffmpeg_exe())):
            return str(path)
    raise OutputError(
        "ffmpeg was not found: pip install imageio-ffmpeg, or let IMAGEIO_FFMPEG_EXE name one"
    )


def ffmpeg_version() -> str:
    """The version of the ffmpeg that is used, as it says it."""
    about = run_ffmpeg([ffmpeg_path(), "-version"]).stdout
    return about.decode(errors="replace").partition("\n")[0].partition(" Copyright")[0]


def ffmpeg_command(*arguments: str, level: str = "error") -> list[str]:
    """A command line of an ffmpeg that logs from such a level on."""
    return [ffmpeg_path(), "-hide_banner", "-loglevel", level, *arguments]


def input_options(path: Path, limit: int = 0) -> list[str]:
    """Options that name a file as an input, whatever its name looks like; playlists lead nowhere else.

    limit: pixels of a frame that is decoded, at most.
    """
    max_pixels = ["-max_pixels", str(limit)] if limit else []
    return [*max_pixels, "-protocol_whitelist", "file", "-i", f"file:{path.absolute()}"]


def run_ffmpeg(
    command: list[str], folder: Path | None = None, content: bytes = b""
) -> "subprocess.CompletedProcess[bytes]":
    """Runs ffmpeg to its end, away from the terminal's Ctrl-C where there are sessions.

    folder: where it runs. content: what it reads on stdin.
    """
    return subprocess.run(
        command, cwd=folder, input=content, capture_output=True, check=False,
        start_new_session=os.name != "nt", restore_signals=False,
    )  # fmt: skip


def start_ffmpeg(
    command: list[str],
    log: IO[bytes] | int,
    folder: Path | None = None,
    read_output: bool = False,
    write_input: bool = False,
) -> subprocess.Popen[bytes]:
    """Starts ffmpeg, away from the terminal's Ctrl-C where there are sessions.

    log: a file for what it logs, or `subprocess.PIPE`. folder: where it runs. read_output, write_input:
    whether its stdout and stdin are pipes; else they lead nowhere.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE if write_input else subprocess.DEVNULL,
        stdout=subprocess.PIPE if read_output else subprocess.DEVNULL,
        stderr=log,
        cwd=folder,
        start_new_session=os.name != "nt",
        restore_signals=False,  # a file that grows too large is told, and not a signal
    )


@contextlib.contextmanager
def running_ffmpeg(command: list[str], log: IO[bytes] | int) -> Iterator[subprocess.Popen[bytes]]:
    """Runs ffmpeg, whose stdout may be read, and ends it with the `with` block. log: see `start_ffmpeg`."""
    process = start_ffmpeg(command, log, read_output=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                if pipe:
                    pipe.close()


_DISK_REASONS = {
    os.strerror(number): reason for number, reason in WRITE_REASONS.items()
}  # by what ffmpeg says


def error_summary(log: bytes) -> str:
    """Sums up in half a sentence what ffmpeg logged before it failed."""
    lines = [line.strip() for line in log.decode(errors="replace").splitlines() if line.strip()]
    for told, reason in _DISK_REASONS.items():
        if any(told in line for line in lines):
            return reason
    causes = ("Permission denied", "Read-only", "Unknown encoder", "Invalid argument")
    telling = next(
        (line for line in lines if any(cause in line for cause in causes)),
        lines[-1] if lines else "nothing",
    )
    return f"ffmpeg says {telling[-200:]}"


def count_frames(video: Path) -> int:
    """Counts the packets of a film of ours, each of which is a frame, without decoding any."""
    listing = run_ffmpeg(
        ffmpeg_command("-nostdin", *input_options(video), "-map", "0:v:0",
                "-c", "copy", "-f", "framecrc", "-"),
    ).stdout  # fmt: skip
    return sum(not line.startswith(b"#") for line in listing.splitlines())
