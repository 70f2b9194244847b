"""Read PNG of any depth, with what its chunks say of its colours (W3C PNG, third edition).

imagecodecs decodes the pixels with libpng, and is given only the chunks of which they are made: nothing
else in a file, however large or odd, keeps the picture from being read.
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from zoomdream.media.exif import exif_encoding, exif_orientation, parsed_exif
from zoomdream.media.image_color import SRGB_PRIMARIES, are_primaries, cicp_encoding
from zoomdream.media.stored_image import (
    NO_PICTURE,
    SEVERAL_PICTURES,
    UNKNOWN_COLORS,
    UNUSABLE_PROFILE,
    ColorEncoding,
    Samples,
    StoredImage,
    UnreadableImage,
    check_size,
    with_split_alpha,
)
from zoomdream.size import Size

PNG = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")  # width, height, bits, kind of colours, two ways, interlaced
_PALETTE = 3
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by the kind of colours
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_CLEAR_LENGTHS = {0: (2,), 2: (6,), 3: range(1, 257)}  # bytes that say what is clear
_PASSES = (  # of Adam7: the first row and column, and how far it is to the next
    (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1),
)  # fmt: skip
_PROFILE_BYTES = 1 << 26  # of an unpacked profile, at most
_SRGB_GAMMA, _GAMMA_TOLERANCE = (
    0.45455,
    0.002,
)  # by which files say sRGB to readers that know no better
Color = tuple[bytes | None, ColorEncoding | None, tuple[str, ...]]  # profile, encoding, notes


def read_png(content: bytes, limit: int) -> StoredImage:
    """Reads a PNG; raises UnreadableImage, and others where it is damaged."""
    chunks = list(_chunks(memoryview(content)))
    first = {kind: bytes(whole[8:-4]) for kind, whole in reversed(chunks) if kind != b"IDAT"}
    pixels = [whole for kind, whole in chunks if kind == b"IDAT"]
    if not pixels or chunks[0][0] != b"IHDR" or len(first[b"IHDR"]) != _HEADER.size:
        raise UnreadableImage(NO_PICTURE)
    check_size(Size(*_HEADER.unpack(first[b"IHDR"])[:2]), limit)
    samples = _decoded(first, pixels)
    profile, encoding, notes = _color(first)
    exif = parsed_exif(first.get(b"eXIf", b""))
    if profile is None and encoding is None and b"sRGB" not in first:
        encoding = exif_encoding(exif)
    if int.from_bytes(first.get(b"acTL", b"")[:4]) > 1:
        notes = (SEVERAL_PICTURES, *notes)
    grey = samples.ndim == 2 or samples.shape[2] < 3
    return with_split_alpha(
        samples, "grey" if grey else "rgb", profile=profile, encoding=encoding,
        orientation=exif_orientation(exif), notes=notes,
    )  # fmt: skip


def _decoded(chunks: dict[bytes, bytes], pixels: list[memoryview]) -> Samples:
    """Has libpng decode the chunks of pixels, with a palette and what is clear: (H, W) or (H, W, C)."""
    import imagecodecs

    width, height, bits, kind, *ways, interlaced = _HEADER.unpack(chunks[b"IHDR"])
    if bits not in _DEPTHS.get(kind, ()) or ways != [0, 0] or interlaced > 1:
        raise ValueError("its header is wrong")
    colors = b""
    if kind == _PALETTE:
        colors = _chunk(b"PLTE", chunks[b"PLTE"])
    if b"tRNS" in chunks and len(chunks[b"tRNS"]) in _CLEAR_LENGTHS.get(kind, ()):
        colors += _chunk(b"tRNS", chunks[b"tRNS"])

    def decode(width: int, height: int, *data: bytes | memoryview) -> Samples:
        header = _chunk(b"IHDR", _HEADER.pack(width, height, bits, kind, *ways, 0))
        end = _chunk(b"IEND", b"")
        return np.asarray(imagecodecs.png_decode(b"".join([PNG, header, colors, *data, end])))

    if not interlaced:
        return decode(width, height, *pixels)
    # Each pass is a small PNG of its own; libpng, as imagecodecs calls it, complains of them aloud.
    lines = [
        (y, x, down, across, -(-(height - y) // down), -(-(width - x) // across))
        for y, x, down, across in _PASSES if y < height and x < width
    ]  # fmt: skip
    lengths = [rows * (1 + -(-columns * bits * _SAMPLES[kind] // 8)) for *_, rows, columns in lines]
    packed = b"".join(chunk[8:-4] for chunk in pixels)
    plain = zlib.decompressobj().decompress(packed, sum(lengths))
    if len(plain) < sum(lengths):
        raise ValueError("too few pixels")
    whole, place = np.empty(0), 0
    for (y, x, down, across, rows, columns), length in zip(lines, lengths, strict=True):
        data = zlib.compress(plain[place : place + length], 0)
        part = decode(columns, rows, _chunk(b"IDAT", data))
        whole = whole if place else np.empty((height, width, *part.shape[2:]), part.dtype)
        whole[y::down, x::across] = part
        place += length
    return whole


def _chunk(kind: bytes, body: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + check


def _chunks(content: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yields each chunk's kind and all of its bytes, of the last as many as there are."""
    place = len(PNG)
    while place + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        yield kind, content[place : place + 12 + length]
        place += 12 + length


def _color(chunks: dict[bytes, bytes]) -> Color:
    """What the chunks say of colours; of several the first that can be used: cICP, iCCP, sRGB, gAMA, cHRM."""
    notes: tuple[str, ...] = ()
    if len(cicp := chunks.get(b"cICP", b"")) == 4:
        encoding = cicp_encoding(cicp[0], cicp[1], bool(cicp[3])) if cicp[2] == 0 else None
        if encoding is not None:
            return None, encoding, ()
        notes = (UNKNOWN_COLORS.format(f"cICP {cicp[0]}, {cicp[1]}, {cicp[2]}"),)
    if b"iCCP" in chunks:
        packed = chunks[b"iCCP"].partition(b"\0")[2][1:]  # after its name and its method
        try:
            profile = zlib.decompressobj().decompress(packed, _PROFILE_BYTES)
        except zlib.error:
            return None, None, (UNUSABLE_PROFILE,)
        return profile, None, ()
    if b"sRGB" in chunks:
        return None, None, ()
    return None, _gamma_and_primaries(chunks), notes


def _gamma_and_primaries(chunks: dict[bytes, bytes]) -> ColorEncoding | None:
    """The encoding by gAMA and cHRM; None where there is neither."""
    if not {b"gAMA", b"cHRM"} & chunks.keys():
        return None
    gamma = int.from_bytes(chunks.get(b"gAMA", b"")[:4]) / 100_000
    primaries = SRGB_PRIMARIES
    if len(body := chunks.get(b"cHRM", b"")) == 32:
        white_x, white_y, *colors = (number / 100_000 for number in struct.unpack(">8I", body))
        own = (*colors, white_x, white_y)
        primaries = own if are_primaries(own) else SRGB_PRIMARIES
    plain = abs(gamma - _SRGB_GAMMA) < _GAMMA_TOLERANCE or not 0.05 < gamma < 20
    return ColorEncoding(primaries, "srgb" if plain else 1 / gamma)
