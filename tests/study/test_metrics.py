import math

import pytest
import torch

from zoomdream.media.color import to_lab
from zoomdream.media.frame import Frame, blur
from zoomdream.study.metrics import (
    dots,
    high_frequencies,
    mean_lab,
    novelty,
    palette_distance,
    saturation,
)


def test_colour_and_saturation() -> None:
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    assert mean_lab(red).tolist() == pytest.approx([53.24, 80.09, 67.2], abs=0.1)
    assert saturation(red) == pytest.approx(104.5, abs=0.2)
    assert saturation(torch.full((1, 3, 16, 16), 0.5)) == pytest.approx(0, abs=0.01)


def test_palette_distance_is_that_of_gaussians() -> None:
    grey = torch.full((1, 3, 16, 16), 0.5)
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 8, 24)
    assert palette_distance(grey, red) == pytest.approx(
        float((mean_lab(grey) - mean_lab(red)).norm()), abs=1e-3
    )
    stripes = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    half, full = ((0.3 + share * stripes).expand(1, 3, -1, -1) for share in (0.1, 0.2))
    lightness = [to_lab(frame)[:, 0] for frame in (half, full)]  # the only plane that varies
    means = [float(plane.mean()) for plane in lightness]
    deviations = [float(plane.std(correction=0)) for plane in lightness]
    expected = math.hypot(means[0] - means[1], deviations[0] - deviations[1])
    assert palette_distance(half, full) == pytest.approx(expected, abs=0.01)


def test_palette_distance_forgets_where_colours_are(photo: Frame) -> None:
    assert palette_distance(photo, photo.flip(3)) == pytest.approx(0, abs=0.02)
    turned = photo[:, [2, 0, 1]]  # a red picture becomes a green one
    assert palette_distance(photo, turned) > 5
    assert palette_distance(photo, turned) == pytest.approx(palette_distance(turned, photo))


def test_dots_are_round_and_strokes_are_not(photo: Frame) -> None:
    across = torch.arange(96.0).view(1, 1, 1, -1)
    down = across.transpose(2, 3)
    wave = 2 * math.pi / 8
    strokes = 0.5 + 0.1 * (wave * (0.8 * across + 0.6 * down)).cos().expand(1, 3, -1, -1)
    board = 0.5 + 0.1 * ((wave * across).cos() * (wave * down).cos()).expand(1, 3, -1, -1)
    noise = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    assert dots(strokes) < 0.1
    assert dots(noise) == pytest.approx(0.58, abs=0.03)
    assert dots(board) == pytest.approx(8 / math.pi**2, abs=0.05)  # E|cos a cos b| / E cos^2 a
    carpet = (photo[..., :96] + board - 0.5).clamp(0, 1)
    assert dots(carpet) > dots(photo) + 0.05
    assert dots(torch.full((1, 3, 5, 7), 0.4)) == pytest.approx(0, abs=1e-6)


def test_blur_lowers_high_frequencies(photo: Frame) -> None:
    assert high_frequencies(blur(photo, 1.5)) < 0.6 * high_frequencies(photo)


def test_novelty(photo: Frame) -> None:
    assert novelty(photo, photo) == pytest.approx(0, abs=1e-4)
    assert novelty(photo, photo.flip(3)) > 0.3
    rng = torch.Generator().manual_seed(0)
    one, other = (torch.rand(1, 3, 128, 128, generator=rng) for _ in range(2))
    assert novelty(one, other) == pytest.approx(1, abs=0.2)
