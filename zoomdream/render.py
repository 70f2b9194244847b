"""The conductor: read -> move -> dream -> write, on one screen."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from zoomdream import net
from zoomdream.dream import Dreamt, channel_mix, dream
from zoomdream.errors import UsageError
from zoomdream.frame import Bytes, Frame, as_frame, cover, resize, to_bytes
from zoomdream.move import Keeper, camera_flow, warp
from zoomdream.read import Clip, noise, read_mask, read_still, still
from zoomdream.report import Event, Film, Listener, Progress, Start
from zoomdream.spec import RenderJob, shipped
from zoomdream.write import check_target, fitting, open_writer

LONGEST = 512  # px of a film's longer side where no size is given


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
    progress(_start(job, clip, network))
    started = time.monotonic()
    with open_writer(job.target, job.output, clip.size, clip.fps, clip.length, job.force) as write:
        for number, dreamt in enumerate(dreamt_frames(job, clip, network)):
            write(dreamt.frame)
            progress(Progress(number, clip.length, time.monotonic() - started, dreamt.objective))
    height, width = clip.size
    return Film(job.target, clip.length, clip.fps, (width, height), time.monotonic() - started)


def _start(job: RenderJob, clip: Clip, network: net.Network) -> Start:
    height, width = clip.size
    notes = []
    if job.output.size and clip.size != film_size(job, clip.size):
        notes.append(f"the size is {width}x{height}: the format wants even sides")
    if clip.fps != job.output.fps:
        notes.append(f"the rate is {float(clip.fps):g} fps: the nearest that a GIF can hold")
    return Start(
        (width, height),
        clip.fps,
        clip.length,
        network.kind.name,
        tuple(map(str, network.targets)),
        network.at.device.type,
        str(network.at.dtype).removeprefix("torch."),
        network.at.why,
        tuple(notes),
    )


@torch.no_grad()
def dreamt_frames(job: RenderJob, clip: Clip, network: net.Network) -> Iterator[Dreamt]:
    """A job's frames, one after another: the loop at the heart of everything."""
    device = network.at.device
    mask = None if job.mask is None else cover(read_mask(job.mask), clip.size).to(device)
    keeper: Keeper | None = None
    last: Frame | None = None
    for number, frame in enumerate(clip.frames):
        source, chance = frame.to(device), chance_of(job.seed, number)
        if last is None or keeper is None:
            network.balance(source)
            keeper = Keeper(job.anchor, clip.fps, palette_of(job, clip.size, source))
            canvas = source
        else:
            canvas = warp(last, camera_flow(job.camera, clip.size, float(1 / clip.fps), device))
        mix = channel_mix(network, job.dream, job.seed, float(number / clip.fps))
        dreamt = dream(canvas.clamp(0, 1), network, job.dream, chance, mask, mix)
        last = keeper.keep(dreamt.frame, chance)
        if mask is not None:  # black stays the source
            last = source.lerp(last, mask)
        yield Dreamt(last, dreamt.objective)


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
    source = None
    if picture is not None:
        source = as_frame(picture)
    elif job.source is not None:
        ours = job.source == Path("sample") and not job.source.is_file()
        source = read_still(shipped("sample.jpg") if ours else job.source)
    wanted = film_size(job, (LONGEST, LONGEST) if source is None else source.shape[-2:])
    size, fps = wanted, job.output.fps
    if job.target is not None:
        size, fps = fitting(job.target, wanted, fps)
    length = job.output.change(fps=fps).length
    frame = noise(size, job.seed) if source is None else cover(source, size)
    return still(frame, fps, length)


def film_size(job: RenderJob, natural: tuple[int, ...]) -> tuple[int, int]:
    """(height, width): as asked, or the picture's own shape with `LONGEST` px on its longer side."""
    if job.output.size:
        width, height = job.output.size
    else:
        shrink = min(1.0, LONGEST / max(natural))
        height, width = (max(16, 2 * round(side * shrink / 2)) for side in natural)
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
    return dreamt if isinstance(picture, torch.Tensor) else to_bytes(dreamt)
