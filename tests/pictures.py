"""Picture files, written byte by byte as their formats say."""

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Light = NDArray[np.float32]
Samples = NDArray[Any]
Tag = tuple[
    int, int, tuple[int, ...]
]  # of a TIFF: its number, type (3 of 16 bits, 4 of 32), values


def exr(planes: dict[str, Light], **attributes: tuple[str, bytes]) -> bytes:
    """An OpenEXR file without compression. planes: (H, W) by channel; attributes: (type, value) each."""
    height, width = next(iter(planes.values())).shape
    names = sorted(planes)
    kind = {name: 2 if planes[name].dtype == np.float32 else 1 for name in names}
    channels = b"".join(
        name.encode() + b"\0" + struct.pack("<iB3xii", kind[name], 0, 1, 1) for name in names
    )
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    header = {
        "channels": ("chlist", channels + b"\0"),
        "compression": ("compression", b"\0"),
        "dataWindow": ("box2i", window),
        "displayWindow": ("box2i", window),
        "lineOrder": ("lineOrder", b"\0"),
        "pixelAspectRatio": ("float", struct.pack("<f", 1)),
        "screenWindowCenter": ("v2f", struct.pack("<2f", 0, 0)),
        "screenWindowWidth": ("float", struct.pack("<f", 1)),
        **attributes,
    }
    start = b"\x76\x2f\x31\x01" + struct.pack("<i", 2)
    for name, (of, value) in header.items():
        start += f"{name}\0{of}\0".encode() + struct.pack("<i", len(value)) + value
    start += b"\0"
    rows = []
    for y in range(height):
        row = b"".join(np.ascontiguousarray(planes[name][y]).tobytes() for name in names)
        rows.append(struct.pack("<ii", y, len(row)) + row)
    offset, offsets = len(start) + 8 * height, []
    for row in rows:
        offsets.append(struct.pack("<Q", offset))
        offset += len(row)
    return start + b"".join(offsets) + b"".join(rows)


def radiance(light: Light, size: str = "") -> bytes:
    """A Radiance HDR file, (H, W, 3), without compression. size: the line that says it, if another."""
    height, width, _ = light.shape
    peak = light.max(2)
    fraction, exponent = np.frexp(peak)
    scale = np.where(peak > 0, fraction * 256 / np.where(peak > 0, peak, 1), 0)
    bytes_ = np.empty((height, width, 4), np.uint8)
    bytes_[..., :3] = light * scale[..., None]
    bytes_[..., 3] = np.where(peak > 0, exponent + 128, 0)
    header = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n{size or f'-Y {height} +X {width}'}\n"
    return header.encode() + bytes_.tobytes()


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    check = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + check


ADAM7 = (
    (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1),
)  # fmt: skip


def png(
    samples: Samples, kind: int, bits: int, *chunks: tuple[bytes, bytes], interlaced: bool = False
) -> bytes:
    """A PNG. samples: (H, W) or (H, W, C), as it keeps them; kind: of colours; chunks: before the pixels."""
    height, width = samples.shape[:2]
    whole = samples.reshape(height, width, -1)
    passes = [whole[y::down, x::across] for y, x, down, across in ADAM7] if interlaced else [whole]
    rows = [row.ravel() for part in passes if part.size for row in part]
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlaced)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *(chunk(*each) for each in chunks),
            chunk(b"IDAT", zlib.compress(b"".join(b"\0" + packed(row, bits) for row in rows))),
            chunk(b"IEND", b""),
        ]
    )


def packed(row: Samples, bits: int) -> bytes:
    """Numbers of so many bits, the first in the highest."""
    ordered = row.astype(">u4")[:, None] >> np.arange(bits)[::-1] & 1
    return np.packbits(ordered.astype(np.uint8).ravel()).tobytes()


def tiff(
    samples: Samples,
    photometric: int,
    bits: int = 0,
    order: str = "<",
    *tags: Tag,
) -> bytes:
    """A TIFF of one strip, without compression.

    samples: (H, W, C). bits: of whole numbers, where those are fewer than their type's. order: of bytes.
    tags: beside those that a picture has to have, or instead of them.
    """
    height, width, channels = samples.shape
    if bits:
        data = b"".join(packed(row.ravel(), bits) for row in samples)
    else:
        data = samples.astype(f"{order}{samples.dtype.str[1:]}").tobytes()
    bits = bits or samples.dtype.itemsize * 8
    entries = {
        256: (4, (width,)), 257: (4, (height,)), 258: (3, (bits,) * channels), 259: (3, (1,)),
        262: (3, (photometric,)), 273: (4, (8,)), 277: (3, (channels,)), 278: (4, (height,)),
        279: (4, (len(data),)), 339: (3, ({"u": 1, "i": 2, "f": 3}[samples.dtype.kind],) * channels),
    }  # fmt: skip
    entries |= {number: (kind, values) for number, kind, values in tags}
    end = 8 + len(data) + len(data) % 2
    after = end + 6 + 12 * len(entries)
    directory, more = struct.pack(f"{order}H", len(entries)), b""
    for number, (kind, values) in sorted(entries.items()):
        body = struct.pack(f"{order}{len(values)}{'HI'[kind - 3]}", *values)
        if len(body) > 4:
            body, more = struct.pack(f"{order}I", after + len(more)), more + body
        directory += struct.pack(f"{order}HHI", number, kind, len(values)) + body.ljust(4, b"\0")
    magic = {"<": b"II*\0", ">": b"MM\0*"}[order]
    head = magic + struct.pack(f"{order}I", end) + data.ljust(end - 8, b"\0")
    return head + directory + bytes(4) + more


def exif(orientation: bytes = b"\6\0\0\0", kind: int = 3, count: int = 1) -> bytes:
    """A block of EXIF that says how a picture is to be turned, as a value of any kind."""
    return b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHI", 274, kind, count) + orientation + bytes(4)


def exif_of_colors(space: int, index: bytes) -> bytes:
    """A block of EXIF with a ColorSpace and an InteroperabilityIndex of three letters."""
    first = struct.pack("<HHHII", 1, 0x8769, 4, 1, 26) + bytes(4)
    second = struct.pack("<HHHIHH", 2, 0xA001, 3, 1, space, 0)
    second += struct.pack("<HHII", 0xA005, 4, 1, 56) + bytes(4)
    return b"II*\0\x08\0\0\0" + first + second + struct.pack("<HHHI", 1, 1, 2, 4) + index + bytes(5)


def jpeg_with(content: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG with further segments: a marker and what is in it each."""
    more = b"".join(
        bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments
    )
    return content[:2] + more + content[2:]
