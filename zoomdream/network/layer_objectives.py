"""Layers, channels, directions and classes as objectives, and how they are written: `eyes:3+7-0.5*12`."""

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from zoomdream.errors import UsageError
from zoomdream.network.classes import CLASS, class_names, class_number
from zoomdream.network.objective import (
    Activations,
    Objective,
    Wish,
    check_weight,
    is_finite_number,
)

Term = tuple[int, float]  # a channel and its share of a direction
_TERM = re.compile(r"(?:(\d+(?:\.\d+)?)\*)?(.+)")
_SPLIT = re.compile(r"([+]|-(?=\d+(?:\.\d+)?\*|\d+(?![^+-])))")


@dataclass(frozen=True)
class Target(Objective):
    """One thing that is wanted of a network, and how much: a layer, a channel of it, or a direction.

    terms: the channels that are meant, each with its share, which may be negative; none for the whole
    layer, ((12, 1.0),) for one channel; anything else is a direction. called: the words that the classes
    were named by, if they were.
    """

    layer: str
    terms: tuple[Term, ...] = ()
    weight: float = 1.0
    called: str = ""

    def __post_init__(self) -> None:
        """Raises UsageError for a layer without a name, and numbers that are none or not finite."""
        if not isinstance(self.layer, str) or not self.layer:
            raise UsageError(f'layer {self.layer!r:.60} is no name such as "eyes"')
        for number, share in self.terms:
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                raise UsageError(
                    f"channel {number!r:.60} of {self.layer}: a whole number, 0 or more, would do"
                )
            if not is_finite_number(share):
                raise UsageError(
                    f"the share of channel {number} of {self.layer} is {share!r:.60}: a finite number "
                    "would do"
                )
        if self.terms and not any(share for _, share in self.terms):
            raise UsageError(f"all shares of a direction of {self.layer} are 0: it leads nowhere")
        check_weight(self.name, self.weight)

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Reads NAME, NAME:CHANNEL, NAME:DIRECTION or class:lion, and then =WEIGHT, if it is not 1.

        A DIRECTION is a sum of channels, each with a factor or not: eyes:3+7-0.5*12, class:lion+0.5*tabby.
        What is taken away begins with a digit: class:lion-1*tabby, since names have hyphens. Something has
        to be wanted, too. Raises UsageError.
        """
        if not isinstance(text, str):
            raise UsageError(f'layer {text!r:.60} is no name such as "eyes"')
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

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    @property
    def is_layer(self) -> bool:
        return not self.terms

    @property
    def replays(self) -> bool:
        return True

    def check(self, channels: Mapping[str, int], network: str) -> None:
        count = channels[self.layer]
        if self.called and count != len(class_names()):
            raise UsageError(
                f"these weights have {count} classes, which are not ImageNet's: "
                f"give a number instead of class:{self.called}"
            )
        for channel, _ in self.terms:
            if channel >= count:
                raise UsageError(
                    f"{self.layer} of {network} has channels 0 to {count - 1}: {channel} is too high"
                )

    def seeds(
        self, activations: Activations, channel_weights: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Gives of a layer or a channel the activation itself: what is there grows.

        The energy is half the sum of squares, whose derivative that is (Mordvintsev et al. 2015). A class
        or a direction grows everywhere: its energy is the activation's dot product with the direction
        (lucid, `direction`), of a class its answer before softmax (Simonyan et al. 2014), so that one that
        is nowhere yet can be dreamt too.
        """
        value = activations[self.layer]
        if not self.terms:
            seed = value.relu() if self.layer == CLASS else value
            return {self.layer: seed if channel_weights is None else seed * channel_weights}
        if self.is_direction or self.layer == CLASS:
            return {self.layer: self.vector(value).expand_as(value)}
        seed = torch.zeros_like(value)
        seed[:, self.channel] = value[:, self.channel]
        return {self.layer: seed}

    def strength_seeds(self, activations: Activations) -> tuple[dict[str, Tensor], float]:
        """Gives of a channel or direction those of the whole layer: it may be silent on this picture."""
        if not self.terms or self.layer == CLASS:
            return self.seeds(activations), 1.0
        value = activations[self.layer]
        seed = torch.ones_like(value) if self.is_direction else value  # as its own seed is
        return {self.layer: seed}, value.shape[1] ** 0.5

    def energy(self, activations: Activations) -> Tensor:
        """Measures the mean squared activation; of a class or direction, softplus of its mean."""
        value = activations[self.layer]
        if self.is_direction or (self.terms and self.layer == CLASS):
            along = (value.float() * self.vector(value).float()).sum(1)
            return nn.functional.softplus(along.mean())
        if self.terms:
            value = value[:, self.channel]
        elif self.layer == CLASS:
            value = value.relu()
        if value.dtype == torch.float16:  # whose squares would overflow
            value = value.float()
        return value.square().mean(dtype=torch.float32)

    def vector(self, value: Tensor) -> Tensor:
        """The direction in a layer's space, (1, C, 1, 1), of length 1; like `value`, (N, C, H, W)."""
        return _vector(self.terms, value.shape[1], value.dtype, value.device)


@cache  # never freed, since a recording may read them
def _vector(
    terms: tuple[Term, ...], channels: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    vector = torch.zeros(1, channels, 1, 1)
    for channel, share in terms:
        vector[:, channel] += share
    vector /= vector.norm().clamp_min(1e-12)
    return vector.to(device, dtype)


def _split(wanted: str) -> list[tuple[float, str]]:
    """Splits a sum into its terms: shares, and channels as they were written."""
    parts, sign, terms = _SPLIT.split(wanted), 1.0, []
    for number, part in enumerate(parts):
        if number % 2:
            sign = -1.0 if part == "-" else 1.0
        elif part or number or len(parts) == 1:  # nothing stands before a leading sign
            match = _TERM.fullmatch(part)
            terms.append((sign * float(match[1] or 1), match[2]) if match else (sign, ""))
    return terms


def _terms(wanted: str, of_classes: bool) -> tuple[Term, ...]:
    """Reads a sum's terms. Raises ValueError where there is no number, UsageError for unknown classes."""
    shares: dict[int, float] = {}
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
        shares[channel] = shares.get(channel, 0.0) + share
    if not any(share > 0 for share in shares.values()):  # a lone -1 is a mistake, not a wish
        raise ValueError(wanted)
    return tuple(shares.items())


def _written(terms: tuple[Term, ...]) -> str:
    """Writes terms as `Target.parse` reads them."""
    text = ""
    for channel, share in terms:
        factor = "" if abs(share) == 1 else f"{f'{abs(share):.12f}'.rstrip('0').rstrip('.')}*"
        text += ("-" if share < 0 else "+" if text else "") + factor + str(channel)
    return text


def layer(name: str) -> Target:
    """Wants a whole layer: whatever activates it grows."""
    return Target(name)


def channel(layer: str, number: int) -> Target:
    """Wants one channel of a layer, by its number from 0; raises UsageError for what is no such number."""
    return Target(layer, ((_index(number), 1.0),))


def direction(layer: str, channels: Mapping[int, float]) -> Target:
    """Wants a sum of a layer's channels, each with its share, which may be negative.

    Raises UsageError where no channel has a share, and for what is no number.
    """
    if not isinstance(channels, Mapping) or not channels:
        raise UsageError(
            f"a direction of {layer} is {channels!r:.60}: channels with their shares would do, such as "
            "{3: 1, 7: -0.5}"
        )
    return Target(layer, tuple((_index(number), share) for number, share in channels.items()))


def _index(number: Any) -> Any:
    """Makes an int of any kind of whole number; what is none stays, and is refused by `Target`."""
    try:
        return number if isinstance(number, bool) else operator.index(number)
    except TypeError:
        return number


def imagenet_class(name: str | int) -> Target:
    """Wants one of ImageNet's classes, by name or number; raises UsageError with the nearest names."""
    if not isinstance(name, str):
        return channel(CLASS, name)
    return Target(CLASS, ((class_number(name), 1.0),), called=name)


Wanted = str | Wish | Sequence[str | Wish] | Mapping[str, float]
"""Ways to say what is wanted: `"eyes"`, `"eyes=0.5"`, a list of them, a table of weights, an objective."""


def objectives_of(wanted: Wanted, default: Sequence[str] = ()) -> tuple[Objective, ...]:
    """Reads what is wanted as objectives; those of `default` where that is nothing.

    Raises UsageError for what cannot be read, and where nothing has a weight above 0.
    """
    parts: list[Objective] = []
    for part in _listed(wanted) or default:
        parts += _parts(part)
    for objective in parts:
        check_weight(objective.name, getattr(objective, "weight", None))
    if all(part.weight <= 0 for part in parts):
        raise UsageError("no layer has a weight above 0: there is nothing to dream")
    return tuple(parts)


def _parts(wanted: str | Wish) -> Sequence[Objective]:
    """Reads one thing that is wanted. Raises UsageError for what is neither a name nor an objective."""
    if isinstance(wanted, str):
        return [Target.parse(wanted)]
    if isinstance(wanted, Wish):
        return wanted.parts
    if callable(wanted):
        raise UsageError(
            f"layers: {getattr(wanted, '__name__', wanted)!s:.60} is a bare function: wrap it, as in "
            "zd.objective(function, layers)"
        )
    raise UsageError(
        f'layers: {wanted!r:.60} says nothing to dream of: names such as "eyes", or objectives, would do'
    )


def _listed(wanted: Wanted | None) -> Sequence[str | Wish]:
    """Lists what is wanted, one by one; of a table each name with its weight."""
    if wanted is None:
        return []
    if isinstance(wanted, Mapping):
        return [_weighted(name, weight) for name, weight in wanted.items()]
    if isinstance(wanted, Iterable) and not isinstance(wanted, str | Wish):
        return list(wanted)
    return [wanted]


def _weighted(name: str, weight: float) -> Target:
    """Reads a name and a weight of a table."""
    target = Target.parse(name)
    check_weight(f"layer {name}", weight)
    return target * weight
