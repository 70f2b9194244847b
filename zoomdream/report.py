"""What a render reports: the library tells, the command line draws."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path


@dataclass(frozen=True)
class Start:
    """Before the first frame: what is about to be rendered, and on what."""

    size: tuple[int, int]  # (width, height)
    fps: Fraction
    total: int  # frames
    network: str
    layers: tuple[str, ...]
    device: str
    precision: str
    why: str  # this device
    notes: tuple[str, ...]  # what was changed to fit the format


@dataclass(frozen=True)
class Progress:
    """After each frame."""

    frame: int  # just finished, from 0
    total: int
    seconds: float  # since the first frame was begun
    objective: float

    @property
    def fps(self) -> float:
        """Frames finished per second."""
        return (self.frame + 1) / max(self.seconds, 1e-9)

    @property
    def left(self) -> float:
        """Seconds to go."""
        return (self.total - self.frame - 1) / self.fps


@dataclass(frozen=True)
class Film:
    """A finished render."""

    path: Path
    frames: int
    fps: Fraction
    size: tuple[int, int]  # (width, height)
    seconds: float  # that rendering took
    notes: tuple[str, ...] = ()  # what was wrong with the input

    @property
    def length(self) -> float:
        """In seconds."""
        return float(self.frames / self.fps)


Event = Start | Progress
Listener = Callable[[Event], None]
