"""Moves a camera into its own last frame."""

from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor

from zoomdream.events import Stopwatch
from zoomdream.media.frame import Frame
from zoomdream.motion.anchor import AnchorHold
from zoomdream.motion.camera import CameraPath
from zoomdream.motion.protocol import DreamFunction, Moment, Observation
from zoomdream.motion.warp import Warper
from zoomdream.settings.definitions import Anchor


class ZoomMotion:
    """Moves a camera into its own last frame, which is kept like the anchor.

    like: the frame whose colours and contrasts are kept. mask: (1, 1, H, W), black stays the source.
    stopwatch: counts the time that keeping takes.
    """

    def __init__(
        self,
        anchor: Anchor,
        fps: Fraction,
        like: Frame,
        mask: Tensor | None = None,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        self._fps, self._mask = fps, mask
        self._anchor_hold = AnchorHold(anchor, fps, like)
        self._path, self._warp = CameraPath(), Warper()
        self._stopwatch = stopwatch or Stopwatch()
        self._last: Frame | None = None

    def observe(self, source: Frame, skipped: bool = False) -> Observation:  # noqa: ARG002
        return Observation(source)

    def step(
        self,
        observed: Observation,
        moment: Moment,
        dream: DreamFunction,
        finish: Callable[[Frame], Frame] = lambda frame: frame,
    ) -> Frame:
        now, source = moment.settings, observed.source
        moved, dt = (source, 0.0) if self._last is None else (self._last, float(1 / self._fps))
        if dt or now.camera.kaleidoscope or now.camera.tunnel:
            flow = self._path.flow(now.camera, source, dt, moment.t)
            moved = self._warp(moved, flow).clamp(0, 1)
        dreamt = dream(moved, self._mask)
        with self._stopwatch("keeping"):
            kept = self._anchor_hold.keep(dreamt, moment.rng, now.anchor)
            if self._mask is not None:
                kept = source.lerp(kept, self._mask)
        self._last = finish(kept)
        return self._last

    @property
    def state(self) -> dict[str, Tensor]:
        assert self._last is not None
        return {"last": self._last.cpu(), **self._anchor_hold.state}

    def restore(self, state: dict[str, Tensor], device: torch.device) -> None:
        self._last = state["last"].to(device)
        self._anchor_hold.restore(state)
