"""The machine behind `read` and `write`: ffmpeg, started, listened to and never left behind."""

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
        if found := shutil.which(str(imageio_ffmpeg.get_ffmpeg_exe())):
            return str(found)
    raise OutputError(
        "ffmpeg was not found: pip install imageio-ffmpeg, or let IMAGEIO_FFMPEG_EXE name one"
    )


def ffmpeg_version() -> str:
    """Of the ffmpeg that is used."""
    said = subprocess.run([ffmpeg_path(), "-version"], capture_output=True, check=False).stdout
    return said.decode(errors="replace").partition("\n")[0].partition(" Copyright")[0]


def ffmpeg_command(*words: str, level: str = "error") -> list[str]:
    """A command line that says only what went wrong."""
    return [ffmpeg_path(), "-hide_banner", "-loglevel", level, *words]


def input_options(path: Path, limit: int = 0) -> list[str]:
    """A file as an input, whatever its name looks like; playlists in it lead to no other place.

    limit: pixels of a frame that is decoded, at most.
    """
    most = ["-max_pixels", str(limit)] if limit else []
    return [*most, "-protocol_whitelist", "file", "-i", f"file:{path.absolute()}"]


def start_ffmpeg(
    words: list[str],
    said: IO[bytes],
    folder: Path | None = None,
    taking: bool = False,
    giving: bool = False,
) -> subprocess.Popen[bytes]:
    """A running ffmpeg, away from the terminal's Ctrl-C where there are sessions.

    said: a file for what it says. folder: where it runs. taking: what it puts out is to be read.
    giving: it is to be fed.
    """
    return subprocess.Popen(
        words,
        stdin=subprocess.PIPE if giving else subprocess.DEVNULL,
        stdout=subprocess.PIPE if taking else subprocess.DEVNULL,
        stderr=said,
        cwd=folder,
        start_new_session=os.name != "nt",
    )


@contextlib.contextmanager
def running_ffmpeg(words: list[str], said: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A running ffmpeg whose stdout is read, and which does not outlive the `with` block."""
    running = start_ffmpeg(words, said, taking=True)
    try:
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        running.wait()
        with contextlib.suppress(OSError):
            if running.stdout:
                running.stdout.close()


def error_summary(said: bytes) -> str:
    """ffmpeg's own last words, in half a sentence."""
    told = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    if any("No space left" in line for line in told):
        return "the disk is full"
    known = ("Permission denied", "Read-only", "Unknown encoder", "Invalid argument")
    best = next(
        (line for line in told if any(k in line for k in known)), told[-1] if told else "nothing"
    )
    return f"ffmpeg says {best[-200:]}"


@dataclass(frozen=True)
class Packets:
    """When the frames or sounds of a stream are shown, in seconds since the file's beginning."""

    times: tuple[Fraction, ...] = ()  # in order
    last: Fraction = Fraction(0)  # how long the last one is shown; 0 where the file does not say


@dataclass(frozen=True)
class Streams:
    """What a film or clip holds."""

    video: Packets
    sound: Packets
    header: str  # ffmpeg's line about the video stream
    codec: str  # of the sound; empty without one
    seconds: float | None  # that the file claims to last
    faults: tuple[str, ...]  # what ffmpeg complained about while looking


_PACKET = re.compile(r"^(\d+),\s*-?\d+,\s*(-?\d+),\s*(\d+),", re.MULTILINE)
_BASE = re.compile(r"^#tb (\d+): (\d+)/(\d+)", re.MULTILINE)
_LENGTH = re.compile(r"Duration: (\d+):(\d+):([\d.]+)")


def probe(path: Path, limit: int = 0) -> Streams:
    """Lists the packets of a file's first video and sound stream, without decoding any.

    Never raises for what is in the file: what cannot be read has no packets.
    """
    said = subprocess.run(
        ffmpeg_command("-nostdin", *input_options(path, limit), "-map", "0:v:0?", "-map", "0:a:0?",
                "-c", "copy", "-f", "framecrc", "-", level="level+info"),
        capture_output=True, check=False,
    )  # fmt: skip
    listed = said.stdout.decode(errors="replace")
    told = said.stderr.decode(errors="replace")
    about = told.split("Output #0")[0]
    video = next((line for line in about.splitlines() if ": Video: " in line), "")
    sound = next((line for line in about.splitlines() if ": Audio: " in line), "")
    codec = sound.partition(": Audio: ")[2].split(",")[0].split(" ")[0]
    found = re.search(_LENGTH, about)
    seconds = None
    if found:
        seconds = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
    faults = tuple(line for line in told.splitlines() if "[error]" in line or "[fatal]" in line)
    bases = {int(n): Fraction(int(a), int(b)) for n, a, b in re.findall(_BASE, listed)}
    streams: dict[int, list[tuple[int, int]]] = {number: [] for number in bases}
    for number, shown, length in re.findall(_PACKET, listed):
        streams[int(number)].append((int(shown), int(length)))
    packets = [_packets(streams[number], base) for number, base in sorted(bases.items())]
    kinds = iter(packets)
    return Streams(
        next(kinds, Packets()) if video else Packets(),
        next(kinds, Packets()) if sound else Packets(),
        video,
        codec,
        seconds,
        faults,
    )


def _packets(listed: list[tuple[int, int]], base: Fraction) -> Packets:
    ordered = sorted(listed)
    last = ordered[-1][1] if ordered else 0
    return Packets(tuple(shown * base for shown, _ in ordered), last * base)


def count_frames(film: Path) -> int:
    """How many frames are in a video file."""
    return len(probe(film).video.times)
