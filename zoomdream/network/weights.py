"""Weights: fetched once, checked, read as tensors only, and put into a network."""

import contextlib
import socket
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from zoomdream.errors import WeightsError
from zoomdream.files import digest
from zoomdream.network.catalog import NetworkInfo, network_info
from zoomdream.process_settings import ProcessSetting

CONNECTION_TIMEOUT = 30  # seconds without an answer after which a download is given up


def weights_path(info: NetworkInfo) -> Path:
    """Gives the file of a network's weights, where they are or will be once they are downloaded."""
    if info.weights_file is not None:
        return info.weights_file
    return cache_folder() / Path(urlparse(_url(info)).path).name


def has_weights(network: str | NetworkInfo) -> bool:
    """Whether a network's weights are here, and need not be fetched."""
    return weights_path(network_info(network)).exists()


def _url(info: NetworkInfo) -> str:
    if info.weights_url is None:
        raise WeightsError(f"{info.name} comes without weights: give a file of them")
    return info.weights_url()


def load_module(info: NetworkInfo, weights: Path | None = None) -> nn.Module:
    """Builds the whole network with weights: those of a file, or else its own, fetched once."""
    path = weights or info.weights_file
    if path is None:
        instead = "`model=pocket`, which ships with zoomdream"
        path = fetch_weights(info.name, _url(info), instead)
    return fill_network(info, read_weights(path), path)


def fill_network(info: NetworkInfo, state: dict[str, Tensor], path: Path) -> nn.Module:
    """Builds the whole network with weights, of their own number of classes.

    state: as `read_weights` gives it. path: where it is from, for messages. Raises WeightsError.
    """
    state = info.adapt_weights(state)
    last = [key for key in info.bare().state_dict() if key.endswith("weight")][-1]
    has_rows = last in state and state[last].ndim > 0
    module = info.bare(len(state[last]) if has_rows else 1000)
    own = module.state_dict()
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    if missing:
        raise WeightsError(
            f'{path} is not for {info.name}: it lacks "{missing[0]}"'
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            + "; check `model`"
        )
    for key, value in own.items():
        if key in state and state[key].shape != value.shape:
            raise WeightsError(
                f'{path} is not for {info.name}: "{key}" is {tuple(state[key].shape)} instead of '
                f"{tuple(value.shape)}; check `model`"
            )
        if key in state and not torch.isfinite(state[key]).all():
            raise WeightsError(f'{path} is damaged: "{key}" holds values that are not finite')
    module.load_state_dict({k: state[k].float() for k in own if k in state}, strict=False)
    return module


def load_or_random(info: NetworkInfo, weights: Path | None = None) -> tuple[nn.Module, bool]:
    """Builds the whole network with weights that need no download, or else with random ones.

    For measuring. The second value says whether they are random. Raises WeightsError.
    """
    if weights or has_weights(info):
        return load_module(info, weights), False
    return random_network(info), True


def random_network(info: NetworkInfo) -> nn.Module:
    """Builds the whole network with random weights, always the same: He's normal ones, no biases.

    Norms do nothing.
    """
    module = info.bare()
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(part.weight, generator=rng)
                if part.bias is not None:
                    part.bias.zero_()
    return module


def cache_folder() -> Path:
    """Gives torch's folder of downloaded weights (`TORCH_HOME` moves it)."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def fetch_weights(name: str, url: str, instead: str) -> Path:
    """Fetches weights once into torch's usual cache, and checks the hash that is in their name.

    name: of what they are for. instead: what would do without them, for the message. Raises WeightsError.
    """
    path = cache_folder() / Path(urlparse(url).path).name
    if not path.exists():
        try:
            if sys.stderr is not None:
                sys.stderr.write(f"{name}: fetching {url} (once) to {path}\n")
            path.parent.mkdir(parents=True, exist_ok=True)
            with _downloading:
                torch.hub.download_url_to_file(
                    url, str(path), path.stem.rpartition("-")[2], progress=sys.stderr is not None
                )
        except (URLError, OSError, RuntimeError) as error:
            reason = getattr(error, "reason", error)
            raise WeightsError(
                f"{name}'s weights are not here and cannot be fetched ({reason}): "
                f"put {url} at {path}, or use {instead}"
            ) from None
    if not digest(path).startswith(path.stem.rpartition("-")[2]):
        raise WeightsError(f"{path} is damaged (its hash is wrong): delete it to fetch it again")
    return path


def _quiet_and_impatient() -> Callable[[], None]:
    """Lets connections time out, and what is printed go to stderr, as events may be on stdout."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECTION_TIMEOUT)
    redirection = contextlib.redirect_stdout(sys.stderr)
    redirection.__enter__()

    def undo() -> None:
        redirection.__exit__(None, None, None)
        socket.setdefaulttimeout(timeout)

    return undo


_downloading = ProcessSetting(_quiet_and_impatient)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads a state dict from .safetensors or .pth; code in the file is never run.

    Looks under `state_dict` or `model`, and takes the prefix `module.` off. Raises WeightsError.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            state: Any = load(path.read_bytes())  # it opens no file whose name is not UTF-8
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
