"""Checks whether a film could be put where it is to go, before any work is done."""

import re
from pathlib import Path

from zoomdream.errors import OutputError, UsageError
from zoomdream.files import (
    LABEL,
    check_file,
    check_folder,
    check_free,
    companion,
    companion_names,
)
from zoomdream.media.film_formats import film_format
from zoomdream.settings.definitions import Output, RenderJob


def check_film_target(target: Path, force: bool, output: Output) -> None:
    """Checks that a film could be encoded and put at a target.

    force: whether what is there already may be replaced. Raises OutputError, and UsageError where the
    target's name and the output contradict each other.
    """
    form = film_format(target)
    if output.encoder == "hardware":
        if form is None or form.suffix != ".mp4":
            raise UsageError(f"hardware encodes .mp4 alone, and {target.name} is none")
        if output.loop:
            raise UsageError(
                "a loop has all its frames coded alike: leave out `output.encoder=hardware`"
            )
        form.encoder(output)
    if form:
        check_file(target, force)
        return
    check_folder(target, "`target=dream.mp4`")
    if target.exists() and not target.is_dir():
        raise OutputError(
            f"{target} is a file: name a folder, or end the name in .mp4, .webm or .gif"
        )
    if target.is_dir() and (others := _other_files(target)):
        raise OutputError(f"{target} holds {others[0]}, which is no frame: name a new folder")
    check_free(target, force)


def check_beside(job: RenderJob, target: Path) -> None:
    """Raises UsageError and OutputError for a target whose label could not be put, or would be untrue."""
    label = label_of(target)
    if label.is_dir():
        raise OutputError(f"{label} is a folder, and the settings go there: name it otherwise")
    source = job.source
    if source is not None and source.exists() and target.exists() and source.samefile(target):
        raise UsageError(f"{target} is what is dreamt on: write to another file")


def label_of(target: Path) -> Path:
    """Names the file that the settings of a film or picture go into."""
    return companion(target, LABEL)


def _other_files(folder: Path) -> list[str]:
    """Lists what is in a folder besides a film's frames and companions; such a folder is never replaced."""
    names = {path.name for path in folder.iterdir()} - companion_names(folder)
    return sorted(name for name in names if not re.fullmatch(r"\d{6}\.png", name))
