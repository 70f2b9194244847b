"""The recipe of pocket: `python -m zoomdream.pocket.train --minutes 60`.

The deep Fire modules begin as the teacher's own (SqueezeNet 1.0, ImageNet); the first layers begin
from nothing; then everything learns together, for each picture, to give

1. the teacher's features at six stages and its class maps (squared error over the mean square), and
2. the teacher's *input gradient*, the thing that dreaming uses: one minus the cosine between both
   networks' gradients of the energy of some channels, after a small blur (Sobolev training,
   Czarnecki et al. 2017; we compare at two scales).

Pictures come from `pictures.py`, and from the teacher and the student, which dream new ones as they
go. Runs on CPU or GPU, saves itself every few minutes and goes on with `--resume`.
"""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import SqueezeNet1_0_Weights, squeezenet1_0

from zoomdream.pocket.network import Fire, Pocket
from zoomdream.pocket.pictures import Picture, drawn, photographs

SIZE = 160  # of a training crop, px
MARGIN = 16, 32  # what the teacher sees beyond it: aligns its unpadded grid with pocket's
TAPS = {"strokes": 5, "patterns": 7, "scales": 8, "eyes": 9, "faces": 10, "creatures": 12}
STRIDE = {"strokes": 4, "patterns": 8, "scales": 8, "eyes": 8, "faces": 8}  # else 16
INHERITED = {"patterns": 7, "scales": 8, "eyes": 9, "faces": 10, "creatures": 12}
DREAMT = ("scales", "eyes", "faces", "creatures", "class")
GRADIENT_WEIGHT = 4.0
POOL = 700  # pictures kept
DREAM_EVERY = 120  # steps
FEATURES_ALONE = 700  # steps, before gradients are compared as well
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)

Features = dict[str, Tensor]


class Teacher(nn.Module):
    """SqueezeNet 1.0, its stages under pocket's names and cut to pocket's grid."""

    def __init__(self, weights: Path | None) -> None:
        super().__init__()
        network = squeezenet1_0(weights=None if weights else SqueezeNet1_0_Weights.IMAGENET1K_V1)
        if weights:
            network.load_state_dict(load_file(weights))
        self.layers = network.features
        self.classes = network.classifier[1]
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, aligned: bool = True) -> Features:
        found, names = {}, {index: name for name, index in TAPS.items()}
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in names:
                found[names[index]] = x
        found["class"] = F.relu(self.classes(x))
        return {name: cut(name, y) for name, y in found.items()} if aligned else found


def cut(name: str, x: Tensor) -> Tensor:
    stride = STRIDE.get(name, 16)
    length = SIZE // stride
    start = {4: 3, 8: 1, 16: 0}[stride]
    return x[..., start : start + length, start : start + length]


def interior(name: str, x: Tensor) -> Tensor:
    """Without the border, where the two networks pad differently."""
    edge = {4: 3, 8: 2, 16: 1}[STRIDE.get(name, 16)]
    return x[..., edge:-edge, edge:-edge]


def inherit(student: Pocket, teacher: Teacher) -> list[nn.Parameter]:
    """Copies the deep modules' weights; returns the parameters that were given any."""
    given: list[nn.Parameter] = []
    for name, index in INHERITED.items():
        mine, theirs = getattr(student, name), teacher.layers[index]
        assert isinstance(mine, Fire)
        for part in ("squeeze", "expand1x1", "expand3x3"):
            ours, source = getattr(mine, part), getattr(theirs, part)
            if ours.weight.shape == source.weight.shape:
                ours.load_state_dict(source.state_dict())
                given += ours.parameters()
    classes = getattr(student, "class")[0]
    classes.load_state_dict(teacher.classes.state_dict())
    return given + list(classes.parameters())


class Pool:
    """Pictures as a pyramid each, and batches of crops of them, turned and recoloured by chance."""

    def __init__(self, pictures: list[Picture], seed: int) -> None:
        self.chance = np.random.default_rng(seed)
        self.kept = len(pictures)
        self.pictures: list[list[Tensor]] = []
        for picture in pictures:
            self.add(picture)

    def add(self, picture: Picture) -> None:
        tensor = torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255
        levels = [tensor]
        while min(levels[-1].shape[1:]) > 100 and len(levels) < 4:
            levels.append(F.avg_pool2d(levels[-1], 2))
        if len(self.pictures) >= POOL:
            self.pictures.pop(int(self.chance.integers(self.kept, len(self.pictures))))
        self.pictures.append(levels)

    def batch(self, count: int, size: int) -> Tensor:
        """(count, 3, size, size) in 0..1."""
        crops = torch.stack([self.crop(size) for _ in range(count)])
        crops = self.recolour(crops)
        mixed = torch.from_numpy(self.chance.random(count) < 0.25)[:, None, None, None]
        share = torch.from_numpy(self.chance.uniform(0.2, 0.8, (count, 1, 1, 1))).float()
        crops = torch.where(mixed, crops * share + crops.flip(0) * (1 - share), crops)
        noisy = torch.from_numpy(self.chance.random((count, 1, 1, 1)) < 0.2) * 0.05
        return (crops + torch.randn_like(crops) * noisy).clamp(0, 1)

    def crop(self, size: int) -> Tensor:
        half = self.kept if self.chance.random() < 0.4 else len(self.pictures)
        levels = self.pictures[int(self.chance.integers(half))]
        level = levels[int(self.chance.integers(len(levels)))]
        height, width = level.shape[1:]
        scale = float(np.exp(self.chance.uniform(np.log(0.7), np.log(1.6))))
        angle = float(self.chance.normal() * 0.2)
        flip = -1.0 if self.chance.random() < 0.5 else 1.0
        reach = size / scale
        span = np.array([reach / width, reach / height])
        room = np.maximum(1 - span, 0.2)
        at = self.chance.uniform(-room, room)
        cos, sin = np.cos(angle), np.sin(angle)
        theta = torch.tensor(
            [
                [flip * span[0] * cos, -span[0] * sin, at[0]],
                [flip * span[1] * sin, span[1] * cos, at[1]],
            ],
            dtype=torch.float32,
        )
        grid = F.affine_grid(theta[None], [1, 3, size, size], align_corners=False)
        return F.grid_sample(
            level[None], grid, mode="bicubic", padding_mode="reflection", align_corners=False
        )[0].clamp(0, 1)

    def recolour(self, crops: Tensor) -> Tensor:
        count = len(crops)
        strength = self.chance.choice([0.0, 0.1, 0.35], size=(count, 1, 1))
        mix = np.eye(3) + self.chance.normal(size=(count, 3, 3)) * strength
        grey = np.full((3, 3), 1 / 3)
        saturation = self.chance.uniform(0.2, 1.6, (count, 1, 1))
        mix = mix @ (saturation * np.eye(3) + (1 - saturation) * grey)
        mix = mix * self.chance.uniform(0.5, 1.6, (count, 1, 1))
        middle = crops.mean((2, 3), keepdim=True)
        shift = torch.from_numpy(self.chance.normal(size=(count, 3, 1, 1)) * 0.1).float()
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


def chosen(name: str, count: int, channels: int, chance: np.random.Generator) -> Tensor:
    """(count, channels, 1, 1) weights of an objective: all, some, or one of the channels."""
    share = 1.5 / channels if name == "class" else float(chance.choice([1.0, 1.0, 0.3, 0.05]))
    weights = chance.random((count, channels, 1, 1)) < share
    weights[np.arange(count), chance.integers(0, channels, count)] = True
    return torch.from_numpy(weights.astype(np.float32))


def dream(network: nn.Module, kind: str, start: Tensor, chance: np.random.Generator) -> Tensor:
    """Dreams of a batch (N, 3, S, S) by plain ascent on two octaves; in 0..1."""
    name = str(chance.choice(DREAMT))
    weights: Tensor | None = None
    picture = F.interpolate(start, scale_factor=0.6, mode="area")
    rate = float(chance.uniform(0.015, 0.035))
    device = start.device
    for size in (picture.shape[-1], start.shape[-1]):
        picture = F.interpolate(picture, (size, size), mode="bicubic").clamp(0, 1)
        for _ in range(int(chance.integers(6, 14))):
            shift = tuple(map(int, chance.integers(-16, 17, 2)))
            moved = picture.roll(shift, (2, 3)).detach().requires_grad_(True)
            inside = (moved - MEAN.to(device)) / DEVIATION.to(device)
            if kind == "teacher":
                value = network(inside, aligned=False)[name]
            else:
                value = dict(network.features(inside))[name]  # type: ignore[operator]
            if weights is None:
                weights = chosen(name, len(start), value.shape[1], chance).to(device)
            (gradient,) = torch.autograd.grad((value.square() * weights).sum(), moved)
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
    head: nn.Module  # from pocket's 96 stroke channels to the teacher's 256
    teacher: Teacher
    pool: Pool
    device: torch.device
    optimiser: torch.optim.Optimizer
    seconds: float = 0.0
    steps: int = 0

    def step(self, count: int, rate: float) -> dict[str, float]:
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * rate
        whole = self.pool.batch(count, SIZE + sum(MARGIN)).to(self.device)
        whole = (whole - MEAN.to(self.device)) / DEVIATION.to(self.device)
        whole = whole.contiguous(memory_format=torch.channels_last)
        start, end = MARGIN[0], MARGIN[0] + SIZE
        part = whole[..., start:end, start:end].contiguous(memory_format=torch.channels_last)
        whole.requires_grad_(True)
        part.requires_grad_(True)
        with torch.autocast(self.device.type, torch.bfloat16):
            theirs = self.teacher(whole)
            ours = dict(self.student.features(part))
        errors = self.feature_errors(ours, {k: v.detach() for k, v in theirs.items()})
        if self.steps > FEATURES_ALONE:
            errors["gradient"] = self.gradient_error(whole, part, ours, theirs)
        loss = sum(errors.values()) + (GRADIENT_WEIGHT - 1) * errors.get("gradient", 0.0)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[union-attr]
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
        name = str(self.pool.chance.choice(["patterns", *DREAMT]))
        weights = chosen(name, len(part), theirs[name].shape[1], self.pool.chance).to(self.device)
        goal, mine = (
            torch.autograd.grad(
                (interior(name, values[name]).float().square() * weights).sum(), x, create_graph=c
            )[0][..., a + 12 : b - 12, a + 12 : b - 12]
            for values, x, c, a, b in (
                (theirs, whole, False, start, end),
                (ours, part, True, 0, SIZE),
            )
        )
        return gradient_error(mine.float(), goal.float())

    def feature_errors(self, ours: Features, theirs: Features) -> Features:
        ours = {**ours, "strokes": self.head(ours["strokes"].float())}
        return {
            name: (interior(name, ours[name]).float() - (goal := interior(name, y).float()))
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
                for picture in dream(network, kind, start, self.pool.chance).cpu():
                    self.pool.add((picture * 255).round().byte().permute(1, 2, 0).numpy())

    def save(self, folder: Path) -> None:
        state = {
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "head": self.head.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "seconds": self.seconds,
            "steps": self.steps,
        }
        torch.save(state, folder / "checkpoint.pt.part")
        (folder / "checkpoint.pt.part").replace(folder / "checkpoint.pt")
        half = {k: v.half().contiguous() for k, v in self.average.state_dict().items()}
        save_file(half, folder / "pocket.safetensors")

    def load(self, folder: Path) -> None:
        state = torch.load(folder / "checkpoint.pt", weights_only=True)
        for part in ("student", "average", "head", "optimiser"):
            getattr(self, part).load_state_dict(state[part])
        self.seconds, self.steps = state["seconds"], state["steps"]


def prepare(weights: Path | None, extra: Path | None, device: torch.device, seed: int) -> Training:
    torch.manual_seed(seed)
    chance = np.random.default_rng(seed)
    teacher, student = Teacher(weights).to(device), Pocket()
    for module in student.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    given = {id(parameter) for parameter in inherit(student, teacher)}
    student = student.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    head = nn.Sequential(nn.Conv2d(96, 256, 1), nn.ReLU()).to(device)
    new = [p for p in student.parameters() if id(p) not in given] + list(head.parameters())
    old = [p for p in student.parameters() if id(p) in given]
    optimiser = torch.optim.AdamW(
        [{"params": new, "base": 2e-3}, {"params": old, "base": 3e-4}], weight_decay=1e-4
    )
    pictures = photographs(extra)
    pictures += [drawn(chance) for _ in range(200)]
    return Training(
        student, copy.deepcopy(student), head, teacher, Pool(pictures, seed), device, optimiser
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
        bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")
    ] = False,
    seed: int = 0,
) -> None:
    """Teaches pocket; leaves `pocket.safetensors` in --out."""
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    training = prepare(teacher_weights, pictures, torch.device(device), seed)
    if resume:
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
