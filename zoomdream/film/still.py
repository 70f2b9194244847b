"""Dreams a single picture from start to end: read -> dream -> write, with pictures of how it grew."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from zoomdream.dreaming.session import DreamSession
from zoomdream.errors import Interrupted, UsageError
from zoomdream.events import Listener, Picture, Start, Step, ignore_events
from zoomdream.film.frame_renderer import layer_weights
from zoomdream.film.growth_film import growth_film
from zoomdream.film.identity import as_label
from zoomdream.film.inputs import open_network
from zoomdream.film.picture import StepCounter, dream_still, shown
from zoomdream.film.source_picture import open_original
from zoomdream.film.target_check import check_beside, check_film_target, label_of
from zoomdream.media.frame import Frame
from zoomdream.media.image_formats import check_image_size, check_image_target
from zoomdream.media.image_writer import staged_pictures
from zoomdream.network.network import Network
from zoomdream.settings import presets
from zoomdream.settings.definitions import Output, RenderJob
from zoomdream.settings.timeline import at_middle
from zoomdream.size import Size


def dream_image(
    job: RenderJob,
    on_event: Listener = ignore_events,
    *,
    picture: Any = None,
    network: Network | None = None,
    strip: int = 0,
    film: Path | None = None,
) -> Picture:
    """Dreams a job's source as a single picture, at its own size or `job.output.size`, to its target.

    on_event: is called with a Start, and a Step after each; where it returns False the dream is given up,
    nothing is written, and Interrupted raised. picture: one from Python (see `as_frames`) instead of the file
    `job.source`; without either, noise. network: one that is loaded already, for what the
    job names. strip: the picture after every so many steps is kept too, as NAME-step-0010.EXT beside the
    target, or as a frame of `film`. What changes over time is taken at the middle of its film. Of the
    settings, camera, flow and anchor are not looked at.

    Raises UsageError, InputError, OutputError, WeightsError.
    """
    target = job.target
    if target is None:
        raise UsageError("the job has no target: name a picture to write")
    check_image_target(target, job.force)
    check_beside(job, target)
    if film is not None:
        check_film_target(film, job.force, Output())
    if job.output.size:
        check_image_size(target, job.output.size)
    now, t = at_middle(job)
    original = open_original(now, picture)
    network = open_network(job, network)
    session = DreamSession(network)
    session.weights = layer_weights(now, network)
    counter = StepCounter(original.size, now.dream, network)
    check_image_size(target, original.size)
    every = strip or (1 if film else 0)
    steps = range(every, counter.total + 1, every) if every else range(0)
    beside = {} if film else {n: target.with_stem(f"{target.stem}-step-{n:04}") for n in steps}
    for other in beside.values():
        check_image_target(other, job.force)
    label = as_label(job, network)
    notes = (*original.notes, *original.losses(target), *network.notes)
    on_event(_start(original.size, counter.total, network, notes))
    with ExitStack() as stack:
        staged = stack.enter_context(staged_pictures(target))
        growth = None
        if film is not None:
            growth = stack.enter_context(growth_film(film, original, len(steps), label, job.force))

        def on_step(step: Step, so_far: Callable[[], Frame]) -> None:
            number = step.step + 1
            if on_event(shown(step, so_far)) is False:
                raise Interrupted(
                    f"stopped after {number} of {step.total} steps; nothing was written"
                )
            if growth and number in steps:
                growth.add(so_far())
            elif number in beside:
                staged.add(beside[number], original.pixels(so_far(), beside[number]))

        dreamt = dream_still(original.frame, now, session, t, counter, on_step)
        staged.add(target, original.pixels(dreamt, target))
        staged.add_text(label_of(target), presets.preset_text(label))
        staged.place(job.force)
        if growth:
            growth.finish(dreamt)
    others = (film,) if film else tuple(beside.values())
    return Picture(target, original.size, counter.seconds, others)


def _start(size: Size, steps: int, network: Network, notes: tuple[str, ...]) -> Start:
    return Start(
        size,
        None,
        steps,
        network.info.name,
        tuple(map(str, network.objectives)),
        network.at.device.type,
        str(network.at.dtype).removeprefix("torch."),
        network.at.why,
        notes,
    )
