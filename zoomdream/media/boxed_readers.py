"""Read AVIF and JPEG 2000 of any depth, by imagecodecs' libavif and OpenJPEG.

Both keep what they say of colours in boxes, as MP4 has them: a length, a name, and what is in it.
"""

import struct
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from zoomdream.media.exif import exif_encoding, exif_orientation
from zoomdream.media.image_color import cicp_encoding
from zoomdream.media.pillow_reader import opened, read_by_pillow, read_exif
from zoomdream.media.stored_image import (
    CHANNEL_COUNTS,
    NO_PICTURE,
    UNKNOWN_COLORS,
    Channels,
    StoredImage,
    UnreadableImage,
    check_size,
    to_full_range,
    with_split_alpha,
)
from zoomdream.size import Size

JPEG_2000 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
_CODESTREAM = b"\xff\x4f\xff\x51"
_AVIF_BRANDS = (b"avif", b"avis")
_JP2_SPACES: dict[int, Channels] = {
    12: "cmyk",
    14: "lab",
    17: "grey",
}  # the others are of three colours
_CHANNELS_BY_COUNT: dict[int, Channels] = {1: "grey", 2: "grey", 3: "rgb", 4: "rgb"}
_OPACITY, _ASSOCIATED = 1, 2  # of a channel's type
_MOST_COMPONENTS = 5
_HIGH_DEPTH, _TWELVE_BITS = 0x40, 0x20  # flags of AV1's configuration


def is_avif(content: bytes) -> bool:
    """Whether a file's bytes look like AVIF."""
    return content[4:8] == b"ftyp" and any(brand in brands(content) for brand in _AVIF_BRANDS)


def brands(content: bytes) -> list[bytes]:
    """What a file of boxes says that it is."""
    (length,) = struct.unpack(">I", content[:4])
    names = content[8 : min(length, 256)]
    return [names[at : at + 4] for at in range(0, len(names), 4) if at != 4]


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the names of boxes, and what is in them."""
    place = 0
    while place + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        begin = place + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", content, begin)
            begin += 8
        end = place + length if length else len(content)
        yield name, content[begin:end]
        place = max(end, begin)


def _box(content: bytes, *path: bytes) -> bytes:
    """What is in the first box of such a name, in the first of another; b"" where there is none."""
    for name in path:
        content = next((inner for kind, inner in _boxes(content) if kind == name), b"")
        if name == b"meta":
            content = content[4:]  # after its version
    return content


# --- AVIF ---------------------------------------------------------------------------------------------


def read_avif(content: bytes, limit: int) -> StoredImage:
    """Reads an AVIF; raises UnreadableImage, and others where it is damaged."""
    import imagecodecs

    header = opened(content, limit)
    if getattr(header, "is_animated", False):  # imagecodecs would decode them all
        return read_by_pillow(content, limit)
    notes: tuple[str, ...] = ()
    exif, profile, encoding = read_exif(header), header.info.get("icc_profile"), None
    properties = _box(content, b"meta", b"iprp", b"ipco")
    color = _box(properties, b"colr")
    if not profile and color.startswith(b"nclx"):
        primaries, transfer = struct.unpack_from(">HH", color, 4)
        encoding = cicp_encoding(primaries, transfer)
        if encoding is None:
            notes = (UNKNOWN_COLORS.format(f"nclx {primaries}, {transfer}"),)
    elif not profile:
        encoding = exif_encoding(exif)
    samples = imagecodecs.avif_decode(content)
    flags = (_box(properties, b"av1C") or b"\0\0\0")[2]
    bits = 8 if not flags & _HIGH_DEPTH else 12 if flags & _TWELVE_BITS else 10
    if samples.dtype.itemsize > 1:
        samples = to_full_range(samples, 2**bits - 1)
    grey = samples.ndim == 2 or samples.shape[2] < 3
    return with_split_alpha(
        samples, "grey" if grey else "rgb", profile=profile, encoding=encoding,
        orientation=exif_orientation(exif), notes=notes,
    )  # fmt: skip


# --- JPEG 2000 ----------------------------------------------------------------------------------------


def read_jpeg2000(content: bytes, limit: int) -> StoredImage:
    """Reads a JPEG 2000, in its boxes or bare; raises UnreadableImage, and others where it is damaged."""
    import imagecodecs

    size, components = _codestream(content)
    check_size(size, limit)
    if len(components) > _MOST_COMPONENTS:
        raise UnreadableImage(f"has {len(components)} channels: save it in RGB")
    if len(set(components)) > 1:  # chroma in fewer pixels, or alpha in fewer bits
        return read_by_pillow(content, limit)
    header = _box(content, b"jp2h")
    precision = components[0][0]
    if len(palette := _box(header, b"pclr")) > 3:
        precision = palette[3]
    bits, signed = (precision & 0x7F) + 1, precision & 0x80
    space, profile = _jp2_color(header)
    if profile and palette:
        profile = None  # the decoder converts by it, right in 8 bits alone, as palettes are
    elif profile:
        content = content[content.index(_CODESTREAM) :]
    samples = imagecodecs.jpeg2k_decode(content)
    if signed:
        samples = samples.astype(np.int64) + (1 << bits - 1)
    samples = to_full_range(samples, 2**bits - 1)
    count = 1 if samples.ndim == 2 else samples.shape[2]
    channels = _JP2_SPACES.get(space) or _CHANNELS_BY_COUNT.get(count, "cmyk")
    stored = with_split_alpha(samples, channels, profile=profile)
    types = _jp2_types(header)
    if stored.alpha is None or not types:
        return stored
    kind = types.get(CHANNEL_COUNTS[channels])
    alpha = stored.alpha if kind in (_OPACITY, _ASSOCIATED) else None
    return replace(stored, alpha=alpha, associated=kind == _ASSOCIATED)


def _codestream(content: bytes) -> tuple[Size, list[tuple[int, int, int]]]:
    """A picture's size, and the precision of each channel, with the pixels across and down that share it."""
    place = content.index(_CODESTREAM) + len(_CODESTREAM)
    right, bottom, left, top = struct.unpack_from(">4I", content, place + 4)
    (count,) = struct.unpack_from(">H", content, place + 36)
    components = list(struct.iter_unpack(">3B", content[place + 38 : place + 38 + 3 * count]))
    if len(components) != count or not count:
        raise UnreadableImage(NO_PICTURE)
    return Size(right - left, bottom - top), components


def _jp2_color(header: bytes) -> tuple[int, bytes | None]:
    """The number of a colour space, 0 where none is given, and a profile."""
    color = _box(header, b"colr")
    if color[:1] == b"\1":
        return int.from_bytes(color[3:7]), None
    return 0, color[3:] or None


def _jp2_types(header: bytes) -> dict[int, int]:
    """What each channel is, by its number."""
    definitions = _box(header, b"cdef")[2:]
    return {
        channel: kind
        for channel, kind, _ in struct.iter_unpack(">3H", definitions[: len(definitions) // 6 * 6])
    }
