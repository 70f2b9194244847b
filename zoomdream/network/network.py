"""A network that is ready to dream with: cut after the deepest layer that is wanted, and never changed.

A `Network` takes pictures in 0..1; its own normalisation, precision and memory format stay in here. One
may serve many pictures, renders and threads.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor, nn

from zoomdream.errors import UsageError
from zoomdream.media.frame import Frame
from zoomdream.media.noise import pink_noise
from zoomdream.network.catalog import NetworkInfo, network_info
from zoomdream.network.classes import CLASS
from zoomdream.network.device import Place, choose_place
from zoomdream.network.engine.compiler import Engine, ForwardPass, fold
from zoomdream.network.layer_objectives import Wanted, objectives_of
from zoomdream.network.layers import node_names, truncate
from zoomdream.network.objective import Activations, Objective
from zoomdream.network.weights import load_wanted
from zoomdream.size import Size


@dataclass(frozen=True)
class Look:
    """A network's activations on pictures, and the gradient from there. Made by `Network.look`."""

    activations: Activations
    _pass: ForwardPass
    _nodes: Mapping[str, str]
    _scale: Tensor

    def backward(self, seeds: Mapping[str, Tensor]) -> Tensor:
        """Computes the pictures' gradient, of the sum of the layers' activations times their seeds; once.

        seeds: by layer, of its activations' shape and dtype; they are written over.
        """
        return self.backward_to_input(seeds) * self._scale

    def backward_to_input(self, seeds: Mapping[str, Tensor]) -> Tensor:
        """Computes the same for the pictures as the network takes them: normalised."""
        at_nodes: dict[str, Tensor] = {}
        for layer, seed in seeds.items():
            node = self._nodes[layer]
            seed = seed.view_as(self._pass.values[node])
            at_nodes[node] = at_nodes[node] + seed if node in at_nodes else seed
        return self._pass.backward(at_nodes)


class Network:
    """A network cut after the deepest layer that its objectives look at.

    objectives: what it was loaded to dream of; a dream may want something else of the same layers. info:
    its entry in the catalog. at: where it is computed, and in which precision. channels: how many each
    layer has. notes: what a person should know of its weights.

    In 16 bits its first layers are computed in float32 all the same (see `Engine`): up to a stride that
    brings the gradient's cosine to float32's to 0.99 at the network's own layers, and twice that where
    classes are asked for, which takes more.
    """

    def __init__(
        self,
        info: NetworkInfo,
        module: nn.Module,
        objectives: Sequence[Objective],
        at: Place,
        notes: Sequence[str] = (),
    ) -> None:
        """module: the whole network; it is changed, and is not to be used elsewhere. Raises UsageError for
        layers and channels that it has not."""
        self.info, self.objectives, self.at = info, tuple(objectives), at
        self.notes = tuple(notes)
        layers = _layers_of(objectives)
        self._nodes = dict(zip(layers, node_names(info, layers), strict=True))
        module.requires_grad_(False)
        cut = truncate(module, info, layers)
        for submodule in cut.modules():
            if getattr(submodule, "inplace", False):  # it would overwrite saved values
                submodule.inplace = False  # type: ignore[assignment]
        folded = fold(cut).to(at.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._scale = 1 / torch.tensor(info.deviation, device=at.device).view(1, 3, 1, 1)
        self._shift = -torch.tensor(info.mean, device=at.device).view(1, 3, 1, 1) * self._scale
        self._engine = Engine(folded, at, info.exact_below * (2 if CLASS in layers else 1))
        self._module = cast(nn.Module, folded.to(at.dtype))
        self.channels = MappingProxyType(self._count_channels())
        for part in self.objectives:
            part.check(self.channels, info.name)

    def _count_channels(self) -> dict[str, int]:
        """Counts the channels of each layer; raises UsageError where one has none."""
        with torch.no_grad():
            values = self.activations(standard_picture().to(self.at.device))
        for layer, value in values.items():
            if value.ndim != 4:
                raise UsageError(f"{layer} of {self.info.name} has no channels to dream with")
        return {layer: value.shape[1] for layer, value in values.items()}

    def check_finite(self, value: Tensor | float) -> None:
        """Raises UsageError where what came of its gradient is not finite: it overflowed in `at.dtype`."""
        if not torch.isfinite(torch.as_tensor(value)).all():
            raise UsageError(
                f"the gradient of {self.info.name} overflows in {self.at.dtype}: use `precision=fp32`"
            )

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers whose activations it gives."""
        return tuple(self._nodes)

    def look(self, frame: Frame) -> Look:
        """Looks at pictures, (N, 3, H, W) in 0..1, H and W at least `info.least`, without autograd."""
        forward = self._engine.forward(self._normalised(frame))
        return Look(self._by_layer(forward.values), forward, self._nodes, self._scale)

    def activations(self, frames: Tensor) -> dict[str, Tensor]:
        """Computes each layer's activations on pictures (N, 3, H, W) in 0..1: (N, C, h, w), in `at.dtype`.

        Gradients flow through it to `frames`, where those want them.
        """
        return self._by_layer(self._module(self._normalised(frames, self.at.dtype)))

    def _by_layer(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {layer: _as_map(layer, values[node]) for layer, node in self._nodes.items()}

    def _normalised(self, frame: Frame, dtype: torch.dtype = torch.float32) -> Tensor:
        x = torch.addcmul(self._shift, frame, self._scale)
        return x.to(dtype, memory_format=torch.channels_last)

    @property
    def module(self) -> nn.Module:
        """The network itself, cut and folded, in its precision; gives a dict by the tracer's names."""
        return self._module

    @property
    def in_float32(self) -> frozenset[str]:
        """Names of its modules that `look` computes in float32 (see `Engine`)."""
        return self._engine.in_float32

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all parameters that are used, as they are used, and of the scale of pictures."""
        total = hashlib.sha256(repr((self.info.mean, self.info.deviation)).encode())
        for name, tensor in sorted(self._module.state_dict().items()):
            content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            total.update(name.encode() + content.numpy().tobytes())
        return total.hexdigest()

    @cached_property
    def bytes_per_pixel(self) -> float:
        """Memory that one gradient takes at its peak, per pixel: counted, not guessed."""
        side = max(64, self.info.least)
        with torch.no_grad():
            frame = torch.zeros(1, 3, side, side, device=self.at.device)
            saved_bytes = self._engine.forward(self._normalised(frame)).nbytes
        return 1.5 * max(saved_bytes, 1) / side**2


def _as_map(layer: str, value: Tensor) -> Tensor:
    """Turns a classifier's answers (N, C) into maps of a single place, (N, C, 1, 1)."""
    return value[..., None, None] if layer == CLASS and value.ndim == 2 else value


def standard_picture() -> Frame:
    """Makes a picture of 1/f noise, (1, 3, 224, 224), always the same."""
    noise = pink_noise(Size.square(224), torch.Generator().manual_seed(2015))
    return (0.5 + 0.2 * noise).clamp(0, 1)


def load_network(
    network: str | NetworkInfo = "pocket",
    layers: Wanted = (),
    *,
    weights: Path | str | None = None,
    device: str | torch.device = "auto",
    precision: str = "auto",
    at: Place | None = None,
) -> Network:
    """Loads a network, ready to dream with; one may serve many pictures and renders.

    network: a name (see `zoomdream models`), or an entry for the catalog. layers: what it is to dream of:
    names such as `"eyes"`, `"eyes=0.5"`, `"eyes:12"` or `"class:lion"`, a list of them, a table of weights,
    or objectives; without any, the network's own choice. weights: a file, in which the network's tensors are
    found by their names, whatever they were wrapped into (the result's `notes` say what); else the
    network's own, which are fetched once. device, precision: as the settings of those names have it; `at`
    stands for both.

    Raises UsageError for unknown names (with the nearest ones) and WeightsError where there are no good
    weights.
    """
    info = network_info(network)
    objectives = objectives_of(layers, info.layers)
    check_layers(info, objectives)
    path = None if weights is None else Path(weights)
    place = at or choose_place(device, precision)
    module, notes = load_wanted(info, path, _layers_of(objectives))
    return Network(info, module, objectives, place, notes)


def load_networks(
    info: NetworkInfo,
    objectives: Sequence[Objective],
    *,
    weights: Path | None = None,
    at: Place | None = None,
) -> Iterator[Network]:
    """Loads a network for each objective alone, one after another; the weights are read once.

    Raises as `load_network` does.
    """
    check_layers(info, objectives)
    module, notes = load_wanted(info, weights, _layers_of(objectives))
    place = at or choose_place()
    for part in objectives:
        yield Network(info, deepcopy(module), [part], place, notes)


def _layers_of(objectives: Sequence[Objective]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in objectives for name in part.layers))


def check_layers(info: NetworkInfo, objectives: Sequence[Objective]) -> None:
    """Raises UsageError for layers that a network has not, before anything is downloaded."""
    node_names(info, [layer for part in objectives for layer in part.layers])
