import numpy as np
import pytest
import torch
from PIL import Image

from zoomdream.errors import InputError
from zoomdream.media.color import from_opponent, to_lab, to_opponent
from zoomdream.media.frame import as_frame, blur, cover, resize, to_bytes
from zoomdream.media.noise import pink_noise
from zoomdream.size import Size


@pytest.mark.parametrize(
    "picture",
    [
        np.full((4, 6, 3), 51, np.uint8),
        np.full((4, 6), 13107, np.uint16),
        np.full((4, 6), 13107, ">u2"),
        np.full((4, 6, 3), 0.2, ">f4"),
        np.full((4, 6, 1), 0.2),
        torch.full((3, 4, 6), 0.2),
        torch.full((1, 3, 4, 6), 51, dtype=torch.uint8),
        torch.full((3, 4, 6), 0.2, requires_grad=True),
        Image.new("RGB", (6, 4), (51, 51, 51)),
        Image.new("L", (6, 4), 51),
        Image.new("RGB", (6, 4), (51, 51, 51)).convert("P"),
        Image.new("RGB", (6, 4), (51, 51, 51)).convert("CMYK"),
        Image.new("LA", (6, 4), (51, 255)),
        Image.new("RGBA", (6, 4), (0, 0, 0, 204)),
        Image.new("RGBA", (6, 4), (51, 51, 51, 255)).convert("RGBa"),
        Image.new("La", (6, 4), (51, 255)),
        Image.fromarray(np.full((4, 6), 13107, np.uint16)),
        Image.frombytes("I;16B", (6, 4), np.full((4, 6), 13107, ">u2").tobytes()),
        Image.new("F", (6, 4), 0.2),
    ],
)
def test_every_kind_of_picture_becomes_the_same_frame(picture: object) -> None:
    frame = as_frame(picture)
    assert frame.shape == (1, 3, 4, 6)
    assert frame.dtype == torch.float32
    assert torch.allclose(frame, torch.tensor(0.2), atol=1e-6)
    assert not frame.requires_grad


def test_booleans_are_black_and_white() -> None:
    half = np.zeros((4, 6), bool)
    half[:, 3:] = True
    expected = np.repeat(half[..., None], 3, 2) * 255
    for picture in (half, torch.from_numpy(half)[None], Image.fromarray(half)):
        assert (to_bytes(as_frame(picture)) == expected).all()


def test_pil_pictures_of_16_bits_keep_them() -> None:
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16
    frame = as_frame(Image.fromarray(ramp))
    assert torch.equal(frame, as_frame(ramp))
    assert len(np.unique(frame)) == 4096


def test_clear_parts_of_a_pil_palette_are_white() -> None:
    palette = Image.new("P", (6, 4), 0)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert as_frame(palette).max() == 0
    palette.info["transparency"] = 0
    assert as_frame(palette).min() == 1


def test_pil_pictures_are_not_turned_by_their_exif() -> None:
    picture = Image.new("RGB", (6, 4))
    picture.getexif()[0x0112] = 6  # to be turned by 90 degrees
    assert as_frame(picture).shape == (1, 3, 4, 6)


def test_alpha_is_laid_over_white() -> None:
    assert as_frame(np.zeros((2, 2, 4), np.uint8)).min() == 1


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4, 2)),
        np.zeros((4,)),
        np.full((4, 4), np.nan),
        np.zeros((4, 4), np.int64),
        "photo.jpg",
        [0.5, 0.2],
        [[1.0], [1.0, 2.0]],
        [torch.rand(4, requires_grad=True)],
        Image.new("I", (6, 4), 51),
        Image.new("RGB", (0, 4)),
    ],
)
def test_no_picture_is_refused(picture: object) -> None:
    with pytest.raises(InputError, match=r"shape|finite|uint8|no picture"):
        as_frame(picture)


def test_bytes_are_rounded_and_come_back() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    assert (to_bytes(as_frame(every)) == every).all()
    assert to_bytes(torch.full((1, 3, 1, 1), 0.999))[0, 0, 0] == 255


def test_opponent_colours_come_back(photo: torch.Tensor) -> None:
    assert torch.allclose(from_opponent(to_opponent(photo)), photo, atol=1e-5)
    grey = to_opponent(torch.full((1, 3, 2, 2), 0.3))
    assert torch.allclose(grey[:, 1:], torch.zeros(1), atol=1e-6)


def test_lab_of_known_colours() -> None:
    """Values of Bruce Lindbloom's calculator for sRGB red and mid grey."""
    red = to_lab(torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)).flatten()
    assert torch.allclose(red, torch.tensor([53.24, 80.09, 67.20]), atol=0.05)
    grey = to_lab(torch.full((1, 3, 1, 1), 0.5)).flatten()
    assert torch.allclose(grey, torch.tensor([53.39, 0.0, 0.0]), atol=0.05)


def test_cover_fills_without_stretching() -> None:
    picture = torch.zeros(1, 3, 100, 200)
    picture[..., 95:105] = 1  # a band in the middle, a tenth of the height wide
    square = cover(picture, Size.square(50))
    assert square.shape == (1, 3, 50, 50)
    assert square.mean() == pytest.approx(0.1, abs=0.01)


def test_blur_keeps_the_mean_and_spreads_as_its_sigma() -> None:
    dot = torch.zeros(1, 1, 41, 41)
    dot[..., 20, 20] = 1
    spread = blur(dot, 2.0)[0, 0]
    at = torch.arange(41.0) - 20
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    assert float((spread.sum(0) * at**2).sum()) == pytest.approx(4, rel=0.02)


@pytest.mark.parametrize("channels", [1, 3])
def test_blur_takes_every_picture_of_a_batch(channels: int) -> None:
    batch = torch.rand(3, channels, 20, 30, generator=torch.Generator().manual_seed(1))
    blurred = blur(batch, 1.5)
    assert blurred.shape == batch.shape
    for picture, alone in zip(blurred, batch, strict=True):
        assert torch.equal(picture, blur(alone[None], 1.5)[0])
    by_torch = blur(batch.double(), 1.5)  # as on a GPU
    assert torch.allclose(blurred.double(), by_torch, atol=1e-6)


def test_pink_noise_falls_with_frequency() -> None:
    planes = pink_noise(Size.square(64), torch.Generator().manual_seed(1))
    coarse = resize(planes, Size.square(32)).std()
    white = resize(torch.randn(1, 3, 64, 64), Size.square(32)).std()
    assert planes.std() == pytest.approx(1, abs=0.01)
    assert coarse > 1.4 * white
