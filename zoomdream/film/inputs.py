"""Opens a job's clip and its network, and checks them."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from zoomdream.errors import UsageError
from zoomdream.files import shipped
from zoomdream.media.film_formats import has_sound, nearest_supported
from zoomdream.media.frame import Frame, as_frame, cover
from zoomdream.media.image_reader import decode_image
from zoomdream.media.noise import noise_picture
from zoomdream.media.python_pictures import one_frame
from zoomdream.media.source import Clip, Sound, still_clip
from zoomdream.network.device import choose_place
from zoomdream.network.layer_objectives import Target
from zoomdream.network.network import Network, load_network
from zoomdream.settings.clock import Clock
from zoomdream.settings.definitions import FlowBlend, RenderJob
from zoomdream.settings.timeline import nominal_clock
from zoomdream.size import Size

STILL_LONGER_SIDE, CLIP_LONGER_SIDE = 512, 1280  # px, of stills and clips, where no size is given
STILL_FPS = Fraction(30)  # of a still's film where no rate is given


def open_clip(job: RenderJob, picture: Any = None) -> Clip:
    """Opens the source as a Clip of the film's own size, fps and length.

    picture: one from Python (see `as_frames`) instead of a still's file. Raises InputError, and UsageError
    for a picture where the job is for a clip.
    """
    if job.flow is not None:
        if picture is not None:
            raise UsageError("flow: a clip is read from its file, and a picture is for stills")
        return _open_moving_clip(job, job.flow)
    source: Frame | None = None
    lost: tuple[str, ...] = ()
    if picture is not None:
        source = one_frame(picture)
    elif job.source is not None:
        path = resolve_source(job.source, job)
        decoded = decode_image(path, job.max_pixels, job.output.size)
        source, lost = as_frame(decoded.pixels), decoded.notes
    wanted = film_size(job, Size.square(STILL_LONGER_SIDE) if source is None else Size.of(source))
    size, fps, notes = _fitted(job, wanted, job.output.fps or STILL_FPS)
    frame = noise_picture(size, job.seed) if source is None else cover(source, size)
    return replace(still_clip(frame, fps, job.output.length(fps)), notes=(*lost, *notes))


def resolve_source(path: Path, job: RenderJob) -> Path:
    """Gives the file, or for the word `sample` the one that ships with zoomdream."""
    sample = "sample.mp4" if job.flow else "sample.jpg"
    return shipped(sample) if path == Path("sample") and not path.is_file() else path


def _fitted(job: RenderJob, wanted: Size, fps: Fraction) -> tuple[Size, Fraction, tuple[str, ...]]:
    """Gives the nearest size and rate that the target can hold, with notes on what had to be changed."""
    if job.target is None:
        return wanted, fps, ()
    size, rate = nearest_supported(job.target, wanted, fps)
    notes = []
    if size != wanted:
        notes.append(f"the size is {size}: the format wants even sides")
    if rate != fps:
        notes.append(f"the rate is {float(rate):g} fps: the nearest that a GIF can hold")
    return size, rate, tuple(notes)


def _open_moving_clip(job: RenderJob, flow: FlowBlend) -> Clip:
    """Opens a video file, or pictures that are taken in turns, as a Clip, with where its sound is."""
    from zoomdream.media.footage import open_footage

    if job.source is None:
        raise UsageError("a clip has to be given")
    path = resolve_source(job.source, job)
    footage = open_footage(path, job.max_pixels, flow.start, flow.end)
    wanted = film_size(job, footage.size, longest=CLIP_LONGER_SIDE)
    size, fps, notes = _fitted(job, wanted, job.output.fps or footage.fps)
    clip = footage.clip(size, fps, flow.start, flow.end, flow.deinterlace)
    clip = replace(clip, notes=(*clip.notes, *notes))
    if footage.sound is None or not job.output.audio:
        return clip
    if job.target is not None and not has_sound(job.target):
        silent = "the film is silent: name it .mp4 or .webm to keep the clip's sound"
        return replace(clip, notes=(*clip.notes, silent))
    begin = footage.first(flow.start)
    return replace(clip, sound=Sound(path, footage.sound.codec, begin, footage.sound.place))


def film_size(job: RenderJob, natural: Size, longest: int = STILL_LONGER_SIDE) -> Size:
    """Gives the size asked for, or the picture's own shape, `longest` px or less on its longer side."""
    size = job.output.size or natural.within(longest, least=16, multiple=2)
    scale = job.output.scale
    return size if scale == 1 else size.scaled(scale, least=16, multiple=2)


def open_network(job: RenderJob, network: Network | None = None) -> Network:
    """Loads a job's network, with what it is to dream of.

    network: one that is loaded already, and is checked instead. Raises UsageError where it is not the
    job's, and as `load_network` does.
    """
    if network is not None:
        _check_network(job, network)
        return network
    place = choose_place(job.device, job.precision)
    return load_network(job.model, job.dream.targets, weights=job.weights, at=place)


def _check_network(job: RenderJob, network: Network) -> None:
    """Raises UsageError where a network is not what a job names: it would dream something else."""
    if network.info.name != job.model:
        raise UsageError(
            f"model: the job is for {job.model}, and the network that was given is "
            f"{network.info.name}: give one of them to both"
        )
    asked, loaded = list(job.dream.layers), [part.name for part in network.objectives]
    if asked and [Target.parse(name).name for name in asked] != loaded:
        raise UsageError(
            f"dream.layers: the job is for {', '.join(asked)}, and the network that was given was loaded "
            f"for {', '.join(loaded)}: leave them out of the job, or load the network for them"
        )
    if job.weights is not None:
        raise UsageError(
            "weights: the network that was given has its own: leave them out of the job"
        )


def job_clock(job: RenderJob, clip: Clip) -> Clock:
    """Gives the clock by which schedules know when a clip's frames are shown.

    For a clip of unknown length they go over the job's length, ten seconds of a clip with flow, and then
    begin again.
    """
    nominal = nominal_clock(job)
    frames = clip.length or max(1, round(nominal.frames / nominal.fps * clip.fps))
    return Clock(clip.fps, frames, job.seed, job.bpm)
