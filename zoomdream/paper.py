"""The drawing board: where a drawing's lines are, and paper that has lain about for long.

A flat white sheet is the hard case of dreaming: where there is nothing, the gradient is noise, and is
scaled up until it shows. So that dreams grow from what is drawn, the steps are weighted by how near its
lines are; and paper, being worked on by time instead, gets a tone, and stains.
"""

import torch
from torch import Tensor

from zoomdream.frame import Frame, blur, pink, resize, to_opponent

_LOOK = 384  # px of the longer side at which lines are looked for
_FINE = 2.0  # px of that: the width that an edge is looked for in
_EDGE = 0.06  # contrast of an edge that counts in full; black on white has about 0.4
_DENSE = 0.03  # share of edges in a neighbourhood at which half the dreaming is done


def near_lines(frame: Frame, reach: float) -> Tensor:
    """How near lines and edges are, (1, 1, H, W) in 0..1: a factor for the steps of a dream.

    frame: (1, 3, H, W). reach: the deviation of the Gaussian that spreads them, in frame widths. Where
    the contrast to the surroundings is everywhere the same, in a photograph, it is nearly 1 everywhere.
    """
    height, width = frame.shape[-2:]
    scale = min(1.0, _LOOK / max(height, width))
    small = resize(
        to_opponent(frame)[:, :1], (max(1, round(height * scale)), max(1, round(width * scale)))
    )
    edges = ((small - _mean(small, _FINE)).abs() / _EDGE).clamp(0, 1)
    spread = _mean(edges, max(0.5, reach * small.shape[-1]))
    near = spread / (spread + _DENSE) * (1 + _DENSE)
    return resize(near, (height, width)).clamp(0, 1)


def _mean(plane: Tensor, sigma: float) -> Tensor:
    """A Gaussian mean of what is within the border."""
    return blur(plane, sigma) / blur(torch.ones_like(plane), sigma)


def aged(frame: Frame, age: float, seed: int) -> Frame:
    """Paper that has yellowed, clouded and been stained; what is printed on it stays as dark.

    frame: (1, 3, H, W). age: 0..1. seed: of the stains. Colours are multiplied, as by a glaze.
    """
    chance = torch.Generator().manual_seed(seed)
    height, width = frame.shape[-2:]
    shrink = min(1.0, 512 / max(height, width))
    size = max(8, round(height * shrink)), max(8, round(width * shrink))
    cloud = blur(pink(size, chance)[:, :1], max(size) / 200)
    cloud = cloud / cloud.std()
    tone = torch.tensor([0.955, 0.905, 0.79]).view(1, 3, 1, 1)  # of old paper, in even light
    stain = torch.tensor([0.80, 0.66, 0.42]).view(1, 3, 1, 1)
    depth = 0.18 * torch.sigmoid(1.6 * cloud - 0.6) + 0.10 * _rim(size)
    glaze = (1 - age) + age * tone * (1 - depth * (1 - stain) / 0.4)
    return (frame * resize(glaze, (height, width)).to(frame.device)).clamp(0, 1)


def _rim(size: tuple[int, int]) -> Tensor:
    """0 in the middle, 1 at the border, where paper browns first; (1, 1, H, W)."""
    y, x = (torch.linspace(-1, 1, side).abs() for side in size)
    return torch.maximum(y[:, None], x[None, :])[None, None] ** 6
