"""Read video files: what they hold, and their frames, evenly timed, upright and in sRGB.

ffmpeg decodes. What its pipe gets wrong when it is left alone is set right here:

- frames come at one exact rate (`fps`), also from files of varying rate;
- untagged colours are BT.709 from 720 lines on, BT.601 below, as players take them;
- HDR (PQ and HLG) is tone-mapped to BT.709 by Hable's curve;
- pixels that are not square are made so, alpha lies over white, turned phones are turned back.
"""

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from zoomdream.errors import InputError, UsageError
from zoomdream.media.ffmpeg import (
    Streams,
    error_summary,
    ffmpeg_command,
    input_options,
    probe,
    run_ffmpeg,
    running_ffmpeg,
)
from zoomdream.media.frame import Frame, as_frame
from zoomdream.media.source import Clip
from zoomdream.settings.definitions import MAX_PIXELS
from zoomdream.size import Size

_ALPHA = re.compile(r"\b(rgba|bgra|argb|abgr|rgba64\w*|ya8|ya16\w*|yuva\w+|gbrap\w*|pal8)\b")
_TAGGED = re.compile(r"bt709|bt470bg|smpte170m|bt2020|gbr")
_HDR_CURVES = ("smpte2084", "arib-std-b67")
_TONE_MAPPING = (
    "zscale=tin={}:min=bt2020nc:pin=bt2020:t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,"
    "tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv,format=yuv444p"
)
NTSC_RATES = (24, 30, 48, 60, 120)  # frames per second that also come as n * 1000 / 1001


@dataclass(frozen=True)
class VideoFile:
    """A video file that was looked into. Times are in seconds since the file's beginning."""

    path: Path
    size: Size  # upright, of square pixels
    fps: Fraction
    streams: Streams
    limit: int = MAX_PIXELS  # pixels of a frame, at most

    @property
    def end(self) -> Fraction:
        """When its last frame ends."""
        times, last = self.streams.video.times, self.streams.video.last
        return times[-1] + (last or 1 / self.fps)

    @property
    def sound_codec(self) -> str:
        """The codec of its sound; empty where there is none."""
        return self.streams.sound_codec if self.streams.sound.times else ""

    def first(self, start: float) -> Fraction:
        """When the first frame at or after `start` is shown; half a frame early counts.

        Raises UsageError where there is none.
        """
        earliest = Fraction(start).limit_denominator(10**6) - 1 / self.fps / 2
        times = self.streams.video.times
        first = next((time for time in times if time >= earliest), None)
        if first is None:
            raise UsageError(
                f"{self.path.name} ends at {float(self.end):.2f} s: a start at {start:g} s is past that"
            )
        return first if start else times[0]


def open_video(path: Path, limit: int = MAX_PIXELS) -> VideoFile:
    """Looks into a video file, or an animated GIF, WebP or APNG. Raises InputError.

    limit: pixels that a frame may have, which is looked at before any is decoded.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a clip in it")
    streams = probe(path, limit)
    claimed = _claimed_size(streams)
    if claimed.pixels > limit:
        raise InputError(
            f"{path} has frames of {claimed} pixels, and {limit:,} are the most: "
            "`max_pixels` lifts the limit"
        )
    if not streams.video.times:
        raise InputError(f"{path} holds no clip that can be read; MP4, WebM, MOV or GIF would do")
    size = _decoded_size(path, limit)
    if size is None:
        raise InputError(f"{path} is damaged: no frame of it can be decoded")
    if len(streams.video.times) == 1:
        raise InputError(f"{path} is a single picture: zoomdream zoom is for those")
    return VideoFile(path, size, frame_rate(streams), streams, limit)


def _claimed_size(streams: Streams) -> Size:
    """The size that the file says its frames have; zeros where it does not."""
    match = re.search(r", (\d{1,9})x(\d{1,9})\b", streams.header) or re.search(
        r"Picture size (\d{1,9})x(\d{1,9}) ", "".join(streams.faults)
    )
    return Size(int(match[1]), int(match[2])) if match else Size(0, 0)


def _decoded_size(path: Path, limit: int) -> Size | None:
    """The size of the first frame as it comes out of ffmpeg, turned and square."""
    ppm = run_ffmpeg(
        ffmpeg_command("-nostdin", *input_options(path, limit), "-map", "0:v:0", "-frames:v", "1",
                "-vf", "scale=iw*sar:ih,setsar=1", "-c:v", "ppm", "-f", "image2pipe", "-"),
    ).stdout[:40].split(maxsplit=3)  # fmt: skip
    return Size(int(ppm[1]), int(ppm[2])) if ppm[:1] == [b"P6"] else None


def frame_rate(streams: Streams) -> Fraction:
    """Frames per second: the mean, taken for the usual rate that is within 0.2 % of it."""
    times, last = streams.video.times, streams.video.last
    span = times[-1] - times[0]
    if span <= 0:
        return Fraction(25)
    gaps = [late - early for early, late in pairwise(times)]
    varying = last > 0 and max(gaps) > Fraction(3, 2) * min(gaps)
    mean = len(times) / (span + last) if varying else len(gaps) / span
    usual = [Fraction(n) for n in range(1, 241)]
    usual += [Fraction(n * 1000, 1001) for n in NTSC_RATES]
    nearest = min(usual, key=lambda fps: abs(fps - mean))
    if abs(nearest / mean - 1) < Fraction(2, 1000):
        return nearest
    return min(mean.limit_denominator(1001), Fraction(240))


def decode_clip(
    video: VideoFile,
    size: Size,
    fps: Fraction,
    start: float = 0.0,
    end: float | None = None,
) -> Clip:
    """Decodes a video from `start` to `end` seconds as a Clip of `size`, filled and cut equally.

    Raises UsageError where no frame is in that time; its frames raise InputError where none can be decoded.
    """
    first = video.first(start)
    last = video.end if end is None else min(video.end, Fraction(end).limit_denominator(10**6))
    length = round((last - first) * fps)
    if length < 1:
        raise UsageError(f"from {start:g} s to {end:g} s there is no frame")
    faults: list[str] = []
    frames = _frames(video, size, fps, start, length, end is None, faults)
    return Clip(fps, size, length, frames, faults=faults)


def _frames(
    video: VideoFile,
    size: Size,
    fps: Fraction,
    start: float,
    length: int,
    to_the_end: bool,
    faults: list[str],
) -> Iterator[Frame]:
    """Decodes `length` frames, and then adds what was lost to `faults`."""
    alpha = bool(_ALPHA.search(video.streams.header))
    channels = 4 if alpha else 3
    before = float(video.first(start) - 1 / video.fps / 2)
    command = ffmpeg_command(
        "-nostdin", *(("-ss", f"{before:.6f}") if start and before > 0 else ()),
        *input_options(video.path, video.limit), "-map", "0:v:0", "-vf", _filters(video, size, fps),
        "-f", "rawvideo", "-pix_fmt", "rgba" if alpha else "rgb24", "pipe:1", level="level+verbose",
    )  # fmt: skip
    count, last = 0, None
    with tempfile.TemporaryFile() as log_file, running_ffmpeg(command, log_file) as process:
        pipe = process.stdout
        assert pipe is not None
        while count < length:
            raw = pipe.read(size.pixels * channels)
            if len(raw) < size.pixels * channels:
                break
            count += 1
            last = as_frame(np.frombuffer(raw, np.uint8).reshape(*size.shape, channels))
            yield last
        if to_the_end:
            pipe.read()
            process.wait()
        log_file.seek(0)
        log = log_file.read()
    if last is None:
        reason = error_summary(b"\n".join(line for line in log.splitlines() if b"[error]" in line))
        raise InputError(f"{video.path} is damaged: no frame of it can be decoded ({reason})")
    if count == length - 1:  # the end fell between two frames
        yield last
        count += 1
    faults += _faults(video, log.decode(errors="replace"), length - count, to_the_end and not start)


def _faults(video: VideoFile, log: str, missing: int, whole: bool) -> list[str]:
    """Says what was lost: counted by the decoder, by packets, and by the length claimed.

    log: the decoder's. missing: frames that did not come. whole: all of the file was decoded.
    """
    streams, lost = video.streams, missing
    listed = len(streams.video.times)
    counts = re.search(r"(\d+) frames decoded; (\d+) decode errors", log)
    if whole and counts:
        lost = max(lost, listed - int(counts[1]))
    if whole and streams.faults and streams.seconds:
        listed = max(listed, round(streams.seconds * video.fps))
        lost = max(lost, listed - (int(counts[1]) if counts else 0))
    if lost > 0:
        return [f"{video.path.name} is damaged or cut short: {lost} of {listed} frames are lost"]
    errors = max(int(counts[2]) if counts else 0, log.count("[error]"))
    if errors:
        return [f"{video.path.name} is damaged: ffmpeg patched it in {errors} places"]
    return []


def _filters(video: VideoFile, size: Size, fps: Fraction) -> str:
    """ffmpeg's filters from the file's frames to even, upright ones in sRGB of a size."""
    header = video.streams.header
    curve = next((name for name in _HDR_CURVES if name in header), None)
    matrix = "auto"
    if curve is None and not _TAGGED.search(header):
        matrix = "bt709" if video.size.height >= 720 else "smpte170m"
    scale = (
        f"scale={size.width}:{size.height}:force_original_aspect_ratio=increase:in_color_matrix={matrix}:"
        "out_range=pc:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    )
    parts = [
        "setpts=PTS-STARTPTS",
        f"fps={fps.numerator}/{fps.denominator}",
        *([_TONE_MAPPING.format(curve)] if curve else []),
        "scale=iw*sar:ih" if "SAR 1:1" not in header and "SAR" in header else "",
        scale,
        f"crop={size.width}:{size.height}",
    ]
    return ",".join(part for part in parts if part)
