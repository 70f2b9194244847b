"""Renders a film from start to end: read -> move -> dream -> write, on one screen."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from typing import Any

from zoomdream.errors import Interrupted, UsageError
from zoomdream.events import Film, Listener, Note, Progress, Start, ignore_events
from zoomdream.film.film_spec import FilmSpec
from zoomdream.film.frame_renderer import FrameRenderer, RenderedFrame
from zoomdream.film.identity import as_label, render_identity
from zoomdream.film.inputs import job_clock, open_clip, open_network
from zoomdream.film.resume import already_finished
from zoomdream.film.seamless_loop import check_loop
from zoomdream.film.target_check import check_beside, check_film_target
from zoomdream.film.writer import COMMIT_SECONDS, FilmWriter, open_writer
from zoomdream.media.source import Clip
from zoomdream.network.network import Network
from zoomdream.pipeline import take_thread_count
from zoomdream.process_settings import exact_cudnn, freed_memory_kept
from zoomdream.settings import presets
from zoomdream.settings.definitions import RenderJob
from zoomdream.settings.timeline import Timeline


def render_film(
    job: RenderJob,
    on_event: Listener = ignore_events,
    *,
    network: Network | None = None,
    picture: Any = None,
    resume: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    commit_seconds: float = COMMIT_SECONDS,
) -> Film:
    """Renders a job to its target; the arguments are those of `render`.

    Raises UsageError, InputError, OutputError, WeightsError; and Interrupted where it was stopped.
    """
    if job.target is None:
        raise UsageError("the job has no target: name a file to write")
    with render(
        job, on_event, network=network, picture=picture, resume=resume, stopping=stopping,
        commit_seconds=commit_seconds,
    ) as film:  # fmt: skip
        for _ in film:
            pass
    assert film.result is not None
    return film.result


@contextmanager
def render(
    job: RenderJob,
    on_event: Listener = ignore_events,
    *,
    network: Network | None = None,
    picture: Any = None,
    resume: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    commit_seconds: float = COMMIT_SECONDS,
) -> Iterator["Render"]:
    """Renders a job, and gives its frames as they come.

        with zd.render(job) as film:
            for frame in film:
                show(frame.image)
        print(film.result)

    The film has its name at the end of the block, where all frames were taken. Leaving earlier, by an
    exception too, keeps the frames so far in the journal, to go on with (`resume=True`, or `zoomdream
    resume`). Without a target nothing is written.

    on_event: is called with a Start, a Progress after each frame, and Notes; where it returns False the
    render stops. network: one that is loaded already, for what the job names. picture: one from
    Python to begin from, of any kind that `zd.dream` takes, instead of the file `job.source`. resume: goes
    on with a render of this job that was interrupted, if there is one. stopping: is asked after each frame,
    and stops the render too: all is made safe, and Interrupted raised. commit_seconds: between two moments
    at which everything is made safe.

    Raises UsageError, InputError, OutputError, WeightsError.
    """
    take_thread_count()
    started = time.monotonic()
    finished = job.target is not None and already_finished(job.target, resume)
    if job.target is not None and not finished:
        check_film_target(job.target, job.force, job.output)
        check_beside(job, job.target)
    with ExitStack() as stack:
        clip = stack.enter_context(closing_clip(open_clip(job, picture)))
        if finished:
            seconds = time.monotonic() - started
            film = Film(job.target, clip.length or 0, clip.fps, clip.size, seconds)
            yield Render(result=film)
            return
        timeline = Timeline(job, job_clock(job, clip))  # raises now for a mistake at frame 900
        network = open_network(job, network)
        network.info.check_size(clip.size)
        stack.enter_context(exact_cudnn)
        stack.enter_context(freed_memory_kept)
        renderer = FrameRenderer(job, clip, network, timeline)
        writer = None
        if job.target is not None:
            identity = render_identity(job, network, picture)
            spec = film_spec(job, clip, network, renderer.early)
            writer = stack.enter_context(
                open_writer(spec, identity, resume, job.force, commit_seconds)
            )
            if writer.state is not None:
                renderer.resume(writer.frame, writer.state, writer.early_frames())
        work = _Work(job, clip, timeline, renderer, writer, on_event, stopping)
        under_way = stack.enter_context(closing(Render(work.frames())))
        work.report_start(network)
        try:
            yield under_way
        except BaseException:
            with suppress(Exception):  # what has gone wrong is the better error
                work.keep()
            raise
        if work.all_frames_made:  # and nobody has asked for one more
            for _ in under_way:
                pass
        work.keep()


@contextmanager
def closing_clip(clip: Clip) -> Iterator[Clip]:
    """Lets go of a clip's source (a process that decodes it) at the end of the block."""
    try:
        yield clip
    finally:
        if close := getattr(clip.frames, "close", None):
            close()


class Render:
    """A film's frames, in order and each once, as `render` gives them; and what became of it.

    result: the finished film; None until the last frame was taken.
    """

    def __init__(
        self, frames: Generator[RenderedFrame, None, Film] | None = None, result: Film | None = None
    ) -> None:
        """frames: gives the frames, and returns the film; None where there are no more to come."""
        self.result = result
        self._frames = self._collect(frames)

    def _collect(
        self, frames: Generator[RenderedFrame, None, Film] | None
    ) -> Generator[RenderedFrame]:
        if frames is not None:
            self.result = yield from frames

    def __iter__(self) -> Iterator[RenderedFrame]:
        """Yields the frames that have not been taken yet."""
        return self._frames

    def close(self) -> None:
        """Gives no more frames, and lets go of all that they were made from."""
        self._frames.close()


class _Work:
    """Makes a film's frames, writes them, and reports them."""

    def __init__(
        self,
        job: RenderJob,
        clip: Clip,
        timeline: Timeline,
        renderer: FrameRenderer,
        writer: FilmWriter | None,
        on_event: Listener,
        stopping: Callable[[], bool],
    ) -> None:
        self._job, self._clip, self._timeline = job, clip, timeline
        self._renderer, self._writer = renderer, writer
        self._on_event, self._stopping = on_event, stopping
        self._begun = self._next = max(writer.frame, 0) if writer else 0
        self._started = time.monotonic()
        self._stopped = self._has_frames = False
        self._between_frames = False  # the renderer's state is that after the last frame written

    def report_start(self, network: Network) -> None:
        notes = self._writer.notes if self._writer else []
        start = Start(
            self._clip.size,
            self._clip.fps,
            self._clip.length,
            network.info.name,
            tuple(map(str, network.objectives)),
            network.at.device.type,
            str(network.at.dtype).removeprefix("torch."),
            network.at.why,
            (*self._clip.notes, *self._timeline.notes, *network.notes, *notes),
            self._begun,
        )
        self._report(start)
        self._started = time.monotonic()

    def frames(self) -> Generator[RenderedFrame, None, Film]:
        """Yields the frames that are still to be made, from number 0 on, and returns the finished film."""
        with closing(self._renderer.frames()) as all_frames:
            for rendered in all_frames:
                self._write(rendered)
                self._has_frames = self._between_frames = True
                self._report_frame(rendered)
                if rendered.number >= 0:
                    yield replace(rendered, frame=rendered.frame.clone())  # theirs to change
                if not self.all_frames_made and (self._stopped or self._stopping()):
                    self.keep()
                    raise Interrupted(self._how_to_go_on())
                self._between_frames = False
        return self._finished()

    @property
    def all_frames_made(self) -> bool:
        """Whether the last frame is there, as far as their number is known."""
        return self._next == self._clip.length

    def _report_frame(self, rendered: RenderedFrame) -> None:
        for note in self._renderer.notes():
            self._report(Note(note))
        if rendered.number >= 0:
            self._next = rendered.number + 1
            self._report(self._progress(rendered))

    def _progress(self, rendered: RenderedFrame) -> Progress:
        return Progress(
            rendered.number,
            self._clip.length,
            time.monotonic() - self._started,
            rendered.objective,
            self._begun,
            lambda: rendered.image,
        )

    def _report(self, event: Start | Progress | Note) -> None:
        self._stopped = self._on_event(event) is False or self._stopped

    def _write(self, rendered: RenderedFrame) -> None:
        if self._writer is None:
            return
        with self._renderer.stopwatch("writing"):
            self._writer.add(rendered.frame)
            if self._writer.commit_due:
                self._writer.commit(self._renderer.state)

    def keep(self) -> None:
        """Makes all frames up to now safe, unless the next one was begun."""
        if self._writer is not None and self._between_frames:
            self._writer.commit(self._renderer.state)
            self._writer.flush()
        self._between_frames = False

    def _finished(self) -> Film:
        """Joins the film, checks it, and gives it its name."""
        job, writer = self._job, self._writer
        if writer is not None and job.target is not None:
            if self._has_frames:
                writer.commit(self._renderer.state)
            with self._renderer.stopwatch("joining"):
                joined = writer.join()
                if job.output.loop:
                    check_loop(joined, self._clip, self._timeline, job.target.name)
                writer.place(job.force)
        seconds = time.monotonic() - self._started
        return Film(
            job.target, self._next, self._clip.fps, self._clip.size, seconds,
            tuple(self._clip.faults), self._renderer.stopwatch.spent,
        )  # fmt: skip

    def _how_to_go_on(self) -> str:
        total = "" if self._clip.length is None else f" of {self._clip.length}"
        stopped = f"stopped after {self._next}{total} frames"
        if self._writer is None:
            return stopped
        return f"{stopped}, which are safe; to go on: `resume=True`"


def film_spec(job: RenderJob, clip: Clip, network: Network, early: int) -> FilmSpec:
    """Says what film is to be made of a job's frames."""
    assert job.target is not None
    return FilmSpec(
        job.target,
        job.output,
        clip.size,
        clip.fps,
        clip.length,
        early,
        clip.sound,
        presets.preset_text(as_label(job, network)),
        presets.preset_text(as_label(job, network, paths=False)),
    )
