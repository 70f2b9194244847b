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

WHITE_8, WHITE_16 = 255, 65535
WHITE = {torch.bool: 1, torch.uint8: WHITE_8, torch.uint16: WHITE_16}
"""What white is, by the type of the numbers, where those are whole; in floats it is 1."""


def as_frame(picture: Any, under: float = 1.0) -> Frame:
    """Makes a Frame of an array, a tensor, a PIL picture or a matplotlib figure.

    Takes (H, W), (H, W, 1|3|4), or tensors (3, H, W) and (1, 3, H, W); booleans, uint8 0..255, uint16
    0..65535 or floats 0..1, in any byte order. A PIL picture may have any mode but 32-bit integers, and 16
    bits stay; it is taken as it lies, whatever its EXIF says of turning. Alpha is laid over a grey, `under`,
    0..1: white. A matplotlib figure is drawn as it would be saved: at its own size and dpi, on its own
    background. The Frame never requires a gradient.

    Raises InputError for any other shape or type, and for values that are not finite.
    """
    channels_first = isinstance(picture, Tensor)
    values = picture.detach() if channels_first else _as_tensor(picture)
    shape, white = tuple(values.shape), WHITE.get(values.dtype)
    if white is None and not values.is_floating_point():
        raise InputError(f"pixels are {values.dtype}; uint8, uint16 or floats in 0..1 would do")
    if channels_first and values.ndim == 4 and len(values) == 1:
        values = values[0]
    if values.ndim == 2:
        values = values[..., None]
    elif channels_first and values.ndim == 3:
        values = values.permute(1, 2, 0)
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4) or 0 in values.shape:
        raise InputError(
            f"a picture of shape {shape} is not (H, W), (H, W, 3), (3, H, W) or (1, 3, H, W)"
        )
    # Floats come late: they take four times as much.
    planes = values.permute(2, 0, 1)[None].contiguous().float()
    if white is not None:
        planes = planes.div_(white)
    elif not torch.isfinite(planes).all():
        raise InputError("the picture has values that are not finite")
    if planes.shape[1] == 4:
        alpha = planes[:, 3:]
        planes = planes[:, :3] * alpha + (1 - alpha) * under
    planes = planes.clamp(0, 1) if white is None else planes
    return planes.expand(-1, 3, -1, -1).contiguous()


def as_mask(picture: Any) -> Frame:
    """Makes a mask, (1, 1, H, W), of any picture: 1 dreams, 0 stays. It is brightness times alpha."""
    return as_frame(picture, under=0).mean(1, keepdim=True)


def _as_tensor(picture: Any) -> Tensor:
    """Copies the pixels of a PIL picture, a figure or an array, (H, W) or (H, W, C), to a tensor."""
    if isinstance(picture, Image.Image):
        picture = pil_pixels(picture)
    elif callable(getattr(picture, "savefig", None)):
        picture = _drawn_figure(picture)
    try:
        array = np.array(picture)
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    except (RuntimeError, TypeError, ValueError):
        raise InputError(f"{picture!r:.60} is no picture: an array or a tensor would do") from None


def pil_pixels(picture: Image.Image) -> NDArray[Any]:
    """Reads a PIL picture's pixels: (H, W, 3), (H, W, 4) where parts are clear, or (H, W) of 16 or 32 bits.

    Raises InputError where it cannot be read.
    """
    try:
        if picture.mode.startswith(("I", "F")):  # Pillow would clip them to 8 bits
            return np.asarray(picture)
        if picture.mode == "La":  # Pillow knows no direct way
            picture = picture.convert("LA")
        return np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"a PIL picture of mode {picture.mode} cannot be read: {error}") from None


def _drawn_figure(figure: Any) -> ImageArray:
    """Draws a matplotlib figure: its pixels, (H, W, 4)."""
    png = BytesIO()
    figure.savefig(png, format="png", dpi="figure", facecolor="auto")
    return np.asarray(Image.open(png).convert("RGBA"))


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
