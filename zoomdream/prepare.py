"""The make-ready: a job's clip, its network, its label and its passport."""

import hashlib
import json
from dataclasses import replace
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import torch

from zoomdream import engine, net, presets
from zoomdream.errors import InputError, UsageError
from zoomdream.ffmpeg import version
from zoomdream.formats import encoder_of, fitting, has_sound
from zoomdream.frame import Sound, as_frame, cover
from zoomdream.journal import digest
from zoomdream.read import Clip, noise, read_still, still
from zoomdream.spec import FlowBlend, RenderJob, shipped

LONGEST, LONGEST_CLIP = (
    512,
    1280,
)  # px of the longer side, of stills and clips, where no size is given
FPS = Fraction(30)  # of a still's film where no rate is given
FILES = (
    "source",
    "weights",
    "mask",
    "guide.picture",
    "anchor.palette",
    "flow.flow_weights",
)  # settings that name one
PACKAGES = ("zoomdream", "torch", "torchvision", "numpy", "scenedetect")


def open_clip(job: RenderJob, picture: Any = None) -> Clip:
    """The source as a Clip of the film's own size, fps and length."""
    if job.flow is not None:
        return _open_footage(job, job.flow)
    source = None
    if picture is not None:
        source = as_frame(picture)
    elif job.source is not None:
        source = read_still(ours(job.source, job), job.max_pixels, job.output.size)
    wanted = film_size(job, (LONGEST, LONGEST) if source is None else source.shape[-2:])
    size, fps, notes = _fitted(job, wanted, job.output.fps or FPS)
    frame = noise(size, job.seed) if source is None else cover(source, size)
    return replace(still(frame, fps, job.output.length(fps)), notes=notes)


def ours(path: Path, job: RenderJob) -> Path:
    """A file, or the sample that ships with zoomdream where the word `sample` stands for it."""
    sample = "sample.mp4" if job.flow else "sample.jpg"
    return shipped(sample) if path == Path("sample") and not path.is_file() else path


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
    path = ours(job.source, job)
    footage = open_footage(path, job.max_pixels)
    wanted = film_size(job, footage.size, longest=LONGEST_CLIP)
    size, fps, notes = _fitted(job, wanted, job.output.fps or footage.fps)
    clip = replace(play(footage, size, fps, blend.start, blend.end), notes=notes)
    if not (job.output.audio and footage.codec):
        return clip
    if job.target is not None and not has_sound(job.target):
        silent = "the film is silent: name it .mp4 or .webm to keep the clip's sound"
        return replace(clip, notes=(*notes, silent))
    return replace(clip, sound=Sound(path, footage.codec, footage.first(blend.start)))


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


def as_label(job: RenderJob, network: net.Network, paths: bool = True) -> RenderJob:
    """A job as it is put beside its film: with the layers that were chosen, and whole paths.

    paths: False leaves files' names only, for what travels within the film.
    """
    layers = job.dream.layers or {
        str(replace(target, weight=1.0)): target.weight for target in network.targets
    }
    files = {
        name: path.absolute() if paths else Path(path.name)
        for name, path in presets.flat(job)
        if name in FILES and path is not None and path.exists()
    }
    return presets.change(job, {"dream.layers": layers, **files})


def passport(job: RenderJob, network: net.Network, picture: Any = None) -> dict[str, str]:
    """All that decides a film's bits, a line each: settings, what is in the files, machine, versions."""
    found = {
        name: json.dumps(presets.plain(value))
        for name, value in presets.flat(as_label(job, network))
        if value is not None and name not in (*FILES, "device", "precision", "max_pixels")
    }
    found["format"] = job.target.suffix.lower() if job.target else ""
    if job.output.encoder == "hardware":
        found["encoder"] = encoder_of(job.output)
    for name, path in presets.flat(job):
        if name in FILES and path is not None:
            found[name] = _content(ours(path, job) if name == "source" else path)
    if picture is not None:
        found["source"] = hashlib.sha256(as_frame(picture).cpu().numpy().tobytes()).hexdigest()
    found["weights"] = network.fingerprint
    device = network.at.device
    found["device"] = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    found["precision"] = str(network.at.dtype).removeprefix("torch.")
    found["threads"] = str(torch.get_num_threads())
    for package in PACKAGES:
        found[package] = _version(package)
    found["opencv"] = cv2.__version__  # of whichever package
    found["ffmpeg"] = version()
    return found


def _content(path: Path) -> str:
    try:
        return digest(path)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def check_size(clip: Clip, network: net.Network) -> None:
    """Raises UsageError for frames that are too small for the network."""
    least, (height, width) = network.kind.least, clip.size
    if min(clip.size) < least:
        raise UsageError(
            f"{width}x{height} is too small for {network.kind.name}: at least {least}x{least} would do, "
            "with --size"
        )


def open_network(job: RenderJob) -> net.Network:
    """The job's network, loaded, with its targets."""
    at = engine.place(job.device, job.precision)
    return net.load(job.model, job.dream.targets, weights=job.weights, at=at)
