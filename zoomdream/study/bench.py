"""The test bench: how fast this machine dreams, beside the textbook way and the machine's own limit.

All is measured in one process, in turns, so that a machine that slows down slows all of it: what counts
are the ratios. Nothing is fetched: where a network's weights are not here, random ones take as long.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomdream.dreaming.ascent import dream, octave_sizes
from zoomdream.dreaming.rng import frame_rng
from zoomdream.files import shipped
from zoomdream.film.render import render_film
from zoomdream.media.frame import Frame, cover
from zoomdream.media.image_reader import read_still
from zoomdream.network.catalog import network_info
from zoomdream.network.device import choose_place
from zoomdream.network.layers import truncate
from zoomdream.network.network import Network, parse_targets
from zoomdream.network.weights import load_or_random
from zoomdream.settings.model import Output, RenderJob
from zoomdream.size import Size

ROUNDS = 5  # turns that each contender has
FILM_FRAMES = 24, 300  # of the film, where they are not given: at least, and at most
FILM_SECONDS = 10  # that it then takes, about
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


def run_bench(
    job: RenderJob, rounds: int = ROUNDS, frames: int = 0, told: Callable[[str], None] = print
) -> BenchResult:
    """Measures a job's dream, on the sample or `job.source`. told: is told what is measured now.

    frames: of the film; 0: as many as take `SECONDS`.

    Of the job: model, weights, dream, output.size (else `SIZE`), device, precision and seed.
    Raises UsageError, WeightsError.
    """
    size = job.output.size or SIZE
    at = choose_place(job.device, job.precision)
    network, module, random = _networks(job)
    frame = cover(read_still(job.source or shipped("sample.jpg")), size).to(at.device)
    sizes = octave_sizes(size, job.dream, network.info.least)
    film = _film(job, network, frames, told)
    network.balance(frame)
    convolutions = _convolutions(network, sizes, job.dream.steps)

    def ours() -> None:
        dream(frame, network, job.dream, frame_rng(job.seed, 0))

    def textbook() -> None:
        _textbook(frame, module, sizes, job)

    told(f"our way, the textbook way and the bare convolutions, {rounds} times in turn")
    with torch.no_grad():
        times = _in_turn([ours, textbook, convolutions.run], rounds, at.device)
        step = _in_turn([lambda: network.gradient(frame, measured=False)], rounds, at.device)[0]
    mine, plain, bare = times
    return BenchResult(
        machine=machine_name(at.device),
        network=network.info.name,
        layers=tuple(map(str, network.targets)),
        precision=str(at.dtype).removeprefix("torch."),
        size=size,
        octaves=len(sizes),
        steps=job.dream.steps,
        random=random,
        gflop=convolutions.flop / 1e9,
        step=statistics.median(step),
        frame=statistics.median(mine),
        textbook=statistics.median(plain),
        limit=statistics.median(bare),
        textbook_ratio=_ratio(plain, mine),
        limit_ratio=_ratio(mine, bare),
        **film,
    )


def machine_name(device: torch.device) -> str:
    """What computes: a GPU's name, or a processor's and the threads that are used."""
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    name = "CPU"
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = named[0].partition(":")[2].strip() if named else name
    return f"{name}, {torch.get_num_threads()} threads"


def _networks(job: RenderJob) -> tuple[Network, nn.Module, bool]:
    """The job's network as we use it; torchvision's own, cut, as a textbook does; random weights or not."""
    kind = network_info(job.model)
    targets = parse_targets(kind, job.dream.targets)
    module, random = load_or_random(kind, targets, job.weights)
    at = choose_place(job.device, job.precision)
    network = Network(kind, deepcopy(module), targets, at)
    return network, truncate(module.to(at.device), kind, targets), random


def _ratio(one: Sequence[float], other: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def _in_turn(
    contenders: Sequence[Callable[[], Any]], rounds: int, device: torch.device
) -> list[list[float]]:
    """Seconds that each took, in each round; the first, in which things warm up, does not count."""
    taken: list[list[float]] = [[] for _ in contenders]
    for number in range(rounds + 1):
        for run, times in zip(contenders, taken, strict=True):
            _wait(device)
            begun = time.perf_counter()
            run()
            _wait(device)
            if number:
                times.append(time.perf_counter() - begun)
    return taken


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()


def _textbook(frame: Frame, module: nn.Module, sizes: Sequence[Size], job: RenderJob) -> Frame:
    """DeepDream as it is usually written (google/deepdream, and most that came after).

    The truncated network as torchvision makes it, in float32, by autograd.
    """
    kind = network_info(job.model)
    mean = frame.new_tensor(kind.mean).view(1, 3, 1, 1)
    deviation = frame.new_tensor(kind.deviation).view(1, 3, 1, 1)
    rng = frame_rng(job.seed, 0)
    detail = torch.zeros_like(frame)
    for size in sizes:
        base = F.interpolate(frame, size.shape, mode="bilinear")
        picture = base + F.interpolate(detail, size.shape, mode="bilinear")
        for _ in range(job.dream.steps):
            jitter = job.dream.jitter
            x, y = torch.randint(-jitter, jitter + 1, (2,), generator=rng).tolist()
            with torch.enable_grad():
                rolled = picture.roll((x, y), (2, 3)).requires_grad_(True)
                values = module((rolled - mean) / deviation).values()
                loss = sum(value.square().sum() / 2 for value in values)
                (gradient,) = torch.autograd.grad(loss, rolled)
            gradient = gradient / (gradient.abs().mean() + 1e-8)
            rolled = (rolled.detach() + job.dream.step_size * gradient).clamp(0, 1)
            picture = rolled.roll((-x, -y), (2, 3))
        detail = picture - base
    return picture


class _Convolutions:
    """A network's convolutions alone, there and back to their inputs, for all of a frame's steps."""

    def __init__(self, steps: int) -> None:
        self._steps, self.flop = steps, 0
        self._forward: list[tuple[Any, ...]] = []  # what convolutions are given
        self._backward: list[tuple[Tensor, Tensor, Tensor, Any]] = []

    def add(self, module: nn.Conv2d, x: Tensor, in_float32: bool) -> None:
        """One of them, as it looks at x; in_float32: on the way forth."""
        how: Any = (module.stride, module.padding, module.dilation, module.groups)
        x = x.detach().contiguous(memory_format=torch.channels_last)
        weight = module.weight.detach().contiguous(memory_format=torch.channels_last)
        bias = None if module.bias is None else module.bias.detach()
        value = F.conv2d(x, weight, bias, *how)
        self.flop += 4 * self._steps * weight.numel() * value.shape[2] * value.shape[3]
        given = [
            part.float() if in_float32 and part is not None else part for part in (x, weight, bias)
        ]
        self._forward.append((*given, *how))
        self._backward.append((torch.randn_like(value), x, weight, how))

    def run(self) -> None:
        """All of them, once for each step."""
        for _ in range(self._steps):
            for given in self._forward:
                F.conv2d(*given)
            for gradient, x, weight, (stride, padding, dilation, groups) in self._backward:
                torch.ops.aten.convolution_backward(
                    gradient, x, weight, None, stride, padding, dilation, False, (0, 0), groups,
                    (True, False, False),
                )  # fmt: skip


def _convolutions(network: Network, sizes: Sequence[Size], steps: int) -> _Convolutions:
    """Those of a network, each in the precision that we compute it in, at every octave."""
    found = _Convolutions(steps)
    parts = {
        part: name for name, part in network.module.named_modules() if isinstance(part, nn.Conv2d)
    }

    def look(part: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(part, nn.Conv2d)
        found.add(part, given[0], parts[part] in network.in_float32)

    hooks = [part.register_forward_pre_hook(look) for part in parts]
    with torch.no_grad():
        for size in sizes:
            network.values(torch.rand(1, 3, *size.shape, device=network.at.device))
    for hook in hooks:
        hook.remove()
    return found


def _film(
    job: RenderJob, network: Network, frames: int, told: Callable[[str], None]
) -> dict[str, Any]:
    """A film of the job's dream as it is rendered otherwise: seconds a frame, and where they go."""
    with tempfile.TemporaryDirectory() as folder:
        output = Output(size=job.output.size or SIZE, frames=4)
        source = job.source or Path("sample")
        changed = job.change(target=Path(folder) / "film.mp4", output=output, source=source)
        told("a few frames")
        for _ in range(2):  # in the first of which things warm up
            short = render_film(changed.change(force=True), network=network)
        least, most = FILM_FRAMES
        wanted = FILM_SECONDS * short.frames / max(short.seconds, 1e-3)
        frames = frames or max(least, min(most, round(wanted)))
        told(f"a film of {frames} frames")
        changed = changed.change(output=output.change(frames=frames))
        if network.at.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        film = render_film(changed.change(force=True), network=network)
    spent = {what: seconds / frames for what, seconds in film.spent.items()}
    whole, dreaming = film.seconds / frames, spent["dreaming"]
    rest = whole - sum(spent.values())
    return {
        "film": whole,
        "overhead": whole / dreaming,
        "memory": _most_memory(network.at.device),
        "spent": {**spent, "the rest": max(rest, 0.0)},
    }


def _most_memory(device: torch.device) -> int:
    """Bytes that this process had at most; on a GPU those of the GPU. 0 where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def bench_table(found: BenchResult) -> Iterator[tuple[str, str, str]]:
    """(what, how much, compared with what) for each line that a person reads."""
    yield "one step", f"{found.step * 1e3:.1f} ms", str(found.size)
    yield (
        "a frame",
        f"{found.frame * 1e3:.1f} ms",
        f"{found.octaves} octaves of {found.steps} steps; {found.gflops:.0f} GFLOP/s",
    )
    yield (
        "textbook way",
        f"{found.textbook * 1e3:.1f} ms",
        f"ours is {found.textbook_ratio:.2f} times as fast",
    )
    yield (
        "bare convolutions",
        f"{found.limit * 1e3:.1f} ms",
        f"ours takes {found.limit_ratio:.2f} times as long; {found.limit_gflops:.0f} GFLOP/s",
    )
    yield (
        "film",
        f"{found.fps:.2f} fps",
        f"{found.film * 1e3:.1f} ms a frame, {found.overhead:.2f} times its dreaming",
    )
    for what, seconds in sorted(found.spent.items(), key=lambda item: -item[1]):
        yield f"  {what}", f"{seconds * 1e3:.1f} ms", f"{seconds / found.film:.0%}"
    yield "memory", f"{found.memory / 1e9:.2f} GB", "at most, while the film was rendered"
