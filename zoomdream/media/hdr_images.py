"""Read stills of linear light, OpenEXR and Radiance HDR, and encode them for a screen.

imageio reads Radiance's `.hdr`. EXR is decoded by ffmpeg, in a process of its own: imageio's plugins for it
need a library that is fetched when it is used (FreeImage), an OpenCV that is built with OpenEXR, or PyAV.

Values are taken as light of sRGB's primaries where 1 is white. What is brighter is clipped.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from zoomdream.media.color import encode_srgb
from zoomdream.media.ffmpeg import ffmpeg_command, run_ffmpeg
from zoomdream.media.frame import WHITE_16
from zoomdream.size import Size

_EXR = b"\x76\x2f\x31\x01"
_RADIANCE = (b"#?RADIANCE", b"#?RGBE")
_RADIANCE_SIZE = re.compile(rb"\n[-+]Y (\d{1,9}) [-+]X (\d{1,9})\n")
_HEADER_BYTES = 1 << 20  # of a Radiance file, in which its size is looked for
_SRGB_PRIMARIES = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)  # x and y of red .. white
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


def decode_hdr(content: bytes, limit: int) -> tuple[NDArray[np.uint16], tuple[str, ...]]:
    """Decodes a still of linear light: sRGB-encoded pixels, (H, W, 3) or (H, W, 4), and what was lost.

    limit: pixels that it may have, which is looked at before any is decoded. Raises ValueError with half a
    sentence: what is wrong with it.
    """
    notes = []
    if content.startswith(_EXR):
        header = _exr_header(content)
        planes = _read_exr(content, header, limit)
        if not header.has_srgb_primaries:
            notes.append("its primaries are not those of sRGB: its colours are taken as sRGB")
    else:
        planes = _read_radiance(content, limit)
    pixels, clipped = _encoded(planes)
    if clipped:
        percent = max(0.01, 100 * clipped)
        notes.insert(0, f"{percent:.2g} % of its pixels are brighter than white: clipped")
    return pixels, tuple(notes)


def _encoded(planes: Planes) -> tuple[NDArray[np.uint16], float]:
    """Encodes planes of light for a screen; also gives the share of pixels that are clipped.

    Colours that lie on black by their alpha are freed from it.
    """
    pixels = np.empty((*planes[0].shape, len(planes)), np.uint16)
    alpha = _numbers(planes[3]).clip(0, 1) if len(planes) == 4 else None
    bright = np.zeros(planes[0].shape, bool)
    for number, plane in enumerate(planes[:3]):  # one by one, as floats take much
        light = _numbers(plane)
        if alpha is not None:
            light = np.divide(light, alpha, out=np.zeros_like(light), where=alpha > 0)
        bright |= light > 1
        encoded = encode_srgb(torch.from_numpy(light.clip(0, 1)))
        pixels[..., number] = encoded.mul_(WHITE_16).round_().numpy()
    if alpha is not None:
        pixels[..., 3] = np.rint(alpha * WHITE_16)
    return pixels, float(bright.mean())


def _numbers(plane: NDArray[np.floating]) -> NDArray[np.float32]:
    """float32, with 0 where there is no number."""
    light: NDArray[np.float32] = np.nan_to_num(
        plane.astype(np.float32), nan=0, posinf=np.inf, neginf=-np.inf
    )
    return light


def _check_size(size: Size, limit: int) -> None:
    """Raises ValueError where there are no pixels, or too many."""
    if size.shorter < 1:
        raise ValueError(_DAMAGED)
    if size.pixels > limit:
        raise ValueError(
            f"has {size} pixels, and {limit:,} are the most: `max_pixels` lifts the limit"
        )


def _read_radiance(content: bytes, limit: int) -> Planes:
    """Has imageio decode a Radiance file."""
    import imageio.v3 as iio

    lines = _RADIANCE_SIZE.search(content[:_HEADER_BYTES])
    if lines is None:
        raise ValueError(_DAMAGED)
    size = Size(int(lines[2]), int(lines[1]))
    _check_size(size, limit)
    try:
        light = iio.imread(
            content, extension=".hdr", plugin="opencv", index=0, flags=cv2.IMREAD_UNCHANGED
        )
    except Exception:  # any, where a file is damaged
        raise ValueError(_DAMAGED) from None
    if light.shape != (*size.shape, 3):
        raise ValueError(_DAMAGED)
    return list(np.moveaxis(light, 2, 0))


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
    def has_srgb_primaries(self) -> bool:
        """Whether its colours are those of sRGB, as they are where it does not say."""
        primaries = self.numbers(b"chromaticities", "<8f")
        return primaries is None or np.allclose(primaries, _SRGB_PRIMARIES, atol=2e-3)


def _exr_header(content: bytes) -> _ExrHeader:
    """Parses the header; raises ValueError where it has no end."""
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
        raise ValueError(_DAMAGED) from None
    return _ExrHeader(attributes, place + 1, bool(flags & 0x200), not flags & 0x1000)


def _chunks(content: bytes, header: _ExrHeader) -> Iterator[int]:
    """Where each chunk of pixels ends, by the table of their places; raises ValueError.

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
        raise ValueError(_DAMAGED) from None


def _read_exr(content: bytes, header: _ExrHeader, limit: int) -> Planes:
    """Has ffmpeg decode an EXR, without any conversion; it would fill what is lost with black."""
    _check_size(header.size, limit)
    if header.compression >= _FFMPEG_COMPRESSIONS:
        raise ValueError(_COMPRESSED)
    if header.one_part and any(end > len(content) for end in _chunks(content, header)):
        raise ValueError(_DAMAGED)
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
        raise ValueError(_DAMAGED)
    if kind[1] not in _PLANES:
        raise ValueError("is an EXR of a kind that cannot be read: save it in colours")
    if kind.group(1, 2) == ("gbrap", "32") and header.compression in _DWA:
        raise ValueError(_COMPRESSED)
    numbers = np.frombuffer(ran.stdout, np.dtype(f"<f{int(kind[2]) // 8}"))
    order = _PLANES[kind[1]]
    if numbers.size != header.size.pixels * len(set(order)):
        raise ValueError(_DAMAGED)
    stored = numbers.reshape(-1, *header.size.shape)
    return [stored[place] for place in order]
