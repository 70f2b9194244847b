"""What one dream changes while it runs: weights, guides, the size of tiles, recordings on a GPU.

A network never changes; a session is made for each render or picture, and its state is a flat dict of
tensors, which a film's journal keeps.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoomdream.dreaming.colors import DreamColors
from zoomdream.dreaming.rng import draw_integer
from zoomdream.errors import UsageError
from zoomdream.media.frame import Frame
from zoomdream.network.engine.replay import Replay
from zoomdream.network.layer_objectives import Wanted, objectives_of
from zoomdream.network.network import Network, standard_picture
from zoomdream.network.objective import Activations, Objective
from zoomdream.pipeline import take_thread_count
from zoomdream.process_settings import check_cuda_after_fork
from zoomdream.size import Size

NOISE_SIDE = 256  # px of the square of noise that pictures are looked at through

ChannelWeights = Sequence[Tensor | None]
"""For each objective (1, C, 1, 1): factors of its channels' energies; None leaves them alike."""


class DreamSession:
    """One dream, or the frames of one film, dreamt with a network.

    Each objective's gradient is divided by the mean gradient that it has on the picture that is dreamt (see
    `balance`), so that equal weights mean equally strong changes on any layer; Mordvintsev has a single
    layer and needs none of this.

    objectives: what is wanted; `weights`, one of each, may be changed at any time, and so may `objectives`
    for others of the same kind (a guide's next picture). colors: what steps may do to
    colours. tile: px of a tile's side at most; 0 where `dreaming.tiles` is to choose for a picture.
    """

    def __init__(
        self, network: Network, wanted: Wanted = (), *, replay: Replay | None = None
    ) -> None:
        """wanted: what to dream of, instead of what the network was loaded for. replay: how work is
        recorded; else as the network's device does. Raises UsageError for layers that the network was not
        loaded with."""
        take_thread_count()
        if network.at.device.type == "cuda":
            check_cuda_after_fork()
        self.network = network
        asked = objectives_of(wanted) if wanted else network.objectives
        _check_loaded(asked, network)
        self.objectives = tuple(part.bound(self._look_at, network.info.least) for part in asked)
        self.weights = [part.weight for part in asked]
        self.tile = 0
        self.colors = DreamColors()
        self._noise = torch.empty(0)
        self._scales: list[list[float]] | None = None  # of each objective, on each picture
        self._replay = replay or Replay(network.at.device)
        self._factors_on_device: tuple[list[list[float]], Tensor] | None = None

    @torch.no_grad()
    def _look_at(self, frame: Frame) -> Activations:
        return self.network.activations(frame.to(self.network.at.device))

    @torch.no_grad()
    def balance(self, frame: Frame) -> None:
        """Makes weights mean the same on every layer, by the gradients that layers have on pictures.

        frame: (N, 3, H, W); each picture of a batch is balanced alone.
        """
        scales = []
        for part in self.objectives:
            look = self.network.look(frame)
            seeds, divisor = part.strength_seeds(look.activations)
            top = torch.stack(
                [seed.abs().amax().clamp_min(1e-12) for seed in seeds.values()]
            ).amax()
            in_range = {layer: seed / top for layer, seed in seeds.items()}  # of fp16
            gradient = look.backward_to_input(in_range)
            sizes = [
                float(picture.abs().mean() * top) for picture in torch.split(gradient.float(), 1)
            ]
            scales.append([(size + 1e-12) / divisor for size in sizes])
        self._scales = scales

    @torch.no_grad()
    def gradient(
        self, frame: Frame, channel_weights: ChannelWeights | None = None, measured: bool = True
    ) -> tuple[Tensor, list[float]]:
        """Computes the gradient of what is wanted at pictures, and each objective's energy if `measured`.

        frame: (N, 3, H, W) in 0..1, H and W at least `network.info.least`. The gradient has its shape,
        float32, in no particular unit: normalise it.
        """
        factors = self._factors(len(frame))
        weights = [None] * len(factors) if channel_weights is None else list(channel_weights)
        if self._replay.on and all(part.replays for part in self.objectives):
            tensors = [weight for weight in weights if weight is not None]
            weighted = tuple(weight is not None for weight in weights)

            def look(frame: Tensor, factors: Tensor, *tensors: Tensor) -> list[Tensor]:
                by_picture = factors.view(len(weighted), -1, 1, 1, 1).unbind()
                return self._look(frame, by_picture, _in_place(tensors, weighted), measured)

            gradient, *energies = self._replay(
                (measured, self.objectives, weighted),
                look, frame, self._on_device(factors), *tensors,
            )  # fmt: skip
            gradient = gradient.clone()  # the next one is written over it
        else:
            numbers = [_factor(factor, frame.device) for factor in factors]
            gradient, *energies = self._look(frame, numbers, weights, measured)
        return gradient, [float(energy) for energy in energies]

    def _look(
        self,
        frame: Frame,
        factors: Sequence[Any],
        channel_weights: Sequence[Tensor | None],
        measured: bool,
    ) -> list[Tensor]:
        """Computes the gradient, and each objective's energy if `measured`. factors: of each one's seeds."""
        look = self.network.look(frame)
        total: dict[str, Tensor] = {}
        energies = []
        for part, factor, weights in zip(self.objectives, factors, channel_weights, strict=True):
            if measured:
                energies.append(part.energy(look.activations))
            for layer, seed in part.seeds(look.activations, weights).items():
                seed = (seed * factor).to(look.activations[layer].dtype)
                total[layer] = total[layer] + seed if layer in total else seed
        return [look.backward(total), *energies]

    def _factors(self, count: int) -> list[list[float]]:
        """Computes what each objective's seeds are multiplied by, for its weight.

        count: of pictures. Each has its own factor where so many were balanced; else all have the same one.
        """
        if self._scales is None:
            self.balance(standard_picture().to(self.network.at.device))
        whole = sum(map(abs, self.weights)) or 1.0
        factors = []
        for weight, scales in zip(self.weights, self._scales or [], strict=True):
            scales = scales if len(scales) == count else [sum(scales) / len(scales)]
            factors.append([weight / whole / scale for scale in scales])
        return factors

    def _on_device(self, factors: list[list[float]]) -> Tensor:
        """Gives factors as a tensor on the device, which is brought there only when they change."""
        if self._factors_on_device is None or self._factors_on_device[0] != factors:
            at = self.network.at.device
            self._factors_on_device = factors, torch.tensor(factors, device=at)
        return self._factors_on_device[1]

    def noise(self, size: Size, rng: torch.Generator) -> Tensor:
        """Gives white noise of deviation 1, (1, 3, H, W), on the network's device.

        One square of it is drawn for all, and shifted by chance: many times quicker than new noise.
        """
        if not len(self._noise):
            square = torch.randn(
                1, 3, NOISE_SIDE, NOISE_SIDE, generator=torch.Generator().manual_seed(0)
            )
            self._noise = square.to(self.network.at.device)
        shift = draw_integer(rng, 0, NOISE_SIDE - 1), draw_integer(rng, 0, NOISE_SIDE - 1)
        rows, columns = (-(-side // NOISE_SIDE) for side in size.shape)
        whole = self._noise.roll(shift, (2, 3)).repeat(1, 1, rows, columns)
        return whole[..., : size.height, : size.width]

    def objective(self, energies: Sequence[float]) -> float:
        """Averages the objectives' energies: their geometric mean, by weight; 0 without any."""
        if not energies:
            return 0.0
        logs = (w * math.log(max(e, 1e-12)) for w, e in zip(self.weights, energies, strict=True))
        return math.exp(sum(logs) / (sum(map(abs, self.weights)) or 1.0))

    def free_memory(self) -> None:
        """Frees memory that only makes the next gradient quicker."""
        self._replay.forget()

    @property
    def state(self) -> dict[str, Tensor]:
        """What the next frame's dream follows from, besides settings and pictures; on the CPU."""
        return {"tile": torch.tensor(self.tile)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes on from a state."""
        self.tile = int(state["tile"])


def _factor(by_picture: list[float], device: torch.device) -> float | Tensor:
    """Turns a factor for each picture into a tensor, (N, 1, 1, 1); a single one stays a number."""
    if len(by_picture) == 1:
        return by_picture[0]
    return torch.tensor(by_picture, device=device).view(-1, 1, 1, 1)


def _in_place(tensors: Sequence[Tensor], places: Sequence[bool]) -> list[Tensor | None]:
    """Puts tensors in those places that have one, and None in the others."""
    remaining = iter(tensors)
    return [next(remaining) if has_one else None for has_one in places]


def _check_loaded(objectives: Sequence[Objective], network: Network) -> None:
    """Raises UsageError for objectives of layers that a network does not give."""
    for part in objectives:
        for layer in part.layers:
            if layer not in network.channels:
                raise UsageError(
                    f'{network.info.name} was loaded for {", ".join(network.layers)}, and "{layer}" is '
                    "wanted of it: name it when the network is loaded"
                )
        part.check(network.channels, network.info.name)
