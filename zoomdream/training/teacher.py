"""Lays the teacher's grid over pocket's, and fills pocket with a part of its teacher."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomdream.network.catalog import DEVIATION, MEAN, NetworkInfo, network_info
from zoomdream.network.pocket.architecture import WIDTH, Blur, Fire, Pocket
from zoomdream.network.weights import load_module
from zoomdream.network.weights_file import read_weights

SIZE = 160  # of a training crop, px
MARGIN = 16, 8  # what the teacher sees beyond it: aligns its unpadded grid with pocket's
TAPS = {"strokes": 5, "patterns": 7, "scales": 8, "eyes": 9, "faces": 10, "creatures": 12}
STRIDE = {"strokes": 4, "patterns": 8, "scales": 8, "eyes": 8, "faces": 8}  # else 16
MEAN_PLANES, DEVIATION_PLANES = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
EXPANSIONS = "expand1x1", "expand3x3"  # of a Fire
Features = dict[str, Tensor]
"""Stages by name, (N, C, H, W) each."""


class Teacher(nn.Module):
    """SqueezeNet 1.0, its stages under pocket's names and cut to pocket's grid."""

    def __init__(self, weights: Path | None = None) -> None:
        """weights: torchvision's or others of the same layout; none means those that ship."""
        super().__init__()
        network: Any = load_module(network_info("squeezenet1_0"), weights)
        self.layers = network.features
        self.classes = network.classifier[1]
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, aligned: bool = True) -> Features:
        """Gives each stage for normalised pictures, (N, 3, H, W); cut to pocket's grid if `aligned`."""
        stages, names = {}, {index: name for name, index in TAPS.items()}
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in names:
                stages[names[index]] = x
        stages["class"] = F.relu(self.classes(x))
        return {name: cut(name, y) for name, y in stages.items()} if aligned else stages


def cut(name: str, x: Tensor, size: int = SIZE) -> Tensor:
    """Cuts out the part of a teacher's stage that lies on pocket's grid over a crop of `size` px."""
    return cut_by(x, STRIDE.get(name, 16), size)


def cut_by(x: Tensor, stride: int, size: int = SIZE) -> Tensor:
    """Does the same for a map of a stride."""
    start, length = {4: 3, 8: 1, 16: 0}[stride], size // stride
    return x[..., start : start + length, start : start + length]


def interior(name: str, x: Tensor) -> Tensor:
    """Cuts off a stage's border, where the two networks pad differently."""
    edge = {4: 3, 8: 2, 16: 1}[STRIDE.get(name, 16)]
    return x[..., edge:-edge, edge:-edge]


def relative_error(values: Tensor, goal: Tensor) -> Tensor:
    """Measures the squared error over the goal's mean square; a mean over everything."""
    return (values - goal).square().mean() / goal.square().mean().clamp_min(1e-6)


def pairs(student: Pocket, teacher: Teacher) -> list[tuple[Fire, Any]]:
    """Lists pocket's Fires beside the teacher's, in order."""
    mine = [module for module in student.modules() if isinstance(module, Fire)]
    theirs = [layer for layer in teacher.layers if hasattr(layer, "squeeze")]
    return list(zip(mine, theirs, strict=True))


@torch.no_grad()
def inherit(student: Pocket, teacher: Teacher, pictures: Tensor) -> None:
    """Fills the student with the parts of its teacher that matter most.

    pictures: normalised, of the size that the teacher sees.
    """
    both = pairs(student, teacher)
    squeezed = _squeezed(teacher, [theirs.squeeze for _, theirs in both], pictures)
    part = pictures[..., MARGIN[0] : MARGIN[0] + SIZE, MARGIN[0] : MARGIN[0] + SIZE]
    _first_layer(student.edges.filters, teacher.layers[0], used_by=both[0][1].squeeze)
    x = student.edges(part)
    for (mine, theirs), goal, user in zip(both, squeezed, _users(teacher), strict=True):
        inputs = Blur(x.shape[1])(x) if isinstance(mine.halve, Blur) else x
        _solve(mine.squeeze, inputs, cut_by(goal, part.shape[-1] // inputs.shape[-1]))
        _expand(mine, theirs, user)
        x = mine(x)
    classes: Any = getattr(student, "class")
    classes[0].load_state_dict(teacher.classes.state_dict())


def _users(teacher: Teacher) -> list[Any]:
    """Lists, for each of the teacher's Fires, the layer that takes what it gives."""
    fires: list[Any] = [layer for layer in teacher.layers if hasattr(layer, "squeeze")]
    return [fire.squeeze for fire in fires[1:]] + [teacher.classes]


def strokes_kept(student: Pocket, teacher: Teacher) -> Tensor:
    """Says which of the teacher's channels are pocket's `strokes`, in order."""
    both = zip(pairs(student, teacher), _users(teacher), strict=True)
    (mine, theirs), user = next(pair for pair in both if pair[0][0] is student.strokes[-1])
    first, second = _strongest_expansions(mine, theirs, user)
    return torch.cat([first, second + theirs.expand1x1.out_channels])


def width_of(state: Mapping[str, Tensor]) -> int:
    """Says how many channels `creatures` squeezes to, by a pocket's weights."""
    return len(state["creatures.squeeze.weight"])


def pocket_info(weights: Path) -> NetworkInfo:
    """Describes the pocket that a file's weights are for, as the catalog does; an earlier one is narrower.

    Raises WeightsError where the file cannot be read.
    """
    info, state = network_info("pocket"), read_weights(weights)
    width = width_of(state) if "creatures.squeeze.weight" in state else WIDTH
    return replace(info, weights_file=weights, build=lambda _: Pocket(width))


@torch.no_grad()
def widen(student: Pocket, state: Mapping[str, Tensor]) -> None:
    """Fills the student with the weights of a pocket that is as wide or narrower.

    It then computes what that one did: channels that are new are fed by chance, and unused as yet. At the
    border 0.1.0's pocket, which halved `creatures` after it squeezed, computed a little else.
    """
    for name, own in student.named_parameters():
        narrow = state[name].float()
        if own.ndim > 1:
            own[:, narrow.shape[1] :] = 0
            own[: narrow.shape[0], : narrow.shape[1]] = narrow
        else:
            own[: narrow.shape[0]] = narrow


def _squeezed(teacher: Teacher, squeezes: list[nn.Module], pictures: Tensor) -> list[Tensor]:
    """Gives what each of the teacher's squeeze layers gives, before its ReLU."""
    values: dict[nn.Module, Tensor] = {}

    def copy(module: nn.Module, _: Any, value: Tensor) -> None:
        values[module] = value.clone()

    hooks = [squeeze.register_forward_hook(copy) for squeeze in squeezes]
    teacher(pictures)
    for hook in hooks:
        hook.remove()
    return [values[squeeze] for squeeze in squeezes]


def _first_layer(mine: nn.Conv2d, theirs: Any, used_by: Any) -> None:
    """Copies the teacher's strongest 7x7 filters, as 4x4 filters over 2x2 blocks of pixels."""
    best = _strongest(used_by.weight, theirs.weight, mine.out_channels)
    mine.weight.copy_(F.pixel_unshuffle(F.pad(theirs.weight[best], (0, 1, 0, 1)), 2))
    _bias(mine).copy_(theirs.bias[best])


def _strongest_expansions(mine: Fire, theirs: Any, user: Any) -> list[Tensor]:
    """Finds the indices of the strongest channels of either expansion."""
    both, start = [], 0
    for name in EXPANSIONS:
        goal, source = getattr(mine, name), getattr(theirs, name)
        use = user.weight[:, start : start + source.out_channels]
        both.append(_strongest(use, source.weight, goal.out_channels))
        start += source.out_channels
    return both


def _expand(mine: Fire, theirs: Any, user: Any) -> None:
    """Copies the strongest channels of both expansions."""
    best = _strongest_expansions(mine, theirs, user)
    for name, channels in zip(EXPANSIONS, best, strict=True):
        goal, source = getattr(mine, name), getattr(theirs, name)
        goal.weight.zero_()  # channels that the teacher has not begin unused
        goal.weight[:, : source.in_channels] = source.weight[channels]
        _bias(goal).copy_(source.bias[channels])


def _strongest(use: Tensor, make: Tensor, count: int) -> Tensor:
    """Finds the channels that are made and used with the largest weights: their indices, in order."""
    strength = use.flatten(2).norm(dim=(0, 2)) * make.flatten(1).norm(dim=1)
    best: Tensor = strength.topk(count).indices.sort().values
    return best


def _solve(squeeze: nn.Conv2d, x: Tensor, goal: Tensor) -> None:
    """Solves for a 1x1 convolution from x to goal: least squares, slightly ridged, borders left out.

    Output channels beyond the goal's stay as they are.
    """
    inner = slice(1, -1)
    a, b = (v[..., inner, inner].permute(0, 2, 3, 1).flatten(0, 2).double() for v in (x, goal))
    a = torch.cat([a, torch.ones_like(a[:, :1])], 1)
    square = a.T @ a
    ridge = 1e-4 * square.diagonal().mean() * torch.eye(len(square), dtype=a.dtype)
    solved = torch.linalg.solve(square + ridge, a.T @ b).float()
    squeeze.weight[: goal.shape[1]] = solved[:-1].T[..., None, None]
    _bias(squeeze)[: goal.shape[1]] = solved[-1]


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias
