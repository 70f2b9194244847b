"""The currencies that every room trades in, and what can be done with them anywhere.

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
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from zoomdream.errors import InputError
from zoomdream.size import Size

Frame = Tensor
Flow = Tensor
ImageArray = NDArray[np.uint8]


def as_frame(picture: Any) -> Frame:
    """A Frame from an array or tensor.

    Takes (H, W), (H, W, 1|3|4), or tensors (3, H, W) and (1, 3, H, W); uint8 0..255, uint16
    0..65535 or floats 0..1. Alpha is laid over white. A matplotlib figure is drawn as it would be saved:
    at its own size and dpi, on its own background.

    Raises InputError for any other shape or type, and for values that are not finite.
    """
    if callable(getattr(picture, "savefig", None)):
        picture = _drawn(picture)
    channels_first = isinstance(picture, Tensor)
    try:
        values = picture if channels_first else torch.from_numpy(np.array(picture))
    except TypeError:
        raise InputError(f"{picture!r:.60} is no picture: an array or a tensor would do") from None
    top = {torch.uint8: 255.0, torch.uint16: 65535.0}.get(values.dtype)
    if top is None and not values.is_floating_point():
        raise InputError(f"pixels are {values.dtype}; uint8, uint16 or floats in 0..1 would do")
    if channels_first and values.ndim == 4 and len(values) == 1:
        values = values[0]
    if values.ndim == 2:
        values = values[..., None]
    elif channels_first and values.ndim == 3:
        values = values.permute(1, 2, 0)
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4) or 0 in values.shape:
        raise InputError(
            f"a picture of shape {tuple(picture.shape)} is not (H, W), (H, W, 3), (3, H, W) "
            "or (1, 3, H, W)"
        )
    planes = (
        values.permute(2, 0, 1)[None].contiguous().float()
    )  # late: floats take four times as much
    if top is not None:
        planes = planes.div_(top)
    elif not torch.isfinite(planes).all():
        raise InputError("the picture has values that are not finite")
    if planes.shape[1] == 4:
        alpha = planes[:, 3:]
        planes = planes[:, :3] * alpha + (1 - alpha)
    planes = planes.clamp(0, 1) if top is None else planes
    return planes.expand(-1, 3, -1, -1).contiguous()


def _drawn(figure: Any) -> ImageArray:
    """A matplotlib figure's pixels, (H, W, 4)."""
    made = BytesIO()
    figure.savefig(made, format="png", dpi="figure", facecolor="auto")
    return np.asarray(Image.open(made).convert("RGBA"))


def to_bytes(frame: Frame) -> ImageArray:
    """(H, W, 3) uint8, rounded."""
    return _eight_bits(frame).cpu().numpy()


def _eight_bits(frame: Frame) -> Tensor:
    """The only place where a Frame becomes 8 bits."""
    return (frame[0] * 255).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous()


def start_readback(frame: Frame) -> Callable[[], ImageArray]:
    """`to_bytes`, begun: a GPU brings it over while it does other things; the function waits for it.

    Not to be kept for long: its memory is page-locked then.
    """
    pixels = _eight_bits(frame)
    if pixels.device.type != "cuda":
        here: ImageArray = pixels.cpu().numpy()
        return lambda: here
    there = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True)
    there.copy_(pixels, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()

    def wait() -> ImageArray:
        arrived.synchronize()
        return there.numpy()

    return wait


def to_device(frame: Frame, device: torch.device) -> Frame:
    """A Frame on a device; a GPU fetches it beside its other work."""
    if device.type != "cuda" or frame.device.type != "cpu":
        return frame.to(device)
    return frame.pin_memory().to(device, non_blocking=True)


def resize(frame: Tensor, size: Size) -> Tensor:
    """Bicubic, without aliasing."""
    if Size.of(frame) == size:
        return frame
    return F.interpolate(frame, size.shape, mode="bicubic", align_corners=False, antialias=True)


def cover(frame: Frame, size: Size) -> Frame:
    """Scales to fill `size`, keeps the shape and cuts what stands over equally."""
    whole = Size.of(frame).covering(size)
    left, top = (whole.width - size.width) // 2, (whole.height - size.height) // 2
    part = resize(frame, whole)[..., top : top + size.height, left : left + size.width]
    return part.clamp(0, 1).contiguous()


@lru_cache(maxsize=16)
def gaussian(sigma: float) -> Tensor:
    """A normalised line of 2 * ceil(3 sigma) + 1 weights."""
    reach = max(1, int(np.ceil(3 * sigma)))
    at = torch.arange(-reach, reach + 1, dtype=torch.float32)
    line = torch.exp(-(at**2) / (2 * sigma**2))
    return line / line.sum()


def blur(planes: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (N, C, H, W), zero beyond the border; sigma in pixels. On a CPU by OpenCV."""
    line = gaussian(sigma)
    if planes.device.type == "cpu" and planes.dtype == torch.float32:
        blurred = [_blurred_by_opencv(picture, line) for picture in planes]
        return blurred[0] if len(blurred) == 1 else torch.cat(blurred)
    channels = planes.shape[1]
    line = line.to(planes)
    kernel, reach = line.expand(channels, 1, 1, -1), len(line) // 2
    planes = planes.contiguous(memory_format=torch.channels_last)
    planes = F.conv2d(planes, kernel, padding=(0, reach), groups=channels)
    return F.conv2d(planes, kernel.transpose(2, 3), padding=(reach, 0), groups=channels)


def _blurred_by_opencv(picture: Tensor, line: Tensor) -> Tensor:
    """(1, C, H, W) from (C, H, W). line: weights, along rows and then along columns."""
    rows = picture.permute(1, 2, 0).contiguous().numpy()
    taps = line.numpy()
    blurred = cv2.sepFilter2D(rows, -1, taps, taps, borderType=cv2.BORDER_CONSTANT)
    return torch.from_numpy(blurred.reshape(rows.shape)).permute(2, 0, 1)[None]
