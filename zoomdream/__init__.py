"""zoomdream: DeepDream videos and pictures.

    import zoomdream as zd

    job = zd.RenderJob(source="photo.jpg", target="dream.mp4", camera=zd.Camera(zoom=1.5))
    film = zd.render_film(job, print)

`load` loads a network once, for many dreams; `dream` dreams on arrays, tensors and PIL pictures, and gives
back the same kind; `render` gives a film's frames as they come, and `render_film` just makes the film;
`dream_image` writes one picture. What to dream of is an objective: `layer`, `channel`, `direction`,
`imagenet_class`, `guide`, or an `objective` of one's own, and sums of them.
Every error is a `ZoomdreamError` with one sentence that says what would be right.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from zoomdream.errors import (
    InputError,
    Interrupted,
    OutputError,
    UsageError,
    WeightsError,
    ZoomdreamError,
)
from zoomdream.events import Film, Note, Picture, Progress, Start, Step
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
from zoomdream.size import Size

# Torch then asks Linux for huge pages: a seventh of a render's time was page faults.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

if TYPE_CHECKING:
    from zoomdream.dreaming.guide import guide
    from zoomdream.film.picture import dream_picture as dream
    from zoomdream.film.render import render, render_film
    from zoomdream.film.still import dream_image
    from zoomdream.network.network import load_network as load
    from zoomdream.network.objective import channel, direction, imagenet_class, layer, objective

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
    "Interrupted",
    "NeuronSpec",
    "Note",
    "Output",
    "OutputError",
    "Picture",
    "Progress",
    "RenderJob",
    "Size",
    "Start",
    "Step",
    "UsageError",
    "WeightsError",
    "ZoomdreamError",
    "channel",
    "direction",
    "dream",
    "dream_image",
    "guide",
    "imagenet_class",
    "layer",
    "load",
    "load_preset",
    "objective",
    "render",
    "render_film",
]

_NEEDS_TORCH = {
    "channel": "network.objective:channel",
    "direction": "network.objective:direction",
    "dream": "film.picture:dream_picture",
    "dream_image": "film.still:dream_image",
    "guide": "dreaming.guide:guide",
    "imagenet_class": "network.objective:imagenet_class",
    "layer": "network.objective:layer",
    "load": "network.network:load_network",
    "objective": "network.objective:objective",
    "render": "film.render:render",
    "render_film": "film.render:render_film",
}


def __getattr__(name: str) -> Any:
    """What needs torch is imported when it is first used, so that `--help` answers at once."""
    if name in _NEEDS_TORCH:
        module, _, symbol = _NEEDS_TORCH[name].partition(":")
        return getattr(import_module(f"zoomdream.{module}"), symbol)
    raise AttributeError(f"module 'zoomdream' has no attribute {name!r}")
