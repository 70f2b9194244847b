"""What every kind of motion can do: say what is dreamt on next, and take what was dreamt."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from zoomdream.media.frame import Flow, Frame
from zoomdream.settings.model import RenderJob


@dataclass(frozen=True)
class Canvas:
    """What to dream on, and how much: a factor of the steps, or (1, 1, H, W) of them."""

    frame: Frame
    step_mask: Tensor | None = None


@dataclass(frozen=True)
class Observation:
    """A source frame, and what can be known of it before anything is dreamt.

    flow: where its pixels were in the last one; None where all begins anew. believed: (1, 1, H, W), how
    far that can be trusted; None: wholly.
    """

    source: Frame
    flow: Flow | None = None
    believed: Tensor | None = None


class Motion(Protocol):
    """Gives canvases for each source frame, and is told what was dreamt on each."""

    def look(self, source: Frame, skipped: bool = False) -> Observation:
        """Looks at the next source frame: in order, but as far ahead as one likes, in any one thread.

        skipped: its dream is there already.
        """

    def canvases(self, seen: Observation, now: RenderJob, t: float) -> Iterator[Canvas]:
        """One, or several that lead up to a frame. now: the settings at t seconds."""

    def keep(self, dreamt: Frame, now: RenderJob, rng: torch.Generator) -> Frame:
        """Takes what was dreamt on the last canvas; returns the film's frame."""

    def replace(self, frame: Frame) -> None:
        """Goes on from another frame than the one that was kept."""

    @property
    def state(self) -> dict[str, Tensor]:
        """What the next frame is made from, but for the source."""

    def restore(self, state: dict[str, Tensor], at: torch.device) -> None:
        """Goes on from a state, on a device."""
