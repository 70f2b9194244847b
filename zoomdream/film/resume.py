"""What an interrupted render left behind: how to go on with it, or look at it."""

import dataclasses
import tempfile
from pathlib import Path

from zoomdream.errors import UsageError
from zoomdream.files import link_or_copy, readable_errors, remove
from zoomdream.film.encoder import SegmentEncoder, join_segments
from zoomdream.film.journal import (
    Journal,
    clear_journal,
    journal_folder,
    locked_journal,
    read_lines,
)
from zoomdream.film.spec import FilmSpec
from zoomdream.media.film_formats import PNG_FOLDER, film_format


def already_finished(target: Path, resume: bool) -> bool:
    """Clears up after a render that was killed once its film had its name; True where that is the answer.

    Raises OutputError where the folder cannot be removed.
    """
    folder = journal_folder(target)
    lines = read_lines(folder)
    part = folder / f"film{target.suffix.lower()}"
    whole = any("whole" in line for line in lines) and not part.exists()
    empty = folder.is_dir() and {path.name for path in folder.iterdir()} <= {"lock"}
    if not (whole or empty) or not target.exists():
        return False
    with readable_errors(target), locked_journal(folder):
        clear_journal(folder)
    return resume and whole


def interrupted_job(target: Path) -> str:
    """The job of a film that was begun, as a preset's text; raises UsageError where there is none."""
    for line in read_lines(journal_folder(target)):
        if "job" in line:
            return str(line["job"])
    if target.exists():
        raise UsageError(f"{target} is whole: there is nothing to go on with")
    raise UsageError(
        f"no render of {target} was interrupted: {journal_folder(target)} is not there"
    )


def join_so_far(target: Path) -> tuple[Path, int]:
    """Joins what is safe of an interrupted film, or of one that is being rendered, for a look.

    It becomes NAME.so-far.EXT beside it, which is replaced where it is there; returns that, and how many
    frames it has. Raises UsageError, OutputError.
    """
    interrupted_job(target)
    folder = journal_folder(target)
    shown = target.with_name(f"{target.stem}.so-far{target.suffix}")
    lines = read_lines(folder)
    begun = next((line for line in lines if "order" in line), None)
    commit = next((line for line in reversed(lines) if "state" in line), None)
    if begun is None or commit is None or commit["frame"] <= 0:
        raise UsageError(f"nothing of {target} can be watched yet: no frame is safe")
    spec = FilmSpec.of(shown, begun["order"])
    if spec.sound and not spec.sound.path.is_file():
        spec = dataclasses.replace(spec, sound=None)
    form = film_format(shown) or PNG_FOLDER
    with (
        readable_errors(shown),
        tempfile.TemporaryDirectory(
            dir=target.absolute().parent, prefix=f".{shown.name}-"
        ) as scratch,
    ):
        files = []
        encoded = {line["segment"]: line["file"] for line in lines if "segment" in line}
        for segment in range(spec.plan.segment(commit["frame"] - 1) + 1):
            if segment in encoded:
                files.append(encoded[segment])
                _share(folder / files[-1], Path(scratch) / files[-1])
            else:
                frames, _ = commit["raw"][str(segment)]
                raw = Journal(folder, spec.plan).raw(segment)
                encoding = SegmentEncoder(spec, form, Path(scratch), segment, raw)
                encoding.go_on(frames, full=True)
                files.append(encoding.finish())
        part = join_segments(spec, form, Path(scratch), files, commit["frame"])
        remove(shown)
        part.replace(shown)
    return shown, commit["frame"]


def _share(source: Path, target: Path) -> None:
    """A file or folder under another name, too."""
    if not source.is_dir():
        link_or_copy(source, target)
        return
    target.mkdir()
    for file in source.iterdir():
        link_or_copy(file, target / file.name)
