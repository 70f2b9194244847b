"""Run ffmpeg: find it, start and end its processes, and list what is in a video file."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import imageio_ffmpeg

from zoomdream.errors import OutputError


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
        start_new_session=os.name != "nt",
    )  # fmt: skip


def start_ffmpeg(
    command: list[str],
    log: IO[bytes],
    folder: Path | None = None,
    read_output: bool = False,
    write_input: bool = False,
) -> subprocess.Popen[bytes]:
    """Starts ffmpeg, away from the terminal's Ctrl-C where there are sessions.

    log: a file for what it logs. folder: where it runs. read_output, write_input: whether its stdout and
    stdin are pipes; else they lead nowhere.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE if write_input else subprocess.DEVNULL,
        stdout=subprocess.PIPE if read_output else subprocess.DEVNULL,
        stderr=log,
        cwd=folder,
        start_new_session=os.name != "nt",
    )


@contextlib.contextmanager
def running_ffmpeg(command: list[str], log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs ffmpeg, whose stdout is read, and ends it with the `with` block. log: see `start_ffmpeg`."""
    process = start_ffmpeg(command, log, read_output=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        with contextlib.suppress(OSError):
            if process.stdout:
                process.stdout.close()


def error_summary(log: bytes) -> str:
    """Sums up in half a sentence what ffmpeg logged before it failed."""
    lines = [line.strip() for line in log.decode(errors="replace").splitlines() if line.strip()]
    if any("No space left" in line for line in lines):
        return "the disk is full"
    causes = ("Permission denied", "Read-only", "Unknown encoder", "Invalid argument")
    telling = next(
        (line for line in lines if any(cause in line for cause in causes)),
        lines[-1] if lines else "nothing",
    )
    return f"ffmpeg says {telling[-200:]}"


@dataclass(frozen=True)
class Packets:
    """When the frames or sounds of a stream are shown, in seconds since the file's beginning."""

    times: tuple[Fraction, ...] = ()  # in order
    last: Fraction = Fraction(0)  # how long the last one is shown; 0 where the file does not say


@dataclass(frozen=True)
class Streams:
    """What ffmpeg lists of a video file: packets, and what it says about them."""

    video: Packets
    sound: Packets
    header: str  # ffmpeg's line about the video stream
    sound_codec: str  # empty without one
    seconds: float | None  # that the file claims to last
    faults: tuple[str, ...]  # what ffmpeg logged as errors


_PACKET = re.compile(r"^(\d+),\s*-?\d+,\s*(-?\d+),\s*(\d+),", re.MULTILINE)
_BASE = re.compile(r"^#tb (\d+): (\d+)/(\d+)", re.MULTILINE)
_LENGTH = re.compile(r"Duration: (\d+):(\d+):([\d.]+)")


def probe(path: Path, limit: int = 0) -> Streams:
    """Lists the packets of a file's first video and sound stream, without decoding any.

    Never raises for what is in the file: what cannot be read has no packets.
    """
    ran = run_ffmpeg(
        ffmpeg_command("-nostdin", *input_options(path, limit), "-map", "0:v:0?", "-map", "0:a:0?",
                "-c", "copy", "-f", "framecrc", "-", level="level+info"),
    )  # fmt: skip
    log = ran.stderr.decode(errors="replace")
    input_log = log.split("Output #0")[0].splitlines()
    header = next((line for line in input_log if ": Video: " in line), "")
    sound = next((line for line in input_log if ": Audio: " in line), "")
    packets = iter(_packets_by_stream(ran.stdout.decode(errors="replace")))
    return Streams(
        next(packets, Packets()) if header else Packets(),
        next(packets, Packets()) if sound else Packets(),
        header,
        sound.partition(": Audio: ")[2].split(",")[0].split(" ")[0],
        _claimed_seconds("\n".join(input_log)),
        tuple(line for line in log.splitlines() if "[error]" in line or "[fatal]" in line),
    )


def _claimed_seconds(log: str) -> float | None:
    """How long a file says it lasts."""
    clock = _LENGTH.search(log)
    return int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3]) if clock else None


def _packets_by_stream(listing: str) -> list[Packets]:
    """Parses ffmpeg's `framecrc`, in the order of the streams."""
    bases = {int(n): Fraction(int(a), int(b)) for n, a, b in _BASE.findall(listing)}
    streams: dict[int, list[tuple[int, int]]] = {number: [] for number in bases}
    for number, time, length in _PACKET.findall(listing):
        streams[int(number)].append((int(time), int(length)))
    return [_packets(sorted(streams[number]), base) for number, base in sorted(bases.items())]


def _packets(ordered: list[tuple[int, int]], base: Fraction) -> Packets:
    """From (time, length) of each, in units of `base` seconds."""
    last = ordered[-1][1] if ordered else 0
    return Packets(tuple(time * base for time, _ in ordered), last * base)


def count_frames(video: Path) -> int:
    """Counts the frames of a video file, without decoding any."""
    return len(probe(video).video.times)
