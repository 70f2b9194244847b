"""What is wanted of a network: it is written, read, added and scaled."""

from typing import Any

import pytest
import torch

import zoomdream as zd
from tests.network.test_network import CPU
from zoomdream.dreaming.session import DreamSession
from zoomdream.errors import UsageError
from zoomdream.media.frame import Frame
from zoomdream.network.layer_objectives import Target, Wanted, objectives_of
from zoomdream.network.network import Network, load_network
from zoomdream.network.objective import Sum


@pytest.fixture(scope="module")
def three() -> Network:
    return load_network("pocket", ["scales", "eyes", "faces"], at=CPU)


def gradient(network: Network, wanted: Wanted, frame: Frame) -> torch.Tensor:
    session = DreamSession(network, wanted)
    session.balance(frame)
    return session.gradient(frame)[0]


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def test_objectives_add_and_scale() -> None:
    both = zd.layer("a") + 0.3 * zd.channel("b", 12)
    assert isinstance(both, Sum)
    assert both.parts == (Target("a"), Target("b", ((12, 1.0),), 0.3))
    assert str(both) == "a + b:12=0.3"
    assert objectives_of(both) == objectives_of(["a", "b:12=0.3"])
    assert both * 2 == 2 * both == zd.layer("a") * 2 + 0.6 * zd.channel("b", 12)
    without = zd.layer("a") - zd.channel("b", 1) - zd.layer("c")
    assert [part.weight for part in without.parts] == [1, -1, -1]
    assert str(without) == "a + b:1=-1 + c=-1"
    assert (zd.layer("a") - (zd.layer("b") - zd.layer("c"))).parts == (
        Target("a"), Target("b", weight=-1.0), Target("c"),
    )  # fmt: skip
    assert -both == both * -1
    assert (-zd.layer("a")).weight == -1
    longer = both + (zd.layer("c") + zd.direction("d", {3: 1, 7: -0.5}))
    assert [str(part) for part in longer.parts] == ["a", "b:12=0.3", "c", "d:3-0.5*7"]
    assert [str(part) for part in objectives_of([both, "e=2"])] == ["a", "b:12=0.3", "e=2"]


def test_what_is_written_is_read_again() -> None:
    for text in ("eyes", "eyes=0.5", "eyes:12", "eyes:3+7-0.5*12=2", "class:lion", "eyes=-1"):
        assert str(Target.parse(text)) == text
    assert zd.imagenet_class("lion") == Target.parse("class:lion")
    assert zd.direction("eyes", {3: 1.0, 12: -0.5}) == Target.parse("eyes:3-0.5*12")
    assert objectives_of({"eyes": 0.5, "scales:3": 2}) == objectives_of(["eyes=0.5", "scales:3=2"])
    assert objectives_of("eyes=0.5") == objectives_of(Target.parse("eyes=0.5"))
    assert objectives_of((), ("eyes",)) == (Target("eyes"),)


@pytest.mark.parametrize(
    "wanted",
    [
        "eyes=0",
        ["eyes=-1", "scales=0"],
        {"eyes": 0},
        -zd.layer("eyes"),
        0 * (zd.layer("eyes") + zd.layer("scales")),
        zd.layer("eyes") * -1 - zd.layer("scales"),
    ],
)
def test_nothing_above_0_is_refused(wanted: Wanted, three: Network) -> None:
    with pytest.raises(UsageError, match="no layer has a weight above 0: there is nothing"):
        objectives_of(wanted)
    with pytest.raises(UsageError, match="there is nothing to dream"):
        DreamSession(three, wanted)
    with pytest.raises(UsageError, match="there is nothing to dream"):
        load_network("pocket", wanted, at=CPU)


def test_a_sum_has_the_gradient_of_its_texts(three: Network, photo: Frame) -> None:
    written = gradient(three, ["eyes=1", "scales:12=0.3"], photo)
    added = zd.layer("eyes") + 0.3 * zd.channel("scales", 12)
    assert torch.equal(gradient(three, added, photo), written)
    assert torch.equal(gradient(three, 2 * added, photo), written)  # weights are shares
    loaded = load_network("pocket", added, at=CPU)  # the same layers, without the third
    assert torch.equal(gradient(loaded, (), photo), written)
    assert not torch.equal(gradient(three, added + zd.layer("faces"), photo), written)


def test_a_negative_weight_avoids(three: Network, photo: Frame) -> None:
    eyes, scales = (gradient(three, name, photo) for name in ("eyes", "scales"))
    both = gradient(three, zd.layer("eyes") - 0.5 * zd.layer("scales"), photo)
    assert torch.allclose(both, (eyes - 0.5 * scales) / 1.5, atol=1e-4 * float(eyes.abs().max()))
    assert cosine(both, scales) < cosine(eyes, scales)


def test_ones_own_function_is_an_objective(three: Network, photo: Frame) -> None:
    own = zd.objective(lambda a: (a["eyes"] ** 2).sum() / 2, "eyes")
    expected = gradient(three, "eyes", photo)
    assert cosine(gradient(three, own, photo), expected) > 0.999
    mixed = zd.layer("scales") + 0.5 * own
    assert cosine(gradient(three, mixed, photo), gradient(three, ["scales", "eyes=0.5"], photo)) > (
        0.999
    )
    assert str(own) == "<lambda>"

    def contrast(activations: dict[str, torch.Tensor]) -> torch.Tensor:
        return activations["eyes"].std() + activations["faces"].mean()

    two = zd.objective(contrast, ["eyes", "faces"])
    assert str(2 * two) == "contrast=2"
    assert two.layers == ("eyes", "faces")
    session = DreamSession(three, two)
    ascent, (before,) = session.gradient(photo)
    after = session.gradient((photo + 0.01 * ascent / ascent.abs().mean()).clamp(0, 1))[1][0]
    assert after > before


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ones_own_function_is_dreamt_of(photo: Frame, precision: str) -> None:
    network = load_network("pocket", "eyes", device="cpu", precision=precision)
    own = zd.objective(lambda a: (a["eyes"].float() ** 2).sum() / 2, "eyes")
    plain, dreamt = (
        zd.dream(photo, network, wanted, steps=3, octaves=2, variety=0) for wanted in ("eyes", own)
    )
    assert dreamt.shape == photo.shape
    assert float((dreamt - photo).abs().mean()) > 0.01
    if precision == "fp32":
        assert float((dreamt - plain).abs().mean()) < 1e-4


def test_a_function_that_cannot_be_derived_is_refused(three: Network, photo: Frame) -> None:
    functions: list[Any] = [lambda _: torch.tensor(3.0), lambda _: 3.0, lambda a: a["eyes"]]
    constant, number, many = (zd.objective(function, "eyes") for function in functions)
    with pytest.raises(UsageError, match="<lambda>: its value does not depend on the activations"):
        gradient(three, constant, photo)
    for wrong in (number, many):
        with pytest.raises(UsageError, match="<lambda>: an objective gives a tensor with a single"):
            gradient(three, wrong, photo)


def test_layers_that_were_not_loaded_are_refused(three: Network) -> None:
    own = zd.objective(lambda a: a["patterns"].mean(), "patterns")
    for wanted in ("patterns", zd.layer("eyes") + zd.layer("patterns"), own, "patterns:3"):
        with pytest.raises(
            UsageError,
            match='pocket was loaded for scales, eyes, faces, and "patterns" is wanted of it: name it',
        ):
            DreamSession(three, wanted)
    with pytest.raises(UsageError, match='"patterns" is wanted'):
        DreamSession(three, zd.guide(torch.rand(3, 64, 64), "patterns"))
    with pytest.raises(UsageError, match="channels 0 to 383: 384 is too high"):
        DreamSession(three, "eyes:384")
