"""The eye: networks, the names of their layers, their normalisation and their weights.

A `Network` takes Frames; a network's own normalisation, precision and memory format stay in here.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from zoomdream.errors import UsageError
from zoomdream.media.frame import Frame
from zoomdream.media.noise import pink_noise
from zoomdream.network.catalog import NetworkInfo, network_info
from zoomdream.network.device import Place, choose_place
from zoomdream.network.engine.compiler import Engine, fold
from zoomdream.network.engine.replay import Replay
from zoomdream.network.layers import node_names, truncate
from zoomdream.network.objective import CLASS, Target, energy_of, seed_of
from zoomdream.network.weights import load_module
from zoomdream.size import Size


class Network:
    """A network cut after the deepest of its targets; gives gradients of their energy.

    The energy of a target is half the sum of its squared activations (its gradient is the
    activation itself: Mordvintsev et al. 2015); that of a single class is its answer before softmax
    (Simonyan et al. 2014), so that a class that is nowhere yet can be dreamt too.
    Each target's energy is divided by the mean gradient that its layer has on the picture that is dreamt
    (see `balance`), so that equal weights mean equally strong changes on any layer; Mordvintsev has a
    single layer and needs none of this. `weights`, one of each target, may be changed at any time; so may
    `guides`, which make of a target's values and seed the seed that is taken instead (see `guide`).

    In 16 bits its first layers are computed in float32 all the same (see `Engine`): up to a stride that
    brings the gradient's cosine to float32's to 0.99 at the kind's own layers, and twice that where classes
    are asked for, which takes more.
    """

    def __init__(
        self, kind: NetworkInfo, module: nn.Module, targets: Sequence[Target], at: Place
    ) -> None:
        self.info, self.targets, self.at = kind, tuple(targets), at
        self._names = node_names(kind, targets)
        module.requires_grad_(False)
        cut = truncate(module, kind, targets)
        for part in cut.modules():
            if getattr(part, "inplace", False):
                part.inplace = False  # type: ignore[assignment]  # else it writes over what is kept
        self._module = fold(cut).to(at.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._scale = 1 / torch.tensor(kind.deviation, device=at.device).view(1, 3, 1, 1)
        self._shift = -torch.tensor(kind.mean, device=at.device).view(1, 3, 1, 1) * self._scale
        self._bytes: float | None = None
        self.channels = self._count_channels()  # of each target's layer
        classes = any(target.layer == CLASS for target in targets)
        self._engine = Engine(self._module, at, kind.exact_below * (2 if classes else 1))
        self._module = self._module.to(at.dtype)
        self._sizes = [1.0] * len(self.targets)
        self.tile = 0  # px of a tile's side, at most; 0: `dream.tile_side` chooses for a picture
        self.weights = [target.weight for target in self.targets]
        self.guides: Sequence[Callable[[Tensor, Tensor], Tensor] | None] | None = None
        self._replay = Replay(at.device)
        self._held: tuple[list[float], Tensor] | None = None  # factors, and the same on the device
        self.balance(standard_picture().to(at.device))

    def _count_channels(self) -> list[int]:
        """Of each target's layer; raises UsageError where there is none, or none of that number."""
        with torch.no_grad():
            found = self._module(self._normalised(standard_picture().to(self.at.device)))
        values = [self._as_map(target, found[name]) for target, name in self._named]
        for target, value in zip(self.targets, values, strict=True):
            if value.ndim != 4:
                raise UsageError(
                    f"{target.layer} of {self.info.name} has no channels to dream with"
                )
            target.check(value.shape[1], self.info.name)
        return [value.shape[1] for value in values]

    @property
    def _named(self) -> Iterator[tuple[Target, str]]:
        """Targets with their nodes' names."""
        return zip(self.targets, self._names, strict=True)

    @torch.no_grad()
    def balance(self, frame: Frame) -> None:
        """Makes weights mean the same on every layer, by the gradients that layers have on a frame."""
        x = self._normalised(frame)
        for number, (target, name) in enumerate(self._named):
            look = self._engine.forward(x)
            value = look.values[name]
            one = target.channel is not None and target.layer != CLASS
            seed = value if one else seed_of(target, self._as_map(target, value))
            if one and target.is_direction:  # whose seed does not depend on the value
                seed = torch.ones_like(value)
            top = seed.abs().amax().clamp_min(1e-12)  # keeps fp16 in its range
            gradient = look.backward({name: (seed / top).view_as(value)})
            alone = self.channels[number] ** 0.5 if one else 1.0  # it may be silent on this frame
            size = float(gradient.float().abs().mean() * top)
            self._sizes[number] = (size + 1e-12) / alone

    def _normalised(self, frame: Frame, dtype: torch.dtype = torch.float32) -> Tensor:
        x = torch.addcmul(self._shift, frame, self._scale)
        return x.to(dtype, memory_format=torch.channels_last)

    @staticmethod
    def _as_map(target: Target, value: Tensor) -> Tensor:
        """A classifier's answers as a map of a single place."""
        return value[..., None, None] if target.layer == CLASS and value.ndim == 2 else value

    @torch.no_grad()
    def gradient(
        self, frame: Frame, channel_weights: Sequence[Tensor] | None = None, measured: bool = True
    ) -> tuple[Tensor, list[float]]:
        """The objective's gradient at a frame, and each target's mean squared activation if `measured`.

        frame: (1, 3, H, W) in 0..1, H and W at least `info.least`. channel_weights: for each target
        (1, C, 1, 1), factors of its channels' energies. The gradient has the frame's shape, float32, in no
        particular unit: normalise it.
        """
        factors, weighted = self._factors(), () if channel_weights is None else channel_weights
        if self._replay.on and not any(self.guides or ()):  # guides look differently each time
            gradient, *energies = self._replay(
                measured,
                lambda frame, factors, *weights: self._look(frame, factors.split(1), weights, measured),
                frame, self._on_device(factors), *weighted,
            )  # fmt: skip
            gradient = gradient.clone()  # the next one is written over it
        else:
            gradient, *energies = self._look(frame, factors, weighted, measured)
        return gradient, [float(energy) for energy in energies]

    def forget(self) -> None:
        """Gives memory back that only makes the next gradient quicker."""
        self._replay.forget()

    def _look(
        self,
        frame: Frame,
        factors: Sequence[Any],
        channel_weights: Sequence[Tensor],
        measured: bool,
    ) -> list[Tensor]:
        """The gradient, and each target's energy if `measured`. factors: of each target's seed."""
        look = self._engine.forward(self._normalised(frame))
        seeds: dict[str, Tensor] = {}
        energies = []
        for number, (target, name) in enumerate(self._named):
            value = self._as_map(target, look.values[name])
            if measured:
                energies.append(energy_of(target, value))
            seed = seed_of(target, value)
            if target.channel is None and channel_weights:
                seed = seed * channel_weights[number]
            if self.guides and (guide := self.guides[number]):
                seed = guide(value, seed)
            seed = (seed * factors[number]).to(value.dtype).view_as(look.values[name])
            seeds[name] = seeds[name] + seed if name in seeds else seed
        return [look.backward(seeds) * self._scale, *energies]

    def _factors(self) -> list[float]:
        """What each target's seed is multiplied by, for its weight."""
        whole = sum(map(abs, self.weights)) or 1.0
        pairs = zip(self.weights, self._sizes, strict=True)
        return [weight / whole / size for weight, size in pairs]

    def _on_device(self, factors: list[float]) -> Tensor:
        """The same as a tensor, which is brought there only when they change."""
        if self._held is None or self._held[0] != factors:
            self._held = factors, torch.tensor(factors, device=self.at.device)
        return self._held[1]

    def values(self, frames: Tensor) -> list[Tensor]:
        """Each target's layer on pictures (N, 3, H, W) in 0..1: (N, C, h, w), in the network's precision.

        Gradients flow through it to `frames`, where those want them.
        """
        found = self._module(self._normalised(frames, self.at.dtype))
        return [self._as_map(target, found[name]) for target, name in self._named]

    def objective(self, energies: Sequence[float]) -> float:
        """One number from the targets' energies: their geometric mean, by weight; 0 without energies."""
        if not energies:
            return 0.0
        weights = self.weights
        logs = (w * math.log(max(e, 1e-12)) for w, e in zip(weights, energies, strict=True))
        return math.exp(sum(logs) / (sum(map(abs, weights)) or 1.0))

    @property
    def module(self) -> nn.Module:
        """The network itself, cut and folded, in its precision; gives a dict of its targets' values."""
        return cast(nn.Module, self._module)

    @property
    def in_float32(self) -> frozenset[str]:
        """Names of its modules that `gradient` computes in float32 on the way forth (see `Engine`)."""
        return self._engine.in_float32

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all parameters that are used, as they are used, and of the scale of pictures."""
        total = hashlib.sha256(repr((self.info.mean, self.info.deviation)).encode())
        for name, tensor in sorted(self._module.state_dict().items()):
            content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            total.update(name.encode() + content.numpy().tobytes())
        return total.hexdigest()

    @property
    def bytes_per_pixel(self) -> float:
        """Memory that one gradient takes at its peak, per pixel: counted, not guessed."""
        if self._bytes is None:
            size = max(64, self.info.least)
            with torch.no_grad():
                frame = torch.zeros(1, 3, size, size, device=self.at.device)
                held = self._engine.forward(self._normalised(frame)).nbytes
            self._bytes = 1.5 * max(held, 1) / size**2
        return self._bytes


def standard_picture() -> Frame:
    """1/f noise, (1, 3, 224, 224), always the same."""
    return (0.5 + 0.2 * pink_noise(Size.square(224), torch.Generator().manual_seed(2015))).clamp(
        0, 1
    )


def load_network(
    name: str,
    targets: Sequence[str] = (),
    *,
    weights: Path | None = None,
    at: Place | None = None,
) -> Network:
    """A network ready to dream with, loaded once per render.

    targets: as `Target.parse` takes them; none means the network's own choice. Raises UsageError
    for unknown names (with the nearest ones) and WeightsError where there are no good weights.
    """
    kind = network_info(name)
    parsed = parse_targets(kind, targets)
    return Network(kind, load_module(kind, parsed, weights), parsed, at or choose_place())


def parse_targets(kind: NetworkInfo, targets: Sequence[str]) -> list[Target]:
    """Targets by their texts, the network's own choice without any; raises UsageError."""
    parsed = [Target.parse(text) for text in targets or kind.layers]
    if all(target.weight <= 0 for target in parsed):
        raise UsageError("no layer has a weight above 0: there is nothing to dream")
    return parsed


def load_networks(
    name: str, targets: Sequence[Target], *, weights: Path | None = None, at: Place | None = None
) -> Iterator[Network]:
    """A network for each target alone, one after another; the weights are read once. Raises as `load`."""
    kind = network_info(name)
    module = load_module(kind, targets, weights)
    for target in targets:
        yield Network(kind, deepcopy(module), [target], at or choose_place())
