"""What EXIF says of a picture's colours and of how it is to be turned, however oddly it is written."""

import contextlib
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from zoomdream.media.image_color import ADOBE_RGB
from zoomdream.media.stored_image import ColorEncoding, Samples

_ADOBE_RGB, _UNCALIBRATED = 2, 0xFFFF  # of ColorSpace; the first is not of the standard, but common


def parsed_exif(content: bytes) -> Image.Exif:
    """Parses a block of EXIF; what cannot be parsed is empty."""
    exif = Image.Exif()
    with contextlib.suppress(Exception):  # any, where it is damaged
        exif.load(content)
    return exif


def exif_orientation(exif: Image.Exif) -> int:
    """How the picture is to be turned, 1 to 8; 1 where that is not said, or makes no sense."""
    number = _whole(exif, ExifTags.Base.Orientation)
    return number if number in range(1, 9) else 1


def exif_encoding(exif: Image.Exif) -> ColorEncoding | None:
    """Adobe RGB where EXIF says so, else None, which is sRGB."""
    with contextlib.suppress(Exception):  # any, where it is damaged
        space = _whole(exif.get_ifd(ExifTags.IFD.Exif), ExifTags.Base.ColorSpace)
        index = exif.get_ifd(ExifTags.IFD.Interop).get(1, "")
        index = index.decode("latin1") if isinstance(index, bytes) else str(index)
        if space == _ADOBE_RGB or (space == _UNCALIBRATED and index.startswith("R03")):
            return ADOBE_RGB
    return None


def _whole(tags: Any, tag: int) -> int:
    """A tag's whole number, of whatever type it was written as; 0 where it is none."""
    with contextlib.suppress(Exception):  # any, where it is damaged
        value = tags.get(tag)
        if isinstance(value, tuple | list):
            value = value[0]
        if isinstance(value, bytes) and len(value) == 1:
            value = value[0]
        return int(value)
    return 0


def upright(pixels: Samples, orientation: int) -> Samples:
    """Turns and mirrors pixels, (H, W, C), as EXIF's orientation 1 to 8 says."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
