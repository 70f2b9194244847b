"""What is wanted of a network: layers, channels and classes, and the energy that climbing raises."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from zoomdream.errors import UsageError
from zoomdream.spec import nearest

CLASS = "class"  # the layer of a classifier's answers, whatever the network calls it


@cache
def class_names() -> tuple[str, ...]:
    """ImageNet's 1000 classes, in the order of every classifier's channels."""
    from torchvision.models import SqueezeNet1_0_Weights

    return tuple(SqueezeNet1_0_Weights.IMAGENET1K_V1.meta["categories"])


def class_number(name: str) -> int:
    """The channel of an ImageNet class; case, hyphens and underscores do not matter.

    Raises UsageError with the nearest names, or with the numbers where two classes share a name.
    """
    names = class_names()
    found = [n for n, known in enumerate(names) if known == name] or [
        n for n, known in enumerate(names) if _plain(known) == _plain(name)
    ]
    if not found:
        raise UsageError(f'ImageNet has no class "{name}": {_nearest_class(name)}')
    if len(found) > 1:
        raise UsageError(
            f'"{name}" is class ' + " and class ".join(map(str, found)) + f": say class:{found[0]}"
        )
    return found[0]


def _plain(name: str) -> str:
    return name.lower().replace("-", " ").replace("_", " ").replace("'", "")


def _nearest_class(name: str) -> str:
    """Classes that have the word, before those that are only spelt alike."""
    word = _plain(name)
    having = [known for known in class_names() if word in _plain(known)]
    if word and having:
        return f"did you mean {' or '.join(having[:4])}?"
    return nearest(name, class_names())


@dataclass(frozen=True)
class Target:
    """One term of an objective: a layer, or one channel of it, and its weight.

    called: the class whose channel it is, where it was given by name.
    """

    layer: str
    channel: int | None = None
    weight: float = 1.0
    called: str = ""

    @classmethod
    def parse(cls, text: str) -> "Target":
        """From NAME, NAME=WEIGHT, NAME:CHANNEL, NAME:CHANNEL=WEIGHT or class:lion; raises UsageError."""
        place, _, weight = text.partition("=")
        layer, colon, channel = place.partition(":")
        called = channel if layer == CLASS and channel and not channel.isdigit() else ""
        try:
            number = float(weight) if "=" in text else 1.0
            index = class_number(called) if called else int(channel) if colon else None
        except ValueError:
            number, index = float("nan"), None
        if not layer or not abs(number) < 1e6 or (index is not None and index < 0):
            raise UsageError(
                f'layer "{text}" is not NAME, NAME=WEIGHT or NAME:CHANNEL, as in eyes=0.5, eyes:12 '
                "or class:lion"
            )
        return cls(layer, index, number, called)

    def __str__(self) -> str:
        channel = "" if self.channel is None else f":{self.called or self.channel}"
        return f"{self.layer}{channel}" + ("" if self.weight == 1 else f"={self.weight:g}")


def seed_of(target: Target, value: Tensor) -> Tensor:
    """The derivative of a target's energy by its layer's values, (1, C, H, W)."""
    if target.layer == CLASS and target.channel is None:
        return value.relu()
    if target.channel is None:
        return value
    seed = torch.zeros_like(value)
    alone = value[:, target.channel]
    seed[:, target.channel] = torch.ones_like(alone) if target.layer == CLASS else alone
    return seed


def energy_of(target: Target, value: Tensor) -> float:
    """What is reported of a target: mean squared activation; of a class, softplus of its answer."""
    if target.channel is not None:
        value = value[:, target.channel]
        if target.layer == CLASS:
            return float(nn.functional.softplus(value.mean(dtype=torch.float32)))
    elif target.layer == CLASS:
        value = value.relu()
    if value.dtype == torch.float16:  # whose squares would overflow
        value = value.float()
    return float(value.square().mean(dtype=torch.float32))
