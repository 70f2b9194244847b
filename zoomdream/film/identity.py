"""Says what decides a film's pixels, and makes the label that is put beside it."""

import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import torch

from zoomdream.files import digest, digest_all, readable_inputs
from zoomdream.film.inputs import resolve_source
from zoomdream.media.ffmpeg import ffmpeg_version
from zoomdream.media.film_formats import FILM_FORMATS
from zoomdream.media.picture_files import is_pattern, picture_files
from zoomdream.media.python_pictures import one_frame
from zoomdream.network.layer_objectives import Target
from zoomdream.network.network import Network
from zoomdream.settings.definitions import FILES, RenderJob
from zoomdream.settings.setting_paths import change_job, plain_value, settings_by_path

NOT_SEEN = ("device", "precision", "max_pixels", "output.audio")
"""Settings that change no frame, or stand in the identity as what came of them."""
PACKAGES = ("zoomdream", "torch", "torchvision", "numpy", "scenedetect")


def as_label(job: RenderJob, network: Network, paths: bool = True) -> RenderJob:
    """Gives a job as it is put beside its film: with the layers that were chosen, and whole paths.

    paths: False leaves files' names only, for what travels within the film.
    """
    layers: dict[str, Any] = job.dream.layers or _layers(network)
    files = {
        name: path.absolute() if paths else Path(path.name)
        for name, path in settings_by_path(job)
        if name in FILES and path is not None and (path.exists() or is_pattern(path))
    }
    return change_job(job, {"dream.layers": layers, **files})


def render_identity(job: RenderJob, network: Network, picture: Any = None) -> dict[str, str]:
    """Lists all that decides a film's bits: settings, the files' contents, machine and versions."""
    identity = {
        name: json.dumps(plain_value(value))
        for name, value in settings_by_path(as_label(job, network))
        if value is not None and name not in (*FILES, *NOT_SEEN)
    }
    identity["format"] = job.target.suffix.lower() if job.target else ""
    if job.output.encoder == "hardware":
        identity["encoder"] = FILM_FORMATS[".mp4"].encoder(job.output).name
    for name, path in settings_by_path(job):
        if name in FILES and path is not None:
            identity[name] = _content(resolve_source(path, job) if name == "source" else path)
    if picture is not None:
        identity["source"] = hashlib.sha256(one_frame(picture).cpu().numpy().tobytes()).hexdigest()
    identity["objectives"] = ", ".join(part.fingerprint for part in network.objectives)
    identity["weights"] = network.fingerprint
    device = network.at.device
    identity["device"] = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    identity["precision"] = str(network.at.dtype).removeprefix("torch.")
    identity["threads"] = str(torch.get_num_threads())
    for package in PACKAGES:
        identity[package] = _version(package)
    identity["opencv"] = cv2.__version__  # of whichever package
    identity["ffmpeg"] = ffmpeg_version()
    return identity


def _layers(network: Network) -> dict[str, float]:
    """What a network was loaded to dream of, as far as it can be written; no function can."""
    layers: dict[str, float] = {}
    for part in network.objectives:
        if isinstance(part, Target):
            layers[part.name] = layers.get(part.name, 0.0) + part.weight
    return layers


def _content(path: Path) -> str:
    with readable_inputs(path):
        if pictures := picture_files(path):
            return digest_all(pictures)
        return digest(path)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
