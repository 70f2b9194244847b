"""Files that are whole are read, however odd; what is not read is told by its true reason, and what helps."""

import sys
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.media.test_image_depths import ALPHA, COLORS, GREY, check, decoded
from tests.pictures import exif, jpeg_with, png, tiff
from zoomdream.errors import InputError
from zoomdream.media.image_reader import decode_image, read_mask
from zoomdream.media.python_pictures import one_mask

JPEG = BytesIO()
Image.fromarray(COLORS).save(JPEG, "JPEG", quality=95)


def saved(form: str, **options: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(COLORS).save(file, form, **options)
    return file.getvalue()


def test_large_and_broken_texts_in_a_png_do_not_matter(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workflow = b"workflow\0\0" + zlib.compress(b'{"node": 1},' * 1_000_000)
    history = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<rdf:li>uuid</rdf:li>" * 400_000)
    chunks = (b"zTXt", workflow), (b"iTXt", history), (b"tEXt", b"k\0" * 9), (b"zTXt", b"k\0\0junk")
    for bits in (8, 16):
        samples = COLORS.astype(np.uint16) * (257 if bits == 16 else 1)
        check(tmp_path, png(samples, 2, bits, *chunks), COLORS)
    content = png(COLORS, 2, 8)
    check(tmp_path, content[:-12], COLORS)  # without its last chunk, which says nothing
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("kind", "count", "value"),
    [
        (1, 1, b"\6"),
        (2, 2, b"6\0"),
        (3, 2, b"\6\0\1\0"),
        (4, 1, b"\6"),
        (6, 1, b"\6"),
        (7, 1, b"\6"),
    ],
)
def test_orientation_of_any_type(tmp_path: Path, kind: int, count: int, value: bytes) -> None:
    block = b"Exif\0\0" + exif(value.ljust(4, b"\0"), kind, count)
    plain = decoded(tmp_path, JPEG.getvalue()).pixels
    turned = decoded(tmp_path, jpeg_with(JPEG.getvalue(), (0xE1, block))).pixels
    assert np.array_equal(turned, np.rot90(plain, -1))


@pytest.mark.parametrize(
    "block",
    [exif(b"\x09\0\0\0"), exif(kind=99), exif(count=2**31), exif()[:20], b"II*\0\xff\xff\xff\xff"],
)
def test_exif_that_makes_no_sense_is_left_out(tmp_path: Path, block: bytes) -> None:
    plain = decoded(tmp_path, JPEG.getvalue()).pixels
    odd = jpeg_with(JPEG.getvalue(), (0xE1, b"Exif\0\0" + block))
    assert np.array_equal(decoded(tmp_path, odd).pixels, plain)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_of_several_pictures_the_first_is_taken(tmp_path: Path, form: str) -> None:
    more = {"save_all": True, "append_images": [Image.fromarray(255 - COLORS)]}
    picture = decoded(tmp_path, saved(form, **more))
    assert picture.notes == ("it holds several pictures: the first is taken",)
    assert np.abs(picture.pixels[..., :3].astype(int) - COLORS).mean() < 9
    assert decoded(tmp_path, saved(form)).notes == ()


def test_pages_that_are_previews_are_not_taken(tmp_path: Path) -> None:
    file = BytesIO()
    with tifffile.TiffWriter(file) as pages:
        pages.write(COLORS[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
        pages.write(COLORS, photometric="rgb", metadata=None)
    check(tmp_path, file.getvalue(), COLORS)


def rgb(samples: np.ndarray) -> bytes:
    return tiff(samples, 2)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (rgb(COLORS.astype(np.int16)), "has signed samples, of which no number is white: save it with"),
        (rgb(COLORS.astype(np.float32)), "floats that are mostly more than 1, which is white: divide"),
        (tiff(COLORS, 2, 0, "<", (259, 3, (34677,))), "compression SGILOG24, which is not read: save"),
        (tiff(COLORS, 32845), "of the colours LOGLUV, which are not read: save it in RGB"),
        (tiff(COLORS, 5), "of 3 inks that are not those of CMYK: save it in RGB"),
        (rgb(COLORS)[:2000], "is damaged or cut short"),
        (png(COLORS, 2, 8)[:-40], "is damaged or cut short"),
        (JPEG.getvalue()[:700], "is damaged or cut short"),
        (b"P6 40 24 255\n" + bytes(99), "is damaged or cut short"),
        (b"8BPS\0\1" + bytes(40), "it is a Photoshop document; export it as PNG or TIFF"),
        (b"<!DOCTYPE html><title>404</title>", "a page that a server answered with; download the picture"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS; `git lfs pull` fetches"),
        (b"gimp xcf v011\0", "it is a GIMP document; export it as PNG or TIFF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is HEIC; save it as JPEG"),
        (b"\xff\x0a" + bytes(40), "it is JPEG XL; export it as PNG or TIFF"),
        (b"\0\0\0\x20ftypisom" + bytes(30), "it is a film; save a frame of it as PNG"),
        (b"PK\3\4" + bytes(40), "it is a zip archive or a document that is one"),
        (b"\x89 some bytes", "holds no picture that can be read; PNG, JPEG, WebP or TIFF would do"),
        (rgb(COLORS).replace(b"\0\1\4\0\1\0\0\0\x28", b"\0\1\4\0\1\0\0\0\xff"), "is damaged"),
    ],
)  # fmt: skip
def test_the_true_reason_and_what_helps(tmp_path: Path, content: bytes, told: str) -> None:
    with pytest.raises(InputError) as caught:
        decoded(tmp_path, content)
    assert told in str(caught.value)


def test_what_is_advised_works(tmp_path: Path) -> None:
    """Signed samples made unsigned, floats divided, colours saved as RGB: each is read."""
    check(tmp_path, rgb(COLORS.astype(np.int16).astype(np.uint16) * 257), COLORS)
    check(tmp_path, rgb(COLORS.astype(np.float32) / 255), COLORS)


def test_a_few_floats_above_white_are_clipped(tmp_path: Path) -> None:
    light = COLORS.astype(np.float32) / 255
    light[:2] = 3
    picture = decoded(tmp_path, rgb(light))
    assert picture.notes == ("8.3 % of its pixels are brighter than white: clipped",)
    assert (picture.pixels[:2] == 65535).all()


def camera_file() -> bytes:
    """A DNG of a grey wall and a red one, whose first page is a black preview."""
    wall = np.full((64, 96, 3), 0.2)
    wall[:, 48:] = (0.3, 0.03, 0.03)
    sensor = wall[..., 1].copy()
    sensor[::2, ::2], sensor[1::2, 1::2] = wall[::2, ::2, 0], wall[1::2, 1::2, 2]
    from_xyz = (32405, -15371, -4985, -9693, 18760, 416, 556, -2040, 10573)
    matrix = tuple(number for part in from_xyz for number in (part, 10_000))
    of_camera = [
        (50706, 1, 4, b"\1\4\0\0", True), (50708, 2, 0, "Camera", True), (50778, 3, 1, 21, True),
        (50721, 10, 9, matrix, True), (50728, 5, 3, (1, 1) * 3, True),
    ]  # fmt: skip
    of_sensor = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, b"\0\1\1\2", True)]
    file = BytesIO()
    with tifffile.TiffWriter(file) as pages:
        preview = np.zeros((16, 24, 3), np.uint8)
        pages.write(
            preview, photometric="rgb", subfiletype=1, subifds=1, extratags=of_camera, metadata=None
        )
        data = (sensor * 65535).astype(np.uint16)
        pages.write(data, photometric="cfa", subfiletype=0, extratags=of_sensor, metadata=None)
    return file.getvalue()


def test_a_cameras_raw_file_is_developed(tmp_path: Path) -> None:
    pixels = decoded(tmp_path, camera_file()).pixels
    assert pixels.shape == (64, 96, 3)
    assert pixels.dtype == np.uint16
    red, green, blue = pixels[32, 20].astype(int)
    assert max(red, green, blue) - min(red, green, blue) < 2000 < green  # grey, and not black
    red, green, blue = pixels[32, 75].astype(int)
    assert red > 2 * max(green, blue)
    with pytest.raises(InputError, match="has 96x64 pixels, and 999 are the most"):
        decode_image(tmp_path / "a", 999)


def test_without_the_extra_a_raw_file_gets_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its preview is not taken for the picture."""
    monkeypatch.setitem(sys.modules, "rawpy", None)
    for content in (
        camera_file(),
        b"FUJIFILMCCD-RAW 0201" + bytes(99),
        b"\0\0\0\x18ftypcrx " + bytes(99),
    ):
        with pytest.raises(InputError) as caught:
            decoded(tmp_path, content)
        assert 'a camera\'s raw file: pip install "zoomdream[raw]" to use it, or' in str(
            caught.value
        )


# --- Masks --------------------------------------------------------------------------------------------

WHITE, CLEAR = np.full((24, 40, 1), 255, np.uint8), np.zeros((24, 40, 1), np.uint8)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_mask_is_brightness_times_alpha(tmp_path: Path, bits: int) -> None:
    factor, dtype = (257, np.uint16) if bits == 16 else (1, np.uint8)
    painted = [
        (np.dstack([WHITE] * 3 + [ALPHA]), ALPHA / 255), (np.dstack([WHITE, ALPHA]), ALPHA / 255),
        (np.dstack([GREY, ALPHA]), GREY / 255 * (ALPHA / 255)), (GREY, GREY / 255),
        (np.dstack([GREY, WHITE]), GREY / 255), (np.dstack([WHITE] * 3 + [CLEAR]), CLEAR),
    ]  # fmt: skip
    for samples, expected in painted:
        kind = {1: 0, 2: 4, 4: 6}[samples.shape[2]]
        (tmp_path / "m.png").write_bytes(png(samples.astype(dtype) * factor, kind, bits))
        mask = read_mask(tmp_path / "m.png")
        assert mask.shape == (1, 1, 24, 40)
        assert np.abs(mask[0, 0].numpy() - expected[..., 0]).max() < 1e-5


def test_masks_of_other_formats_and_from_python(tmp_path: Path) -> None:
    picture = Image.fromarray(np.dstack([WHITE] * 3 + [ALPHA]))
    for name in ("m.webp", "m.tiff", "m.avif"):
        picture.save(tmp_path / name, quality=100)
        assert np.abs(read_mask(tmp_path / name)[0, 0].numpy() - ALPHA[..., 0] / 255).max() < 0.02
    assert np.abs(one_mask(picture)[0, 0].numpy() - ALPHA[..., 0] / 255).max() < 1e-5
    drawing = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="24"><rect width="20" height="24" '
    (tmp_path / "m.svg").write_text(f'{drawing} fill="#fff"/></svg>')
    mask = read_mask(tmp_path / "m.svg")[0, 0]
    assert mask[:, : mask.shape[1] // 2 - 1].min() == 1
    assert mask[:, mask.shape[1] // 2 + 1 :].max() == 0
