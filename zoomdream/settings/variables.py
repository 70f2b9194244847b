"""What an expression may name: the time, the frame, the seed, the beat."""

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from zoomdream.settings.clock import Clock, Values


def variables(clock: Clock, seconds: Values) -> dict[str, Any]:
    """Gives the variables of expressions their values at given moments: one, or one for each moment."""
    constants = _constants(clock)
    frame = seconds * constants["fps"]
    return {
        "t": seconds,
        "frame": np.where(np.abs(frame - np.round(frame)) < 1e-6, np.round(frame), frame),
        "beat": seconds * (clock.bpm or 60.0) / 60,
        **constants,
    }


@lru_cache(maxsize=16)
def _constants(clock: Clock) -> dict[str, float]:
    return {
        "frames": float(clock.frames),
        "fps": float(clock.fps),
        "duration": clock.duration,
        "seed": float(clock.seed),
        "pi": math.pi,
        "tau": math.tau,
    }


NAMES = tuple(variables(Clock(Fraction(1), 1), np.zeros(1)))
