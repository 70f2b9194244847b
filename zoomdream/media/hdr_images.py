"""Read stills of linear light, OpenEXR and Radiance HDR.

imageio reads Radiance's `.hdr`. EXR is decoded by ffmpeg, in a process of its own: imageio's plugins for it
need a library that is fetched when it is used (FreeImage), an OpenCV that is built with OpenEXR, or PyAV.

Values are taken as light where 1 is white, of the file's own primaries or else of sRGB's.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from zoomdream.media.ffmpeg import ffmpeg_command, run_ffmpeg
from zoomdream.media.image_color import SRGB_PRIMARIES, are_primaries
from zoomdream.media.stored_image import (
    UNKNOWN_COLORS,
    ColorEncoding,
    StoredImage,
    UnreadableImage,
    check_size,
    with_split_alpha,
)
from zoomdream.size import Size

_EXR = b"\x76\x2f\x31\x01"
_RADIANCE = (b"#?RADIANCE", b"#?RGBE")
_RADIANCE_SIZE = re.compile(rb"\n[-+]Y (\d{1,9}) [-+]X (\d{1,9})\n")
_HEADER_BYTES = 1 << 20  # of a Radiance file, in which its size is looked for
_DWA = (8, 9)  # compressions of which ffmpeg reads wrong numbers where alpha has 32 bits
_FFMPEG_COMPRESSIONS = 10  # numbered from 0; it has no later one
_FFMPEG_PIXELS = re.compile(r"Video: rawvideo.*?, (\w+)f(16|32)le\b")
_PLANES = {"gbrp": (2, 0, 1), "gbrap": (2, 0, 1, 3), "gray": (0, 0, 0)}  # of R, G, B and alpha
_DAMAGED = "is damaged or cut short: save it again"
_COMPRESSED = "is an EXR of a compression that cannot be read: save it with ZIP or PIZ"
Planes = list[NDArray[np.floating]]  # three, or four with alpha: (H, W) each


def is_hdr(content: bytes) -> bool:
    """Whether a file's bytes look like OpenEXR or Radiance HDR."""
    return content.startswith((_EXR, *_RADIANCE))


def read_hdr(content: bytes, limit: int) -> StoredImage:
    """Reads a still of linear light, as it is.

    limit: pixels that it may have, which is looked at before any is decoded. Raises UnreadableImage.
    """
    if not content.startswith(_EXR):
        return StoredImage(
            _read_radiance(content, limit), "rgb", encoding=_light_of(SRGB_PRIMARIES)
        )
    header = _exr_header(content)
    planes = _read_exr(content, header, limit)
    light = np.stack([plane.astype(np.float32) for plane in planes], 2)
    primaries, notes = header.primaries, tuple[str, ...]()
    if not are_primaries(primaries):
        primaries, notes = SRGB_PRIMARIES, (UNKNOWN_COLORS.format("chromaticities"),)
    return with_split_alpha(
        light, "rgb", associated=True, encoding=_light_of(primaries), notes=notes
    )


def _light_of(primaries: tuple[float, ...]) -> ColorEncoding:
    return ColorEncoding(primaries, 1.0)


def _read_radiance(content: bytes, limit: int) -> NDArray[np.float32]:
    """Has imageio decode a Radiance file: (H, W, 3)."""
    import imageio.v3 as iio

    lines = _RADIANCE_SIZE.search(content[:_HEADER_BYTES])
    if lines is None:
        raise UnreadableImage(_DAMAGED)
    size = Size(int(lines[2]), int(lines[1]))
    check_size(size, limit)
    try:
        light = iio.imread(
            content, extension=".hdr", plugin="opencv", index=0, flags=cv2.IMREAD_UNCHANGED
        )
    except Exception:  # any, where a file is damaged
        raise UnreadableImage(_DAMAGED) from None
    if light.shape != (*size.shape, 3):
        raise UnreadableImage(_DAMAGED)
    return light.astype(np.float32)


@dataclass(frozen=True)
class _ExrHeader:
    """What the (first) header of an EXR says (openexr.com: File Layout)."""

    attributes: dict[bytes, bytes]
    end: int  # where it does, in bytes
    tiled: bool
    one_part: bool

    def numbers(self, name: bytes, layout: str) -> tuple[float, ...] | None:
        """An attribute's numbers; None where it is not there."""
        value = self.attributes.get(name, b"")
        return struct.unpack(layout, value) if len(value) == struct.calcsize(layout) else None

    @property
    def size(self) -> Size:
        left, top, right, bottom = self.numbers(b"displayWindow", "<4i") or (0, 0, -1, -1)
        return Size(int(right - left + 1), int(bottom - top + 1))

    @property
    def compression(self) -> int:
        (number,) = self.numbers(b"compression", "<B") or (0,)
        return int(number)

    @property
    def primaries(self) -> tuple[float, ...]:
        """x and y of red, green, blue and white; those of sRGB where it does not say."""
        return self.numbers(b"chromaticities", "<8f") or SRGB_PRIMARIES


def _exr_header(content: bytes) -> _ExrHeader:
    """Parses the header; raises UnreadableImage where it has no end."""
    attributes: dict[bytes, bytes] = {}
    place = 8
    try:
        (flags,) = struct.unpack_from("<I", content, 4)
        while content[place] != 0:
            after_name = content.index(b"\0", place)
            after_kind = content.index(b"\0", after_name + 1)
            (length,) = struct.unpack_from("<I", content, after_kind + 1)
            begin = after_kind + 5
            attributes[content[place:after_name]] = content[begin : begin + length]
            place = begin + length
    except (struct.error, ValueError, IndexError):
        raise UnreadableImage(_DAMAGED) from None
    return _ExrHeader(attributes, place + 1, bool(flags & 0x200), not flags & 0x1000)


def _chunks(content: bytes, header: _ExrHeader) -> Iterator[int]:
    """Where each chunk of pixels ends, by the table of their places; raises UnreadableImage.

    The table ends where the first chunk begins.
    """
    place, first = header.end, len(content)
    before = 16 if header.tiled else 4  # bytes of a chunk before its length
    try:
        while place < first:
            (chunk,) = struct.unpack_from("<Q", content, place)
            (length,) = struct.unpack_from("<I", content, chunk + before)
            yield chunk + before + 4 + length
            place, first = place + 8, min(first, chunk)
    except (struct.error, OverflowError):
        raise UnreadableImage(_DAMAGED) from None


def _read_exr(content: bytes, header: _ExrHeader, limit: int) -> Planes:
    """Has ffmpeg decode an EXR, without any conversion; it would fill what is lost with black."""
    check_size(header.size, limit)
    if header.compression >= _FFMPEG_COMPRESSIONS:
        raise UnreadableImage(_COMPRESSED)
    if header.one_part and any(end > len(content) for end in _chunks(content, header)):
        raise UnreadableImage(_DAMAGED)
    ran = run_ffmpeg(
        ffmpeg_command(
            "-max_pixels", str(limit), "-protocol_whitelist", "pipe", "-f", "exr_pipe",
            "-frame_size", str(len(content)), "-i", "pipe:0", "-frames:v", "1",
            "-f", "rawvideo", "pipe:1", level="level+info",
        ),
        content=content,
    )  # fmt: skip
    kind = _FFMPEG_PIXELS.search(ran.stderr.decode(errors="replace"))
    if ran.returncode != 0 or b"[error]" in ran.stderr or kind is None:
        raise UnreadableImage(_DAMAGED)
    if kind[1] not in _PLANES:
        raise UnreadableImage("is an EXR of a kind that cannot be read: save it in colours")
    if kind.group(1, 2) == ("gbrap", "32") and header.compression in _DWA:
        raise UnreadableImage(_COMPRESSED)
    numbers = np.frombuffer(ran.stdout, np.dtype(f"<f{int(kind[2]) // 8}"))
    order = _PLANES[kind[1]]
    if numbers.size != header.size.pixels * len(set(order)):
        raise UnreadableImage(_DAMAGED)
    stored = numbers.reshape(-1, *header.size.shape)
    return [stored[place] for place in order]
