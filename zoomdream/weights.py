"""Weights: fetched once, checked, and read as tensors only."""

import contextlib
import hashlib
import socket
import sys
import warnings
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from torch import Tensor

from zoomdream.errors import WeightsError


def cache_folder() -> Path:
    """Where downloaded weights are kept (`TORCH_HOME` moves it)."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def fetch(name: str, url: str) -> Path:
    """Torchvision's weights in its usual cache, fetched once; the hash in the name is checked.

    Raises WeightsError.
    """
    path = cache_folder() / Path(urlparse(url).path).name
    if not path.exists():
        patience = socket.getdefaulttimeout()
        socket.setdefaulttimeout(30)
        try:
            sys.stderr.write(f"{name}: fetching {url} (once) to {path}\n")
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.redirect_stdout(sys.stderr):
                torch.hub.download_url_to_file(url, str(path), path.stem.rpartition("-")[2])
        except (URLError, OSError, RuntimeError) as error:
            reason = getattr(error, "reason", error)
            instead = (
                "--flow dis" if name == "raft" else "--model pocket, which ships with zoomdream"
            )
            raise WeightsError(
                f"{name}'s weights are not here and cannot be fetched ({reason}): "
                f"put {url} at {path}, or use {instead}"
            ) from None
        finally:
            socket.setdefaulttimeout(patience)
    if not sha256(path).startswith(path.stem.rpartition("-")[2]):
        raise WeightsError(f"{path} is damaged (its hash is wrong): delete it to fetch it again")
    return path


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from .safetensors or .pth; code in the file is never run.

    Looks under `state_dict` or `model`, and takes the prefix `module.` off. Raises WeightsError.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            with warnings.catch_warnings(action="ignore"):
                state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"{path}: there is no such file") from None
    except Exception:  # any, where it is something else
        raise WeightsError(
            f"{path} is no file of weights that can be read safely: a state dict saved as .safetensors "
            "or .pth would do"
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds no state dict (names and tensors)")
    return {str(key).removeprefix("module."): value for key, value in state.items()}
