"""Read picture files as pixels, upright and in sRGB."""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from zoomdream.errors import InputError
from zoomdream.files import readable_inputs
from zoomdream.media.boxed_readers import JPEG_2000, is_avif, read_avif, read_jpeg2000
from zoomdream.media.drawing import draw_drawing, is_drawing
from zoomdream.media.exif import upright
from zoomdream.media.frame import Frame, as_frame, as_mask, to_bytes
from zoomdream.media.hdr_images import is_hdr, read_hdr
from zoomdream.media.image_color import in_srgb
from zoomdream.media.image_formats import unread_format
from zoomdream.media.jpeg_reader import JPEG, read_jpeg
from zoomdream.media.netpbm_reader import NETPBM, read_netpbm
from zoomdream.media.pillow_reader import read_by_pillow
from zoomdream.media.png_reader import PNG, read_png
from zoomdream.media.raw_reader import is_raw, read_raw
from zoomdream.media.stored_image import StoredImage, UnreadableImage
from zoomdream.media.tiff_reader import TIFF, read_tiff
from zoomdream.process_settings import ProcessSetting
from zoomdream.settings.definitions import MAX_PIXELS
from zoomdream.size import Size


@dataclass(frozen=True)
class DecodedImage:
    """What a picture file holds, upright and in sRGB."""

    pixels: np.ndarray  # (H, W, 3), or (H, W, 4) with alpha; uint8 or uint16, RGB
    notes: tuple[str, ...] = ()  # what could not be kept


def _relax_decoders() -> Callable[[], None]:
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    ignoring = warnings.catch_warnings(action="ignore")
    ignoring.__enter__()
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    logger = logging.getLogger("tifffile")
    told, logger.disabled = logger.disabled, True

    def undo() -> None:
        logger.disabled = told
        cv2.utils.logging.setLogLevel(level)
        ignoring.__exit__(None, None, None)
        Image.MAX_IMAGE_PIXELS = limit

    return undo


relaxed_decoders = ProcessSetting(_relax_decoders)
"""Pillow has no limit of pixels of its own, as there is ours; neither it, tifffile nor OpenCV warns."""


def read_still(path: Path, limit: int = MAX_PIXELS, fill: Size | None = None) -> Frame:
    """Reads a picture file as a Frame: alpha over white, 16 bits kept; else as `decode_image`."""
    return _made_of(path, as_frame, decode_image(path, limit, fill).pixels)


def read_mask(path: Path, limit: int = MAX_PIXELS) -> Frame:
    """Reads a mask picture, (1, 1, H, W): 1 dreams, 0 stays; brightness times alpha, also of a drawing."""
    return _made_of(path, as_mask, _decode_file(path, limit, None)[0].pixels)


def _made_of(path: Path, make: Callable[[Any], Frame], pixels: np.ndarray) -> Frame:
    try:
        return make(pixels)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def decode_image(path: Path, limit: int = MAX_PIXELS, fill: Size | None = None) -> DecodedImage:
    """Decodes a picture file's own pixels: turned as its EXIF says, in sRGB by its colour profile.

    Reads JPEG, PNG, WebP, TIFF, BMP, AVIF, JPEG 2000, Netpbm and the first picture of a GIF, of any depth and
    in any colours; OpenEXR and Radiance HDR, encoded and clipped (see `hdr_images`); cameras' raw files with
    the extra `raw`; SVG with the extra `svg` and the first page of a PDF with the extra `pdf`, drawn on white
    so that they fill `fill`. The name may be in any script. limit: pixels that it may have, which is looked
    at before any is decoded.

    Raises InputError where there is no such file or no picture in it.
    """
    decoded, is_drawn = _decode_file(path, limit, fill)
    return DecodedImage(to_bytes(as_frame(decoded.pixels))) if is_drawn else decoded


def _decode_file(path: Path, limit: int, fill: Size | None) -> tuple[DecodedImage, bool]:
    """Decodes a file as `decode_image` does, a drawing without anything under it; and whether it is one."""
    with readable_inputs(path, "a picture"):
        content = path.read_bytes()
    try:
        if is_drawing(content):
            return _decode(draw_drawing(content, fill, limit), limit), True
        return _decode(content, limit), False
    except ValueError as error:
        raise InputError(f"{path} {error}") from None


def _decode(content: bytes, limit: int) -> DecodedImage:
    """Decodes any kind of picture; raises UnreadableImage."""
    with relaxed_decoders:
        try:
            stored = _reader(content)(content, limit)
            pixels, notes = in_srgb(stored)
        except UnreadableImage:
            raise
        except MemoryError:
            raise UnreadableImage("needs more memory than there is: make it smaller") from None
        except Exception as error:
            reason = str(error).partition("\n")[0][:100] or type(error).__name__
            raise UnreadableImage(f"is damaged or cut short ({reason}): save it again") from None
    return DecodedImage(upright(pixels, stored.orientation), notes)


def _reader(content: bytes) -> Callable[[bytes, int], StoredImage]:
    """The reader for a kind of file; raises UnreadableImage for those that there is none for."""
    if content.startswith(PNG):
        return read_png
    if content.startswith(JPEG):
        return read_jpeg
    if content.startswith(TIFF):
        return read_tiff
    if content.startswith(JPEG_2000):
        return read_jpeg2000
    if content.startswith(NETPBM):
        return read_netpbm
    if is_hdr(content):
        return read_hdr
    if is_avif(content):
        return read_avif
    if is_raw(content):
        return read_raw
    if other := unread_format(content):
        raise UnreadableImage(other)
    return read_by_pillow
