"""Turns a camera's motion into a Flow: where every pixel of its next frame comes from.

Camera convention. A camera has a velocity G, a 3x3 generator in coordinates centred on
`camera.center` and divided by the focal length f = (W / 2) / tan(fov / 2), y pointing down. In one
frame of dt = 1 / fps seconds the picture point that comes to p lies at expm(G dt) p. Because steps of
one velocity compose exactly, expm(G / 24)^24 = expm(G / 60)^60: a second of motion ends at the same
place at any fps, with zoom, rotation, pan, turn and tilt together.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from zoomdream.media.frame import Flow, Frame
from zoomdream.settings.definitions import Camera
from zoomdream.size import Size


def velocity(camera: Camera) -> Tensor:
    """Gives a camera's velocity G, (3, 3) float64, of the backward map: per second, in focal units."""
    inward = -math.log(camera.zoom)
    spin, turn, tilt = (math.radians(a) for a in (camera.rotate, camera.turn, camera.tilt))
    travel = 2 * math.tan(math.radians(camera.fov) / 2)  # one frame width, in focal lengths
    across, down = camera.pan[0] * travel, camera.pan[1] * travel
    return torch.tensor(
        [[inward, spin, across + turn], [-spin, inward, down - tilt], [-turn, tilt, 0.0]],
        dtype=torch.float64,
    )


def camera_flow(
    camera: Camera,
    size: Size,
    dt: float,
    device: torch.device | None = None,
    t: float = 0.0,
) -> Flow:
    """Gives the Flow of `dt` seconds of a camera's motion, for frames of `size`.

    t: seconds at which it ends; only ripples care. What is looked up is first folded (kaleidoscope,
    tunnel), then bent (swirl, ripple), then moved as the camera moves.
    """
    width, height = size
    focal = width / 2 / math.tan(math.radians(camera.fov) / 2)
    x = torch.arange(width, dtype=torch.float64) + 0.5 - camera.center[0] * width
    y = torch.arange(height, dtype=torch.float64) + 0.5 - camera.center[1] * height
    y, x = torch.meshgrid(y, x, indexing="ij")
    u, v = x / width, y / width  # frame widths from the center
    if camera.kaleidoscope:
        u, v = _mirrored(u, v, camera.kaleidoscope, upright=height > width)
    if camera.tunnel:
        u, v = _nested(u, v, camera.tunnel, size.longer / width / 2)
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
    """Folds every direction into one wedge and its mirror image, which lies along the longer side."""
    wedge, axis = math.pi / folds, math.pi / 2 if upright else 0.0
    angle = torch.remainder(torch.atan2(v, u) - axis, 2 * wedge)
    angle = torch.minimum(angle, 2 * wedge - angle) + axis
    away = torch.hypot(u, v)
    return away * torch.cos(angle), away * torch.sin(angle)


def _nested(u: Tensor, v: Tensor, ratio: float, reach: float) -> tuple[Tensor, Tensor]:
    """Puts the whole again, smaller by the ratio, within reach / ratio of the center (log-polar)."""
    away = torch.hypot(u, v).clamp_min(1e-9)
    rings = torch.ceil(torch.log(reach / ratio / away) / math.log(ratio)).clamp(0, 60)
    scale = ratio**rings
    return u * scale, v * scale


def _swirled(u: Tensor, v: Tensor, camera: Camera, dt: float) -> tuple[Tensor, Tensor]:
    """Turns about the center, the less the further away, and not at all beyond the radius."""
    fade = (1 - (torch.hypot(u, v) / camera.swirl_radius).clamp(0, 1) ** 2) ** 2
    angle = -math.radians(camera.swirl) * dt * fade
    cos, sin = torch.cos(angle), torch.sin(angle)
    return u * cos - v * sin, u * sin + v * cos


def _rippled(u: Tensor, v: Tensor, camera: Camera, dt: float, t: float) -> tuple[Tensor, Tensor]:
    """Moves outward and inward by rings of waves, by what `dt` seconds change of them: it never adds up."""
    away = torch.hypot(u, v)
    along = 2 * math.pi * away / camera.ripple_length
    pace = 2 * math.pi * camera.ripple_speed
    moved = camera.ripple * (torch.sin(along - pace * (t - dt)) - torch.sin(along - pace * t))
    scale = 1 + moved * torch.tanh(4 * away / camera.ripple_length) / away.clamp_min(1e-9)
    return u * scale, v * scale


class CameraPath:
    """Gives a camera's Flow from frame to frame, and computes it only when something about it changes."""

    def __init__(self) -> None:
        self._flow = lru_cache(maxsize=1)(camera_flow)

    def flow(self, camera: Camera, frame: Frame, dt: float, t: float) -> Flow:
        """Gives the Flow of `dt` seconds that end at t seconds, of a frame's size and on its device.

        The result may be the one of the last call: do not write into it.
        """
        ends = t if camera.ripple else 0.0
        return self._flow(camera, Size.of(frame), dt, frame.device, ends)
