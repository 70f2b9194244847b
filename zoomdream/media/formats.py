"""The kinds of films: what each can hold, and the encoders that make it."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

from zoomdream.errors import OutputError, UsageError
from zoomdream.media.ffmpeg import ffmpeg_command
from zoomdream.settings.model import Output
from zoomdream.size import Size

GIF_RATES = (10, 20, 25, 50)  # frames a second that GIF can hold: its delays are centiseconds
_BT709 = (
    "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,"
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
)
_EVEN = ("-g", "1")  # every frame coded alike: else the seam of a loop is a step in blur, and shows
_PALETTE = "split[a][b];[a]palettegen=stats_mode={}[p];[b][p]paletteuse=dither=sierra2_4a:new={}"
_LONG = 250_000_000  # pixels of a GIF; ffmpeg holds all of them to find one palette, 4 bytes each


# H.264 encoders of graphics cards; the first that works is taken
HARDWARE_ENCODERS: dict[str, Callable[[Output], list[str]]] = {
    "h264_nvenc": lambda o: [
        "-preset", "p5", "-rc", "vbr", "-cq", f"{max(1, o.quality):g}", "-b:v", "0",
    ],
    "h264_videotoolbox": lambda o: ["-q:v", f"{100 - 1.5 * o.quality:.0f}"],
    "h264_qsv": lambda o: ["-global_quality", f"{max(1, o.quality):.0f}"],
    "h264_amf": lambda o: [
        "-rc", "cqp", "-qp_i", f"{o.quality:.0f}", "-qp_p", f"{o.quality:.0f}",
    ],
}  # fmt: skip


def h264_encoder(output: Output) -> str:
    """H.264's; raises OutputError where hardware is wanted and none works."""
    return _hardware() if output.encoder == "hardware" else "libx264"


@cache
def _hardware() -> str:
    for name, words in HARDWARE_ENCODERS.items():
        if _works(name, words(Output())):
            return name
    raise OutputError(
        f"no hardware encoder works here ({', '.join(HARDWARE_ENCODERS)} were tried): "
        "leave out `output.encoder=hardware`"
    )


def _h264(output: Output) -> list[str]:
    name, rate = h264_encoder(output), ["-preset", "veryfast", "-crf", f"{output.quality:g}"]
    return [
        "-vf", _BT709, "-c:v", name, *(_EVEN if output.loop else ()),
        *(HARDWARE_ENCODERS[name](output) if name in HARDWARE_ENCODERS else rate), "-pix_fmt", "yuv420p",
    ]  # fmt: skip


def _as_they_are(_: int) -> list[str]:
    return ["-c:v", "copy"]


@dataclass(frozen=True)
class FilmFormat:
    """A kind of film."""

    suffix: str
    even: bool  # sides must be even
    muxer: str
    segment: str  # suffix of a segment's file
    segment_muxer: str
    bulk: float  # bytes a pixel that a film of dreams has, about
    options: Callable[[Output], list[str]]  # that encode a segment
    joined: Callable[[int], list[str]] = _as_they_are  # that join segments; from all frames' pixels
    sounds: frozenset[str] = frozenset()  # codecs that it holds as they are
    sound: tuple[str, ...] = ()  # how to encode others; without it the format is silent


FILM_FORMATS = {
    f.suffix: f
    for f in (
        FilmFormat(".mp4", True, "mp4", ".mp4", "mp4", 0.1, _h264,
               lambda _: ["-c:v", "copy", "-movflags", "+faststart"],
        frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus"}), ("aac", "-b:a", "192k")),
        FilmFormat(".webm", True, "webm", ".webm", "webm", 0.1, lambda o: [
            "-vf", _BT709, "-c:v", "libvpx-vp9", "-crf", f"{o.quality + 6:g}", "-b:v", "0",
            "-row-mt", "1", "-deadline", "good", "-cpu-used", "4", "-pix_fmt", "yuv420p",
        ], sounds=frozenset({"opus", "vorbis"}), sound=("libopus", "-b:a", "160k")),
        FilmFormat(".gif", False, "gif", ".mkv", "matroska", 2.5,
               lambda _: ["-c:v", "ffv1", "-pix_fmt", "gbrp"], lambda pixels: [
            "-vf", _PALETTE.format(*(("single", 1) if pixels > _LONG else ("full", 0))), "-loop", "0",
        ]),
    )
}  # fmt: skip
PNG_FOLDER = FilmFormat("", False, "image2", "", "image2", 2.5, lambda _: ["-c:v", "png"])


def film_format(target: Path) -> FilmFormat | None:
    """The format that a name asks for; None means a folder of PNG pictures."""
    suffix = target.suffix.lower()
    if suffix in FILM_FORMATS:
        return FILM_FORMATS[suffix]
    if not suffix:
        return None
    raise UsageError(
        f'"{target.name}" is no kind of film: name it .mp4, .webm or .gif, '
        "or give it no ending for a folder of .png"
    )


def nearest_supported(target: Path, size: Size, fps: Fraction) -> tuple[Size, Fraction]:
    """The nearest size and fps that the target's format can hold."""
    form = film_format(target)
    if form and form.even:
        size = Size(size.width - size.width % 2, size.height - size.height % 2)
    if form and form.muxer == "gif" and fps not in GIF_RATES:
        fps = Fraction(min(GIF_RATES, key=lambda rate: abs(rate - fps)))
    return size, fps


def has_sound(target: Path) -> bool:
    """Whether the format that a name asks for can hold sound."""
    form = film_format(target)
    return form is not None and bool(form.sound)


def working_encoders() -> dict[str, bool]:
    """Which encoders work here, each tried on one frame."""
    names = ("libx264", "libvpx-vp9", "gif", *HARDWARE_ENCODERS)
    return {name: _works(name) for name in names}


def _works(encoder: str, words: list[str] | None = None) -> bool:
    """Whether an encoder takes a frame, with such options."""
    form = "gif" if encoder == "gif" else "matroska"
    trial = ffmpeg_command(
        "-nostdin", "-f", "lavfi",
        "-i", "color=size=256x256:rate=1:duration=1", "-frames:v", "1", "-c:v", encoder,
        *(words or ()), *([] if encoder == "gif" else ["-pix_fmt", "yuv420p"]), "-f", form, os.devnull, "-y",
    )  # fmt: skip
    return subprocess.run(trial, check=False, capture_output=True).returncode == 0
