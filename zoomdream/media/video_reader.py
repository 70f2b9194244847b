"""Read video files: what they hold, and their frames, evenly timed, upright and in sRGB.

ffmpeg decodes. What its pipe gets wrong when it is left alone is set right here:

- what is shown is found out by decoding (see `frame_listing`), and frames come at one exact rate (`fps`);
- the film is the stream that moves, whatever covers and thumbnails stand before it;
- untagged colours follow what other tags say, else BT.709 from 720 lines on and BT.601 below, as players
  take them; wide gamuts become BT.709's;
- HDR (PQ and HLG) is tone-mapped to BT.709 by Hable's curve;
- interlaced frames are put together, pixels that are not square are made so, alpha lies over white, turned
  phones are turned back, and frames whose size changes midway all get one.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from zoomdream.errors import InputError, UsageError
from zoomdream.media.ffmpeg import (
    error_summary,
    ffmpeg_command,
    input_options,
    run_ffmpeg,
    running_ffmpeg,
)
from zoomdream.media.frame import Frame, as_frame
from zoomdream.media.frame_listing import UNTIMED, Listing, Look, input_stream, list_film
from zoomdream.media.frame_times import shown_frames
from zoomdream.media.image_reader import decode_image
from zoomdream.media.source import Clip
from zoomdream.media.video_streams import Stream, Streams, list_streams
from zoomdream.settings.definitions import MAX_PIXELS
from zoomdream.size import Size

_HDR_CURVES = ("smpte2084", "arib-std-b67")
_DOLBY_CURVES = {
    1: "smpte2084",
    4: "arib-std-b67",
}  # by compatibility, of the layer that all can read
_WIDE_GAMUTS = ("bt2020", "smpte431", "smpte432")
_TO_LIGHT = "zscale=tin={curve}:min={matrix}:pin={primaries}:t=linear:npl=203,format=gbrpf32le"
_FROM_LIGHT = "zscale=t=bt709:m=bt709:r=tv,format=yuv444p"
_TONE_MAPPING = "tonemap=hable:desat=0"
_MATRICES = {
    "bt709": "bt709", "bt470bg": "smpte170m", "smpte170m": "smpte170m", "smpte240m": "smpte240m",
    "bt2020": "bt2020nc", "bt2020-10": "bt2020nc", "bt2020-12": "bt2020nc",
}  # fmt: skip
"""The matrix that goes with the name of primaries or of a curve, where only those are told."""
MOST_MOVED = Fraction(1, 10)  # seconds that a start goes to meet a frame
_UNTOLD_MATRIX = "smpte170m"  # that ffmpeg takes for frames which tell none
HD_LINES = 720  # from which untagged colours are BT.709


@dataclass(frozen=True)
class VideoFile:
    """A video file that was looked into. Times are in seconds since the file's beginning."""

    path: Path
    size: Size  # upright, of square pixels
    listing: Listing
    streams: Streams
    limit: int = MAX_PIXELS  # pixels of a frame, at most
    sound: Stream | None = None  # the one that a player takes, if there is anything in it

    @property
    def fps(self) -> Fraction:
        """Its exact rate: that of the commonest gap between two frames."""
        return self.listing.fps

    @property
    def end(self) -> Fraction:
        """When the last frame that was listed ends."""
        times, last = self.listing.times, self.listing.last
        gap = 1 / self.fps
        return times[-1] + (last if last * 2 > gap else gap)  # some say a tick, or nothing

    def first(self, start: float) -> Fraction:
        """When the frame nearest to `start` is shown; `start` itself, where one is held for longer.

        Raises UsageError where all are over by then.
        """
        times = self.listing.times
        if not start:
            return times[0]
        wanted, half = Fraction(start).limit_denominator(10**6), min(1 / self.fps / 2, MOST_MOVED)
        if wanted >= self.end:
            raise UsageError(
                f"{self.path.name} ends at {float(self.end):.2f} s: a start at {start:g} s is past that"
            )
        following = next((time for time in times if time >= wanted - half), self.end)
        is_held = times[0] < wanted < following - half
        return wanted if is_held else following

    def clip(
        self,
        size: Size,
        fps: Fraction,
        start: float = 0.0,
        end: float | None = None,
        deinterlace: bool = True,
    ) -> Clip:
        """Decodes it from `start` to `end` seconds as a Clip of `size`, filled and cut equally.

        deinterlace: puts frames together that are two half pictures of two moments. Raises UsageError where
        no frame is in that time; the frames raise InputError where none can be decoded.
        """
        first = self.first(start)
        last = self.end if end is None else min(self.end, Fraction(end).limit_denominator(10**6))
        if last < first or (last == first and end is not None):
            raise UsageError(f"from {start:g} s to {end:g} s there is no frame")
        length = max(1, round((last - first) * fps))
        faults: list[str] = []
        numbers = shown_frames(self.listing.times, first, fps, length)
        whole = end is None and not start and self.listing.complete
        frames = _frames(self, size, numbers, deinterlace, whole, faults)
        return Clip(fps, size, length, frames, notes=self.notes(deinterlace), faults=faults)

    def notes(self, deinterlace: bool) -> tuple[str, ...]:
        """What is other than a player would show it."""
        listing, notes = self.listing, []
        if listing.interlaced and deinterlace:
            notes.append(
                "it is interlaced, and was put together: `flow.deinterlace=False` leaves it"
            )
        elif listing.interlaced:
            notes.append("it is interlaced, and left so: the dream will see combs")
        sizes = list(dict.fromkeys(look.square for look in listing.looks))
        if len(sizes) > 1:
            notes.append(
                f"its frames change their size, {' and '.join(map(str, sizes[:3]))}: all get one"
            )
        if self.streams.container in UNTIMED:
            notes.append(
                f"it has no times, and is taken at the {float(self.fps):g} fps that ffmpeg supposes: "
                "a .mkv of it would have its own"
            )
        if listing.jumps:
            times = "once" if listing.jumps == 1 else f"{listing.jumps} times"
            notes.append(f"its clock jumps {times}: frames follow each other there")
        return tuple(notes)


def open_video(
    path: Path, limit: int = MAX_PIXELS, start: float = 0.0, end: float | None = None
) -> VideoFile:
    """Looks into a video file, or an animated GIF, WebP, APNG or AVIF. Raises InputError.

    limit: pixels that a frame may have, which is looked at before any is decoded. start, end: seconds
    between which its frames are wanted; of others less is known.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a clip in it")
    streams = list_streams(path)
    claimed = Size(*streams.largest)
    if claimed.pixels > limit:
        raise InputError(
            f"{path} has frames of {claimed} pixels, and {limit:,} are the most: "
            "`max_pixels` lifts the limit"
        )
    _check_films(path, streams)
    listing = list_film(path, streams, limit, start, end)
    if listing is None:
        raise InputError(f"{path} is damaged: no frame of it can be decoded")
    if len(listing.times) == 1 and _is_picture(path, limit):
        raise InputError(f"{path} is a single picture: zoomdream zoom is for those")
    _check_dolby_vision(path, listing.stream)
    sound = streams.sound if streams.sound and _has_packets(path, streams.sound) else None
    return VideoFile(path, listing.look.square, listing, streams, limit, sound)


def _check_films(path: Path, streams: Streams) -> None:
    """Raises InputError where none of a file's streams may be a film, and says what it is instead."""
    films = [stream for stream in streams.videos if not stream.is_cover]
    if any(stream.codec != "none" for stream in films):
        return
    if films:
        raise InputError(
            f"{path} cannot be decoded: ffmpeg does not know its codec ({films[0].tag}); MP4, WebM or "
            "MOV would do"
        )
    if streams.sounds:
        raise InputError(f"{path} holds sound, and nothing that moves")
    with path.open("rb") as file:
        is_mp4 = file.read(8)[4:] == b"ftyp"
    if is_mp4 and not streams.container:
        raise InputError(f"{path} is cut short: the index of its frames is missing")
    raise InputError(f"{path} holds no clip that can be read; MP4, WebM, MOV or GIF would do")


def _is_picture(path: Path, limit: int) -> bool:
    """Whether a file is a still picture, which the reader of those can read."""
    try:
        decode_image(path, limit)
    except InputError:
        return False
    return True


def _check_dolby_vision(path: Path, stream: Stream) -> None:
    """Raises InputError for Dolby Vision that has no layer in colours that others can read."""
    if stream.dolby_vision and stream.dolby_vision == (5, 0):
        raise InputError(
            f"{path} is Dolby Vision of profile 5, whose colours cannot be read: "
            "export it as HDR10, HLG or SDR"
        )


def _has_packets(path: Path, sound: Stream) -> bool:
    """Whether there is anything in a sound stream."""
    first = run_ffmpeg(
        ffmpeg_command("-nostdin", *input_options(path), "-map", f"0:{sound.index}", "-c", "copy",
                "-frames:a", "1", "-f", "framecrc", "-"),
    ).stdout  # fmt: skip
    return any(line[:1].isdigit() for line in first.decode(errors="replace").splitlines())


def _frames(
    video: VideoFile,
    size: Size,
    numbers: Iterator[int],
    deinterlace: bool,
    whole: bool,
    faults: list[str],
) -> Iterator[Frame]:
    """Decodes the frames of such numbers, which never fall, and then adds what was lost to `faults`.

    whole: the numbers lead from the file's beginning to its end.
    """
    listing = video.listing
    alpha = any(look.has_alpha for look in listing.looks)
    channels = 4 if alpha else 3
    command = ffmpeg_command(
        "-nostdin", *input_stream(video.path, listing.stream, video.limit, listing.entered),
        "-vf", _filters(video, size, deinterlace), "-fps_mode", "passthrough",
        "-f", "rawvideo", "-pix_fmt", "rgba" if alpha else "rgb24", "pipe:1",
    )  # fmt: skip
    decoded, number, frame = 0, -1, None
    with tempfile.TemporaryFile() as log, running_ffmpeg(command, log) as process:
        pipe = process.stdout
        assert pipe is not None
        for number in numbers:
            raw = b""
            while decoded <= number:
                raw = pipe.read(size.pixels * channels)
                if len(raw) < size.pixels * channels:
                    break
                decoded += 1
            if decoded <= number:
                break
            if raw:
                frame = as_frame(np.frombuffer(raw, np.uint8).reshape(*size.shape, channels))
            assert frame is not None
            yield frame
        log.seek(0)
        reason = error_summary(log.read()) if frame is None else ""
    if frame is None:
        raise InputError(f"{video.path} is damaged: no frame of it can be decoded ({reason})")
    faults += _faults(video, max(0, number + 1 - decoded), whole)


def _faults(video: VideoFile, missing: int, whole: bool) -> list[str]:
    """Says what was lost, where something is wrong: of the frames listed, or of the length claimed.

    missing: frames that were listed, but did not come again. whole: the file was read to its end.
    """
    listing, seconds = video.listing, video.streams.seconds
    listed = len(listing.times)
    claimed = round(seconds * video.fps) if whole and listing.errors and seconds else listed
    lost = missing + max(0, claimed - listed)
    if lost:
        total = max(claimed, listed)
        return [f"{video.path.name} is damaged or cut short: {lost} of {total} frames are lost"]
    if listing.errors:
        places = "1 place" if listing.errors == 1 else f"{listing.errors} places"
        return [f"{video.path.name} is damaged: ffmpeg patched it in {places}"]
    return []


def _filters(video: VideoFile, size: Size, deinterlace: bool) -> str:
    """ffmpeg's filters from the file's frames to upright ones in sRGB of a size."""
    listing = video.listing
    conversion, matrix = _color_conversion(listing.look, listing.stream)
    parts = [
        "bwdif=mode=send_frame:deint=interlaced" if listing.interlaced and deinterlace else "",
        conversion,
        "scale=iw*sar:ih" if any(look.aspect != 1 for look in listing.looks) else "",
        f"scale={size.width}:{size.height}:force_original_aspect_ratio=increase:"
        f"in_color_matrix={matrix}:"
        "out_range=pc:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp",
        f"crop={size.width}:{size.height}",
    ]
    return ",".join(part for part in parts if part)


def _color_conversion(look: Look, stream: Stream) -> tuple[str, str]:
    """ffmpeg's filter that makes wide or bright colours BT.709, if it needs one, and the matrix then."""
    curve, primaries, matrix = look.curve, look.primaries, told_matrix(look)
    if stream.dolby_vision and curve not in _HDR_CURVES:
        curve = _DOLBY_CURVES.get(stream.dolby_vision[1], curve)
    hdr = curve in _HDR_CURVES
    if not hdr and primaries not in _WIDE_GAMUTS:
        by_frame = look.matrix == matrix or matrix == _UNTOLD_MATRIX  # as it may change midway
        return "", "auto" if by_frame else matrix
    to_light = _TO_LIGHT.format(
        curve=curve if hdr or curve == "iec61966-2-1" else "bt709",
        matrix=matrix if look.matrix != "unknown" or not hdr else "bt2020nc",
        primaries=primaries if primaries in _WIDE_GAMUTS or not hdr else "bt2020",
    )
    mapping = [_TONE_MAPPING] if hdr else []
    return ",".join([to_light, "zscale=p=bt709", *mapping, _FROM_LIGHT]), "auto"


def told_matrix(look: Look) -> str:
    """The matrix that a frame's colours are coded with, as ffmpeg calls it: told, or else guessed."""
    if look.matrix not in ("unknown", "reserved"):
        return look.matrix
    if look.primaries in _MATRICES:
        return _MATRICES[look.primaries]
    if look.curve in ("bt709", "smpte240m", "bt2020-10", "bt2020-12"):  # SD and HD share others
        return _MATRICES[look.curve]
    return "bt709" if look.size.height >= HD_LINES else "smpte170m"
