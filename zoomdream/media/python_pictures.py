"""Kinds of pictures that Python programs hold, as Frames, and Frames as the same kinds again."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoomdream.errors import InputError
from zoomdream.media.frame import WHITE, Frame, as_frame, pil_pixels, to_bytes


def as_frames(picture: Any) -> tuple[Frame, Callable[[Frame], Any]]:
    """A picture of any kind, or several of a size, as (N, 3, H, W); and the way back to that kind.

    picture: a PIL picture, an array (H, W), (H, W, C) or (N, H, W, C), a tensor (C, H, W) or (N, C, H, W),
    or a matplotlib figure, which comes back as an array; what is grey or has alpha comes back as RGB.
    Numbers as `as_frame` has them. Raises InputError.
    """
    if isinstance(picture, Image.Image):
        return as_frame(picture), _to_pil
    if isinstance(picture, Tensor):
        return _stacked(picture), lambda frames: _to_tensor(frames, picture)
    if callable(getattr(picture, "savefig", None)):
        return as_frame(picture), to_bytes
    try:
        array = np.asarray(_with_pil_as_arrays(picture))
    except (RuntimeError, TypeError, ValueError):
        raise InputError("a list of pictures has to hold pictures of one size") from None
    return _stacked(array), lambda frames: _to_array(frames, array)


def _stacked(pictures: Any) -> Frame:
    """One picture, or each of several."""
    if pictures.ndim != 4:
        return as_frame(pictures)
    if len(pictures) == 0:
        raise InputError("there is no picture in an empty batch")
    return torch.cat([as_frame(one) for one in pictures])


def _with_pil_as_arrays(pictures: Any) -> Any:
    """Reads those of a list that are PIL pictures."""
    if not isinstance(pictures, list | tuple):
        return pictures
    return [pil_pixels(one) if isinstance(one, Image.Image) else one for one in pictures]


def _to_pil(frames: Frame) -> Image.Image:
    return Image.fromarray(to_bytes(frames))


def _to_tensor(frames: Frame, like: Tensor) -> Tensor:
    """Of the number type, the device and the axes of another tensor."""
    numbers = _as_numbers(frames, like.dtype).to(like.device, like.dtype)
    return numbers if like.ndim == 4 else numbers[0]


def _to_array(frames: Frame, like: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Of the number type of another array, and with an axis for several where that has one."""
    numbers = _as_numbers(frames, getattr(torch, like.dtype.name)).permute(0, 2, 3, 1)
    pictures = numbers.contiguous().cpu().numpy().astype(like.dtype)
    return pictures if like.ndim == 4 else pictures[0]


def _as_numbers(frames: Frame, dtype: torch.dtype) -> Tensor:
    """Frames in the range of a type of number, rounded where those are whole."""
    if dtype not in WHITE:
        return frames
    return (frames * WHITE[dtype]).round().clamp(0, WHITE[dtype])
