"""Single pictures become files, with their depth, their alpha and the colours of sRGB."""

import contextlib
import struct
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from zoomdream.errors import OutputError, UsageError
from zoomdream.files import check_file, flush_file, flush_folder, readable_errors
from zoomdream.size import Size

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class ImageFormat:
    """A kind of picture file."""

    name: str
    longest: int  # px of a side, at most
    alpha: bool = True
    deep: bool = False  # 16 bits a channel
    options: tuple[tuple[str, Any], ...] = ()


_JPEG = ImageFormat("JPEG", 65_500, alpha=False, options=(("quality", 95), ("subsampling", 0)))
_TIFF = ImageFormat("TIFF", 2**31 - 1, deep=True, options=(("compression", "tiff_deflate"),))
IMAGE_FORMATS = {
    ".png": ImageFormat("PNG", 2**31 - 1, deep=True, options=(("compress_level", 4),)),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": ImageFormat("WebP", 16_383, options=(("quality", 95),)),
    ".tif": _TIFF,
    ".tiff": _TIFF,
}


def image_format(target: Path) -> ImageFormat:
    """The format that a name asks for; raises UsageError."""
    try:
        return IMAGE_FORMATS[target.suffix.lower()]
    except KeyError:
        raise UsageError(
            f'"{target.name}" is no kind of picture: name it .png, .jpg, .webp or .tiff'
        ) from None


def check_image_target(target: Path, force: bool) -> None:
    """Raises UsageError and OutputError where a picture could not be put, before any work is done."""
    image_format(target)
    check_file(target, force)


def check_image_size(target: Path, size: Size) -> None:
    """Raises OutputError where a side is more than the format holds."""
    form = image_format(target)
    if size.longer > form.longest:
        raise OutputError(
            f"{target.name}: {form.name} holds {form.longest} pixels a side, and this has {size.longer}: "
            "name it .png or .tiff"
        )


@contextlib.contextmanager
def staged_pictures(target: Path) -> Iterator["StagedPictures"]:
    """Where a picture, and others beside it, are made; none of them has its name before all are whole."""
    with (
        readable_errors(target),
        tempfile.TemporaryDirectory(
            dir=target.absolute().parent, prefix=f".{target.name}-"
        ) as place,
    ):
        yield StagedPictures(Path(place))


class StagedPictures:
    """Pictures that wait for their names. Its methods raise OutputError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[Path, Path] = {}

    def add(self, target: Path, pixels: Pixels) -> None:
        """A picture: (H, W, 3), or (H, W, 4) with alpha; uint8, or uint16 where the format is deep."""
        self._put(target, encode_image(image_format(target), pixels))

    def add_text(self, target: Path, text: str) -> None:
        self._put(target, text.encode())

    def _put(self, target: Path, content: bytes) -> None:
        part = self._folder / str(len(self._made))
        with readable_errors(target):
            part.write_bytes(content)
            flush_file(part)
        self._made[target] = part

    def place(self) -> None:
        """Gives all of them their names; what had one of them is replaced."""
        for target, part in self._made.items():
            with readable_errors(target):
                part.replace(target)
        for folder in {target.absolute().parent for target in self._made}:
            flush_folder(folder)


def encode_image(form: ImageFormat, pixels: Pixels) -> bytes:
    """A picture file's bytes."""
    if pixels.dtype == np.uint16:
        return _deep(form, pixels)
    made = BytesIO()
    picture = Image.fromarray(pixels)
    picture.save(made, form.name, icc_profile=_srgb(), **dict(form.options))
    return made.getvalue()


def _deep(form: ImageFormat, pixels: Pixels) -> bytes:
    """16 bits a channel, which Pillow has no mode for."""
    code = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    good, made = cv2.imencode(".png" if form.name == "PNG" else ".tiff", cv2.cvtColor(pixels, code))
    assert good
    content = made.tobytes()
    if form.name != "PNG":
        return content
    body = b"sRGB\x00"  # the chunk that says so, after the header's 33 bytes
    chunk = struct.pack(">I", 1) + body + struct.pack(">I", zlib.crc32(body))
    return content[:33] + chunk + content[33:]


@cache
def _srgb() -> bytes:
    """The profile."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    when = struct.pack(
        ">6H", 2000, 1, 1, 0, 0, 0
    )  # not when it was made: the same dream, the same file
    return made[:24] + when + made[36:]
