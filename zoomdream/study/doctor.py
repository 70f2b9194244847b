"""What this machine has, and what to do about what is missing."""

import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from zoomdream.errors import ZoomdreamError
from zoomdream.media.codecs import REQUIRED_ENCODERS, working_encoders
from zoomdream.media.ffmpeg import ffmpeg_path


def machine_checks() -> Iterator[tuple[str, bool, str, str]]:
    """(what, good, what was found, what to do) for each thing a render needs."""
    python = platform.python_version()
    yield "Python", sys.version_info >= (3, 11), python, "install Python 3.11 or newer"
    try:
        import torch
        import torchvision
    except Exception as error:
        yield "torch", False, str(error), "pip install --force-reinstall torch torchvision"
        return
    yield "torch", True, f"{torch.__version__}, torchvision {torchvision.__version__}", ""
    from zoomdream.network.device import choose_place
    from zoomdream.network.weights import POCKET_WEIGHTS, cache_folder

    place = choose_place()
    kind = str(place.dtype).removeprefix("torch.")
    name = torch.cuda.get_device_name() if place.device.type == "cuda" else platform.machine()
    threads = f", {torch.get_num_threads()} threads" if place.device.type == "cpu" else ""
    devices = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    found = ", ".join(name for name, there in devices.items() if there)
    yield "GPUs", True, found or "none that torch can use (see pytorch.org for your card)", ""
    yield "device", True, f"{place.device.type} ({name}{threads}), {kind}: {place.why}", ""
    path = POCKET_WEIGHTS
    yield "pocket", path.exists(), str(path), "pip install --force-reinstall zoomdream"
    try:
        binary = ffmpeg_path()
        works = [encoder for encoder, good in working_encoders().items() if good]
        needed = set(REQUIRED_ENCODERS) - set(works)
        cure = "unset IMAGEIO_FFMPEG_EXE, or point it at an ffmpeg with these encoders"
        yield "ffmpeg", True, binary, ""
        yield "encoders", not needed, ", ".join(works) or "none", f"{cure}: {', '.join(needed)}"
    except ZoomdreamError as error:
        yield "ffmpeg", False, "not found", str(error)
    cache = cache_folder()
    yield "weights", True, f"{cache} (TORCH_HOME moves it)", ""
    there = next(p for p in (cache, *cache.parents) if p.exists())
    for what, folder in (("room for weights", there), ("room here", Path.cwd())):
        free = shutil.disk_usage(folder).free / 1e9
        yield what, free > 1, f"{free:.1f} GB free in {folder}", "make room: a GB at least"
