"""Read TIFF of any depth and kind by tifffile: whole numbers and floats, inks and palettes, planes and tiles.

Only Y'CbCr is left to Pillow's libtiff, as its chroma may be kept in fewer pixels; that has 8 bits always.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from zoomdream.media.exif import exif_encoding, parsed_exif
from zoomdream.media.frame import WHITE_8, WHITE_16
from zoomdream.media.image_color import are_primaries
from zoomdream.media.pillow_reader import read_by_pillow
from zoomdream.media.raw_reader import read_raw
from zoomdream.media.stored_image import (
    CHANNEL_COUNTS,
    SEVERAL_PICTURES,
    Channels,
    ColorEncoding,
    Samples,
    StoredImage,
    UnreadableImage,
    check_size,
    to_full_range,
    white_of,
)
from zoomdream.size import Size

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_CANON = b"CR"  # at byte 8 of a CR2, of which no page says that a camera's sensor saw it
_OF_SENSORS = ("CFA", "LINEAR_RAW")
_CHANNELS: dict[str, Channels] = {  # by PhotometricInterpretation
    "MINISBLACK": "grey", "MINISWHITE": "grey", "PALETTE": "rgb", "RGB": "rgb",
    "SEPARATED": "cmyk", "CIELAB": "lab", "ICCLAB": "lab",
}  # fmt: skip
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_OTHER_INKS = 2  # of InkSet
_UNSPECIFIED, _ASSOCIATED = 0, 1  # of ExtraSamples
_MOST_SAMPLES = 16  # of a pixel
_INK_SET, _WHITE_POINT, _PRIMARIES, _ORIENTATION = 332, 318, 319, 274


def read_tiff(content: bytes, limit: int) -> StoredImage:
    """Reads the first whole picture of a TIFF; one of a camera's sensor as `read_raw` does.

    Raises UnreadableImage, and others where it is damaged.
    """
    from tifffile import TiffFile

    with TiffFile(BytesIO(content)) as file:
        pages = list(_pages(file))
        if content[8:10] == _CANON or any(map(_is_of_sensor, pages)):
            return read_raw(content, limit)
        whole = [page for page in pages if not page.subfiletype & (_REDUCED | _MASK)]
        page = (whole or pages)[0]
        check_size(Size(page.imagewidth, page.imagelength), limit)
        notes = (SEVERAL_PICTURES,) if len(whole) > 1 else ()
        if _name(page.photometric) == "YCBCR":
            return read_by_pillow(content, limit, page=pages.index(page), notes=notes)
        return _stored(page, _encoding(content, page), notes)


def _pages(file: "TiffFile") -> Iterator["TiffPage"]:
    """Yields the pages; those after a damaged one are lost, and the first has to be whole."""
    yield file.pages.first
    try:
        for number in range(1, len(file.pages)):
            yield file.pages[number].aspage()
    except Exception:  # any, where a file is damaged
        return


def _is_of_sensor(page: "TiffPage") -> bool:
    """Whether a page, or one that belongs to it, is what a camera's sensor saw."""
    if _name(page.photometric) in _OF_SENSORS or page.is_dng:
        return True
    return any(_is_of_sensor(below.aspage()) for below in page.pages or ())


def _name(number: Any) -> str:
    """The name of a number of TIFF's; the beginning of what stands there where it has none."""
    return str(getattr(number, "name", number))[:20]


def _stored(
    page: "TiffPage", encoding: ColorEncoding | None, notes: tuple[str, ...]
) -> StoredImage:
    """Reads a page's samples, and takes colours and alpha from among them."""
    channels, kind = _channels(page), _name(page.photometric)
    samples = _samples(page)
    count = 1 if kind == "PALETTE" else CHANNEL_COUNTS[channels]
    colors, extra = samples[..., :count], samples[..., count:]
    if kind == "PALETTE":
        colors = _looked_up(colors[..., 0], page)
    elif kind == "CIELAB":
        colors = _as_icc_lab(colors)
    else:
        colors = _stretched(colors, page)
    if kind == "MINISWHITE":
        colors = np.asarray(white_of(colors) - colors).astype(colors.dtype)
    place, associated = _alpha_place(page, extra.shape[2])
    alpha = None if place is None else _stretched(extra[..., place], page)
    if alpha is not None and alpha.dtype != colors.dtype:  # a palette's
        alpha = (alpha // (WHITE_16 // WHITE_8)).astype(np.uint8)
    return StoredImage(
        colors, channels, alpha, associated, page.iccprofile, encoding, _orientation(page), notes
    )


def _channels(page: "TiffPage") -> Channels:
    """What a page's colours are; raises UnreadableImage where those, or its compression, are not read."""
    import tifffile

    kind, bits = _name(page.photometric), page.bitspersample
    if kind not in _CHANNELS:
        raise UnreadableImage(
            f"is a TIFF of the colours {kind}, which are not read: save it in RGB"
        )
    if page.compression not in tifffile.TIFF.DECOMPRESSORS:
        raise UnreadableImage(
            f"is a TIFF of the compression {_name(page.compression)}, which is not read: "
            "save it with LZW, or without any"
        )
    channels = _CHANNELS[kind]
    least = 1 if kind == "PALETTE" else CHANNEL_COUNTS[channels]
    inks = page.samplesperpixel - len(page.extrasamples)
    if kind == "SEPARATED" and (inks != least or page.tags.valueof(_INK_SET) == _OTHER_INKS):
        raise UnreadableImage(
            f"is a TIFF of {inks} inks that are not those of CMYK: save it in RGB"
        )
    if not least <= page.samplesperpixel <= _MOST_SAMPLES or page.imagedepth > 1:
        raise UnreadableImage(
            f"is a TIFF of {page.samplesperpixel} channels and {page.imagedepth} layers: save it in RGB"
        )
    number = "" if page.dtype is None else page.dtype.kind
    if number == "i" and kind not in ("CIELAB", "ICCLAB"):
        raise UnreadableImage(
            "has signed samples, of which no number is white: save it with unsigned ones, of 8 or 16 bits"
        )
    if number not in "iufb" or not number or not isinstance(bits, int):
        raise UnreadableImage(
            f"has samples of {_name(bits)} bits of the kind {_name(page.sampleformat)}, which are not read: "
            "save it with whole numbers of 8 or 16 bits"
        )
    return channels


def _samples(page: "TiffPage") -> Samples:
    """A page's samples as they are kept: (H, W, C)."""
    planes, _, height, width, contiguous = page.shaped
    samples = page.asarray().reshape(planes, height, width, contiguous)
    return np.asarray(samples[0] if planes == 1 else np.moveaxis(samples[..., 0], 0, 2))


def _stretched(samples: Samples, page: "TiffPage") -> Samples:
    """Samples in the range of uint8, uint16 or float32."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    return to_full_range(samples, 2**page.bitspersample - 1)


def _looked_up(places: Samples, page: "TiffPage") -> Samples:
    """A palette's colours, of which TIFF keeps 16 bits, and programs mean 8."""
    palette = np.asarray(page.colormap)
    if palette.max() > WHITE_8:  # some keep 8 bits after all
        palette = palette >> 8
    return np.asarray(palette.T.astype(np.uint8)[places.astype(np.intp)])


def _as_icc_lab(samples: Samples) -> Samples:
    """Brings TIFF's own L*a*b*, whose a* and b* are signed, to that of ICC, where grey is in the middle."""
    if samples.dtype.kind == "f":
        return np.asarray(samples.astype(np.float32) / (100, 255, 255) + (0, 128 / 255, 128 / 255))
    if samples.dtype.itemsize == 1:
        return samples.view(np.uint8) ^ np.array([0, 0x80, 0x80], np.uint8)
    signed = samples[..., 1:].astype(np.int16) * (WHITE_16 / WHITE_8 / 256)
    middle = 0x80 * (WHITE_16 // WHITE_8)
    chroma = (np.rint(signed) + middle).clip(0, WHITE_16).astype(np.uint16)
    return np.dstack([samples[..., 0].astype(np.uint16), chroma])


def _alpha_place(page: "TiffPage", extra: int) -> tuple[int | None, bool]:
    """Which of the samples beside the colours is alpha, if any is, and whether it is associated.

    Where a file does not say what its one further sample is, it is alpha, as all readers have it.
    """
    told = tuple(page.extrasamples)
    if not told:
        return (0 if extra == 1 else None), False
    for place, kind in enumerate(told[:extra]):
        if kind != _UNSPECIFIED:
            return place, kind == _ASSOCIATED
    return None, False


def _orientation(page: "TiffPage") -> int:
    number = page.tags.valueof(_ORIENTATION, 1)
    return number if number in range(1, 9) else 1


def _encoding(content: bytes, page: "TiffPage") -> ColorEncoding | None:
    """What a page's chromaticities, or its EXIF, say of colours."""
    numbers = [*page.tags.valueof(_PRIMARIES, ()), *page.tags.valueof(_WHITE_POINT, ())]
    if len(numbers) == 16:  # rational ones
        primaries = tuple(
            a / b if b else 0 for a, b in zip(numbers[::2], numbers[1::2], strict=True)
        )
        if are_primaries(primaries):
            return ColorEncoding(primaries)
    return exif_encoding(parsed_exif(content))
