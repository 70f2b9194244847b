"""Write files that are whole or not there, digest them, check targets, find files that ship with us."""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from zoomdream.errors import InputError, OutputError, UsageError

_CANNOT_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EROFS}
_LOST = {errno.EIO, errno.ENOSPC, errno.EDQUOT}  # what a flush says of data that is not on disk
_CANNOT_RENAME = {errno.EXDEV, errno.EBUSY, errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTSUP}
WRITE_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk is full: your quota of it is used up",
    errno.EFBIG: "it is larger than a file may be there (4 GB on FAT, or a limit of yours)",
    errno.ENAMETOOLONG: "its name is too long, with what lies beside it while it is made",
}
JOURNAL, LABEL, SO_FAR = COMPANIONS = (".zoomdream", ".toml", "-so-far")
"""The suffixes of what lies beside a film: its journal, its settings, and, of a folder, a look at it."""
_FAT_REFUSES = re.compile(r'[<>:"|?*\\\x00-\x1f]|[ .]$')


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file that is either there as a whole or not at all, whatever happens.

    Where the name is a link, the file that it names is written. Raises OSError.
    """
    partial = link_target(path).with_name(f"{path.name}.part")
    try:
        with partial.open("wb") as file:
            file.write(content)
            flush(file)
        place_file(partial, path)
    except OSError:
        with contextlib.suppress(OSError):
            remove(partial)
        raise


def flush(file: BinaryIO) -> None:
    """Brings what was written to an open file to disk, where the file system can."""
    file.flush()
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in _CANNOT_FLUSH:
            raise


def flush_file(path: Path) -> None:
    """Brings a file that something else has written to disk."""
    with path.open("rb+") as file:
        flush(file)


def flush_folder(folder: Path) -> None:
    """Brings the names in a folder to disk, where the system can; many network file systems cannot."""
    if os.name == "nt":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in _LOST:
            raise


def link_target(path: Path) -> Path:
    """Follows a symbolic link to what it names, which need not be there; other paths stay."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path.absolute()


def place_file(source: Path, target: Path) -> None:
    """Gives a file that is whole another name, in place of what has that name, and reads it back.

    Where the target is a link, the file that it names is replaced. It is renamed; what cannot be, for the
    name is on another file system or a mount point, is copied. Raises OSError where it does not stand there
    as a whole; nothing that looks like it does, then.
    """
    target, expected = link_target(target), digest(source)
    try:
        source.replace(target)
    except OSError as error:
        if error.errno not in _CANNOT_RENAME or target.is_dir():
            raise
        _place_copy(source, target)
    flush_folder(target.parent)
    if digest(target) != expected:
        with contextlib.suppress(OSError):
            remove(target)
        raise _not_as_written()
    source.unlink(missing_ok=True)


def _place_copy(source: Path, target: Path) -> None:
    """Copies a file beside its target and renames the copy, or writes it over what cannot be replaced."""
    partial = target.with_name(f"{target.name}.copy")
    try:
        shutil.copyfile(source, partial)
        flush_file(partial)
        partial.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            remove(partial)
        if error.errno not in _CANNOT_RENAME:
            raise
        shutil.copyfile(source, target)
        flush_file(target)


def place_folder(source: Path, target: Path, old: Path, pattern: str) -> None:
    """Gives a folder of files that are whole another name, in place of a folder of the kind.

    old: where that is put meanwhile. pattern: of the files' names, as `digest` takes it. A target that cannot
    be renamed (a mount point, or one that `source` lies in) takes the files in, one by one. Raises OSError.
    """
    target, expected = link_target(target), digest(source, pattern)
    try:
        if target.is_dir():
            target.replace(old)
        source.replace(target)
    except OSError as error:
        if old.is_dir():
            old.replace(target)
        if error.errno not in _CANNOT_RENAME:
            raise
        _fill_folder(source, target, pattern)
    flush_folder(target.parent)
    if digest(target, pattern) != expected:
        for path in target.glob(pattern):
            path.unlink()
        if old.is_dir():
            target.rmdir()
            old.replace(target)
        raise _not_as_written()


def _fill_folder(source: Path, target: Path, pattern: str) -> None:
    """Moves a folder's files into another one, and removes those there that are not among them."""
    target.mkdir(exist_ok=True)
    names = {path.name for path in source.glob(pattern)}
    for name in sorted(names):
        place_file(source / name, target / name)
    for path in target.glob(pattern):
        if path.name not in names:
            path.unlink()


def _not_as_written() -> OSError:
    """What is wrong where a file or folder is read back and has another content."""
    return OSError(errno.EIO, "what is read back is not what was written")


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def digest(path: Path, pattern: str = "*") -> str:
    """Computes the SHA-256 of a file, or of all files of a folder in order; folders in it are left out.

    pattern: of the names that count in a folder, such as "*.png".
    """
    if path.is_dir():
        return digest_all(file for file in sorted(path.glob(pattern)) if not file.is_dir())
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
    if target.name in ("", ".."):
        raise UsageError(
            f'"{target}" has no name: write to a file or a new folder, as in {example}'
        )
    with readable_errors(target):
        if target.exists() and not (target.is_file() or target.is_dir()):
            raise OutputError(f"{target} is a device or a pipe: name a file or a new folder")
    real = link_target(target)
    for folder in dict.fromkeys((target.absolute().parent, real.parent)):
        if not folder.is_dir():
            raise OutputError(f"{folder} is not a folder: create it, or write elsewhere")
    for path in dict.fromkeys((target, real)):
        place = companion(path, JOURNAL).parent
        if not os.access(place, os.W_OK):
            raise OutputError(f"{place} may not be written to: choose another folder")
        with (
            readable_errors(target),
            tempfile.NamedTemporaryFile(dir=place, prefix=f".{path.name}-"),
        ):
            pass  # such names can be made there


def companion(target: Path, suffix: str) -> Path:
    """Names what lies beside a target: its own name and a suffix.

    It lies in the target where that is a folder which can have nothing beside it, or nothing on the same file
    system: a mount point, or one whose parent may not be written to. suffix: one of `COMPANIONS`.
    """
    target = target.absolute()
    beside = target.with_name(target.name + suffix)
    closed = os.path.ismount(target) or not os.access(target.parent, os.W_OK)
    return target / beside.name if closed and target.is_dir() and not beside.exists() else beside


def check_free(target: Path, force: bool) -> None:
    """Raises OutputError where something has the name, unless it may be replaced."""
    if is_taken(target) and not force:
        raise OutputError(
            f"{target} is there already: add `force=True` to replace it, or take another name"
        )


def is_taken(target: Path) -> bool:
    """Whether a file has the name, or a folder with files in it that are no `companion` of its own."""
    if not target.is_dir():
        return target.exists()
    return any(path.name not in companion_names(target) for path in target.iterdir())


def companion_names(folder: Path) -> set[str]:
    """Lists the names of a folder's companions, which may lie in it."""
    return {link_target(folder).name + suffix for suffix in COMPANIONS}


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
        raise OutputError(f"{target} cannot be written: {_reason(error, target)}") from None


def _reason(error: OSError, target: Path) -> str:
    """Says in half a sentence why something cannot be written."""
    if error.errno == errno.EINVAL and _FAT_REFUSES.search(target.name):
        return (
            'its name is none that the file system takes: leave out < > : " | ? * \\, and blanks and '
            "dots at its end"
        )
    return WRITE_REASONS.get(error.errno or 0) or error.strerror or str(error)


@contextlib.contextmanager
def readable_inputs(path: Path, wanted: str = "a file") -> Iterator[None]:
    """Raises OSErrors of the block, which reads a file, as an InputError, in a sentence.

    wanted: what the file should be, for a folder in its place.
    """
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; name {wanted} in it") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
