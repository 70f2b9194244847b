"""Measures how far a person sees one picture from another, and brings a change to a wanted strength.

A change is measured as CIE76 differences (L*a*b*, which is about as even as the eye is) after a blur of one
pixel, since the finest ripple goes unseen from where a sheet is looked at (Zhang and Wandell 1996,
S-CIELAB, blur by more exact curves).
"""

import torch
from torch import Tensor

from zoomdream.media.color import to_lab
from zoomdream.media.frame import Frame, blur
from zoomdream.size import Size

WASH_SHARE = 16  # of a picture's longer side, the sigma of what counts as a wash
VIEWING_BLUR = 1.0  # px, of looking at a sheet


def visible_change(before: Frame, after: Frame) -> float:
    """Measures the root mean square of two Frames' CIE76 differences, both blurred by a pixel.

    1 can just be told by a sharp eye, 10 is plain to see.
    """
    return _distance(_as_seen(before), _as_seen(after))


def faded(before: Frame, after: Frame, strength: float) -> Frame:
    """Adds as much of the change to `after`, 4 times at most, to `before` as has the strength.

    Clipping to 0..1 answers back, so that the share is corrected until it is right to 0.2 %.
    """
    before_seen, share, mixed = _as_seen(before), 1.0, after
    for _ in range(12):
        change = _distance(before_seen, _as_seen(mixed))
        if abs(change / strength - 1) < 0.002 or change == 0:
            break
        share = min(4.0, share * strength / change)
        mixed = (before + share * (after - before)).clamp(0, 1)
    return mixed


def unwashed(before: Frame, after: Frame) -> Frame:
    """Takes the wash out of a change: what of it is broader than a sixteenth of the picture.

    Early layers also shift whole areas' colours, which would be most of what is seen of them.
    """
    change, width = after - before, Size.of(before).longer / WASH_SHARE
    inside = blur(torch.ones_like(before[:, :1]), width)
    return (after - blur(change, width) / inside).clamp(0, 1)


def _as_seen(frame: Frame) -> Tensor:
    return to_lab(blur(frame, VIEWING_BLUR).clamp(0, 1))


def _distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).square().sum(1).mean().sqrt())
