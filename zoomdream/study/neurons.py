"""Finds what single neurons look for: the pictures that excite them most.

Activation maximisation after Olah, Mordvintsev and Schubert (2017), "Feature Visualization", and their
code, tensorflow/lucid: Adam on a picture's Fourier coefficients (see `fourier`). Before each look the
picture is shifted, scaled and turned a little and seen through noise, so that only what survives that can
grow; and a class grows away from its nearest rivals too, which have most of it in common. Lucid does one
neuron at a time, we many in a batch.

A neuron that is silent has no gradient after its ReLU. Lucid lets gradients through every ReLU for the
first steps, which would mean to rewrite each network; we begin, for each neuron, with that one of many
noises which excites it most; and as long as it is silent, it is the whole layer that we excite.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zoomdream.dreaming.tiles import tile_side
from zoomdream.media.frame import Frame
from zoomdream.network.classes import CLASS
from zoomdream.network.layer_objectives import Target
from zoomdream.network.network import Network
from zoomdream.process_settings import exact_cudnn, freed_memory_kept
from zoomdream.settings.definitions import NeuronSpec
from zoomdream.size import Size
from zoomdream.study.channels import in_batches
from zoomdream.study.fourier import COLOURS, NOISE_COUNT, FourierPictures, noise_planes, to_planes

RATE_FROM_NOISE = 0.08  # Adam's rate from noise; lucid takes 512 steps of 0.05
RATE_FROM_PICTURE = 0.03  # and from a picture, so that it can still be seen
PIXELS_AT_ONCE = 600_000  # pixels that are optimised in one batch
SHIFT, ZOOM, TURN = 1 / 12, 0.2, 15.0  # of a look, at most: of the side, a factor, degrees
NOISE = 0.06  # deviation of what a look adds to a picture in 0..1
RIVALS = 10  # of a class: how many of the others, the most excited ones, count
RIVAL_COST = 0.3  # how much their mean costs
DIVERSITY_COST = 1.0  # how much it costs that answers to one neuron are alike

Progress = Callable[[int, int], None]
"""Is given how many steps are done, and how many there are."""


def visualize_neurons(
    network: Network,
    targets: Sequence[Target],
    spec: NeuronSpec,
    seed: int = 0,
    start: Frame | None = None,
    progress: Progress | None = None,
    *,
    colours: Tensor = COLOURS,
    pixels_at_once: int = PIXELS_AT_ONCE,
    noise_count: int = NOISE_COUNT,
    diversity_cost: float = DIVERSITY_COST,
) -> Tensor:
    """Makes, for each target, pictures that excite it most: (targets, answers, 3, size, size) in 0..1.

    network: one that was loaded with the targets' layer; they share one. start: the picture to begin with,
    (1, 3, size, size); none means noise. A target's pictures depend on the seed, not on what else is asked
    for. colours: (3, 3), of the pictures as `FourierPictures` has them. pixels_at_once: pixels of a batch,
    at most. noise_count: pictures of noise among which each neuron chooses its first. diversity_cost: what
    it costs that answers are alike. Raises UsageError where size is too small for the network, or its
    gradient overflows.
    """
    network.info.check_size(Size.square(spec.size))
    for target in targets:
        target.check(network.channels, network.info.name)
    rate = spec.step_size or (RATE_FROM_NOISE if start is None else RATE_FROM_PICTURE)
    ascent = _Ascent(network, targets[0].layer, spec, rate, seed, diversity_cost, colours)
    answers = spec.diverse
    with exact_cudnn, freed_memory_kept:
        first = _first_planes(spec, seed, start, noise_count, colours)
        excitement = ascent.excitement(targets, first)
        room = min(pixels_at_once, tile_side(network, pixels_at_once) ** 2)
        each = max(1, room // (spec.size**2 * answers))  # targets in a batch
        steps = _StepCount(math.ceil(len(targets) / each) * spec.steps, progress)
        pictures = []
        for begin in range(0, len(targets), each):
            best = excitement[begin : begin + each].argsort(dim=1, descending=True, stable=True)
            chosen = best[:, torch.arange(answers) % len(first)].flatten()
            batch = ascent.climb(targets[begin : begin + each], first[chosen], steps.count)
            pictures.append(batch.view(-1, answers, 3, spec.size, spec.size))
    return torch.cat(pictures)


def _first_planes(
    spec: NeuronSpec, seed: int, start: Frame | None, noise_count: int, colours: Tensor
) -> Tensor:
    """Makes the pictures among which each target chooses those that it begins with, as planes."""
    noise = noise_planes(Size.square(spec.size), seed, least=spec.diverse, most=noise_count)
    if start is None:
        return noise
    off = (
        0.5 * noise[: spec.diverse - 1]
    )  # other answers begin a little off, or they would not differ
    return to_planes(start.cpu(), colours) + torch.cat([torch.zeros_like(noise[:1]), off])


class _StepCount:
    """Counts steps over all batches, and tells."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def count(self) -> None:
        self._done += 1
        if self._progress:
            self._progress(self._done, self._total)


@dataclass(frozen=True)
class _Ascent:
    """Gradient ascent on batches of pictures, towards targets in one layer of a network."""

    network: Network
    layer: str
    spec: NeuronSpec
    rate: float
    seed: int
    diversity_cost: float
    colours: Tensor

    @torch.no_grad()
    def excitement(self, targets: Sequence[Target], planes: Tensor) -> Tensor:
        """Measures how much each of N first pictures excites each target already: (targets, N)."""
        rows = []
        for part in in_batches(planes):
            value = self._activation(
                FourierPictures(part.to(self.network.at.device), self.colours).frames()
            )
            mean = self._watched(value)
            rows.append(torch.stack([(mean * t.vector(value)[..., 0, 0]).sum(1) for t in targets]))
        return torch.cat(rows, 1).cpu()

    def climb(
        self, targets: Sequence[Target], planes: Tensor, on_step: Callable[[], None]
    ) -> Tensor:
        """Optimises a batch of pictures, (N, 3, H, W) on the CPU; N is a multiple of the targets."""
        spec, device = self.spec, self.network.at.device
        pictures = FourierPictures(planes.to(device), self.colours)
        directions = self._directions(targets)
        names_class = len(directions[0]) > 1 and self.layer == CLASS
        names_class = names_class and not any(target.is_direction for target in targets)
        rng = torch.Generator().manual_seed(self.seed)
        adam = torch.optim.Adam([pictures.coefficients], eps=1e-12)
        for step in range(spec.steps):
            for group in adam.param_groups:  # in the second half they become smaller, and settle
                group["lr"] = self.rate * min(1.0, 2 * (1 - step / spec.steps) + 0.1)
            value = self._activation(glance(pictures.frames(), rng))
            goal = self._goal(value, directions)
            if names_class:
                goal = goal - RIVAL_COST * self._rivals(value, directions)
            # Adam does not mind a factor, and fp16 has no tiny numbers
            whole = goal.sum() * value[0, 0].numel()
            (gradient,) = torch.autograd.grad(whole, pictures.coefficients)
            pictures.coefficients.grad = -gradient
            adam.step()
            on_step()
        self.network.check_finite(pictures.coefficients)
        return pictures.frames().detach().cpu()

    def _directions(self, targets: Sequence[Target]) -> Tensor:
        """(N, C): each picture's target, as a direction in the layer's space."""
        like = torch.zeros(1, self.network.channels[self.layer], 1, 1)
        vectors = torch.cat([target.vector(like) for target in targets])[..., 0, 0]
        return vectors.to(self.network.at.device).repeat_interleave(self.spec.diverse, 0)

    def _goal(self, value: Tensor, directions: Tensor) -> Tensor:
        """What is to grow, (N,): of a silent target all of the layer; answers that are alike cost."""
        watched = self._watched(value)
        score = (watched * directions).sum(1)
        goal = torch.where(score == 0, watched.mean(1), score)
        if self.spec.diverse > 1:
            likeness = gram_likeness(value, self.spec.diverse)
            goal = goal - self.diversity_cost * score.detach().abs() * likeness
        return goal

    def _rivals(self, value: Tensor, directions: Tensor) -> Tensor:
        """Measures how much the strongest of the other classes are excited, (N,)."""
        others = self._watched(value).masked_fill(directions != 0, -math.inf)
        count = min(RIVALS, others.shape[1] - 1)
        return others.topk(count, 1).values.mean(1)

    def _activation(self, frames: Tensor) -> Tensor:
        return self.network.activations(frames)[self.layer].float()

    def _watched(self, value: Tensor) -> Tensor:
        """(N, C) of a layer (N, C, H, W): its mean over the map, or the neurons in the middle of it."""
        if self.spec.neuron:
            return value[..., value.shape[2] // 2, value.shape[3] // 2]
        return value.mean((2, 3))


def glance(frames: Tensor, rng: torch.Generator) -> Tensor:
    """Shifts, scales and turns pictures (N, 3, H, W) by chance, and adds noise, all alike.

    They are mirrored at the border.
    """
    sideways, down, zoom, turn = (2 * torch.rand(4, generator=rng) - 1).tolist()
    scale, angle = math.exp(zoom * math.log1p(ZOOM)), math.radians(TURN) * turn
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    matrix = torch.tensor([[cos, -sin, 2 * SHIFT * sideways], [sin, cos, 2 * SHIFT * down]])
    one = F.affine_grid(matrix[None], [1, 1, *frames.shape[2:]], align_corners=False)
    grid = one.to(frames.device).expand(len(frames), -1, -1, -1)
    moved = F.grid_sample(frames, grid, padding_mode="reflection", align_corners=False)
    return moved + NOISE * torch.randn(frames[:1].shape, generator=rng).to(frames.device)


def gram_likeness(value: Tensor, answers: int) -> Tensor:
    """Measures how like each picture's Gram matrix is to those of the other answers: (N,).

    The mean cosine, 0..1 (lucid, `diversity`: the texture is what should differ, not the place). value:
    (N, C, H, W), of which `answers` after one another belong together.
    """
    flat = value.flatten(2)  # (N, C, places)
    gram = flat @ flat.transpose(1, 2)
    gram = F.normalize(gram.flatten(1), dim=1).view(-1, answers, gram.shape[1] ** 2)
    alike = gram @ gram.transpose(1, 2)  # (targets, answers, answers)
    others = alike.sum(2) - alike.diagonal(dim1=1, dim2=2)
    return others.flatten() / (answers - 1)
