"""What dreams of classes show is told by a network that had no part in them."""

from pathlib import Path

import pytest
import torch

from zoomdream.errors import WeightsError
from zoomdream.network.classes import class_number
from zoomdream.settings.definitions import NeuronSpec
from zoomdream.training.class_dreams import (
    CLASSES,
    class_pictures,
    judged,
    load_dreamer,
    load_judge,
)
from zoomdream.training.pictures import photographs


@pytest.fixture(scope="module")
def judge() -> torch.nn.Module:
    return load_judge()


def test_the_judge_knows_a_photograph(judge: torch.nn.Module) -> None:
    (cup,) = photographs(None, ("coffee",))
    picture = torch.from_numpy(cup).permute(2, 0, 1)[None] / 255
    (verdict,) = judged(judge, picture, ["espresso"])
    assert verdict.told
    assert verdict.share > 0.05
    (other,) = judged(judge, picture, ["zebra"])
    assert not other.told
    assert other.seen == verdict.seen


def test_dreams_of_classes_are_told_and_noise_is_not(judge: torch.nn.Module) -> None:
    network, names = load_dreamer("pocket", None), ["zebra", "African elephant"]
    dreamt = class_pictures(network, names, NeuronSpec(size=96, steps=36))
    assert all(verdict.told for verdict in judged(judge, dreamt, names))
    noise = class_pictures(network, names, NeuronSpec(size=96, steps=1))
    assert not any(verdict.told for verdict in judged(judge, noise, names))


def test_the_twenty_classes_are_imagenets() -> None:
    assert len({class_number(name) for name in CLASSES}) == 20


def test_weights_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no such file"):
        load_dreamer("pocket", tmp_path / "pocket.safetensors")
