"""The press: Frames become a film, and sound is laid to it.

Frames go into a journal, and each segment is encoded as its frames come. At the end
the segments are joined as they are, and the film takes its name in one rename, once it was looked at and
holds as many frames as were sent: what has the name is whole.
"""

import contextlib
import dataclasses
import errno
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import BinaryIO, Self

from zoomdream.ahead import Behind
from zoomdream.errors import OutputError, UsageError
from zoomdream.ffmpeg import command, complaint, count_frames, given, start
from zoomdream.formats import PICTURES, Format, encoder_of, format_of
from zoomdream.frame import Bytes, Frame, Sound, leaving
from zoomdream.journal import (
    Journal,
    Line,
    Reel,
    State,
    clear,
    differences,
    flush_file,
    flush_folder,
    folder_of,
    locked,
    passport_of,
    put,
    read_lines,
    remove,
)
from zoomdream.spec import Output

COMMIT_EVERY = 5.0  # seconds
SHARE = 32  # frames that an encoder gets at a time: waking it for each slows the dreaming
LATEST = 4.0  # seconds after which it gets what there is
STANDARD = 18  # the quality for which a format's bulk is told
STATE = 16  # bytes a pixel of what a commit carries, at most


def check_target(target: Path, force: bool, output: Output) -> None:
    """Raises OutputError where the target could not be put or encoded, before any work is done."""
    form = format_of(target)
    if output.encoder == "hardware":
        if form is None or form.suffix != ".mp4":
            raise UsageError(f"hardware encodes .mp4 alone, and {target.name} is none")
        if output.loop:
            raise UsageError("a loop has all its frames coded alike: leave out --encoder hardware")
        encoder_of(output)
    if form:
        check_file(target, force)
        return
    _check_folder(target, "-o dream.mp4")
    if target.exists() and not target.is_dir():
        raise OutputError(
            f"{target} is a file: name a folder, or end the name in .mp4, .webm or .gif"
        )
    if target.is_dir() and (strange := _strangers(target)):
        raise OutputError(f"{target} holds {strange[0]}, which is no frame: name a new folder")
    _check_free(target, force)


def check_file(target: Path, force: bool) -> None:
    """Raises OutputError where a file could not be put, before any work is done."""
    _check_folder(target, f"-o dream{target.suffix}")
    if target.is_dir():
        raise OutputError(f"{target} is a folder: name a file")
    _check_free(target, force)


def _check_folder(target: Path, such: str) -> None:
    folder = target.absolute().parent
    if target.name in ("", ".."):
        raise UsageError(f'"{target}" has no name: write to a file or a new folder, as in {such}')
    if not folder.is_dir():
        raise OutputError(f"{folder} is not a folder: create it, or write elsewhere")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{folder} may not be written to: choose another folder")


def _check_free(target: Path, force: bool) -> None:
    if _taken(target) and not force:
        raise OutputError(
            f"{target} is there already: add --force to replace it, or take another name"
        )


def _taken(target: Path) -> bool:
    return any(target.iterdir()) if target.is_dir() else target.exists()


def _strangers(folder: Path) -> list[str]:
    """What is in a folder but frames of a film; such a folder is never replaced."""
    return sorted(p.name for p in folder.iterdir() if not re.fullmatch(r"\d{6}\.png", p.name))


@dataclass(frozen=True)
class Order:
    """What is to be written, and where."""

    target: Path
    output: Output
    size: tuple[int, int]  # (height, width), as `fitting` gives it
    fps: Fraction  # likewise
    frames: int  # about how many there will be
    early: int = 0  # frames that come before the first and are kept, but not shown
    sound: Sound | None = None  # cut to the film's length; formats without sound leave it out
    label: str = ""  # what is rendered, as TOML, which is put beside the film as NAME.toml
    comment: str = ""  # the same for the film's own metadata
    check: Callable[[Path], None] | None = None  # looks at the finished film and may raise

    @property
    def reel(self) -> Reel:
        return Reel(self.size, self.fps, self.early)

    @property
    def facts(self) -> Line:
        """What has to be known to join the film without its job."""
        sound = self.sound and [
            str(self.sound.path.absolute()),
            self.sound.codec,
            str(self.sound.start),
        ]
        return {
            "size": self.size,
            "fps": str(self.fps),
            "early": self.early,
            "sound": sound,
            "quality": self.output.quality,
            "encoder": self.output.encoder,
        }

    @classmethod
    def of(cls, target: Path, facts: Line) -> Self:
        """The order that an interrupted render was begun with, as far as joining needs it."""
        height, width = facts["size"]
        sound = facts["sound"]
        if sound:
            sound = Sound(Path(sound[0]), sound[1], Fraction(sound[2]))
        output = Output(quality=facts["quality"], encoder=facts.get("encoder", "software"))
        return cls(
            target, output, (height, width), Fraction(facts["fps"]), 0, facts["early"], sound
        )

    def room(self, done: int) -> int:
        """Bytes of disk that it still needs, about, once so many frames are there."""
        form, left = format_of(self.target) or PICTURES, self.frames - max(done, 0)
        pixels, rate = self.size[0] * self.size[1], 2 ** ((STANDARD - self.output.quality) / 6)
        coded = pixels * (form.bulk if form.even else form.bulk / rate) * rate
        raw = (
            min(2 * self.reel.length, left) + (self.early if done < 0 else 0)
        ) * self.reel.frame_bytes
        joined = 0 if form is PICTURES else self.frames
        return round(raw + 3 * STATE * pixels + coded * (left + joined))


@contextlib.contextmanager
def open_press(
    order: Order, passport: Mapping[str, str], resume: bool = False, force: bool = False
) -> Iterator["Press"]:
    """A press for a film, with a journal beside it, which goes when the film has its name.

    passport: what has to be the same for a render to go on. resume: whether it does, where there is
    something to go on with. force: begin anew where an older render was interrupted, and replace what has
    the film's name. Raises OutputError, and UsageError where the passport is another.
    """
    folder, target = folder_of(order.target), order.target
    with contextlib.ExitStack() as stack:
        with clear_words(target):
            stack.enter_context(locked(folder))
            journal = _journal(folder, order, passport, resume, force)
            state = journal.recover() if resume else None
            if state is None:
                clear(folder)
            free, needed = shutil.disk_usage(folder).free, order.room(journal.frame)
            if free < needed:
                raise OutputError(
                    f"{target} needs about {_bytes(needed)} while it is made, and {_bytes(free)} are free "
                    "there: make room, or write elsewhere"
                )
            if state is None:
                journal.begin(passport, order.label, order.facts)
        press = Press(order, journal, state)
        try:
            press.catch_up()
            yield press
        except Exception:  # what was given before is good, whatever has gone wrong since
            with contextlib.suppress(Exception):
                press.settle()
            raise
        finally:
            press.stop()
            if press.whole or journal.committed is None:
                clear(folder)


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _journal(
    folder: Path, order: Order, passport: Mapping[str, str], resume: bool, force: bool
) -> Journal:
    """The journal that lies in a folder, if it may be gone on with or replaced."""
    old = passport_of(folder)
    if old and resume and (changed := differences(old, passport)):
        raise UsageError(
            f"{order.target} was begun otherwise ({'; '.join(changed)}): render it with what it was begun "
            "with, or begin anew with --force and without --resume"
        )
    if old and not resume and not force:
        raise OutputError(
            f"{order.target} was interrupted once: --resume goes on with it, --force begins anew"
        )
    return Journal(folder, order.reel)


def settled(target: Path, resume: bool) -> bool:
    """Clears up after a render that was killed once its film had its name; True where that is the answer.

    Raises OutputError where the folder cannot be removed.
    """
    folder = folder_of(target)
    lines = read_lines(folder)
    part = folder / f"film{target.suffix.lower()}"
    whole = any("whole" in line for line in lines) and not part.exists()
    empty = folder.is_dir() and {path.name for path in folder.iterdir()} <= {"lock"}
    if not (whole or empty) or not target.exists():
        return False
    with clear_words(target), locked(folder):
        clear(folder)
    return resume and whole


def interrupted(target: Path) -> str:
    """The job of a film that was begun, as a preset's text; raises UsageError where there is none."""
    for line in read_lines(folder_of(target)):
        if "job" in line:
            return str(line["job"])
    if target.exists():
        raise UsageError(f"{target} is whole: there is nothing to go on with")
    raise UsageError(f"no render of {target} was interrupted: {folder_of(target)} is not there")


def join_now(target: Path) -> tuple[Path, int]:
    """Joins what is safe of an interrupted film, or of one that is being rendered, for a look.

    It becomes NAME.so-far.EXT beside it, which is replaced where it is there; returns that, and how many
    frames it has. Raises UsageError, OutputError.
    """
    interrupted(target)
    folder = folder_of(target)
    shown = target.with_name(f"{target.stem}.so-far{target.suffix}")
    lines = read_lines(folder)
    begun = next((line for line in lines if "order" in line), None)
    commit = next((line for line in reversed(lines) if "state" in line), None)
    if begun is None or commit is None or commit["frame"] <= 0:
        raise UsageError(f"nothing of {target} can be watched yet: no frame is safe")
    order = Order.of(shown, begun["order"])
    if order.sound and not order.sound.path.is_file():
        order = dataclasses.replace(order, sound=None)
    form = format_of(shown) or PICTURES
    with (
        clear_words(shown),
        tempfile.TemporaryDirectory(
            dir=target.absolute().parent, prefix=f".{shown.name}-"
        ) as scratch,
    ):
        files = []
        encoded = {line["segment"]: line["file"] for line in lines if "segment" in line}
        for segment in range(order.reel.segment(commit["frame"] - 1) + 1):
            if segment in encoded:
                files.append(encoded[segment])
                _share(folder / files[-1], Path(scratch) / files[-1])
            else:
                frames, _ = commit["raw"][str(segment)]
                raw = Journal(folder, order.reel).raw(segment)
                encoding = _Encoding(order, form, Path(scratch), segment, raw)
                encoding.go_on(frames, full=True)
                files.append(encoding.finish())
        part = join(order, form, Path(scratch), files, commit["frame"])
        remove(shown)
        part.replace(shown)
    return shown, commit["frame"]


def _share(source: Path, target: Path) -> None:
    """A file or folder under another name, too."""
    if not source.is_dir():
        _link(source, target)
        return
    target.mkdir()
    for file in source.iterdir():
        _link(file, target / file.name)


class Press:
    """Takes a film's Frames into a journal, encodes each segment as it comes, joins them at the end.

    Both go on beside the dreaming; what goes wrong there is raised by the next call. All methods raise
    OutputError. state: where an interrupted render goes on from.
    """

    def __init__(self, order: Order, journal: Journal, state: State | None = None) -> None:
        self._order, self._journal, self.state = order, journal, state
        self._form = format_of(order.target) or PICTURES
        self._running: _Encoding | None = None
        self._committed = time.monotonic()
        self.frame = journal.frame  # the number of the next one that it takes
        self.whole = False
        self._clerk = Behind()

    def catch_up(self) -> None:
        """Encodes what an interrupted render had no time for."""
        for segment in self._journal.waiting:
            self._encode(segment, full=True)

    @property
    def notes(self) -> list[str]:
        """What a person should know about the journal that was found."""
        return self._journal.notes

    def early(self) -> Iterator[Bytes]:
        """The frames before the first one, as far as they are there."""
        return self._journal.early()

    def add(self, frame: Frame) -> None:
        """Takes the next frame of the film."""
        size = self._order.size
        if tuple(frame.shape[2:]) != size:
            raise OutputError(
                f"a frame is {tuple(frame.shape[2:])} instead of {size} (height, width)"
            )
        self._clerk.do(partial(self._take, leaving(frame)))
        self.frame += 1

    def _take(self, picture: Callable[[], Bytes]) -> None:
        segment = self._journal.reel.segment(self._journal.frame)
        with clear_words(self._order.target):
            full = self._journal.add(picture())
        if segment >= 0:
            self._encode(segment, full)

    @property
    def due(self) -> bool:
        """Whether it is time to commit."""
        return time.monotonic() - self._committed > COMMIT_EVERY

    def commit(self, state: State) -> None:
        """Makes all frames up to now safe, soon. state: what the next one is made from."""
        kept = {name: value.clone() for name, value in state.items()}
        self._clerk.do(partial(self._commit, kept))
        self._committed = time.monotonic()

    def _commit(self, state: State) -> None:
        with clear_words(self._order.target):
            self._journal.commit(state)

    def settle(self) -> None:
        """Waits until all that was given is in the journal, and what was committed is safe."""
        self._clerk.settle()

    def finish(self, force: bool = False) -> None:
        """Joins the film, looks at it, and gives it its name; without `force` only where none is there."""
        self.settle()
        journal, order = self._journal, self._order
        with clear_words(order.target):
            journal.rest()
        last = journal.reel.segment(journal.frame)
        if journal.frame > journal.reel.first(last) and last not in journal.segments:
            self._encode(last, full=True)
        self._wait()
        files = list(journal.segments.values())
        try:
            part = join(order, self._form, journal.folder, files, journal.frame)
            if order.check:
                order.check(part)
            self._place(part, force)
        except OutputError:
            remove(journal.folder / f"film{self._form.suffix}")  # the disk may be full
            raise
        self.whole = True

    def _place(self, part: Path, force: bool) -> None:
        target = self._order.target
        with clear_words(target):
            if not force and _taken(target):
                raise OutputError(
                    f"{target} has been written by someone else meanwhile: zoomdream resume "
                    f"{target} --force replaces it"
                )
            _place(part, self._order, self._journal)

    def _encode(self, segment: int, full: bool) -> None:
        """Encodes what has come of a segment, once the one before it is done.

        Only a full one is waited for; until then its frames are in the journal.
        """
        running = self._running
        if running and (running.stopped or (full and running.segment != segment)):
            self._wait()
        if self._running is None:
            journal = self._journal
            with clear_words(self._order.target):
                self._running = _Encoding(
                    self._order, self._form, journal.folder, segment, journal.raw(segment)
                )
        if self._running.segment == segment:
            self._running.go_on(self._journal.there(segment), full)

    def _wait(self) -> None:
        if self._running:
            with clear_words(self._order.target):
                self._journal.close(self._running.segment, self._running.finish())
            self._running = None

    def stop(self) -> None:
        """Ends what still runs; what is committed stays."""
        over = OutputError(f"{self._order.target} is no longer written")
        self._clerk.refuse(over)
        if running := self._running:
            running.kill()
        self._clerk.stop(over)
        if running := self._running:  # a last one may have begun meanwhile
            running.kill()
        with contextlib.suppress(OSError):
            self._journal.rest()


class _Encoding:
    """A segment on its way from raw frames to a closed file, which is believed once it is looked at.

    Its frames are read from the journal as they come, `SHARE` at a time, on a thread of its own.
    """

    def __init__(self, order: Order, form: Format, folder: Path, segment: int, raw: Path) -> None:
        self.segment, self._folder = segment, folder
        self._target = order.target
        self._name = f"segment-{segment:06d}{form.segment}"
        self._part = f"{os.getpid()}-{self._name}"
        self._frames, self._full, self._come = 0, False, threading.Condition()
        self._fault: str | None = None  # why frames could not be read again
        remove(folder / self._part)
        first: tuple[str, ...] = ()
        output = self._part
        if form is PICTURES:
            (folder / self._part).mkdir()
            first = ("-start_number", str(order.reel.first(segment)))
            output = f"{self._part}/%06d.png"
        height, width = order.size
        source = raw.open("rb")
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (`finish` and `kill` close it)
        self._process = start(
            command(
                "-y", "-f", "rawvideo", "-pix_fmt", "rgb24",
                "-video_size", f"{width}x{height}", "-framerate", str(order.fps), "-i", "-",
                *form.options(order.output), *first, "-f", form.segment_muxer, output,
            ),
            self._said, folder, giving=True,
        )  # fmt: skip
        self._feeder = threading.Thread(
            target=self._feed, args=(source, order.reel.frame_bytes), name="feeder", daemon=True
        )
        self._feeder.start()

    @property
    def stopped(self) -> bool:
        """Whether ffmpeg has ended, for better or worse."""
        return self._process.poll() is not None

    def go_on(self, frames: int, full: bool) -> None:
        """So many frames of it are there now; `full` when no more will come."""
        with self._come:
            self._frames, self._full = frames, full
            self._come.notify()

    def _feed(self, source: BinaryIO, size: int) -> None:
        sink = self._process.stdin
        assert sink is not None
        with source, contextlib.suppress(OSError), sink:  # ffmpeg or `_fault` says why
            fed = 0
            while (there := self._come_since(fed)) > fed:
                for _ in range(fed, there):
                    sink.write(self._read(source, size))
                fed = there

    def _read(self, source: BinaryIO, size: int) -> bytes:
        """The next frame; raises OSError where it is not there."""
        try:
            content = source.read(size)
        except OSError as error:
            self._fault = error.strerror or str(error)
            raise
        if len(content) < size:
            self._fault = "the file is too short"
            raise OSError(self._fault)
        return content

    def _come_since(self, fed: int) -> int:
        """Waits for a share of frames; how many there are by then, `fed` where no more will come."""
        with self._come:
            self._come.wait_for(lambda: self._full or self._frames >= fed + SHARE, LATEST)
            self._come.wait_for(lambda: self._full or self._frames > fed)
            return self._frames

    def finish(self) -> str:
        """Waits for it; the name of the file."""
        code = self._end()
        with self._said as said:
            said.seek(0)
            told = said.read()
        part = self._folder / self._part
        if self._fault:
            raise OutputError(
                f"{self._target} cannot be written: frames that wait in {self._folder} cannot be read "
                f"again ({self._fault})"
            )
        if code != 0:
            raise OutputError(f"{self._target} cannot be written: {complaint(told)}")
        found = len(list(part.iterdir())) if part.is_dir() else count_frames(part)
        if found != self._frames:
            raise OutputError(
                f"{self._target} cannot be written: a segment holds {found} frames of {self._frames}; "
                "is the disk full?"
            )
        for file in part.iterdir() if part.is_dir() else (part,):
            flush_file(file)
        remove(self._folder / self._name)
        part.replace(self._folder / self._name)
        return self._name

    def _end(self) -> int:
        """Waits for ffmpeg, which may have died early, and for the feeder; ffmpeg's exit code."""
        code = self._process.wait()
        self.go_on(self._frames, full=True)
        self._feeder.join()
        return code

    def kill(self) -> None:
        self._process.kill()
        self._end()
        self._said.close()


def join(order: Order, form: Format, folder: Path, files: list[str], frames: int) -> Path:
    """Segments become a film in their folder, as they are; sound is laid to it.

    A GIF has its colours chosen and is encoded here. Raises OutputError.
    """
    part = folder / f"film{form.suffix}"
    with clear_words(order.target):
        remove(part)
        if form is PICTURES:
            part.mkdir()
            for picture in (picture for name in files for picture in (folder / name).iterdir()):
                _link(picture, part / picture.name)
            return part
        (folder / "segments.txt").write_text("".join(f"file '{name}'\n" for name in files))
    sound = order.sound if form.sound else None
    how: tuple[str, ...] = ()
    laid: tuple[str, ...] = ()
    if sound:
        how = ("copy",) if sound.codec in form.sounds else form.sound
        begin = ("-ss", f"{float(sound.start):.6f}") if sound.start > 0 else ()
        laid = (*begin, *given(sound.path))
    made = subprocess.run(
        command(
            "-nostdin", "-y", "-f", "concat", "-i", "segments.txt", *laid,
            "-map", "0:v:0", *(("-map", "1:a:0", "-c:a", *how) if sound else ()),
            *form.joined(frames * order.size[0] * order.size[1]),
            *(("-t", f"{float(frames / order.fps):.6f}") if sound else ()),
            *(("-metadata", f"comment={order.comment}") if order.comment else ()),
            "-f", form.muxer, part.name,
        ),
        capture_output=True, check=False, cwd=folder,
    )  # fmt: skip
    if made.returncode != 0:
        about = "; --no-audio leaves out its sound" if sound else ""
        raise OutputError(f"{order.target} cannot be written: {complaint(made.stderr)}{about}")
    found = count_frames(part)
    if found != frames:
        raise OutputError(
            f"{order.target} cannot be written: it holds {found} frames of {frames}; is the disk full?"
        )
    return part


def _link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where the system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _place(part: Path, order: Order, journal: Journal) -> None:
    """Gives a finished film its name, at one stroke; a folder's old frames go after that."""
    target = order.target.absolute()
    if part.is_file():
        flush_file(part)
    if order.label:
        put(target.with_name(f"{target.name}.toml"), order.label.encode())
    journal.finish()
    old = journal.folder / "old"
    if part.is_dir() and target.is_dir():
        target.replace(old)
    try:
        part.replace(target)
    except OSError:
        if old.is_dir():
            old.replace(target)
        raise
    flush_folder(target.parent)


@contextlib.contextmanager
def clear_words(target: Path) -> Iterator[None]:
    """The system's own errors, in a sentence."""
    try:
        yield
    except OSError as error:
        full = error.errno == errno.ENOSPC
        reason = "the disk is full" if full else error.strerror or error
        raise OutputError(f"{target} cannot be written: {reason}") from None
