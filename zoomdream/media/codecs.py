"""The encoders that ffmpeg codes frames with, as a table: one entry each, with its options.

A container (see `film_formats`) names the encoders that it is made with. AV1, for example, is one more entry
here and one word there::

    Encoder("libsvtav1", lambda o: ["-crf", f"{o.quality + 12:g}", "-preset", "8"], filters=BT709)

and `software="libsvtav1"` in the entry of `.mp4`, or of a new container, in `film_formats.FILM_FORMATS`.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from zoomdream.errors import OutputError
from zoomdream.media.ffmpeg import ffmpeg_command, ffmpeg_path, run_ffmpeg
from zoomdream.settings.definitions import Output

BT709 = (
    "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,"
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
)
"""ffmpeg's filters from RGB to the Y'CbCr of a video, labelled as such."""

ALL_INTRA = ("-g", "1")
"""Every frame coded alike: else the seam of a loop is a step in blur, and shows."""


def _no_options(_: Output) -> list[str]:
    return []


@dataclass(frozen=True)
class Encoder:
    """An encoder of ffmpeg, and how it is told the quality."""

    name: str  # ffmpeg's
    options: Callable[[Output], list[str]] = _no_options  # for a quality
    pixels: str = "yuv420p"  # ffmpeg's pixel format; empty leaves it to the encoder
    filters: str = ""  # that its frames go through before
    loop: tuple[str, ...] = ()  # options for a film that is a loop

    def arguments(self, output: Output) -> list[str]:
        """The part of ffmpeg's command line that encodes."""
        return [
            *(("-vf", self.filters) if self.filters else ()),
            "-c:v", self.name, *(self.loop if output.loop else ()), *self.options(output),
            *(("-pix_fmt", self.pixels) if self.pixels else ()),
        ]  # fmt: skip

    def works(self, output: Output | None = None) -> bool:
        """Whether ffmpeg can encode a frame with it here; with the options of a quality, if given."""
        trial = ffmpeg_command(
            "-nostdin", "-f", "lavfi",
            "-i", "color=size=256x256:rate=1:duration=1", "-frames:v", "1", "-c:v", self.name,
            *(self.options(output) if output else ()),
            *(("-pix_fmt", self.pixels) if self.pixels else ()),
            "-f", "gif" if self.name == "gif" else "matroska", os.devnull, "-y",
        )  # fmt: skip
        return run_ffmpeg(trial).returncode == 0


def _h264(name: str, options: Callable[[Output], list[str]]) -> Encoder:
    return Encoder(name, options, filters=BT709, loop=ALL_INTRA)


ENCODERS = {
    encoder.name: encoder
    for encoder in (
        _h264("libx264", lambda o: ["-preset", "veryfast", "-crf", f"{o.quality:g}"]),
        Encoder("libvpx-vp9", lambda o: [
            "-crf", f"{o.quality + 6:g}", "-b:v", "0", "-row-mt", "1", "-deadline", "good",
            "-cpu-used", "4",
        ], filters=BT709),
        Encoder("gif", pixels=""),  # at the end, from segments of ffv1
        Encoder("ffv1", pixels="gbrp"),
        Encoder("png", pixels=""),
        # H.264 on graphics cards
        _h264("h264_nvenc", lambda o: [
            "-preset", "p5", "-rc", "vbr", "-cq", f"{max(1, o.quality):g}", "-b:v", "0",
        ]),
        _h264("h264_videotoolbox", lambda o: ["-q:v", f"{100 - 1.5 * o.quality:.0f}"]),
        _h264("h264_qsv", lambda o: ["-global_quality", f"{max(1, o.quality):.0f}"]),
        _h264("h264_amf", lambda o: [
            "-rc", "cqp", "-qp_i", f"{o.quality:.0f}", "-qp_p", f"{o.quality:.0f}",
        ]),
    )
}  # fmt: skip
H264_HARDWARE = ("h264_nvenc", "h264_videotoolbox", "h264_qsv", "h264_amf")
"""The encoders of graphics cards in the order in which they are tried."""
REQUIRED_ENCODERS = ("libx264", "libvpx-vp9", "gif")
"""What ffmpeg has to have for every kind of film (it always has ffv1 and png)."""


def first_working(encoders: tuple[Encoder, ...]) -> Encoder:
    """The first encoder that works here, each tried on one frame; raises OutputError where none does."""
    return _first_working(encoders, ffmpeg_path())


@cache
def _first_working(encoders: tuple[Encoder, ...], _ffmpeg: str) -> Encoder:
    """The same, found out once for each ffmpeg."""
    for encoder in encoders:
        if encoder.works(Output()):
            return encoder
    raise OutputError(
        f"no hardware encoder works here ({', '.join(e.name for e in encoders)} were tried): "
        "leave out `output.encoder=hardware`"
    )


def working_encoders(
    names: Sequence[str] = (*REQUIRED_ENCODERS, *H264_HARDWARE),
) -> dict[str, bool]:
    """Which of the encoders work here, each tried on one frame."""
    return {name: ENCODERS[name].works() for name in names}
