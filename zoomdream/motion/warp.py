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
    """Moves a picture: `out(p) = in(p + flow(p))`, (1, C, H, W), by cubic B-splines, borders mirrored.

    Not clipped to 0..1. Splines (Unser 1999, "Splines: a perfect fit for signal and image
    processing") reproduce cubic polynomials; the usual bicubic kernel with a = -0.75 does not even
    reproduce straight lines: it is off by up to 0.05 px a step, always in one direction under a slow
    pan, and blurs more. We evaluate the spline by four bilinear lookups (Sigg and Hadwiger 2005); on a
    CPU one axis after the other, where a flow allows it.
    """
    return Warper()(frame, flow)


class Warper:
    """Warps many frames: what it has worked out for a flow is kept while that same flow is given.

    At 3840x2160 px that is up to 460 MB, which go with the warper. shortcuts: whether a CPU takes a flow's
    axes one by one where it can, and else OpenCV; without them it samples as a GPU does, which is slower
    and the same within 2e-5.
    """

    def __init__(self, shortcuts: bool = True) -> None:
        self._shortcuts = shortcuts
        self._flow: Flow | None = None
        self._axes: tuple[list[_Strip], list[_Strip]] | None = None
        self._lookups: list[_Lookup] | None = None
        self._filters: dict[int, Tensor] = {}

    def __call__(self, frame: Tensor, flow: Flow) -> Tensor:
        """Warps one frame; as `warp`."""
        on_cpu = frame.device.type == "cpu" and frame.dtype == torch.float32
        quick = self._shortcuts and on_cpu
        if flow is not self._flow:
            self._flow, self._lookups = flow, None
            self._axes = _axes(flow, self._filter) if quick and is_separable(flow) else None
        if quick and self._axes:
            return _warped_by_axes(frame, *self._axes)
        self._lookups = self._lookups or _lookups(flow)
        spline = _spline(frame)
        remapped = quick and spline.shape[1] <= 4 and remap_is_exact()
        return (_remapped if remapped else _sampled)(spline, self._lookups)

    def _filter(self, length: int) -> Tensor:
        """Gives the spline's filter along an axis, (length, length)."""
        if length not in self._filters:
            if len(self._filters) > 1:
                self._filters.clear()
            self._filters[length] = _filter_columns(torch.eye(length))
        return self._filters[length]


def is_separable(flow: Flow) -> bool:
    """Tells whether each axis of a flow moves by itself, whatever the other does.

    It does where a camera zooms and pans; where it turns it does not.
    """
    across, down = flow[0]
    return bool(across.eq(across[:1]).all() and down.eq(down[:, :1]).all())


@dataclass(frozen=True)
class _Lookup:
    """Where to look bilinearly, in pixels from the first one's centre, and the weight; each (H, W)."""

    x: Tensor
    y: Tensor
    share: Tensor


def _sampled(planes: Tensor, lookups: Sequence[_Lookup]) -> Tensor:
    """Sums lookups in (1, C, H, W), by their weights."""
    height, width = planes.shape[-2:]
    out = torch.zeros_like(planes)
    for at in lookups:
        grid = torch.stack([(at.x + 0.5) * (2 / width) - 1, (at.y + 0.5) * (2 / height) - 1], -1)
        sampled = F.grid_sample(
            planes, grid[None], mode="bilinear", padding_mode="border", align_corners=False
        )
        out.addcmul_(sampled, at.share)
    return out


def _remapped(planes: Tensor, lookups: Sequence[_Lookup]) -> Tensor:
    """Sums the same by OpenCV, on four channels side by side: three times as fast."""
    _, channels, height, width = planes.shape
    pixels = planes.new_zeros(height, width, 4)
    pixels[..., :channels] = planes[0].permute(1, 2, 0)
    split = planes.new_empty(4, height, width)
    out, sampled = torch.zeros_like(planes), torch.empty_like(pixels)
    for at in lookups:
        cv2.remap(
            pixels.numpy(), at.x.numpy(), at.y.numpy(), cv2.INTER_LINEAR, sampled.numpy(),
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        cv2.split(sampled.numpy(), list(split.numpy()))
        for plane, part in zip(out[0], split[:channels], strict=True):
            plane.addcmul_(part, at.share)
    return out


@cache
def remap_is_exact() -> bool:
    """Tells whether OpenCV samples exactly where it is asked to: before version 5 it did so to 1/32 px."""
    y, x = np.mgrid[:64, :64].astype(np.float32)
    at_x, at_y = 20 + x / 64, 30 + y / 96
    ramp = np.stack([x, y, x + y, x - y], -1)
    wanted = np.stack([at_x, at_y, at_x + at_y, at_x - at_y], -1)
    sampled = cv2.remap(ramp, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return bool(np.abs(sampled - wanted).max() < 1e-4)


@dataclass(frozen=True)
class _Strip:
    """Some rows, or columns, of a warped frame: `weights` times those of the frame from `first` to `end`."""

    first: int
    end: int
    weights: Tensor


def _warped_by_axes(frame: Tensor, rows: Sequence[_Strip], columns: Sequence[_Strip]) -> Tensor:
    """Warps a frame along its columns, and then along its rows: in a third of the time of lookups."""
    moved_down = torch.cat(
        [torch.matmul(at.weights, frame[0][:, at.first : at.end]) for at in rows], 1
    )
    moved = [torch.matmul(moved_down[..., at.first : at.end], at.weights.mT) for at in columns]
    return torch.cat(moved, 2)[None]


Filter = Callable[[int], Tensor]
"""Gives the spline's filter along an axis of a length."""


def _axes(flow: Flow, spline_filter: Filter) -> tuple[list[_Strip], list[_Strip]]:
    """Works out the rows and columns of a frame that is warped by a separable flow."""
    across, down = flow[0]
    return _strips(down[:, 0], spline_filter), _strips(across[0], spline_filter)


def _strips(flow: Tensor, spline_filter: Filter) -> list[_Strip]:
    """Puts the spline's filter and its lookups in one, for an axis whose every place moves by `flow`."""
    length = len(flow)
    spline = spline_filter(length)
    at = torch.arange(length) + flow
    strips = []
    for part in torch.split(at, _NARROW):
        weights = torch.zeros(len(part), length)
        for place, share in _pairs(part):
            weights.addcmul_(_between(spline, _mirrored_to(place, length)), share[:, None])
        used = weights.any(0).nonzero()
        first, end = int(used[0]), int(used[-1]) + 1
        strips.append(_Strip(first, end, weights[:, first:end].contiguous()))
    return strips


def _between(rows: Tensor, at: Tensor) -> Tensor:
    """Interpolates rows at places between them; the first and the last are repeated beyond."""
    at = at.clamp(0, len(rows) - 1)
    low = at.floor()
    near, share = low.long(), (at - low)[:, None]
    return rows[near].lerp(rows[(near + 1).clamp_max(len(rows) - 1)], share)


_NARROW = 32  # rows or columns that are warped at once, where a flow is separable
_POLE = math.sqrt(3) - 2  # of the cubic B-spline's inverse filter
_REACH = 10  # taps to each side; _POLE ** 10 is 2e-6
_STRIP = 64  # rows that are filtered at once


def _spline(frame: Tensor) -> Tensor:
    """Gives B-spline coefficients by which the spline passes through the pixels.

    Each axis by products of matrices: a strip of `_STRIP` rows is a band matrix times the rows that
    it looks at, which takes half the time of a convolution over three channels.
    """
    return torch.stack([_filter_rows(_filter_columns(plane)) for plane in frame[0]])[None]


def _filter_columns(plane: Tensor) -> Tensor:
    """Applies the inverse filter along the columns of (H, W), mirrored about the edges."""
    height, width = plane.shape
    strips = -(-height // _STRIP)
    rows = _mirror(plane, 0, strips * _STRIP)
    windows = rows.as_strided((strips, _STRIP + 2 * _REACH, width), (_STRIP * width, width, 1))
    filtered = torch.bmm(_band(plane.device).expand(strips, -1, -1), windows)
    return filtered.view(-1, width)[:height]


def _filter_rows(plane: Tensor) -> Tensor:
    """Applies the same along rows."""
    height, width = plane.shape
    strips = -(-width // _STRIP)
    columns = _mirror(plane, 1, strips * _STRIP)
    across = columns.shape[1]
    windows = columns.as_strided((strips, height, _STRIP + 2 * _REACH), (_STRIP, across, 1))
    filtered = torch.bmm(windows, _band(plane.device).mT.expand(strips, -1, -1))
    return filtered.permute(1, 0, 2).reshape(height, -1)[:, :width]


@lru_cache(maxsize=4)
def _band(device: torch.device) -> Tensor:
    """Makes the filter's matrix, (1, _STRIP, _STRIP + 2 * _REACH): each row its taps, one further right."""
    taps = torch.arange(-_REACH, _REACH + 1).abs()
    line = math.sqrt(3) * torch.tensor(_POLE, dtype=torch.float64) ** taps
    line = (line / line.sum()).float()
    rows = [F.pad(line, (n, _STRIP - 1 - n)) for n in range(_STRIP)]
    return torch.stack(rows)[None].to(device)


def _mirror(plane: Tensor, axis: int, wanted: int) -> Tensor:
    """Makes an axis `wanted` long, and `_REACH` more at either end; about the edges it is mirrored."""
    length = plane.shape[axis]
    # What is further from the edge than `_REACH` is never looked at.
    beyond = wanted - length + _REACH
    at = torch.arange(-_REACH, 0, device=plane.device).abs() - 1
    ends = [part.clamp_max(length - 1) for part in (at, length - 1 - at.flip(0))]
    before, after = (plane.index_select(axis, end) for end in ends)
    rest = list(after.shape)
    rest[axis] = beyond - _REACH
    return torch.cat([before, plane, after, plane.new_zeros(rest)], axis)


def _lookups(flow: Flow) -> list[_Lookup]:
    """Works out the four lookups that make up a spline."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[0, 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[0, 1]
    return [
        _Lookup(_mirrored_to(at_x, width), _mirrored_to(at_y, height), share_x * share_y)
        for at_y, share_y in _pairs(y)
        for at_x, share_x in _pairs(x)
    ]


def _mirrored_to(at: Tensor, length: int) -> Tensor:
    """Mirrors places beyond the edges about them."""
    at = torch.remainder(at + 0.5, 2 * length)
    return torch.minimum(at, 2 * length - at) - 0.5


def _pairs(at: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Gives two (position, weight) pairs whose linear interpolations add up to four spline weights."""
    whole = at.floor()
    t = at - whole
    w0 = (1 - t) ** 3 / 6
    w1 = (4 - 6 * t**2 + 3 * t**3) / 6
    w3 = t**3 / 6
    left, right = w0 + w1, 1 - w0 - w1
    return (whole - 1 + w1 / left, left), (whole + 1 + w3 / right, right)
