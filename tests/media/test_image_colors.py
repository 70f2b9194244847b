"""Colours that a file tells of in any way come out in sRGB; each is checked against a formula of its own."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from tests.media.test_image_depths import COLORS, GREY, check, decoded, difference, in_bits, shown
from tests.pictures import exif_of_colors, jpeg_with, png, tiff
from zoomdream.media.image_writer import srgb_profile

# From light to XYZ of D65, as published by Lindbloom and in ITU-R BT.2087.
FROM_SRGB = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
     [0.0193339, 0.1191920, 0.9503041]]
)  # fmt: skip
FROM_ADOBE = np.array(
    [[0.5767309, 0.1855540, 0.1881852], [0.2973769, 0.6273491, 0.0752741],
     [0.0270343, 0.0706872, 0.9911085]]
)  # fmt: skip
FROM_P3 = np.array(
    [
        [0.4865709, 0.2656677, 0.1982173],
        [0.2289746, 0.6917385, 0.0792869],
        [0, 0.0451134, 1.0439444],
    ]
)
FROM_2020 = np.array(
    [
        [0.6369580, 0.1446169, 0.1688810],
        [0.2627002, 0.6779981, 0.0593017],
        [0, 0.0280727, 1.0609851],
    ]
)
Curve = Callable[[np.ndarray], np.ndarray]
ADOBE_CHROMATICITIES = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)  # white first


def light_of(encoded: np.ndarray) -> np.ndarray:
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def in_srgb(light: np.ndarray, to_xyz: np.ndarray = FROM_SRGB) -> np.ndarray:
    linear = (light @ (np.linalg.inv(FROM_SRGB) @ to_xyz).T).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(encoded * 255)


def as_they_are(encoded: np.ndarray) -> np.ndarray:
    return encoded * 255


def from_adobe(encoded: np.ndarray) -> np.ndarray:
    return in_srgb(encoded**2.19921875, FROM_ADOBE)


def profile_chunk(profile: bytes) -> tuple[bytes, bytes]:
    return b"iCCP", b"x\0\0" + zlib.compress(profile)


def gamma_chunk(gamma: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(gamma * 100_000))


ADOBE = imagecodecs.cms_profile("adobergb")
SRGB_CHUNK = b"sRGB", b"\0"
PRIMARIES_CHUNK = b"cHRM", struct.pack(">8I", *ADOBE_CHROMATICITIES)
TOLD: dict[str, tuple[list[tuple[bytes, bytes]], Curve]] = {
    "nothing": ([], as_they_are),
    "sRGB": ([SRGB_CHUNK], as_they_are),
    "sRGB before others": ([gamma_chunk(1), PRIMARIES_CHUNK, SRGB_CHUNK], as_they_are),
    "gamma of sRGB": ([gamma_chunk(0.45455)], as_they_are),
    "no gamma": ([gamma_chunk(0)], as_they_are),
    "linear light": ([gamma_chunk(1)], in_srgb),
    "gamma 1.8": ([gamma_chunk(1 / 1.8)], lambda encoded: in_srgb(encoded**1.8)),
    "primaries": ([PRIMARIES_CHUNK], lambda encoded: in_srgb(light_of(encoded), FROM_ADOBE)),
    "profile": ([profile_chunk(ADOBE)], from_adobe),
    "profile before others": ([gamma_chunk(1), profile_chunk(ADOBE)], from_adobe),
    "profile of sRGB": ([profile_chunk(srgb_profile())], as_they_are),
    "cICP of sRGB": ([(b"cICP", b"\x01\x0d\0\1"), profile_chunk(ADOBE)], as_they_are),
    "cICP of Display P3": (
        [(b"cICP", b"\x0c\x0d\0\1"), SRGB_CHUNK], lambda encoded: in_srgb(light_of(encoded), FROM_P3),
    ),
    "cICP of BT.2020": (
        [(b"cICP", b"\x09\x0d\0\1")], lambda encoded: in_srgb(light_of(encoded), FROM_2020),
    ),
    "EXIF": ([(b"eXIf", exif_of_colors(0xFFFF, b"R03"))], from_adobe),
}  # fmt: skip


@pytest.mark.parametrize("told", TOLD)
def test_a_png_is_read_by_the_best_that_it_tells(tmp_path: Path, told: str) -> None:
    chunks, expected = TOLD[told]
    for bits in (8, 16):
        check(tmp_path, png(in_bits(COLORS, bits), 2, bits, *chunks), expected(COLORS / 255))
        check(
            tmp_path, png(in_bits(GREY, bits), 0, bits, *chunks), expected(GREY.repeat(3, 2) / 255)
        )


@pytest.mark.parametrize("bits", [8, 16])
def test_profiles_of_grey(tmp_path: Path, bits: int) -> None:
    profile = imagecodecs.cms_profile("gray", gamma=1.8)
    expected = in_srgb((GREY.repeat(3, 2) / 255) ** 1.8)
    full = np.full_like(GREY, 255)
    check(tmp_path, png(in_bits(GREY, bits), 0, bits, profile_chunk(profile)), expected)
    content = png(in_bits(np.dstack([GREY, full]), bits), 4, bits, profile_chunk(profile))
    check(tmp_path, content, expected, full)


@pytest.mark.parametrize(
    ("chunks", "note"),
    [
        ([profile_chunk(b"junk" * 50)], "its colour profile cannot be used"),
        ([(b"iCCP", b"x\0\0junk")], "its colour profile cannot be used"),
        ([profile_chunk(imagecodecs.cms_profile("gray", gamma=1.8))], "profile cannot be used"),
        ([(b"cICP", b"\x09\x09\0\1")], "told in a way that is not known (cICP 9, 9, 0)"),
    ],
)
def test_what_cannot_be_used_is_told_of(
    tmp_path: Path, chunks: list[tuple[bytes, bytes]], note: str
) -> None:
    picture = decoded(tmp_path, png(COLORS, 2, 8, *chunks))
    assert np.array_equal(picture.pixels, COLORS)
    assert note in picture.notes[0]


def perceptual_quantizer(light: np.ndarray) -> np.ndarray:
    """Light of which 1 is 203 cd/m2, by SMPTE ST 2084."""
    root = (light * 203 / 10_000) ** (2610 / 16384)
    number: np.ndarray = ((0.8359375 + 18.8515625 * root) / (1 + 18.6875 * root)) ** (2523 / 32)
    return number


def hybrid_log_gamma(light: np.ndarray) -> np.ndarray:
    """Light of which 1 is 203 cd/m2 of a display of 1000, by ITU-R BT.2100."""
    luminance = (light * 0.203) @ np.array([0.2627, 0.678, 0.0593])
    scene = light * 0.203 * np.maximum(luminance, 1e-9)[..., None] ** (1 / 1.2 - 1)
    high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.asarray(np.where(scene <= 1 / 12, np.sqrt(3 * scene), high))


@pytest.mark.parametrize(("curve", "number"), [(perceptual_quantizer, 16), (hybrid_log_gamma, 18)])
def test_high_dynamic_range(tmp_path: Path, curve: Curve, number: int) -> None:
    light = light_of(COLORS / 255) @ (np.linalg.inv(FROM_2020) @ FROM_SRGB).T
    encoded = curve(light.clip(0, None))
    chunk = b"cICP", bytes([9, number, 0, 1])
    check(tmp_path, png(in_bits(encoded * 255, 16), 2, 16, chunk), COLORS)
    narrow = np.rint((encoded * 219 + 16) * 256).astype(np.uint16)
    check(tmp_path, png(narrow, 2, 16, (b"cICP", bytes([9, number, 0, 0]))), COLORS)
    avif = imagecodecs.avif_encode(
        in_bits(encoded * 255, 12), 100, bitspersample=12, primaries=9, transfer=number, speed=9
    )
    check(tmp_path, bytes(avif), COLORS)
    light[:12] *= 5
    bright = png(in_bits(curve(light.clip(0, None)) * 255, 16), 2, 16, chunk)
    picture = decoded(tmp_path, bright)
    assert "% of its pixels are brighter than white: clipped" in picture.notes[0]
    assert difference(picture.pixels[12:] / 65535, COLORS[12:] / 255) < 0.9


def test_avif_tells_of_display_p3(tmp_path: Path) -> None:
    for bits in (8, 10):
        content = imagecodecs.avif_encode(
            in_bits(COLORS, bits), 100, bitspersample=bits, primaries=12, transfer=13, speed=9
        )
        check(tmp_path, bytes(content), in_srgb(light_of(COLORS / 255), FROM_P3))


@pytest.mark.parametrize(
    ("space", "index", "is_adobe"),
    [(0xFFFF, b"R03", True), (2, b"R98", True), (1, b"R98", False), (0xFFFF, b"R98", False)],
)
def test_exif_tells_of_adobe_rgb(tmp_path: Path, space: int, index: bytes, is_adobe: bool) -> None:
    plain = imagecodecs.jpeg8_encode(COLORS, 100, subsampling="444")
    content = jpeg_with(bytes(plain), (0xE1, b"Exif\0\0" + exif_of_colors(space, index)))
    expected = from_adobe(COLORS / 255) if is_adobe else COLORS
    check(tmp_path, content, expected)


@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_tells_of_primaries_and_of_lab(tmp_path: Path, bits: int) -> None:
    parts = [ADOBE_CHROMATICITIES[2:], ADOBE_CHROMATICITIES[:2]]
    primaries, white = (tuple(n for part in p for n in (part, 100_000)) for p in parts)
    content = tiff(in_bits(COLORS, bits), 2, 0, "<", (319, 4, primaries), (318, 4, white))
    content = content.replace(struct.pack("<HHI", 319, 4, 12), struct.pack("<HHI", 319, 5, 6))
    content = content.replace(struct.pack("<HHI", 318, 4, 4), struct.pack("<HHI", 318, 5, 2))
    check(tmp_path, content, in_srgb(light_of(COLORS / 255), FROM_ADOBE))
    # L*a*b* of a grey is grey, and a* and b* are signed in TIFF's own, not in ICC's.
    lab = np.zeros((24, 40, 3), np.uint8)
    lab[..., 0] = 137  # 53.7 of 100
    check(tmp_path, tiff(in_bits(lab, bits), 8), np.full((24, 40, 3), 128))
    lab[..., 1:] = 128
    check(tmp_path, tiff(in_bits(lab, bits), 9), np.full((24, 40, 3), 128))


def test_lab_is_that_of_littlecms(tmp_path: Path) -> None:
    from PIL import ImageCms

    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    picture = ImageCms.profileToProfile(Image.fromarray(COLORS), srgb, lab, outputMode="LAB")
    assert picture is not None
    picture.save(tmp_path / "lab.tif")
    colors, _ = shown(tmp_path, (tmp_path / "lab.tif").read_bytes())
    assert difference(colors, COLORS / 255) < 1.2  # of its 8 bits


def test_profiles_work_in_sixteen_bits(tmp_path: Path) -> None:
    """A ramp of as many steps as there are in 8 bits and between them keeps its steps."""
    ramp = np.arange(20_000, 20_960, dtype=np.uint16).reshape(24, 40, 1).repeat(3, 2)
    picture = decoded(tmp_path, png(ramp, 2, 16, profile_chunk(ADOBE)))
    assert picture.notes == ()
    assert picture.pixels.dtype == np.uint16
    assert len(np.unique(picture.pixels[..., 1])) > 900
