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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from zoomdream.anchor import Keeper
from zoomdream.flow import Estimator, agreement, look_up, trust
from zoomdream.frame import Flow, Frame, blur
from zoomdream.spec import Anchor, Camera, FlowBlend

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
    camera: Camera, size: tuple[int, int], dt: float, device: torch.device | None = None
) -> Flow:
    """The Flow of `dt` seconds of a camera's motion, for frames of `size` (height, width).

    The result is shared between calls: do not write into it.
    """
    height, width = size
    focal = width / 2 / math.tan(math.radians(camera.fov) / 2)
    x = (torch.arange(width, dtype=torch.float64) + 0.5 - camera.center[0] * width) / focal
    y = (torch.arange(height, dtype=torch.float64) + 0.5 - camera.center[1] * height) / focal
    y, x = torch.meshgrid(y, x, indexing="ij")
    step = torch.linalg.matrix_exp(velocity(camera) * dt)
    u, v, w = torch.einsum("ij,jhw->ihw", step, torch.stack([x, y, torch.ones_like(x)]))
    w = w.clamp_min(0.02)  # nothing behind the camera
    return (torch.stack([u / w - x, v / w - y])[None] * focal).float().to(device)


def warp(frame: Tensor, flow: Flow) -> Tensor:
    """`out(p) = in(p + flow(p))` by cubic B-spline interpolation, (1, C, H, W), mirrored borders.

    Not clipped to 0..1. Splines (Unser 1999, "Splines: a perfect fit for signal and image
    processing") reproduce cubic polynomials; the usual bicubic kernel with a = -0.75 does not even
    reproduce straight lines: it is off by up to 0.05 px a step, always in one direction under a slow
    pan, and blurs more. We evaluate the spline by four bilinear lookups (Sigg and Hadwiger 2005).
    """
    spline = _spline(frame)
    out = torch.zeros_like(spline)
    for grid, share in _lookups(flow):
        found = F.grid_sample(
            spline, grid, mode="bilinear", padding_mode="reflection", align_corners=False
        )
        out.addcmul_(found, share)
    return out


_POLE = math.sqrt(3) - 2  # of the cubic B-spline's inverse filter
_REACH = 10  # taps to each side; _POLE ** 10 is 2e-6


def _spline(frame: Tensor) -> Tensor:
    """B-spline coefficients, so that the spline passes through the pixels."""
    taps = torch.arange(-_REACH, _REACH + 1, device=frame.device).abs()
    line = math.sqrt(3) * torch.tensor(_POLE, device=frame.device) ** taps
    channels = frame.shape[1]
    kernel = (line / line.sum()).to(frame.dtype).expand(channels, 1, 1, -1)
    for axis in (3, 2):
        mirrored = _mirror(frame, axis).contiguous(memory_format=torch.channels_last)
        shaped = kernel if axis == 3 else kernel.transpose(2, 3)
        frame = F.conv2d(mirrored, shaped, groups=channels)
    return frame


def _mirror(frame: Tensor, axis: int) -> Tensor:
    """Extends an axis by `_REACH` pixels each side, mirrored about the edge."""
    length = frame.shape[axis]
    at = torch.arange(-_REACH, length + _REACH, device=frame.device) % (2 * length)
    return frame.index_select(axis, torch.minimum(at, 2 * length - 1 - at))


@lru_cache(maxsize=1)
def _lookups(flow: Flow) -> list[tuple[Tensor, Tensor]]:
    """Four grids to look up bilinearly, and the weight of each; kept while the flow is the same."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[:, 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    return [
        (
            torch.stack([(2 * at_x + 1) / width - 1, (2 * at_y + 1) / height - 1], -1),
            (share_x * share_y)[:, None],
        )
        for at_y, share_y in _pairs(y)
        for at_x, share_x in _pairs(x)
    ]


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


class Motion(Protocol):
    """Gives canvases for each source frame, and is told what was dreamt on each."""

    def canvases(self, source: Frame) -> Iterator[Canvas]:
        """One, or several that lead up to a frame."""

    def keep(self, dreamt: Frame, chance: torch.Generator) -> Frame:
        """Takes what was dreamt on the last canvas; returns the film's frame."""


class Zoom:
    """A camera that goes into its own last frame, which is kept like the anchor.

    like: the frame whose colours and contrasts are kept. mask: (1, 1, H, W), black stays the source.
    """

    def __init__(
        self, camera: Camera, anchor: Anchor, fps: Fraction, like: Frame, mask: Tensor | None = None
    ) -> None:
        self._camera, self._fps, self._mask = camera, fps, mask
        self._keeper = Keeper(anchor, fps, like)
        self._source: Frame | None = None
        self._last: Frame | None = None

    def canvases(self, source: Frame) -> Iterator[Canvas]:
        self._source = source
        if self._last is None:
            yield Canvas(source, self._mask)
            return
        size = source.shape[2], source.shape[3]
        flow = camera_flow(self._camera, size, float(1 / self._fps), source.device)
        yield Canvas(warp(self._last, flow).clamp(0, 1), self._mask)

    def keep(self, dreamt: Frame, chance: torch.Generator) -> Frame:
        self._last = self._keeper.keep(dreamt, chance)
        if self._mask is not None and self._source is not None:
            self._last = self._source.lerp(self._last, self._mask)
        return self._last


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

    steps: per octave and frame. starts_shot: whether a source frame is the first after a cut. mask:
    (1, 1, H, W), black stays the source.
    """

    def __init__(
        self,
        blend: FlowBlend,
        steps: int,
        fps: Fraction,
        estimate: Estimator,
        starts_shot: Callable[[Frame], bool],
        mask: Tensor | None = None,
    ) -> None:
        self._persist = blend.persist ** float(_PERSIST_FPS / fps)
        self._trusting = blend.flow != "none"
        fresh = math.ceil((1 - self._persist) * STILL_STEPS)  # steps of a still that a frame adds
        self._passes = max(1, -(-fresh // max(steps, 1)))
        share = STILL_STEPS / max(steps, 1) / self._passes
        self._whole = blend.strength * share * (1 if mask is None else mask)
        self._estimate, self._starts_shot, self._mask = estimate, starts_shot, mask
        self._source: Frame | None = None
        self._dream = self._age = torch.empty(0)

    def canvases(self, source: Frame) -> Iterator[Canvas]:
        times = 1
        if self._starts_shot(source) or self._source is None:
            self._dream, self._age = torch.zeros_like(source), torch.zeros_like(source[:, :1])
            times = SETTLE if self._persist else 1
        else:
            self._carry(source, self._source)
        self._source = source
        for _ in range(times):
            stays = (self._age / (self._age + 1)).clamp_max(self._persist)
            self._dream = self._dream * stays
            for _ in range(self._passes):
                yield Canvas((source + self._dream).clamp(0, 1), (1 - stays) * self._whole)
            self._age = self._age + 1

    def keep(self, dreamt: Frame, chance: torch.Generator) -> Frame:  # noqa: ARG002
        assert self._source is not None
        if self._mask is not None:
            dreamt = self._source.lerp(dreamt, self._mask)
        self._dream = dreamt - self._source
        return dreamt

    def _carry(self, source: Frame, last: Frame) -> None:
        flow, back = self._estimate(source, last), self._estimate(last, source)
        self._dream, self._age = warp(self._dream, flow), look_up(self._age, flow)
        if self._trusting:
            believed = trust(flow, back) * agreement(source, last, flow)
            self._age *= blur(believed, _FEATHER)
