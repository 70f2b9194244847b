"""Keeps a feedback zoom alive: each frame's statistics are drawn to an anchor's."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import torch
from torch import Tensor
from torch.nn import functional as F

from zoomdream.media.color import (
    color_covariance,
    from_opponent,
    mixed,
    to_opponent,
    transport_maps,
)
from zoomdream.media.frame import Frame
from zoomdream.settings.definitions import Anchor
from zoomdream.size import Size

_FLOOR = 0.012  # the least deviation of a band of luma aimed at: a blank sheet can dream too


@dataclass(frozen=True)
class Statistics:
    """Describes the colours of a frame, of each band of its frequencies and of the whole.

    covariances: (bands + 2, 3, 3), of luma and two chroma planes: of bands from fine to coarse, of what then
    remains, and of the whole. mean: (3,).
    """

    covariances: Tensor
    mean: Tensor

    def towards(self, other: "Statistics", share: float) -> "Statistics":
        """Goes a share of the way to others."""
        return Statistics(
            self.covariances.lerp(other.covariances, share), self.mean.lerp(other.mean, share)
        )


_PARTS = ("covariances", "mean")


def measure_statistics(frame: Frame, bands: int) -> Statistics:
    """Measures a frame's statistics; `bands` is lowered where the frame is too small for them."""
    planes = to_opponent(frame)
    parts = [*_split(planes, bands), planes]
    return Statistics(_covariances(parts), planes.mean((2, 3))[0])


def _covariances(parts: list[Tensor]) -> Tensor:
    return torch.cat([color_covariance(part) for part in parts])


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
    """Draws the colours of each band, and the mean, towards `target` by `anchor.rate`.

    Whole-picture matching of mean and deviation lets sharpening feed on itself until a woven pattern
    is all there is; bands that are held one by one cannot run away. The whole picture is held last, as it
    is seen, since clipping has its own part in it. Not clipped.
    """
    parts = list(_split(to_opponent(frame), anchor.bands))
    wanted = target.covariances.clone()
    wanted[:-1, 0, 0].clamp_min_(_FLOOR**2)
    wanted[:-2] *= anchor.vivid**2
    wanted[-1] += (wanted[:-1] - target.covariances[:-1]).sum(0)
    maps = transport_maps(_covariances(parts), wanted[:-1], anchor.rate, anchor.limit)
    planes = _moved(parts[-1], maps[-1:], target.mean, anchor.rate)
    for part, one in zip(parts[-2::-1], maps[:-1].flip(0), strict=True):
        planes = _double(planes, part) + mixed(part, one[None])
    shown = to_opponent(from_opponent(planes).clamp(0, 1))
    maps = transport_maps(color_covariance(shown), wanted[-1:], anchor.rate, anchor.limit)
    return from_opponent(_moved(shown, maps, target.mean, anchor.rate))


def _moved(planes: Tensor, maps: Tensor, goal: Tensor, rate: float) -> Tensor:
    """Maps planes about their mean, which goes a share of the way to a goal, (3,)."""
    middle = planes.mean((2, 3), keepdim=True)
    return mixed(planes - middle, maps) + middle.lerp(goal.view(1, 3, 1, 1), rate)


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
