"""Checks what this machine has, and says what to do about what is missing."""

import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zoomdream.errors import ZoomdreamError
from zoomdream.media.codecs import REQUIRED_ENCODERS, working_encoders
from zoomdream.media.ffmpeg import ffmpeg_path

NEEDED_ROOM = 1.0  # GB


@dataclass(frozen=True)
class Check:
    """One thing that a render needs: whether it is good, what it is, and what to do where it is not."""

    name: str
    good: bool
    state: str
    cure: str = ""


def machine_checks(version: str) -> Iterator[Check]:
    """Checks each thing that a render needs; ends where torch is missing. version: zoomdream's own."""
    yield Check("zoomdream", True, f"{version} in {Path(__file__).parent.parent}")
    yield check_python()
    torch_check = check_torch()
    yield torch_check
    if torch_check.good:
        yield from check_devices()
        yield from check_networks()
        yield from check_ffmpeg()
        yield from check_room()


def check_python() -> Check:
    good = sys.version_info >= (3, 11)
    return Check("Python", good, platform.python_version(), "install Python 3.11 or newer")


def check_torch() -> Check:
    """Checks whether torch can be imported, whatever it is that hinders it."""
    try:
        import torch
        import torchvision
    except Exception as error:
        cure = "pip install --force-reinstall torch torchvision"
        return Check("torch", False, str(error), cure)
    return Check("torch", True, f"{torch.__version__}, torchvision {torchvision.__version__}")


def check_devices() -> Iterator[Check]:
    """Says which GPUs there are, and where it would be dreamt."""
    import torch

    from zoomdream.network.device import choose_place

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    gpus = ", ".join(name for name, is_available in available.items() if is_available)
    yield Check("GPUs", True, gpus or "none that torch can use (see pytorch.org for your card)")
    place = choose_place()
    device = place.device.type
    name = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    threads = f", {torch.get_num_threads()} threads" if device == "cpu" else ""
    precision = str(place.dtype).removeprefix("torch.")
    yield Check("device", True, f"{device} ({name}{threads}), {precision}: {place.why}")


def check_networks() -> Iterator[Check]:
    """Checks whether the networks that ship with zoomdream are there."""
    from zoomdream.network.catalog import networks

    for info in networks():
        if path := info.weights_file:
            cure = "pip install --force-reinstall zoomdream"
            yield Check(info.name, path.exists(), str(path), cure)


def check_ffmpeg() -> Iterator[Check]:
    """Checks ffmpeg, and which encoders work."""
    try:
        binary = ffmpeg_path()
        working = [encoder for encoder, works in working_encoders().items() if works]
    except ZoomdreamError as error:
        yield Check("ffmpeg", False, "not found", str(error))
        return
    missing = set(REQUIRED_ENCODERS) - set(working)
    cure = "unset IMAGEIO_FFMPEG_EXE, or point it at an ffmpeg with these encoders"
    yield Check("ffmpeg", True, binary)
    yield Check(
        "encoders", not missing, ", ".join(working) or "none", f"{cure}: {', '.join(missing)}"
    )


def check_room() -> Iterator[Check]:
    """Checks where weights go, and whether there is room for them and for films."""
    from zoomdream.network.weights import cache_folder

    cache = cache_folder()
    yield Check("weights", True, f"{cache} (TORCH_HOME moves it)")
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    for name, folder in (("room for weights", existing), ("room here", Path.cwd())):
        free = shutil.disk_usage(folder).free / 1e9
        state = f"{free:.1f} GB free in {folder}"
        yield Check(name, free > NEEDED_ROOM, state, "make room: a GB at least")
