"""The black box: what of a render is safe on disk, and where it can go on.

While a film is made there lies beside it, in NAME.zoomdream/,

    job.toml            what is rendered, as a preset
    journal             a line for each commit, with its own checksum
    frames-000002.rgb   raw frames of a segment, as they come
    segment-000001.mp4  a segment of the film, encoded, closed and looked at
    state-000150        what frame 150 is to be made from, in float
    lock                held as long as the process lives

Segments have a length that follows from the size and rate alone, so that a film is cut, and encoded, in
the same places however often it was interrupted. Commits come every few seconds, wherever a segment is.
A file is written under another name, flushed, renamed, and the folder flushed, before the journal says
that it is there; a line that was torn, or whose files are not what it says, is passed over for an older
one. Raw frames and states stay until what takes their place has been committed twice.
"""

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import filelock
import numpy as np
import safetensors.torch
from torch import Tensor

from zoomdream.errors import OutputError
from zoomdream.files import digest, flush, flush_folder, remove, running_digest, write_atomically
from zoomdream.media.frame import ImageArray
from zoomdream.size import Size

SEGMENT_SECONDS = 2  # of film in a segment
SEGMENT_BYTES = 400_000_000  # bytes of raw frames in a segment, at most
SEGMENT_FRAMES = 8  # frames of a segment, at least
State = dict[str, Tensor]
Line = dict[str, Any]


def journal_folder(target: Path) -> Path:
    """Where the journal of a film lies."""
    return target.absolute().with_name(f"{target.name}.zoomdream")


@dataclass(frozen=True)
class SegmentPlan:
    """How a film is cut into segments; frames below 0 are a segment of their own, -1, never shown."""

    size: Size
    fps: Fraction
    early: int = 0  # frames before the first

    @property
    def frame_bytes(self) -> int:
        return 3 * self.size.pixels

    @property
    def length(self) -> int:
        """Frames of a segment."""
        return max(
            SEGMENT_FRAMES,
            min(round(SEGMENT_SECONDS * self.fps), SEGMENT_BYTES // self.frame_bytes),
        )

    def segment(self, frame: int) -> int:
        """Which one a frame is in."""
        return -1 if frame < 0 else frame // self.length

    def first(self, segment: int) -> int:
        """Its first frame."""
        return -self.early if segment < 0 else segment * self.length


class Journal:
    """Of one render. `frame` is the next one that it takes.

    A new one is empty; `recover` finds out what an older one holds. All methods may raise OSError.
    """

    def __init__(self, folder: Path, plan: SegmentPlan) -> None:
        self.folder, self.plan = folder, plan
        self.frame = -plan.early
        self.notes: list[str] = []
        self._lines: list[Line] = []  # that hold
        self._raw: BinaryIO | None = None
        self._sums: dict[int, Any] = {}  # of the raw frames of each segment that has some
        self.committed: int | None = None  # frames that are safe

    # --- Writing

    def add(self, picture: ImageArray) -> bool:
        """Takes the next frame; returns whether that has filled its segment."""
        segment = self.plan.segment(self.frame)
        if self._raw is None:
            self._raw = self.raw(segment).open("ab")
            self._sums.setdefault(segment, hashlib.sha256())
        content = np.ascontiguousarray(picture).data
        self._raw.write(content)
        self._raw.flush()  # for those who read along
        self._sums[segment].update(content)
        self.frame += 1
        if self.plan.segment(self.frame) == segment:
            return False
        self.rest()
        return True

    def rest(self) -> None:
        """Brings the frames taken so far to disk, and closes their file."""
        if self._raw is not None:
            with self._raw as file:
                flush(file)
            self._raw = None

    def commit(self, state: State) -> None:
        """Makes everything up to now safe. state: what the next frame is to be made from."""
        if self._raw is not None:
            flush(self._raw)
        name = f"state-{self.frame - self.plan.first(-1):08d}"
        content = safetensors.torch.save({key: value.contiguous() for key, value in state.items()})
        write_atomically(self.folder / name, content)
        self._write(
            {
                "frame": self.frame,
                "state": name,
                "sha256": hashlib.sha256(content).hexdigest(),
                "raw": {
                    str(segment): [self.there(segment), total.hexdigest()]
                    for segment, total in self._sums.items()
                },
            }
        )
        self.committed = self.frame
        self._prune()

    def close(self, segment: int, file: str) -> None:
        """Says that a segment is encoded, in a file (or folder) of this name."""
        frames = self.there(segment)
        flush_folder(self.folder)
        self._write(
            {
                "segment": segment,
                "frames": frames,
                "file": file,
                "sha256": digest(self.folder / file),
            }
        )

    def finish(self) -> None:
        """Says that the film is whole, and about to take its name."""
        self._write({"whole": self.frame})

    def begin(self, identity: Mapping[str, str], job: str, spec: Line) -> None:
        """Of a new render. identity: what has to be the same when it goes on."""
        write_atomically(self.folder / "job.toml", job.encode())
        self._write({"passport": dict(identity), "job": job, "order": spec})

    def _write(self, line: Line) -> None:
        self._lines.append(line)
        with (self.folder / "journal").open("ab") as file:
            file.write(_checked(line))
            flush(file)

    def there(self, segment: int) -> int:
        """Frames of a segment, so far."""
        return min(self.frame, self.plan.first(segment + 1)) - self.plan.first(segment)

    def _prune(self) -> None:
        """Removes what is no longer needed even if the last commit should turn out to be damaged."""
        states = [n for n, line in enumerate(self._lines) if "state" in line]
        if len(states) < 2:
            return
        kept = {self._lines[n]["state"] for n in states[-2:]}
        for path in self.folder.glob("state-*"):
            if path.name not in kept:
                path.unlink()
        older = states[-2]
        for line in self._lines[:older]:
            segment = line.get("segment")
            if segment in self._sums:
                self.raw(segment).unlink(missing_ok=True)
                del self._sums[segment]
        del self._lines[: max(0, older - 1000)]  # the file keeps them all

    # --- Reading

    def raw(self, segment: int) -> Path:
        """The file of a segment's raw frames."""
        return self.folder / f"frames-{'early' if segment < 0 else f'{segment:06d}'}.rgb"

    @property
    def segments(self) -> dict[int, str]:
        """The files of those that are encoded, in order."""
        found = {line["segment"]: line["file"] for line in self._read() if "segment" in line}
        return dict(sorted(found.items()))

    @property
    def waiting(self) -> list[int]:
        """Segments that are full, but not encoded."""
        full = range(self.plan.segment(self.frame))
        return [n for n in full if n in self._sums and n not in self.segments]

    @property
    def whole(self) -> bool:
        """Whether the film was about to take its name."""
        return any("whole" in line for line in self._lines)

    def early(self) -> Iterator[ImageArray]:
        """The frames before the first one, in order."""
        if not self.plan.early:
            return
        path, size = self.raw(-1), self.plan.frame_bytes
        with path.open("rb") as file:
            while len(content := file.read(size)) == size:
                yield np.frombuffer(content, np.uint8).reshape(*self.plan.size.shape, 3)

    def recover(self) -> State | None:
        """Finds the last commit that holds; the state there, or None where all begins anew.

        What came after it is removed, and `frame` is set.
        """
        lines = self._read()
        encoded = {line["segment"]: line for line in lines if "segment" in line}
        sound = {n for n, line in encoded.items() if _holds(self.folder, line)}
        commits = [line for line in lines if "state" in line]
        for commit in reversed(commits):
            if self._is_sound(commit, sound):
                break
        else:
            self._forget(lines, None, set())
            if commits:
                self.notes.append("what was there is damaged: all begins anew")
            return None
        if commit is not commits[-1]:
            self.notes.append(
                f"the last commit is damaged: it goes on from an older one, frame {commit['frame']}"
            )
        self._forget(lines, commit, sound)
        content = (self.folder / commit["state"]).read_bytes()
        return safetensors.torch.load(content)

    def _is_sound(self, commit: Line, encoded: set[int]) -> bool:
        """Whether everything is there that a commit says: its state, and each frame in some form."""
        if not _holds(self.folder, {"file": commit["state"], "sha256": commit["sha256"]}):
            return False
        raw = {int(segment): found for segment, found in commit["raw"].items()}
        last = self.plan.segment(commit["frame"])
        needed = {n for n in range(last) if n not in encoded}
        needed |= {last} if commit["frame"] > self.plan.first(last) else set()
        needed |= {-1} if self.plan.early and commit["frame"] > -self.plan.early else set()
        return needed <= raw.keys() and all(self._raw_sum(n, *raw[n]) for n in needed)

    def _raw_sum(self, segment: int, frames: int, sha256: str) -> Any:
        """The running sum of a segment's raw frames; None where they are not what they should be."""
        try:
            found = running_digest(self.raw(segment), frames * self.plan.frame_bytes)
        except OSError:
            return None
        return found if found.hexdigest() == sha256 else None

    def _forget(self, lines: list[Line], commit: Line | None, encoded: set[int]) -> None:
        """Takes away all that came after a commit, and what the journal does not know."""
        self.frame = -self.plan.early if commit is None else commit["frame"]
        self.committed = None if commit is None else self.frame
        last = self.plan.segment(self.frame)
        kept = {n for n in encoded if n < last}
        self._sums = {}
        for text, (frames, sha256) in (commit["raw"] if commit else {}).items():
            segment = int(text)
            if segment <= last and (found := self._raw_sum(segment, frames, sha256)):
                self._sums[segment] = found
                os.truncate(self.raw(segment), frames * self.plan.frame_bytes)
        self._lines = [
            line
            for line in lines
            if "passport" in line or line is commit or line.get("segment") in kept
        ]
        names = {"job.toml", "journal", "lock"} | {commit["state"] if commit else ""}
        names |= {line["file"] for line in self._lines if "segment" in line}
        names |= {self.raw(segment).name for segment in self._sums}
        write_atomically(self.folder / "journal", b"".join(map(_checked, self._lines)))
        for path in self.folder.iterdir():
            if path.name not in names:
                remove(path)

    def _read(self) -> list[Line]:
        return read_lines(self.folder)


def read_lines(folder: Path) -> list[Line]:
    """The lines of a journal whose checksum is right; empty where there is none."""
    try:
        content = (folder / "journal").read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = []
    for text in content.splitlines(keepends=True):
        body, _, _ = text.rpartition(b" ")
        try:
            line = json.loads(body)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and _checked(line) == text and _stays_here(line):
            found.append(line)
    return found


def _stays_here(line: Line) -> bool:
    """Whether the files that a line names are in the journal's folder."""
    names = [line[key] for key in ("file", "state") if key in line]
    return all(Path(name).name == name for name in names)


def identity_of(folder: Path) -> dict[str, str]:
    """What has to be the same when a render goes on; empty where nothing can."""
    return next((line["passport"] for line in read_lines(folder) if "passport" in line), {})


@contextmanager
def locked_journal(folder: Path) -> Iterator[None]:
    """Makes a journal's folder, and holds it; raises OutputError where another render has it.

    At the end a folder with nothing but the lock in it is removed.
    """
    folder.mkdir(exist_ok=True)
    if not (folder / "lock").exists() and any(folder.iterdir()):
        raise OutputError(f"{folder} is there, and no journal of ours: rename it")
    lock = filelock.FileLock(folder / "lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        film = folder.name.removesuffix(".zoomdream")
        raise OutputError(
            f"{film} is being rendered by another process: wait for it, or take another name"
        ) from None
    try:
        yield
    finally:
        only = [path.name for path in folder.iterdir()] == ["lock"]
        if only and os.name != "nt":
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        if only:
            shutil.rmtree(folder, ignore_errors=True)


def clear_journal(folder: Path) -> None:
    """Removes everything from a journal's folder but its lock; last of all what it says."""
    for path in folder.iterdir():
        if path.name not in ("lock", "journal"):
            remove(path)
    remove(folder / "journal")


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """What is not the same in two passports, a line each."""
    return [
        f"{key} was {old.get(key, 'not set')} and is {new.get(key, 'not set')}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]


def _checked(line: Line) -> bytes:
    text = json.dumps(line).encode()
    return text + b" %08x\n" % zlib.crc32(text)


def _holds(folder: Path, line: Line) -> bool:
    try:
        return bool(digest(folder / line["file"]) == line["sha256"])
    except OSError:
        return False
