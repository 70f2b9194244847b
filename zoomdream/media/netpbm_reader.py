"""Read the Netpbm formats PGM, PPM, PAM and PFM of any depth by netpbmfile."""

from io import BytesIO

import numpy as np

from zoomdream.media.image_color import SRGB_PRIMARIES
from zoomdream.media.stored_image import (
    ColorEncoding,
    StoredImage,
    UnreadableImage,
    check_size,
    to_full_range,
    with_split_alpha,
)
from zoomdream.size import Size

NETPBM = (b"P2", b"P3", b"P5", b"P6", b"P7", b"PF", b"Pf")
"""How these files begin; bitmaps, P1 and P4, are read by Pillow."""

_LINEAR = ColorEncoding(SRGB_PRIMARIES, 1.0)


def read_netpbm(content: bytes, limit: int) -> StoredImage:
    """Reads the first picture of a file; floats are linear light, as in OpenEXR.

    Raises UnreadableImage, and others where it is damaged.
    """
    from netpbmfile import NetpbmFile

    with NetpbmFile(BytesIO(content)) as file:
        check_size(Size(file.width, file.height), limit)
        if not 1 <= file.depth <= 4:
            raise UnreadableImage(f"has {file.depth} channels: save it in RGB")
        samples = file.asarray()
        samples = samples.reshape(-1, file.height, file.width, file.depth)[0]
        if samples.dtype.kind == "f":
            samples, encoding = samples[::-1].astype(np.float32), _LINEAR  # from below
        else:
            samples, encoding = to_full_range(samples, file.maxval), None
        return with_split_alpha(samples, "grey" if file.depth < 3 else "rgb", encoding=encoding)
