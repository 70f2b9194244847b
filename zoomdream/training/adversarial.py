"""Teaches pocket against an adversary: `python -m zoomdream.training.adversarial --pictures FOLDER`.

Networks that small perturbations cannot fool have gradients that look like things (Engstrom et al. 2019,
"Adversarial robustness as a prior for learned representations"), and gradients are what dreams are made
of. So the teacher looks at a clean crop and pocket, its student, at the same crop perturbed, and has to
give the teacher's features nonetheless. A crop is perturbed by noise, half of the time, and then by an
adversary: one or two steps of projected gradient ascent in L2 on the summed errors of the features, from
a random start (Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks"). The
teacher's gradient is not learnt, for it is speckled.

Training begins with finished weights, `--begin`: those that ship, what `train.py` made from the teacher
alone, or those of an earlier pocket, which is narrower.
The same command goes on where the last one stopped, by SIGTERM or otherwise. The learning rate is
constant, and falls to nothing over the last part of `--crops`; to end sooner or later, stop the training
and go on with another number.

`--out` then holds `latest.pt` to go on from; `pocket.safetensors`, the weights' moving average, which is
what to dream with and what another training may begin with; numbered copies of it from the way; and
`progress.tsv`, the errors on crops of pictures that no step sees, clean and attacked.
"""

import contextlib
import copy
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from zoomdream.network.pocket.architecture import WEIGHTS, WIDTH, Pocket
from zoomdream.training.crops import Crops, as_batch, central_square
from zoomdream.training.pictures import draw_picture, photographs
from zoomdream.training.teacher import (
    DEVIATION_PLANES,
    MARGIN,
    MEAN_PLANES,
    Features,
    Teacher,
    cut,
    interior,
    relative_error,
    strokes_kept,
    widen,
    width_of,
)

ERROR_WEIGHTS = {
    "strokes": 0.3, "patterns": 0.5, "scales": 1.0, "eyes": 1.0, "faces": 1.2, "creatures": 2.0, "class": 1.5,
}  # fmt: skip
"""What an error of each stage counts; the deep ones, which draw whole things, count most."""
CHECKPOINT, AVERAGED = "latest.pt", "pocket.safetensors"  # in the folder that is written to
REPORT_EVERY = 50  # steps

Errors = dict[str, float]
"""The relative error of each stage."""


@dataclass(frozen=True)
class Settings:
    """All that the result depends on, besides the pictures and the weights to begin with."""

    crops: int = 200_000  # to learn from, in all
    falling: float = 0.4  # the last share of them, over which the learning rate falls
    batch: int = 8
    sizes: tuple[int, ...] = (128, 144, 160)  # of crops, px; one of them for each batch
    rate: float = 4e-4
    warm: int = 200  # steps over which the rate rises, after a start and after each going on
    average: float = 0.999  # of the weights' average, what a step keeps
    radius: float = 3.0  # of the attack, at most; in L2 over a whole crop in 0..1
    radius_before: float = 2.0  # the same, at the first step
    growing: int = 2000  # steps from the one to the other
    twice: float = 0.3  # share of batches that are attacked in two steps
    noise: float = 0.12  # deviation, at most, for half of the crops
    drawn: float = 0.15  # share of crops of drawn pictures
    seed: int = 0


@dataclass(frozen=True)
class Schedule:
    """How often weights are written, in seconds."""

    save: float = 600  # over the last ones
    copy: float = 1800  # beside them, numbered


def normalise(crops: Tensor) -> Tensor:
    """Normalises crops with ImageNet's mean and deviation, in the order of memory that convolutions like."""
    moved = (crops - MEAN_PLANES.to(crops.device)) / DEVIATION_PLANES.to(crops.device)
    return moved.contiguous(memory_format=torch.channels_last)


def without_margin(whole: Tensor) -> Tensor:
    """Cuts off what only the teacher sees of a crop: the margin that aligns both networks' grids."""
    start, end = MARGIN[0], whole.shape[-1] - MARGIN[1]
    return whole[..., start:end, start:end]


@torch.no_grad()
def teacher_features(teacher: Teacher, strokes: Tensor, whole: Tensor) -> Features:
    """Gives the teacher's features of clean crops, on pocket's grid, without the border.

    strokes: the teacher's channels that pocket has at `strokes`. whole: (N, 3, S, S) with the margin.
    """
    with torch.autocast(whole.device.type, torch.bfloat16):
        features = teacher(normalise(whole), aligned=False)
    features["strokes"] = features["strokes"][:, strokes]
    size = whole.shape[-1] - sum(MARGIN)
    return {name: interior(name, cut(name, y, size)).float() for name, y in features.items()}


def feature_errors(student: Pocket, crops: Tensor, goals: Features) -> Features:
    """Measures, for every stage, the student's squared error over the mean square of the goal."""
    with torch.autocast(crops.device.type, torch.bfloat16):
        features = dict(student.features(normalise(crops)))
    return {
        name: relative_error(interior(name, features[name]).relu().float(), goal)
        for name, goal in goals.items()
    }


def weighted_sum(errors: Features) -> Tensor:
    """Adds the errors up by their weights: the loss."""
    return torch.stack([ERROR_WEIGHTS[name] * error for name, error in errors.items()]).sum()


def attack(
    student: Pocket,
    crops: Tensor,
    goals: Features,
    radius: Tensor,
    steps: int,
    rng: torch.Generator,
) -> Tensor:
    """Moves crops to where the student errs more, within L2 balls.

    crops: (N, 3, S, S) in 0..1. radius: of each crop's ball, (N, 1, 1, 1). rng: of the random start.
    """
    length = radius * torch.rand(radius.shape, generator=rng).to(crops.device)
    offset = unit(torch.randn(crops.shape, generator=rng).to(crops.device)) * length
    for _ in range(steps):
        offset.requires_grad_(True)
        loss = weighted_sum(feature_errors(student, crops + offset, goals))
        (uphill,) = torch.autograd.grad(loss, offset)
        offset = offset.detach() + unit(uphill) * radius * (1.25 if steps == 1 else 0.8)
        offset = offset * (radius / norm(offset).clamp_min(1e-12)).clamp_max(1)
    return crops + offset


def norm(x: Tensor) -> Tensor:
    """Gives the L2 norm of each crop, (N, 1, 1, 1)."""
    return x.square().sum((1, 2, 3), keepdim=True).sqrt()


def unit(x: Tensor) -> Tensor:
    """Scales each crop to an L2 norm of 1."""
    return x / norm(x).clamp_min(1e-12)


def add_noise(crops: Tensor, deviation: float) -> Tensor:
    """Adds Gaussian noise to half of the crops. deviation: at most."""
    strength = torch.rand(len(crops), 1, 1, 1) * deviation * (torch.rand(len(crops), 1, 1, 1) < 0.5)
    return (crops + torch.randn(crops.shape) * strength).clamp(0, 1)


@dataclass
class AdversarialTraining:
    """A student, its teacher, what they look at, and how far they have come."""

    settings: Settings
    student: Pocket
    average: Pocket  # of the weights: what is dreamt with
    teacher: Teacher
    strokes: Tensor  # the teacher's channels that pocket has at `strokes`
    crops: Crops
    held_out: Tensor  # crops that no step sees, (N, 3, S, S) in 0..1
    optimiser: torch.optim.Optimizer
    steps: int = 0
    crops_seen: int = 0
    started_at: int = 0  # step of the last start, for warming up

    @property
    def device(self) -> torch.device:
        """Where both networks are."""
        return next(self.student.parameters()).device

    def step(self) -> Errors:
        """Learns from one batch, and gives the errors under attack."""
        s, rng = self.settings, self.crops.rng
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        size = int(rng.choice(s.sizes))
        whole = self.crops.batch(s.batch, size + sum(MARGIN), s.drawn)
        goals = teacher_features(self.teacher, self.strokes, whole.to(self.device))
        crops = add_noise(without_margin(whole), s.noise).to(self.device)
        radius = torch.rand(s.batch, 1, 1, 1).to(self.device) * self.attack_radius()
        attack_steps = 2 if rng.random() < s.twice else 1
        crops = attack(self.student, crops, goals, radius, attack_steps, torch.default_generator)
        errors = feature_errors(self.student, crops, goals)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(weighted_sum(errors))
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimiser.step()
        self.steps += 1
        self.crops_seen += s.batch
        self.follow()
        return {name: float(error.detach()) for name, error in errors.items()}

    def learning_rate(self) -> float:
        """Gives the rate of the next step: rising after a start, then constant, then falling."""
        s = self.settings
        rising = min(1.0, (self.steps - self.started_at + 1) / s.warm)
        falling = max(0.0, 1 - self.crops_seen / s.crops) / s.falling
        return s.rate * rising * min(1.0, falling)

    def attack_radius(self) -> float:
        """Gives the largest radius of an attack, which grows at first."""
        s = self.settings
        grown = min(1.0, self.steps / s.growing)
        return s.radius_before + (s.radius - s.radius_before) * grown

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the average towards the student; faster at first."""
        keep = min(self.settings.average, (self.steps + 100) / (self.steps + 110))
        for slow, fast in zip(self.average.parameters(), self.student.parameters(), strict=True):
            slow.lerp_(fast, 1 - keep)

    def examine(self) -> tuple[Errors, Errors]:
        """Measures the average's errors on the crops held out, clean and attacked, always alike."""
        clean, attacked = [], []
        rng = torch.Generator().manual_seed(0)
        for whole in torch.split(self.held_out, 8):
            goals = teacher_features(self.teacher, self.strokes, whole)
            crops = without_margin(whole)
            radius = torch.full((len(whole), 1, 1, 1), 1.5, device=self.device)
            moved = attack(self.average, crops, goals, radius, 2, rng)
            with torch.no_grad():
                clean.append(feature_errors(self.average, crops, goals))
                attacked.append(feature_errors(self.average, moved, goals))
        return means(clean), means(attacked)

    def save(self, folder: Path) -> None:
        """Writes a checkpoint to go on from, and the averaged weights to dream with."""
        state = {
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
            "seen": self.crops_seen,
            "chance": self.crops.rng.bit_generator.state,
            "torch_chance": torch.get_rng_state(),
            "settings": asdict(self.settings),
        }
        torch.save(state, folder / f"{CHECKPOINT}.part")
        (folder / f"{CHECKPOINT}.part").replace(folder / CHECKPOINT)
        short = {k: v.cpu().bfloat16().contiguous() for k, v in self.average.state_dict().items()}
        save_file(short, folder / f"{AVERAGED}.part")
        (folder / f"{AVERAGED}.part").replace(folder / AVERAGED)

    def load(self, folder: Path) -> None:
        """Goes on from the checkpoint in a folder; raises BadParameter for one of another width."""
        state = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
        if (width := width_of(state["student"])) != WIDTH:
            raise typer.BadParameter(
                f"{folder / CHECKPOINT} is of a pocket whose `creatures` squeezes to {width} channels, "
                f"and not to {WIDTH}: another --out, and its averaged weights with --begin, would do"
            )
        for part in ("student", "average", "optimiser"):
            getattr(self, part).load_state_dict(state[part])
        self.steps, self.crops_seen = state["steps"], state["seen"]
        self.started_at = self.steps
        self.crops.rng.bit_generator.state = state["chance"]
        torch.set_rng_state(state["torch_chance"])


def means(errors: Sequence[Features] | Sequence[Errors]) -> Errors:
    """Gives the mean of each stage over several batches."""
    return {name: sum(float(e[name]) for e in errors) / len(errors) for name in errors[0]}


def on_one_line(errors: Errors) -> str:
    """Writes errors side by side."""
    return "  ".join(f"{name} {value:.3f}" for name, value in errors.items())


def prepare(
    settings: Settings, folder: Path | None, begin: Path, teacher_weights: Path | None, device: str
) -> AdversarialTraining:
    """Makes a training at its first step.

    folder: of photographs. begin: weights of a pocket. Raises BadParameter where those are wider than
    `WIDTH`.
    """
    weights = load_file(begin)
    if (width := width_of(weights)) > WIDTH:
        raise typer.BadParameter(
            f"{begin} is of a pocket whose `creatures` squeezes to {width} channels: at most {WIDTH} would do"
        )
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    photos = photographs(folder)
    held_out = photos[5::38]  # 24 of 900
    learnt = [photo for index, photo in enumerate(photos) if index % 38 != 5]
    crops = Crops(learnt, [draw_picture(rng) for _ in range(200)], rng)
    teacher, student = Teacher(teacher_weights), Pocket()
    widen(student, weights)
    student.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(student.parameters(), lr=settings.rate, weight_decay=1e-5)
    return AdversarialTraining(
        settings,
        student,
        copy.deepcopy(student).requires_grad_(False),
        teacher.to(device),
        strokes_kept(student, teacher),
        crops,
        as_batch([central_square(photo, 144 + sum(MARGIN)) for photo in held_out]).to(device),
        optimiser,
    )


def record_errors(training: AdversarialTraining, folder: Path) -> str:
    """Adds the errors of the crops held out to `progress.tsv`, and gives them as text."""
    clean, attacked = training.examine()
    table = folder / "progress.tsv"
    if not table.exists():
        columns = [f"{kind} {name}" for kind in ("clean", "attacked") for name in clean]
        table.write_text("\t".join(["time", "steps", "crops", *columns]) + "\n")
    row = [time.strftime("%Y-%m-%d %H:%M:%S"), str(training.steps), str(training.crops_seen)]
    row += [f"{value:.4f}" for value in (*clean.values(), *attacked.values())]
    with table.open("a") as file:
        file.write("\t".join(row) + "\n")
    return f"held out, clean:    {on_one_line(clean)}\nheld out, attacked: {on_one_line(attacked)}"


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Notes SIGTERM and Ctrl-C instead of ending; gives a function that says whether one has come."""
    received: list[int] = []
    before = {
        number: signal.signal(number, lambda which, _: received.append(which))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(training: AdversarialTraining, schedule: Schedule, out: Path) -> None:
    """Learns until all crops are seen or the process is asked to end; saves by the clock."""
    typer.echo(record_errors(training, out))
    saved = copied = reported = time.monotonic()
    recent: list[Errors] = []
    over = False
    with stop_signals() as stopping:
        while not over:
            over = stopping() or training.crops_seen >= training.settings.crops
            if not over:
                recent.append(training.step())
            now = time.monotonic()
            if recent and (over or len(recent) == REPORT_EVERY):
                speed = len(recent) * training.settings.batch / (now - reported)
                typer.echo(report(training, speed, means(recent)))
                recent, reported = [], now
            if over or now - saved > schedule.save:
                training.save(out)
                typer.echo(record_errors(training, out))
                saved = reported = time.monotonic()
            if over or now - copied > schedule.copy:
                numbered = Path(AVERAGED).with_stem(f"pocket-{training.crops_seen:07d}")
                shutil.copy(out / AVERAGED, out / numbered)
                copied = now


def report(training: AdversarialTraining, speed: float, errors: Errors) -> str:
    """Says how far a training has come. speed: in crops a second. errors: means of the last steps."""
    head = f"{time.strftime('%H:%M:%S')} step {training.steps} rate {training.learning_rate():.1e}"
    return f"{head} {speed:.1f} crops/s  {on_one_line(errors)}"


def main(
    pictures: Annotated[Path | None, typer.Option(help="A folder of further photographs.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for all that is written.")] = Path(
        "adversarial-training"
    ),
    begin: Annotated[Path, typer.Option(help="Weights of a pocket to begin with.")] = WEIGHTS,
    teacher_weights: Annotated[
        Path | None, typer.Option(help="Another squeezenet1_0 file than the one that ships.")
    ] = None,
    crops: Annotated[int, typer.Option(help="To learn from, in all.")] = Settings.crops,
    batch: Annotated[int, typer.Option(help="Crops a step.")] = Settings.batch,
    rate: Annotated[float, typer.Option(help="Of learning, at its highest.")] = Settings.rate,
    radius: Annotated[float, typer.Option(help="Of the attack, at most.")] = Settings.radius,
    save: Annotated[float, typer.Option(help="Seconds between two savings.")] = Schedule.save,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seed: int = 0,
) -> None:
    """Teaches pocket against an adversary; goes on from the checkpoint in --out, if there is one."""
    cv2.setNumThreads(1)  # crops are too small to share
    out.mkdir(parents=True, exist_ok=True)
    settings = Settings(crops=crops, batch=batch, rate=rate, radius=radius, seed=seed)
    training = prepare(settings, pictures, begin, teacher_weights, device)
    if (out / CHECKPOINT).exists():
        training.load(out)
    run(training, Schedule(save=save), out)


if __name__ == "__main__":
    typer.run(main)
