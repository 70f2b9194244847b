"""What an interrupted render left behind: how to go on with it, or look at it."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from zoomdream.errors import OutputError, UsageError
from zoomdream.files import SO_FAR, companion, digest, link_or_copy, readable_errors
from zoomdream.film.encoder import encode_segment, join_segments, place_joined
from zoomdream.film.film_spec import FRAME_NAMES, FilmSpec
from zoomdream.film.journal import (
    LOCKS,
    Entry,
    clear_journal,
    journal_folder,
    locked_journal,
    raw_file,
    read_entries,
    read_head,
    sound_entry,
)
from zoomdream.settings import presets
from zoomdream.settings.definitions import RenderJob


def already_finished(target: Path, resume: bool) -> bool:
    """Clears up after a render that was killed once its film had its name; True if that was all to do.

    Raises OutputError where the journal's folder cannot be removed.
    """
    with readable_errors(target):
        if not target.name or not target.exists():
            return False
        folder = journal_folder(target)
        joined = [entry for entry in read_entries(folder) if "whole" in entry]
        empty = folder.is_dir() and {path.name for path in folder.iterdir()} <= LOCKS
        whole = bool(joined) and digest(target, FRAME_NAMES) == joined[-1].get("sha256")
        if not (whole or empty):
            return False
        with locked_journal(folder):
            clear_journal(folder)
        return resume and whole


def check_interrupted(target: Path, identity: Mapping[str, str], resume: bool, force: bool) -> None:
    """Checks that what an interrupted render left behind may be gone on with, or be replaced.

    Raises UsageError where this render is another one, and OutputError where it is neither to go on nor
    to replace the other.
    """
    if force and not resume:
        return
    head = read_head(target)
    if head is None:
        return
    if not resume:
        raise OutputError(
            f"{target} was interrupted once: `resume=True` goes on with it, `force=True` begins anew"
        )
    if changed := differences(head["identity"], identity):
        raise UsageError(
            f"{target} was begun otherwise ({'; '.join(changed)}): render it with what it was begun "
            "with, or begin anew with `force=True` and without `resume=True`"
        )


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Lists what is not the same in the identities of two renders."""
    return [
        f"{key} was {old.get(key, 'not set')} and is {new.get(key, 'not set')}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]


def interrupted_job(target: Path | str) -> RenderJob:
    """The job of an interrupted film, to be rendered with `resume=True`; raises UsageError without one."""
    target = Path(target)
    head = _interrupted_head(target)
    return presets.job_of(str(head["job"]), str(target)).change(target=target)


def _interrupted_head(target: Path) -> Entry:
    if head := read_head(target):
        return head
    if target.exists():
        raise UsageError(f"{target} is whole: there is nothing to go on with")
    raise UsageError(
        f"no render of {target} was interrupted: {journal_folder(target)} is not there"
    )


def join_so_far(target: Path | str) -> tuple[Path, int]:
    """Joins what is safe of an interrupted film, or of one that is being rendered, for a look.

    It becomes NAME.so-far.EXT beside it, or NAME-so-far of a folder, which is replaced where it is there;
    returns that, and how many frames it has. Raises UsageError, OutputError.
    """
    target = Path(target)
    head, folder = _interrupted_head(target), journal_folder(target)
    preview = target.with_name(f"{target.stem}.so-far{target.suffix}")
    if not target.suffix:
        preview = companion(target, SO_FAR)
    entries = read_entries(folder)
    commit = next((entry for entry in reversed(entries) if "state" in entry), None)
    if commit is None or commit["frame"] <= 0:
        raise UsageError(f"nothing of {target} can be watched yet: no frame is safe")
    spec = FilmSpec.from_record(preview, head["film"])
    encoded = {entry["segment"]: entry["file"] for entry in entries if "segment" in entry}
    with (
        readable_errors(preview),
        tempfile.TemporaryDirectory(
            dir=preview.absolute().parent, prefix=f".{target.name}-"
        ) as scratch_name,
    ):
        scratch, files = Path(scratch_name), []
        for segment in range(spec.plan.segment(commit["frame"] - 1) + 1):
            if segment in encoded:
                files.append(encoded[segment])
                _link_all(folder / files[-1], scratch / files[-1])
            else:
                frames, _ = commit["raw"][str(segment)]
                raw = raw_file(folder, segment)
                files.append(encode_segment(spec, scratch, segment, raw, frames))
        sound = (sound_entry(entries) or {}).get("file")
        joined = join_segments(spec, scratch, files, commit["frame"], sound and folder / sound)
        place_joined(joined, preview, scratch / "old")
    return preview, commit["frame"]


def _link_all(source: Path, target: Path) -> None:
    """Gives a file, or a folder's files, another name, too."""
    if not source.is_dir():
        link_or_copy(source, target)
        return
    target.mkdir()
    for file in source.iterdir():
        link_or_copy(file, target / file.name)
