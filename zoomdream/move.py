"""The dolly: where every pixel of the next frame comes from.

A camera's move and a clip's own are the same thing, a Flow; `Zoom` and `Ride` make it, warp what was
dreamt before by it, and give `dream` the canvas to dream on.

Camera convention. A camera has a velocity G, a 3x3 generator in coordinates centred on
`camera.center` and divided by the focal length f = (W / 2) / tan(fov / 2), y pointing down. In one
frame of dt = 1 / fps seconds the picture point that comes to p lies at expm(G dt) p. Because steps of
one velocity compose exactly, expm(G / 24)^24 = expm(G / 60)^60: a second of motion ends at the same
place at any fps, with zoom, rotation, pan, turn and tilt together.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zoomdream.anchor import Keeper
from zoomdream.flow import Estimator, agreement, look_up, trust
from zoomdream.frame import Flow, Frame, blur
from zoomdream.spec import Anchor, Camera, RenderJob

# --- Flow: where to look ---------------------------------------------------------------------


def velocity(camera: Camera) -> Tensor:
    """G, (3, 3) float64, of the backward map: per second, in centred focal units."""
    inward = -math.log(camera.zoom)
    spin, turn, tilt = (math.radians(a) for a in (camera.rotate, camera.turn, camera.tilt))
    travel = 2 * math.tan(math.radians(camera.fov) / 2)  # one frame width, in focal lengths
    across, down = camera.pan[0] * travel, camera.pan[1] * travel
    return torch.tensor(
        [[inward, spin, across + turn], [-spin, inward, down - tilt], [-turn, tilt, 0.0]],
        dtype=torch.float64,
    )


@lru_cache(maxsize=4)
def camera_flow(
    camera: Camera,
    size: tuple[int, int],
    dt: float,
    device: torch.device | None = None,
    t: float = 0.0,
) -> Flow:
    """The Flow of `dt` seconds of a camera's motion, for frames of `size` (height, width).

    t: seconds at which it ends; only ripples care. The result is shared between calls: do not write
    into it. What is looked up is first folded (kaleidoscope, tunnel), then bent (swirl, ripple), then
    moved as the camera moves.
    """
    height, width = size
    focal = width / 2 / math.tan(math.radians(camera.fov) / 2)
    x = torch.arange(width, dtype=torch.float64) + 0.5 - camera.center[0] * width
    y = torch.arange(height, dtype=torch.float64) + 0.5 - camera.center[1] * height
    y, x = torch.meshgrid(y, x, indexing="ij")
    u, v = x / width, y / width  # frame widths from the center
    if camera.kaleidoscope:
        u, v = _mirrored(u, v, camera.kaleidoscope, upright=height > width)
    if camera.tunnel:
        u, v = _nested(u, v, camera.tunnel, max(height, width) / width / 2)
    if camera.swirl:
        u, v = _swirled(u, v, camera, dt)
    if camera.ripple:
        u, v = _rippled(u, v, camera, dt, t)
    step = torch.linalg.matrix_exp(velocity(camera) * dt)
    rays = torch.stack([u * width / focal, v * width / focal, torch.ones_like(x)])
    u, v, w = torch.einsum("ij,jhw->ihw", step, rays)
    w = w.clamp_min(0.02)  # nothing behind the camera
    return torch.stack([u / w * focal - x, v / w * focal - y])[None].float().to(device)


def _mirrored(u: Tensor, v: Tensor, folds: int, upright: bool) -> tuple[Tensor, Tensor]:
    """Every direction folded into one wedge and its mirror image, which lies along the longer side."""
    wedge, axis = math.pi / folds, math.pi / 2 if upright else 0.0
    angle = torch.remainder(torch.atan2(v, u) - axis, 2 * wedge)
    angle = torch.minimum(angle, 2 * wedge - angle) + axis
    away = torch.hypot(u, v)
    return away * torch.cos(angle), away * torch.sin(angle)


def _nested(u: Tensor, v: Tensor, ratio: float, reach: float) -> tuple[Tensor, Tensor]:
    """What is within reach / ratio of the center is the whole again, that much smaller (log-polar)."""
    away = torch.hypot(u, v).clamp_min(1e-9)
    rings = torch.ceil(torch.log(reach / ratio / away) / math.log(ratio)).clamp(0, 60)
    scale = ratio**rings
    return u * scale, v * scale


def _swirled(u: Tensor, v: Tensor, camera: Camera, dt: float) -> tuple[Tensor, Tensor]:
    """Turned about the center, the less the further away, and not at all beyond the radius."""
    fade = (1 - (torch.hypot(u, v) / camera.swirl_radius).clamp(0, 1) ** 2) ** 2
    angle = -math.radians(camera.swirl) * dt * fade
    cos, sin = torch.cos(angle), torch.sin(angle)
    return u * cos - v * sin, u * sin + v * cos


def _rippled(u: Tensor, v: Tensor, camera: Camera, dt: float, t: float) -> tuple[Tensor, Tensor]:
    """Moved outward and inward by rings of waves: what `dt` seconds add, so that it never adds up."""
    away = torch.hypot(u, v)
    along = 2 * math.pi * away / camera.ripple_length
    pace = 2 * math.pi * camera.ripple_speed
    moved = camera.ripple * (torch.sin(along - pace * (t - dt)) - torch.sin(along - pace * t))
    scale = 1 + moved * torch.tanh(4 * away / camera.ripple_length) / away.clamp_min(1e-9)
    return u * scale, v * scale


def warp(frame: Tensor, flow: Flow) -> Tensor:
    """`out(p) = in(p + flow(p))` by cubic B-spline interpolation, (1, C, H, W), mirrored borders.

    Not clipped to 0..1. Splines (Unser 1999, "Splines: a perfect fit for signal and image
    processing") reproduce cubic polynomials; the usual bicubic kernel with a = -0.75 does not even
    reproduce straight lines: it is off by up to 0.05 px a step, always in one direction under a slow
    pan, and blurs more. We evaluate the spline by four bilinear lookups (Sigg and Hadwiger 2005); on a
    CPU one axis after the other, where a flow allows it.
    """
    quick = frame.device.type == "cpu" and frame.dtype == torch.float32
    if quick and (axes := _axes(flow)):
        return _woven(frame, *axes)
    spline = _spline(frame)
    remapped = quick and spline.shape[1] <= 4 and _remap_is_exact()
    return (_remapped if remapped else _sampled)(spline, _lookups(flow))


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


@lru_cache(maxsize=1)
def _axes(flow: Flow) -> tuple[list[_Strip], list[_Strip]] | None:
    """How to take a flow's axes one by one, or None where what one looks at depends on the other: a
    camera that zooms and pans moves each by itself, one that turns does not."""
    across, down = flow[0]
    apart = across.eq(across[:1]).all() and down.eq(down[:, :1]).all()
    return (_strips(down[:, 0]), _strips(across[0])) if apart else None


def _strips(flow: Tensor) -> list[_Strip]:
    """Of an axis whose every place moves by `flow`: the spline's filter and its lookups, in one."""
    length = len(flow)
    spline = _filter(length)
    at = torch.arange(length) + flow
    found = []
    for part in torch.split(at, _NARROW):
        weights = torch.zeros(len(part), length)
        for place, share in _pairs(part):
            weights.addcmul_(_between(spline, _mirrored_to(place, length)), share[:, None])
        seen = weights.any(0).nonzero()
        first, end = int(seen[0]), int(seen[-1]) + 1
        found.append(_Strip(first, end, weights[:, first:end].contiguous()))
    return found


@lru_cache(maxsize=2)
def _filter(length: int) -> Tensor:
    """The spline's filter along an axis, (length, length)."""
    return _down(torch.eye(length))


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


@lru_cache(maxsize=1)
def _lookups(flow: Flow) -> list[_Lookup]:
    """Four, which make up a spline; kept while the flow is the same."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[0, 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[0, 1]
    return [
        _Lookup(_mirrored_to(at_x, width), _mirrored_to(at_y, height), share_x * share_y)
        for at_y, share_y in _pairs(y)
        for at_x, share_x in _pairs(x)
    ]


def forget_grids() -> None:
    """Gives back what `warp` keeps for the next frame: at 3840x2160 px up to 460 MB."""
    for kept in (_lookups, _axes, _filter):
        kept.cache_clear()


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


# --- Motion: what is dreamt on next ------------------------------------------------------------


@dataclass(frozen=True)
class Canvas:
    """What to dream on, and how much: a factor of the steps, or (1, 1, H, W) of them."""

    frame: Frame
    amount: Tensor | None = None


@dataclass(frozen=True)
class Seen:
    """A source frame, and what can be known of it before anything is dreamt.

    flow: where its pixels were in the last one; None where all begins anew. believed: (1, 1, H, W), how
    far that can be trusted; None: wholly.
    """

    source: Frame
    flow: Flow | None = None
    believed: Tensor | None = None


class Motion(Protocol):
    """Gives canvases for each source frame, and is told what was dreamt on each."""

    def look(self, source: Frame, skipped: bool = False) -> Seen:
        """Looks at the next source frame: in order, but as far ahead as one likes, in any one thread.

        skipped: its dream is there already.
        """

    def canvases(self, seen: Seen, now: RenderJob, t: float) -> Iterator[Canvas]:
        """One, or several that lead up to a frame. now: the settings at t seconds."""

    def keep(self, dreamt: Frame, now: RenderJob, chance: torch.Generator) -> Frame:
        """Takes what was dreamt on the last canvas; returns the film's frame."""

    def replace(self, frame: Frame) -> None:
        """Goes on from another frame than the one that was kept."""

    @property
    def state(self) -> dict[str, Tensor]:
        """What the next frame is made from, but for the source."""

    def restore(self, state: dict[str, Tensor], at: torch.device) -> None:
        """Goes on from a state, on a device."""


class Zoom:
    """A camera that goes into its own last frame, which is kept like the anchor.

    like: the frame whose colours and contrasts are kept. mask: (1, 1, H, W), black stays the source.
    """

    def __init__(
        self, anchor: Anchor, fps: Fraction, like: Frame, mask: Tensor | None = None
    ) -> None:
        self._fps, self._mask = fps, mask
        self._keeper = Keeper(anchor, fps, like)
        self._source: Frame | None = None
        self.last: Frame | None = None

    def look(self, source: Frame, skipped: bool = False) -> Seen:  # noqa: ARG002
        return Seen(source)

    def canvases(self, seen: Seen, now: RenderJob, t: float) -> Iterator[Canvas]:
        self._source = source = seen.source
        last, dt = (source, 0.0) if self.last is None else (self.last, float(1 / self._fps))
        if dt or now.camera.kaleidoscope or now.camera.tunnel:
            last = warp(last, step_flow(now.camera, source, dt, t)).clamp(0, 1)
        yield Canvas(last, self._mask)

    def keep(self, dreamt: Frame, now: RenderJob, chance: torch.Generator) -> Frame:
        self.last = self._keeper.keep(dreamt, chance, now.anchor)
        if self._mask is not None and self._source is not None:
            self.last = self._source.lerp(self.last, self._mask)
        return self.last

    def replace(self, frame: Frame) -> None:
        self.last = frame

    @property
    def state(self) -> dict[str, Tensor]:
        assert self.last is not None
        return {"last": self.last.cpu(), **self._keeper.state}

    def restore(self, state: dict[str, Tensor], at: torch.device) -> None:
        self.last = state["last"].to(at)
        self._keeper.restore(state)


def step_flow(camera: Camera, frame: Frame, dt: float, t: float) -> Flow:
    """The camera's Flow from one frame to the next, of a frame's size; t: seconds at its end."""
    size = frame.shape[2], frame.shape[3]
    return camera_flow(camera, size, dt, frame.device, t if camera.ripple else 0.0)


STILL_STEPS = 5  # of a still, whose dream is as strong as a clip's of strength 1
SETTLE = 16  # times that the first frame of a shot is dreamt on
_PERSIST_FPS = 30  # at which `persist` is counted; at other rates as much stays in a second
_FEATHER = 1.0  # px by which the edge of what is trusted is softened


class Ride:
    """A dream that rides on what moves in a clip.

    What is carried from frame to frame is the dream alone, the dreamt frame minus its source, along the
    optical flow and where that can be trusted. Of n frames of dreaming at a place the last is mixed in by
    1 / n, as a mean is, until it is 1 - persist: so a place that has just come into sight is dreamt at
    full strength at once, and neither setting changes what the other means. Where little persists a
    frame is dreamt on in several passes. The first frame of a shot is dreamt `SETTLE` times, and is as
    strong as those that follow.

    starts_shot: whether a source frame is the first after a cut. trusting: whether to ask if the flow can
    be believed. mask: (1, 1, H, W), black stays the source.
    """

    def __init__(
        self,
        fps: Fraction,
        estimate: Estimator,
        starts_shot: Callable[[Frame], bool],
        trusting: bool = True,
        mask: Tensor | None = None,
    ) -> None:
        self._fps, self._mask = fps, mask
        self._estimate, self._starts_shot, self._trusting = estimate, starts_shot, trusting
        self._looked: Frame | None = (
            None  # at last; `_source` is what is dreamt on, and comes later
        )
        self._source: Frame | None = None
        self._dream = self._age = torch.empty(0)

    def look(self, source: Frame, skipped: bool = False) -> Seen:
        last, self._looked = self._looked, source
        if self._starts_shot(source) or last is None or skipped:
            return Seen(source)
        flow = self._estimate(source, last)
        if not self._trusting:
            return Seen(source, flow)
        back = self._estimate(last, source)
        believed = trust(flow, back) * agreement(source, last, flow)
        return Seen(source, flow, blur(believed, _FEATHER))

    def canvases(self, seen: Seen, now: RenderJob, t: float) -> Iterator[Canvas]:  # noqa: ARG002
        assert now.flow is not None
        self._source = source = seen.source
        persist = now.flow.persist ** float(_PERSIST_FPS / self._fps)
        steps = max(now.dream.steps, 1)
        fresh = math.ceil((1 - persist) * STILL_STEPS)  # steps of a still that a frame adds
        passes = max(1, -(-fresh // steps))
        whole: Tensor | float = now.flow.strength * STILL_STEPS / steps / passes
        if self._mask is not None:
            whole = whole * self._mask
        times = 1
        if seen.flow is None:
            self._dream, self._age = torch.zeros_like(source), torch.zeros_like(source[:, :1])
            times = SETTLE if persist else 1
        else:
            self._dream = warp(self._dream, seen.flow)
            self._age = look_up(self._age, seen.flow)
            if seen.believed is not None:
                self._age *= seen.believed
        for _ in range(times):
            stays = (self._age / (self._age + 1)).clamp_max(persist)
            self._dream = self._dream * stays
            for _ in range(passes):
                yield Canvas((source + self._dream).clamp(0, 1), (1 - stays) * whole)
            self._age = self._age + 1

    def keep(self, dreamt: Frame, now: RenderJob, chance: torch.Generator) -> Frame:  # noqa: ARG002
        assert self._source is not None
        if self._mask is not None:
            dreamt = self._source.lerp(dreamt, self._mask)
        self._dream = dreamt - self._source
        return dreamt

    def replace(self, frame: Frame) -> None:
        assert self._source is not None
        self._dream = frame - self._source

    @property
    def state(self) -> dict[str, Tensor]:
        return {"dream": self._dream.cpu(), "age": self._age.cpu()}

    def restore(self, state: dict[str, Tensor], at: torch.device) -> None:
        self._dream, self._age = (state[key].to(at) for key in ("dream", "age"))
