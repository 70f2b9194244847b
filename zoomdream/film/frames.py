"""A job's frames, one after another, and all that the next one is made from."""

from collections.abc import Generator, Iterator
from itertools import chain, islice

import torch

from zoomdream.dreaming.ascent import Dreamt, dream
from zoomdream.dreaming.finish import age_paper
from zoomdream.dreaming.guide import guide_of
from zoomdream.dreaming.rng import frame_rng
from zoomdream.dreaming.tiles import tile_side
from zoomdream.dreaming.variety import channel_weights_at
from zoomdream.events import Stopwatch
from zoomdream.film.journal import State
from zoomdream.film.loop import LoopBlend
from zoomdream.media.frame import Frame, ImageArray, cover, to_device
from zoomdream.media.image_reader import read_mask, read_still
from zoomdream.media.source import Clip
from zoomdream.motion.clip_motion import ClipMotion
from zoomdream.motion.protocol import Motion, Observation
from zoomdream.motion.warp import forget_grids
from zoomdream.motion.zoom import ZoomMotion
from zoomdream.network.network import Network
from zoomdream.pipeline import prefetch
from zoomdream.settings.clock import Clock
from zoomdream.settings.model import RenderJob
from zoomdream.settings.timeline import Timeline
from zoomdream.size import Size


class FrameRenderer:
    """A job's frames, one after another, and all that the next one is made from.

    A film that is to be a loop is begun `early` frames before its first. Its end is drawn, frame by frame,
    towards those early frames, and becomes the very last of them, which the first frame of the film
    follows.
    """

    def __init__(self, job: RenderJob, clip: Clip, network: Network) -> None:
        self._job, self._clip, self._network = job, clip, network
        self.watch = Stopwatch()
        self._timeline = Timeline(job, job_clock(job, clip))
        self._closing = LoopBlend(job, clip)
        self._guides = guide_of(job, network, float(clip.known_length / clip.fps))
        self._motion: Motion | None = None
        self._begin, self._from = -self._closing.early, State()
        network.tile = self._tile = tile_side(network, clip.size.pixels)

    @property
    def early(self) -> int:
        """Frames that come before the first."""
        return self._closing.early

    @torch.no_grad()
    def frames(self) -> Generator[Dreamt]:
        """Those that are not there yet, from number -`early` on."""
        sources = self._closing.numbered(self._clip.frames)
        number, frame = next(sources)
        first = frame.to(self._network.at.device)
        self._network.balance(first)
        self._motion = motion = make_motion(self._job, self._clip, first)
        if self._from:
            motion.restore(self._from, first.device)
        with prefetch(self._looked(chain([(number, frame)], sources), motion)) as looked:
            while True:
                with self.watch("waiting"):
                    number, seen = next(looked, (0, None))
                if seen is None:
                    break
                dreamt = self._frame(number, seen, motion)
                if number >= 0:  # those before the first are drawn on once more
                    paper = age_paper(dreamt.frame, self._job.paper, self._job.seed)
                    dreamt = Dreamt(paper, dreamt.objective)
                yield dreamt
        forget_grids()

    def _looked(
        self, sources: Iterator[tuple[int, Frame]], motion: Motion
    ) -> Iterator[tuple[int, Observation]]:
        """Source frames from where it begins, looked at."""
        for number, frame in sources:
            skipped = number < self._begin
            seen = motion.look(to_device(frame, self._network.at.device), skipped)
            if not skipped:
                yield number, seen

    def _frame(self, number: int, seen: Observation, motion: Motion) -> Dreamt:
        job, network = self._job, self._network
        rng, t = frame_rng(job.seed, number), float(number / self._clip.fps)
        now = self._timeline.at(number)
        network.weights = layer_weights(now, network)
        network.guides = self._guides(now.guide, t)
        channel_weights = channel_weights_at(network, now.dream, job.seed, t)
        made = Dreamt(seen.source, 0.0)
        canvases = motion.canvases(seen, now, t)
        while True:
            with self.watch("moving"):
                canvas = next(canvases, None)
            if canvas is None:
                break
            with self.watch("dreaming"):
                dreamt = dream(
                    canvas.frame, network, now.dream, rng, canvas.step_mask, channel_weights
                )
            with self.watch("keeping"):
                made = Dreamt(motion.keep(dreamt.frame, now, rng), dreamt.objective)
        if job.output.loop:
            made = Dreamt(self._closing.drawn(number, made.frame), made.objective)
            motion.replace(made.frame)
        return made

    @property
    def state(self) -> State:
        """What the next frame is made from, besides the source and the settings; on the CPU."""
        assert self._motion is not None
        return {"tile": torch.tensor(self._network.tile), **self._motion.state}

    def resume(self, number: int, state: State, early: Iterator[ImageArray]) -> None:
        """Goes on with frame `number`. early: the frames before the first, as far as they are there."""
        self._begin, self._from = number, state
        self._network.tile = self._tile = int(state["tile"])
        self._closing.hold(early)

    def notes(self) -> Iterator[str]:
        """What has happened since the last time."""
        if self._network.tile != self._tile:
            self._tile = self._network.tile
            yield f"memory ran out: it goes on in tiles of {self._tile} px"


def render_frames(job: RenderJob, clip: Clip, network: Network) -> Iterator[Dreamt]:
    """A job's frames, one after another, as they will be in the film."""
    dreaming = FrameRenderer(job, clip, network)
    return islice(dreaming.frames(), dreaming.early, None)


def job_clock(job: RenderJob, clip: Clip) -> Clock:
    """When a clip's frames are shown, for schedules."""
    return Clock(clip.fps, clip.known_length, job.seed, job.bpm)


def layer_weights(now: RenderJob, network: Network) -> list[float]:
    """Each target's weight, as the settings of a frame say."""
    given = now.dream.layers
    return list(given.values()) if given else [target.weight for target in network.targets]


def make_motion(job: RenderJob, clip: Clip, first: Frame) -> Motion:
    """What moves the dream: a camera, or what moves in the clip itself. first: its first frame."""
    device = first.device
    mask = (
        None
        if job.mask is None
        else cover(read_mask(job.mask, job.max_pixels), clip.size).to(device)
    )
    if job.flow is None:
        return ZoomMotion(job.anchor, clip.fps, anchor_picture(job, clip.size, first), mask)
    from zoomdream.motion.cuts import CutDetector
    from zoomdream.motion.flow import flow_estimator

    estimate = flow_estimator(job.flow.flow, job.flow.flow_weights, device)
    starts_shot = CutDetector(clip.fps).starts_shot if job.flow.scenes else lambda _: False
    return ClipMotion(clip.fps, estimate, starts_shot, job.flow.flow != "none", mask)


def anchor_picture(job: RenderJob, size: Size, source: Frame) -> Frame:
    """The picture whose colours and contrasts are kept: the palette's where there is one."""
    if job.anchor.palette is None:
        return source
    return cover(read_still(job.anchor.palette, job.max_pixels), size).to(source.device)
