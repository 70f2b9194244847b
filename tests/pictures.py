"""Picture files of linear light, written byte by byte as their formats say."""

import struct

import numpy as np
from numpy.typing import NDArray

Light = NDArray[np.float32]


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
