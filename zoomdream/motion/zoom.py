"""A camera that goes into its own last frame."""

from collections.abc import Iterator
from fractions import Fraction

import torch
from torch import Tensor

from zoomdream.media.frame import Frame
from zoomdream.motion.anchor import AnchorHold
from zoomdream.motion.camera import step_flow
from zoomdream.motion.protocol import Canvas, Observation
from zoomdream.motion.warp import warp
from zoomdream.settings.model import Anchor, RenderJob


class ZoomMotion:
    """A camera that goes into its own last frame, which is kept like the anchor.

    like: the frame whose colours and contrasts are kept. mask: (1, 1, H, W), black stays the source.
    """

    def __init__(
        self, anchor: Anchor, fps: Fraction, like: Frame, mask: Tensor | None = None
    ) -> None:
        self._fps, self._mask = fps, mask
        self._anchor_hold = AnchorHold(anchor, fps, like)
        self._source: Frame | None = None
        self.last: Frame | None = None

    def look(self, source: Frame, skipped: bool = False) -> Observation:  # noqa: ARG002
        return Observation(source)

    def canvases(self, seen: Observation, now: RenderJob, t: float) -> Iterator[Canvas]:
        self._source = source = seen.source
        last, dt = (source, 0.0) if self.last is None else (self.last, float(1 / self._fps))
        if dt or now.camera.kaleidoscope or now.camera.tunnel:
            last = warp(last, step_flow(now.camera, source, dt, t)).clamp(0, 1)
        yield Canvas(last, self._mask)

    def keep(self, dreamt: Frame, now: RenderJob, rng: torch.Generator) -> Frame:
        self.last = self._anchor_hold.keep(dreamt, rng, now.anchor)
        if self._mask is not None and self._source is not None:
            self.last = self._source.lerp(self.last, self._mask)
        return self.last

    def replace(self, frame: Frame) -> None:
        self.last = frame

    @property
    def state(self) -> dict[str, Tensor]:
        assert self.last is not None
        return {"last": self.last.cpu(), **self._anchor_hold.state}

    def restore(self, state: dict[str, Tensor], at: torch.device) -> None:
        self.last = state["last"].to(at)
        self._anchor_hold.restore(state)
