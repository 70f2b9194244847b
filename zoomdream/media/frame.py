"""Frames and flows, the types that all packages exchange, and what can be done with them anywhere.

Conventions, stated once:

- A **Frame** is a float32 tensor (1, 3, H, W), RGB, sRGB-encoded, 0..1.
- A **Flow** is a float32 tensor (1, 2, H, W) of (dx, dy) in pixels. It points backward:
  `out(p) = in(p + flow(p))`.
- A pixel is a unit square; pixel (0, 0) has its centre at (0.5, 0.5) of a picture that reaches from
  (0, 0) to (W, H). This is `align_corners=False` everywhere.
- Where a camera looks beyond the border, the picture is mirrored about its edge.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from zoomdream.errors import InputError
from zoomdream.size import Size

Frame = Tensor
Flow = Tensor
ImageArray = NDArray[np.uint8]

WHITE_8, WHITE_16 = 255, 65535
WHITE = {torch.bool: 1, torch.uint8: WHITE_8, torch.uint16: WHITE_16}
"""What white is, by the type of the numbers, where those are whole; in floats it is 1."""
OVERSHOOT = 0.25  # that floats may go beyond 0..1, as they do after resampling: it is clipped


def as_frame(pixels: NDArray[Any], under: float = 1.0) -> Frame:
    """Makes a Frame of pixels, (H, W) or (H, W, C); all else as `planes_as_frames` has it.

    For whatever else Python programs hold pictures in, see `python_pictures`. Raises InputError.
    """
    values = as_tensor(pixels)
    values = values[..., None] if values.ndim == 2 else values
    return planes_as_frames(values.permute(2, 0, 1)[None], under)


def as_mask(pixels: NDArray[Any]) -> Frame:
    """Makes a mask, (1, 1, H, W), of pixels: 1 dreams, 0 stays. It is brightness times alpha."""
    return as_frame(pixels, under=0).mean(1, keepdim=True)


def as_tensor(array: NDArray[Any]) -> Tensor:
    """Copies an array of any strides and byte order to a tensor. Raises TypeError for types torch has not."""
    return torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))


def planes_as_frames(planes: Tensor, under: float = 1.0) -> Frame:
    """Makes Frames, (N, 3, H, W), of planes (N, C, H, W): grey (C = 1), RGB, or RGBA, laid over a grey.

    planes: booleans, uint8 0..255, uint16 0..65535 or floats 0..1, which are clipped where they go beyond
    by no more than `OVERSHOOT`. under: the grey, 0..1: white. What comes back shares no memory with them,
    and requires no gradient.

    Raises InputError for numbers of any other type or range.
    """
    white = WHITE.get(planes.dtype)
    if white is None and not planes.is_floating_point():
        raise InputError(_other_numbers(planes))
    # Floats come late: they take four times as much.
    frames = planes.detach().contiguous().float()
    if white is not None:
        frames = frames.div_(white)
    else:
        _check_range(frames)
        frames = frames.clamp(0, 1)
    if frames.shape[1] == 4:
        alpha = frames[:, 3:]
        frames = frames[:, :3] * alpha + (1 - alpha) * under
    return frames.expand(-1, 3, -1, -1).contiguous()


def _other_numbers(planes: Tensor) -> str:
    """Says of numbers that are neither floats nor 8 or 16 bits what they could be."""
    name = str(planes.dtype).removeprefix("torch.")
    if planes.is_complex() or planes.is_quantized:
        return f"pixels are {name}; uint8, uint16 or floats in 0..1 would do"
    low, high = (int(value) for value in planes.double().aminmax())
    fitting = [kind for kind, white in _WHOLE_NUMBERS if low >= 0 and high <= white]
    instead = fitting[0] if fitting else "floats in 0..1"
    return (
        f"pixels are {name}, which does not say what white is, and go from {low} to {high}: "
        f"as {instead} they would do"
    )


_WHOLE_NUMBERS = (("booleans", 1), ("uint8", WHITE_8), ("uint16", WHITE_16))


def _check_range(values: Tensor) -> None:
    """Raises InputError for floats that are not finite, or clearly meant for another range than 0..1."""
    low, high = (value.item() for value in values.aminmax())
    if not np.isfinite([low, high]).all():
        raise InputError(
            "the picture has values that are not finite: numpy's or torch's "
            "`nan_to_num(picture, posinf=1, neginf=0)` replaces them"
        )
    if low >= -OVERSHOOT and high <= 1 + OVERSHOOT:
        return
    if low >= -1 - OVERSHOOT and high <= 1 + OVERSHOOT:
        instead = "`(picture + 1) / 2`"
    elif low >= -OVERSHOOT * WHITE_8 and 8 < high <= (1 + OVERSHOOT) * WHITE_8:
        instead = f"`picture / {WHITE_8}`"
    elif low >= -OVERSHOOT * WHITE_16 and WHITE_8 < high <= (1 + OVERSHOOT) * WHITE_16:
        instead = f"`picture / {WHITE_16}`"
    else:
        instead = "`(picture - picture.min()) / (picture.max() - picture.min())`"
    raise InputError(
        f"floats are 0 for black and 1 for white, and these go from {low:.4g} to {high:.4g}: "
        f"{instead} would do"
    )


def to_bytes(frame: Frame) -> ImageArray:
    """Rounds a Frame to 8 bits: (H, W, 3), uint8."""
    return _eight_bits(frame).cpu().numpy()


def _eight_bits(frame: Frame) -> Tensor:
    """Rounds a Frame to 8 bits, (H, W, 3), on its device: the only place where that is done."""
    return (frame[0] * WHITE_8).round().clamp(0, WHITE_8).byte().permute(1, 2, 0).contiguous()


def start_readback(frame: Frame) -> Callable[[], ImageArray]:
    """Begins `to_bytes`: a GPU copies while it does other things; the function given back waits for it.

    Call it soon: until then its memory is page-locked.
    """
    pixels = _eight_bits(frame)
    if pixels.device.type != "cuda":
        array: ImageArray = pixels.cpu().numpy()
        return lambda: array
    pinned = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True)
    pinned.copy_(pixels, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()

    def wait() -> ImageArray:
        copied.synchronize()
        return pinned.numpy()

    return wait


def to_device(frame: Frame, device: torch.device) -> Frame:
    """Copies a Frame to a device; a GPU fetches it beside its other work."""
    if device.type != "cuda" or frame.device.type != "cpu":
        return frame.to(device)
    return frame.pin_memory().to(device, non_blocking=True)


def resize(frame: Tensor, size: Size) -> Tensor:
    """Resizes (N, C, H, W), bicubic and without aliasing."""
    if Size.of(frame) == size:
        return frame
    return F.interpolate(frame, size.shape, mode="bicubic", align_corners=False, antialias=True)


def cover(frame: Frame, size: Size) -> Frame:
    """Scales a Frame to fill `size` and cuts what stands over on both sides equally."""
    whole = Size.of(frame).covering(size)
    left, top = (whole.width - size.width) // 2, (whole.height - size.height) // 2
    part = resize(frame, whole)[..., top : top + size.height, left : left + size.width]
    return part.clamp(0, 1).contiguous()


@lru_cache(maxsize=16)
def gaussian(sigma: float) -> Tensor:
    """The weights of a Gaussian: a line of 2 * ceil(3 sigma) + 1 whose sum is 1."""
    reach = max(1, int(np.ceil(3 * sigma)))
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
    line = torch.exp(-(offsets**2) / (2 * sigma**2))
    return line / line.sum()


def blur(planes: Tensor, sigma: float) -> Tensor:
    """Blurs (N, C, H, W) by a Gaussian, zero beyond the border; sigma in pixels. On a CPU by OpenCV."""
    line = gaussian(sigma)
    if planes.device.type == "cpu" and planes.dtype == torch.float32:
        pictures = [_blur_by_opencv(picture, line) for picture in planes]
        return pictures[0][None] if len(pictures) == 1 else torch.stack(pictures)
    channels = planes.shape[1]
    line = line.to(planes)
    kernel, reach = line.expand(channels, 1, 1, -1), len(line) // 2
    planes = planes.contiguous(memory_format=torch.channels_last)
    planes = F.conv2d(planes, kernel, padding=(0, reach), groups=channels)
    return F.conv2d(planes, kernel.transpose(2, 3), padding=(reach, 0), groups=channels)


def _blur_by_opencv(picture: Tensor, line: Tensor) -> Tensor:
    """Blurs (C, H, W), float32 on a CPU, by a line of weights in both directions."""
    pixels = picture.permute(1, 2, 0).contiguous().numpy()
    weights = line.numpy()
    blurred = cv2.sepFilter2D(pixels, -1, weights, weights, borderType=cv2.BORDER_CONSTANT)
    return torch.from_numpy(blurred.reshape(pixels.shape)).permute(2, 0, 1)
