"""The conductor: read -> move -> dream -> write, on one screen."""

import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from zoomdream import net
from zoomdream.dream import Dreamt, channel_mix, dream
from zoomdream.errors import UsageError
from zoomdream.frame import Bytes, Frame, Sound, as_frame, cover, resize, to_bytes
from zoomdream.move import Motion, Ride, Zoom
from zoomdream.read import Clip, noise, read_mask, read_still, still
from zoomdream.report import Event, Film, Listener, Progress, Start
from zoomdream.spec import FlowBlend, RenderJob, shipped
from zoomdream.write import check_target, fitting, has_sound, open_writer

LONGEST, LONGEST_CLIP = (
    512,
    1280,
)  # px of the longer side, of stills and clips, where no size is given
FPS = Fraction(30)  # of a still's film where no rate is given


def _silent(_: Event) -> None:
    pass


def render_film(
    job: RenderJob,
    progress: Listener = _silent,
    *,
    picture: Any = None,
    network: net.Network | None = None,
) -> Film:
    """Renders a job to its target; `progress` is called with a Start, and a Progress per frame.

    picture: an array or tensor to begin from, instead of the file `job.source` (see `as_frame`).
    network: one that is loaded already. Raises UsageError, InputError, OutputError, WeightsError.
    """
    if job.target is None:
        raise UsageError("the job has no target: name a file to write")
    check_target(job.target, job.force)
    clip = open_clip(job, picture)
    network = network or open_network(job)
    check_size(clip, network)
    progress(_start(clip, network))
    started, count = time.monotonic(), 0
    with open_writer(
        job.target, job.output, clip.size, clip.fps, clip.length, job.force, clip.sound
    ) as write:
        for count, dreamt in enumerate(dreamt_frames(job, clip, network), 1):
            write(dreamt.frame)
            progress(Progress(count - 1, clip.length, time.monotonic() - started, dreamt.objective))
    height, width = clip.size
    seconds = time.monotonic() - started
    return Film(job.target, count, clip.fps, (width, height), seconds, tuple(clip.faults))


def _start(clip: Clip, network: net.Network) -> Start:
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
        clip.notes,
    )


@torch.no_grad()
def dreamt_frames(job: RenderJob, clip: Clip, network: net.Network) -> Iterator[Dreamt]:
    """A job's frames, one after another: the loop at the heart of everything."""
    motion: Motion | None = None
    for number, frame in enumerate(clip.frames):
        source, chance = frame.to(network.at.device), chance_of(job.seed, number)
        if motion is None:
            network.balance(source)
            motion = motion_of(job, clip, source)
        mix = channel_mix(network, job.dream, job.seed, float(number / clip.fps))
        made = Dreamt(source, 0.0)
        for canvas in motion.canvases(source):
            dreamt = dream(canvas.frame, network, job.dream, chance, canvas.amount, mix)
            made = Dreamt(motion.keep(dreamt.frame, chance), dreamt.objective)
        yield made


def motion_of(job: RenderJob, clip: Clip, first: Frame) -> Motion:
    """What moves the dream: a camera, or what moves in the clip itself. first: its first frame."""
    device = first.device
    mask = None if job.mask is None else cover(read_mask(job.mask), clip.size).to(device)
    if job.flow is None:
        return Zoom(job.camera, job.anchor, clip.fps, palette_of(job, clip.size, first), mask)
    from zoomdream.cuts import Cuts
    from zoomdream.flow import estimator

    estimate = estimator(job.flow.flow, job.flow.flow_weights, device)
    starts_shot = Cuts(clip.fps).starts_shot if job.flow.scenes else lambda _: False
    return Ride(job.flow, job.dream.steps, clip.fps, estimate, starts_shot, mask)


def chance_of(seed: int, number: int) -> torch.Generator:
    """Randomness of one frame: from (seed, frame) alone, never carried from frame to frame."""
    return torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)


def palette_of(job: RenderJob, size: tuple[int, int], source: Frame) -> Frame:
    """The picture whose colours and contrasts are kept: the palette's where there is one."""
    if job.anchor.palette is None:
        return source
    return cover(read_still(job.anchor.palette), size).to(source.device)


def open_clip(job: RenderJob, picture: Any = None) -> Clip:
    """The source as a Clip of the film's own size, fps and length."""
    if job.flow is not None:
        return _open_footage(job, job.flow)
    source = None
    if picture is not None:
        source = as_frame(picture)
    elif job.source is not None:
        ours = job.source == Path("sample") and not job.source.is_file()
        source = read_still(shipped("sample.jpg") if ours else job.source)
    wanted = film_size(job, (LONGEST, LONGEST) if source is None else source.shape[-2:])
    size, fps, notes = _fitted(job, wanted, job.output.fps or FPS)
    frame = noise(size, job.seed) if source is None else cover(source, size)
    return replace(still(frame, fps, job.output.length(fps)), notes=notes)


def _fitted(
    job: RenderJob, size: tuple[int, int], fps: Fraction
) -> tuple[tuple[int, int], Fraction, tuple[str, ...]]:
    """The nearest size and rate that the target can hold, and what had to be changed."""
    if job.target is None:
        return size, fps, ()
    (height, width), rate = fitting(job.target, size, fps)
    notes = []
    if (height, width) != size:
        notes.append(f"the size is {width}x{height}: the format wants even sides")
    if rate != fps:
        notes.append(f"the rate is {float(rate):g} fps: the nearest that a GIF can hold")
    return (height, width), rate, tuple(notes)


def _open_footage(job: RenderJob, blend: FlowBlend) -> Clip:
    """A video file as a Clip, with where its sound is."""
    from zoomdream.footage import open_footage, play

    if job.source is None:
        raise UsageError("a clip has to be given")
    footage = open_footage(job.source)
    wanted = film_size(job, footage.size, longest=LONGEST_CLIP)
    size, fps, notes = _fitted(job, wanted, job.output.fps or footage.fps)
    clip = replace(play(footage, size, fps, blend.start, blend.end), notes=notes)
    if not (job.output.audio and footage.codec):
        return clip
    if job.target is not None and not has_sound(job.target):
        silent = "the film is silent: name it .mp4 or .webm to keep the clip's sound"
        return replace(clip, notes=(*notes, silent))
    return replace(clip, sound=Sound(job.source, footage.codec, footage.first(blend.start)))


def film_size(job: RenderJob, natural: tuple[int, ...], longest: int = LONGEST) -> tuple[int, int]:
    """(height, width): as asked, or the picture's own shape, `longest` px or less on its longer side."""
    if job.output.size:
        width, height = job.output.size
    else:
        shrink = min(1.0, longest / max(natural))
        height, width = (max(16, round(side * shrink / 2) * 2) for side in natural)
    scale = job.output.scale
    return height if scale == 1 else max(16, 2 * round(height * scale / 2)), (
        width if scale == 1 else max(16, 2 * round(width * scale / 2))
    )


def check_size(clip: Clip, network: net.Network) -> None:
    """Raises UsageError for frames that are too small for the network."""
    least, (height, width) = network.kind.least, clip.size
    if min(clip.size) < least:
        raise UsageError(
            f"{width}x{height} is too small for {network.kind.name}: at least {least}x{least} would do"
        )


def open_network(job: RenderJob) -> net.Network:
    """The job's network, loaded, with its targets."""
    at = net.place(job.device, job.precision)
    return net.load(job.model, job.dream.layers, weights=job.weights, at=at)


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


def dream_picture(picture: Any, **settings: Any) -> Any:
    """One picture, dreamt at its own size: an array gives a uint8 array, a tensor a Frame.

    picture: see `as_frame`. settings: the fields of RenderJob; `dream` has ten steps per octave and
    four octaves unless given. Raises UsageError and WeightsError.
    """
    job = RenderJob(**settings)
    if "dream" not in settings:
        job = job.change(dream=job.dream.change(octaves=4, steps=10))
    network = open_network(job)
    frame: Frame = as_frame(picture).to(network.at.device)
    mask = None
    if job.mask is not None:
        mask = resize(read_mask(job.mask), (frame.shape[2], frame.shape[3])).to(frame.device)
    network.balance(frame)
    with torch.no_grad():
        dreamt = dream(frame, network, job.dream, chance_of(job.seed, 0), mask).frame
        dreamt = dreamt if mask is None else frame.lerp(dreamt, mask)
    return dreamt if isinstance(picture, torch.Tensor) else to_bytes(dreamt)
