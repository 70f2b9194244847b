"""Weights: fetched once, checked, and put into a network."""

import contextlib
import re
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from zoomdream.errors import WeightsError
from zoomdream.files import digest
from zoomdream.network.catalog import NetworkInfo, network_info, networks
from zoomdream.network.layers import truncate
from zoomdream.network.unwrapping import find_state
from zoomdream.network.weights_file import read_weights
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
    return load_wanted(info, weights)[0]


def load_wanted(
    info: NetworkInfo, weights: Path | None = None, layers: Sequence[str] | None = None
) -> tuple[nn.Module, tuple[str, ...]]:
    """Builds the whole network with weights, as `load_module` does, and notes on where they were found.

    layers: those that are wanted; weights that lie behind them may be missing, and are zero then.
    """
    path = weights or info.weights_file
    if path is None:
        instead = "`model=pocket`, which ships with zoomdream"
        path = fetch_weights(info.name, _url(info), instead)
    return _filled(info, read_weights(path), path, layers)


def fill_network(info: NetworkInfo, state: dict[str, Tensor], path: Path) -> nn.Module:
    """Builds the whole network with weights, of their own number of classes.

    state: as `read_weights` gives it. path: where it is from, for messages. Raises WeightsError.
    """
    return _filled(info, state, path)[0]


def _filled(
    info: NetworkInfo,
    tensors: dict[str, Tensor],
    path: Path,
    layers: Sequence[str] | None = None,
) -> tuple[nn.Module, tuple[str, ...]]:
    module = info.bare()
    own = module.state_dict()
    found = find_state(tensors, own, info.adapt_weights)
    state = {key: found.state[key] for key in own if key in found.state}
    head = [key for key in own if key.endswith("weight")][-1]
    if head in state and state[head].ndim > 0 and len(state[head]) != len(own[head]):
        module = info.bare(len(state[head]))
        own = module.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    notes = found.notes
    if missing and layers is not None and _needed(info, layers).isdisjoint(missing):
        end = f'the weights end before "{missing[0]}": what follows cannot be dreamt of'
        notes, missing = (*notes, end), []
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise _mismatch(info, tensors, path, f'it lacks "{missing[0]}"{more}')
    for key, value in state.items():
        if value.shape != own[key].shape:
            shapes = f"{tuple(value.shape)} instead of {tuple(own[key].shape)}"
            raise _mismatch(info, tensors, path, f'"{key}" is {shapes}')
    module.load_state_dict({k: _floats(v, k, path) for k, v in state.items()}, strict=False)
    return module, notes


def _needed(info: NetworkInfo, layers: Sequence[str]) -> set[str]:
    """Names the tensors that some layers are computed from."""
    module = info.bare()
    own = module.state_dict(keep_vars=True)
    cut = truncate(module, info, layers).state_dict(keep_vars=True)
    kept = {id(value) for value in cut.values()}  # whatever it calls them
    return {name for name, value in own.items() if id(value) in kept} or {*own}


def _floats(value: Tensor, key: str, path: Path) -> Tensor:
    """Gives a weight as float32; raises WeightsError where it is not finite, or its scale is not known."""
    if value.is_meta:
        raise WeightsError(f'{path} holds no values of "{key}", only its shape')
    if value.layout != torch.strided:
        value = value.to_dense()
    if key.endswith("num_batches_tracked"):
        return value
    if value.is_quantized:
        value = value.dequantize()
    if not value.is_floating_point():
        kind = str(value.dtype).removeprefix("torch.")
        raise WeightsError(
            f'{path} holds "{key}" in {kind}, without the scale of it: weights in floats would do'
        )
    value = value.float()
    if not torch.isfinite(value).all():
        raise WeightsError(f'{path} is damaged: "{key}" holds values that are not finite')
    return value


def _mismatch(
    info: NetworkInfo, tensors: dict[str, Tensor], path: Path, reason: str
) -> WeightsError:
    """Says why a file is not for a network, and for which one of the catalog it is."""
    for other in networks():
        with torch.device("meta"):  # names and shapes are all that is looked at
            own = other.bare().state_dict()
        state = find_state(tensors, own, other.adapt_weights).state
        head = [key for key in own if key.endswith("weight")][-1].rpartition(".")[0]
        if other.name != info.name and all(
            key in state and (state[key].shape == value.shape or key.startswith(head))
            for key, value in own.items()
            if not key.endswith("num_batches_tracked")
        ):
            return WeightsError(
                f"{path} is not for {info.name} but for {other.name}: use `model={other.name}`"
            )
    if re.search(r"-\d+-of-\d+", path.name):
        reason += ", as a part of several files; one of them all would do"
        return WeightsError(f"{path} is not for {info.name}: {reason}")
    return WeightsError(f"{path} is not for {info.name}: {reason}; check `model`")


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
