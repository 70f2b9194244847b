"""Draws curves from one keyframe to the next."""

import math
from collections.abc import Callable

import numpy as np

from zoomdream.settings.clock import Values

_CURVES: dict[str, Callable[[Values], Values]] = {
    "quad": lambda u: u**2,
    "cubic": lambda u: u**3,
    "sine": lambda u: 1 - np.cos(u * math.pi / 2),
    "expo": lambda u: (2.0 ** (10 * u) - 1) / 1023,
    "circ": lambda u: 1 - np.sqrt(np.maximum(1 - u**2, 0)),
    "back": lambda u: u * u * (2.70158 * u - 1.70158),
}


def _easings() -> dict[str, Callable[[Values], Values]]:
    """Makes linear, step, and in, out, in-out of every curve (Penner 2002); without a curve it is cubic."""
    easings: dict[str, Callable[[Values], Values]] = {"linear": lambda u: u, "step": np.zeros_like}
    for name, curve in _CURVES.items():
        easings[f"in-{name}"] = curve
        easings[f"out-{name}"] = lambda u, c=curve: 1 - c(1 - u)  # type: ignore[misc]
        easings[f"in-out-{name}"] = lambda u, c=curve: np.where(  # type: ignore[misc]
            u < 0.5, c(2 * u) / 2, 1 - c(2 - 2 * u) / 2
        )
    return easings | {kind: easings[f"{kind}-cubic"] for kind in ("in", "out", "in-out")}


EASINGS = _easings()
EASES = (*EASINGS, "smooth")


def monotone_cubic(x: Values, y: Values, at: Values) -> Values:
    """Interpolates by cubics that never overshoot (Fritsch and Carlson 1980, in Brodlie's weights)."""
    h, slope = np.diff(x), np.diff(y) / np.diff(x)
    tangent = np.zeros_like(y)
    tangent[0], tangent[-1] = slope[0], slope[-1]
    same = slope[:-1] * slope[1:] > 0
    weight = (h[:-1] + 2 * h[1:]) / (3 * (h[:-1] + h[1:]))
    with np.errstate(all="ignore"):
        mean = slope[:-1] * slope[1:] / (weight * slope[1:] + (1 - weight) * slope[:-1])
    tangent[1:-1] = np.where(same, mean, 0)
    k = np.clip(np.searchsorted(x, at, "right") - 1, 0, len(h) - 1)
    u = np.clip((at - x[k]) / h[k], 0, 1)
    a, b = y[k], y[k + 1]
    return (
        (2 * u**3 - 3 * u**2 + 1) * a
        + (u**3 - 2 * u**2 + u) * h[k] * tangent[k]
        + (3 * u**2 - 2 * u**3) * b
        + (u**3 - u**2) * h[k] * tangent[k + 1]
    )
