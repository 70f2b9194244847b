"""What a render reports while it works: the library reports, a terminal or a page listens."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomdream.size import Size

PictureFunction = Callable[[], NDArray[np.uint8]]
"""Gives a picture as it is now, (H, W, 3); to be called while the event is handled, or not at all."""
ON_REQUEST: PictureFunction | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Start:
    """Before the first frame: what is about to be rendered, and on what."""

    size: Size
    fps: Fraction | None  # None: a single picture
    total: int | None  # frames, where their number is known; of a single picture, steps
    network: str
    layers: tuple[str, ...]
    device: str
    precision: str
    why: str  # this device
    notes: tuple[str, ...]  # what was changed to fit the format
    done: int = 0  # frames that are there already, from a render that goes on


@dataclass(frozen=True)
class Progress:
    """After each frame."""

    frame: int  # just finished, from 0
    total: int | None  # where their number is known
    seconds: float  # since this render, or the rest of it, was begun
    objective: float
    begun: int = 0  # the frame it was begun with
    picture: PictureFunction | None = ON_REQUEST

    @property
    def fps(self) -> float:
        """Frames finished per second."""
        return (self.frame + 1 - self.begun) / max(self.seconds, 1e-9)

    @property
    def left(self) -> float:
        """Seconds to go; 0 where nobody knows."""
        return 0.0 if self.total is None else (self.total - self.frame - 1) / self.fps


@dataclass(frozen=True)
class Step:
    """After each step of a single picture."""

    step: int  # just taken, from 0
    total: int
    size: Size  # of its octave
    share: float  # of all the work, 0..1
    seconds: float  # since the first was begun
    objective: float
    picture: PictureFunction | None = ON_REQUEST

    @property
    def left(self) -> float:
        """Seconds to go."""
        return self.seconds * (1 - self.share) / max(self.share, 1e-9)


@dataclass(frozen=True)
class Note:
    """Something that a person should know, in the middle of it."""

    text: str


@dataclass(frozen=True)
class Film:
    """A finished render. Without a path nothing was written."""

    path: Path | None
    frames: int
    fps: Fraction
    size: Size
    seconds: float  # that rendering took
    notes: tuple[str, ...] = ()  # what was wrong with the input
    spent: Mapping[str, float] = field(default_factory=dict)  # seconds, by what they went into

    @property
    def length(self) -> float:
        """In seconds."""
        return float(self.frames / self.fps)


@dataclass(frozen=True)
class Picture:
    """A finished single picture."""

    path: Path
    size: Size
    seconds: float  # that dreaming took
    others: tuple[Path, ...] = ()  # what shows how it grew
    notes: tuple[str, ...] = ()  # what of the input could not be kept


def as_values(event: "Event | Done") -> dict[str, Any]:
    """An event's fields by name, without its picture."""
    return {f.name: getattr(event, f.name) for f in fields(event) if f.name != "picture"}


Event = Start | Progress | Step | Note
Done = Film | Picture
Listener = Callable[[Event], bool | None]
"""Is given what a render reports; False ends the render, with everything safe."""


def ignore_events(_: Event) -> None:
    """Nobody listens."""


class Stopwatch:
    """Where time goes: seconds by what they went into, as the one who waits sees it.

    A block within another counts for itself, and not for the outer one.
    """

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._inner = [0.0]  # seconds of blocks within each block that is open

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Counts the block."""
        begun = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            whole = time.perf_counter() - begun
            self.spent[what] = self.spent.get(what, 0.0) + whole - self._inner.pop()
            self._inner[-1] += whole
