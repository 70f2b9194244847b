"""A film from start to end: read -> move -> dream -> write, on one screen."""

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

from zoomdream.errors import Interrupted, UsageError
from zoomdream.events import Film, Listener, Note, Progress, Start, ignore_events
from zoomdream.film.frames import FrameRenderer, job_clock, render_frames
from zoomdream.film.identity import as_label, render_identity
from zoomdream.film.inputs import check_size, open_clip, open_network
from zoomdream.film.loop import check_loop
from zoomdream.film.resume import already_finished
from zoomdream.film.spec import FilmSpec
from zoomdream.film.target import check_film_target
from zoomdream.film.writer import COMMIT_SECONDS, open_writer
from zoomdream.media.frame import ImageArray, to_bytes
from zoomdream.media.source import Clip
from zoomdream.network.network import Network
from zoomdream.pipeline import take_thread_count
from zoomdream.settings import presets
from zoomdream.settings.model import RenderJob
from zoomdream.settings.timeline import Timeline


def render_film(
    job: RenderJob,
    progress: Listener = ignore_events,
    *,
    picture: Any = None,
    network: Network | None = None,
    resume: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    commit_seconds: float = COMMIT_SECONDS,
) -> Film:
    """Renders a job to its target; `progress` is called with a Start, a Progress per frame, and Notes.

    picture: an array or tensor to begin from, instead of the file `job.source` (see `as_frame`).
    network: one that is loaded already. resume: goes on with a render of this job that was interrupted,
    if there is one. stopping: is asked after each frame; once it says yes all is committed, and
    Interrupted raised. commit_seconds: seconds between two commits. Raises UsageError, InputError,
    OutputError, WeightsError.
    """
    if job.target is None:
        raise UsageError("the job has no target: name a file to write")
    take_thread_count()
    started = time.monotonic()
    done = already_finished(job.target, resume)
    if not done:
        check_film_target(job.target, job.force, job.output)
    clip = open_clip(job, picture)
    if done:
        return Film(job.target, clip.length, clip.fps, clip.size, time.monotonic() - started)
    timeline = Timeline(job, job_clock(job, clip))  # a mistake at frame 900 is told now
    network = network or open_network(job)
    check_size(clip, network)
    dreaming = FrameRenderer(job, clip, network)
    spec = film_spec(job, clip, network, dreaming.early)
    with ExitStack() as stack:
        writer = stack.enter_context(
            open_writer(
                spec, render_identity(job, network, picture), resume, job.force, commit_seconds
            )
        )
        if writer.state is not None:
            dreaming.resume(writer.frame, writer.state, writer.early_frames())
        begun = max(writer.frame, 0)
        progress(_start(clip, network, timeline, begun, writer.notes))
        started = time.monotonic()
        frames = stack.enter_context(closing(dreaming.frames()))
        for dreamt in frames:
            with dreaming.watch("writing"):
                writer.add(dreamt.frame)
            for note in dreaming.notes():
                progress(Note(note))
            if writer.commit_due:
                with dreaming.watch("writing"):
                    writer.commit(dreaming.state)
            if writer.frame > 0:
                seconds = time.monotonic() - started
                frame, objective = writer.frame - 1, dreamt.objective
                progress(Progress(frame, clip.length, seconds, objective, begun))
            if stopping():
                writer.commit(dreaming.state)
                writer.flush()
                raise Interrupted(_how_to_go_on(job, writer.frame, clip.length))
        if writer.frame > begun:
            writer.commit(dreaming.state)
        with dreaming.watch("joining"):
            joined = writer.join()
            if job.output.loop:
                check_loop(joined, clip, timeline, job.target.name)
            writer.place(job.force)
        count = writer.frame
    seconds = time.monotonic() - started
    faults, spent = tuple(clip.faults), dreaming.watch.spent
    return Film(job.target, count, clip.fps, clip.size, seconds, faults, spent)


def _how_to_go_on(job: RenderJob, frame: int, length: int) -> str:
    force = " --force" if job.force else ""
    command = f"zoomdream resume {shlex.quote(str(job.target))}{force}"
    return f"stopped after {max(frame, 0)} of {length} frames, which are safe; to go on: {command}"


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
        presets.written(as_label(job, network)),
        presets.written(as_label(job, network, paths=False)),
    )


def _start(clip: Clip, network: Network, timeline: Timeline, begun: int, notes: list[str]) -> Start:
    return Start(
        clip.size,
        clip.fps,
        clip.length,
        network.info.name,
        tuple(map(str, network.targets)),
        network.at.device.type,
        str(network.at.dtype).removeprefix("torch."),
        network.at.why,
        (*clip.notes, *timeline.notes, *notes),
        begun,
    )


def zoom(picture: Any = None, **settings: Any) -> Iterator[ImageArray]:
    """The frames of a zoom, one after another, as (H, W, 3) uint8 arrays; nothing is written.

    picture: an array or tensor (see `as_frame`), or None for noise. settings: the fields of
    RenderJob: dream, camera, anchor, output, seed, model and so on.

        for frame in zoomdream.zoom(photo, camera=Camera(zoom=2)): show(frame)
    """
    take_thread_count()
    job = RenderJob(**settings)
    clip, network = open_clip(job, picture), open_network(job)
    check_size(clip, network)
    return (to_bytes(dreamt.frame) for dreamt in render_frames(job, clip, network))
