"""What is wanted of a network: an objective gives a gradient at the layers, and an energy that ascent raises.

Whole layers, channels, directions (sums of channels), classes and guides are objectives, and so is any
function of the activations. They add and scale:

    layer("inception4c") + 0.3 * channel("inception4a", 12)

A sum keeps its terms, each with its weight. Where a network dreams with several, each is divided by the
gradient that it has on the picture (see `dreaming.session`), so that equal weights mean equally strong
changes on any layer.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from numbers import Real
from types import CodeType
from typing import Self

import torch
from torch import Tensor

from zoomdream.errors import UsageError

Activations = Mapping[str, Tensor]
"""Layers' values by their names: each (N, C, H, W), or (N, C, 1, 1) for a whole picture's answer."""
ActivationsOf = Callable[[Tensor], Activations]
"""A network's look at pictures, (N, 3, H, W) in 0..1."""


def is_finite_number(value: object) -> bool:
    """Whether something is a number, and neither infinite nor NaN."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_weight(of: str, weight: object) -> None:
    """Raises UsageError for a weight that is no finite number. of: what has it, for the message."""
    if not is_finite_number(weight):
        raise UsageError(f"the weight of {of} is {weight!r:.60}: a finite number would do")


class Wish(ABC):
    """Something to dream of: an objective, or a sum of several. Wishes add and scale."""

    @property
    @abstractmethod
    def parts(self) -> tuple["Objective", ...]:
        """Its objectives: an objective itself alone, or the terms of a sum."""

    @abstractmethod
    def __mul__(self, factor: float) -> Self:
        """The same, wanted so many times as much."""

    def __rmul__(self, factor: float) -> Self:
        return self * factor

    def __neg__(self) -> Self:
        return self * -1.0

    def __add__(self, other: "Wish") -> "Sum":
        _check_wish(other)
        return Sum((*self.parts, *other.parts))

    def __radd__(self, other: int) -> "Sum":
        """Adds it to the 0 that the built-in `sum` begins with."""
        if other != 0:
            _check_wish(other)
        return Sum(self.parts)

    def __sub__(self, other: "Wish") -> "Sum":
        _check_wish(other)
        return self + (-other)


def _check_wish(value: object) -> None:
    """Raises UsageError for what cannot be added to an objective."""
    if not isinstance(value, Wish):
        raise UsageError(f"{value!r:.60} cannot be added to an objective: another one would do")


class Objective(Wish):
    """One thing that is wanted, and how much. `0.3 * objective` is another one, with another weight.

    A class of one's own needs `name`, `layers`, `seeds` and `energy`, and a `weight`, which a copy of it can
    be given.
    """

    weight: float
    """How much it counts beside others; where it is negative it is avoided."""

    @property
    @abstractmethod
    def name(self) -> str:
        """As it is written, without its weight."""

    @property
    def fingerprint(self) -> str:
        """Says what it is, so that a render goes on only with the same; else as it is written."""
        return str(self)

    @property
    @abstractmethod
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that it looks at."""

    @abstractmethod
    def seeds(
        self, activations: Activations, channel_weights: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The derivative of its energy by each layer's activations, of their shapes.

        channel_weights: (1, C, 1, 1), factors of the channels of its layer, where it is a whole one.
        """

    @abstractmethod
    def energy(self, activations: Activations) -> Tensor:
        """Measures how much of it there is: one number, float32, on the activations' device."""

    def strength_seeds(self, activations: Activations) -> tuple[dict[str, Tensor], float]:
        """Seeds by whose gradient its strength on a picture is measured, and a divisor of that."""
        return self.seeds(activations), 1.0

    @property
    def replays(self) -> bool:
        """Whether the same operations follow for pictures of one size, so that a GPU may record them."""
        return False

    @property
    def is_layer(self) -> bool:
        """Whether it is a whole layer, which has features that a guide can be matched with."""
        return False

    def check(self, channels: Mapping[str, int], network: str) -> None:
        """Raises UsageError where layers of so many channels have not what is wanted of them."""
        del channels, network

    def bound(self, look: ActivationsOf, least: int) -> "Objective":  # noqa: ARG002
        """The same, with what it has to know of the network that is dreamt with.

        look: gives the network's activations on a picture. least: px of a side that it takes.
        """
        return self

    @property
    def parts(self) -> tuple["Objective", ...]:
        return (self,)

    def __mul__(self, factor: float) -> Self:
        """Copies it, with another weight. Raises UsageError for a factor that is no finite number."""
        check_weight(self.name, factor)
        check_weight(self.name, getattr(self, "weight", None))
        scaled = copy(self)
        object.__setattr__(scaled, "weight", self.weight * factor)  # it may be frozen
        check_weight(self.name, scaled.weight)
        return scaled

    def __str__(self) -> str:
        return self.name + ("" if self.weight == 1 else f"={self.weight:g}")


@dataclass(frozen=True)
class Sum(Wish):
    """Several objectives together."""

    terms: tuple[Objective, ...]

    @property
    def parts(self) -> tuple[Objective, ...]:
        return self.terms

    def __mul__(self, factor: float) -> "Sum":
        return Sum(tuple(term * factor for term in self.terms))

    def __str__(self) -> str:
        return " + ".join(map(str, self.terms))


def _code_text(code: CodeType) -> str:
    """What a function does, as text that is the same in every process."""
    constants = [
        _code_text(part) if isinstance(part, CodeType) else repr(part) for part in code.co_consts
    ]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


@dataclass(frozen=True)
class FunctionObjective(Objective):
    """Any function of the activations that gives a number, which is to grow; derived by autograd.

    function: gets a dict of the layers' activations, (N, C, H, W) each, and gives a tensor with one
    element. Slower than layers and channels, whose derivatives are known.
    """

    function: Callable[[dict[str, Tensor]], Tensor]
    looks_at: tuple[str, ...]
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Raises UsageError for what is no function, and where no layers are named."""
        if not callable(self.function):
            raise UsageError(
                f"an objective's function is {self.function!r:.60}: it cannot be called"
            )
        if not self.looks_at or not all(isinstance(name, str) for name in self.looks_at):
            raise UsageError(f"an objective's layers are {self.looks_at!r:.60}: names would do")

    @property
    def name(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)

    @property
    def fingerprint(self) -> str:
        """By the function's code and constants, as far as Python tells them."""
        code = getattr(self.function, "__code__", None)
        text = _code_text(code) if code else repr(vars(self.function))
        return f"{self} {hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def layers(self) -> tuple[str, ...]:
        return self.looks_at

    def seeds(
        self,
        activations: Activations,
        channel_weights: Tensor | None = None,  # noqa: ARG002 (it has its own)
    ) -> dict[str, Tensor]:
        with torch.enable_grad():
            leaves = {
                layer: activations[layer].detach().requires_grad_(True) for layer in self.looks_at
            }
            value = self._value(leaves)
            if not value.requires_grad:
                raise UsageError(f"{self.name}: its value does not depend on the activations")
            derivatives = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        return {
            layer: torch.zeros_like(leaf) if derivative is None else derivative
            for (layer, leaf), derivative in zip(leaves.items(), derivatives, strict=True)
        }

    def energy(self, activations: Activations) -> Tensor:
        with torch.no_grad():
            return self._value({name: activations[name] for name in self.looks_at}).float()

    def _value(self, activations: dict[str, Tensor]) -> Tensor:
        value = self.function(activations)
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise UsageError(f"{self.name}: an objective gives a tensor with a single number")
        return value.reshape(())


def objective(
    function: Callable[[dict[str, Tensor]], Tensor], layers: str | Sequence[str]
) -> FunctionObjective:
    """An objective of one's own: a function of some layers' activations that gives a number.

        zd.objective(lambda a: a["eyes"][:, 3].mean() - a["scales"].std(), ["eyes", "scales"])

    Slower than layers and channels: it is derived by autograd. Of several pictures at once it sees all;
    one that is no sum over them mixes them.
    """
    if not isinstance(layers, Sequence):
        raise UsageError(f"an objective's layers are {layers!r:.60}: names would do")
    return FunctionObjective(function, (layers,) if isinstance(layers, str) else tuple(layers))
