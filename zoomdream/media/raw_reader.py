"""Read what a camera's sensor saw (DNG, NEF, CR2, CR3, ARW, RAF ...) by rawpy, where that is installed.

LibRaw develops it as the camera was set: its white balance, sRGB, 16 bits, and the brightness that LibRaw
chooses. The previews in such files are never taken for the picture.
"""

from importlib.util import find_spec
from io import BytesIO

from zoomdream.media.stored_image import StoredImage, UnreadableImage, check_size
from zoomdream.size import Size

_SIGNATURES = (  # at which byte, and which
    (0, b"FUJIFILMCCD-RAW"), (0, b"IIRO"), (0, b"IIRS"), (0, b"MMOR"), (0, b"IIU\0"), (0, b"FOVb"),
    (0, b"\0MRM"), (6, b"HEAPCCDR"), (4, b"ftypcrx "),
)  # fmt: skip


def is_raw(content: bytes) -> bool:
    """Whether a file's bytes look like a camera's raw file of a kind of its own; others are TIFF."""
    return any(content[at : at + len(mark)] == mark for at, mark in _SIGNATURES)


def read_raw(content: bytes, limit: int) -> StoredImage:
    """Develops a camera's raw file; raises UnreadableImage."""
    if find_spec("rawpy") is None:
        raise UnreadableImage(
            'is a camera\'s raw file: pip install "zoomdream[raw]" to use it, or save it as a TIFF'
        )
    import rawpy

    try:
        with rawpy.RawPy() as raw:
            raw.open_buffer(BytesIO(content))
            check_size(Size(raw.sizes.width, raw.sizes.height), limit)
            raw.unpack()
            samples = raw.postprocess(
                use_camera_wb=True, output_color=rawpy.ColorSpace.sRGB, output_bps=16,
                gamma=(2.4, 12.92),
            )  # fmt: skip
    except rawpy.LibRawError as error:
        raise UnreadableImage(
            f"is a camera's raw file that cannot be developed ({_reason(error)}): save it as a TIFF"
        ) from None
    return StoredImage(samples, "rgb" if samples.shape[2] == 3 else "grey")


def _reason(error: Exception) -> str:
    """LibRaw's own words."""
    text = error.args[0] if error.args else ""
    return text.decode("latin1") if isinstance(text, bytes) else str(text)
