"""Tells when a film's frames are shown."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]  # one per moment


@dataclass(frozen=True)
class Clock:
    """When a film's frames are shown."""

    fps: Fraction
    frames: int
    seed: int = 0
    bpm: float | None = None

    @property
    def duration(self) -> float:
        return float(self.frames / self.fps)
