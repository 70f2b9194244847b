"""Pictures that Python programs hold, as Frames, and Frames as the same kinds again.

This is the one door for them: what is dreamt on, a film's first picture, masks and guides.
"""

import contextlib
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from zoomdream.errors import InputError
from zoomdream.media.exif import upright
from zoomdream.media.frame import (
    OVERSHOOT,
    WHITE,
    WHITE_8,
    Frame,
    ImageArray,
    as_frame,
    as_tensor,
    planes_as_frames,
    to_bytes,
)
from zoomdream.media.image_color import in_srgb
from zoomdream.media.pillow_reader import stored_picture
from zoomdream.size import Size

CHANNELS = (1, 3, 4)  # grey, RGB, RGBA

GiveBack = Callable[[Frame], Any]
"""Turns Frames into the kind of picture that they were made of."""


def as_frames(picture: Any, under: float = 1.0) -> tuple[Frame, GiveBack]:
    """A picture of any kind, or several of a size, as (N, 3, H, W); and the way back to that kind.

    picture: one of
    - a PIL picture of any mode but 32-bit integers: turned as its EXIF says, in sRGB by its profile, with
      16 bits where it has them; it comes back as RGB of 8 bits;
    - an array (H, W), (H, W, C) or (N, H, W, C), also with the channels first where nothing else can be
      meant; whatever numpy can read as an array, such as one of pandas or JAX, comes back as numpy's;
    - a tensor (H, W), (C, H, W) or (N, C, H, W), also with the channels last where nothing else can be
      meant, on any device;
    - a matplotlib figure, drawn as it would be saved, which comes back as an array;
    - a list of such pictures, which comes back as one array or tensor.

    C is 1, 3 or 4. Alpha is laid over a grey, `under`, 0..1: white. What is grey or has alpha comes back as
    RGB. Numbers are 0..1 in floats, else those of uint8, uint16 or booleans, in any byte order. Nothing is
    written into what was given, and what comes back requires no gradient. Raises InputError for anything
    else, and says what would do.
    """
    if isinstance(picture, Image.Image):
        return as_frame(_pil_pixels(picture), under), _to_pil
    if isinstance(picture, Tensor):
        return _tensor_as_frames(picture, under)
    if callable(getattr(picture, "savefig", None)):
        return as_frame(_drawn_figure(picture), under), to_bytes
    if _is_list_of_pictures(picture):
        return _list_as_frames(picture, under)
    return _array_as_frames(_as_array(picture), under)


def one_frame(picture: Any, under: float = 1.0) -> Frame:
    """A single picture of any kind that `as_frames` takes, as a Frame. Raises InputError."""
    frames, _ = as_frames(picture, under)
    if len(frames) != 1:
        raise InputError(f"there are {len(frames)} pictures where one is wanted")
    return frames


def one_mask(picture: Any) -> Tensor:
    """A picture of any kind as a mask, (1, 1, H, W): 1 dreams, 0 stays. It is brightness times alpha.

    Raises InputError.
    """
    mask = one_frame(picture, under=0).mean(1, keepdim=True)
    if 0 < mask.max() <= 1 / WHITE_8:
        raise InputError(
            f"the mask's brightest value is 1, where white is {WHITE_8} or more: of zeros and ones "
            "`mask > 0` makes booleans"
        )
    return mask


# --- PIL pictures and figures --------------------------------------------------------------------------


def _pil_pixels(picture: Image.Image) -> NDArray[Any]:
    """Reads a PIL picture's pixels upright: (H, W, 3), (H, W, 4) where parts are clear, or (H, W) if deep.

    Raises InputError where it cannot be read.
    """
    try:
        if 0 in picture.size:
            raise InputError(f"a PIL picture of {Size(*picture.size)} pixels is empty")
        if picture.mode.startswith(("I", "F")):  # Pillow would clip them to 8 bits
            return _deep_pixels(picture)
        stored = stored_picture(picture, picture.info.get("icc_profile"))
        pixels, _ = in_srgb(stored)
        return upright(pixels, stored.orientation)
    except InputError:
        raise
    except Exception as error:  # any, where it is damaged
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"a PIL picture of mode {picture.mode} cannot be read: {reason}") from None


def _deep_pixels(picture: Image.Image) -> NDArray[Any]:
    """Reads a grey PIL picture of 16 bits or of floats in 0..1, (H, W)."""
    pixels = np.asarray(ImageOps.exif_transpose(picture))
    mode, low, high = picture.mode, pixels.min(), pixels.max()
    if mode == "I":
        instead = "L" if high <= WHITE_8 else "I;16"
    elif mode == "F" and high > 1 + OVERSHOOT:  # as Pillow's own conversions make them
        instead = "L"
    else:
        return pixels
    raise InputError(
        f"a PIL picture of mode {mode} does not say what white is, and goes from {low:.4g} to "
        f'{high:.4g}: `picture.convert("{instead}")` would do'
    )


def _drawn_figure(figure: Any) -> ImageArray:
    """Draws a matplotlib figure at its own size and dpi, on its own background: (H, W, 4)."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi="figure", facecolor="auto")
    return np.asarray(Image.open(png).convert("RGBA"))


def _to_pil(frames: Frame) -> Image.Image:
    return Image.fromarray(to_bytes(frames))


# --- Arrays and tensors --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Axes:
    """How the axes of a picture, or of several, are ordered."""

    several: bool  # N comes first
    channels_first: bool  # as in most tensors, else last, as in most arrays

    @classmethod
    def of(cls, shape: Sequence[int], usually_first: bool) -> "_Axes":
        """Finds where the channels are; where it may be either end, as usual. Raises InputError."""
        shape = tuple(shape)
        if 0 in shape:
            raise InputError(f"a picture of shape {shape} is empty")
        one = shape[1:] if len(shape) == 4 else shape
        if len(one) == 2:
            return cls(len(shape) == 4, usually_first)
        if len(one) != 3:
            raise InputError(f"a picture of shape {shape} would have to be {_LAYOUTS}")
        first, last = one[0] in CHANNELS, one[2] in CHANNELS
        if not first and not last:
            raise InputError(
                f"a picture of shape {shape} has no axis of 1, 3 or 4 channels, first or last: {_LAYOUTS} "
                "would do"
            )
        return cls(len(shape) == 4, first if usually_first else not last)

    def planes(self, values: Tensor) -> Tensor:
        """Orders the axes of a tensor of such a shape as (N, C, H, W)."""
        if values.ndim == 2:
            values = values[None] if self.channels_first else values[..., None]
        values = values if self.several else values[None]
        return values if self.channels_first else values.permute(0, 3, 1, 2)

    def restored(self, planes: Tensor) -> Tensor:
        """Orders (N, C, H, W) as the picture had its axes."""
        values = planes if self.channels_first else planes.permute(0, 2, 3, 1)
        return (values if self.several else values[0]).contiguous()


_LAYOUTS = "(H, W), (H, W, 3) or (3, H, W)"


def _tensor_as_frames(tensor: Tensor, under: float) -> tuple[Frame, GiveBack]:
    """Tensors come back with their number type, device and axes."""
    if tensor.is_nested or tensor.is_meta:
        raise InputError(
            "a tensor that is nested or has no values is no picture: a plain one would do"
        )
    axes = _Axes.of(tensor.shape, usually_first=True)
    values = tensor.detach() if tensor.layout == torch.strided else tensor.detach().to_dense()

    def give_back(frames: Frame) -> Tensor:
        numbers = _as_numbers(frames, tensor.dtype).to(tensor.device, tensor.dtype)
        return axes.restored(numbers)

    return planes_as_frames(axes.planes(values), under), give_back


def _array_as_frames(array: NDArray[Any], under: float) -> tuple[Frame, GiveBack]:
    """Arrays come back with their number type and axes."""
    axes = _Axes.of(array.shape, usually_first=False)
    values = _numbers(array)

    def give_back(frames: Frame) -> NDArray[Any]:
        numbers = axes.restored(_as_numbers(frames, values.dtype))
        return numbers.cpu().numpy().astype(array.dtype)

    return planes_as_frames(axes.planes(values), under), give_back


def _numbers(array: NDArray[Any]) -> Tensor:
    """Copies an array to a tensor; floats that torch or numpy itself has not, as float32."""
    try:
        return as_tensor(array)
    except TypeError:
        if "float" not in array.dtype.name:
            raise InputError(
                f"pixels are {array.dtype}; uint8, uint16 or floats in 0..1 would do"
            ) from None
        return as_tensor(array.astype(np.float32))


def _as_numbers(frames: Frame, dtype: torch.dtype) -> Tensor:
    """Frames in the range of a type of number, rounded where those are whole."""
    if dtype not in WHITE:
        return frames
    return (frames * WHITE[dtype]).round().clamp(0, WHITE[dtype])


def _as_array(picture: Any) -> NDArray[Any]:
    """Reads whatever gives its values as an array. Raises InputError."""
    if isinstance(picture, str | bytes | os.PathLike) or hasattr(picture, "read"):
        raise InputError(
            f"{_in_short(picture)} is a file, or its name or content, and no picture: "
            "what `PIL.Image.open` makes of it would do"
        )
    if np.ma.is_masked(picture):
        raise InputError(
            "some of the picture's pixels are masked out: `picture.filled(0)` would do"
        )
    for read in (np.asarray, _from_another_device):
        with contextlib.suppress(Exception):  # any, as it is their code that runs
            array = read(picture)
            if array.dtype != object or array.ndim > 1:
                return array
    raise InputError(
        f"{_in_short(picture)} is no picture: an array, a tensor or a PIL picture would do"
    )


def _in_short(value: Any) -> str:
    """A value as Python shows it, on one line."""
    return " ".join(repr(value).split())[:60]


def _from_another_device(array: Any) -> NDArray[Any]:
    """Fetches an array of another library that lies on a GPU."""
    tensor: Tensor = torch.utils.dlpack.from_dlpack(array)
    return tensor.cpu().numpy()


# --- Several -------------------------------------------------------------------------------------------


def _is_list_of_pictures(picture: Any) -> bool:
    """Whether it is a list of pictures, and not one of numbers."""
    is_list = isinstance(picture, list | tuple) and len(picture) > 0
    return is_list and not isinstance(picture[0], list | tuple | Number)


def _list_as_frames(pictures: Sequence[Any], under: float) -> tuple[Frame, GiveBack]:
    """Pictures of a list come back as one array, or one tensor."""
    frames, ways_back = zip(*(as_frames(one, under) for one in pictures), strict=True)
    sizes = [str(Size.of(one)) for one in frames]
    if len(set(sizes)) > 1:
        raise InputError(
            f"a list of pictures has to hold pictures of one size, and not {', '.join(dict.fromkeys(sizes))}"
        )
    if any(len(one) > 1 for one in frames):
        raise InputError(
            "a list of pictures has to hold single ones: `numpy.concatenate` joins others"
        )
    kinds = [_kind(back(one)) for back, one in zip(ways_back, frames, strict=True)]
    if len(set(kinds)) > 1:
        raise InputError(
            f"a list of pictures has to hold pictures of one kind, and not {', '.join(dict.fromkeys(kinds))}"
        )

    def give_back(dreamt: Frame) -> Any:
        pictures = [back(one[None]) for back, one in zip(ways_back, dreamt, strict=True)]
        all_tensors = all(isinstance(one, Tensor) for one in pictures)
        return torch.stack(pictures) if all_tensors else np.stack(list(map(np.asarray, pictures)))

    return torch.cat(frames), give_back


def _kind(picture: Any) -> str:
    """What pictures that are put into one array or tensor have in common: its name, numbers and axes."""
    values = picture if isinstance(picture, Tensor) else np.asarray(picture)
    return f"{type(values).__name__} of {values.dtype} {tuple(values.shape)}"
