"""The kinds of films as a table: what each container can hold, and the encoders that make it.

The encoders themselves are entries of `codecs.ENCODERS`; see there how one adds AV1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from zoomdream.errors import UsageError
from zoomdream.media.codecs import ENCODERS, H264_HARDWARE, Encoder, first_working
from zoomdream.settings.definitions import Output
from zoomdream.size import Size

GIF_RATES = (10, 20, 25, 50)  # frames a second that GIF can hold: its delays are centiseconds
PALETTE_PIXELS = 250_000_000  # of a GIF; ffmpeg holds all to find one palette, 4 bytes each
_PALETTE = "split[a][b];[a]palettegen=stats_mode={}[p];[b][p]paletteuse=dither=sierra2_4a:new={}"


def _copied(_: int) -> list[str]:
    return ["-c:v", "copy"]


def _copied_with_index_first(_: int) -> list[str]:
    return ["-c:v", "copy", "-movflags", "+faststart"]


def _with_palette(pixels: int) -> list[str]:
    """One palette for the film, or one for each frame where all of them would fill the memory."""
    one_each = pixels > PALETTE_PIXELS
    return ["-vf", _PALETTE.format(*(("single", 1) if one_each else ("full", 0))), "-loop", "0"]


@dataclass(frozen=True)
class FilmFormat:
    """A kind of film: a container, the encoders that fill it, and what it can hold."""

    suffix: str
    muxer: str
    segment: str  # suffix of a segment's file
    segment_muxer: str
    bytes_per_pixel: float  # that a film of dreams has, about
    software: Encoder  # of the segments
    hardware: tuple[Encoder, ...] = ()  # that may take its place, in the order they are tried
    even: bool = False  # sides must be even
    joined: Callable[[int], list[str]] = _copied  # how segments are joined; of all frames' pixels
    sounds: frozenset[str] = frozenset()  # codecs that it holds as they are
    sound: tuple[str, ...] = ()  # how to encode others; without it the format is silent

    def encoder(self, output: Output) -> Encoder:
        """The encoder of its segments; raises OutputError where hardware is wanted and none works."""
        wanted = output.encoder == "hardware" and self.hardware
        return first_working(self.hardware) if wanted else self.software

    def options(self, output: Output) -> list[str]:
        """ffmpeg's options that encode a segment; raises OutputError as `encoder` does."""
        return self.encoder(output).arguments(output)


FILM_FORMATS = {
    form.suffix: form
    for form in (
        FilmFormat(
            ".mp4", "mp4", ".mp4", "mp4", 0.1,
            ENCODERS["libx264"], tuple(ENCODERS[name] for name in H264_HARDWARE),
            even=True, joined=_copied_with_index_first,
            sounds=frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus"}),
            sound=("aac", "-b:a", "192k"),
        ),
        FilmFormat(
            ".webm", "webm", ".webm", "webm", 0.1, ENCODERS["libvpx-vp9"], even=True,
            sounds=frozenset({"opus", "vorbis"}), sound=("libopus", "-b:a", "160k"),
        ),
        FilmFormat(
            ".gif", "gif", ".mkv", "matroska", 2.5, ENCODERS["ffv1"], joined=_with_palette
        ),
    )
}  # fmt: skip
PNG_FOLDER = FilmFormat("", "image2", "", "image2", 2.5, ENCODERS["png"])


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
