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
from zoomdream.process_settings import survive_forks
from zoomdream.settings.definitions import (
    STILL_DREAM,
    STUDY_JOB,
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
from zoomdream.settings.variation import Choice, choices
from zoomdream.size import Size

# Torch then asks Linux for huge pages: a seventh of a render's time was page faults.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
survive_forks()

if TYPE_CHECKING:
    from zoomdream.dreaming.guide import guide
    from zoomdream.film.picture import dream_picture as dream
    from zoomdream.film.render import render, render_film
    from zoomdream.film.resume import interrupted_job, join_so_far
    from zoomdream.film.still import dream_image
    from zoomdream.network.catalog import network_info, networks
    from zoomdream.network.classes import class_names
    from zoomdream.network.layer_objectives import channel, direction, imagenet_class, layer
    from zoomdream.network.layers import network_layers
    from zoomdream.network.network import load_network as load
    from zoomdream.network.objective import objective
    from zoomdream.network.weights import has_weights
    from zoomdream.study.bench import bench_table, run_bench
    from zoomdream.study.comparison import compare_clips, plot_comparison
    from zoomdream.study.doctor import machine_checks
    from zoomdream.study.layer_sheet import layer_sheet
    from zoomdream.study.layers import LayerDream
    from zoomdream.study.neuron_sheet import neuron_sheet
    from zoomdream.study.sweep import SweepCell, sweep, sweep_sheet

__version__ = "0.1.0"
__all__ = [
    "STILL_DREAM",
    "STUDY_JOB",
    "Anchor",
    "Camera",
    "Choice",
    "DreamSpec",
    "Film",
    "FlowBlend",
    "Guide",
    "InputError",
    "Interrupted",
    "LayerDream",
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
    "SweepCell",
    "UsageError",
    "WeightsError",
    "ZoomdreamError",
    "bench_table",
    "channel",
    "choices",
    "class_names",
    "compare_clips",
    "direction",
    "dream",
    "dream_image",
    "guide",
    "has_weights",
    "imagenet_class",
    "interrupted_job",
    "join_so_far",
    "layer",
    "layer_sheet",
    "load",
    "load_preset",
    "machine_checks",
    "network_info",
    "network_layers",
    "networks",
    "neuron_sheet",
    "objective",
    "plot_comparison",
    "render",
    "render_film",
    "run_bench",
    "sweep",
    "sweep_sheet",
]

_NEEDS_TORCH = {
    "LayerDream": "study.layers:LayerDream",
    "SweepCell": "study.sweep:SweepCell",
    "bench_table": "study.bench:bench_table",
    "channel": "network.layer_objectives:channel",
    "class_names": "network.classes:class_names",
    "compare_clips": "study.comparison:compare_clips",
    "direction": "network.layer_objectives:direction",
    "dream": "film.picture:dream_picture",
    "dream_image": "film.still:dream_image",
    "guide": "dreaming.guide:guide",
    "has_weights": "network.weights:has_weights",
    "imagenet_class": "network.layer_objectives:imagenet_class",
    "interrupted_job": "film.resume:interrupted_job",
    "join_so_far": "film.resume:join_so_far",
    "layer": "network.layer_objectives:layer",
    "layer_sheet": "study.layer_sheet:layer_sheet",
    "load": "network.network:load_network",
    "machine_checks": "study.doctor:machine_checks",
    "neuron_sheet": "study.neuron_sheet:neuron_sheet",
    "network_info": "network.catalog:network_info",
    "network_layers": "network.layers:network_layers",
    "networks": "network.catalog:networks",
    "objective": "network.objective:objective",
    "plot_comparison": "study.comparison:plot_comparison",
    "render": "film.render:render",
    "render_film": "film.render:render_film",
    "run_bench": "study.bench:run_bench",
    "sweep": "study.sweep:sweep",
    "sweep_sheet": "study.sweep:sweep_sheet",
}


def __dir__() -> list[str]:
    """Lists also what is not imported yet."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Imports what needs torch when it is first used, so that `--help` answers at once."""
    if name in _NEEDS_TORCH:
        module, _, symbol = _NEEDS_TORCH[name].partition(":")
        return getattr(import_module(f"zoomdream.{module}"), symbol)
    raise AttributeError(f"module 'zoomdream' has no attribute {name!r}")
