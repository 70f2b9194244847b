"""The recipe of pocket: `python -m zoomdream.training.train --minutes 60`.

1. *Inherit.* Pocket begins as its teacher, SqueezeNet 1.0 trained on ImageNet, without the early
   channels that matter least. Each squeeze layer is then solved for by least squares, from pocket's own
   channels to what the teacher squeezes, which makes up for channels that are gone and for blurring
   where the teacher takes a maximum (as in Luo et al. 2017, ThiNet).
2. *Learn.* All layers together learn the teacher's features and class maps (squared error over the
   mean square), and its *input gradient*, the very thing that dreaming uses: one minus the cosine
   between both networks' gradients of the energy of some channels, after a small blur, at two scales
   (Sobolev training, Czarnecki et al. 2017).

`--begin` goes on from finished weights instead of step 1, those of a narrower pocket too.

Pictures come from `pictures.py`, and from the teacher and the student, which dream new ones as they
go. Runs on CPU or GPU, saves itself every few minutes and goes on with `--resume`.
"""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from zoomdream.network.pocket.network import Pocket
from zoomdream.size import Size
from zoomdream.training.pictures import Picture, drawn, photographs
from zoomdream.training.teacher import (
    DEVIATION_PLANES,
    MARGIN,
    MEAN_PLANES,
    SIZE,
    Features,
    Teacher,
    inherit,
    interior,
    strokes_kept,
    widen,
)

DREAMT = ("scales", "eyes", "faces", "creatures", "class")
RATE = 6e-4  # of learning, at its highest
GRADIENT_WEIGHT = 4.0
POOL = 700  # pictures kept
DREAM_EVERY = 120  # steps
FAINT, SOFT = 0.2, 0.12  # shares of crops of little contrast, and without detail
Grid = np.ndarray[Any, Any]  # (H, W, 3) float32 in 0..1


class Pool:
    """Pictures as a pyramid each, and batches of crops of them, turned and recoloured by chance."""

    def __init__(self, pictures: list[Picture], seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.kept = len(pictures)
        self.pictures: list[list[Grid]] = []
        for picture in pictures:
            self.add(picture)

    def add(self, picture: Picture) -> None:
        levels: list[Grid] = [picture.astype(np.float32) / 255]
        while Size.of_channels_last(levels[-1]).shorter > 100 and len(levels) < 4:
            levels.append(
                cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            )
        if len(self.pictures) >= POOL:
            self.pictures.pop(int(self.rng.integers(self.kept, len(self.pictures))))
        self.pictures.append(levels)

    def batch(self, count: int, size: int) -> Tensor:
        """(count, 3, size, size) in 0..1."""
        crops = torch.from_numpy(np.stack([self.crop(size) for _ in range(count)]))
        crops = crops.permute(0, 3, 1, 2).contiguous()
        crops = self.recolour(crops.clamp(0, 1))
        mixed = torch.from_numpy(self.rng.random(count) < 0.25)[:, None, None, None]
        share = torch.from_numpy(self.rng.uniform(0.2, 0.8, (count, 1, 1, 1))).float()
        crops = torch.where(mixed, crops * share + crops.flip(0) * (1 - share), crops)
        noisy = torch.from_numpy(self.rng.random((count, 1, 1, 1)) < 0.2) * 0.05
        return (crops + torch.randn_like(crops) * noisy).clamp(0, 1)

    def crop(self, size: int) -> Grid:
        """(size, size, 3) from anywhere in any picture, a little turned, maybe mirrored."""
        reach = self.kept if self.rng.random() < 0.4 else len(self.pictures)
        levels = self.pictures[int(self.rng.integers(reach))]
        level = levels[int(self.rng.integers(len(levels)))]
        scale = float(np.exp(self.rng.uniform(np.log(0.7), np.log(1.6))))
        sides = np.array(Size.of_channels_last(level))
        room = np.maximum(sides - size / scale, 0.2 * sides) / 2
        middle = sides / 2 + self.rng.uniform(-room, room)
        turn = cv2.getRotationMatrix2D(middle.tolist(), float(self.rng.normal() * 12), scale)
        turn[:, 2] = turn[:, 2] + size / 2 - middle
        crop = cv2.warpAffine(
            level, turn, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
        if self.rng.random() < SOFT:
            crop = cv2.GaussianBlur(crop, (0, 0), float(self.rng.uniform(2, 6)))
        return crop[:, ::-1] if self.rng.random() < 0.5 else crop

    def recolour(self, crops: Tensor) -> Tensor:
        count = len(crops)
        strength = self.rng.choice([0.0, 0.1, 0.35], size=(count, 1, 1))
        mix = np.eye(3) + self.rng.normal(size=(count, 3, 3)) * strength
        grey = np.full((3, 3), 1 / 3)
        saturation = self.rng.uniform(0.2, 1.6, (count, 1, 1))
        mix = mix @ (saturation * np.eye(3) + (1 - saturation) * grey)
        faint = self.rng.random((count, 1, 1)) < FAINT
        contrast = np.where(faint, 0.25, 1.0) * self.rng.uniform(0.5, 1.6, (count, 1, 1))
        mix = mix * contrast
        middle = crops.mean((2, 3), keepdim=True)
        shift = torch.from_numpy(self.rng.normal(size=(count, 3, 1, 1)) * 0.1).float()
        matrix = torch.from_numpy(mix).float()
        moved = torch.einsum("nij,njhw->nihw", matrix, crops - middle)
        return (moved + middle + shift).clamp(0, 1)


def binomial(x: Tensor) -> Tensor:
    line = torch.tensor([1.0, 2.0, 1.0], device=x.device) / 4
    kernel = (line[:, None] * line).expand(3, 1, 3, 3)
    return F.conv2d(x, kernel, groups=3)


def gradient_error(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of two (N, 3, H, W) gradients, blurred, at full and at half size; a mean."""
    error = torch.zeros((), device=student.device)
    for _ in range(2):
        student, teacher = binomial(student), binomial(teacher)
        error = error + (1 - F.cosine_similarity(student.flatten(1), teacher.flatten(1))).mean() / 2
        student, teacher = F.avg_pool2d(student, 2), F.avg_pool2d(teacher, 2)
    return error


def chosen(name: str, count: int, channels: int, rng: np.random.Generator) -> Tensor:
    """(count, channels, 1, 1) weights of an objective: all, some, or one of the channels."""
    share = 1.5 / channels if name == "class" else float(rng.choice([1.0, 1.0, 0.3, 0.05]))
    weights = rng.random((count, channels, 1, 1)) < share
    weights[np.arange(count), rng.integers(0, channels, count)] = True
    return torch.from_numpy(weights.astype(np.float32))


def dream(network: nn.Module, kind: str, start: Tensor, rng: np.random.Generator) -> Tensor:
    """Dreams of a batch (N, 3, S, S) by plain ascent on two octaves; in 0..1."""
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
            if kind == "teacher":
                value = network(inside, aligned=False)[name]
            else:
                value = dict(network.features(inside))[name]  # type: ignore[operator]
            if weights is None:
                weights = chosen(name, len(start), value.shape[1], rng).to(device)
            (gradient,) = torch.autograd.grad((value.relu().square() * weights).sum(), moved)
            gradient = F.pad(binomial(gradient), (1, 1, 1, 1))
            gradient = gradient / (gradient.abs().mean((1, 2, 3), keepdim=True) + 1e-12)
            picture = (
                (moved + rate * gradient).clamp(0, 1).detach().roll((-shift[0], -shift[1]), (2, 3))
            )
    return picture


@dataclass
class Training:
    student: Pocket
    average: Pocket  # of the weights, over the last thousand steps: what is shipped
    strokes: Tensor  # the teacher's channels that pocket has at `strokes`
    teacher: Teacher
    pool: Pool
    device: torch.device
    optimiser: torch.optim.Optimizer
    seconds: float = 0.0
    steps: int = 0

    def step(self, count: int, rate: float) -> dict[str, float]:
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
        """Of the energy of some channels of one stage, with respect to the picture."""
        start, end = MARGIN[0], MARGIN[0] + SIZE
        name = str(self.pool.rng.choice(["patterns", *DREAMT]))
        weights = chosen(name, len(part), theirs[name].shape[1], self.pool.rng).to(self.device)
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
        theirs = {**theirs, "strokes": theirs["strokes"][:, self.strokes]}
        return {
            name: (interior(name, ours[name]).relu().float() - (goal := interior(name, y).float()))
            .square()
            .mean()
            / goal.square().mean().clamp_min(1e-6)
            for name, y in theirs.items()
        }

    def grow(self, teachers: int, students: int) -> None:
        """Adds dreams of both networks to the pool."""
        for kind, network, count in (
            ("teacher", self.teacher, teachers),
            ("student", self.average, students),
        ):
            if count:
                start = self.pool.batch(count, 256).to(self.device)
                for picture in dream(network, kind, start, self.pool.rng).cpu():
                    self.pool.add((picture * 255).round().byte().permute(1, 2, 0).numpy())

    def save(self, folder: Path) -> None:
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
        state = torch.load(folder / "checkpoint.pt", weights_only=True)
        for part in ("student", "average", "optimiser"):
            getattr(self, part).load_state_dict(state[part])
        self.seconds, self.steps = state["seconds"], state["steps"]
        self.pool.rng = np.random.default_rng(self.steps)  # other crops than those seen


def prepare(
    weights: Path | None, extra: Path | None, device: torch.device, seed: int, begin: Path | None
) -> Training:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    pool = Pool(photographs(extra) + [drawn(rng) for _ in range(200)], seed)
    teacher, student = Teacher(weights), Pocket()
    pictures = (pool.batch(48, SIZE + sum(MARGIN)) - MEAN_PLANES) / DEVIATION_PLANES
    inherit(student, teacher, pictures)
    if begin:
        widen(student, load_file(begin))
    strokes = strokes_kept(student, teacher)
    student = student.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(student.parameters(), lr=1.0, weight_decay=1e-5)
    return Training(
        student, copy.deepcopy(student), strokes, teacher.to(device), pool, device, optimiser
    )


def rates(training: Training, minutes: float) -> Iterator[float]:
    """The learning rate's share, step after step until the time is over; a pause does not count."""
    while (done := training.seconds / (60 * minutes)) < 1:
        started = time.monotonic()
        yield min(1.0, (training.steps + 1) / 100) * float(np.cos(done * np.pi / 2) ** 1.5 + 0.01)
        training.seconds += min(time.monotonic() - started, 30.0)


def main(
    minutes: Annotated[
        float, typer.Option(help="Of training in all, earlier sittings included.")
    ] = 60,
    teacher_weights: Annotated[
        Path | None, typer.Option(help="A local squeezenet1_0 file.")
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
    begin: Annotated[
        Path | None, typer.Option(help="Weights of a pocket to begin with, instead of inheriting.")
    ] = None,
    seed: int = 0,
) -> None:
    """Teaches pocket; leaves `pocket.safetensors` in --out."""
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    training = prepare(teacher_weights, pictures, torch.device(device), seed, begin)
    if resume and (out / "checkpoint.pt").exists():
        training.load(out)
    training.grow(48, 0)
    seen: list[dict[str, float]] = []
    saved = time.monotonic()
    for rate in rates(training, minutes):
        seen.append(training.step(batch, rate))
        if len(seen) == 50:
            means = {
                key: sum(errors[key] for errors in seen) / len(seen)
                for key in seen[-1]
                if all(key in e for e in seen)
            }
            shown = "  ".join(f"{key} {value:.3f}" for key, value in means.items())
            console.print(
                f"{training.seconds / 60:6.1f} min  step {training.steps}  {shown}", soft_wrap=True
            )
            seen = []
        if training.steps % DREAM_EVERY == 0:
            training.grow(8, 4)
        if time.monotonic() - saved > 180:
            training.save(out)
            saved = time.monotonic()
    training.save(out)
    console.print(f"Written: {out / 'pocket.safetensors'}")


if __name__ == "__main__":
    typer.run(main)
