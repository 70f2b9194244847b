"""A picture as its file keeps it: not turned upright yet, and in colours of its own.

Each reader of a kind of file gives a StoredImage, whatever the depth; `image_color` brings it to sRGB.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoomdream.media.frame import WHITE_8, WHITE_16
from zoomdream.size import Size

Channels = Literal["grey", "rgb", "cmyk", "lab"]
Samples = NDArray[Any]
Curve = Literal["srgb", "pq", "hlg"] | float
CHANNEL_COUNTS: dict[Channels, int] = {"grey": 1, "rgb": 3, "cmyk": 4, "lab": 3}
NO_PICTURE = "holds no picture that can be read; PNG, JPEG, WebP or TIFF would do"
SEVERAL_PICTURES = "it holds several pictures: the first is taken"
UNUSABLE_PROFILE = "its colour profile cannot be used: its colours are taken as sRGB"
UNKNOWN_COLORS = "its colours are told in a way that is not known ({}): they are taken as sRGB"


class UnreadableImage(ValueError):  # noqa: N818
    """Half a sentence on why a picture file cannot be read; the file's name goes before it."""


@dataclass(frozen=True)
class ColorEncoding:
    """What red, green, blue and white are, and by which curve numbers become light.

    primaries: x and y (CIE 1931) of red, green, blue and white. curve: `srgb`, `pq` (SMPTE ST 2084), `hlg`
    (ITU-R BT.2100), or an exponent: light is the number to that power, so 1 is linear light. full_range:
    whether black and white are the least and the greatest number, and not 16 and 235 of 255.
    """

    primaries: tuple[float, ...]
    curve: Curve = "srgb"
    full_range: bool = True


@dataclass(frozen=True)
class StoredImage:
    """A picture's samples, and all that its file says of them.

    samples: (H, W, C), C by `channels`; uint8 or uint16, of which the greatest number is white (for CMYK,
    most ink; for L*a*b*, as ICC encodes it), or float32, of which 1 is. alpha: (H, W), of the same type and
    range. associated: whether the colours were multiplied by alpha. profile: an ICC profile, which goes
    before `encoding`; without both, colours are sRGB. orientation: as EXIF numbers them, 1 to 8. notes: what
    could not be kept.
    """

    samples: Samples
    channels: Channels
    alpha: Samples | None = None
    associated: bool = False
    profile: bytes | None = None
    encoding: ColorEncoding | None = None
    orientation: int = 1
    notes: tuple[str, ...] = ()


def check_size(size: Size, limit: int) -> None:
    """Raises UnreadableImage where there are no pixels, or more than `limit`."""
    if size.shorter < 1:
        raise UnreadableImage("is damaged or cut short (it has no pixels): save it again")
    if size.pixels > limit:
        raise UnreadableImage(
            f"has {size} pixels, and {limit:,} are the most: `max_pixels` lifts the limit"
        )


def white_of(samples: Samples) -> int:
    """What white is, by the type of the numbers."""
    return {np.dtype(np.uint8): WHITE_8, np.dtype(np.uint16): WHITE_16}.get(samples.dtype, 1)


def to_full_range(samples: Samples, white: int) -> Samples:
    """Stretches whole numbers 0..white to the range of uint8, or of uint16 where white is more than 255."""
    full, dtype = (WHITE_8, np.uint8) if white <= WHITE_8 else (WHITE_16, np.uint16)
    if white == full:
        return samples.astype(dtype)
    if white > WHITE_16:
        return np.rint(samples * (full / white)).astype(dtype)
    table = np.rint(np.arange(white + 1) * (full / white)).astype(dtype)
    return np.asarray(table[np.minimum(samples, white)])


def with_split_alpha(samples: Samples, channels: Channels, **more: Any) -> StoredImage:
    """Makes a StoredImage of samples (H, W) or (H, W, C), of which one channel too many is alpha."""
    samples = samples[..., None] if samples.ndim == 2 else samples
    count = CHANNEL_COUNTS[channels]
    alpha = samples[..., count] if samples.shape[2] > count else None
    return StoredImage(samples[..., :count], channels, alpha, **more)
