"""Measures how long things take: some in turns, and a whole film by where its time goes."""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoomdream.film.render import render_film
from zoomdream.network.network import Network
from zoomdream.settings.definitions import RenderJob

FEWEST_FRAMES, MOST_FRAMES = 24, 300  # of a film whose length is not given
FILM_SECONDS = 10.0  # that it then takes, about


def time_in_turns(
    contenders: Sequence[Callable[[], Any]], rounds: int, device: torch.device
) -> list[list[float]]:
    """Measures the seconds that each takes in each round, one after another.

    So a machine that slows down slows all of them. A first round, in which things warm up, does not count.
    """
    seconds: list[list[float]] = [[] for _ in contenders]
    for number in range(rounds + 1):
        for run, times in zip(contenders, seconds, strict=True):
            _wait(device)
            begun = time.perf_counter()
            run()
            _wait(device)
            if number:
                times.append(time.perf_counter() - begun)
    return seconds


def median_ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """The median of one's times by the other's, round by round."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def _wait(device: torch.device) -> None:
    """Waits until a GPU has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()


@dataclass(frozen=True)
class FilmTiming:
    """How long a film took to render. Times are seconds of one frame."""

    frames: int
    frame: float  # with all that belongs to it
    spent: Mapping[str, float]  # by what it went into; all of it together is `frame`
    memory: int  # bytes that the process had at most; on a GPU those of the GPU

    @property
    def overhead(self) -> float:
        """The whole by dreaming alone."""
        return self.frame / self.spent["dreaming"]


def time_film(
    job: RenderJob,
    network: Network,
    frames: int = 0,
    on_phase: Callable[[str], object] = print,
    *,
    fewest: int = FEWEST_FRAMES,
    most: int = MOST_FRAMES,
    seconds: float = FILM_SECONDS,
) -> FilmTiming:
    """Renders a job as a film, to a folder that is removed again, and measures it.

    network: the job's, loaded. frames: of the film; 0: as many as take `seconds`, but `fewest` to `most`.
    on_phase: is told what is measured now.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = job.source or Path("sample")
        job = job.change(target=Path(folder) / "film.mp4", source=source, weights=None, force=True)
        on_phase("a few frames")
        for _ in range(2):  # in the first of which things warm up
            short = render_film(_of_length(job, 4), network=network)
        fitting = round(seconds * short.frames / max(short.seconds, 1e-3))
        frames = frames or max(fewest, min(most, fitting))
        on_phase(f"a film of {frames} frames")
        if network.at.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        film = render_film(_of_length(job, frames), network=network)
    spent = {what: total / frames for what, total in film.spent.items()}
    whole = film.seconds / frames
    rest = max(whole - sum(spent.values()), 0.0)
    return FilmTiming(frames, whole, {**spent, "the rest": rest}, peak_memory(network.at.device))


def _of_length(job: RenderJob, frames: int) -> RenderJob:
    return job.change(output=job.output.change(frames=frames))


def peak_memory(device: torch.device) -> int:
    """Bytes that this process had at most; on a GPU those of the GPU. 0 where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
