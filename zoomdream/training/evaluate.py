"""Measures how near pocket is to its teacher, on pictures that training never saw.

`python -m zoomdream.training.evaluate --sheet dreams.png` prints, for each stage: the share of the
teacher's mean square that is missed; the cosine between both networks' gradients of the stage's
energy with respect to the picture, as they are and at half size; and how many of the five best
classes agree. The sheet shows what both dream, with the same settings.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, cast

import cv2
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from zoomdream.dreaming.ascent import dream
from zoomdream.dreaming.session import DreamSession
from zoomdream.media.frame import as_frame, resize
from zoomdream.media.sheet import Cell, contact_sheet
from zoomdream.network.catalog import network_info
from zoomdream.network.device import choose_place
from zoomdream.network.network import load_network
from zoomdream.network.pocket.architecture import WEIGHTS, Pocket
from zoomdream.network.weights import load_module
from zoomdream.settings.definitions import DreamSpec
from zoomdream.size import Size
from zoomdream.training.pictures import UNSEEN, Picture, photographs
from zoomdream.training.teacher import (
    DEVIATION_PLANES,
    MARGIN,
    MEAN_PLANES,
    SIZE,
    TAPS,
    Teacher,
    interior,
    pocket_info,
    strokes_kept,
)

DREAMS = DreamSpec(octaves=4, octave_scale=1.4, steps=10, step_size=0.008)  # of the sheet
COLUMNS = "eyes", "creatures"  # dreamt by both
SIDE = 320  # px of a picture on the sheet


@dataclass(frozen=True)
class Score:
    """How near one stage is, as means over all crops."""

    stage: str
    error: float  # share of the teacher's mean square that is missed
    cosine: float  # between both gradients of the stage's energy
    half_cosine: float  # the same at half size
    classes: float | None = None  # share of the five best that agree, of the last stage


def crops(pictures: list[Picture]) -> Iterator[Tensor]:
    """Cuts normalised crops, (1, 3, S, S), side by side over each picture at full and half size."""
    side = SIZE + sum(MARGIN)
    for picture in pictures:
        frame = as_frame(picture)
        for share in (1.0, 0.5):
            size = Size.of(frame).scaled(share, least=side)
            shrunk = (resize(frame, size).clamp(0, 1) - MEAN_PLANES) / DEVIATION_PLANES
            for top in range(0, size.height - side + 1, side):
                for left in range(0, size.width - side + 1, side):
                    yield shrunk[..., top : top + side, left : left + side].contiguous()


def compare(student: Pocket, teacher: Teacher, pictures: list[Picture]) -> list[Score]:
    """Compares every stage of the student with its teacher."""
    strokes = strokes_kept(student, teacher)
    sums = {name: torch.zeros(4, dtype=torch.float64) for name in [*TAPS, "class"]}
    count = 0
    for whole in crops(pictures):
        count += 1
        start, end = MARGIN[0], MARGIN[0] + SIZE
        part = whole[..., start:end, start:end].clone().requires_grad_(True)
        whole.requires_grad_(True)
        theirs, ours = teacher(whole), dict(student.features(part))
        theirs["strokes"] = theirs["strokes"][:, strokes]
        for name, row in sums.items():
            goal, mine = (interior(name, values[name]).relu() for values in (theirs, ours))
            row[0] += float((mine - goal).detach().square().mean() / goal.detach().square().mean())
            (whole_slope,) = torch.autograd.grad(goal.square().sum(), whole, retain_graph=True)
            (slope,) = torch.autograd.grad(mine.square().sum(), part, retain_graph=True)
            teacher_slope = whole_slope[..., start:end, start:end]
            row[1] += _cosine(slope, teacher_slope)
            row[2] += _cosine(F.avg_pool2d(slope, 2), F.avg_pool2d(teacher_slope, 2))
        best = [
            set(values["class"].relu().mean((2, 3)).topk(5).indices[0].tolist())
            for values in (theirs, ours)
        ]
        sums["class"][3] += len(best[0] & best[1]) / 5
    means = {name: (row / count).tolist() for name, row in sums.items()}
    return [
        Score(name, missed, cosine, half, classes if name == "class" else None)
        for name, (missed, cosine, half, classes) in means.items()
    ]


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(F.cosine_similarity(a.flatten(1), b.flatten(1)).mean())


def dreams(pictures: list[Picture], weights: Path, teacher_weights: Path | None) -> Iterator[Cell]:
    """Gives, for each picture, itself, and each of `COLUMNS` as the teacher and as pocket dreams it.

    weights: of pocket, of any width.
    """
    at = choose_place("cpu")
    networks = [
        (info.name, stage, load_network(info, [layer], weights=source, at=at))
        for stage in COLUMNS
        for info, source, layer in (
            (network_info("squeezenet1_0"), teacher_weights, f"features.{TAPS[stage]}"),
            (pocket_info(weights), weights, stage),
        )
    ]
    for picture in pictures:
        whole = as_frame(picture)
        size = Size.of(whole)
        frame = resize(whole, size.scaled(SIDE / size.longer)).clamp(0, 1)
        yield Cell(frame, ("picture",))
        for name, stage, network in networks:
            session = DreamSession(network)
            session.balance(frame)
            dreamt = dream(frame, session, DREAMS, torch.Generator().manual_seed(0)).frame
            yield Cell(dreamt, (f"{stage}, {name}",))


def main(
    weights: Annotated[Path, typer.Option(help="Of pocket, or of an earlier one.")] = WEIGHTS,
    teacher_weights: Annotated[
        Path | None, typer.Option(help="Another squeezenet1_0 file than the one that ships.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="A folder of further photographs that were not learnt from.")
    ] = None,
    also: Annotated[
        Path | None, typer.Option(help="A folder of photographs for the sheet only.")
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="Where to put a sheet of dreams.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compares pocket with its teacher."""
    unseen = photographs(pictures, UNSEEN)
    student = cast(Pocket, load_module(pocket_info(weights), weights).requires_grad_(False))
    scores = compare(student, Teacher(teacher_weights), unseen)
    if as_json:
        print(json.dumps([asdict(score) for score in scores]))  # noqa: T201
    else:
        table = Table("stage", "missed", "cosine", "at half size", "top 5 agree", box=None)
        for s in scores:
            agree = "" if s.classes is None else f"{s.classes:.2f}"
            numbers = (f"{v:.3f}" for v in (s.error, s.cosine, s.half_cosine))
            table.add_row(s.stage, *numbers, agree)
        Console().print(table)
    if sheet:
        shown = unseen + photographs(also, ("astronaut",))
        cells = list(dreams(shown, weights, teacher_weights))
        canvas = contact_sheet(cells, 1 + 2 * len(COLUMNS), SIDE)
        if not cv2.imwrite(str(sheet), cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR)):
            raise typer.BadParameter(
                f"{sheet} cannot be written: name a .png in a folder that is there"
            )


if __name__ == "__main__":
    typer.run(main)
