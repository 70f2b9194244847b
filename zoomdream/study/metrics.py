"""Measures what single frames are like, in numbers.

Each function takes Frames (1, 3, H, W) in 0..1, on any device.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoomdream.media.color import to_lab, to_opponent
from zoomdream.media.frame import Flow, Frame, blur, gaussian
from zoomdream.motion.flow import sample_bilinear

DOT_SIGMAS = (1.0, 1.4, 2.0, 2.8)  # px, of the blurs at which `dots` looks: dots of 3 to 8 px
_UNSEEN = 1e-4  # mean square of curvature, in L*a*b*, below which there is nothing to be round


def mean_lab(frame: Frame) -> Tensor:
    """Mean CIE L*a*b*, (3,). The distance of two is a difference of colour, Delta E (1976)."""
    return to_lab(frame).mean((0, 2, 3))


def palette_distance(one: Frame, other: Frame) -> float:
    """Measures how far two Frames' colours are apart, in Delta E (1976); their sizes may differ.

    It is the Bures distance, the 2-Wasserstein distance of Gaussians (Dowson and Landau 1982), of mean m and
    covariance C of all pixels' L*a*b*: the root of |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2).
    0: the same palette; 2 is as close as a graded picture is; 10 another palette. Where colours are in the
    picture does not matter.
    """
    (mean, spread), (other_mean, other_spread) = _palette(one), _palette(other)
    # C1 C2 has the eigenvalues of C1^1/2 C2 C1^1/2, which are real and not negative.
    shared = torch.linalg.eigvals(spread @ other_spread).real.clamp_min(0).sqrt().sum()
    squared = (mean - other_mean).square().sum() + (spread + other_spread).trace() - 2 * shared
    return float(squared.clamp_min(0).sqrt())


def _palette(frame: Frame) -> tuple[Tensor, Tensor]:
    """Mean, (3,), and covariance, (3, 3), of the pixels' L*a*b*."""
    pixels = to_lab(frame)[0].flatten(1)
    mean = pixels.mean(1, keepdim=True)
    covariance = (pixels - mean) @ (pixels - mean).T / pixels.shape[1]
    return mean[:, 0].cpu().double(), covariance.cpu().double()


def saturation(frame: Frame) -> float:
    """Mean chroma in L*a*b*: 0 is grey, 40 is a colourful photograph."""
    return float(to_lab(frame)[:, 1:].norm(dim=1).mean())


def high_frequencies(frame: Frame) -> float:
    """Deviation of luma's finest octave: what a 2 px Gaussian takes away."""
    luma = to_opponent(frame)[:, :1]
    inner = (luma - blur(luma, 2.0))[..., 6:-6, 6:-6]
    return float(inner.std())


def dots(frame: Frame) -> float:
    """Measures which share of the fine structure is round, 0..1: dots and weaves, as against strokes and fur.

    At a pixel the two principal curvatures of a stroke or an edge are unequal, those of a dot, or of the
    saddle between dots, of one size. So it is sum |det H| / sum (|H|^2 / 2), over L*, a* and b* and the
    scales of `DOT_SIGMAS`, of the Hessian H times sigma^2 (scales made equal as by Lindeberg 1998).
    0: straight strokes; 0.25 to 0.4: photographs; 0.6: noise; 0.8: a checkerboard of waves. A dream with
    carpets of dots has half or more. How strong all of it is does not matter; nothing at all gives 0.
    """
    reach = len(gaussian(max(DOT_SIGMAS))) // 2 + 1
    lab = F.pad(to_lab(frame), (reach,) * 4, mode="replicate")
    round_ones = energy = 0.0
    for sigma in DOT_SIGMAS:
        smooth = blur(lab, sigma)[..., reach - 1 : 1 - reach, reach - 1 : 1 - reach]
        across, down, diagonal = (sigma**2 * part for part in _curvatures(smooth))
        round_ones += float((across * down - diagonal.square()).abs().mean())
        energy += float((across.square() + down.square() + 2 * diagonal.square()).mean()) / 2
    return round_ones / max(energy, _UNSEEN)


def _curvatures(planes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Second differences in x, in y and in both, of all pixels but the border's."""
    inner = planes[..., 1:-1, 1:-1]
    across = planes[..., 1:-1, 2:] + planes[..., 1:-1, :-2] - 2 * inner
    down = planes[..., 2:, 1:-1] + planes[..., :-2, 1:-1] - 2 * inner
    slope = planes[..., 2:] - planes[..., :-2]
    return across, down, (slope[..., 2:, :] - slope[..., :-2, :]) / 4


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
