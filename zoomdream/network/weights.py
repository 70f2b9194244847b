"""Weights: fetched once, checked, read as tensors only, and put into a network."""

import contextlib
import hashlib
import socket
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from zoomdream.errors import WeightsError
from zoomdream.network.catalog import NetworkInfo, bare_network, network_info
from zoomdream.network.layers import node_names
from zoomdream.network.objective import Target

POCKET_WEIGHTS = Path(__file__).parent / "pocket" / "pocket.safetensors"


def weights_path(name: str) -> Path:
    """Where a network's weights are, or will be once they are downloaded."""
    if name == "pocket":
        return POCKET_WEIGHTS
    return cache_folder() / Path(urlparse(_url(name)).path).name


def _url(name: str) -> str:
    import torchvision

    enum = torchvision.models.get_model_weights(name)
    return str(enum[network_info(name).weights].url)


def _download(name: str) -> Path:
    return fetch_weights(name, _url(name))


def fill_network(kind: NetworkInfo, state: dict[str, Tensor], path: Path) -> nn.Module:
    """A network of the weights' own number of classes, with the weights in it."""
    if kind.name == "densenet121":  # old files number norm.1 what is now norm1
        for key in list(state):
            parts = key.split(".")
            if len(parts) > 3 and parts[-2] in "12" and parts[-3] in ("norm", "relu", "conv"):
                state[".".join([*parts[:-3], parts[-3] + parts[-2], parts[-1]])] = state.pop(key)
    last = [key for key in bare_network(kind).state_dict() if key.endswith("weight")][-1]
    module = bare_network(kind, len(state[last]) if last in state else 1000)
    own = module.state_dict()
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    if missing:
        raise WeightsError(
            f'{path} is not for {kind.name}: it lacks "{missing[0]}"'
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            + "; check --model"
        )
    for key, value in own.items():
        if key in state and state[key].shape != value.shape:
            raise WeightsError(
                f'{path} is not for {kind.name}: "{key}" is {tuple(state[key].shape)} instead of '
                f"{tuple(value.shape)}; check --model"
            )
        if key in state and not torch.isfinite(state[key]).all():
            raise WeightsError(f'{path} is damaged: "{key}" holds values that are not finite')
    module.load_state_dict({k: state[k].float() for k in own if k in state}, strict=False)
    return module


def load_or_random(
    kind: NetworkInfo, targets: Sequence[Target], weights: Path | None
) -> tuple[nn.Module, bool]:
    """The whole network with the weights that are here, or else with random ones; and which it is.

    For measuring, which nothing is fetched for. Raises as `load`.
    """
    if weights or weights_path(kind.name).exists():
        return load_module(kind, targets, weights), False
    node_names(kind, targets)
    return random_network(kind), True


def random_network(kind: NetworkInfo) -> nn.Module:
    """The whole network with weights by chance: He's normal ones, no biases, norms that do nothing."""
    module = bare_network(kind)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for part in module.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(part.weight)
                if part.bias is not None:
                    part.bias.zero_()
    return module


def load_module(kind: NetworkInfo, targets: Sequence[Target], weights: Path | None) -> nn.Module:
    """The whole network with its weights in it."""
    node_names(kind, targets)  # a wrong name is told before anything is downloaded
    path = weights or (POCKET_WEIGHTS if kind.name == "pocket" else _download(kind.name))
    return fill_network(kind, read_weights(path), path)


def cache_folder() -> Path:
    """Where downloaded weights are kept (`TORCH_HOME` moves it)."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def fetch_weights(name: str, url: str) -> Path:
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
