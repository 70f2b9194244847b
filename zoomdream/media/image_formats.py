"""The kinds of picture files as tables: what is read, and what each kind that is written can hold."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoomdream.errors import OutputError, UsageError
from zoomdream.files import check_file
from zoomdream.size import Size


@dataclass(frozen=True)
class ImageFormat:
    """A kind of picture file that is written."""

    name: str
    longest: int  # px of a side, at most
    alpha: bool = True
    deep: bool = False  # 16 bits a channel
    browsers: bool = True  # whether they show it; contact sheets come in these alone
    options: tuple[tuple[str, Any], ...] = ()  # Pillow's, for a dream


_JPEG = ImageFormat("JPEG", 65_500, alpha=False, options=(("quality", 95), ("subsampling", 0)))
_TIFF = ImageFormat(
    "TIFF", 2**31 - 1, deep=True, browsers=False, options=(("compression", "tiff_deflate"),)
)
IMAGE_FORMATS = {
    ".png": ImageFormat("PNG", 2**31 - 1, deep=True, options=(("compress_level", 4),)),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": ImageFormat("WebP", 16_383, options=(("quality", 95),)),
    ".tif": _TIFF,
    ".tiff": _TIFF,
}
"""What is written, by the ending of its name."""

PILLOW_READS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")
"""What Pillow may be asked to read, by its names; it knows others, which are old or run code."""


def image_format(target: Path) -> ImageFormat:
    """The format that a name asks for; raises UsageError."""
    try:
        return IMAGE_FORMATS[target.suffix.lower()]
    except KeyError:
        raise UsageError(
            f'"{target.name}" is no kind of picture: name it .png, .jpg, .webp or .tiff'
        ) from None


def sheet_format(target: Path) -> ImageFormat:
    """The format that a contact sheet's name asks for; raises UsageError."""
    form = IMAGE_FORMATS.get(target.suffix.lower())
    if form is None or not form.browsers:
        raise UsageError(f"{target} is no name for a sheet: .png, .jpg or .webp would do")
    return form


def check_image_target(target: Path, force: bool) -> None:
    """Raises UsageError and OutputError where a picture could not be put, before any work is done."""
    image_format(target)
    check_file(target, force)


def check_sheet_target(target: Path, force: bool) -> None:
    """Raises UsageError and OutputError where a sheet could not be put, before any work is done."""
    sheet_format(target)
    check_file(target, force)


def check_image_size(target: Path, size: Size) -> None:
    """Raises OutputError where a side is more than the format holds."""
    form = image_format(target)
    if size.longer > form.longest:
        raise OutputError(
            f"{target.name}: {form.name} holds {form.longest} pixels a side, and this has {size.longer}: "
            "name it .png or .tiff"
        )
