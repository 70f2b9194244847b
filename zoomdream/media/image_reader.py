"""Read picture files as pixels, upright and in sRGB."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps

from zoomdream.errors import InputError
from zoomdream.media.drawing import draw_drawing, is_drawing
from zoomdream.media.frame import WHITE_8, WHITE_16, Frame, as_frame, to_bytes
from zoomdream.media.hdr_images import decode_hdr, is_hdr
from zoomdream.media.image_formats import PILLOW_READS
from zoomdream.process_settings import ProcessSetting
from zoomdream.settings.definitions import MAX_PIXELS
from zoomdream.size import Size

_NO_PICTURE = "holds no picture that can be read; PNG, JPEG, WebP or TIFF would do"


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

    def undo() -> None:
        cv2.utils.logging.setLogLevel(level)
        ignoring.__exit__(None, None, None)
        Image.MAX_IMAGE_PIXELS = limit

    return undo


relaxed_decoders = ProcessSetting(_relax_decoders)
"""Pillow has no limit of pixels of its own, as there is ours; neither it nor OpenCV warns."""


def read_still(path: Path, limit: int = MAX_PIXELS, fill: Size | None = None) -> Frame:
    """Reads a picture file as a Frame: alpha over white, 16 bits kept; else as `decode_image`."""
    pixels = decode_image(path, limit, fill).pixels
    try:
        return as_frame(pixels)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def decode_image(path: Path, limit: int = MAX_PIXELS, fill: Size | None = None) -> DecodedImage:
    """Decodes a picture file's own pixels: turned as its EXIF says, in sRGB by its colour profile.

    Reads JPEG, PNG, WebP, TIFF, BMP, AVIF and the first picture of a GIF, also in CMYK or with a palette;
    OpenEXR and Radiance HDR, encoded and clipped (see `hdr_images`); SVG with the extra `svg` and the first
    page of a PDF with the extra `pdf`, drawn on white so that they fill `fill`. The name may be in any
    script. limit: pixels that it may have, which is looked at before any is decoded.

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
            drawn = _decode(draw_drawing(content, fill, limit), limit).pixels
            return DecodedImage(to_bytes(as_frame(drawn)))
        if is_hdr(content):
            with relaxed_decoders:
                return DecodedImage(*decode_hdr(content, limit))
        return _decode(content, limit)
    except ValueError as error:
        raise InputError(f"{path} {error}") from None


def _decode(content: bytes, limit: int) -> DecodedImage:
    """Decodes what Pillow knows; raises ValueError with half a sentence."""
    with relaxed_decoders:
        picture = _opened(content)
        size = Size(*picture.size)
        if size.pixels > limit:
            raise ValueError(
                f"has {size} pixels, and {limit:,} are the most: `max_pixels` lifts the limit"
            )
        if picture.mode in ("I", "F"):
            raise ValueError("has 32 bits a channel: save it with 8 or 16")
        try:
            deep = ";16" in str(picture.tile)
            decoded = _decode_deep(content, picture) if deep else decode_pil(picture)
        except Exception as error:
            reason = str(error).partition("\n")[0][:100] or type(error).__name__
            raise ValueError(f"is damaged or cut short ({reason}): save it again") from None
    if decoded is None:
        raise ValueError(_NO_PICTURE)
    return decoded


def _opened(content: bytes) -> ImageFile.ImageFile:
    """Has Pillow read a file's header."""
    Image.init()
    formats = [name for name in PILLOW_READS if name in Image.OPEN]  # it may be built with fewer
    try:
        return Image.open(BytesIO(content), formats=formats)
    except Exception:  # any, where a file is damaged
        raise ValueError(_NO_PICTURE) from None


def decode_pil(picture: Image.Image) -> DecodedImage:
    """Decodes a PIL picture of 8 bits, in whatever colours it is kept."""
    picture.load()
    return _in_srgb(ImageOps.exif_transpose(picture))


def _decode_deep(content: bytes, picture: Image.Image) -> DecodedImage | None:
    """Decodes a picture of 16 bits, which Pillow would make 8. picture: the same, with its profile."""
    data = np.frombuffer(content, np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is not None and pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA)
    else:  # only this mode turns the picture as EXIF says (IMREAD_COLOR_RGB spoils deep TIFFs)
        pixels = cv2.imdecode(data, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
        pixels = None if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    profile = picture.info.get("icc_profile")
    if pixels is None or not profile or _is_srgb(profile):
        return None if pixels is None else DecodedImage(pixels)
    shallow = Image.fromarray((pixels / (WHITE_16 / WHITE_8) + 0.5).astype(np.uint8))
    shallow.info["icc_profile"] = profile
    decoded = _in_srgb(shallow)
    notes = ("its 16 bits became 8 with its colour profile", *decoded.notes)
    return DecodedImage(decoded.pixels, notes)


def _in_srgb(picture: Image.Image) -> DecodedImage:
    """Converts by the profile that the picture carries; one without a profile is in sRGB."""
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    profile = picture.info.get("icc_profile")
    if not profile or _is_srgb(profile):
        return DecodedImage(np.asarray(picture.convert(mode)))
    one_clear = mode == "RGBA" and picture.mode != "RGBA"  # one colour of it, or of its palette
    if one_clear or picture.mode not in ("L", "RGB", "RGBA", "CMYK", "LAB"):
        picture = picture.convert(mode)
    try:
        converted = ImageCms.profileToProfile(
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
    assert converted is not None
    return DecodedImage(np.asarray(converted))


def _is_srgb(profile: bytes) -> bool:
    """Whether a profile calls itself sRGB; one that cannot be read does not."""
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        name = ImageCms.getProfileDescription(own).lower()
        return "srgb" in name and "linear" not in name
    except (ImageCms.PyCMSError, OSError):
        return False


def read_mask(path: Path, limit: int = MAX_PIXELS) -> Frame:
    """Reads a mask picture's brightness, (1, 1, H, W): 1 dreams, 0 stays."""
    return read_still(path, limit).mean(1, keepdim=True)
