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
    from zoomdream.film.resume import interrupted_job, join_so_far
    from zoomdream.film.still import dream_image, dream_picture
    from zoomdream.network.objective import class_names
    from zoomdream.study.bench import bench_table, run_bench
    from zoomdream.study.doctor import machine_checks
    from zoomdream.study.layers import layer_sheet
    from zoomdream.study.metrics import compare_clips, plot_comparison
    from zoomdream.study.neurons import neuron_sheet

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
    "bench_table",
    "class_names",
    "compare_clips",
    "dream_image",
    "dream_picture",
    "interrupted_job",
    "join_so_far",
    "layer_sheet",
    "load_preset",
    "machine_checks",
    "neuron_sheet",
    "plot_comparison",
    "render_film",
    "run_bench",
    "zoom",
]


LAZY = {
    "bench_table": "study.bench",
    "class_names": "network.objective",
    "compare_clips": "study.metrics",
    "dream_image": "film.still",
    "dream_picture": "film.still",
    "interrupted_job": "film.resume",
    "join_so_far": "film.resume",
    "layer_sheet": "study.layers",
    "machine_checks": "study.doctor",
    "neuron_sheet": "study.neurons",
    "plot_comparison": "study.metrics",
    "render_film": "film.render",
    "run_bench": "study.bench",
    "zoom": "film.render",
}
"""Where each name lies that is imported when it is first used, as it needs torch."""


def __getattr__(name: str) -> Any:
    """Imports what needs torch when it is first used, so that `--help` answers at once."""
    if name in LAZY:
        return getattr(import_module(f"zoomdream.{LAZY[name]}"), name)
    raise AttributeError(f"module 'zoomdream' has no attribute {name!r}")
