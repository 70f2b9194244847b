"""The press: Frames become a film, and sound is laid to it.

A film is written under another name and takes its own in one rename, once ffmpeg has ended well and
the file holds as many frames as were sent: what has the name is whole.
"""

import contextlib
import errno
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2

from zoomdream.errors import OutputError, UsageError
from zoomdream.ffmpeg import command, complaint, count_frames, given, process
from zoomdream.frame import Bytes, Frame, Sound, to_bytes
from zoomdream.spec import Output

GIF_RATES = (10, 20, 25, 50)  # frames a second that GIF can hold: its delays are centiseconds

_BT709 = (
    "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,"
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
)
_EVEN = ("-g", "1")  # every frame coded alike: else the seam of a loop is a step in blur, and shows
_PALETTE = "split[a][b];[a]palettegen=stats_mode={}[p];[b][p]paletteuse=dither=sierra2_4a:new={}"
_LONG = 250_000_000  # pixels of a GIF; ffmpeg holds all of them to find one palette, 4 bytes each


@dataclass(frozen=True)
class Format:
    """A kind of film."""

    suffix: str
    even: bool  # sides must be even
    muxer: str
    options: Callable[[Output, int], list[str]]  # from the settings and the pixels of all frames
    sounds: frozenset[str] = frozenset()  # codecs that it holds as they are
    sound: tuple[str, ...] = ()  # how to encode others; without it the format is silent


FORMATS = {
    f.suffix: f
    for f in (
        Format(".mp4", True, "mp4", lambda o, _: [
            "-vf", _BT709, "-c:v", "libx264", "-preset", "veryfast",
            *(_EVEN if o.loop else ()), "-crf", f"{o.quality:g}",
            "-pix_fmt", "yuv420p", "-movflags", "+faststart",
        ], frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus"}), ("aac", "-b:a", "192k")),
        Format(".webm", True, "webm", lambda o, _: [
            "-vf", _BT709, "-c:v", "libvpx-vp9", "-crf", f"{o.quality + 6:g}", "-b:v", "0",
            "-row-mt", "1", "-deadline", "good", "-cpu-used", "4", "-pix_fmt", "yuv420p",
        ], frozenset({"opus", "vorbis"}), ("libopus", "-b:a", "160k")),
        Format(".gif", False, "gif", lambda _, pixels: [
            "-vf", _PALETTE.format(*(("single", 1) if pixels > _LONG else ("full", 0))), "-loop", "0",
        ]),
    )
}  # fmt: skip


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


def has_sound(target: Path) -> bool:
    """Whether the format that a name asks for can hold sound."""
    form = format_of(target)
    return form is not None and bool(form.sound)


def check_target(target: Path, force: bool) -> None:
    """Raises OutputError where the target could not be put, before any work is done."""
    if target.name in ("", ".."):
        raise UsageError(
            f'"{target}" has no name: write to a file or a new folder, as in -o dream.mp4'
        )
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
    if not form and target.is_dir() and (strange := _strangers(target)):
        raise OutputError(f"{target} holds {strange[0]}, which is no frame: name a new folder")
    if _taken(target) and not force:
        raise OutputError(
            f"{target} is there already: add --force to replace it, or take another name"
        )


def _taken(target: Path) -> bool:
    return any(target.iterdir()) if target.is_dir() else target.exists()


def _strangers(folder: Path) -> list[str]:
    """What is in a folder but frames of a film; such a folder is never replaced."""
    return sorted(p.name for p in folder.iterdir() if not re.fullmatch(r"\d{6}\.png", p.name))


Writer = Callable[[Frame], None]


@contextlib.contextmanager
def open_writer(
    target: Path,
    output: Output,
    size: tuple[int, int],
    fps: Fraction,
    frames: int = 1,
    force: bool = True,
    sound: Sound | None = None,
    label: str = "",
    comment: str = "",
    check: Callable[[Path], None] | None = None,
) -> Iterator[Writer]:
    """Gives a function that takes the film's Frames, one after another.

    size: (height, width), as `fitting` gives it, fps too. frames: how many will come, about. sound: is
    cut to the film's length; formats without sound leave it out. label: what was rendered, as TOML, which
    is put beside the film as NAME.toml; comment: the same for the film's own metadata. check: looks at
    the finished film and may raise. At the end of the `with` block the film is checked and put in place;
    when the block is left by an exception nothing is left behind. Raises OutputError; also where, without
    `force`, a file has got the name meanwhile.
    """
    form = format_of(target)
    with _clear_words(target):
        room = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.absolute().parent))
    part = room / f"part{target.suffix}"
    pixels = frames * size[0] * size[1]
    try:
        opened = (
            _pictures(part)
            if form is None
            else _film(part, form, output, size, fps, pixels, sound, comment)
        )
        with opened as write:
            yield _checked(write, size, target)
        if check:
            check(part)
        with _clear_words(target):
            if not force and _taken(target):
                raise OutputError(
                    f"{target} has been written by someone else meanwhile: take another name"
                )
            if label:
                beside = room / "label"
                beside.write_text(label, encoding="utf-8")
                beside.replace(target.absolute().with_name(f"{target.name}.toml"))
            _put(part, target, room)
    except _FilmError as error:
        raise OutputError(f"{target} cannot be written: {error}") from None
    finally:
        shutil.rmtree(room, ignore_errors=True)


class _FilmError(Exception):
    """What ffmpeg, or its result, is to be blamed for."""


@contextlib.contextmanager
def _clear_words(target: Path) -> Iterator[None]:
    """The system's own errors, in a sentence."""
    try:
        yield
    except OSError as error:
        full = error.errno == errno.ENOSPC
        reason = "the disk is full" if full else error.strerror or error
        raise OutputError(f"{target} cannot be written: {reason}") from None


def _checked(write: Callable[[Bytes], None], size: tuple[int, int], target: Path) -> Writer:
    def take(frame: Frame) -> None:
        picture = to_bytes(frame)
        if picture.shape != (*size, 3):
            raise OutputError(f"a frame is {picture.shape[:2]} instead of {size} (height, width)")
        with _clear_words(target):
            write(picture)

    return take


@contextlib.contextmanager
def _pictures(folder: Path) -> Iterator[Callable[[Bytes], None]]:
    """Numbered PNG files, 000000.png and on."""
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
    part: Path,
    form: Format,
    output: Output,
    size: tuple[int, int],
    fps: Fraction,
    pixels: int,
    sound: Sound | None,
    comment: str,
) -> Iterator[Callable[[Bytes], None]]:
    """A pipe into ffmpeg, whose result is believed only once it was looked at."""
    words = command(
        "-y", "-f", "rawvideo", "-pix_fmt", "rgb24",
        "-video_size", f"{size[1]}x{size[0]}", "-framerate", str(fps), "-i", "pipe:0",
        *form.options(output, pixels), *(("-metadata", f"comment={comment}") if comment else ()),
        "-f", form.muxer, f"file:{part}",
    )  # fmt: skip
    count = 0
    with tempfile.TemporaryFile() as said, process(words, said, sending=True) as running:
        pipe = running.stdin
        assert pipe is not None

        def last_words() -> str:
            said.seek(0)
            return complaint(said.read())

        def write(picture: Bytes) -> None:
            nonlocal count
            try:
                pipe.write(picture.tobytes())
            except BrokenPipeError:
                running.wait()
                raise _FilmError(last_words()) from None
            count += 1

        yield write
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
        if running.wait() != 0:
            raise _FilmError(last_words())
    if sound and form.sound:
        _lay(sound, part, form, count / fps)
    found = count_frames(part)
    if found != count:
        raise _FilmError(f"it holds {found} frames of {count}; is the disk full?")


def _lay(sound: Sound, part: Path, form: Format, seconds: Fraction) -> None:
    """Lays sound to a silent film, as it is where the format can hold it."""
    with_sound = part.with_name(f"sound{part.suffix}")
    how = ("copy",) if sound.codec in form.sounds else form.sound
    start = ("-ss", f"{float(sound.start):.6f}") if sound.start > 0 else ()
    said = subprocess.run(
        command("-nostdin", "-y", *given(part), *start, *given(sound.path), "-map", "0:v:0",
                "-map", "1:a:0", "-c:v", "copy", "-c:a", *how, "-t", f"{float(seconds):.6f}",
                *(("-movflags", "+faststart") if form.muxer == "mp4" else ()),
                "-f", form.muxer, f"file:{with_sound}"),
        capture_output=True, check=False,
    )  # fmt: skip
    if said.returncode != 0:
        raise _FilmError(f"its sound cannot be laid ({complaint(said.stderr)}); try --no-audio")
    with_sound.replace(part)


def _put(part: Path, target: Path, room: Path) -> None:
    """Flushes a finished film to disk and gives it its name; a folder's old frames go after that."""
    if part.is_dir():
        old = room / "old"
        if target.is_dir():
            target.replace(old)
        try:
            part.replace(target)
        except OSError:
            if old.is_dir():
                old.replace(target)
            raise
        return
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)


def encoders() -> dict[str, bool]:
    """Which encoders work here, each tried on one frame."""
    names = ("libx264", "libvpx-vp9", "gif", "libx265", "libsvtav1", "h264_nvenc")
    return {name: _works(name) for name in names}


def _works(encoder: str) -> bool:
    form = "gif" if encoder == "gif" else "matroska"
    words = command(
        "-nostdin", "-f", "lavfi",
        "-i", "color=size=256x256:rate=1:duration=1", "-frames:v", "1", "-c:v", encoder,
        *([] if encoder == "gif" else ["-pix_fmt", "yuv420p"]), "-f", form, os.devnull, "-y",
    )  # fmt: skip
    return subprocess.run(words, check=False, capture_output=True).returncode == 0
