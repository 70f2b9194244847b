"""The press: Frames become a film. Owns ffmpeg.

A film is written under another name and takes its own in one rename, once ffmpeg has ended well and
the file holds as many frames as were sent: what has the name is whole.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import cv2
import imageio_ffmpeg

from zoomdream.errors import OutputError, UsageError
from zoomdream.frame import Bytes, Frame, to_bytes
from zoomdream.spec import Output

GIF_RATES = (10, 20, 25, 50)  # frames a second that GIF can hold: its delays are centiseconds

_BT709 = (
    "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,"
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
)
_PALETTE = "split[a][b];[a]palettegen=stats_mode=full[p];[b][p]paletteuse=dither=sierra2_4a"


@dataclass(frozen=True)
class Format:
    """A kind of film."""

    suffix: str
    even: bool  # sides must be even
    muxer: str
    options: Callable[[Output], list[str]]


FORMATS = {
    f.suffix: f
    for f in (
        Format(".mp4", True, "mp4", lambda o: [
            "-vf", _BT709, "-c:v", "libx264", "-preset", "medium", "-crf", f"{o.quality:g}",
            "-pix_fmt", "yuv420p", "-movflags", "+faststart",
        ]),
        Format(".webm", True, "webm", lambda o: [
            "-vf", _BT709, "-c:v", "libvpx-vp9", "-crf", f"{o.quality + 6:g}", "-b:v", "0",
            "-row-mt", "1", "-deadline", "good", "-cpu-used", "4", "-pix_fmt", "yuv420p",
        ]),
        Format(".gif", False, "gif", lambda _: ["-vf", _PALETTE, "-loop", "0"]),
    )
}  # fmt: skip


def ffmpeg() -> str:
    """The ffmpeg binary of imageio-ffmpeg (`IMAGEIO_FFMPEG_EXE` overrides); raises OutputError."""
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        raise OutputError(
            "ffmpeg was not found: pip install imageio-ffmpeg, or point IMAGEIO_FFMPEG_EXE at one"
        ) from None


def format_of(target: Path) -> Format | None:
    """The format that a name asks for; None means a folder of PNG pictures."""
    suffix = target.suffix.lower()
    if suffix in FORMATS:
        return FORMATS[suffix]
    if not suffix:
        return None
    raise UsageError(
        f'"{target.name}" is no kind of film: name it .mp4, .webm or .gif, '
        "or give it no ending for a folder of .png"
    )


def fitting(target: Path, size: tuple[int, int], fps: Fraction) -> tuple[tuple[int, int], Fraction]:
    """The nearest (height, width) and fps that the target's format can hold."""
    form = format_of(target)
    if form and form.even:
        size = (size[0] - size[0] % 2, size[1] - size[1] % 2)
    if form and form.muxer == "gif" and fps not in GIF_RATES:
        fps = Fraction(min(GIF_RATES, key=lambda rate: abs(rate - fps)))
    return size, fps


def check_target(target: Path, force: bool) -> None:
    """Raises OutputError where the target could not be put, before any work is done."""
    form, folder = format_of(target), target.absolute().parent
    if not folder.is_dir():
        raise OutputError(f"{folder} is not a folder: create it, or write elsewhere")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{folder} may not be written to: choose another folder")
    if form and target.is_dir():
        raise OutputError(f"{target} is a folder: name a file")
    if not form and target.exists() and not target.is_dir():
        raise OutputError(
            f"{target} is a file: name a folder, or end the name in .mp4, .webm or .gif"
        )
    taken = target.exists() if form else target.is_dir() and any(target.iterdir())
    if taken and not force:
        raise OutputError(
            f"{target} is there already: add --force to replace it, or take another name"
        )


Writer = Callable[[Frame], None]


@contextlib.contextmanager
def open_writer(
    target: Path, output: Output, size: tuple[int, int], fps: Fraction
) -> Iterator[Writer]:
    """Gives a function that takes the film's Frames, one after another.

    size: (height, width), as `fitting` gives it, fps too. At the end of the `with` block the film is
    checked and put in place; when the block is left by an exception nothing is left behind. Raises
    OutputError.
    """
    part = target.absolute().with_name(target.name + ".part")
    form = format_of(target)
    try:
        with _pictures(part) if form is None else _film(part, form, output, size, fps) as write:
            yield _checked(write, size)
        _put(part, target)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from None
    finally:
        _remove(part)


def _checked(write: Callable[[Bytes], None], size: tuple[int, int]) -> Writer:
    def take(frame: Frame) -> None:
        picture = to_bytes(frame)
        if picture.shape != (*size, 3):
            raise OutputError(f"a frame is {picture.shape[:2]} instead of {size} (height, width)")
        write(picture)

    return take


@contextlib.contextmanager
def _pictures(folder: Path) -> Iterator[Callable[[Bytes], None]]:
    """Numbered PNG files, 000000.png and on."""
    _remove(folder)
    folder.mkdir()
    count = 0

    def write(picture: Bytes) -> None:
        nonlocal count
        good, content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        if not good:
            raise OutputError(f"frame {count} could not be made a PNG")
        (folder / f"{count:06d}.png").write_bytes(content.tobytes())
        count += 1

    yield write


@contextlib.contextmanager
def _film(
    part: Path, form: Format, output: Output, size: tuple[int, int], fps: Fraction
) -> Iterator[Callable[[Bytes], None]]:
    """A pipe into ffmpeg, whose result is believed only once it was looked at."""
    command = [
        ffmpeg(), "-hide_banner", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24",
        "-video_size", f"{size[1]}x{size[0]}", "-framerate", str(fps), "-i", "pipe:0",
        *form.options(output), "-f", form.muxer, f"file:{part}",
    ]  # fmt: skip
    count = 0
    with tempfile.TemporaryFile() as said, _process(command, said) as process:
        pipe = process.stdin
        assert pipe is not None

        def write(picture: Bytes) -> None:
            nonlocal count
            try:
                pipe.write(picture.tobytes())
            except BrokenPipeError:
                process.wait()
                raise OutputError(_complaint(part, said)) from None
            count += 1

        yield write
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
        if process.wait() != 0:
            raise OutputError(_complaint(part, said))
    found = count_frames(part)
    if found != count:
        raise OutputError(f"the film holds {found} frames of {count}; is the disk full?")


@contextlib.contextmanager
def _process(command: list[str], said: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """ffmpeg, safe from the terminal's Ctrl-C, and never left behind."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=said,
        start_new_session=os.name != "nt",
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        with contextlib.suppress(OSError):
            if process.stdin:
                process.stdin.close()


def _complaint(part: Path, said: IO[bytes]) -> str:
    """ffmpeg's own last words, in one sentence."""
    said.seek(0)
    lines = [line.strip() for line in said.read().decode(errors="replace").splitlines()]
    known = (
        "No space left",
        "Permission denied",
        "Read-only",
        "Unknown encoder",
        "Invalid argument",
    )
    told = [line for line in lines if line]
    best = next((line for line in told if any(k in line for k in known)), told[-1] if told else "")
    name = part.name.removesuffix(".part")
    if "No space left" in best:
        return f"{name} cannot be written: the disk is full ({part.parent})"
    return f"{name} cannot be written: ffmpeg says {best[-200:] or 'nothing'}"


def count_frames(film: Path) -> int:
    """How many frames are in a video file: its packets, counted by ffmpeg."""
    said = subprocess.run(
        [ffmpeg(), "-nostdin", "-hide_banner", "-loglevel", "error", "-i", f"file:{film.absolute()}",
         "-map", "0:v:0", "-c", "copy", "-f", "framecrc", "-"],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    return sum(1 for line in said.stdout.splitlines() if line and not line.startswith("#"))


def _put(part: Path, target: Path) -> None:
    """Flushes the finished part to disk and gives it its name in one step."""
    if part.is_dir():
        if target.is_dir():
            old = target.with_name(target.name + ".old")
            _remove(old)
            target.replace(old)
            part.replace(target)
            _remove(old)
        else:
            part.replace(target)
        return
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def encoders() -> dict[str, bool]:
    """Which encoders work here, each tried on one frame."""
    names = ("libx264", "libvpx-vp9", "gif", "libx265", "libsvtav1", "h264_nvenc")
    return {name: _works(name) for name in names}


def _works(encoder: str) -> bool:
    form = "gif" if encoder == "gif" else "matroska"
    command = [
        ffmpeg(), "-nostdin", "-hide_banner", "-loglevel", "quiet", "-f", "lavfi",
        "-i", "color=size=256x256:rate=1:duration=1", "-frames:v", "1", "-c:v", encoder,
        *([] if encoder == "gif" else ["-pix_fmt", "yuv420p"]), "-f", form, os.devnull, "-y",
    ]  # fmt: skip
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
