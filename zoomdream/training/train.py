"""Makes a first pocket of its teacher: `python -m zoomdream.training.train --minutes 60`.

What it leaves, `pocket.safetensors`, is what `adversarial.py` begins with to make the pocket that ships.

1. *Inherit.* Pocket begins as its teacher, SqueezeNet 1.0 trained on ImageNet, without the early
   channels that matter least. Each squeeze layer is then solved for by least squares, from pocket's own
   channels to what the teacher squeezes, which makes up for channels that are gone and for blurring
   where the teacher takes a maximum (as in Luo et al. 2017, ThiNet).
2. *Learn.* All layers together learn the teacher's features and class maps (squared error over the
   mean square), and its *input gradient*, the very thing that dreaming uses: one minus the cosine
   between both networks' gradients of the energy of some channels, after a small blur, at two scales
   (Sobolev training, Czarnecki et al. 2017).

Pictures come from `pictures.py`, and from the teacher and the student, which dream new ones as they
go. Runs on CPU or GPU, saves itself every few minutes and goes on with `--resume`.
"""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from zoomdream.network.pocket.architecture import Pocket
from zoomdream.training.pictures import draw_picture, photographs
from zoomdream.training.pool import Pool
from zoomdream.training.teacher import (
    DEVIATION_PLANES,
    MARGIN,
    MEAN_PLANES,
    SIZE,
    Features,
    Teacher,
    inherit,
    interior,
    relative_error,
    strokes_kept,
)

DREAMT = ("scales", "eyes", "faces", "creatures", "class")
RATE = 6e-4  # of learning, at its highest
GRADIENT_WEIGHT = 4.0
DREAM_EVERY = 120  # steps


def binomial(x: Tensor) -> Tensor:
    """Blurs (N, 3, H, W) by 1-2-1 in both directions; one pixel is lost at each edge."""
    line = torch.tensor([1.0, 2.0, 1.0], device=x.device) / 4
    kernel = (line[:, None] * line).expand(3, 1, 3, 3)
    return F.conv2d(x, kernel, groups=3)


def gradient_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Measures 1 - cosine of two (N, 3, H, W) gradients, blurred, at full and at half size; a mean."""
    error = torch.zeros((), device=student.device)
    for _ in range(2):
        student, teacher = binomial(student), binomial(teacher)
        error = error + (1 - F.cosine_similarity(student.flatten(1), teacher.flatten(1))).mean() / 2
        student, teacher = F.avg_pool2d(student, 2), F.avg_pool2d(teacher, 2)
    return error


def choose_channels(name: str, count: int, channels: int, rng: np.random.Generator) -> Tensor:
    """Draws weights of an objective, (count, channels, 1, 1): 1 for all, some, or one of the channels."""
    share = 1.5 / channels if name == "class" else float(rng.choice([1.0, 1.0, 0.3, 0.05]))
    weights = rng.random((count, channels, 1, 1)) < share
    weights[np.arange(count), rng.integers(0, channels, count)] = True
    return torch.from_numpy(weights.astype(np.float32))


def dream_batch(
    features: Callable[[Tensor], Features], start: Tensor, rng: np.random.Generator
) -> Tensor:
    """Dreams on a batch (N, 3, S, S) in 0..1 by plain ascent on two octaves.

    features: gives a network's stages, by name, for normalised pictures.
    """
    name = str(rng.choice(DREAMT))
    weights: Tensor | None = None
    picture = F.interpolate(start, scale_factor=0.6, mode="area")
    rate = float(rng.uniform(0.015, 0.035))
    device = start.device
    for size in (picture.shape[-1], start.shape[-1]):
        picture = F.interpolate(picture, (size, size), mode="bicubic").clamp(0, 1)
        for _ in range(int(rng.integers(6, 14))):
            shift = tuple(map(int, rng.integers(-16, 17, 2)))
            moved = picture.roll(shift, (2, 3)).detach().requires_grad_(True)
            inside = (moved - MEAN_PLANES.to(device)) / DEVIATION_PLANES.to(device)
            value = features(inside)[name]
            if weights is None:
                weights = choose_channels(name, len(start), value.shape[1], rng).to(device)
            (gradient,) = torch.autograd.grad((value.relu().square() * weights).sum(), moved)
            gradient = F.pad(binomial(gradient), (1, 1, 1, 1))
            gradient = gradient / (gradient.abs().mean((1, 2, 3), keepdim=True) + 1e-12)
            picture = (
                (moved + rate * gradient).clamp(0, 1).detach().roll((-shift[0], -shift[1]), (2, 3))
            )
    return picture


@dataclass
class Training:
    """A student, its teacher, what they look at, and how far they have come."""

    student: Pocket
    average: Pocket  # of the weights, over the last thousand steps: what is left at the end
    strokes: Tensor  # the teacher's channels that pocket has at `strokes`
    teacher: Teacher
    pool: Pool
    device: torch.device
    optimiser: torch.optim.Optimizer
    seconds: float = 0.0
    steps: int = 0

    def step(self, count: int, rate: float) -> dict[str, float]:
        """Learns from `count` crops, and gives each part of the error. rate: a share of `RATE`."""
        for group in self.optimiser.param_groups:
            group["lr"] = RATE * rate
        whole = self.pool.batch(count, SIZE + sum(MARGIN)).to(self.device)
        whole = (whole - MEAN_PLANES.to(self.device)) / DEVIATION_PLANES.to(self.device)
        whole = whole.contiguous(memory_format=torch.channels_last)
        start, end = MARGIN[0], MARGIN[0] + SIZE
        part = whole[..., start:end, start:end].contiguous(memory_format=torch.channels_last)
        whole.requires_grad_(True)
        part.requires_grad_(True)
        with torch.autocast(self.device.type, torch.bfloat16):
            theirs = self.teacher(whole)
            ours = dict(self.student.features(part))
        errors = self.feature_errors(ours, {k: v.detach() for k, v in theirs.items()})
        errors["gradient"] = self.gradient_error(whole, part, ours, theirs)
        loss = sum(errors.values()) + (GRADIENT_WEIGHT - 1) * errors["gradient"]
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(torch.as_tensor(loss))
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimiser.step()
        self.steps += 1
        self.follow()
        return {key: float(value.detach()) for key, value in errors.items()}

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the average towards the student: over the last thousand steps, fewer at first."""
        keep = min(0.999, self.steps / (self.steps + 10))
        for slow, fast in zip(self.average.parameters(), self.student.parameters(), strict=True):
            slow.lerp_(fast, 1 - keep)

    def gradient_error(
        self, whole: Tensor, part: Tensor, ours: Features, theirs: Features
    ) -> Tensor:
        """Compares the gradients of the energy of some channels of one stage, by the picture."""
        start, end = MARGIN[0], MARGIN[0] + SIZE
        name = str(self.pool.rng.choice(["patterns", *DREAMT]))
        weights = choose_channels(name, len(part), theirs[name].shape[1], self.pool.rng).to(
            self.device
        )
        goal, mine = (
            torch.autograd.grad(
                (interior(name, values[name]).relu().float().square() * weights).sum(),
                x,
                create_graph=c,
            )[0][..., a + 12 : b - 12, a + 12 : b - 12]
            for values, x, c, a, b in (
                (theirs, whole, False, start, end),
                (ours, part, True, 0, SIZE),
            )
        )
        return gradient_error(mine.float(), goal.float())

    def feature_errors(self, ours: Features, theirs: Features) -> Features:
        """Measures the squared error of each stage over the teacher's mean square."""
        theirs = {**theirs, "strokes": theirs["strokes"][:, self.strokes]}
        return {
            name: relative_error(
                interior(name, ours[name]).relu().float(), interior(name, y).float()
            )
            for name, y in theirs.items()
        }

    def grow(self, teachers: int, students: int) -> None:
        """Adds dreams of both networks to the pool."""
        for features, count in (
            (partial(self.teacher, aligned=False), teachers),
            (lambda x: dict(self.average.features(x)), students),
        ):
            if count:
                start = self.pool.batch(count, 256).to(self.device)
                for picture in dream_batch(features, start, self.pool.rng).cpu():
                    self.pool.add((picture * 255).round().byte().permute(1, 2, 0).numpy())

    def save(self, folder: Path) -> None:
        """Writes a checkpoint, and the averaged weights."""
        state = {
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "seconds": self.seconds,
            "steps": self.steps,
        }
        torch.save(state, folder / "checkpoint.pt.part")
        (folder / "checkpoint.pt.part").replace(folder / "checkpoint.pt")
        average = self.average.state_dict()
        short = {name: value.bfloat16().contiguous() for name, value in average.items()}
        save_file(short, folder / "pocket.safetensors.part")
        (folder / "pocket.safetensors.part").replace(folder / "pocket.safetensors")

    def load(self, folder: Path) -> None:
        """Goes on from the checkpoint in a folder."""
        state = torch.load(folder / "checkpoint.pt", weights_only=True)
        for part in ("student", "average", "optimiser"):
            getattr(self, part).load_state_dict(state[part])
        self.seconds, self.steps = state["seconds"], state["steps"]
        self.pool.rng = np.random.default_rng(self.steps)  # other crops than those seen


def prepare(weights: Path | None, extra: Path | None, device: torch.device, seed: int) -> Training:
    """Makes the pool, the teacher, and a student that begins as a part of it.

    weights: of the teacher. extra: a folder of further photographs.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    pool = Pool(photographs(extra) + [draw_picture(rng) for _ in range(200)], seed)
    teacher, student = Teacher(weights), Pocket()
    pictures = (pool.batch(48, SIZE + sum(MARGIN)) - MEAN_PLANES) / DEVIATION_PLANES
    inherit(student, teacher, pictures)
    strokes = strokes_kept(student, teacher)
    student = student.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(student.parameters(), lr=1.0, weight_decay=1e-5)
    return Training(
        student, copy.deepcopy(student), strokes, teacher.to(device), pool, device, optimiser
    )


def rates(training: Training, minutes: float) -> Iterator[float]:
    """Gives the learning rate's share, step after step until the time is over; a pause does not count."""
    while (done := training.seconds / (60 * minutes)) < 1:
        started = time.monotonic()
        yield min(1.0, (training.steps + 1) / 100) * float(np.cos(done * np.pi / 2) ** 1.5 + 0.01)
        training.seconds += min(time.monotonic() - started, 30.0)


def main(
    minutes: Annotated[
        float, typer.Option(help="Of training in all, earlier sittings included.")
    ] = 60,
    teacher_weights: Annotated[
        Path | None, typer.Option(help="Another squeezenet1_0 file than the one that ships.")
    ] = None,
    pictures: Annotated[Path | None, typer.Option(help="A folder of further photographs.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    batch: Annotated[int, typer.Option(help="Pictures a step.")] = 12,
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and weights.")] = Path(
        "pocket-training"
    ),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in --out, if there is one.")
    ] = False,
    seed: int = 0,
) -> None:
    """Teaches a first pocket; leaves `pocket.safetensors` in --out."""
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    training = prepare(teacher_weights, pictures, torch.device(device), seed)
    if resume and (out / "checkpoint.pt").exists():
        training.load(out)
    training.grow(48, 0)
    recent: list[dict[str, float]] = []
    saved = time.monotonic()
    for rate in rates(training, minutes):
        recent.append(training.step(batch, rate))
        if len(recent) == 50:
            means = {key: sum(errors[key] for errors in recent) / 50 for key in recent[-1]}
            listed = "  ".join(f"{key} {value:.3f}" for key, value in means.items())
            minute = f"{training.seconds / 60:6.1f} min"
            console.print(f"{minute}  step {training.steps}  {listed}", soft_wrap=True)
            recent = []
        if training.steps % DREAM_EVERY == 0:
            training.grow(8, 4)
        if time.monotonic() - saved > 180:
            training.save(out)
            saved = time.monotonic()
    training.save(out)
    console.print(f"Written: {out / 'pocket.safetensors'}")


if __name__ == "__main__":
    typer.run(main)
