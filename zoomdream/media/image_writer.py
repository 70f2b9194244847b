"""Write single pictures with their depth, their alpha and the colours of sRGB."""

import contextlib
import struct
import tempfile
import zlib
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from zoomdream.errors import OutputError
from zoomdream.files import check_free, flush_file, link_target, place_file, readable_errors
from zoomdream.media.image_formats import ImageFormat, image_format

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
_PNG_HEADER_BYTES = 33  # the signature and the chunk IHDR; sRGB may follow it


@contextlib.contextmanager
def staged_pictures(target: Path) -> Iterator["StagedPictures"]:
    """A hidden folder beside the target for it and others; none has its name before all are whole."""
    with (
        readable_errors(target),
        tempfile.TemporaryDirectory(
            dir=link_target(target).parent, prefix=f".{target.name}-"
        ) as folder,
    ):
        yield StagedPictures(Path(folder))


class StagedPictures:
    """Files that are written under other names until `place` renames them. Methods raise OutputError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder  # its name begins with a dot
        self._pictures: list[Path] = []  # the targets that are no text files
        self._staged: dict[Path, Path] = {}  # where each lies until then, by its target

    def add(self, target: Path, pixels: Pixels) -> None:
        """Writes a picture: (H, W, 3), or (H, W, 4) with alpha; uint8, or uint16 for a deep format."""
        self._write(target, encode_image(image_format(target), pixels))
        self._pictures.append(target)

    def add_text(self, target: Path, text: str) -> None:
        """Writes a text file."""
        self._write(target, text.encode())

    def _write(self, target: Path, content: bytes) -> None:
        staged = self._folder / target.name
        with readable_errors(target):
            staged.write_bytes(content)
            flush_file(staged)
        self._staged[target] = staged

    def place(self, force: bool = True) -> None:
        """Gives all of them their names. force: replaces what has got one of them meanwhile.

        Where one cannot be put, those that are left stay in a folder that the OutputError names.
        """
        try:
            for target in self._pictures:
                check_free(target, force)
            for target, staged in self._staged.items():
                with readable_errors(target):
                    place_file(staged, target)
        except OutputError as error:
            kept = self._folder.with_name(self._folder.name.removeprefix("."))
            with readable_errors(kept):
                self._folder.rename(kept)
            raise OutputError(f"{error}; what was made is in {kept}") from None


def encode_image(form: ImageFormat, pixels: Pixels, **options: Any) -> bytes:
    """Encodes pixels, (H, W, 3 or 4), as a picture file; uint16 where the format is deep.

    options: Pillow's, instead of the format's own and an sRGB profile.
    """
    if pixels.dtype == np.uint16:
        return _encode_deep(form, pixels)
    file = BytesIO()
    options = options or {"icc_profile": srgb_profile(), **dict(form.options)}
    Image.fromarray(pixels).save(file, form.name, **options)
    return file.getvalue()


def _encode_deep(form: ImageFormat, pixels: Pixels) -> bytes:
    """Encodes 16 bits a channel, which Pillow has no mode for."""
    code = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    suffix = ".png" if form.name == "PNG" else ".tiff"
    good, encoded = cv2.imencode(suffix, cv2.cvtColor(pixels, code))
    assert good
    content = encoded.tobytes()
    if form.name != "PNG":
        return content
    body = b"sRGB\x00"  # a chunk's kind and content
    chunk = struct.pack(">I", 1) + body + struct.pack(">I", zlib.crc32(body))
    return content[:_PNG_HEADER_BYTES] + chunk + content[_PNG_HEADER_BYTES:]


@cache
def srgb_profile() -> bytes:
    """The ICC profile of sRGB, always of the same bytes: the same dream is the same file."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    date = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # instead of that of its making
    return profile[:24] + date + profile[36:]
