"""Clips: frames over time, from a still picture, a video, noise, or a camera that never ends."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import repeat
from pathlib import Path

from zoomdream.media.frame import Frame
from zoomdream.size import Size


@dataclass(frozen=True)
class Sound:
    """Where a film's sound is to come from: a sound stream of a file, from `start` seconds on."""

    path: Path
    codec: str
    start: Fraction = Fraction(0)
    stream: int = 0  # among the file's sound streams


@dataclass(frozen=True)
class Clip:
    """Frames over time. A still picture is a clip that repeats; a camera is one without a known length."""

    fps: Fraction
    size: Size
    length: int | None  # frames; None where that is not known before they end
    frames: Iterator[Frame]
    sound: Sound | None = None
    notes: tuple[str, ...] = ()  # what is other than was asked for
    faults: list[str] = field(default_factory=list)  # what was found damaged, once frames were read


def still_clip(frame: Frame, fps: Fraction, length: int | None) -> Clip:
    """Makes a clip that shows one Frame all the time, for ever where `length` is None."""
    frames = repeat(frame) if length is None else repeat(frame, length)
    return Clip(fps, Size.of(frame), length, frames)
