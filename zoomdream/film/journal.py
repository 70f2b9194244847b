"""The journal of a render: what of it is safe on disk, and from where it can go on.

While a film is made there lies beside it, in NAME.zoomdream/,

    job.toml            what is rendered, as a preset
    journal             an entry a line, with its own checksum; the first one names the journal's format
    frames-000002.rgb   raw frames of a segment, as they come
    segment-000001.mp4  a segment of the film, encoded and checked
    sound.mp4           the clip's sound, as it will be in the film
    state-000150        the state that frame 150 is made from, in float
    lock                held as long as the process lives; lock.owner where the file system has no locks

Frames are committed every few seconds, wherever a segment is (see `spec.SegmentPlan`). A file is written
under another name, flushed, renamed, and the folder flushed, before the journal says that it is there.
Where an entry is torn, or its files are not what it says, an older entry counts. Raw frames and states
stay until what takes their place has been committed twice.
"""

import errno
import hashlib
import json
import os
import shutil
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import filelock
import numpy as np
import safetensors.torch
from torch import Tensor

from zoomdream.errors import OutputError, UsageError
from zoomdream.files import (
    JOURNAL,
    companion,
    digest,
    flush,
    flush_folder,
    link_target,
    remove,
    running_digest,
    write_atomically,
)
from zoomdream.film.film_spec import SegmentPlan
from zoomdream.media.frame import ImageArray

JOURNAL_FORMAT = 2  # 0.1.0 named none
LOCK, OWNER = "lock", "lock.owner"  # files: the system's lock, and what stands in for it
LOCKS = frozenset({LOCK, OWNER})
_WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
ENTRIES_HELD = 1000  # entries before the last commit but one that are held in memory

State = dict[str, Tensor]
"""What the next frame is made from, besides the source and the settings."""

Entry = dict[str, Any]
"""A line of a journal. One of five kinds, told apart by a key of its own:

    format   the first: its `identity`, `job` and `film` say what is rendered
    state    a commit: all before `frame` is safe; `raw` has, for each segment with raw frames, how many
             and their checksum
    segment  a segment is encoded, in `file`
    sound    the clip's sound is in `file`, or without one left out; with a note about it
    whole    the film is joined, and about to take its name; `sha256` tells whether it has
"""


def journal_folder(target: Path) -> Path:
    """Returns the folder in which a film's journal lies."""
    return companion(link_target(target), JOURNAL)


def raw_file(folder: Path, segment: int) -> Path:
    """Returns the file of a segment's raw frames."""
    return folder / f"frames-{'early' if segment < 0 else f'{segment:06d}'}.rgb"


class Journal:
    """Writes down what of a render is safe. `frame` is the number of the next frame that it takes.

    A new one is empty; `recover` finds out what an older one holds. All methods may raise OSError.
    """

    def __init__(self, folder: Path, plan: SegmentPlan) -> None:
        self.folder, self.plan = folder, plan
        self.frame = -plan.early
        self.committed: int | None = None  # all frames before this one are safe
        self.finished = False  # whether the film is joined, and about to take its name
        self.notes: list[str] = []  # what a person should know about an older one
        self._entries: list[Entry] = []  # that hold
        self._raw: BinaryIO | None = None  # the open file of raw frames
        self._digests: dict[int, Any] = {}  # running SHA-256 of each segment that has raw frames

    # --- Writing

    def begin(self, identity: Mapping[str, str], job: str, film: Mapping[str, Any]) -> None:
        """Writes the first entry of a new render.

        identity: what has to be the same when it goes on. job: as TOML. film: `FilmSpec.record`.
        """
        write_atomically(self.folder / "job.toml", job.encode())
        self._append(
            {
                "format": JOURNAL_FORMAT,
                "identity": dict(identity),
                "job": job,
                "film": dict(film),
            }
        )

    def add(self, picture: ImageArray) -> bool:
        """Takes the next frame, and returns whether that has filled its segment."""
        segment = self.plan.segment(self.frame)
        if self._raw is None:
            self._raw = raw_file(self.folder, segment).open("ab")
            self._digests.setdefault(segment, hashlib.sha256())
        content = np.ascontiguousarray(picture).data
        self._raw.write(content)
        self._raw.flush()  # for the encoder, which reads along
        self._digests[segment].update(content)
        self.frame += 1
        if self.plan.segment(self.frame) == segment:
            return False
        self.close_raw()
        return True

    def close_raw(self) -> None:
        """Flushes the frames taken so far to disk, and closes their file."""
        if self._raw is not None:
            with self._raw as file:
                flush(file)
            self._raw = None

    def commit(self, state: State) -> None:
        """Makes all frames taken so far safe. state: what the next one is to be made from."""
        if self._raw is not None:
            flush(self._raw)
        name = f"state-{self.frame - self.plan.first(-1):08d}"
        content = safetensors.torch.save({key: value.contiguous() for key, value in state.items()})
        write_atomically(self.folder / name, content)
        self._append(
            {
                "frame": self.frame,
                "state": name,
                "sha256": hashlib.sha256(content).hexdigest(),
                "raw": {
                    str(segment): [self.frames_in(segment), sha256.hexdigest()]
                    for segment, sha256 in self._digests.items()
                },
            }
        )
        self.committed = self.frame
        self._prune()

    def add_segment(self, segment: int, file: str) -> None:
        """Writes down that a segment is encoded, in a file (or folder) of this name."""
        frames = self.frames_in(segment)
        flush_folder(self.folder)
        self._append(
            {
                "segment": segment,
                "frames": frames,
                "file": file,
                "sha256": digest(self.folder / file),
            }
        )

    def add_sound(self, file: str, note: str) -> None:
        """Writes down that the sound is in a file of this name; "" where the film is to be silent."""
        kept = {"file": file, "sha256": digest(self.folder / file)} if file else {}
        self._append({"sound": note, **kept})

    @property
    def sound(self) -> Entry | None:
        """The entry about the film's sound; None where nobody has looked for any."""
        return sound_entry(read_entries(self.folder))

    def finish(self, sha256: str) -> None:
        """Writes down that the film is joined, and about to take its name; with its checksum."""
        self._append({"whole": self.frame, "sha256": sha256})
        self.finished = True

    def _append(self, entry: Entry) -> None:
        self._entries.append(entry)
        with (self.folder / "journal").open("ab") as file:
            file.write(_as_line(entry))
            flush(file)

    def frames_in(self, segment: int) -> int:
        """Returns how many frames of a segment have been taken so far."""
        return min(self.frame, self.plan.first(segment + 1)) - self.plan.first(segment)

    def _prune(self) -> None:
        """Removes what is not needed even if the last commit should turn out to be damaged."""
        commits = [n for n, entry in enumerate(self._entries) if "state" in entry]
        if len(commits) < 2:
            return
        states = {self._entries[n]["state"] for n in commits[-2:]}
        for path in self.folder.glob("state-*"):
            if path.name not in states:
                path.unlink()
        last_but_one = commits[-2]
        for entry in self._entries[:last_but_one]:
            segment = entry.get("segment")
            if segment in self._digests:
                raw_file(self.folder, segment).unlink(missing_ok=True)
                del self._digests[segment]
        del self._entries[: max(0, last_but_one - ENTRIES_HELD)]  # the file keeps them all

    # --- Reading

    @property
    def encoded(self) -> dict[int, str]:
        """The files of the segments that are encoded, in order."""
        entries = read_entries(self.folder)
        files = {entry["segment"]: entry["file"] for entry in entries if "segment" in entry}
        return dict(sorted(files.items()))

    @property
    def waiting(self) -> list[int]:
        """The segments that are full, but not encoded."""
        encoded, full = self.encoded, range(self.plan.segment(self.frame))
        return [n for n in full if n in self._digests and n not in encoded]

    def early_frames(self) -> Iterator[ImageArray]:
        """Yields the frames before the first one, in order, as far as they are there."""
        if not self.plan.early:
            return
        path, size = raw_file(self.folder, -1), self.plan.frame_bytes
        with path.open("rb") as file:
            while len(content := file.read(size)) == size:
                yield np.frombuffer(content, np.uint8).reshape(*self.plan.size.shape, 3)

    def recover(self) -> State | None:
        """Finds the last commit that holds, and returns its state; None where all begins anew.

        What came after it is removed, and `frame` is set.
        """
        entries = read_entries(self.folder)
        by_segment = {entry["segment"]: entry for entry in entries if "segment" in entry}
        intact = {n for n, entry in by_segment.items() if _is_intact(self.folder, entry)}
        commits = [entry for entry in entries if "state" in entry]
        begun = any("format" in entry for entry in entries)
        for commit in reversed(commits if begun else []):
            if self._holds(commit, intact):
                break
        else:
            self._roll_back(entries, None, set())
            if commits:
                self.notes.append("what was there is damaged: all begins anew")
            return None
        if commit is not commits[-1]:
            self.notes.append(
                f"the last commit is damaged: it goes on from an older one, frame {commit['frame']}"
            )
        self._roll_back(entries, commit, intact)
        content = (self.folder / commit["state"]).read_bytes()
        return safetensors.torch.load(content)

    def _holds(self, commit: Entry, encoded: set[int]) -> bool:
        """Whether all that a commit says is there: its state, and each frame, raw or encoded."""
        if not _is_intact(self.folder, {"file": commit["state"], "sha256": commit["sha256"]}):
            return False
        raw = {int(segment): listed for segment, listed in commit["raw"].items()}
        last = self.plan.segment(commit["frame"])
        needed = {n for n in range(last) if n not in encoded}
        needed |= {last} if commit["frame"] > self.plan.first(last) else set()
        needed |= {-1} if self.plan.early and commit["frame"] > -self.plan.early else set()
        return needed <= raw.keys() and all(self._raw_digest(n, *raw[n]) for n in needed)

    def _raw_digest(self, segment: int, frames: int, sha256: str) -> Any:
        """The running SHA-256 of a segment's raw frames; None where it is not the one given."""
        try:
            running = running_digest(raw_file(self.folder, segment), frames * self.plan.frame_bytes)
        except OSError:
            return None
        return running if running.hexdigest() == sha256 else None

    def _roll_back(self, entries: list[Entry], commit: Entry | None, encoded: set[int]) -> None:
        """Removes all that came after a commit, and what the journal does not know."""
        self.frame = -self.plan.early if commit is None else commit["frame"]
        self.committed = None if commit is None else self.frame
        last = self.plan.segment(self.frame)
        kept = {n for n in encoded if n < last}
        self._digests = {}
        for number, (frames, sha256) in (commit["raw"] if commit else {}).items():
            segment = int(number)
            if segment <= last and (running := self._raw_digest(segment, frames, sha256)):
                self._digests[segment] = running
                os.truncate(raw_file(self.folder, segment), frames * self.plan.frame_bytes)
        self._entries = [
            entry
            for entry in entries
            if "format" in entry
            or entry is commit
            or entry.get("segment") in kept
            or ("sound" in entry and ("file" not in entry or _is_intact(self.folder, entry)))
        ]
        names = {"job.toml", "journal", *LOCKS} | {commit["state"] if commit else ""}
        names |= {entry["file"] for entry in self._entries if "file" in entry}
        names |= {raw_file(self.folder, segment).name for segment in self._digests}
        write_atomically(self.folder / "journal", b"".join(map(_as_line, self._entries)))
        for path in self.folder.iterdir():
            if path.name not in names:
                remove(path)


# --- The file of entries


def read_entries(folder: Path) -> list[Entry]:
    """Reads the entries of a journal whose checksum is right; none where there is no journal."""
    try:
        content = (folder / "journal").read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return []
    entries = []
    for line in content.splitlines(keepends=True):
        body, _, _ = line.rpartition(b" ")
        try:
            entry = json.loads(body)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and _as_line(entry) == line and _stays_in_folder(entry):
            entries.append(entry)
    return entries


def sound_entry(entries: list[Entry]) -> Entry | None:
    """Finds the last entry about a film's sound."""
    return next((entry for entry in reversed(entries) if "sound" in entry), None)


def read_head(target: Path) -> Entry | None:
    """Reads the first entry of a film's journal; None where there is none.

    Raises UsageError where another version of zoomdream has written it.
    """
    for entry in read_entries(journal_folder(target)):
        if entry.get("format") == JOURNAL_FORMAT:
            return entry
        if "format" in entry or "passport" in entry:  # 0.1.0 called the identity so
            raise UsageError(
                f"{target} was begun by another version of zoomdream, whose journal this one cannot "
                "read: go on with that version, or begin anew with `force=True` and without `resume=True`"
            )
    return None


def _as_line(entry: Entry) -> bytes:
    """An entry as JSON, a space, its CRC-32 in hexadecimal, and a line's end."""
    text = json.dumps(entry).encode()
    return text + b" %08x\n" % zlib.crc32(text)


def _stays_in_folder(entry: Entry) -> bool:
    """Whether the files that an entry names are in the journal's own folder."""
    names = [entry[key] for key in ("file", "state") if key in entry]
    return all(Path(name).name == name for name in names)


def _is_intact(folder: Path, entry: Entry) -> bool:
    """Whether an entry's file has the checksum that the entry says."""
    try:
        return bool(digest(folder / entry["file"]) == entry["sha256"])
    except OSError:
        return False


# --- The folder


@contextmanager
def locked_journal(folder: Path) -> Iterator[None]:
    """Makes a journal's folder, and holds its lock; raises OutputError where another render has it.

    At the end a folder with nothing but the lock in it is removed.
    """
    folder.mkdir(exist_ok=True)
    names = {path.name for path in folder.iterdir()}
    if names and not names & LOCKS:
        raise OutputError(f"{folder} is there, and no journal of ours: rename it")
    lock = _acquire_lock(folder)
    try:
        yield
    finally:
        empty = {path.name for path in folder.iterdir()} <= LOCKS
        if empty and os.name != "nt":
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        if empty:
            shutil.rmtree(folder, ignore_errors=True)


def _acquire_lock(folder: Path) -> filelock.BaseFileLock:
    """Takes a journal's lock: the system's, which ends with the process, or else a file that names its owner.

    Raises OutputError where another render has it.
    """
    lock: filelock.BaseFileLock = filelock.FileLock(folder / LOCK)
    try:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # filelock's, that it makes do with a file
                lock.acquire(blocking=False)
        except (NotImplementedError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _WITHOUT_LOCKS:
                raise
            lock = filelock.SoftFileLock(folder / OWNER)
            lock.acquire(blocking=False)
    except filelock.Timeout:
        film = folder.name.removesuffix(JOURNAL)
        raise OutputError(
            f"{film} is being rendered by another process: wait for it, or take another name"
        ) from None
    return lock


def clear_journal(folder: Path) -> None:
    """Removes everything from a journal's folder but its lock, and the journal itself last of all."""
    for path in folder.iterdir():
        if path.name not in {*LOCKS, "journal"}:
            remove(path)
    remove(folder / "journal")
