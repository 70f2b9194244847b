"""Whether a film could be put where it is to go, checked before any work is done."""

import re
from pathlib import Path

from zoomdream.errors import OutputError, UsageError
from zoomdream.files import check_file, check_folder, check_free
from zoomdream.media.film_formats import film_format
from zoomdream.settings.model import Output


def check_film_target(target: Path, force: bool, output: Output) -> None:
    """Raises OutputError where the target could not be put or encoded, before any work is done."""
    form = film_format(target)
    if output.encoder == "hardware":
        if form is None or form.suffix != ".mp4":
            raise UsageError(f"hardware encodes .mp4 alone, and {target.name} is none")
        if output.loop:
            raise UsageError("a loop has all its frames coded alike: leave out --encoder hardware")
        form.encoder(output)
    if form:
        check_file(target, force)
        return
    check_folder(target, "-o dream.mp4")
    if target.exists() and not target.is_dir():
        raise OutputError(
            f"{target} is a file: name a folder, or end the name in .mp4, .webm or .gif"
        )
    if target.is_dir() and (strange := _strangers(target)):
        raise OutputError(f"{target} holds {strange[0]}, which is no frame: name a new folder")
    check_free(target, force)


def _strangers(folder: Path) -> list[str]:
    """What is in a folder but frames of a film; such a folder is never replaced."""
    return sorted(p.name for p in folder.iterdir() if not re.fullmatch(r"\d{6}\.png", p.name))
