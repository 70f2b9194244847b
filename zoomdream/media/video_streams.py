"""List the streams of a video file, and say which of them are the film and its sound."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from zoomdream.media.ffmpeg import ffmpeg_command, input_options, run_ffmpeg

_STREAM = re.compile(r"\[info\]\s+Stream #0:(\d+)(?:\[\w+\])?(?:\(.*?\))?: (Video|Audio): (.*)")
_INPUT = re.compile(r"\[info\] Input #0, (.*), from ")
_LENGTH = re.compile(r"\[info\]\s+Duration: (\d+):(\d+):([\d.]+)")
_TAG = re.compile(r"\((\S+) / 0x[0-9A-F]+\)")
_SIZE = re.compile(r", (\d{1,9})x(\d{1,9})\b")
_BROKEN_SIZE = re.compile(r"Picture size (\d{1,9})x(\d{1,9}) ")
_RATE = re.compile(r"\b([\d.]+)(k?) (?:fps|tbr)\b")
_DOLBY_VISION = re.compile(r"DOVI configuration record: .*profile: (\d+),.*compatibility id: (\d+)")
_STILL = re.compile(r"\((?:attached pic|timed thumbnails|still image)\)")
_ALPHA_MODE = re.compile(r"^\s+alpha_mode\s*: 1\s*$", re.MULTILINE)
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # ffmpeg's own leave alpha out


@dataclass(frozen=True)
class Stream:
    """A video or sound stream as ffmpeg describes it."""

    index: int  # among all streams
    place: int  # among those of its kind
    about: str  # ffmpeg's line, from the codec on
    details: str = ""  # the lines below it: metadata and side data

    @property
    def codec(self) -> str:
        """ffmpeg's name of its codec."""
        return re.split(r"[ ,(]", self.about, maxsplit=1)[0]

    @property
    def tag(self) -> str:
        """The four letters that the file itself names the codec by; empty where it has none."""
        found = _TAG.search(self.about)
        return found[1] if found else ""

    @property
    def is_default(self) -> bool:
        """Whether the file says that players should take it."""
        return "(default)" in self.about

    @property
    def is_cover(self) -> bool:
        """Whether it is a cover, a thumbnail or another picture that belongs to the film."""
        return bool(_STILL.search(self.about))

    @property
    def pixels(self) -> int:
        """Pixels of a frame, as claimed; 0 where it does not say."""
        size = _SIZE.search(self.about)
        return int(size[1]) * int(size[2]) if size else 0

    @property
    def rates(self) -> tuple[Fraction, ...]:
        """Frames per second that it claims, rounded; without those that come to nothing."""
        found = (
            (Fraction(number), 1000 if kilo else 1) for number, kilo in _RATE.findall(self.about)
        )
        return tuple(number * factor for number, factor in found if number)

    @property
    def decoder(self) -> str:
        """ffmpeg's decoder that gives all of it, alpha too; empty for the usual one."""
        return _ALPHA_DECODERS.get(self.codec, "") if _ALPHA_MODE.search(self.details) else ""

    @property
    def dolby_vision(self) -> tuple[int, int] | None:
        """Profile and compatibility of Dolby Vision; None where it is none."""
        found = _DOLBY_VISION.search(self.details)
        return (int(found[1]), int(found[2])) if found else None


@dataclass(frozen=True)
class Streams:
    """What a file says about itself."""

    container: str  # ffmpeg's name of it; empty where it is none
    seconds: Fraction | None  # that it claims to last
    videos: tuple[Stream, ...]
    sounds: tuple[Stream, ...]
    largest: tuple[int, int]  # width and height of the largest frame that is claimed

    @property
    def films(self) -> list[Stream]:
        """The video streams that may be the film, the likeliest first; covers come last."""
        return sorted(self.videos, key=lambda s: (s.is_cover, not s.is_default, -s.pixels, s.index))

    @property
    def sound(self) -> Stream | None:
        """The sound that a player takes: the default one, else the first whose codec is known."""
        known = [stream for stream in self.sounds if stream.codec not in ("none", "unknown")]
        ordered = sorted(known or self.sounds, key=lambda stream: not stream.is_default)
        return ordered[0] if ordered else None


def list_streams(path: Path) -> Streams:
    """Lists a file's streams, without decoding any. Never raises for what is in the file."""
    ran = run_ffmpeg(ffmpeg_command("-nostdin", *input_options(path), level="level+info"))
    log = ran.stderr.decode(errors="replace")
    container, clock = _INPUT.search(log), _LENGTH.search(log)
    streams = list(_described(log))
    sizes = [
        (int(width), int(height))
        for _, _, about, _ in streams
        for width, height in _SIZE.findall(about)
    ]
    sizes += [(int(width), int(height)) for width, height in _BROKEN_SIZE.findall(log)]
    return Streams(
        container[1] if container else "",
        clock and int(clock[1]) * 3600 + int(clock[2]) * 60 + Fraction(clock[3]),
        tuple(_of_kind(streams, "Video")),
        tuple(_of_kind(streams, "Audio")),
        max(sizes, key=lambda size: size[0] * size[1], default=(0, 0)),
    )


def _described(log: str) -> Iterator[tuple[int, str, str, str]]:
    """Yields index, kind, description and further lines of each stream in ffmpeg's log."""
    lines = log.splitlines()
    starts = [n for n, line in enumerate(lines) if _STREAM.match(line)]
    for n, following in pairwise([*starts, len(lines)]):
        found = _STREAM.match(lines[n])
        assert found is not None
        details = "\n".join(line.removeprefix("[info]") for line in lines[n + 1 : following])
        yield int(found[1]), found[2], found[3], details


def _of_kind(streams: list[tuple[int, str, str, str]], kind: str) -> Iterator[Stream]:
    for place, (index, _, about, details) in enumerate(s for s in streams if s[1] == kind):
        yield Stream(index, place, about, details)
