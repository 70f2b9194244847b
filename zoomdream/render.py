"""The conductor: read -> move -> dream -> write, on one screen."""

import shlex
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch

from zoomdream import net, presets
from zoomdream.ahead import ahead
from zoomdream.dream import Dreamt, channel_mix, dream, tile_side
from zoomdream.errors import Interrupted, OutputError, UsageError
from zoomdream.frame import Bytes, Flow, Frame, as_frame, cover, entering, to_bytes
from zoomdream.guide import guide_of
from zoomdream.journal import State
from zoomdream.metrics import loop_steps
from zoomdream.move import Motion, Ride, Seen, Zoom, forget_grids, step_flow
from zoomdream.paper import aged
from zoomdream.prepare import as_label, check_size, open_clip, open_network, passport
from zoomdream.read import Clip, read_mask, read_still
from zoomdream.report import Film, Listener, Note, Progress, Start, Stopwatch, silent
from zoomdream.schedule import Clock
from zoomdream.spec import RenderJob
from zoomdream.timeline import Timeline
from zoomdream.write import Order, check_target, open_press, settled

LOOP_OVERLAP = 1.5  # seconds in which the end of a loop becomes its beginning
LOOP_MEMORY = 1_000_000_000  # bytes that the frames of this may take
LOOP_SEAM = 1.1  # times the median change between frames that the seam may be


def render_film(
    job: RenderJob,
    progress: Listener = silent,
    *,
    picture: Any = None,
    network: net.Network | None = None,
    resume: bool = False,
    stopping: Callable[[], bool] = lambda: False,
) -> Film:
    """Renders a job to its target; `progress` is called with a Start, a Progress per frame, and Notes.

    picture: an array or tensor to begin from, instead of the file `job.source` (see `as_frame`).
    network: one that is loaded already. resume: goes on with a render of this job that was interrupted,
    if there is one. stopping: is asked after each frame; once it says yes all is committed, and
    Interrupted raised. Raises UsageError, InputError, OutputError, WeightsError.
    """
    if job.target is None:
        raise UsageError("the job has no target: name a file to write")
    started = time.monotonic()
    done = settled(job.target, resume)
    if not done:
        check_target(job.target, job.force, job.output)
    clip = open_clip(job, picture)
    size = clip.size[::-1]
    if done:
        return Film(job.target, clip.length, clip.fps, size, time.monotonic() - started)
    timeline = Timeline(job, clock_of(job, clip))  # a mistake at frame 900 is told now
    network = network or open_network(job)
    check_size(clip, network)
    dreaming = Dreaming(job, clip, network)
    order = order_of(job, clip, network, timeline, dreaming.early)
    with ExitStack() as stack:
        press = stack.enter_context(
            open_press(order, passport(job, network, picture), resume, job.force)
        )
        if press.state is not None:
            dreaming.resume(press.frame, press.state, press.early())
        begun = max(press.frame, 0)
        progress(_start(clip, network, timeline, begun, press.notes))
        started = time.monotonic()
        frames = stack.enter_context(closing(dreaming.frames()))
        for dreamt in frames:
            with dreaming.watch("writing"):
                press.add(dreamt.frame)
            for note in dreaming.notes():
                progress(Note(note))
            if press.due:
                with dreaming.watch("writing"):
                    press.commit(dreaming.state)
            if press.frame > 0:
                seconds = time.monotonic() - started
                frame, objective = press.frame - 1, dreamt.objective
                progress(Progress(frame, clip.length, seconds, objective, begun))
            if stopping():
                press.commit(dreaming.state)
                press.settle()
                raise Interrupted(_how_to_go_on(job, press.frame, clip.length))
        if press.frame > begun:
            press.commit(dreaming.state)
        with dreaming.watch("joining"):
            press.finish(job.force)
        count = press.frame
    seconds = time.monotonic() - started
    faults, spent = tuple(clip.faults), dreaming.watch.spent
    return Film(job.target, count, clip.fps, size, seconds, faults, spent)


def _how_to_go_on(job: RenderJob, frame: int, length: int) -> str:
    force = " --force" if job.force else ""
    command = f"zoomdream resume {shlex.quote(str(job.target))}{force}"
    return f"stopped after {max(frame, 0)} of {length} frames, which are safe; to go on: {command}"


def order_of(
    job: RenderJob, clip: Clip, network: net.Network, timeline: Timeline, early: int
) -> Order:
    """What the press is to make of a job's frames."""
    assert job.target is not None
    return Order(
        job.target,
        job.output,
        clip.size,
        clip.fps,
        clip.length,
        early,
        clip.sound,
        presets.written(as_label(job, network)),
        presets.written(as_label(job, network, paths=False)),
        closes(clip, timeline, job.target.name) if job.output.loop else None,
    )


def _start(
    clip: Clip, network: net.Network, timeline: Timeline, begun: int, notes: list[str]
) -> Start:
    height, width = clip.size
    return Start(
        (width, height),
        clip.fps,
        clip.length,
        network.kind.name,
        tuple(map(str, network.targets)),
        network.at.device.type,
        str(network.at.dtype).removeprefix("torch."),
        network.at.why,
        (*clip.notes, *timeline.notes, *notes),
        begun,
    )


class Dreaming:
    """A job's frames, one after another, and all that the next one is made from.

    A film that is to be a loop is begun `early` frames before its first. Its end is drawn, frame by frame,
    towards those early frames, and becomes the very last of them, which the first frame of the film
    follows.
    """

    def __init__(self, job: RenderJob, clip: Clip, network: net.Network) -> None:
        self._job, self._clip, self._network = job, clip, network
        self.watch = Stopwatch()
        self._timeline = Timeline(job, clock_of(job, clip))
        self._closing = Closing(job, clip)
        self._guides = guide_of(job, network, float(clip.length / clip.fps))
        self._motion: Motion | None = None
        self._begin, self._from = -self._closing.early, State()
        network.tile = self._tile = tile_side(network, clip.size[0] * clip.size[1])

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
        self._motion = motion = motion_of(self._job, self._clip, first)
        if self._from:
            motion.restore(self._from, first.device)
        with ahead(self._looked(chain([(number, frame)], sources), motion)) as looked:
            while True:
                with self.watch("waiting"):
                    number, seen = next(looked, (0, None))
                if seen is None:
                    break
                dreamt = self._frame(number, seen, motion)
                if number >= 0:  # those before the first are drawn on once more
                    paper = aged(dreamt.frame, self._job.paper, self._job.seed)
                    dreamt = Dreamt(paper, dreamt.objective)
                yield dreamt
        forget_grids()

    def _looked(
        self, sources: Iterator[tuple[int, Frame]], motion: Motion
    ) -> Iterator[tuple[int, Seen]]:
        """Source frames from where it begins, looked at."""
        for number, frame in sources:
            skipped = number < self._begin
            seen = motion.look(entering(frame, self._network.at.device), skipped)
            if not skipped:
                yield number, seen

    def _frame(self, number: int, seen: Seen, motion: Motion) -> Dreamt:
        job, network = self._job, self._network
        chance, t = chance_of(job.seed, number), float(number / self._clip.fps)
        now = self._timeline.at(number)
        network.weights = weights_of(now, network)
        network.guides = self._guides(now.guide, t)
        mix = channel_mix(network, now.dream, job.seed, t)
        made = Dreamt(seen.source, 0.0)
        canvases = motion.canvases(seen, now, t)
        while True:
            with self.watch("moving"):
                canvas = next(canvases, None)
            if canvas is None:
                break
            with self.watch("dreaming"):
                dreamt = dream(canvas.frame, network, now.dream, chance, canvas.amount, mix)
            with self.watch("keeping"):
                made = Dreamt(motion.keep(dreamt.frame, now, chance), dreamt.objective)
        if job.output.loop:
            made = Dreamt(self._closing.drawn(number, made.frame), made.objective)
            motion.replace(made.frame)
        return made

    @property
    def state(self) -> State:
        """What the next frame is made from, besides the source and the settings; on the CPU."""
        assert self._motion is not None
        return {"tile": torch.tensor(self._network.tile), **self._motion.state}

    def resume(self, number: int, state: State, early: Iterator[Bytes]) -> None:
        """Goes on with frame `number`. early: the frames before the first, as far as they are there."""
        self._begin, self._from = number, state
        self._network.tile = self._tile = int(state["tile"])
        self._closing.hold(early)

    def notes(self) -> Iterator[str]:
        """What has happened since the last time."""
        if self._network.tile != self._tile:
            self._tile = self._network.tile
            yield f"memory ran out: it goes on in tiles of {self._tile} px"


def dreamt_frames(job: RenderJob, clip: Clip, network: net.Network) -> Iterator[Dreamt]:
    """A job's frames, one after another, as they will be in the film."""
    dreaming = Dreaming(job, clip, network)
    return islice(dreaming.frames(), dreaming.early, None)


class Closing:
    """Makes a film end where it begins; without a loop it lets everything through."""

    def __init__(self, job: RenderJob, clip: Clip) -> None:
        height, width = clip.size
        room = LOOP_MEMORY // (3 * height * width)  # frames that are held, at 8 bits
        wanted = min(round(LOOP_OVERLAP * clip.fps), clip.length // 2, room)
        self.early = max(1, wanted) if job.output.loop else 0
        self._length = clip.length
        self._held: list[Bytes] = []

    def numbered(self, frames: Iterator[Frame]) -> Iterator[tuple[int, Frame]]:
        """Frames with their numbers; those of a loop, whose source stands still, begin below 0."""
        if self.early:
            still_frame = next(frames)
            return ((number, still_frame) for number in range(-self.early, self._length))
        return enumerate(frames)

    def hold(self, early: Iterator[Bytes]) -> None:
        """Takes the early frames of a render that goes on."""
        self._held = list(early)

    def drawn(self, number: int, frame: Frame) -> Frame:
        """An early frame as it is, and held; one near the end drawn towards its early one."""
        if number < 0:
            self._held.append(to_bytes(frame))
            return frame
        place = number - (self._length - self.early)
        if place < 0:
            return frame
        before, after = (_ease((place + k) / self.early) for k in (0, 1))
        share = (after - before) / (1 - before)  # so that all shares together go all the way
        return frame.lerp(as_frame(self._held[place]).to(frame), share)


def _ease(share: float) -> float:
    return share * share * (3 - 2 * share)


def clock_of(job: RenderJob, clip: Clip) -> Clock:
    """When a clip's frames are shown, for schedules."""
    return Clock(clip.fps, clip.length, job.seed, job.bpm)


def weights_of(now: RenderJob, network: net.Network) -> list[float]:
    """Each target's weight, as the settings of a frame say."""
    given = now.dream.layers
    return list(given.values()) if given else [target.weight for target in network.targets]


def motion_of(job: RenderJob, clip: Clip, first: Frame) -> Motion:
    """What moves the dream: a camera, or what moves in the clip itself. first: its first frame."""
    device = first.device
    mask = (
        None
        if job.mask is None
        else cover(read_mask(job.mask, job.max_pixels), clip.size).to(device)
    )
    if job.flow is None:
        return Zoom(job.anchor, clip.fps, palette_of(job, clip.size, first), mask)
    from zoomdream.cuts import Cuts
    from zoomdream.flow import estimator

    estimate = estimator(job.flow.flow, job.flow.flow_weights, device)
    starts_shot = Cuts(clip.fps).starts_shot if job.flow.scenes else lambda _: False
    return Ride(clip.fps, estimate, starts_shot, job.flow.flow != "none", mask)


def chance_of(seed: int, number: int) -> torch.Generator:
    """Randomness of one frame: from (seed, frame) alone, never carried from frame to frame."""
    return torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)


def palette_of(job: RenderJob, size: tuple[int, int], source: Frame) -> Frame:
    """The picture whose colours and contrasts are kept: the palette's where there is one."""
    if job.anchor.palette is None:
        return source
    return cover(read_still(job.anchor.palette, job.max_pixels), size).to(source.device)


def closes(clip: Clip, timeline: Timeline, name: str) -> Callable[[Path], None]:
    """A check of a finished loop: the seam is no larger a step than those between frames are."""

    def check(film: Path) -> None:
        def moves(frame: Frame, number: int) -> Flow:
            camera, t = timeline.at(number).camera, float(number / clip.fps)
            return step_flow(camera, frame, float(1 / clip.fps), t)

        steps, seam = loop_steps(film, clip.size, clip.fps, moves)
        if seam > LOOP_SEAM * steps:
            raise OutputError(
                f"{name} does not close: its seam is {seam / max(steps, 1e-9):.2f} times the step "
                "between frames; more --seconds or less --variety help (zoomdream resume OUT --join-now "
                "shows what there is)"
            )

    return check


# --- For Python: arrays and tensors in and out ---------------------------------------------------


def zoom(picture: Any = None, **settings: Any) -> Iterator[Bytes]:
    """The frames of a zoom, one after another, as (H, W, 3) uint8 arrays; nothing is written.

    picture: an array or tensor (see `as_frame`), or None for noise. settings: the fields of
    RenderJob: dream, camera, anchor, output, seed, model and so on.

        for frame in zoomdream.zoom(photo, camera=Camera(zoom=2)): show(frame)
    """
    job = RenderJob(**settings)
    clip, network = open_clip(job, picture), open_network(job)
    check_size(clip, network)
    return (to_bytes(dreamt.frame) for dreamt in dreamt_frames(job, clip, network))
