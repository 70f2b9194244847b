"""Keeps a feedback zoom alive: each frame's statistics are drawn to an anchor's."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import torch
from torch import Tensor
from torch.nn import functional as F

from zoomdream.media.color import from_opponent, to_lab, to_opponent
from zoomdream.media.frame import Frame
from zoomdream.settings.definitions import Anchor
from zoomdream.size import Size

_FLOOR = 0.012  # the least deviation of a band of luma aimed at: a blank sheet can dream too


@dataclass(frozen=True)
class Statistics:
    """Describes a frame's luma and two chroma planes: how strong each band of frequencies is, and the rest.

    deviations: (bands + 1, 3), fine to coarse, the last of the residual; mean: (3,), of the residual;
    chroma: (), the mean in L*a*b*.
    """

    deviations: Tensor
    mean: Tensor
    chroma: Tensor

    def towards(self, other: "Statistics", share: float) -> "Statistics":
        """Goes a share of the way to others."""
        return Statistics(
            self.deviations.lerp(other.deviations, share),
            self.mean.lerp(other.mean, share),
            self.chroma.lerp(other.chroma, share),
        )


_PARTS = ("deviations", "mean", "chroma")


def measure_statistics(frame: Frame, bands: int) -> Statistics:
    """Measures a frame's statistics; `bands` is lowered where the frame is too small for them."""
    planes = to_opponent(frame)
    return Statistics(*_measure(list(_split(planes, bands))), _chroma(planes))


def _measure(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Measures each band's deviation, and the mean of what remains."""
    return torch.stack([_deviation(part) for part in parts]), parts[-1].mean((2, 3))[0]


def _deviation(planes: Tensor) -> Tensor:
    """Measures each plane's deviation, (3,); by sums of squares, many times quicker than `std`."""
    squares = planes.square().mean((2, 3)) - planes.mean((2, 3)).square()
    return squares.clamp_min(0).sqrt()[0]


def _chroma(planes: Tensor) -> Tensor:
    """Measures the mean chroma in Lab of what will be seen, from every fourth pixel."""
    shown = from_opponent(planes[..., ::4, ::4]).clamp(0, 1)
    _, a, b = to_lab(shown).unbind(1)
    return torch.hypot(a, b).mean()


def _split(planes: Tensor, bands: int) -> Iterator[Tensor]:
    """Yields Laplacian bands, fine to coarse, and the residual."""
    for _ in range(bands):
        if Size.of(planes).shorter < 8:
            break
        small = halved(planes)
        yield planes - _double(small, planes)
        planes = small
    yield planes


def halved(planes: Tensor) -> Tensor:
    """Takes the means of 2x2 pixels, on a CPU by OpenCV. planes: (1, C, H, W)."""
    height, width = planes.shape[-2:]
    if planes.device.type != "cpu" or planes.dtype != torch.float32 or height % 2 or width % 2:
        return F.avg_pool2d(planes, 2, ceil_mode=True)
    small = planes.new_empty(1, planes.shape[1], height // 2, width // 2)
    for plane, place in zip(planes[0].numpy(), small[0].numpy(), strict=True):
        cv2.resize(plane, Size.of(place), place, interpolation=cv2.INTER_AREA)
    return small


def _double(small: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(small, like.shape[-2:], mode="bilinear", align_corners=False)


def hold_statistics(frame: Frame, target: Statistics, anchor: Anchor) -> Frame:
    """Draws each band's deviation, the mean and the saturation towards `target` by `anchor.rate`.

    Whole-picture matching of mean and deviation lets sharpening feed on itself until a woven pattern
    is all there is; bands that are held one by one cannot run away. Not clipped.
    """
    planes = to_opponent(frame)
    parts = list(_split(planes, anchor.bands))
    deviations, mean = _measure(parts)
    wanted = target.deviations.clone()
    wanted[:, 0].clamp_min_(_FLOOR)
    wanted = torch.cat([wanted[:-1] * anchor.vivid, wanted[-1:]])
    gains = (wanted / deviations.clamp_min(1e-6)) ** anchor.rate
    gains = gains.clamp(1 / anchor.limit, anchor.limit)[..., None, None]
    middle = mean[:, None, None]
    goal = target.mean[:, None, None]
    planes = (parts[-1] - middle) * gains[-1] + middle + anchor.rate * (goal - middle)
    for part, gain in zip(parts[-2::-1], gains[:-1].flip(0), strict=True):
        planes = _double(planes, part) + part * gain
    for _ in range(2):  # as chroma is measured after clipping, a second time comes closer
        colour = (target.chroma / _chroma(planes).clamp_min(1e-6)) ** anchor.rate
        planes[:, 1:] *= colour.clamp(1 / anchor.limit, anchor.limit)
    return from_opponent(planes)


class AnchorHold:
    """Keeps a feedback zoom like its anchor, frame after frame.

    like: the frame whose statistics are kept (a running anchor's first).
    """

    def __init__(self, anchor: Anchor, fps: Fraction, like: Frame) -> None:
        self.anchor = anchor
        self._pace = 1 - math.exp(-1 / (float(fps) * anchor.memory))  # of a running anchor
        self._target = measure_statistics(like, anchor.bands)

    def keep(self, frame: Frame, rng: torch.Generator, now: Anchor | None = None) -> Frame:
        """Draws a dreamt frame towards the anchor, and adds a little grain; clipped to 0..1.

        now: the anchor's settings at this frame, where they change.
        """
        anchor = now or self.anchor
        if self.anchor.to == "running":
            measured = measure_statistics(frame, self.anchor.bands)
            self._target = self._target.towards(measured, self._pace)
        if self.anchor.to != "none":
            frame = hold_statistics(frame, self._target, anchor)
        if anchor.grain:  # grey, so that it adds no colour
            grain = torch.randn(frame[:, :1].shape, generator=rng).to(frame.device)
            frame = frame + anchor.grain * grain
        return frame.clamp(0, 1)

    @property
    def state(self) -> dict[str, Tensor]:
        """What the next frame is held to, for the journal; a running anchor's changes."""
        return {f"anchor.{name}": getattr(self._target, name).cpu() for name in _PARTS}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes on from a state."""
        device = self._target.mean.device
        self._target = Statistics(*(state[f"anchor.{name}"].to(device) for name in _PARTS))
