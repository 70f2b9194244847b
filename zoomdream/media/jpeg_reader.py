"""Read JPEG: of 8 bits by Pillow, of up to 16, and without loss, by imagecodecs' libjpeg-turbo."""

import struct

from zoomdream.media.exif import exif_encoding, exif_orientation
from zoomdream.media.pillow_reader import opened, read_by_pillow, read_exif
from zoomdream.media.stored_image import StoredImage, to_full_range, with_split_alpha

JPEG = b"\xff\xd8\xff"
_NO_FRAME = (0xC4, 0xC8, 0xCC)  # markers among those of frames that begin none
_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)
_BARE = (0x01, *range(0xD0, 0xD9))  # markers without a length


def read_jpeg(content: bytes, limit: int) -> StoredImage:
    """Reads a JPEG; raises UnreadableImage, and others where it is damaged."""
    import imagecodecs

    frame = _frame(content)
    bits = content[frame + 4] if frame else 8
    if bits == 8 and not (frame and content[frame + 1] in _LOSSLESS):
        return read_by_pillow(content, limit)
    # Pillow reads what the header says of a picture of 8 bits, so it is shown one.
    header = opened(b"".join([content[: frame + 4], b"\x08", content[frame + 5 :]]), limit)
    exif, profile = read_exif(header), header.info.get("icc_profile")
    samples = to_full_range(imagecodecs.jpeg8_decode(content), 2**bits - 1)
    return with_split_alpha(
        samples, "grey" if samples.ndim == 2 else "rgb", profile=profile,
        encoding=None if profile else exif_encoding(exif), orientation=exif_orientation(exif),
    )  # fmt: skip


def _frame(content: bytes) -> int:
    """Where the header of the first frame begins, by the marker; 0 where there is none."""
    place = 2
    while place + 5 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            return place
        if marker == 0xFF:
            place += 1
        elif marker in _BARE:
            place += 2
        else:
            place += 2 + struct.unpack_from(">H", content, place + 2)[0]
    return 0
