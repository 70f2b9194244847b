"""Read stills of linear light, OpenEXR and Radiance HDR, and encode them for a screen.

imageio reads Radiance's `.hdr`. EXR is decoded by ffmpeg, in a process of its own: imageio's plugins for it
need a library that is fetched when it is used (FreeImage), an OpenCV that is built with OpenEXR, or PyAV.

Values are taken as light of sRGB's primaries where 1 is white. What is brighter is clipped.
"""

import re
import struct
import subprocess
from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from zoomdream.media.color import encode_srgb
from zoomdream.media.ffmpeg import ffmpeg_command
from zoomdream.size import Size

_EXR = b"\x76\x2f\x31\x01"
_RADIANCE = (b"#?RADIANCE", b"#?RGBE")
_RADIANCE_SIZE = re.compile(rb"\n[-+]Y (\d{1,9}) [-+]X (\d{1,9})\n")
_HEADER_BYTES = 1 << 20  # of a file, in which its size is looked for
_EXR_SIZE = re.compile(rb"\0displayWindow\0box2i\0\x10\0\0\0(.{16})", re.DOTALL)
_EXR_PRIMARIES = re.compile(rb"\0chromaticities\0chromaticities\0\x20\0\0\0(.{32})", re.DOTALL)
_SRGB_PRIMARIES = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)  # x and y of red .. white
_EXR_COMPRESSION = re.compile(rb"\0compression\0compression\0\x01\0\0\0(.)", re.DOTALL)
_DWA = (8, 9)  # of which ffmpeg reads wrong numbers where alpha has 32 bits
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

    Colours that lie on an alpha already are freed from it. limit: pixels that it may have, which is looked
    at before any is decoded. Raises ValueError with half a sentence.
    """
    exr = content.startswith(_EXR)
    size = _exr_size(content) if exr else _radiance_size(content)
    if size.pixels > limit:
        raise ValueError(
            f"has {size} pixels, and {limit:,} are the most: --max-pixels lifts the limit"
        )
    read: Callable[[bytes, Size, int], Planes] = _read_exr if exr else _read_radiance
    planes = read(content, size, limit)
    pixels = np.empty((*size.shape, len(planes)), np.uint16)
    alpha = planes[3].clip(0, 1) if len(planes) == 4 else None
    bright = np.zeros(size.shape, bool)
    for number, plane in enumerate(planes):  # one by one, as floats take much
        light = np.nan_to_num(plane.astype(np.float32), nan=0, posinf=np.inf)
        if alpha is None or number == 3:
            encoded = light
        else:
            encoded = np.divide(light, alpha, out=np.zeros_like(light), where=alpha > 0)
        if number < 3:
            bright |= encoded > 1
            encoded = encode_srgb(torch.from_numpy(encoded).clamp_(0, 1)).numpy()
        pixels[..., number] = np.rint(encoded.clip(0, 1) * 65535)
    notes = []
    if bright.any():
        share = 100 * bright.mean()
        notes.append(f"{max(share, 0.01):.2g} % of its pixels are brighter than white: clipped")
    if exr and not _has_srgb_primaries(content):
        notes.append("its primaries are not those of sRGB: its colours are taken as sRGB")
    return pixels, tuple(notes)


def _exr_size(content: bytes) -> Size:
    window = _EXR_SIZE.search(content[:_HEADER_BYTES])
    if window is None:
        raise ValueError(_DAMAGED)
    left, top, right, bottom = struct.unpack("<4i", window[1])
    return _checked(Size(right - left + 1, bottom - top + 1))


def _radiance_size(content: bytes) -> Size:
    lines = _RADIANCE_SIZE.search(content[:_HEADER_BYTES])
    if lines is None:
        raise ValueError(_DAMAGED)
    return _checked(Size(int(lines[2]), int(lines[1])))


def _checked(size: Size) -> Size:
    if size.shorter < 1:
        raise ValueError(_DAMAGED)
    return size


def _has_srgb_primaries(content: bytes) -> bool:
    """Whether an EXR's colours are those of sRGB, as they are where it does not say."""
    told = _EXR_PRIMARIES.search(content[:_HEADER_BYTES])
    return told is None or np.allclose(struct.unpack("<8f", told[1]), _SRGB_PRIMARIES, atol=2e-3)


def _read_exr(content: bytes, size: Size, limit: int) -> Planes:
    """Has ffmpeg decode an EXR, without any conversion."""
    named = _EXR_COMPRESSION.search(content[:_HEADER_BYTES])
    compression = named[1][0] if named else 0
    if compression >= _FFMPEG_COMPRESSIONS:
        raise ValueError(_COMPRESSED)
    ran = subprocess.run(
        ffmpeg_command(
            "-max_pixels", str(limit), "-protocol_whitelist", "pipe", "-f", "exr_pipe",
            "-frame_size", str(len(content)), "-i", "pipe:0", "-frames:v", "1",
            "-f", "rawvideo", "pipe:1", level="level+info",
        ),
        input=content, capture_output=True, check=False,
    )  # fmt: skip
    kind = _FFMPEG_PIXELS.search(ran.stderr.decode(errors="replace"))
    if ran.returncode != 0 or b"[error]" in ran.stderr or kind is None:
        raise ValueError(_DAMAGED)
    if kind[1] not in _PLANES:
        raise ValueError("is an EXR of a kind that cannot be read: save it in colours")
    if kind.group(1, 2) == ("gbrap", "32") and compression in _DWA:
        raise ValueError(_COMPRESSED)
    numbers = np.frombuffer(ran.stdout, np.dtype(f"<f{int(kind[2]) // 8}"))
    order = _PLANES[kind[1]]
    if numbers.size != size.pixels * len(set(order)):
        raise ValueError(_DAMAGED)
    stored = numbers.reshape(-1, *size.shape)
    return [stored[place] for place in order]


def _read_radiance(content: bytes, size: Size, _limit: int) -> Planes:
    """Has imageio decode a Radiance file."""
    import imageio.v3 as iio

    try:
        light = iio.imread(
            content, extension=".hdr", plugin="opencv", index=0, flags=cv2.IMREAD_UNCHANGED
        )
    except Exception:  # any, where a file is damaged
        raise ValueError(_DAMAGED) from None
    if light.shape != (*size.shape, 3):
        raise ValueError(_DAMAGED)
    return list(np.moveaxis(light, 2, 0))
