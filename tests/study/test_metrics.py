import pytest
import torch

from zoomdream.media.frame import Frame, blur
from zoomdream.study.metrics import high_frequencies, mean_lab, novelty, saturation


def test_colour_and_saturation() -> None:
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    assert mean_lab(red).tolist() == pytest.approx([53.24, 80.09, 67.2], abs=0.1)
    assert saturation(red) == pytest.approx(104.5, abs=0.2)
    assert saturation(torch.full((1, 3, 16, 16), 0.5)) == pytest.approx(0, abs=0.01)


def test_blur_lowers_high_frequencies(photo: Frame) -> None:
    assert high_frequencies(blur(photo, 1.5)) < 0.6 * high_frequencies(photo)


def test_novelty(photo: Frame) -> None:
    assert novelty(photo, photo) == pytest.approx(0, abs=1e-4)
    assert novelty(photo, photo.flip(3)) > 0.3
    rng = torch.Generator().manual_seed(0)
    one, other = (torch.rand(1, 3, 128, 128, generator=rng) for _ in range(2))
    assert novelty(one, other) == pytest.approx(1, abs=0.2)
