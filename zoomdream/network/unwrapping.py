"""Finds a network's state dict among the tensors of a file, whatever it was wrapped into."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

State = dict[str, Tensor]
Names = tuple[str, ...]

WRAPPERS = frozenset({
    "module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module",
})  # fmt: skip
"""Parts of names that torch's wrappers put in anywhere: DataParallel, torch.compile, FSDP and others."""
AVERAGED = frozenset({"ema", "swa", "averaged", "average", "teacher", "shadow"})
"""Words in the names of weights that are averages over the steps of a training."""


@dataclass(frozen=True)
class FoundState:
    """A network's state dict, and notes on where in the file it was."""

    state: State
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Place:
    """A place in a file, with the state dict that lies there.

    under: the names on the way to it. fitting: how many of the network's tensors it has, in their shapes;
    named: in any shape.
    """

    under: Names
    state: State
    fitting: int
    named: int

    @property
    def is_averaged(self) -> bool:
        return not AVERAGED.isdisjoint("_".join(self.under).lower().split("_"))

    def __str__(self) -> str:
        return f'"{".".join(self.under)}"' if self.under else "those under no name"


def find_state(
    tensors: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    adapt: Callable[[State], State] = lambda state: state,
) -> FoundState:
    """Finds the state dict that fits a network best.

    tensors: all of a file, by name, as `read_weights` gives them. own: the network's own state dict. adapt:
    renames those of an older one.

    Names that torch's wrappers put in are left out. Of several places that fit equally well, averages over
    the training's steps come first, as timm has it; then the one with the fewest names on its way, then the
    file's order.
    """
    own_parts = {part for name in own for part in name.split(".")}
    wrappers = WRAPPERS - own_parts
    unwrapped: dict[Names, Tensor] = {}
    for name, tensor in tensors.items():
        parts = tuple(part for part in name.split(".") if part not in wrappers)
        unwrapped.setdefault(parts, tensor)
    states = _states_under(dict.fromkeys(_candidates(unwrapped, own)), unwrapped)
    places = [_place(under, adapt(state), own) for under, state in states.items()]
    best = max(places, key=lambda one: (one.fitting, one.named, one.is_averaged, -len(one.under)))
    used = {part for name in tensors for part in name.split(".")} & wrappers
    return FoundState(best.state, tuple(_notes(best, places, sorted(used))))


def _candidates(unwrapped: Mapping[Names, Tensor], own: Mapping[str, Tensor]) -> Iterator[Names]:
    """Yields places where some of a network's names are, and those with half as many names as it has."""
    sizes: Counter[Names] = Counter()
    for parts in unwrapped:
        for length in range(len(parts)):
            sizes[parts[:length]] += 1
            if ".".join(parts[length:]) in own:
                yield parts[:length]
    yield from (under for under, size in sizes.items() if size >= len(own) / 2)
    yield ()


def _states_under(
    candidates: Iterable[Names], unwrapped: Mapping[Names, Tensor]
) -> dict[Names, State]:
    """Gives what lies under each of some names, by the rest of its name; looks at each tensor once."""
    states: dict[Names, State] = {under: {} for under in candidates}
    for parts, tensor in unwrapped.items():
        for depth in range(len(parts)):
            if (state := states.get(parts[:depth])) is not None:
                state[".".join(parts[depth:])] = tensor
    return states


def _place(under: Names, state: State, own: Mapping[str, Tensor]) -> _Place:
    named = state.keys() & own.keys()
    fitting = sum(state[name].shape == own[name].shape for name in named)
    return _Place(under, state, fitting, len(named))


def _notes(best: _Place, places: list[_Place], wrappers: list[str]) -> list[str]:
    """Says what was unwrapped, and what else would have fitted."""
    if not best.named:
        return []
    notes = []
    without = "without " + " and ".join(f'"{part}"' for part in wrappers)
    if best.under:
        notes.append(f"the weights are those under {best}" + (f", {without}" if wrappers else ""))
    elif wrappers:
        notes.append(f"the weights' names are read {without}")
    others = dict.fromkeys(
        str(one)
        for one in places
        if one.under != best.under and (one.fitting, one.named) == (best.fitting, best.named)
    )
    first = "averages over a training" if best.is_averaged else "the outermost of the file"
    notes += [f"{other} fits as well, and is not used: {first} come first" for other in others]
    return notes
