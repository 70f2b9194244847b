"""Renders a job's frames, one after another, without writing any."""

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from zoomdream.dreaming.ascent import dream
from zoomdream.dreaming.colors import DreamColors, hold_palette
from zoomdream.dreaming.guide import open_guide_source
from zoomdream.dreaming.postprocess import post_processed, post_processes
from zoomdream.dreaming.rng import frame_rng
from zoomdream.dreaming.session import DreamSession
from zoomdream.dreaming.tiles import tile_side
from zoomdream.dreaming.variety import channel_weights_at
from zoomdream.events import Stopwatch
from zoomdream.film.seamless_loop import LoopBlend
from zoomdream.media.frame import Frame, ImageArray, cover, to_bytes, to_device
from zoomdream.media.image_reader import read_mask, read_still
from zoomdream.media.source import Clip
from zoomdream.motion.clip_motion import ClipMotion
from zoomdream.motion.protocol import Moment, Motion, Observation
from zoomdream.motion.zoom import ZoomMotion
from zoomdream.network.network import Network
from zoomdream.pipeline import prefetch
from zoomdream.settings.definitions import RenderJob
from zoomdream.settings.timeline import Timeline

State = dict[str, Tensor]


@dataclass(frozen=True)
class RenderedFrame:
    """A frame of a film.

    number: from 0, or below where it comes before the film. frame: (1, 3, H, W) in 0..1, on the network's
    device. objective: before the last step of its dream.
    """

    number: int
    frame: Frame
    objective: float

    @property
    def image(self) -> ImageArray:
        """(H, W, 3), uint8."""
        return to_bytes(self.frame)


class FrameRenderer:
    """Renders a job's frames, one after another, and knows what the next one is made from.

    A loop is begun `early` frames before its first. Its end is drawn, frame by frame, towards those early
    frames, and becomes the last of them, which the first frame of the film follows.
    """

    def __init__(self, job: RenderJob, clip: Clip, network: Network, timeline: Timeline) -> None:
        self._job, self._clip, self._timeline = job, clip, timeline
        self._session = DreamSession(network)
        self._session.colors = DreamColors.of_job(job)
        self._session.tile = self._reported_tile = tile_side(network, clip.size.pixels)
        self._loop = LoopBlend(job, clip)
        self._guide = open_guide_source(job, self._session, _seconds(clip))
        self._post_processes = post_processes(job)
        self._device = network.at.device
        self._motion: Motion | None = None
        self._mask: Tensor | None = None
        self._begin, self._resumed_from = -self._loop.early, State()
        self.stopwatch = Stopwatch()

    @property
    def early(self) -> int:
        """How many frames come before the first."""
        return self._loop.early

    @torch.no_grad()
    def frames(self) -> Generator[RenderedFrame]:
        """Yields the frames that are still to be made, the first of all having number -`early`; once."""
        sources = self._on_device(self._loop.numbered(self._clip.frames))
        number, first = next(sources)
        self._session.balance(first)
        self._motion = motion = self._make_motion(first)
        if self._resumed_from:
            motion.restore(self._resumed_from, self._device)
        with prefetch(self._observed(chain([(number, first)], sources), motion)) as observations:
            while True:
                with self.stopwatch("waiting"):
                    number, observed = next(observations, (0, None))
                if observed is None:
                    return
                yield self._frame(number, observed, motion)

    def _on_device(self, sources: Iterator[tuple[int, Frame]]) -> Iterator[tuple[int, Frame]]:
        """Moves source frames to the network's device; a still, which comes again and again, once."""
        last = moved = None
        for number, frame in sources:
            if moved is None or frame is not last:
                last, moved = frame, to_device(frame, self._device)
            yield number, moved

    def _observed(
        self, sources: Iterator[tuple[int, Frame]], motion: Motion
    ) -> Iterator[tuple[int, Observation]]:
        """Has the motion observe all source frames, and yields those that are still to be dreamt."""
        for number, frame in sources:
            skipped = number < self._begin
            observation = motion.observe(frame, skipped)
            if not skipped:
                yield number, observation

    def _frame(self, number: int, observed: Observation, motion: Motion) -> RenderedFrame:
        job, session = self._job, self._session
        rng, t = frame_rng(job.seed, number), float(number / self._clip.fps)
        now = self._timeline.at(number)
        session.weights = layer_weights(now, session.network)
        if self._guide is not None:
            session.objectives = self._guide.objectives(now.guide, t)
        channel_weights = channel_weights_at(session, now.dream, job.seed, t)
        objective = 0.0

        def dream_on(canvas: Frame, step_mask: Tensor | None) -> Frame:
            nonlocal objective
            with self.stopwatch("dreaming"):
                dreamt = dream(
                    canvas, session, now.dream, rng, step_mask, channel_weights,
                    source=observed.source,
                )  # fmt: skip
            objective = dreamt.objective
            return dreamt.frame

        with self.stopwatch("moving"):
            frame = motion.step(
                observed,
                Moment(now, t, rng),
                dream_on,
                lambda frame: self._loop.blended(number, frame),
            )
        if job.flow is not None:  # a zoom has its anchor
            held = hold_palette(frame, observed.source, now.dream)
            frame = held if self._mask is None else frame.lerp(held, self._mask)
        if number >= 0:  # those before the first are drawn on once more
            frame = post_processed(frame, t, self._post_processes)
        return RenderedFrame(number, frame, objective)

    def _make_motion(self, first: Frame) -> Motion:
        """Makes what moves the dream: a camera, or what moves in the clip. first: the clip's first frame."""
        job, clip = self._job, self._clip
        if job.mask is not None:
            mask = cover(read_mask(job.mask, job.max_pixels), clip.size)
            self._mask = mask.to(self._device)
        if job.flow is None:
            like = first
            if job.anchor.palette is not None:
                palette = read_still(job.anchor.palette, job.max_pixels)
                like = cover(palette, clip.size).to(self._device)
            return ZoomMotion(job.anchor, clip.fps, like, self._mask, self.stopwatch)
        from zoomdream.motion.cuts import CutDetector
        from zoomdream.motion.flow import flow_estimator

        estimator = flow_estimator(job.flow.flow, job.flow.flow_weights, self._device)
        starts_shot = CutDetector(clip.fps).starts_shot if job.flow.scenes else lambda _: False
        return ClipMotion(clip.fps, estimator, starts_shot, job.flow.flow != "none", self._mask)

    @property
    def state(self) -> State:
        """What the next frame is made from, besides the source and the settings; on the CPU."""
        assert self._motion is not None
        return {**self._session.state, **self._motion.state}

    def resume(self, number: int, state: State, early: Iterator[ImageArray]) -> None:
        """Goes on with frame `number`. early: those frames before the first that were made already."""
        self._begin, self._resumed_from = number, state
        self._session.restore(state)
        self._reported_tile = self._session.tile
        self._loop.hold(early)

    def notes(self) -> Iterator[str]:
        """Yields sentences about what has happened since the last call."""
        if self._session.tile != self._reported_tile:
            self._reported_tile = self._session.tile
            yield f"memory ran out: it goes on in tiles of {self._session.tile} px"


def _seconds(clip: Clip) -> float:
    return math.inf if clip.length is None else float(clip.length / clip.fps)


def layer_weights(now: RenderJob, network: Network) -> list[float]:
    """Gives each objective's weight: the settings' at a frame, or, without any, the network's own."""
    weights = now.dream.layers
    return list(weights.values()) if weights else [part.weight for part in network.objectives]
