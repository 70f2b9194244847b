"""Measures how fast this machine dreams, beside the textbook way and the machine's own limit.

All is measured in one process, in turns, so that a machine that slows down slows all of it: what counts
are the ratios. Nothing is fetched: where a network's weights are not here, random ones take as long.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from zoomdream.dreaming.ascent import dream, plan_octaves
from zoomdream.dreaming.colors import DreamColors
from zoomdream.dreaming.rng import frame_rng
from zoomdream.dreaming.session import DreamSession
from zoomdream.dreaming.tiles import tile_side
from zoomdream.files import shipped
from zoomdream.media.frame import cover
from zoomdream.media.image_reader import read_still
from zoomdream.network.catalog import network_info
from zoomdream.network.device import choose_place
from zoomdream.network.layer_objectives import objectives_of
from zoomdream.network.layers import truncate
from zoomdream.network.network import Network, check_layers
from zoomdream.network.weights import load_or_random
from zoomdream.process_settings import exact_cudnn, freed_memory_kept
from zoomdream.settings.definitions import Output, RenderJob
from zoomdream.size import Size
from zoomdream.study.bare_convolutions import BareConvolutions
from zoomdream.study.textbook_dream import textbook_dream
from zoomdream.study.timing import median_ratio, time_film, time_in_turns

ROUNDS = 5  # turns that each contender has
SIZE = Size(512, 512)  # where none is given


@dataclass(frozen=True)
class BenchResult:
    """What was measured. Times are seconds, medians; a frame is one with all octaves and steps."""

    machine: str
    network: str
    layers: tuple[str, ...]
    precision: str
    size: Size
    octaves: int
    steps: int
    random: bool  # weights
    gflop: float  # of a frame's convolutions, there and back
    step: float  # one step at full size
    frame: float  # our dream of a frame
    textbook: float  # the textbook way's
    limit: float  # the bare convolutions' of a frame
    textbook_ratio: float  # textbook / ours, of pairs
    limit_ratio: float  # ours / limit, of pairs
    film: float  # a frame of a film, with all that belongs to it
    overhead: float  # of a film, whole / dreaming alone
    memory: int  # bytes that rendering the film took at most, the interpreter with all libraries included
    spent: Mapping[str, float] = field(default_factory=dict)  # of a film's frame, by what

    @property
    def fps(self) -> float:
        """Frames of a film in a second."""
        return 1 / self.film

    @property
    def gflops(self) -> float:
        """Our dream's billions of operations of convolutions in a second."""
        return self.gflop / self.frame

    @property
    def limit_gflops(self) -> float:
        """The bare convolutions'."""
        return self.gflop / self.limit


@dataclass(frozen=True)
class Contenders:
    """A job's network as we use it, and as a textbook does: the library's own, cut. random: its weights."""

    network: Network
    textbook: nn.Module
    random: bool


def run_bench(
    job: RenderJob,
    rounds: int = ROUNDS,
    frames: int = 0,
    on_phase: Callable[[str], object] = print,
) -> BenchResult:
    """Measures a job's dream, on the sample or `job.source`. on_phase: is told what is measured now.

    frames: of the film; 0: as many as take ten seconds (see `time_film`).

    Of the job: model, weights, dream, output.size (else `SIZE`), device, precision and seed.
    Raises UsageError, WeightsError.
    """
    with exact_cudnn, freed_memory_kept, torch.no_grad():
        return _measured(job, rounds, frames, on_phase)


def _measured(
    job: RenderJob, rounds: int, frames: int, on_phase: Callable[[str], object]
) -> BenchResult:
    size = job.output.size or SIZE
    contenders = load_contenders(job)
    network, info, spec = contenders.network, contenders.network.info, job.dream
    at = network.at
    frame = cover(read_still(job.source or shipped("sample.jpg")), size).to(at.device)
    octaves = plan_octaves(size, spec, info.least)
    film = time_film(job.change(output=Output(size=size)), network, frames, on_phase)
    session = DreamSession(network)
    session.colors = DreamColors.of_job(job)
    session.tile = tile_side(network, size.pixels)
    session.balance(frame)
    convolutions = BareConvolutions(network, octaves)

    def our_way() -> None:
        dream(frame, session, spec, frame_rng(job.seed, 0))

    def textbook_way() -> None:
        textbook_dream(frame, contenders.textbook, info, octaves, spec, job.seed)

    on_phase(f"our way, the textbook way and the bare convolutions, {rounds} times in turn")
    ours, textbook, bare = time_in_turns(
        [our_way, textbook_way, convolutions.run], rounds, at.device
    )
    (step,) = time_in_turns([lambda: session.gradient(frame, measured=False)], rounds, at.device)
    return BenchResult(
        machine=machine_name(at.device),
        network=info.name,
        layers=tuple(map(str, network.objectives)),
        precision=str(at.dtype).removeprefix("torch."),
        size=size,
        octaves=len(octaves),
        steps=spec.steps,
        random=contenders.random,
        gflop=convolutions.flop / 1e9,
        step=statistics.median(step),
        frame=statistics.median(ours),
        textbook=statistics.median(textbook),
        limit=statistics.median(bare),
        textbook_ratio=median_ratio(textbook, ours),
        limit_ratio=median_ratio(ours, bare),
        film=film.frame,
        overhead=film.overhead,
        memory=film.memory,
        spent=film.spent,
    )


def load_contenders(job: RenderJob) -> Contenders:
    """Loads a job's network both ways, with random weights where its own would have to be fetched."""
    info = network_info(job.model)
    objectives = objectives_of(job.dream.targets, info.layers)
    check_layers(info, objectives)
    module, random = load_or_random(info, job.weights)
    at = choose_place(job.device, job.precision)
    network = Network(info, deepcopy(module), objectives, at)
    return Contenders(network, truncate(module.to(at.device), info, network.layers), random)


def machine_name(device: torch.device) -> str:
    """Names what computes: a GPU, or a processor and the threads that are used."""
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    name = "CPU"
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text("utf-8", "replace").splitlines()
        named = [line for line in lines if line.startswith("model name")]
        name = named[0].partition(":")[2].strip() if named else name
    return f"{name}, {torch.get_num_threads()} threads"


def bench_table(result: BenchResult) -> Iterator[tuple[str, str, str]]:
    """Gives (what, how much, compared with what) for each line that a person reads."""
    yield "one step", f"{result.step * 1e3:.1f} ms", str(result.size)
    yield (
        "a frame",
        f"{result.frame * 1e3:.1f} ms",
        f"{result.octaves} octaves of {result.steps} steps; {result.gflops:.0f} GFLOP/s",
    )
    yield (
        "textbook way",
        f"{result.textbook * 1e3:.1f} ms",
        f"ours is {result.textbook_ratio:.2f} times as fast",
    )
    yield (
        "bare convolutions",
        f"{result.limit * 1e3:.1f} ms",
        f"ours takes {result.limit_ratio:.2f} times as long; {result.limit_gflops:.0f} GFLOP/s",
    )
    yield (
        "film",
        f"{result.fps:.2f} fps",
        f"{result.film * 1e3:.1f} ms a frame, {result.overhead:.2f} times its dreaming",
    )
    for what, seconds in sorted(result.spent.items(), key=lambda item: -item[1]):
        yield f"  {what}", f"{seconds * 1e3:.1f} ms", f"{seconds / result.film:.0%}"
    yield "memory", f"{result.memory / 1e9:.2f} GB", "at most, while the film was rendered"
