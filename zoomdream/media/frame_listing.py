"""List the frames that a video stream shows: when, and of what kind each is, as ffmpeg decodes them.

Packets do not tell: some containers have no times, others hide frames by edit lists, and streams change
midway. So all frames are decoded once, in the way they are decoded again when they are read.
"""

import re
import subprocess
from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from zoomdream.media.ffmpeg import ffmpeg_command, input_options, running_ffmpeg
from zoomdream.media.frame_times import frame_rate, running_times
from zoomdream.media.video_streams import Stream, Streams
from zoomdream.size import Size

SEEK_FROM = 20  # seconds from which a file is entered in the middle
SEEK_MARGIN = 5  # seconds that are decoded before the start that is wanted, and after the end
_INDEXED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")  # containers that can be entered there
UNTIMED = ("h264", "hevc", "vvc")  # bare streams, for whose frames ffmpeg's reader supposes a rate
_PARSED = r"\[Parsed_showinfo_0 @ \w+\] \[info\] "
_FRAME = re.compile(
    _PARSED + r"n:\s*\d+ pts:\s*(\S+) .*?duration:\s*(\S+) .*?fmt:(\S+) .*?"
    r"sar:(\d+)/(\d+) s:(\d+)x(\d+) i:(\S)"
)
_TICK = re.compile(_PARSED + r"config in time_base: (\d+)/(\d+)")
_COLORS = re.compile(
    _PARSED + r"color_range:\S+ color_space:(\S+) color_primaries:(\S+) color_trc:(\S+)"
)
_ERROR = re.compile(r"^((?:\[[^]]* @ \w+\] )*)\[(?:error|fatal)\] ")
_OUTPUT = re.compile(r"\[(?:null|out#\d|vost#)")  # complains where nothing is wrong with the file
_ALPHA = re.compile(r"rgba|bgra|argb|abgr|^ya\d|^yuva|^gbrap|^pal8$|^ayuv|^vuya")


@dataclass(frozen=True)
class Look:
    """What a frame is like as it is decoded: turned upright, but not yet converted."""

    size: Size
    aspect: Fraction  # width of a pixel over its height
    format: str  # ffmpeg's pixel format
    matrix: str = "unknown"
    primaries: str = "unknown"
    curve: str = "unknown"

    @property
    def square(self) -> Size:
        """Its size with square pixels."""
        return Size(max(1, int(self.size.width * self.aspect)), self.size.height)

    @property
    def has_alpha(self) -> bool:
        """Whether its pixel format has alpha."""
        return bool(_ALPHA.search(self.format))


@dataclass(frozen=True)
class Listing:
    """The frames of a stream in the order they are shown; times in seconds since the file's beginning."""

    stream: Stream
    times: tuple[Fraction, ...] = ()
    last: Fraction = Fraction(0)  # how long the last one is shown; 0 where the file does not say
    fps: Fraction = Fraction(25)
    looks: tuple[Look, ...] = ()  # the kinds of frames there are, the commonest first
    interlaced: int = 0  # frames that are two half pictures
    jumps: int = 0  # of the clock, closed
    entered: float = 0.0  # seconds at which the file was entered
    complete: bool = True  # whether it was decoded to its end
    errors: int = 0  # that were logged

    @property
    def look(self) -> Look:
        """What most of its frames are like."""
        return self.looks[0]


def list_film(
    path: Path, streams: Streams, limit: int, start: float = 0.0, end: float | None = None
) -> Listing | None:
    """Lists the stream that moves: the likeliest one with two frames, else one with a single frame.

    limit: pixels that a frame may have. start, end: seconds between which frames are wanted; more may be
    listed. None where no frame can be decoded.
    """
    best = None
    for stream in streams.films:
        listing = _list_from(path, streams, stream, limit, start, end)
        if streams.container in UNTIMED and stream.rates:
            listing = _at_rate(listing, stream.rates[0])
        if len(listing.times) > 1:
            return listing
        best = best or (listing if listing.times and not stream.is_cover else None)
    return best


def _list_from(
    path: Path, streams: Streams, stream: Stream, limit: int, start: float, end: float | None
) -> Listing:
    """Enters the file near the start where it has an index that leads there, else at its beginning."""
    if start > SEEK_FROM and streams.container in _INDEXED:
        listing = _list_frames(path, stream, limit, start - SEEK_MARGIN, end)
        if listing.times and listing.times[0] <= start - SEEK_MARGIN / 2:
            return listing
    return _list_frames(path, stream, limit, 0.0, end)


def input_stream(path: Path, stream: Stream, limit: int, entered: float) -> list[str]:
    """ffmpeg's options for one stream of a file, from some second on."""
    return [
        *(("-ss", f"{entered:.6f}") if entered else ()),
        *((f"-c:{stream.index}", stream.decoder) if stream.decoder else ()),
        *input_options(path, limit), "-map", f"0:{stream.index}",
    ]  # fmt: skip


def _list_frames(
    path: Path, stream: Stream, limit: int, entered: float, end: float | None
) -> Listing:
    command = ffmpeg_command(
        "-nostdin", "-nostats", *input_stream(path, stream, limit, entered),
        "-vf", "showinfo=checksum=0", "-fps_mode", "passthrough", "-f", "null", "-", level="level+info",
    )  # fmt: skip
    reader = _LogReader(stream.codec, Fraction(entered).limit_denominator(10**6))
    complete = True
    with running_ffmpeg(command, subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            reader.read(line.decode(errors="replace").rstrip())
            if end is not None and reader.latest > end + SEEK_MARGIN:
                complete = False
                break
    return reader.listing(stream, entered, complete)


def _at_rate(listing: Listing, fps: Fraction) -> Listing:
    """Gives frames without times of their own the rate that ffmpeg's reader supposes for the file.

    What a stream says of it in its own headers is left aside: the file's length and starts count by this one.
    """
    times = tuple(number / fps for number in range(len(listing.times)))
    return replace(listing, times=times, last=1 / fps, fps=fps, jumps=0)


class _LogReader:
    """Reads what ffmpeg's `showinfo` logs of each frame, line by line."""

    def __init__(self, codec: str, entered: Fraction) -> None:
        self._codec, self._entered = codec, entered
        self._tick = Fraction(1, 1000)
        self._stamps: list[Fraction | None] = []
        self._looks: Counter[Look] = Counter()
        self._look: Look | None = None
        self._interlaced, self._errors, self._last = 0, 0, Fraction(0)
        self.latest = entered  # when the latest frame is shown, seconds

    def read(self, line: str) -> None:
        """Reads a line of the log."""
        if found := _FRAME.match(line):
            self._read_frame(*found.groups())
        elif (found := _COLORS.match(line)) and self._look:
            look = self._look
            self._looks[Look(look.size, look.aspect, look.format, *found.groups())] += 1
        elif found := _TICK.match(line):
            self._tick = Fraction(int(found[1]), int(found[2]))
        elif (found := _ERROR.match(line)) and self._is_damage(found[1]):
            self._errors += 1

    def _is_damage(self, sources: str) -> bool:
        """Whether something is wrong with the file, by who has logged an error.

        What a decoder says before its first frame is not: recordings of broadcasts begin in the middle of
        a group of pictures.
        """
        decoder = "[dec:" in sources or f"[{self._codec} @" in sources
        return not _OUTPUT.search(sources) and bool(self._stamps or not decoder)

    def _read_frame(
        self,
        stamp: str, duration: str, pixels: str,
        wide: str, high: str, width: str, height: str, field: str,
    ) -> None:  # fmt: skip
        known = stamp.lstrip("-").isdigit()
        self._stamps.append(int(stamp) * self._tick + self._entered if known else None)
        self.latest = self._stamps[-1] or self.latest
        self._last = int(duration) * self._tick if duration.isdigit() else Fraction(0)
        aspect = Fraction(int(wide), int(high)) if int(wide) and int(high) else Fraction(1)
        self._look = Look(Size(int(width), int(height)), aspect, pixels)
        self._interlaced += field in "TB"

    def listing(self, stream: Stream, entered: float, complete: bool) -> Listing:
        """Sums up what was read."""
        if not self._stamps:
            return Listing(stream, complete=complete, errors=self._errors)
        running = running_times(self._stamps)
        fps = frame_rate(running.times, self._tick, stream.rates)
        looks = tuple(look for look, _ in self._looks.most_common())
        return Listing(
            stream, running.times, self._last, fps, looks, self._interlaced, running.jumps,
            entered, complete, self._errors,
        )  # fmt: skip
