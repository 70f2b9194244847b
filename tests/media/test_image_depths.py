"""The same picture in 8 bits and in more looks the same, in every format and however it is laid out.

What is expected is computed from the picture itself; a second reader (libtiff, Pillow) agrees on the files.
"""

import itertools
import random
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tests.pictures import exif, jpeg_with, png, tiff
from zoomdream.media.color import to_lab
from zoomdream.media.frame import as_frame
from zoomdream.media.image_reader import DecodedImage, decode_image, read_still

Samples = NDArray[Any]

ROWS, COLUMNS = np.mgrid[0:24, 0:40]
COLORS = np.dstack([40 + COLUMNS * 4, 60 + ROWS * 6, 200 - COLUMNS * 2 - ROWS * 2]).astype(np.uint8)
COLORS[2:8, 3:12], COLORS[12:20, 30:] = (230, 40, 40), (20, 30, 200)
GREY = COLORS.mean(2).astype(np.uint8)[..., None]
ALPHA = (40 + COLUMNS * 5).astype(np.uint8)[..., None]
INK = np.asarray(Image.fromarray(COLORS).convert("CMYK"))


def difference(one: Samples, other: Samples) -> float:
    """The mean CIE76 difference of two pictures, (H, W, 3) in 0..1."""
    a, b = (to_lab(as_frame(picture.astype(np.float32))) for picture in (one, other))
    return float(torch.linalg.vector_norm(a - b, dim=1).mean())


def decoded(folder: Path, content: bytes) -> DecodedImage:
    (folder / "a").write_bytes(content)
    return decode_image(folder / "a")


def shown(folder: Path, content: bytes) -> tuple[Samples, Samples | None]:
    """The colours in 0..1, and the alpha, of a picture of which nothing was lost."""
    picture = decoded(folder, content)
    assert picture.notes == ()
    pixels = picture.pixels / np.iinfo(picture.pixels.dtype).max
    return pixels[..., :3], pixels[..., 3] if pixels.shape[2] == 4 else None


def check(folder: Path, content: bytes, colors: Samples, alpha: Samples | None = None) -> None:
    """Colours and alpha, uint8, are those of a file; it has alpha only where some is expected."""
    rgb, clear = shown(folder, content)
    assert rgb.shape == (*colors.shape[:2], 3)
    assert difference(rgb, np.broadcast_to(colors / 255, rgb.shape)) < 0.9
    assert (clear is None) == (alpha is None)
    if clear is not None and alpha is not None:
        assert np.abs(clear - alpha[..., 0] / 255).max() < 0.036  # of 4 bits


def in_bits(samples: Samples, bits: int) -> Samples:
    """8 bits in as many others."""
    dtype = np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
    return np.asarray(np.rint(samples / 255 * (2**bits - 1)).astype(dtype))


UNSPECIFIED, ASSOCIATED, UNASSOCIATED = 0, 1, 2
KINDS: dict[str, tuple[Samples, int, tuple[int, ...], Samples, Samples | None]] = {
    # samples, photometric, what the extra ones are; colours and alpha that are expected
    "black is 0": (GREY, 1, (), GREY, None),
    "white is 0": (255 - GREY, 0, (), GREY, None),
    "grey, alpha": (np.dstack([GREY, ALPHA]), 1, (UNASSOCIATED,), GREY, ALPHA),
    "RGB": (COLORS, 2, (), COLORS, None),
    "RGBA": (np.dstack([COLORS, ALPHA]), 2, (UNASSOCIATED,), COLORS, ALPHA),
    "RGBA, not told": (np.dstack([COLORS, ALPHA]), 2, (), COLORS, ALPHA),
    "RGB, infrared": (np.dstack([COLORS, ALPHA]), 2, (UNSPECIFIED,), COLORS, None),
    "RGB, infrared, alpha": (
        np.dstack([COLORS, 255 - ALPHA, ALPHA]), 2, (UNSPECIFIED, UNASSOCIATED), COLORS, ALPHA,
    ),
    "CMYK": (INK, 5, (), np.asarray(Image.fromarray(INK, "CMYK").convert("RGB")), None),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_tiff_of_every_kind_and_depth(tmp_path: Path, kind: str) -> None:
    samples, photometric, extra, colors, alpha = KINDS[kind]
    tags = [(338, 3, extra)] if extra else []
    for order in "<>":
        for bits in (8, 16, 32):
            check(
                tmp_path,
                tiff(in_bits(samples, bits), photometric, 0, order, *tags),
                colors,
                alpha,
            )
        for bits in (10, 12, 14):
            stored = in_bits(samples, bits)
            check(tmp_path, tiff(stored, photometric, bits, order, *tags), colors, alpha)
        for dtype in (np.float16, np.float32, np.float64):
            stored = (samples / 255).astype(dtype)
            check(tmp_path, tiff(stored, photometric, 0, order, *tags), colors, alpha)


@pytest.mark.parametrize("bits", [8, 16])
def test_colours_are_freed_from_associated_alpha(tmp_path: Path, bits: int) -> None:
    laid = np.dstack([COLORS / 255 * (ALPHA / 255), ALPHA / 255]) * 255
    content = tiff(in_bits(laid, bits), 2, 0, "<", (338, 3, (ASSOCIATED,)))
    (tmp_path / "a.tif").write_bytes(content)
    expected = as_frame(np.dstack([COLORS, ALPHA]))
    assert (read_still(tmp_path / "a.tif") - expected).abs().max() < 1.6 / 255


def test_few_bits_and_palettes(tmp_path: Path) -> None:
    few = in_bits(GREY, 4)
    check(tmp_path, tiff(few, 1, 4), few * 17)
    palette = np.random.default_rng(0).integers(0, 256, (256, 3))
    colormap = (320, 3, tuple((palette * 257).T.ravel().tolist()))
    picture = tiff(GREY, 3, 0, "<", colormap)
    assert np.array_equal(decoded(tmp_path, picture).pixels, palette[GREY[..., 0]])


LAYOUTS: list[dict[str, Any]] = [
    {"rowsperstrip": 7}, {"tile": (16, 16)}, {"planarconfig": "separate"},
    {"planarconfig": "separate", "tile": (16, 16)},
]  # fmt: skip
PACKINGS: list[dict[str, Any]] = [
    {"compression": name, "predictor": predictor}
    for name, predictor in (
        (None, None), ("lzw", None), ("lzw", True), ("deflate", True), ("packbits", None), ("zstd", None)
    )
]  # fmt: skip


def test_tiff_laid_out_in_any_way(tmp_path: Path) -> None:
    """Of all ways sixty; libtiff, which does not read them here, sees the same samples."""
    ways = itertools.product(
        LAYOUTS, PACKINGS, "<>", (False, True), range(1, 9), (np.uint8, np.uint16)
    )
    for layout, packing, order, big, turn, dtype in random.Random(0).sample(list(ways), 60):
        stored = COLORS.astype(dtype) * (257 if dtype == np.uint16 else 1)
        planar = "planarconfig" in layout
        file = BytesIO()
        tifffile.imwrite(
            file, np.ascontiguousarray(np.moveaxis(stored, 2, 0)) if planar else stored,
            photometric="rgb", byteorder=order, bigtiff=big, metadata=None,
            extratags=[(274, 3, 1, turn, True)], **layout, **packing,
        )  # fmt: skip
        content = file.getvalue()
        second = imagecodecs.tiff_decode(content)
        assert np.array_equal(np.moveaxis(second, 0, 2) if planar else second, stored)
        turned = Image.fromarray(COLORS)
        turned.getexif()[274] = turn
        upright = np.asarray(ImageOps.exif_transpose(turned))
        expected = upright.astype(dtype) * (257 if dtype == np.uint16 else 1)
        assert np.array_equal(decoded(tmp_path, content).pixels, expected)


PNG_KINDS: list[tuple[int, Samples, Samples, Samples | None]] = [
    (0, GREY, GREY, None), (2, COLORS, COLORS, None),
    (4, np.dstack([GREY, ALPHA]), GREY, ALPHA), (6, np.dstack([COLORS, ALPHA]), COLORS, ALPHA),
]  # fmt: skip


@pytest.mark.parametrize("interlaced", [False, True])
def test_png_of_every_kind_and_depth(
    tmp_path: Path, interlaced: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    for kind, samples, colors, alpha in PNG_KINDS:
        for bits in (8, 16):
            content = png(in_bits(samples, bits), kind, bits, interlaced=interlaced)
            check(tmp_path, content, colors, alpha)
            second = np.asarray(Image.open(BytesIO(content)).convert("RGBA"))
            if bits == 8:
                assert np.array_equal(second[..., :3], np.broadcast_to(colors, (24, 40, 3)))
    for bits in (1, 2, 4):
        few = in_bits(GREY, bits)
        check(tmp_path, png(few, 0, bits, interlaced=interlaced), few * (255 // (2**bits - 1)))
        palette = np.random.default_rng(bits).integers(0, 256, (2**bits, 3)).astype(np.uint8)
        chunks = (b"PLTE", palette.tobytes()), (b"tRNS", b"\7")
        alpha = np.where(few == 0, 7, 255).astype(np.uint8)
        content = png(few, 3, bits, *chunks, interlaced=interlaced)
        check(tmp_path, content, palette[few[..., 0]], alpha)
    assert capfd.readouterr() == ("", "")  # no decoder talks beside it


@pytest.mark.parametrize("bits", [8, 16])
def test_one_colour_of_a_png_is_clear(tmp_path: Path, bits: int) -> None:
    for kind, samples in ((0, GREY), (2, COLORS)):
        stored = in_bits(samples, bits)
        key = stored[5, 5]
        content = png(stored, kind, bits, (b"tRNS", key.astype(">u2").tobytes()))
        clear = (stored == key).all(2, keepdims=True)
        check(tmp_path, content, samples, np.where(clear, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("white", [1, 15, 100, 255, 256, 1000, 1023, 65535])
def test_netpbm_of_any_white(tmp_path: Path, white: int) -> None:
    head = b"# a comment\n40 24\n%d\n" % white
    for binary, plain, samples in ((b"P5\n", b"P2\n", GREY), (b"P6\n", b"P3\n", COLORS)):
        stored = np.rint(samples / 255 * white).astype(">u2" if white > 255 else np.uint8)
        expected = np.rint(stored / white * 255)
        check(tmp_path, binary + head + stored.tobytes(), expected)
        check(tmp_path, plain + head + " ".join(map(str, stored.ravel())).encode(), expected)


def test_floats_of_netpbm_are_light_from_below(tmp_path: Path) -> None:
    encoded = COLORS / 255
    light = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    for order, scale in (("<", b"-1.0"), (">", b"1.0")):
        content = b"PF\n40 24\n" + scale + b"\n" + light[::-1].astype(f"{order}f4").tobytes()
        check(tmp_path, content, COLORS)


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 16])
@pytest.mark.parametrize("boxes", ["jp2", "j2k"])
def test_jpeg_2000_of_any_depth(tmp_path: Path, bits: int, boxes: str) -> None:
    for kind, samples, colors, alpha in PNG_KINDS:
        stored = in_bits(samples, bits)
        stored = stored[..., 0] if kind == 0 else stored
        content = imagecodecs.jpeg2k_encode(
            stored, 0, bitspersample=bits, codecformat=boxes, reversible=True
        )
        check(tmp_path, bytes(content), colors, alpha)
    signed = (in_bits(COLORS, bits).astype(int) - (1 << bits - 1)).astype(
        np.int8 if bits == 8 else np.int16
    )
    content = imagecodecs.jpeg2k_encode(
        signed, 0, bitspersample=bits, codecformat=boxes, reversible=True
    )
    check(tmp_path, bytes(content), COLORS)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_avif_of_any_depth(tmp_path: Path, bits: int) -> None:
    for kind, samples, colors, alpha in PNG_KINDS:
        stored = in_bits(samples, bits)
        stored = stored[..., 0] if kind == 0 else stored
        content = imagecodecs.avif_encode(stored, 100, bitspersample=bits, speed=9)
        check(tmp_path, bytes(content), colors, alpha)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_of_any_depth(tmp_path: Path, bits: int) -> None:
    """16 bits are there without loss alone."""
    content = imagecodecs.jpeg8_encode(
        in_bits(COLORS, bits), 100, bitspersample=bits, lossless=bits == 16, subsampling="444"
    )
    check(tmp_path, bytes(content), COLORS)
    turned = jpeg_with(bytes(content), (0xE1, b"Exif\0\0" + exif()))
    check(tmp_path, turned, np.rot90(COLORS, -1))
