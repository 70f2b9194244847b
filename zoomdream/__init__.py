"""zoomdream: DeepDream videos, from a photograph.

    import zoomdream as zd

    job = zd.RenderJob(source="photo.jpg", target="dream.mp4", camera=zd.Camera(zoom=1.5))
    film = zd.render_film(job, progress=lambda p: print(f"{p.frame + 1}/{p.total}"))

`zoom` gives the frames as arrays instead of a file, `dream_picture` dreams on a single array, tensor or
matplotlib figure, and `dream_image` writes one picture.
Every error is a `ZoomdreamError` with one sentence that says what would be right.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from zoomdream.errors import (
    InputError,
    OutputError,
    UsageError,
    WeightsError,
    ZoomdreamError,
)
from zoomdream.events import Film, Picture, Progress, Start, Step
from zoomdream.settings.model import (
    STILL_DREAM,
    Anchor,
    Camera,
    DreamSpec,
    FlowBlend,
    Guide,
    NeuronSpec,
    Output,
    RenderJob,
)
from zoomdream.settings.presets import load_preset

# Torch then asks Linux for huge pages: a seventh of a render's time was page faults.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

if TYPE_CHECKING:
    from zoomdream.film.render import render_film, zoom
    from zoomdream.film.still import dream_image, dream_picture

__version__ = "0.1.0"
__all__ = [
    "STILL_DREAM",
    "Anchor",
    "Camera",
    "DreamSpec",
    "Film",
    "FlowBlend",
    "Guide",
    "InputError",
    "NeuronSpec",
    "Output",
    "OutputError",
    "Picture",
    "Progress",
    "RenderJob",
    "Start",
    "Step",
    "UsageError",
    "WeightsError",
    "ZoomdreamError",
    "dream_image",
    "dream_picture",
    "load_preset",
    "render_film",
    "zoom",
]


def __getattr__(name: str) -> Any:
    """What needs torch is imported when it is first used, so that `--help` answers at once."""
    if name in ("dream_image", "dream_picture"):
        return getattr(import_module("zoomdream.film.still"), name)
    if name in ("render_film", "zoom"):
        return getattr(import_module("zoomdream.film.render"), name)
    raise AttributeError(f"module 'zoomdream' has no attribute {name!r}")
