"""The writer of a film: takes its frames, keeps them safe, and makes a film of them.

Frames go into a journal, and each segment is encoded beside the dreaming as its frames come. At the end the
segments are joined as they are, and the film takes its name in one rename: what has the name is whole. The
journal goes once the film was read back under its name.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from zoomdream.errors import OutputError
from zoomdream.files import (
    digest,
    flush_file,
    is_taken,
    readable_errors,
    remove,
    write_atomically,
)
from zoomdream.film.encoder import SegmentEncoder, join_segments, joined_file, place_joined
from zoomdream.film.film_spec import FRAME_NAMES, FilmSpec
from zoomdream.film.journal import (
    Journal,
    State,
    clear_journal,
    journal_folder,
    locked_journal,
    raw_file,
)
from zoomdream.film.resume import check_interrupted
from zoomdream.film.target_check import label_of
from zoomdream.media.frame import Frame, ImageArray, start_readback
from zoomdream.media.sound import take_sound
from zoomdream.pipeline import BackgroundWorker
from zoomdream.size import Size

COMMIT_SECONDS = 5.0  # between two commits


@contextlib.contextmanager
def open_writer(
    spec: FilmSpec,
    identity: Mapping[str, str],
    resume: bool = False,
    force: bool = False,
    commit_seconds: float = COMMIT_SECONDS,
) -> Iterator["FilmWriter"]:
    """Opens a writer for a film, with a journal beside it that goes once the film has its name.

    identity: what has to be the same for a render to go on. resume: whether it goes on, where there is
    something to go on with. force: begins anew where an older render was interrupted. commit_seconds: see
    `FilmWriter.commit_due`. Raises OutputError, and UsageError where the identity is another.
    """
    folder, target = journal_folder(spec.target), spec.target
    with contextlib.ExitStack() as stack:
        with readable_errors(target):
            stack.enter_context(locked_journal(folder))
            check_interrupted(target, identity, resume, force)
            journal = Journal(folder, spec.plan)
            state = journal.recover() if resume else None
            if state is None:
                clear_journal(folder)
            _check_disk_space(spec, journal)
            if state is None:
                try:
                    journal.begin(identity, spec.label, spec.record)
                except OSError:
                    clear_journal(folder)
                    raise
        writer = FilmWriter(spec, journal, state, commit_seconds)
        try:
            writer.take_sound()
            writer.encode_waiting()
            yield writer
        except Exception as error:  # what was added before is good, whatever has gone wrong since
            with contextlib.suppress(Exception):
                writer.flush()
            if type(error) is OutputError and journal.committed and "`" not in str(error):
                raise OutputError(
                    f"{error}; {journal.committed} frames are safe; to go on: `resume=True`"
                ) from error
            raise
        finally:
            writer.close()
            if writer.placed or journal.committed is None:
                clear_journal(folder)


def _check_disk_space(spec: FilmSpec, journal: Journal) -> None:
    free, needed = shutil.disk_usage(journal.folder).free, spec.disk_space(journal.frame)
    if free < needed:
        raise OutputError(
            f"{spec.target} needs about {_bytes(needed)} while it is made, and {_bytes(free)} are free "
            "there: make room, or write elsewhere"
        )


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


class FilmWriter:
    """Takes a film's Frames into a journal, encodes each segment as it comes, and joins them at the end.

    Keeping and encoding go on beside the caller; what goes wrong there is raised by the next call. All
    methods raise OutputError. state: from which an interrupted render goes on; None for a new one.
    """

    def __init__(
        self,
        spec: FilmSpec,
        journal: Journal,
        state: State | None = None,
        commit_seconds: float = COMMIT_SECONDS,
    ) -> None:
        self._spec, self._journal, self.state = spec, journal, state
        self._commit_seconds, self._last_commit = commit_seconds, time.monotonic()
        self._encoder: SegmentEncoder | None = None  # of the segment that is being encoded
        self.frame = journal.frame  # the number of the next one that it takes
        self.placed = False  # whether the film has its name
        self._worker = BackgroundWorker()

    @property
    def notes(self) -> list[str]:
        """What a person should know about the journal of an interrupted render, and about the sound."""
        entry = self._journal.sound if self._spec.sound else None
        return [*self._journal.notes, *filter(None, [entry and entry["sound"]])]

    def early_frames(self) -> Iterator[ImageArray]:
        """Yields the frames before the first one, as far as an interrupted render has them."""
        return self._journal.early_frames()

    # --- Frames

    def add(self, frame: Frame) -> None:
        """Takes the next frame of the film."""
        size = self._spec.size
        if Size.of(frame) != size:
            raise OutputError(f"a frame is {Size.of(frame)} instead of {size}")
        self._worker.submit(partial(self._add, start_readback(frame)))
        self.frame += 1

    def _add(self, read_back: Callable[[], ImageArray]) -> None:
        segment = self._journal.plan.segment(self._journal.frame)
        with readable_errors(self._spec.target):
            full = self._journal.add(read_back())
        if segment >= 0:
            self._encode(segment, full)

    @property
    def commit_due(self) -> bool:
        """Whether the last commit is more than `commit_seconds` ago."""
        return time.monotonic() - self._last_commit > self._commit_seconds

    def commit(self, state: State) -> None:
        """Makes all frames added so far safe, soon. state: what the next one is made from."""
        copy = {name: value.clone() for name, value in state.items()}
        self._worker.submit(partial(self._commit, copy))
        self._last_commit = time.monotonic()

    def _commit(self, state: State) -> None:
        with readable_errors(self._spec.target):
            self._journal.commit(state)

    def flush(self) -> None:
        """Waits until all that was added is in the journal, and what was committed is safe."""
        self._worker.flush()

    def take_sound(self) -> None:
        """Takes the clip's sound into the journal, where it is not there yet."""
        spec, journal = self._spec, self._journal
        if spec.sound is None or not spec.format.sound or journal.sound:
            return
        seconds = None if spec.frames is None else spec.frames / spec.fps
        file = journal.folder / f"sound{spec.format.suffix}"
        with readable_errors(spec.target):
            taken = take_sound(spec.sound, spec.format, seconds, file)
            if taken.file:
                flush_file(taken.file)
            journal.add_sound(taken.file.name if taken.file else "", taken.note)

    # --- Segments

    def encode_waiting(self) -> None:
        """Encodes the segments that an interrupted render had no time for."""
        for segment in self._journal.waiting:
            self._encode(segment, full=True)

    def _encode(self, segment: int, full: bool) -> None:
        """Has the frames of a segment encoded that have come so far.

        While the segment before it is still being encoded, only a full one is worth waiting; until then
        its frames are in the journal.
        """
        encoder = self._encoder
        if encoder and (encoder.has_exited or (full and encoder.segment != segment)):
            self._finish_segment()
        if self._encoder is None:
            folder = self._journal.folder
            with readable_errors(self._spec.target):
                raw = raw_file(folder, segment)
                self._encoder = SegmentEncoder(self._spec, folder, segment, raw)
        if self._encoder.segment == segment:
            self._encoder.update(self._journal.frames_in(segment), full)

    def _finish_segment(self) -> None:
        if self._encoder:
            with readable_errors(self._spec.target):
                self._journal.add_segment(self._encoder.segment, self._encoder.finish())
            self._encoder = None

    # --- The film

    def join(self) -> Path:
        """Joins all segments, and returns the film, which is whole but has not got its name yet.

        It is a file, or a folder of PNG, that is gone with the journal, or when the writer is closed.
        """
        self.flush()
        journal, spec = self._journal, self._spec
        with readable_errors(spec.target):
            journal.close_raw()
        last = journal.plan.segment(journal.frame)
        if journal.frame > journal.plan.first(last) and last not in journal.encoded:
            self._encode(last, full=True)
        self._finish_segment()
        entry = journal.sound if spec.sound else None
        sound = journal.folder / entry["file"] if entry and "file" in entry else None
        files = list(journal.encoded.values())
        return join_segments(spec, journal.folder, files, journal.frame, sound)

    def place(self, force: bool = False) -> None:
        """Gives the joined film its name. force: replaces what has that name."""
        target = self._spec.target
        with readable_errors(target):
            if not force and is_taken(target):
                raise OutputError(
                    f"{target} has been written by someone else meanwhile: `resume=True` "
                    "and `force=True` replace it"
                )
            _place(self._spec, self._journal)
        self.placed = True

    def close(self) -> None:
        """Ends what still runs, and removes a film that was joined but not placed.

        What is committed stays.
        """
        error = OutputError(f"{self._spec.target} is no longer written")
        self._worker.cancel(error)
        if encoder := self._encoder:
            encoder.kill()
        self._worker.stop(error)
        if encoder := self._encoder:  # the last task may have begun one meanwhile
            encoder.kill()
        with contextlib.suppress(OSError):
            self._journal.close_raw()
        if not self._journal.finished:
            with contextlib.suppress(OSError):  # the disk may be full
                remove(joined_file(self._spec, self._journal.folder))


def _place(spec: FilmSpec, journal: Journal) -> None:
    """Gives a joined film its name, and reads it back; what had the name is gone then.

    The journal knows the film's checksum before: whoever finds the two later can tell whether that was done.
    """
    film = joined_file(spec, journal.folder)
    if spec.label:
        write_atomically(label_of(spec.target), spec.label.encode())
    journal.finish(digest(film, FRAME_NAMES))
    place_joined(film, spec.target, journal.folder / "old")
