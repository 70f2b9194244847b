"""Sizes: width before height, and their sums."""

import json
from fractions import Fraction

import numpy as np
import pytest
import torch

import zoomdream as zd
from zoomdream.size import Size


def test_width_comes_before_height() -> None:
    size = Size.of(torch.zeros(1, 3, 341, 512))
    assert size == Size(width=512, height=341) == (512, 341)
    assert size == Size.of(np.zeros((341, 512))) == Size.of_channels_last(np.zeros((341, 512, 3)))
    assert size.shape == (341, 512)
    assert (size.longer, size.shorter, size.pixels) == (512, 341, 512 * 341)
    assert (str(size), f"{size}", json.dumps(size)) == ("512x341", "512x341", "[512, 341]")
    assert Size.square(7) == Size(7, 7)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (Size(101, 50).scaled(0.5), Size(50, 25)),  # halves go to the even number
        (Size(640, 480).scaled(0.8, multiple=2), Size(512, 384)),
        (Size(9, 1000).scaled(0.1), Size(1, 100)),
        (Size(9, 1000).scaled(0.1, least=16), Size(16, 100)),
        (Size(50, 20).scaled(Fraction(320, 50)), Size(320, 128)),
        (Size(640, 480).within(512), Size(512, 384)),
        (Size(64, 47).within(512), Size(64, 47)),
        (Size(64, 47).within(512, multiple=2), Size(64, 48)),
        (Size(30, 20).covering(Size(90, 90)), Size(135, 90)),
        (Size(300, 200).covering(Size(20, 10)), Size(20, 13)),
        (Size.rounded(0.2, 7.6), Size(1, 8)),
    ],
)
def test_sums(found: Size, wanted: Size) -> None:
    assert found == wanted
    assert isinstance(found, Size)


@pytest.mark.parametrize("given", [(64, 48), [64, 48], Size(64, 48)])
def test_settings_make_sizes_of_pairs(given: object) -> None:
    size = zd.Output(size=given).size
    assert isinstance(size, Size)
    assert size == Size(64, 48)
    assert isinstance(zd.Output(size=given).change(frames=3).size, Size)
