"""The dolly: where every pixel of the next frame comes from, and what keeps it alive on the way.

Camera convention. A camera has a velocity G, a 3x3 generator in coordinates centred on
`camera.center` and divided by the focal length f = (W / 2) / tan(fov / 2), y pointing down. In one
frame of dt = 1 / fps seconds the picture point that comes to p lies at expm(G dt) p. Because steps of
one velocity compose exactly, expm(G / 24)^24 = expm(G / 60)^60: a second of motion ends at the same
place at any fps, with zoom, rotation, pan, turn and tilt together.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from zoomdream.frame import Flow, Frame, from_opponent, to_lab, to_opponent
from zoomdream.spec import Anchor, Camera

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


# --- Anchor: what to stay like -----------------------------------------------------------------

_FLOOR = 0.012  # the least deviation of a band of luma aimed at: a blank sheet can dream too


@dataclass(frozen=True)
class Statistics:
    """Of luma and two chroma planes: each frequency band's deviation, and what remains below.

    deviations: (bands + 1, 3), fine to coarse, the last of the residual; mean: (3,), of the residual;
    chroma: (), the mean in L*a*b*.
    """

    deviations: Tensor
    mean: Tensor
    chroma: Tensor

    def towards(self, other: "Statistics", share: float) -> "Statistics":
        return Statistics(
            self.deviations.lerp(other.deviations, share),
            self.mean.lerp(other.mean, share),
            self.chroma.lerp(other.chroma, share),
        )


def measure(frame: Frame, bands: int) -> Statistics:
    """A frame's statistics; `bands` is lowered where the frame is too small for them."""
    planes = to_opponent(frame)
    return _measure(planes, list(_split(planes, bands)))


def _measure(planes: Tensor, parts: list[Tensor]) -> Statistics:
    deviations = torch.stack([part.std((2, 3))[0] for part in parts])
    return Statistics(deviations, parts[-1].mean((2, 3))[0], _chroma(planes))


def _chroma(planes: Tensor) -> Tensor:
    """Mean chroma in Lab of what will be seen, from every fourth pixel."""
    seen = from_opponent(planes[..., ::4, ::4]).clamp(0, 1)
    chroma: Tensor = to_lab(seen)[:, 1:].norm(dim=1).mean()
    return chroma


def _split(planes: Tensor, bands: int) -> Iterator[Tensor]:
    """Laplacian bands, fine to coarse, and the residual."""
    for _ in range(bands):
        if min(planes.shape[-2:]) < 8:
            break
        small = F.avg_pool2d(planes, 2, ceil_mode=True)
        yield planes - _double(small, planes)
        planes = small
    yield planes


def _double(small: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(small, like.shape[-2:], mode="bilinear", align_corners=False)


def hold(frame: Frame, target: Statistics, anchor: Anchor) -> Frame:
    """Draws each band's deviation, the mean and the saturation towards `target` by `anchor.rate`.

    Whole-picture matching of mean and deviation lets sharpening feed on itself until a woven pattern
    is all there is; bands that are held one by one cannot run away. Not clipped.
    """
    planes = to_opponent(frame)
    parts = list(_split(planes, anchor.bands))
    now = _measure(planes, parts)
    wanted = target.deviations.clone()
    wanted[:, 0].clamp_min_(_FLOOR)
    wanted = torch.cat([wanted[:-1] * anchor.vivid, wanted[-1:]])
    gains = (wanted / now.deviations.clamp_min(1e-6)) ** anchor.rate
    gains = gains.clamp(1 / anchor.limit, anchor.limit)[..., None, None]
    middle = now.mean[:, None, None]
    goal = target.mean[:, None, None]
    planes = (parts[-1] - middle) * gains[-1] + middle + anchor.rate * (goal - middle)
    for part, gain in zip(parts[-2::-1], gains[:-1].flip(0), strict=True):
        planes = _double(planes, part) + part * gain
    for _ in range(2):  # clipping answers back: a second look comes closer
        colour = (target.chroma / _chroma(planes).clamp_min(1e-6)) ** anchor.rate
        planes[:, 1:] *= colour.clamp(1 / anchor.limit, anchor.limit)
    return from_opponent(planes)


class Keeper:
    """Keeps a feedback zoom like its anchor, frame after frame.

    like: the frame whose statistics are kept (a running anchor's first).
    """

    def __init__(self, anchor: Anchor, fps: Fraction, like: Frame) -> None:
        self.anchor = anchor
        self._pace = 1 - math.exp(-1 / (float(fps) * anchor.memory))  # of a running anchor
        self._target = measure(like, anchor.bands)

    def keep(self, frame: Frame, chance: torch.Generator) -> Frame:
        """A dreamt frame, drawn towards the anchor, with a little grain; clipped to 0..1."""
        if self.anchor.to == "running":
            now = measure(frame, self.anchor.bands)
            self._target = self._target.towards(now, self._pace)
        if self.anchor.to != "none":
            frame = hold(frame, self._target, self.anchor)
        if self.anchor.grain:  # grey, so that it adds no colour
            grain = torch.randn(frame[:, :1].shape, generator=chance).to(frame.device)
            frame = frame + self.anchor.grain * grain
        return frame.clamp(0, 1)
