"""What is wanted of a network: it is written, read, added and scaled."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import zoomdream as zd
from tests.network.test_network import CPU
from zoomdream.dreaming.session import DreamSession
from zoomdream.errors import UsageError
from zoomdream.media.frame import Frame
from zoomdream.network.catalog import network_info
from zoomdream.network.layer_objectives import Target, Wanted, objectives_of
from zoomdream.network.network import Network, load_network
from zoomdream.network.objective import Activations, Objective, Sum


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


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ([3], r"layers: 3 says nothing to dream of: names such as \"eyes\""),
        (3, r"layers: 3 says nothing to dream of"),
        (["eyes", None], r"layers: None says nothing to dream of"),
        (len, r"layers: len is a bare function: wrap it, as in zd.objective\(function, layers\)"),
        (["eyes", lambda a: a], r"layers: <lambda> is a bare function"),
        ({"eyes": "1"}, r"the weight of layer eyes is '1': a finite number would do"),
        ({"eyes": math.nan}, r"the weight of layer eyes is nan"),
        ({"eyes": True}, r"the weight of layer eyes is True"),
        ({3: 1.0}, r"layer 3 is no name such as \"eyes\""),
        ("eyes=inf", r"layer \"eyes=inf\" is not NAME"),
    ],
)
def test_what_says_nothing_is_refused_in_a_sentence(wanted: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        load_network("pocket", wanted, at=CPU)
    with pytest.raises(UsageError, match=sentence):
        objectives_of(wanted)


UNTYPED: Any = zd
"""The face as a program without types sees it."""
EYES: Any = zd.layer("eyes")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: UNTYPED.channel("eyes", -1), "channel -1 of eyes: a whole number, 0 or more"),
        (lambda: UNTYPED.channel("eyes", 1.5), "channel 1.5 of eyes: a whole number"),
        (lambda: UNTYPED.channel("eyes", "3"), "channel '3' of eyes: a whole number"),
        (lambda: UNTYPED.channel("eyes", True), "channel True of eyes: a whole number"),
        (lambda: UNTYPED.layer(3), 'layer 3 is no name such as "eyes"'),
        (lambda: UNTYPED.layer(""), "layer '' is no name"),
        (
            lambda: UNTYPED.direction("eyes", {}),
            "a direction of eyes is {}: channels with their shares",
        ),
        (lambda: UNTYPED.direction("eyes", [3, 7]), r"a direction of eyes is \[3, 7\]"),
        (
            lambda: UNTYPED.direction("eyes", {3: 0, 7: 0.0}),
            "all shares of a direction of eyes are 0",
        ),
        (lambda: UNTYPED.direction("eyes", {3: math.inf}), "the share of channel 3 of eyes is inf"),
        (lambda: UNTYPED.direction("eyes", {-3: 1}), "channel -3 of eyes: a whole number"),
        (lambda: UNTYPED.imagenet_class(-1), "channel -1 of class: a whole number"),
        (lambda: UNTYPED.imagenet_class(2.5), "channel 2.5 of class: a whole number"),
        (lambda: math.nan * EYES, "the weight of eyes is nan: a finite number would do"),
        (lambda: EYES * "2", "the weight of eyes is '2'"),
        (lambda: math.inf * (EYES + EYES), "the weight of eyes is inf"),
        (lambda: 1e200 * (1e200 * EYES), "the weight of eyes is inf"),
        (lambda: Target("eyes", weight=math.nan), "the weight of eyes is nan"),
        (lambda: EYES + "scales", "'scales' cannot be added to an objective"),
        (lambda: EYES - 3, "3 cannot be added to an objective"),
        (lambda: 3 + EYES, "3 cannot be added to an objective"),
        (lambda: UNTYPED.objective(3, "eyes"), "an objective's function is 3: it cannot be called"),
        (lambda: UNTYPED.objective(len, []), r"an objective's layers are \(\): names would do"),
        (lambda: UNTYPED.objective(len, 3), "an objective's layers are 3: names would do"),
        (lambda: UNTYPED.objective(len, [3]), r"an objective's layers are \(3,\): names would do"),
    ],
)
def test_objectives_refuse_wrong_numbers_in_a_sentence(
    make: Callable[[], object], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


def test_classes_and_channels_take_every_whole_number() -> None:
    assert UNTYPED.imagenet_class(291) == Target.parse("class:291")
    assert str(UNTYPED.imagenet_class(np.int64(291))) == "class:291"
    assert UNTYPED.channel("eyes", np.int32(3)) == UNTYPED.channel("eyes", 3)
    assert UNTYPED.direction("eyes", {np.int64(3): 1, 7: -1}) == UNTYPED.direction(
        "eyes", {3: 1, 7: -1}
    )
    with pytest.raises(UsageError, match="channels 0 to 999: 1000 is too high"):
        UNTYPED.imagenet_class(1000).check({"class": 1000}, "pocket")


def test_the_builtin_sum_adds_objectives() -> None:
    eyes, scales = zd.layer("eyes"), zd.channel("scales", 3)
    two: Any = sum([eyes, scales])
    assert two == eyes + scales
    three: Any = sum([two, 2 * eyes])
    assert three == eyes + scales + 2 * eyes
    one: Any = sum([eyes])
    assert objectives_of(one) == (eyes,)


class Plain(Objective):
    """An objective of one's own that is no dataclass: a layer, by another name."""

    def __init__(self, layer: Target) -> None:
        self.target, self.weight = layer, 1.0

    @property
    def name(self) -> str:
        return "plain"

    @property
    def layers(self) -> tuple[str, ...]:
        return self.target.layers

    def seeds(
        self, activations: Activations, channel_weights: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        return self.target.seeds(activations, channel_weights)

    def energy(self, activations: Activations) -> torch.Tensor:
        return self.target.energy(activations)


def test_an_objective_needs_not_be_a_dataclass(three: Network, photo: Frame) -> None:
    plain = Plain(zd.layer("eyes"))
    half = 0.5 * plain
    assert (type(half), half.weight, plain.weight) == (Plain, 0.5, 1.0)
    expected = gradient(three, zd.layer("scales") + 0.5 * zd.layer("eyes"), photo)
    assert torch.equal(gradient(three, zd.layer("scales") + half, photo), expected)
    weightless = Plain(zd.layer("eyes"))
    del weightless.weight
    for use in (lambda: 2 * weightless, lambda: objectives_of(weightless)):
        with pytest.raises(UsageError, match="the weight of plain is None"):
            use()
    plain.weight = math.nan
    with pytest.raises(UsageError, match="the weight of plain is nan"):
        DreamSession(three, plain)


def test_a_dream_takes_an_entry_of_the_catalog(photo: Frame) -> None:
    of_name, of_entry = (
        zd.dream(photo, network, "eyes", steps=1, octaves=1)
        for network in ("pocket", network_info("pocket"))
    )
    assert torch.equal(of_name, of_entry)
    wrong: Any = 3
    with pytest.raises(UsageError, match="network 3 is neither a name nor an entry of the catalog"):
        zd.dream(photo, wrong)
