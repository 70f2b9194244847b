"""The gauge: what a film's frames are like, in numbers.

Each takes Frames (1, 3, H, W) in 0..1, on any device.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from zoomdream.errors import OutputError, UsageError
from zoomdream.media.color import to_lab, to_opponent
from zoomdream.media.frame import Flow, Frame, blur
from zoomdream.media.video_reader import decode_clip, open_video
from zoomdream.motion.flow import FlowEstimator, flow_estimator, sample_bilinear, trust_mask
from zoomdream.network.catalog import network_info
from zoomdream.network.device import choose_place
from zoomdream.network.network import Network, load_network
from zoomdream.network.objective import Target


def mean_lab(frame: Frame) -> Tensor:
    """Mean CIE L*a*b*, (3,). The distance of two is a difference of colour, Delta E (1976)."""
    return to_lab(frame).mean((0, 2, 3))


def saturation(frame: Frame) -> float:
    """Mean chroma in L*a*b*: 0 is grey, 40 is a colourful photograph."""
    return float(to_lab(frame)[:, 1:].norm(dim=1).mean())


def high_frequencies(frame: Frame) -> float:
    """Deviation of luma's finest octave: what a 2 px Gaussian takes away."""
    luma = to_opponent(frame)[:, :1]
    inner = (luma - blur(luma, 2.0))[..., 6:-6, 6:-6]
    return float(inner.std())


def novelty(frame: Frame, moved: Frame) -> float:
    """How much of a frame is new: 1 - correlation with an older one moved to where it would be now.

    Both are compared below the finest octave, in the middle half, where a zoom's births happen: an
    older frame that was enlarged has no fine detail. 0: nothing new; 1: nothing left.
    """
    old, new = (F.avg_pool2d(_middle(to_opponent(f)[:, :1]), 4).flatten() for f in (moved, frame))
    pair = torch.stack([old, new])
    return 1 - float(torch.corrcoef(pair)[0, 1])


def _middle(planes: Tensor) -> Tensor:
    height, width = planes.shape[-2:]
    return planes[..., height // 4 : -(height // 4), width // 4 : -(width // 4)]


def warp_error(now: Frame, later: Frame, flow: Flow, mask: Tensor) -> float:
    """E_t of Lai et al. (2018): sum M |W(O_later, F) - O_now|^2 / sum M, RGB in 0..1.

    flow: F, from now to later, of the *source* clip. mask: M, (1, 1, H, W), 1 where F is trusted. As in
    their code M is counted in each of the three channels: a third of the squared distance per pixel.
    Nan where nothing is trusted.
    """
    squared = (sample_bilinear(later, flow) - now).square() * mask
    return float(squared.double().sum() / (3 * mask.double().sum()))


@dataclass(frozen=True)
class Reading:
    """Of one frame of a dreamt clip."""

    warp_error: float  # against the next one, by the source's flow
    strengths: tuple[float, ...]  # each layer's objective, relative to the source's
    sharpness: float  # deviation of luma's finest octave, relative to the source's
    flicker: float  # change of brightness from frame to frame that the source has not, 0..1


def readings(
    pairs: Iterable[tuple[Frame, Frame]], estimate: FlowEstimator, networks: Sequence[Network]
) -> Iterator[Reading]:
    """Of every frame but the last, of (source, dreamt) frames of equal size.

    networks: each with one target, a layer.
    """
    for (source, dreamt), (source_later, dreamt_later) in pairwise(pairs):
        flow, back = estimate(source, source_later), estimate(source_later, source)
        change = _coarse(dreamt_later) - _coarse(dreamt)
        own = _coarse(source_later) - _coarse(source)
        yield Reading(
            warp_error(dreamt, dreamt_later, flow, trust_mask(flow, back)),
            tuple(n.gradient(dreamt)[1][0] / n.gradient(source)[1][0] for n in networks),
            high_frequencies(dreamt) / max(high_frequencies(source), 1e-6),
            float((change - own).abs().mean()),
        )


def _coarse(frame: Frame) -> Tensor:
    """Luma in blocks of about a twelfth of the picture."""
    return F.adaptive_avg_pool2d(to_opponent(frame)[:, :1], 12)


def mean_reading(many: Sequence[Reading]) -> Reading:
    """Of a whole clip."""

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
    """Of a dreamt clip with its source: each frame's reading, and which layers' strengths they hold."""

    layers: tuple[str, ...]
    fps: float
    frames: tuple[Reading, ...]

    @property
    def mean(self) -> Reading:
        return mean_reading(self.frames)


def compare_clips(
    source: Path,
    dreamt: Path,
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
    after = open_video(dreamt)
    before = decode_clip(open_video(source), after.size, after.fps, start)
    kind = network_info(model)
    targets = [Target.parse(text) for text in layers or kind.layers]
    names = [target.name for target in targets]
    at = choose_place()
    networks = [load_network(model, [name], weights=weights, at=at) for name in names]
    pairs = (
        (a.to(at.device), b.to(at.device))
        for a, b in zip(
            before.frames, decode_clip(after, after.size, after.fps).frames, strict=False
        )
    )
    found = tuple(readings(pairs, flow_estimator(flow, device=at.device), networks))
    return Comparison(tuple(names), float(after.fps), found)


def plot_comparison(comparison: Comparison, target: Path) -> None:
    """Draws a comparison over time, one panel per reading. Raises UsageError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError('to draw, matplotlib is needed: pip install "zoomdream[plot]"') from None
    figure = Figure(figsize=(8, 8), layout="constrained")
    panels = figure.subplots(4, 1, sharex=True)
    seconds = [number / comparison.fps for number in range(len(comparison.frames))]
    for panel, name in zip(panels, ("warp_error", "sharpness", "flicker"), strict=False):
        panel.plot(seconds, [getattr(reading, name) for reading in comparison.frames])
        panel.set_ylabel(name.replace("_", " "))
    for number, layer in enumerate(comparison.layers):
        panels[3].plot(seconds, [r.strengths[number] for r in comparison.frames], label=layer)
    panels[3].set_ylabel("dream strength")
    panels[3].set_xlabel("seconds")
    panels[3].legend()
    try:
        figure.savefig(target)
    except (OSError, ValueError) as error:
        raise OutputError(f"{target} cannot be drawn: {error}") from None
