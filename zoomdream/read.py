"""Intake: pictures and noise become Clips of Frames."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
import torch

from zoomdream.errors import InputError
from zoomdream.frame import Frame, Sound, as_frame, pink


@dataclass(frozen=True)
class Clip:
    """Frames over time. A still picture is a clip that repeats."""

    fps: Fraction
    size: tuple[int, int]  # (height, width)
    length: int  # frames
    frames: Iterator[Frame]
    sound: Sound | None = None
    notes: tuple[str, ...] = ()  # what is other than was asked for
    faults: list[str] = field(default_factory=list)  # what was found damaged, once frames were read


def still(frame: Frame, fps: Fraction, length: int) -> Clip:
    """A clip that shows one Frame all the time."""
    return Clip(fps, (frame.shape[2], frame.shape[3]), length, repeat(frame, length))


def read_still(path: Path) -> Frame:
    """A picture file as a Frame: turned as its EXIF says, alpha over white, 16 bits kept.

    Reads what OpenCV reads (JPEG, PNG, WebP, TIFF, BMP, the first picture of a GIF). The name may be
    in any script.

    Raises InputError where there is no such file or no picture in it.
    """
    try:
        content = np.fromfile(path, np.uint8)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; name a picture in it") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    picture = _decode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    if picture is None:
        raise InputError(
            f"{path} holds no picture that can be read; PNG, JPEG, WebP or TIFF would do"
        )
    if picture.ndim == 3 and picture.shape[2] == 4:
        picture = cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA)
    else:  # only this mode turns the picture as EXIF says
        picture = _decode(content, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR_RGB)
        assert picture is not None
    try:
        return as_frame(picture)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _decode(content: np.ndarray, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(content, flags)
    except cv2.error:
        return None


def noise(size: tuple[int, int], seed: int) -> Frame:
    """Seeded 1/f noise of `size` (height, width): grey 0.5, deviation about 0.15, muted colour."""
    planes = pink(size, torch.Generator().manual_seed(seed))
    return (0.5 + 0.15 * (0.35 * planes + 0.65 * planes[:, :1])).clamp(0, 1)


def read_mask(path: Path) -> Frame:
    """A mask picture's brightness, (1, 1, H, W): 1 dreams, 0 stays."""
    return read_still(path).mean(1, keepdim=True)
