"""Picture files as pixels, upright and in sRGB."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps

from zoomdream.errors import InputError
from zoomdream.media.drawing import draw_drawing, is_drawing
from zoomdream.media.frame import Frame, as_frame, to_bytes
from zoomdream.settings.model import MAX_PIXELS
from zoomdream.size import Size

READABLE_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")


@dataclass(frozen=True)
class DecodedImage:
    """What a picture file holds, upright and in sRGB."""

    pixels: np.ndarray  # (H, W, 3), or (H, W, 4) with alpha; uint8 or uint16, RGB
    notes: tuple[str, ...] = ()  # what could not be kept


def read_still(path: Path, limit: int = MAX_PIXELS, fill: Size | None = None) -> Frame:
    """A picture file as a Frame: alpha over white, 16 bits kept; else as `scan`."""
    pixels = decode_image(path, limit, fill).pixels
    try:
        return as_frame(pixels)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def decode_image(path: Path, limit: int = MAX_PIXELS, fill: Size | None = None) -> DecodedImage:
    """A picture file's own pixels: turned as its EXIF says, in sRGB by its colour profile.

    Reads JPEG, PNG, WebP, TIFF, BMP, AVIF and the first picture of a GIF, also in CMYK or with a palette;
    SVG with the extra `svg` and the first page of a PDF with the extra `pdf`, drawn on white so that they
    fill `fill`. The name may be in any script. limit: pixels that it may have, which is
    looked at before any is decoded.

    Raises InputError where there is no such file or no picture in it.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; name a picture in it") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    try:
        if is_drawing(content):
            drawn = _pixels(draw_drawing(content, fill, limit), limit).pixels
            return DecodedImage(to_bytes(as_frame(drawn)))
        return _pixels(content, limit)
    except ValueError as error:
        raise InputError(f"{path} {error}") from None


def _pixels(content: bytes, limit: int) -> DecodedImage:
    """The pixels of a picture file; raises ValueError with half a sentence."""
    nothing = "holds no picture that can be read; PNG, JPEG, WebP or TIFF would do"
    Image.init()
    known = [
        name for name in READABLE_FORMATS if name in Image.OPEN
    ]  # Pillow may be built with fewer
    try:
        with _unlimited(), warnings.catch_warnings(action="ignore"):
            picture = Image.open(BytesIO(content), formats=known)
    except Exception:  # any, where a file is damaged
        raise ValueError(nothing) from None
    size = Size(*picture.size)
    if size.pixels > limit:
        raise ValueError(
            f"has {size} pixels, and {limit:,} are the most: `max_pixels` lifts the limit"
        )
    if picture.mode in ("I", "F"):
        raise ValueError("has 32 bits a channel: save it with 8 or 16")
    try:
        with warnings.catch_warnings(action="ignore"):
            deep = ";16" in str(picture.tile)
            found = _deep(content, picture) if deep else _shallow(picture)
    except Exception as error:
        reason = str(error).partition("\n")[0][:100] or type(error).__name__
        raise ValueError(f"is damaged or cut short ({reason}): save it again") from None
    if found is None:
        raise ValueError(nothing)
    return found


@contextmanager
def _unlimited() -> Iterator[None]:
    """Without Pillow's own limit, as there is ours."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _shallow(picture: Image.Image) -> DecodedImage:
    """A picture of 8 bits, in whatever colours it is kept."""
    picture.load()
    return _in_srgb(ImageOps.exif_transpose(picture))


def _deep(content: bytes, picture: Image.Image) -> DecodedImage | None:
    """A picture of 16 bits, which Pillow would make 8. picture: the same, with its profile."""
    data = np.frombuffer(content, np.uint8)
    found = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if found is not None and found.ndim == 3 and found.shape[2] == 4:
        found = cv2.cvtColor(found, cv2.COLOR_BGRA2RGBA)
    else:  # only this mode turns the picture as EXIF says
        found = cv2.imdecode(data, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR_RGB)
    profile = picture.info.get("icc_profile")
    if found is None or not profile or _is_srgb(profile):
        return None if found is None else DecodedImage(found)
    eight = Image.fromarray((found / 257 + 0.5).astype(np.uint8))
    eight.info["icc_profile"] = profile
    made = _in_srgb(eight)
    return DecodedImage(made.pixels, ("its 16 bits became 8 with its colour profile", *made.notes))


def _in_srgb(picture: Image.Image) -> DecodedImage:
    """By the profile that the picture carries; one without a profile is in sRGB."""
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    profile = picture.info.get("icc_profile")
    if not profile or _is_srgb(profile):
        return DecodedImage(np.asarray(picture.convert(mode)))
    clear = mode == "RGBA" and picture.mode != "RGBA"  # one colour of it, or of its palette, is
    if clear or picture.mode not in ("L", "RGB", "RGBA", "CMYK", "LAB"):
        picture = picture.convert(mode)
    try:
        made = ImageCms.profileToProfile(
            picture,
            ImageCms.ImageCmsProfile(BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            mode,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError):
        note = "its colour profile cannot be used: its colours are taken as sRGB"
        return DecodedImage(np.asarray(picture.convert(mode)), (note,))
    assert made is not None
    return DecodedImage(np.asarray(made))


def _is_srgb(profile: bytes) -> bool:
    """Whether a profile calls itself sRGB; one that cannot be read does not."""
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        said = ImageCms.getProfileDescription(own).lower()
        return "srgb" in said and "linear" not in said
    except (ImageCms.PyCMSError, OSError):
        return False


def read_mask(path: Path, limit: int = MAX_PIXELS) -> Frame:
    """A mask picture's brightness, (1, 1, H, W): 1 dreams, 0 stays."""
    return read_still(path, limit).mean(1, keepdim=True)
