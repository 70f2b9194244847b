"""Measures what single frames are like, in numbers.

Each function takes Frames (1, 3, H, W) in 0..1, on any device.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoomdream.media.color import to_lab, to_opponent
from zoomdream.media.frame import Flow, Frame, blur
from zoomdream.motion.flow import sample_bilinear


def mean_lab(frame: Frame) -> Tensor:
    """Mean CIE L*a*b*, (3,). The distance of two is a difference of colour, Delta E (1976)."""
    return to_lab(frame).mean((0, 2, 3))


def saturation(frame: Frame) -> float:
    """Mean chroma in L*a*b*: 0 is grey, 40 is a colourful photograph."""
    return float(to_lab(frame)[:, 1:].norm(dim=1).mean())


def high_frequencies(frame: Frame) -> float:
    """Deviation of luma's finest octave: what a 2 px Gaussian takes away."""
    luma = to_opponent(frame)[:, :1]
    inner = (luma - blur(luma, 2.0))[..., 6:-6, 6:-6]
    return float(inner.std())


def coarse_luma(frame: Frame) -> Tensor:
    """Luma in 12 x 12 blocks, (1, 1, 12, 12), in 0..1."""
    return F.adaptive_avg_pool2d(to_opponent(frame)[:, :1], 12)


def novelty(frame: Frame, moved: Frame) -> float:
    """Measures how much of a frame is new: 1 - correlation with an older one moved to where it would be.

    Both are compared below the finest octave, in the middle half, where a zoom's births happen: an
    older frame that was enlarged has no fine detail. 0: nothing new; 1: nothing left.
    """
    old, new = (F.avg_pool2d(_middle(to_opponent(f)[:, :1]), 4).flatten() for f in (moved, frame))
    pair = torch.stack([old, new])
    return 1 - float(torch.corrcoef(pair)[0, 1])


def _middle(planes: Tensor) -> Tensor:
    height, width = planes.shape[-2:]
    return planes[..., height // 4 : -(height // 4), width // 4 : -(width // 4)]


def warp_error(now: Frame, later: Frame, flow: Flow, mask: Tensor) -> float:
    """E_t of Lai et al. (2018): sum M |W(O_later, F) - O_now|^2 / sum M, RGB in 0..1.

    flow: F, from now to later, of the *source* clip. mask: M, (1, 1, H, W), 1 where F is trusted. As in
    their code M is counted in each of the three channels: a third of the squared distance per pixel.
    Nan where nothing is trusted.
    """
    squared = (sample_bilinear(later, flow) - now).square() * mask
    return float(squared.double().sum() / (3 * mask.double().sum()))
