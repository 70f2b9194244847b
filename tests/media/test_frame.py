from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from zoomdream.media.color import from_opponent, to_lab, to_opponent
from zoomdream.media.frame import as_frame, blur, cover, resize, to_bytes
from zoomdream.media.noise import pink_noise
from zoomdream.size import Size


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((4, 6, 3), 51, np.uint8),
        np.full((4, 6), 13107, ">u2"),
        np.full((4, 6, 1), 0.2),
        np.full((4, 6, 4), [0, 0, 0, 204], np.uint8)[::-1, ::-1],
    ],
)
def test_pixels_become_a_frame(pixels: NDArray[Any]) -> None:
    frame = as_frame(pixels)
    assert frame.shape == (1, 3, 4, 6)
    assert torch.allclose(frame, torch.tensor(0.2), atol=1e-6)


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
