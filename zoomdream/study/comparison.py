"""Compares a dreamt clip with its source, frame by frame: how steady, strong, sharp and clean it is."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

import torch

from zoomdream.errors import OutputError, UsageError
from zoomdream.media.footage import open_footage
from zoomdream.media.frame import Frame
from zoomdream.motion.flow import FlowEstimator, flow_estimator, trust_mask
from zoomdream.network.catalog import network_info
from zoomdream.network.device import choose_place
from zoomdream.network.layer_objectives import Target
from zoomdream.network.network import Network, load_network
from zoomdream.process_settings import exact_cudnn, freed_memory_kept
from zoomdream.study.metrics import (
    coarse_luma,
    dots,
    high_frequencies,
    palette_distance,
    warp_error,
)


@dataclass(frozen=True)
class Reading:
    """What was measured of one frame of a dreamt clip."""

    warp_error: float  # against the next one, by the source's flow
    strengths: tuple[float, ...]  # each layer's objective, relative to the source's
    sharpness: float  # deviation of luma's finest octave, relative to the source's
    flicker: float  # change of brightness from frame to frame that the source has not, 0..1
    palette: float  # distance of its colours from the source's, Delta E
    dots: float  # share of its fine structure that is round, 0..1
    source_dots: float  # the same of the source


def readings(
    pairs: Iterable[tuple[Frame, Frame]], estimate: FlowEstimator, networks: Sequence[Network]
) -> Iterator[Reading]:
    """Measures every frame but the last, of (source, dreamt) frames of equal size.

    networks: each is asked for the strength of what it was loaded for first.
    """
    for (source, dreamt), (source_later, dreamt_later) in pairwise(pairs):
        flow, back = estimate(source, source_later), estimate(source_later, source)
        change = coarse_luma(dreamt_later) - coarse_luma(dreamt)
        own = coarse_luma(source_later) - coarse_luma(source)
        yield Reading(
            warp_error(dreamt, dreamt_later, flow, trust_mask(flow, back)),
            tuple(strength(network, dreamt) / strength(network, source) for network in networks),
            high_frequencies(dreamt) / max(high_frequencies(source), 1e-6),
            float((change - own).abs().mean()),
            palette_distance(source, dreamt),
            dots(dreamt),
            dots(source),
        )


@torch.no_grad()
def strength(network: Network, frame: Frame) -> float:
    """Measures the energy that a network's first objective has on a frame."""
    return float(network.objectives[0].energy(network.look(frame).activations))


def mean_reading(many: Sequence[Reading]) -> Reading:
    """Averages a whole clip's readings; what is no number is left out."""

    def mean(values: Sequence[float]) -> float:
        good = [value for value in values if value == value]
        return sum(good) / max(len(good), 1)

    strengths = zip(*(reading.strengths for reading in many), strict=True)
    single = {
        f.name: mean([getattr(reading, f.name) for reading in many])
        for f in fields(Reading)
        if f.name != "strengths"
    }
    return Reading(strengths=tuple(mean(s) for s in strengths), **single)


@dataclass(frozen=True)
class Comparison:
    """A dreamt clip beside its source: each frame's reading, and which layers' strengths they hold."""

    layers: tuple[str, ...]
    fps: float
    frames: tuple[Reading, ...]

    @property
    def mean(self) -> Reading:
        return mean_reading(self.frames)


def compare_clips(
    source: Path | str,
    dreamt: Path | str,
    *,
    start: float = 0.0,
    model: str = "pocket",
    layers: Sequence[str] = (),
    weights: Path | None = None,
    flow: str = "dis",
) -> Comparison:
    """Reads two clips, the source shown as the dreamt one is (size and rate), and compares them.

    start: seconds into the source at which the dreamt clip began. layers: each is gauged by itself; none
    means the network's own choice. Raises InputError, UsageError, WeightsError.
    """
    after = open_footage(Path(dreamt))
    before = open_footage(Path(source)).clip(after.size, after.fps, start)
    names = [Target.parse(text).name for text in layers or network_info(model).layers]
    at = choose_place()
    networks = [load_network(model, [name], weights=weights, at=at) for name in names]
    pairs = (
        (a.to(at.device), b.to(at.device))
        for a, b in zip(before.frames, after.clip(after.size, after.fps).frames, strict=False)
    )
    with exact_cudnn, freed_memory_kept:
        frames = tuple(readings(pairs, flow_estimator(flow, device=at.device), networks))
    return Comparison(tuple(names), float(after.fps), frames)


def plot_comparison(comparison: Comparison, target: Path) -> None:
    """Draws a comparison over time, one panel per reading. Raises UsageError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError('to draw, matplotlib is needed: pip install "zoomdream[plot]"') from None
    names = ("warp_error", "sharpness", "flicker", "palette", "dots")
    figure = Figure(figsize=(8, 11), layout="constrained")
    *panels, last = figure.subplots(len(names) + 1, 1, sharex=True)
    seconds = [number / comparison.fps for number in range(len(comparison.frames))]
    for panel, name in zip(panels, names, strict=True):
        panel.plot(seconds, [getattr(reading, name) for reading in comparison.frames])
        panel.set_ylabel(name.replace("_", " "))
    for number, layer in enumerate(comparison.layers):
        last.plot(seconds, [r.strengths[number] for r in comparison.frames], label=layer)
    last.set_ylabel("dream strength")
    last.set_xlabel("seconds")
    last.legend()
    try:
        figure.savefig(target)
    except (OSError, ValueError) as error:
        raise OutputError(f"{target} cannot be drawn: {error}") from None
