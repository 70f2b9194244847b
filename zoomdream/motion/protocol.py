"""Says what every kind of motion does: it moves the last frame's dream, and has the next dreamt on it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from zoomdream.media.frame import Flow, Frame
from zoomdream.settings.definitions import RenderJob

DreamFunction = Callable[[Frame, Tensor | None], Frame]
"""Dreams on a frame; with (1, 1, H, W), a factor of the steps at each place."""


@dataclass(frozen=True)
class Observation:
    """A source frame, and how it has moved since the one before; known before anything is dreamt.

    flow: where its pixels were in the last one; None where the dream begins anew. trusted: (1, 1, H, W) in
    0..1, how far the flow can be trusted; None for wholly.
    """

    source: Frame
    flow: Flow | None = None
    trusted: Tensor | None = None


@dataclass(frozen=True)
class Moment:
    """When a frame is: the job's settings as they are then, and the time in seconds."""

    settings: RenderJob
    t: float
    rng: torch.Generator


class Motion(Protocol):
    """Carries a dream from frame to frame."""

    def observe(self, source: Frame, skipped: bool = False) -> Observation:
        """Measures the next source frame: in order, in one thread, which may be ahead of `step`.

        skipped: whether its dream is made already, by a render that now goes on.
        """

    def step(
        self,
        observed: Observation,
        moment: Moment,
        dream: DreamFunction,
        finish: Callable[[Frame], Frame] = lambda frame: frame,
    ) -> Frame:
        """Dreams the next frame, and remembers it for the one after.

        dream: is called once or several times, each on what the last has led to. finish: changes the frame
        before it is remembered (a loop is drawn towards its beginning). Returns the finished frame.
        """

    @property
    def state(self) -> dict[str, Tensor]:
        """What the next frame is made from, but for the source."""

    def restore(self, state: dict[str, Tensor], device: torch.device) -> None:
        """Goes on from a state, on a device."""
