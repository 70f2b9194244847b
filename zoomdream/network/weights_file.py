"""Files of weights as people save them: read as tensors only, and never run."""

import argparse
import gzip
import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy._core import multiarray
from safetensors import SafetensorError
from torch import Tensor

from zoomdream.errors import WeightsError

MOST_UNPACKED = 1 << 32  # bytes that a packed file may come to
_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".safetensors", ".tar")

# What checkpoints hold beside tensors, by the names that older numpys have, too: plain values, no code.
_PLAIN = [
    argparse.Namespace,
    np.ndarray,
    np.dtype,
    *(getattr(np.dtypes, name) for name in np.dtypes.__all__),
    *((kind, f"{module}.{name}") for module in ("pathlib", "pathlib._local")
      for kind, name in ((PurePosixPath, "PosixPath"), (PureWindowsPath, "WindowsPath"),
                         (PurePosixPath, "PurePosixPath"), (PureWindowsPath, "PureWindowsPath"))),
    *((getattr(multiarray, name), f"numpy.{core}.multiarray.{name}")
      for name in ("scalar", "_reconstruct") for core in ("core", "_core")),
]  # fmt: skip


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads all tensors of a file, by name: of what is nested, the names of all levels joined by dots.

    Takes .safetensors, what `torch.save` writes and numpy's .npz, by whatever name, also packed by gzip or in
    a zip. Code in the file is never run. Raises WeightsError.
    """
    try:
        with path.open("rb") as file:
            tensors = dict(_flattened(_content(file, path.name)))
    except FileNotFoundError:
        raise WeightsError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise WeightsError(f"{path} is a folder; name a file of weights in it") from None
    except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, SafetensorError):
        raise WeightsError(
            f"{path} is no file of weights that can be read safely: it is damaged or cut short"
        ) from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from None
    except _UnreadableError as error:
        raise WeightsError(
            f"{path} is no file of weights that can be read safely: {error}"
        ) from None
    except Exception:  # any, where it is something else
        raise WeightsError(
            f"{path} is no file of weights that can be read safely: a state dict saved as .safetensors "
            "or .pth would do"
        ) from None
    if not tensors:
        raise WeightsError(f"{path} holds no state dict (names and tensors)")
    return tensors


class _UnreadableError(Exception):
    """Says in half a sentence what a file is instead."""


def _content(file: BinaryIO, name: str) -> Any:
    """Reads whatever a file of weights holds, by its first bytes. name: without its folder."""
    head = file.read(1024)
    file.seek(0)
    text = head.lstrip().lower()
    if not head:
        raise _UnreadableError("it is empty")
    if head.startswith(b"version https://git-lfs"):
        raise _UnreadableError("it is a pointer of Git LFS: `git lfs pull` fetches the file itself")
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise _UnreadableError("it is a page that a server answered with: download it once more")
    if b'"weight_map"' in head or name.endswith(".index.json"):
        raise _UnreadableError("it lists the parts of weights: one file of them all would do")
    if head.startswith(b"\x89HDF"):
        raise _UnreadableError("it is of Keras (HDF5), and no network here has its names")
    if head[257:262] == b"ustar":
        raise _UnreadableError("it is an archive (tar): unpack it")
    if head.startswith(b"\x1f\x8b"):
        return _content(_unpacked(gzip.GzipFile(fileobj=file)), name)
    if head.startswith(b"PK"):
        return _zipped(file, name)
    if head[8:9] == b"{":  # after the length of a header in JSON
        from safetensors.torch import load

        return load(file.read())
    return _loaded(file)


def _unpacked(packed: Any) -> io.BytesIO:
    content = packed.read(MOST_UNPACKED + 1)
    if len(content) > MOST_UNPACKED:
        raise _UnreadableError(f"it unpacks to more than {MOST_UNPACKED >> 30} GiB: unpack it")
    return io.BytesIO(content)


def _zipped(file: BinaryIO, name: str) -> Any:
    """Reads a zip: what `torch.save` writes, or an archive of such a file."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if any(one.endswith("/constants.pkl") for one in names):
            raise _UnreadableError(
                "it is a program (TorchScript): its model's `state_dict()`, saved by itself, would do"
            )
        if not any(one.endswith("data.pkl") for one in names):
            if names and all(one.endswith(".npy") for one in names):
                return _arrays(archive)
            inside = [one for one in names if one.lower().endswith(_SUFFIXES)]
            if len(inside) != 1:
                raise _UnreadableError(f"it is an archive of {len(inside)} such files: unpack it")
            with archive.open(inside[0]) as packed:
                return _content(_unpacked(packed), name)
    file.seek(0)
    return _loaded(file)


def _arrays(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Reads what `numpy.savez` wrote: arrays of numbers by name."""
    if sum(one.file_size for one in archive.infolist()) > MOST_UNPACKED:
        raise _UnreadableError(f"it unpacks to more than {MOST_UNPACKED >> 30} GiB")
    arrays: dict[str, Any] = {}
    for name in archive.namelist():
        with archive.open(name) as file:
            read = np.lib.format.read_array(file, allow_pickle=False)
        arrays[name.removesuffix(".npy")] = read
    return arrays


def _loaded(file: BinaryIO) -> Any:
    """Reads what `torch.save` wrote: tensors and plain values."""
    try:
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(_PLAIN):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise _UnreadableError(
                f"it holds more than tensors ({found[1]}), which is code to be run: "
                '`torch.save(model.state_dict(), "weights.pth")` saves tensors alone'
            ) from None
        raise


def _flattened(content: Any) -> dict[str, Tensor]:
    """Lists the tensors and arrays of nested mappings and lists by the names on their way, joined by dots."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    while waiting:
        names, value = waiting.pop()
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
            value = torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))
        if isinstance(value, Tensor):
            tensors[".".join(names)] = value.detach()
        elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            inner = value.items() if isinstance(value, Mapping) else enumerate(value)
            waiting += [((*names, str(key)), one) for key, one in reversed(list(inner))]
    return tensors
