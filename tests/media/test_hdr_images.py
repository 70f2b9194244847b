"""Stills of linear light: what a screen shows of them, and what is refused."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import Command
from tests.pictures import exr, radiance
from zoomdream.errors import InputError
from zoomdream.media.color import encode_srgb
from zoomdream.media.image_reader import decode_image, read_still

LIGHT = np.random.default_rng(0).random((20, 30, 3), np.float32) * 1.2 - 0.1
ALPHA = np.linspace(0, 1, 30, dtype=np.float32)[None].repeat(20, 0)
SOLID = {"R": LIGHT[..., 0], "G": LIGHT[..., 1], "B": LIGHT[..., 2]}
MORE = struct.pack("<8f", 0.713, 0.293, 0.165, 0.83, 0.128, 0.044, 0.3217, 0.3377)  # ACEScg's


def encoded(light: np.ndarray) -> np.ndarray:
    """By sRGB's curve (IEC 61966-2-1), in float64 and without any of ours."""
    light = light.astype(np.float64).clip(0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def test_the_curve_of_srgb() -> None:
    light = torch.tensor([0, 0.0031308, 0.2140411, 1])
    assert encode_srgb(light).tolist() == pytest.approx([0, 0.04045, 0.5, 1], abs=1e-4)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_exr_is_encoded_and_clipped(tmp_path: Path, kind: type) -> None:
    (tmp_path / "a.exr").write_bytes(
        exr({name: plane.astype(kind) for name, plane in SOLID.items()})
    )
    decoded = decode_image(tmp_path / "a.exr")
    assert decoded.pixels.shape == (20, 30, 3)
    assert decoded.pixels.dtype == np.uint16
    expected = encoded(LIGHT.astype(kind)) * 65535
    assert np.abs(decoded.pixels - expected).max() < 0.6
    share = 100 * (LIGHT.max(2) > 1).mean()
    assert decoded.notes == (f"{share:.2g} % of its pixels are brighter than white: clipped",)


def test_light_within_the_range_is_not_told_of(tmp_path: Path) -> None:
    dim = {name: plane.clip(0, 1) for name, plane in SOLID.items()}
    (tmp_path / "a.png").write_bytes(exr(dim))  # by content, not by name
    assert decode_image(tmp_path / "a.png").notes == ()


def test_colours_are_freed_from_their_alpha(tmp_path: Path) -> None:
    """EXR's colours lie on black by their alpha; ours stand beside it."""
    laid = {name: plane * ALPHA for name, plane in SOLID.items()}
    (tmp_path / "a.exr").write_bytes(exr({**laid, "A": ALPHA}))
    pixels = decode_image(tmp_path / "a.exr").pixels / 65535
    assert pixels.shape == (20, 30, 4)
    assert np.abs(pixels[..., 3] - ALPHA).max() < 1e-5
    assert np.abs(pixels[:, 1:, :3] - encoded(LIGHT)[:, 1:]).max() < 1e-4
    frame = read_still(tmp_path / "a.exr")
    assert frame[..., 0].min() == 1  # over white, where nothing is


def test_grey_and_numbers_that_are_none(tmp_path: Path) -> None:
    grey = LIGHT[..., 0].copy()
    grey[0, :3] = np.nan, np.inf, -np.inf
    (tmp_path / "a.exr").write_bytes(exr({"Y": grey}))
    decoded = decode_image(tmp_path / "a.exr")
    assert decoded.pixels[0, :3].tolist() == [[0] * 3, [65535] * 3, [0] * 3]
    assert (decoded.pixels[..., 0] == decoded.pixels[..., 2]).all()


def test_other_primaries_are_converted(tmp_path: Path) -> None:
    """Grey stays grey whatever its white point; what no screen's red is comes out as more than that."""
    grey = LIGHT[..., 0].clip(0, 1)
    planes = {"R": grey, "G": grey, "B": grey}
    more = ("chromaticities", MORE)
    (tmp_path / "a.exr").write_bytes(exr(planes, chromaticities=more))
    decoded = decode_image(tmp_path / "a.exr")
    assert decoded.notes == ()
    assert np.abs(decoded.pixels / 65535 - encoded(grey)[..., None]).max() < 2e-3
    (tmp_path / "a.exr").write_bytes(
        exr({**planes, "R": grey * np.float32(0.5)}, chromaticities=more)
    )
    red, green, _ = decode_image(tmp_path / "a.exr").pixels[5, 5] / 65535
    assert red < encoded(grey / 2)[5, 5] - 0.02
    assert green > encoded(grey)[5, 5]


def test_radiance_is_encoded_and_clipped(tmp_path: Path) -> None:
    light = (LIGHT + 0.1).clip(0, None)
    (tmp_path / "a.hdr").write_bytes(radiance(light))
    decoded = decode_image(tmp_path / "a.hdr")
    assert decoded.pixels.shape == (20, 30, 3)
    assert decoded.pixels.dtype == np.uint16
    step = light.max(2, keepdims=True) / 128  # bits of a mantissa that all three share
    assert (decoded.pixels / 65535 <= encoded(light + step) + 1e-4).all()
    assert (decoded.pixels / 65535 >= encoded(light - step) - 1e-4).all()
    assert "brighter than white: clipped" in decoded.notes[0]


BIG = struct.pack("<4i", 0, 0, 59_999, 59_999)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (exr(SOLID, displayWindow=("box2i", BIG)), "has 60000x60000 pixels, and 200,000,000 are"),
        (radiance(LIGHT.clip(0), "-Y 60000 +X 60000"), "has 60000x60000 pixels, and 200,000,000"),
        (exr(SOLID, compression=("compression", b"\x0b")), "compression that cannot be read"),
        (exr(SOLID)[:700], "damaged or cut short"),
        (exr(SOLID)[:20], "damaged or cut short"),
        (exr({"Y": LIGHT[..., 0], "A": ALPHA}), "save it in colours"),
        (exr(SOLID, displayWindow=("box2i", struct.pack("<4i", 9, 9, 0, 0))), "damaged or cut"),
        (radiance(LIGHT.clip(0))[:300], "damaged or cut short"),
        (b"#?RADIANCE\n", "damaged or cut short"),
        (radiance(LIGHT.clip(0), "-Y 0 +X 9"), "damaged or cut short"),
    ],
)
def test_what_cannot_be_read_gets_a_sentence(
    tmp_path: Path, content: bytes, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.exr").write_bytes(content)
    with pytest.raises(InputError, match=told):
        decode_image(tmp_path / "a.exr")
    assert capfd.readouterr() == ("", "")  # no decoder talks beside it


def test_they_are_dreamt_on_in_sixteen_bits(zoomdream: Command, tmp_path: Path) -> None:
    (tmp_path / "in.exr").write_bytes(exr({name: p.repeat(2, 0) for name, p in SOLID.items()}))
    quick = ("--octaves", 1, "--steps", 1, "--device", "cpu", "--size", "64x64")
    done = zoomdream("image", "in.exr", "-o", "out.png", *quick)
    assert done.code == 0, done.err
    assert "% of its pixels are brighter than white: clipped" in done.err
    assert decode_image(tmp_path / "out.png").pixels.dtype == np.uint16
