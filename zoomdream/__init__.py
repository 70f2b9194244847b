"""zoomdream: DeepDream videos, from a photograph.

    import zoomdream as zd

    job = zd.RenderJob(source="photo.jpg", target="dream.mp4", camera=zd.Camera(zoom=1.5))
    film = zd.render(job, progress=lambda p: print(f"{p.frame + 1}/{p.total}"))

`zoom` gives the frames as arrays instead of a file, and `dream` dreams on a single array or tensor.
Every error is a `ZoomdreamError` with one sentence that says what would be right.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from zoomdream.errors import (
    InputError,
    OutputError,
    UsageError,
    WeightsError,
    ZoomdreamError,
)
from zoomdream.report import Film, Progress, Start
from zoomdream.spec import Anchor, Camera, DreamSpec, Output, RenderJob, load_preset

if TYPE_CHECKING:
    from zoomdream.render import dream_picture as dream
    from zoomdream.render import render, zoom

__version__ = "0.1.0"
__all__ = [
    "Anchor",
    "Camera",
    "DreamSpec",
    "Film",
    "InputError",
    "Output",
    "OutputError",
    "Progress",
    "RenderJob",
    "Start",
    "UsageError",
    "WeightsError",
    "ZoomdreamError",
    "dream",
    "load_preset",
    "render",
    "zoom",
]

_LATE = {"render": "render", "zoom": "zoom", "dream": "dream_picture"}


def __getattr__(name: str) -> Any:
    """What needs torch is imported when it is first used, so that `--help` answers at once."""
    if name in _LATE:
        return getattr(import_module("zoomdream.render"), _LATE[name])
    raise AttributeError(f"module 'zoomdream' has no attribute {name!r}")
