"""Where a drawing's lines are, so that dreams grow out of them.

A flat white sheet is the hard case of dreaming: where there is nothing, the gradient is noise, and is
scaled up until it shows. So that dreams grow from what is drawn, the steps are weighted by how near its
lines are.
"""

import torch
from torch import Tensor

from zoomdream.media.color import to_opponent
from zoomdream.media.frame import Frame, blur, resize
from zoomdream.size import Size

_SEARCH_SIDE = 384  # px of the longer side at which lines are looked for
_FINE = 2.0  # px of that: the width that an edge is looked for in
_FAINT = 0.05  # contrast of an edge that does not count yet
_EDGE = 0.15  # contrast of an edge that counts in full
_DENSE = 0.06  # share of edges in a neighbourhood at which half the dreaming is done
_INK = 0.7  # share of the dreaming that a line itself is spared, so that writing can still be read


def near_lines(frame: Frame, reach: float) -> Tensor:
    """Maps how near lines and edges are, (N, 1, H, W) in 0..1: a factor for the steps of a dream.

    frame: (N, 3, H, W). reach: the deviation of the Gaussian that spreads them, in frame widths. It is
    lower again on the lines themselves, and 0 where nothing is near.
    """
    size = Size.of(frame)
    small = size.within(_SEARCH_SIDE)
    luma = to_opponent(resize(frame, small))[:, :1]
    edges = (luma - mean_inside(luma, _FINE)).abs()
    edges = ((edges - _FAINT) / (_EDGE - _FAINT)).clamp(0, 1)
    spread = mean_inside(edges, max(0.5, reach * small.width))
    near = spread / (spread + _DENSE) * (1 + _DENSE) * (1 - _INK * edges)
    return resize(near, size).clamp(0, 1)


def mean_inside(plane: Tensor, sigma: float) -> Tensor:
    """Averages a plane by a Gaussian, of what is within the border alone."""
    return blur(plane, sigma) / blur(torch.ones_like(plane), sigma)
