"""The press: Frames become a film, and sound is laid to it.

Frames go into a journal, and each segment is encoded as its frames come. At the end
the segments are joined as they are, and the film takes its name in one rename, once it was looked at and
holds as many frames as were sent: what has the name is whole.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from zoomdream.errors import OutputError, UsageError
from zoomdream.files import (
    flush_file,
    flush_folder,
    is_taken,
    readable_errors,
    remove,
    write_atomically,
)
from zoomdream.film.encoder import SegmentEncoder, join_segments
from zoomdream.film.journal import (
    Journal,
    State,
    clear_journal,
    differences,
    identity_of,
    journal_folder,
    locked_journal,
)
from zoomdream.film.spec import FilmSpec
from zoomdream.media.film_formats import PNG_FOLDER, film_format
from zoomdream.media.frame import Frame, ImageArray, start_readback
from zoomdream.pipeline import BackgroundWorker
from zoomdream.size import Size

COMMIT_EVERY = 5.0  # seconds


@contextlib.contextmanager
def open_writer(
    spec: FilmSpec, identity: Mapping[str, str], resume: bool = False, force: bool = False
) -> Iterator["FilmWriter"]:
    """A press for a film, with a journal beside it, which goes when the film has its name.

    identity: what has to be the same for a render to go on. resume: whether it does, where there is
    something to go on with. force: begin anew where an older render was interrupted, and replace what has
    the film's name. Raises OutputError, and UsageError where the passport is another.
    """
    folder, target = journal_folder(spec.target), spec.target
    with contextlib.ExitStack() as stack:
        with readable_errors(target):
            stack.enter_context(locked_journal(folder))
            journal = _journal(folder, spec, identity, resume, force)
            state = journal.recover() if resume else None
            if state is None:
                clear_journal(folder)
            free, needed = shutil.disk_usage(folder).free, spec.room(journal.frame)
            if free < needed:
                raise OutputError(
                    f"{target} needs about {_bytes(needed)} while it is made, and {_bytes(free)} are free "
                    "there: make room, or write elsewhere"
                )
            if state is None:
                journal.begin(identity, spec.label, spec.facts)
        writer = FilmWriter(spec, journal, state)
        try:
            writer.catch_up()
            yield writer
        except Exception:  # what was given before is good, whatever has gone wrong since
            with contextlib.suppress(Exception):
                writer.settle()
            raise
        finally:
            writer.stop()
            if writer.whole or journal.committed is None:
                clear_journal(folder)


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _journal(
    folder: Path, spec: FilmSpec, identity: Mapping[str, str], resume: bool, force: bool
) -> Journal:
    """The journal that lies in a folder, if it may be gone on with or replaced."""
    old = identity_of(folder)
    if old and resume and (changed := differences(old, identity)):
        raise UsageError(
            f"{spec.target} was begun otherwise ({'; '.join(changed)}): render it with what it was begun "
            "with, or begin anew with --force and without --resume"
        )
    if old and not resume and not force:
        raise OutputError(
            f"{spec.target} was interrupted once: --resume goes on with it, --force begins anew"
        )
    return Journal(folder, spec.plan)


class FilmWriter:
    """Takes a film's Frames into a journal, encodes each segment as it comes, joins them at the end.

    Both go on beside the dreaming; what goes wrong there is raised by the next call. All methods raise
    OutputError. state: where an interrupted render goes on from.
    """

    def __init__(self, spec: FilmSpec, journal: Journal, state: State | None = None) -> None:
        self._spec, self._journal, self.state = spec, journal, state
        self._form = film_format(spec.target) or PNG_FOLDER
        self._running: SegmentEncoder | None = None
        self._committed = time.monotonic()
        self.frame = journal.frame  # the number of the next one that it takes
        self.whole = False
        self._worker = BackgroundWorker()

    def catch_up(self) -> None:
        """Encodes what an interrupted render had no time for."""
        for segment in self._journal.waiting:
            self._encode(segment, full=True)

    @property
    def notes(self) -> list[str]:
        """What a person should know about the journal that was found."""
        return self._journal.notes

    def early(self) -> Iterator[ImageArray]:
        """The frames before the first one, as far as they are there."""
        return self._journal.early()

    def add(self, frame: Frame) -> None:
        """Takes the next frame of the film."""
        size = self._spec.size
        if Size.of(frame) != size:
            raise OutputError(f"a frame is {Size.of(frame)} instead of {size}")
        self._worker.do(partial(self._take, start_readback(frame)))
        self.frame += 1

    def _take(self, picture: Callable[[], ImageArray]) -> None:
        segment = self._journal.plan.segment(self._journal.frame)
        with readable_errors(self._spec.target):
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
        self._worker.do(partial(self._commit, kept))
        self._committed = time.monotonic()

    def _commit(self, state: State) -> None:
        with readable_errors(self._spec.target):
            self._journal.commit(state)

    def settle(self) -> None:
        """Waits until all that was given is in the journal, and what was committed is safe."""
        self._worker.settle()

    def finish(self, force: bool = False) -> None:
        """Joins the film, looks at it, and gives it its name; without `force` only where none is there."""
        self.settle()
        journal, spec = self._journal, self._spec
        with readable_errors(spec.target):
            journal.rest()
        last = journal.plan.segment(journal.frame)
        if journal.frame > journal.plan.first(last) and last not in journal.segments:
            self._encode(last, full=True)
        self._wait()
        files = list(journal.segments.values())
        try:
            part = join_segments(spec, self._form, journal.folder, files, journal.frame)
            if spec.check:
                spec.check(part)
            self._place(part, force)
        except OutputError:
            remove(journal.folder / f"film{self._form.suffix}")  # the disk may be full
            raise
        self.whole = True

    def _place(self, part: Path, force: bool) -> None:
        target = self._spec.target
        with readable_errors(target):
            if not force and is_taken(target):
                raise OutputError(
                    f"{target} has been written by someone else meanwhile: zoomdream resume "
                    f"{target} --force replaces it"
                )
            _place(part, self._spec, self._journal)

    def _encode(self, segment: int, full: bool) -> None:
        """Encodes what has come of a segment, once the one before it is done.

        Only a full one is waited for; until then its frames are in the journal.
        """
        running = self._running
        if running and (running.stopped or (full and running.segment != segment)):
            self._wait()
        if self._running is None:
            journal = self._journal
            with readable_errors(self._spec.target):
                self._running = SegmentEncoder(
                    self._spec, self._form, journal.folder, segment, journal.raw(segment)
                )
        if self._running.segment == segment:
            self._running.go_on(self._journal.there(segment), full)

    def _wait(self) -> None:
        if self._running:
            with readable_errors(self._spec.target):
                self._journal.close(self._running.segment, self._running.finish())
            self._running = None

    def stop(self) -> None:
        """Ends what still runs; what is committed stays."""
        over = OutputError(f"{self._spec.target} is no longer written")
        self._worker.refuse(over)
        if running := self._running:
            running.kill()
        self._worker.stop(over)
        if running := self._running:  # a last one may have begun meanwhile
            running.kill()
        with contextlib.suppress(OSError):
            self._journal.rest()


def _place(part: Path, spec: FilmSpec, journal: Journal) -> None:
    """Gives a finished film its name, at one stroke; a folder's old frames go after that."""
    target = spec.target.absolute()
    if part.is_file():
        flush_file(part)
    if spec.label:
        write_atomically(target.with_name(f"{target.name}.toml"), spec.label.encode())
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
