"""Tells when a film's frames are shown."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

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

    def names(self, seconds: Values) -> dict[str, Any]:
        """Gives the variables of an expression their values at given moments."""
        frame = seconds * float(self.fps)
        return {
            "t": seconds,
            "frame": np.where(np.abs(frame - np.round(frame)) < 1e-6, np.round(frame), frame),
            "frames": float(self.frames),
            "fps": float(self.fps),
            "duration": self.duration,
            "seed": float(self.seed),
            "beat": seconds * (self.bpm or 60.0) / 60,
            "pi": math.pi,
            "tau": math.tau,
        }
