"""A dream that rides on what moves in a clip."""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import torch
from torch import Tensor

from zoomdream.media.frame import Frame, blur
from zoomdream.motion.flow import (
    FlowEstimator,
    photometric_consistency,
    sample_bilinear,
    trust_mask,
)
from zoomdream.motion.protocol import Canvas, Observation
from zoomdream.motion.warp import warp
from zoomdream.settings.model import RenderJob

STILL_STEPS = 5  # of a still, whose dream is as strong as a clip's of strength 1
SETTLE = 16  # times that the first frame of a shot is dreamt on
_PERSIST_FPS = 30  # at which `persist` is counted; at other rates as much stays in a second
_FEATHER = 1.0  # px by which the edge of what is trusted is softened


class ClipMotion:
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
        estimate: FlowEstimator,
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

    def look(self, source: Frame, skipped: bool = False) -> Observation:
        last, self._looked = self._looked, source
        if self._starts_shot(source) or last is None or skipped:
            return Observation(source)
        flow = self._estimate(source, last)
        if not self._trusting:
            return Observation(source, flow)
        back = self._estimate(last, source)
        believed = trust_mask(flow, back) * photometric_consistency(source, last, flow)
        return Observation(source, flow, blur(believed, _FEATHER))

    def canvases(self, seen: Observation, now: RenderJob, t: float) -> Iterator[Canvas]:  # noqa: ARG002
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
            self._age = sample_bilinear(self._age, seen.flow)
            if seen.believed is not None:
                self._age *= seen.believed
        for _ in range(times):
            stays = (self._age / (self._age + 1)).clamp_max(persist)
            self._dream = self._dream * stays
            for _ in range(passes):
                yield Canvas((source + self._dream).clamp(0, 1), (1 - stays) * whole)
            self._age = self._age + 1

    def keep(self, dreamt: Frame, now: RenderJob, rng: torch.Generator) -> Frame:  # noqa: ARG002
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
