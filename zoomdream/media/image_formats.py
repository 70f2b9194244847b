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

_EXPORT = "export it as PNG or TIFF"
_NOT_READ = (  # at which byte, which ones, what such a file is, and what helps
    (0, b"8BPS", "a Photoshop document", _EXPORT),
    (0, b"gimp xcf", "a GIMP document", _EXPORT),
    (0, b"%!PS", "PostScript", "save it as PDF"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript", "save it as PDF"),
    (0, b"\xff\x0a", "JPEG XL", _EXPORT),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL", _EXPORT),
    (0, b"II\xbc", "JPEG XR", _EXPORT),
    (0, b"DDS ", "a texture (DDS)", _EXPORT),
    (0, b"qoif", "a QOI picture", _EXPORT),
    (0, b"\0\0\1\0", "an icon (ICO)", _EXPORT),
    (0, b"SIMPLE  =", "a FITS file", _EXPORT),
    (128, b"DICM", "a DICOM file", _EXPORT),
    (
        0,
        b"version https://git-lfs",
        "a pointer of Git LFS",
        "`git lfs pull` fetches the file itself",
    ),
    *(
        (0, mark, "a page that a server answered with", "download the picture once more")
        for mark in (b"<!DOCTYPE html", b"<!doctype html", b"<html")
    ),
    (0, b"PK\3\4", "a zip archive or a document that is one", "export a picture, or unpack it"),
)
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_FILMS = (b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"FLV\1", b"0&\xb2u")


def unread_format(content: bytes) -> str | None:
    """Half a sentence on a kind of file that is known, but not read, and on what helps; None for others."""
    for at, mark, name, help_ in _NOT_READ:
        if content[at : at + len(mark)] == mark:
            return f"holds no picture that can be read: it is {name}; {help_}"
    boxed = content[4:8] == b"ftyp"
    if boxed and any(content[at : at + 4] in _HEIC for at in (8, 16, 20, 24, 28)):
        return (
            "holds no picture that can be read: it is HEIC; save it as JPEG, which phones do where "
            "their camera is set to the most compatible format"
        )
    if boxed or content.startswith(_FILMS) or content[8:12] == b"AVI ":
        return "holds no picture that can be read: it is a film; save a frame of it as PNG"
    return None


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
