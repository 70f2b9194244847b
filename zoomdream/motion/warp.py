"""Pictures moved along a flow, by cubic B-splines."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zoomdream.media.frame import Flow


def warp(frame: Tensor, flow: Flow) -> Tensor:
    """`out(p) = in(p + flow(p))` by cubic B-spline interpolation, (1, C, H, W), mirrored borders.

    Not clipped to 0..1. Splines (Unser 1999, "Splines: a perfect fit for signal and image
    processing") reproduce cubic polynomials; the usual bicubic kernel with a = -0.75 does not even
    reproduce straight lines: it is off by up to 0.05 px a step, always in one direction under a slow
    pan, and blurs more. We evaluate the spline by four bilinear lookups (Sigg and Hadwiger 2005); on a
    CPU one axis after the other, where a flow allows it.
    """
    return Warper()(frame, flow)


class Warper:
    """`warp`, for many frames: what it finds out about a flow is kept for as long as that flow is given.

    At 3840x2160 px that is up to 460 MB, which go with the warper.
    """

    def __init__(self) -> None:
        self._flow: Flow | None = None
        self._axes: tuple[list[_Strip], list[_Strip]] | None = None
        self._lookups: list[_Lookup] | None = None
        self._filters: dict[int, Tensor] = {}

    def __call__(self, frame: Tensor, flow: Flow) -> Tensor:
        """Warps one frame; as `warp`."""
        quick = frame.device.type == "cpu" and frame.dtype == torch.float32
        if flow is not self._flow:
            self._flow, self._lookups = flow, None
            self._axes = _axes(flow, self._filter) if quick else None
        if quick and self._axes:
            return _woven(frame, *self._axes)
        self._lookups = self._lookups or _lookups(flow)
        spline = _spline(frame)
        remapped = quick and spline.shape[1] <= 4 and _remap_is_exact()
        return (_remapped if remapped else _sampled)(spline, self._lookups)

    def _filter(self, length: int) -> Tensor:
        """The spline's filter along an axis, (length, length)."""
        if length not in self._filters:
            if len(self._filters) > 1:
                self._filters.clear()
            self._filters[length] = _down(torch.eye(length))
        return self._filters[length]


@dataclass(frozen=True)
class _Lookup:
    """Where to look bilinearly, in pixels from the first one's centre, and the weight; each (H, W)."""

    x: Tensor
    y: Tensor
    share: Tensor


def _sampled(planes: Tensor, lookups: Sequence[_Lookup]) -> Tensor:
    """The weighted sum of lookups in (1, C, H, W)."""
    height, width = planes.shape[-2:]
    out = torch.zeros_like(planes)
    for at in lookups:
        grid = torch.stack([(at.x + 0.5) * (2 / width) - 1, (at.y + 0.5) * (2 / height) - 1], -1)
        found = F.grid_sample(
            planes, grid[None], mode="bilinear", padding_mode="border", align_corners=False
        )
        out.addcmul_(found, at.share)
    return out


def _remapped(planes: Tensor, lookups: Sequence[_Lookup]) -> Tensor:
    """The same by OpenCV, on four channels side by side: three times as fast."""
    _, channels, height, width = planes.shape
    pixels = planes.new_zeros(height, width, 4)
    pixels[..., :channels] = planes[0].permute(1, 2, 0)
    apart = planes.new_empty(4, height, width)
    out, found = torch.zeros_like(planes), torch.empty_like(pixels)
    for at in lookups:
        cv2.remap(
            pixels.numpy(), at.x.numpy(), at.y.numpy(), cv2.INTER_LINEAR, found.numpy(),
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        cv2.split(found.numpy(), list(apart.numpy()))
        for plane, part in zip(out[0], apart[:channels], strict=True):
            plane.addcmul_(part, at.share)
    return out


@cache
def _remap_is_exact() -> bool:
    """Whether OpenCV looks up where it is told to: before version 5 it did so to 1/32 px."""
    y, x = np.mgrid[:64, :64].astype(np.float32)
    at_x, at_y = 20 + x / 64, 30 + y / 96
    ramp = np.stack([x, y, x + y, x - y], -1)
    wanted = np.stack([at_x, at_y, at_x + at_y, at_x - at_y], -1)
    found = cv2.remap(ramp, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return bool(np.abs(found - wanted).max() < 1e-4)


@dataclass(frozen=True)
class _Strip:
    """Some rows, or columns, of a warped frame: `weights` times those from `first` to `end`."""

    first: int
    end: int
    weights: Tensor


def _woven(frame: Tensor, rows: Sequence[_Strip], columns: Sequence[_Strip]) -> Tensor:
    """A frame warped along its columns, and then along its rows: in a third of the time of lookups."""
    tall = [torch.matmul(at.weights, frame[0][:, at.first : at.end]) for at in rows]
    half = torch.cat(tall, 1)
    wide = [torch.matmul(half[..., at.first : at.end], at.weights.mT) for at in columns]
    return torch.cat(wide, 2)[None]


Filter = Callable[[int], Tensor]
"""Gives the spline's filter along an axis of a length."""


def _axes(flow: Flow, spline_filter: Filter) -> tuple[list[_Strip], list[_Strip]] | None:
    """How to take a flow's axes one by one, or None where what one looks at depends on the other: a
    camera that zooms and pans moves each by itself, one that turns does not."""
    across, down = flow[0]
    apart = across.eq(across[:1]).all() and down.eq(down[:, :1]).all()
    if not apart:
        return None
    return _strips(down[:, 0], spline_filter), _strips(across[0], spline_filter)


def _strips(flow: Tensor, spline_filter: Filter) -> list[_Strip]:
    """Of an axis whose every place moves by `flow`: the spline's filter and its lookups, in one."""
    length = len(flow)
    spline = spline_filter(length)
    at = torch.arange(length) + flow
    strips = []
    for part in torch.split(at, _NARROW):
        weights = torch.zeros(len(part), length)
        for place, share in _pairs(part):
            weights.addcmul_(_between(spline, _mirrored_to(place, length)), share[:, None])
        seen = weights.any(0).nonzero()
        first, end = int(seen[0]), int(seen[-1]) + 1
        strips.append(_Strip(first, end, weights[:, first:end].contiguous()))
    return strips


def _between(rows: Tensor, at: Tensor) -> Tensor:
    """Rows at places between them, the first and the last repeated beyond."""
    at = at.clamp(0, len(rows) - 1)
    low = at.floor()
    near, share = low.long(), (at - low)[:, None]
    return rows[near].lerp(rows[(near + 1).clamp_max(len(rows) - 1)], share)


_NARROW = 32  # rows or columns that are woven at once
_POLE = math.sqrt(3) - 2  # of the cubic B-spline's inverse filter
_REACH = 10  # taps to each side; _POLE ** 10 is 2e-6
_STRIP = 64  # rows that are filtered at once


def _spline(frame: Tensor) -> Tensor:
    """B-spline coefficients, so that the spline passes through the pixels.

    Each axis by products of matrices: a strip of `_STRIP` rows is a band matrix times the rows that
    it looks at, which takes half the time of a convolution over three channels.
    """
    return torch.stack([_across(_down(plane)) for plane in frame[0]])[None]


def _down(plane: Tensor) -> Tensor:
    """The inverse filter along the columns of (H, W), mirrored about the edges."""
    height, width = plane.shape
    strips = -(-height // _STRIP)
    rows = _mirror(plane, 0, strips * _STRIP)
    seen = rows.as_strided((strips, _STRIP + 2 * _REACH, width), (_STRIP * width, width, 1))
    found = torch.bmm(_band(plane.device).expand(strips, -1, -1), seen)
    return found.view(-1, width)[:height]


def _across(plane: Tensor) -> Tensor:
    """The same along rows."""
    height, width = plane.shape
    strips = -(-width // _STRIP)
    columns = _mirror(plane, 1, strips * _STRIP)
    across = columns.shape[1]
    seen = columns.as_strided((strips, height, _STRIP + 2 * _REACH), (_STRIP, across, 1))
    found = torch.bmm(seen, _band(plane.device).mT.expand(strips, -1, -1))
    return found.permute(1, 0, 2).reshape(height, -1)[:, :width]


@lru_cache(maxsize=4)
def _band(device: torch.device) -> Tensor:
    """(1, _STRIP, _STRIP + 2 * _REACH): each row the filter's taps, one further to the right."""
    taps = torch.arange(-_REACH, _REACH + 1).abs()
    line = math.sqrt(3) * torch.tensor(_POLE, dtype=torch.float64) ** taps
    line = (line / line.sum()).float()
    rows = [F.pad(line, (n, _STRIP - 1 - n)) for n in range(_STRIP)]
    return torch.stack(rows)[None].to(device)


def _mirror(plane: Tensor, axis: int, wanted: int) -> Tensor:
    """An axis made `wanted` long, and `_REACH` more at either end; about the edges it is mirrored."""
    length = plane.shape[axis]
    beyond = (
        wanted - length + _REACH
    )  # what is further from the edge than `_REACH` is never looked at
    at = torch.arange(-_REACH, 0, device=plane.device).abs() - 1
    ends = [part.clamp_max(length - 1) for part in (at, length - 1 - at.flip(0))]
    before, after = (plane.index_select(axis, end) for end in ends)
    rest = list(after.shape)
    rest[axis] = beyond - _REACH
    return torch.cat([before, plane, after, plane.new_zeros(rest)], axis)


def _lookups(flow: Flow) -> list[_Lookup]:
    """Four, which make up a spline."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[0, 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[0, 1]
    return [
        _Lookup(_mirrored_to(at_x, width), _mirrored_to(at_y, height), share_x * share_y)
        for at_y, share_y in _pairs(y)
        for at_x, share_x in _pairs(x)
    ]


def _mirrored_to(at: Tensor, length: int) -> Tensor:
    """Pixels beyond the edges are mirrored about them."""
    at = torch.remainder(at + 0.5, 2 * length)
    return torch.minimum(at, 2 * length - at) - 0.5


def _pairs(at: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Two (position, weight) pairs whose linear interpolations add up to four spline weights."""
    whole = at.floor()
    t = at - whole
    w0 = (1 - t) ** 3 / 6
    w1 = (4 - 6 * t**2 + 3 * t**3) / 6
    w3 = t**3 / 6
    left, right = w0 + w1, 1 - w0 - w1
    return (whole - 1 + w1 / left, left), (whole + 1 + w3 / right, right)
