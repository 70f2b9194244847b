"""Carries a dream along with what moves in a clip."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from zoomdream.media.frame import Frame, blur
from zoomdream.motion.flow import (
    FlowEstimator,
    photometric_consistency,
    sample_bilinear,
    trust_mask,
)
from zoomdream.motion.protocol import DreamFunction, Moment, Observation
from zoomdream.motion.warp import warp

STILL_STEPS = 7  # steps on a still that make its dream as strong as a clip's of strength 1
SETTLE = 16  # times that the first frame of a shot is dreamt on, to be as strong as later ones
_PERSIST_FPS = 30  # at which `persist` is counted; at other rates as much stays in a second
_FEATHER = 1.0  # px, of the blur that softens the edges of what is trusted


class ClipMotion:
    """Carries a dream along with what moves in a clip.

    What is carried from frame to frame is the dream alone, the dreamt frame minus its source, along the
    optical flow, as far as that can be trusted. Of n frames of dreaming at a place the last is mixed in by
    1 / n, as a mean is, until it is 1 - persist: so a place that has just come into sight is dreamt at
    full strength at once, and neither setting changes what the other means. Where little persists a
    frame is dreamt on in several passes. The first frame of a shot is dreamt `SETTLE` times, and is as
    strong as those that follow.

    estimator: of the optical flow. starts_shot: whether a source frame is the first after a cut. checked:
    whether to work out where the flow can be trusted. mask: (1, 1, H, W), black stays the source.
    """

    def __init__(
        self,
        fps: Fraction,
        estimator: FlowEstimator,
        starts_shot: Callable[[Frame], bool],
        checked: bool = True,
        mask: Tensor | None = None,
    ) -> None:
        self._fps, self._mask = fps, mask
        self._estimator, self._starts_shot, self._checked = estimator, starts_shot, checked
        self._observed: tuple[Frame, Any] | None = None  # the last source, and as prepared
        self._dream = self._age = torch.empty(0)

    def observe(self, source: Frame, skipped: bool = False) -> Observation:
        last, prepared = self._observed, self._estimator.prepare(source)
        self._observed = source, prepared
        if self._starts_shot(source) or last is None or skipped:
            return Observation(source)
        last_source, last_prepared = last
        flow = self._estimator.flow(prepared, last_prepared, source)
        if not self._checked:
            return Observation(source, flow)
        back = self._estimator.flow(last_prepared, prepared, source)
        trusted = trust_mask(flow, back) * photometric_consistency(source, last_source, flow)
        return Observation(source, flow, blur(trusted, _FEATHER))

    def step(
        self,
        observed: Observation,
        moment: Moment,
        dream: DreamFunction,
        finish: Callable[[Frame], Frame] = lambda frame: frame,
    ) -> Frame:
        now, source = moment.settings, observed.source
        assert now.flow is not None
        persist = now.flow.persist ** float(_PERSIST_FPS / self._fps)
        steps = max(now.dream.steps, 1)
        fresh = math.ceil((1 - persist) * STILL_STEPS)  # steps of a still that a frame adds
        passes = max(1, -(-fresh // steps))
        whole: Tensor | float = now.flow.strength * STILL_STEPS / steps / passes
        if self._mask is not None:
            whole = whole * self._mask
        self._carry(observed)
        dreamt = source
        for _ in range(SETTLE if observed.flow is None and persist else 1):
            stays = (self._age / (self._age + 1)).clamp_max(persist)
            self._dream = self._dream * stays
            for _ in range(passes):
                dreamt = dream((source + self._dream).clamp(0, 1), (1 - stays) * whole)
                if self._mask is not None:
                    dreamt = source.lerp(dreamt, self._mask)
                self._dream = dreamt - source
            self._age = self._age + 1
        frame = finish(dreamt)
        if frame is not dreamt:
            self._dream = frame - source
        return frame

    def _carry(self, observed: Observation) -> None:
        """Moves the dream to where its places are now; where it begins anew there is none."""
        if observed.flow is None:
            self._dream = torch.zeros_like(observed.source)
            self._age = torch.zeros_like(observed.source[:, :1])
            return
        self._dream = warp(self._dream, observed.flow)
        self._age = sample_bilinear(self._age, observed.flow)
        if observed.trusted is not None:
            self._age *= observed.trusted

    @property
    def state(self) -> dict[str, Tensor]:
        return {"dream": self._dream.cpu(), "age": self._age.cpu()}

    def restore(self, state: dict[str, Tensor], device: torch.device) -> None:
        self._dream, self._age = (state[key].to(device) for key in ("dream", "age"))
