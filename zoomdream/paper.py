"""The drawing board: where a drawing's lines are, and paper that has lain about for long.

A flat white sheet is the hard case of dreaming: where there is nothing, the gradient is noise, and is
scaled up until it shows. So that dreams grow from what is drawn, the steps are weighted by how near its
lines are. Old paper, with its tone and its stains, is laid over what was dreamt on white: ink only darkens,
and a zoom goes into the drawing, not into the sheet.
"""

from functools import lru_cache

import torch
from torch import Tensor

from zoomdream.frame import Frame, blur, pink, resize, to_opponent

_LOOK = 384  # px of the longer side at which lines are looked for
_FINE = 2.0  # px of that: the width that an edge is looked for in
_FAINT, _EDGE = (
    0.05,
    0.15,
)  # contrast of an edge that does not count yet, and of one that does in full
_DENSE = 0.06  # share of edges in a neighbourhood at which half the dreaming is done
_INK = 0.7  # share of the dreaming that a line itself is spared, so that writing can still be read


def near_lines(frame: Frame, reach: float) -> Tensor:
    """How near lines and edges are, (1, 1, H, W) in 0..1: a factor for the steps of a dream.

    frame: (1, 3, H, W). reach: the deviation of the Gaussian that spreads them, in frame widths. It is
    lower again on the lines themselves, and 0 where nothing is near.
    """
    height, width = frame.shape[-2:]
    scale = min(1.0, _LOOK / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    luma = to_opponent(resize(frame, size))[:, :1]
    edges = (luma - _mean(luma, _FINE)).abs()
    edges = ((edges - _FAINT) / (_EDGE - _FAINT)).clamp(0, 1)
    spread = _mean(edges, max(0.5, reach * size[1]))
    near = spread / (spread + _DENSE) * (1 + _DENSE) * (1 - _INK * edges)
    return resize(near, (height, width)).clamp(0, 1)


def _mean(plane: Tensor, sigma: float) -> Tensor:
    """A Gaussian mean of what is within the border."""
    return blur(plane, sigma) / blur(torch.ones_like(plane), sigma)


_CREAM = (0.965, 0.925, 0.825)  # what white paper turns to, linear factors of R, G and B
_BROWN = (0.10, 0.19, 0.36)  # what the darkest of a stain takes away besides


def aged(frame: Frame, age: float, seed: int) -> Frame:
    """As on paper that has yellowed, browned at its border and been wet.

    frame: (1, 3, H, W). age: 0..1; 0 leaves it. seed: of the stains. White becomes the paper's colour, and
    black stays: colours are multiplied, as by a glaze.
    """
    if not age:
        return frame
    return frame * _glaze((frame.shape[2], frame.shape[3]), age, seed).to(frame.device)


@lru_cache(maxsize=1)  # a film's frames all have the same
def _glaze(size: tuple[int, int], age: float, seed: int) -> Tensor:
    """(1, 3, H, W) in 0..1, made at 512 px and stretched: nothing in it is fine."""
    chance = torch.Generator().manual_seed(seed)
    shrink = min(1.0, 512 / max(size))
    small = max(8, round(size[0] * shrink)), max(8, round(size[1] * shrink))
    cloud = _waves(small, 40, chance)
    pool = _waves(small, 9, chance)
    wet = torch.sigmoid((pool - 1.0) / 0.05)  # water stood here, and left a rim where it dried
    tide = torch.exp(-(((pool - 1.0) / 0.07) ** 2))
    brown = 0.25 + 0.16 * cloud + 0.22 * wet + 0.3 * tide + 0.6 * _rim(small)
    cream, taken = (torch.tensor(c).view(1, 3, 1, 1) for c in (_CREAM, _BROWN))
    glaze = (1 - age) + age * (cream - taken * brown.clamp_min(0))
    return resize(glaze, size).clamp_(0, 1)


def _waves(size: tuple[int, int], across: float, chance: torch.Generator) -> Tensor:
    """Smooth 1/f noise without anything finer than about `across` of it, (1, 1, H, W), deviation 1."""
    made = _mean(pink(size, chance)[:, :1], max(size) / across / 2)
    return (made - made.mean()) / made.std().clamp_min(1e-6)


def _rim(size: tuple[int, int]) -> Tensor:
    """0 in the middle, 1 at the border, where paper browns first; (1, 1, H, W)."""
    y, x = (torch.linspace(-1, 1, side).abs() for side in size)
    return torch.maximum(y[:, None], x[None, :])[None, None] ** 8
