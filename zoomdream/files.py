"""Write files that are whole or not there, digest them, check targets, find files that ship with us."""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from zoomdream.errors import OutputError, UsageError


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file that is either there as a whole or not at all, whatever happens."""
    partial = path.with_name(f"{path.name}.part")
    with partial.open("wb") as file:
        file.write(content)
        flush(file)
    partial.replace(path)
    flush_folder(path.parent)


def flush(file: BinaryIO) -> None:
    """Brings what was written to an open file to disk."""
    file.flush()
    os.fsync(file.fileno())


def flush_file(path: Path) -> None:
    """Brings a file that something else has written to disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Brings the names in a folder to disk, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """Computes the SHA-256 of a file, or of all files of a folder in order; folders in it are left out."""
    if path.is_dir():
        return digest_all(file for file in sorted(path.iterdir()) if not file.is_dir())
    return str(running_digest(path).hexdigest())


def digest_all(files: Iterable[Path]) -> str:
    """Computes the SHA-256 of the digests of files, one after another."""
    total = hashlib.sha256()
    for file in files:
        total.update(running_digest(file).digest())
    return total.hexdigest()


def running_digest(path: Path, size: int | None = None) -> Any:
    """Begins a SHA-256 with a file's first `size` bytes; raises OSError where it is shorter."""
    running, left = hashlib.sha256(), size
    with path.open("rb") as file:
        while left is None or left > 0:
            content = file.read(1 << 20 if left is None else min(left, 1 << 20))
            if not content:
                break
            running.update(content)
            left = None if left is None else left - len(content)
    if left:
        raise OSError(f"{path} is cut short")
    return running


def shipped(name: str) -> Path:
    """Finds a file or folder that comes with zoomdream: from the installed package, or from a checkout."""
    package = Path(__file__).parent
    places = (package / name, package.parent / name, package.parent / "examples" / name)
    return next((place for place in places if place.exists()), places[0])


def check_file(target: Path, force: bool) -> None:
    """Raises OutputError where a file could not be put, before any work is done."""
    check_folder(target, f"`target=dream{target.suffix}`")
    if target.is_dir():
        raise OutputError(f"{target} is a folder: name a file")
    check_free(target, force)


def check_folder(target: Path, example: str) -> None:
    """Raises UsageError and OutputError where nothing could be put under a name.

    example: of an argument, for the message.
    """
    folder = target.absolute().parent
    if target.name in ("", ".."):
        raise UsageError(
            f'"{target}" has no name: write to a file or a new folder, as in {example}'
        )
    if not folder.is_dir():
        raise OutputError(f"{folder} is not a folder: create it, or write elsewhere")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{folder} may not be written to: choose another folder")


def check_free(target: Path, force: bool) -> None:
    """Raises OutputError where something has the name, unless it may be replaced."""
    if is_taken(target) and not force:
        raise OutputError(
            f"{target} is there already: add `force=True` to replace it, or take another name"
        )


def is_taken(target: Path) -> bool:
    """Whether a file has the name, or a folder with something in it."""
    return any(target.iterdir()) if target.is_dir() else target.exists()


def link_or_copy(source: Path, target: Path) -> None:
    """Gives a file another name as well; copies it where the system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@contextlib.contextmanager
def readable_errors(target: Path) -> Iterator[None]:
    """Raises OSErrors of the block as an OutputError, in a sentence."""
    try:
        yield
    except OSError as error:
        full = error.errno == errno.ENOSPC
        reason = "the disk is full" if full else error.strerror or error
        raise OutputError(f"{target} cannot be written: {reason}") from None
