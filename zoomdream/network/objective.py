"""What is wanted of a network: layers, channels, directions, classes; and the energy that ascent raises."""

import re
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from zoomdream.errors import UsageError, nearest

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


Term = tuple[int, float]  # a channel and its share of a direction
_TERM = re.compile(r"(?:(\d+(?:\.\d+)?)\*)?(.+)")
_SPLIT = re.compile(r"([+]|-(?=\d+(?:\.\d+)?\*|\d+(?![^+-])))")


@dataclass(frozen=True)
class Target:
    """One thing that is wanted of a network, and how much: a layer, a channel of it, or a direction.

    terms: the channels that are meant, each with its share, which may be negative; none for the whole
    layer, ((12, 1.0),) for one channel; anything else is a direction. called: the words that the classes
    were named by, if they were.
    """

    layer: str
    terms: tuple[Term, ...] = ()
    weight: float = 1.0
    called: str = ""

    @classmethod
    def parse(cls, text: str) -> "Target":
        """From NAME, NAME:CHANNEL, NAME:DIRECTION or class:lion, and then =WEIGHT, if it is not 1.

        A DIRECTION is a sum of channels, each with a factor or not: eyes:3+7-0.5*12, class:lion+0.5*tabby.
        What is taken away begins with a digit: class:lion-1*tabby, since names have hyphens. Something has
        to be wanted, too. Raises UsageError.
        """
        place, _, weight = text.partition("=")
        layer, colon, wanted = place.partition(":")
        named = layer == CLASS and any(not word.isdigit() for _, word in _split(wanted))
        try:
            number = float(weight) if "=" in text else 1.0
            terms = _terms(wanted, layer == CLASS) if colon else ()
        except ValueError:
            number, terms = float("nan"), ()
        if not layer or not abs(number) < 1e6:
            raise UsageError(
                f'layer "{text}" is not NAME, NAME=WEIGHT, NAME:CHANNEL or a sum of channels, as in '
                "eyes=0.5, eyes:12, eyes:3+7-0.5*12 or class:lion"
            )
        return cls(layer, terms, number, wanted if named else "")

    @property
    def channel(self) -> int | None:
        """The channel, or a direction's first; None for a whole layer."""
        return self.terms[0][0] if self.terms else None

    @property
    def is_direction(self) -> bool:
        return len(self.terms) > 1 or any(share != 1 for _, share in self.terms)

    @property
    def name(self) -> str:
        """As it is written, without its weight."""
        if not self.terms:
            return self.layer
        return f"{self.layer}:{self.called or _written(self.terms)}"

    def __str__(self) -> str:
        return self.name + ("" if self.weight == 1 else f"={self.weight:g}")

    def check(self, channels: int, network: str) -> None:
        """Raises UsageError where a layer of so many channels has not those that are meant."""
        if self.called and channels != len(class_names()):
            raise UsageError(
                f"these weights have {channels} classes, which are not ImageNet's: "
                f"give a number instead of class:{self.called}"
            )
        for channel, _ in self.terms:
            if channel >= channels:
                raise UsageError(
                    f"{self.layer} of {network} has channels 0 to {channels - 1}: {channel} is too high"
                )

    def vector(self, value: Tensor) -> Tensor:
        """The direction in a layer's space, (1, C, 1, 1), of length 1; like `value`, (N, C, H, W)."""
        return _vector(self.terms, value.shape[1], value.dtype, value.device)


@cache  # kept for good: a recording may read them
def _vector(
    terms: tuple[Term, ...], channels: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    made = torch.zeros(1, channels, 1, 1)
    for channel, share in terms:
        made[:, channel] += share
    made /= made.norm().clamp_min(1e-12)
    return made.to(device, dtype)


def _split(wanted: str) -> list[tuple[float, str]]:
    """The terms of a sum: shares, and channels as they were written."""
    parts, sign, found = _SPLIT.split(wanted), 1.0, []
    for number, part in enumerate(parts):
        if number % 2:
            sign = -1.0 if part == "-" else 1.0
        elif part or number or len(parts) == 1:  # nothing stands before a leading sign
            match = _TERM.fullmatch(part)
            found.append((sign * float(match[1] or 1), match[2]) if match else (sign, ""))
    return found


def _terms(wanted: str, of_classes: bool) -> tuple[Term, ...]:
    """Raises ValueError where there is no number, UsageError for unknown classes."""
    found: dict[int, float] = {}
    for share, word in _split(wanted):
        named = of_classes and word and not word.isdigit()
        channel = (
            class_number(word)
            if named
            else int(word)
            if re.fullmatch(r"\d+", word, re.ASCII)
            else -1
        )
        if channel < 0:
            raise ValueError(wanted)
        found[channel] = found.get(channel, 0.0) + share
    if not any(share > 0 for share in found.values()):  # a lone -1 is a mistake, not a wish
        raise ValueError(wanted)
    return tuple(found.items())


def _written(terms: tuple[Term, ...]) -> str:
    """As `Target.parse` reads it."""
    text = ""
    for channel, share in terms:
        factor = "" if abs(share) == 1 else f"{abs(share):.12g}*"
        text += ("-" if share < 0 else "+" if text else "") + factor + str(channel)
    return text


def seed_of(target: Target, value: Tensor) -> Tensor:
    """The derivative of a target's energy by its layer's values, (1, C, H, W).

    Of a layer or a channel it is the value itself: what is there grows. A class or a direction grows
    everywhere: its energy is the value's dot product with the direction (lucid, `direction`).
    """
    if not target.terms:
        return value.relu() if target.layer == CLASS else value
    if target.is_direction or target.layer == CLASS:
        return target.vector(value).expand_as(value)
    seed = torch.zeros_like(value)
    seed[:, target.channel] = value[:, target.channel]
    return seed


def energy_of(target: Target, value: Tensor) -> Tensor:
    """What is told of a target: mean squared activation; of a class or direction, softplus of its mean.

    A single number, float32, on the value's device.
    """
    if target.is_direction or (target.terms and target.layer == CLASS):
        along = (value.float() * target.vector(value).float()).sum(1)
        return nn.functional.softplus(along.mean())
    if target.terms:
        value = value[:, target.channel]
    elif target.layer == CLASS:
        value = value.relu()
    if value.dtype == torch.float16:  # whose squares would overflow
        value = value.float()
    return value.square().mean(dtype=torch.float32)
