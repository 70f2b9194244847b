"""Read by Pillow the kinds of pictures that have 8 bits a channel: JPEG, WebP, GIF, BMP, PBM."""

import contextlib
import struct
from io import BytesIO

import numpy as np
from PIL import Image, ImageFile

from zoomdream.media.exif import exif_encoding, exif_orientation
from zoomdream.media.image_formats import PILLOW_READS
from zoomdream.media.stored_image import (
    NO_PICTURE,
    SEVERAL_PICTURES,
    Channels,
    StoredImage,
    UnreadableImage,
    check_size,
    with_split_alpha,
)
from zoomdream.size import Size

_CHANNELS: dict[str, Channels] = {
    "L": "grey", "LA": "grey", "RGB": "rgb", "RGBA": "rgb", "CMYK": "cmyk", "LAB": "lab",
}  # fmt: skip
_OTHER_MODES = {"1": "L", "La": "LA"}  # what they are converted to, where that is not RGB
_BMP_HEADER = 14  # byte at which it begins
_WITH_PREVIEWS = "MPO"  # a JPEG whose further pictures are previews, or maps of its brightness


def read_by_pillow(
    content: bytes, limit: int, page: int = 0, notes: tuple[str, ...] = ()
) -> StoredImage:
    """Reads a picture, of several the one of number `page`.

    Raises UnreadableImage, and others where it is damaged.
    """
    picture = opened(content, limit)
    if page:
        picture.seek(page)
    elif not notes and picture.format != _WITH_PREVIEWS and _is_animated(picture):
        notes = (SEVERAL_PICTURES,)
    picture.load()
    return stored_picture(picture, picture.info.get("icc_profile") or _bmp_profile(content), notes)


def stored_picture(
    picture: Image.Image, profile: bytes | None, notes: tuple[str, ...] = ()
) -> StoredImage:
    """Takes the samples of 8 bits that Pillow has read, and what it says of them."""
    exif = read_exif(picture)
    encoding = None if profile else exif_encoding(exif)
    plain = _plain(picture)
    samples = np.asarray(plain)
    if plain.mode == "LAB":  # Pillow keeps a* and b* with their signs
        samples = samples ^ np.array([0, 0x80, 0x80], np.uint8)
    return with_split_alpha(
        samples, _CHANNELS[plain.mode], profile=profile, encoding=encoding,
        orientation=exif_orientation(exif), notes=notes,
    )  # fmt: skip


def opened(content: bytes, limit: int) -> ImageFile.ImageFile:
    """Has Pillow read a file's header; raises UnreadableImage where it cannot, or it is too large."""
    Image.init()
    formats = [name for name in PILLOW_READS if name in Image.OPEN]  # it may be built with fewer
    try:
        picture = Image.open(BytesIO(content), formats=formats)
    except Exception:  # any, where a file is damaged
        raise UnreadableImage(NO_PICTURE) from None
    check_size(Size(*picture.size), limit)
    return picture


def read_exif(picture: Image.Image) -> Image.Exif:
    """A picture's EXIF; empty where it is damaged."""
    with contextlib.suppress(Exception):
        return picture.getexif()
    return Image.Exif()


def _bmp_profile(content: bytes) -> bytes | None:
    """The profile that a BMP of the fifth version carries, which Pillow does not look at."""
    if content[:2] != b"BM" or content[_BMP_HEADER + 56 :][:4] != b"DEBM":
        return None
    place, length = struct.unpack_from("<II", content, _BMP_HEADER + 112)
    return content[_BMP_HEADER + place :][:length] or None


def _is_animated(picture: Image.Image) -> bool:
    """Whether there are more pictures than one; whatever is wrong with the others does not matter."""
    with contextlib.suppress(Exception):
        animated = bool(getattr(picture, "is_animated", False))
        picture.seek(0)
        return animated
    return False


def _plain(picture: Image.Image) -> Image.Image:
    """The picture in a mode that needs no palette, and names no colour that is clear."""
    mode = picture.mode
    if mode in _CHANNELS and "transparency" not in picture.info:
        return picture
    if mode in _OTHER_MODES:
        return picture.convert(_OTHER_MODES[mode])
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")
