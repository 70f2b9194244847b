import re
from pathlib import Path

import numpy as np
import pytest
import torch

from zoomdream import net
from zoomdream.dream import dream
from zoomdream.frame import Frame
from zoomdream.pocket.network import STAGES, Pocket
from zoomdream.pocket.pictures import drawn
from zoomdream.spec import DreamSpec

CARD = Path(net.__file__).parent / "pocket" / "README.md"


def test_the_weights_are_small_and_those_of_the_card() -> None:
    assert net.POCKET_WEIGHTS.stat().st_size < 8e6
    assert net._sha256(net.POCKET_WEIGHTS) in CARD.read_text()


@pytest.mark.parametrize("stage", STAGES)
def test_three_steps_raise_each_stage(stage: str, photo: Frame) -> None:
    network = net.load("pocket", [stage], at=net.place("cpu", "fp32"))
    spec = DreamSpec(octaves=1, steps=3)
    dreamt = dream(photo, network, spec, torch.Generator().manual_seed(0)).frame
    assert network.gradient(dreamt)[1][0] > 1.2 * network.gradient(photo)[1][0]


def test_stages_have_the_strides_of_the_card() -> None:
    card = CARD.read_text()
    for layer in net.layers("pocket"):
        assert re.search(rf"\| `{layer.name}` \| {layer.stride} \| {layer.channels} \|", card)


def test_any_size_will_do() -> None:
    pocket = Pocket()
    for size in ((32, 32), (33, 47), (50, 34)):
        values = dict(pocket.features(torch.rand(1, 3, *size)))
        assert list(values) == list(STAGES)


def test_drawn_pictures_are_seeded() -> None:
    one, same, other = (drawn(np.random.default_rng(seed), 64) for seed in (1, 1, 2))
    assert one.shape == (64, 64, 3)
    assert (one == same).all()
    assert (one != other).any()
