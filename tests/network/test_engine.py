"""Operations give what autograd gives: forward, backward, on every network, at sizes odd and even."""

import threading
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.network.test_network import CPU
from zoomdream.dreaming.session import DreamSession
from zoomdream.files import shipped
from zoomdream.media.frame import cover
from zoomdream.media.image_reader import read_still
from zoomdream.network.catalog import CATALOG, NetworkInfo, network_info
from zoomdream.network.device import Place, choose_place
from zoomdream.network.engine import ops
from zoomdream.network.engine.compiler import Engine, fold
from zoomdream.network.engine.replay import TIMES_BEFORE_RECORDING, Replay, Work
from zoomdream.network.layer_objectives import Target, layer, objectives_of
from zoomdream.network.layers import network_layers, truncate
from zoomdream.network.network import Network
from zoomdream.network.pocket.architecture import Blur, Edges
from zoomdream.network.weights import load_or_random, random_network
from zoomdream.size import Size

BF16 = Place(torch.device("cpu"), torch.bfloat16, "")
BF16_LIKE = torch.empty(0, dtype=torch.bfloat16)


def two_layers(info: NetworkInfo) -> list[str]:
    layers = [layer.name for layer in network_layers(info)]
    return [layers[len(layers) // part] for part in (3, 2)]


def network(name: str, at: Place = CPU, **changed: Any) -> Network:
    """With random weights that keep values in range, and two layers; pocket with its own."""
    info = replace(network_info(name), **changed)
    module, _ = load_or_random(info)
    return Network(info, module, [layer(name) for name in two_layers(info)], at)


def gradient(network: Network, frame: torch.Tensor) -> torch.Tensor:
    """Of what the network was loaded for, by a session that is balanced on the picture."""
    session = DreamSession(network)
    session.balance(frame)
    return session.gradient(frame)[0]


def by_autograd(network: Network, frame: torch.Tensor) -> torch.Tensor:
    """What `gradient` gives for two whole layers, by autograd through the same modules."""
    frame = frame.clone().requires_grad_(True)
    deviation = torch.tensor(network.info.deviation).view(1, 3, 1, 1)
    total = torch.zeros_like(frame)
    for activation in network.activations(frame).values():
        (part,) = torch.autograd.grad(activation, frame, activation.detach(), retain_graph=True)
        total += 0.5 * part / (part * deviation).abs().mean()
    return total


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))


@pytest.mark.parametrize("size", [Size(160, 128), Size(117, 131)])
@pytest.mark.parametrize("name", list(CATALOG))
def test_every_network_has_autograds_gradient(name: str, size: Size) -> None:
    session = DreamSession(network(name))
    frame = torch.rand(1, 3, *size.shape, generator=torch.Generator().manual_seed(1))
    session.balance(frame)
    gradient, energies = session.gradient(frame)
    expected = by_autograd(session.network, frame)
    assert gradient.shape == frame.shape
    assert len(energies) == 2
    # where two values of a window are equal but for rounding, either may have the gradient
    assert cosine(gradient, expected) > 0.999
    assert gradient.norm() == pytest.approx(float(expected.norm()), rel=0.01)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", list(CATALOG))
def test_a_precision_of_16_bits_has_the_gradient_of_32(name: str, precision: str) -> None:
    info = network_info(name)
    module, _ = load_or_random(info)
    frame = cover(read_still(shipped("sample.jpg")), Size(160, 128))
    gradients = []
    for asked in ("fp32", precision):
        objectives = objectives_of(info.layers)
        tested = Network(info, deepcopy(module), objectives, choose_place("cpu", asked))
        gradients.append(gradient(tested, frame))
    assert cosine(*gradients) > 0.99
    assert 0 < len(tested.in_float32) < len(list(tested.module.modules()))


def test_what_is_exact_is_as_exact_as_float32() -> None:
    frame = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    info = network_info("squeezenet1_0")
    end = [layer("features.6")]  # of a stride of 4
    exact, rounded, expected = (
        gradient(Network(replace(info, exact_below=stride), random_network(info), end, at), frame)
        for stride, at in ((8, BF16), (1, BF16), (8, CPU))
    )
    assert cosine(exact, expected) > 0.9999
    assert cosine(rounded, expected) < 0.999


def test_deep_networks_are_exact_up_to_twice_the_stride() -> None:
    info = network_info("resnet50")
    shallow, deep = (
        Network(info, random_network(info), [layer(name)], BF16).in_float32
        for name in ("layer3", "layer4")
    )
    assert "layer2.0.conv1" in shallow
    assert "layer2.1.conv1" not in shallow
    assert "layer3.0.conv1" in deep
    assert "layer3.1.conv1" not in deep
    whole = Network(info, random_network(info), [layer("layer4")], CPU)
    assert "layer3.1.conv1" in whole.in_float32


@pytest.mark.parametrize("name", ["googlenet", "squeezenet1_0", "resnet50"])
def test_pooling_without_indices_has_autograds_gradient(name: str) -> None:
    tested = network(name, BF16, exact_below=1)
    cut = truncate(random_network(tested.info), tested.info, tested.layers)
    kinds = set(map(type, Engine(fold(cut), BF16, 1).operations))
    assert ops.RectifiedMaxPool in kinds
    assert ops.MaxPool not in kinds
    frame = torch.rand(1, 3, 131, 150, generator=torch.Generator().manual_seed(1))
    assert cosine(gradient(tested, frame), by_autograd(tested, frame)) > 0.95  # both are rounded


@pytest.mark.parametrize("rectifies", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("size", "stride", "padding", "ceil"),
    [(3, 2, 0, True), (3, 2, 1, False), (3, 1, 1, False), (2, 2, 0, False), (2, 2, 0, True)],
)
@pytest.mark.parametrize("sides", [(17, 24), (16, 23)])
def test_rectified_max_pooling_is_max_pooling(
    sides: tuple[int, int],
    size: int,
    stride: int,
    padding: int,
    ceil: bool,
    dtype: torch.dtype,
    rectifies: bool,
) -> None:
    pool = nn.MaxPool2d(size, stride, padding, ceil_mode=ceil)
    assert ops.RectifiedMaxPool.fits(pool)
    rng = torch.Generator().manual_seed(0)
    values = torch.randperm(5 * sides[0] * sides[1], generator=rng).view(1, 5, *sides)
    x = values.clamp_max(250).to(dtype).contiguous(memory_format=torch.channels_last)
    x[:, :, 2:6, 2:6] = 0  # as a ReLU leaves it
    one = ops.MaxPool(pool, torch.empty(0, dtype=dtype), rectifies)
    other = ops.RectifiedMaxPool(pool, rectifies)
    saved: tuple[ops.Saved, ops.Saved] = ({}, {})
    with torch.no_grad():
        value = one.forward(saved[0], x)
        assert torch.equal(value, other.forward(saved[1], x))
        seed = torch.randint(1, 9, value.shape, generator=rng).to(dtype)
        backward = one.backward(saved[0], seed.clone())[0]
        also = other.backward(saved[1], seed.clone())[0]
    assert also.sum(dtype=torch.float32) == backward.sum(dtype=torch.float32)  # nothing is lost
    alone = (x > 0) & (x < 250)  # equals share nothing: one of them has all
    assert torch.equal(backward[alone], also[alone])
    assert not (rectifies and (backward[x == 0].any() or also[x == 0].any()))


def test_a_stem_in_blocks_is_the_same_convolution() -> None:
    rng = torch.Generator().manual_seed(0)
    for size, stride, padding in ((7, 2, 3), (7, 2, 0), (3, 2, 1), (3, 2, 0), (4, 4, 0), (8, 2, 3)):
        weight, bias = torch.randn(8, 3, size, size, generator=rng), torch.randn(8)
        pads = padding, padding
        stem = ops.Stem(weight, bias, stride, pads, weight, weight, relu=False, masks=False)
        for sides in ((32, 40), (33, 39), (35, 34)):
            x = torch.rand(1, 3, *sides, generator=rng, requires_grad=True)
            expected = nn.functional.conv2d(x, weight, bias, stride, padding)
            seed = torch.randn(expected.shape, generator=rng)
            saved: ops.Saved = {}
            with torch.no_grad():
                assert torch.allclose(stem.forward(saved, x), expected, atol=1e-4)
                (backward,) = stem.backward(saved, seed.clone())
            (gradient,) = torch.autograd.grad(expected, x, seed)
            assert torch.allclose(backward, gradient, atol=1e-4), (size, stride, padding, sides)


@pytest.mark.parametrize("sides", [(16, 24), (17, 24), (16, 21), (19, 33)])
def test_a_stem_is_pockets_first_layer(sides: tuple[int, int]) -> None:
    """With padding that differs before and after, and odd edges; forth in 32 bits and back in 16."""
    torch.manual_seed(0)
    edges = Edges().eval()
    weight, bias = edges.filters.weight.detach(), edges.filters.bias
    weight = weight.bfloat16().float()
    edges.filters.weight.data.copy_(weight)
    stem = ops.Stem(
        nn.functional.pixel_shuffle(weight, 2), bias, 2, (2, 4), weight, BF16_LIKE,
        relu=True, masks=True, edge=True,
    )  # fmt: skip
    x = torch.rand(1, 3, *sides, requires_grad=True)
    expected = edges(x)
    seed, saved = torch.randn_like(expected).bfloat16(), dict[str, object]()
    with torch.no_grad():
        assert torch.allclose(stem.forward(saved, x), expected, atol=1e-5)
        (backward,) = stem.backward(saved, seed.clone())
    (gradient,) = torch.autograd.grad(expected, x, seed.float())
    for part in (..., (..., -1), (..., -1, slice(None))):  # all, the last column, the last row
        assert cosine(backward[part].float(), gradient[part]) > 0.9999
    assert backward.dtype == torch.bfloat16


class Pooled(nn.Module):
    """A ReLU that is pooled, used by another layer and asked for, or not."""

    def __init__(self, asked: bool, again: bool) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)
        self.pool, self.asked, self.again = nn.MaxPool2d(3, 2, 1), asked, again

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        one = nn.functional.relu(self.one(x))
        values = {"pool": self.pool(one)}
        values |= {"one": one} if self.asked else {}
        return values | ({"two": self.two(one)} if self.again else {})


@pytest.mark.parametrize(
    ("asked", "again"), [(False, False), (True, False), (False, True), (True, True)]
)
@pytest.mark.parametrize("exact_below", [1, 8])
@pytest.mark.parametrize("at", [CPU, BF16])
def test_a_relu_that_is_pooled_may_be_used_by_others(
    asked: bool, again: bool, exact_below: int, at: Place
) -> None:
    torch.manual_seed(0)
    module = Pooled(asked, again).eval()
    x = torch.rand(1, 3, 14, 13, requires_grad=True)
    values = module(x)
    seeds = {name: torch.randn_like(value) for name, value in values.items()}
    expected = torch.autograd.grad(list(values.values()), x, list(seeds.values()))[0]
    with torch.no_grad():
        look = Engine(module, at, exact_below).forward(x.detach())
        backward = look.backward({name: seed.to(at.dtype) for name, seed in seeds.items()})
    assert cosine(backward.float(), expected) > (0.9999 if at is CPU else 0.99)


def test_what_is_no_number_stays_as_it_is() -> None:
    class Shaped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Conv2d(3, 4, 2, stride=2)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"flat": self.one(x).reshape(x.shape[0], -1)}

    module = Shaped().eval()
    x = torch.rand(2, 3, 8, 6)
    with torch.no_grad():
        look = Engine(module, BF16, 2).forward(x)
        assert cosine(look.values["flat"].float(), module(x)["flat"]) > 0.999


def test_the_backward_of_pockets_halving_is_its_transpose() -> None:
    blur = Blur(6)
    halving = ops.BlurPool(blur.get_buffer("kernel"))
    for sides in ((8, 12), (9, 11), (7, 2)):
        x = torch.rand(2, 6, *sides, requires_grad=True)
        expected = blur(x)
        seed, saved = torch.randn_like(expected), dict[str, object]()
        with torch.no_grad():
            assert torch.allclose(halving.forward(saved, x), expected, atol=1e-5)
            (backward,) = halving.backward(saved, seed.clone())
        assert torch.allclose(backward, torch.autograd.grad(expected, x, seed)[0], atol=1e-5)


def test_poolings_that_have_no_rectified_form_are_left_alone() -> None:
    for strange in (
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.MaxPool2d(2, 2, 1),
        nn.MaxPool2d(2, 1),
    ):
        assert not ops.RectifiedMaxPool.fits(strange)


class Odd(nn.Module):
    """What networks may do with values: hand them on, look twice, add, multiply, reshape."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, padding=1)
        self.two = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.drop = nn.Dropout()

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        one = self.drop(self.one(x))
        both = torch.cat([one.relu(), self.two(one)], 1)
        added = one + one.mean((2, 3), keepdim=True)
        return {"both": both, "one": one, "added": (added + added) * torch.sigmoid(added)}


def test_values_that_are_used_in_many_ways() -> None:
    torch.manual_seed(0)
    module = Odd().eval()
    x = torch.rand(2, 3, 9, 10, requires_grad=True)
    values = module(x)
    seeds = {name: torch.randn_like(value) for name, value in values.items()}
    expected = torch.autograd.grad(list(values.values()), x, list(seeds.values()))[0]
    with torch.no_grad():
        look = Engine(module, CPU, 8).forward(x.detach())
        for name, value in values.items():
            assert torch.allclose(look.values[name], value, atol=1e-5)
        assert look.nbytes > 0
        assert torch.allclose(look.backward(seeds), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["pocket", "squeezenet1_0", "efficientnet_b0"])
def test_without_packed_weights_it_is_the_same(name: str) -> None:
    info = network_info(name)
    module = random_network(info)
    x = torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(1))
    x = x.contiguous(memory_format=torch.channels_last)
    gradients = []
    for packs in (True, False):
        cut = fold(truncate(deepcopy(module), info, two_layers(info)))
        with torch.no_grad():
            forward = Engine(cut, CPU, info.exact_below, packs).forward(x)
            seeds = {name: value.clone() for name, value in forward.values.items()}
            gradients.append(forward.backward(seeds))
    assert cosine(*gradients) > 0.99999


def test_weights_are_packed_for_a_few_sizes_only() -> None:
    packed, plain = convolutions()
    with torch.no_grad():
        for side in range(8, 8 + 2 * ops.MOST_LAYOUTS):
            x = torch.rand(1, 3, side, side)
            assert torch.allclose(packed(x), plain(x), atol=1e-5)
    assert plain.layouts == 0
    assert packed.layouts <= ops.MOST_LAYOUTS
    assert bool(packed.layouts) == ops.takes_packed_weights(torch.float32)


def test_packed_weights_are_shared_by_threads() -> None:
    """Each thread comes with sizes for which there is no room any more because of the others."""
    packed, plain = convolutions()
    pictures = [torch.rand(1, 3, 8, side) for side in range(8, 8 + 2 * ops.MOST_LAYOUTS)]
    with torch.no_grad():
        expected = [plain(picture) for picture in pictures]
    wrong: list[object] = []

    def use(first: int) -> None:
        try:
            with torch.no_grad():
                for number in range(first, first + 300):
                    which = number * 7 % len(pictures)
                    if not torch.allclose(packed(pictures[which]), expected[which], atol=1e-5):
                        wrong.append(which)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert packed.layouts <= ops.MOST_LAYOUTS


def convolutions() -> tuple[ops.PackedConvolution, ops.PackedConvolution]:
    """The same one with packed weights, where this processor takes them, and without."""
    weight = torch.rand(4, 3, 3, 3)
    packed, plain = (
        ops.PackedConvolution(weight, None, (1, 1), (1, 1), (1, 1), 1, packs=packs)
        for packs in (True, False)
    )
    return packed, plain


def copying(work: Work, tensors: list[torch.Tensor]) -> Work:
    """Replays as a CUDA graph does: from tensors of its own, into the same ones each time."""
    inputs = [tensor.clone() for tensor in tensors]
    outputs = work(*inputs)

    def replay(*tensors: torch.Tensor) -> list[torch.Tensor]:
        for old, new in zip(inputs, tensors, strict=True):
            old.copy_(new)
        for old, new in zip(outputs, work(*inputs), strict=True):
            old.copy_(new)
        return outputs

    return replay


def test_work_that_comes_again_is_replayed_from_a_recording() -> None:
    recorded: list[torch.Size] = []

    def record(work: Work, tensors: list[torch.Tensor]) -> Work:
        recorded.append(tensors[0].shape)
        return copying(work, tensors)

    replay = Replay(CPU.device, record)
    assert replay.on
    for length in (2, 3, 2, 2, 3, 2, 2, 2):
        numbers = torch.rand(length)
        (doubled,) = replay("double", lambda part: [part * 2], numbers)
        assert torch.equal(doubled, numbers * 2)
    assert recorded == [torch.Size([2])]
    assert replay.recordings == 1
    replay.forget()
    assert replay.recordings == 0


def test_where_nothing_can_be_recorded_it_is_done_all_the_same() -> None:
    def record(*_: object) -> Work:
        raise RuntimeError("operation not permitted when stream is capturing")

    replay = Replay(CPU.device, record)
    for _ in range(6):
        assert replay("one", lambda part: [part + 1], torch.ones(1))[0] == 2
    assert not replay.on
    assert not Replay(CPU.device).on


def test_a_recording_takes_weights_mixtures_and_pictures_as_they_are_now() -> None:
    tested, replay = network("pocket"), Replay(CPU.device, copying)
    plain, replayed = DreamSession(tested), DreamSession(tested, replay=replay)
    rng = torch.Generator().manual_seed(0)
    for number in range(TIMES_BEFORE_RECORDING + 3):
        frame = torch.rand(1, 3, 64, 72, generator=rng)
        channel_weights = [
            torch.rand(1, count, 1, 1, generator=rng) for count in tested.channels.values()
        ]
        plain.weights = replayed.weights = [1.0, float(number)]
        expected, energies = plain.gradient(frame, channel_weights)
        gradient, replayed_energies = replayed.gradient(frame, channel_weights)
        assert torch.allclose(gradient, expected, rtol=1e-4, atol=1e-7)
        assert replayed_energies == pytest.approx(energies)
    assert replay.recordings == 1
    replayed.free_memory()
    assert replay.recordings == 0


def test_a_recording_is_of_the_objectives_that_have_channel_weights() -> None:
    tested = Network(
        network_info("pocket"), random_network(network_info("pocket")),
        [layer("scales"), layer("eyes")], CPU,
    )  # fmt: skip
    plain, replayed = DreamSession(tested), DreamSession(tested, replay=Replay(CPU.device, copying))
    frame = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    channel_weights = torch.rand(1, 384, 1, 1) * 3
    for weights in ([channel_weights, None], [None, channel_weights]):
        for _ in range(TIMES_BEFORE_RECORDING + 2):
            gradient = replayed.gradient(frame, weights)[0]
            assert torch.allclose(gradient, plain.gradient(frame, weights)[0], rtol=1e-4, atol=1e-7)


class Flowing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees whatever would make a GPU wait for the processor, or the other way round."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default
        assert func is not torch.ops.aten.lift_fresh.default  # a tensor made of Python's numbers
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["pocket", "googlenet", "resnet50"])
def test_what_is_recorded_waits_for_nothing(name: str) -> None:
    info = network_info(name)
    texts = [info.layers[0].partition("=")[0], "class:lion", "class:3-5"]
    targets = [Target.parse(text) for text in texts if name != "pocket" or "class" not in text]
    tested = Network(info, random_network(info), targets, CPU)
    recorded = []

    def record(work: Work, tensors: list[torch.Tensor]) -> Work:
        with Flowing():  # type: ignore[no-untyped-call]
            recorded.append(work(*tensors))
        return work

    session = DreamSession(tested, replay=Replay(CPU.device, record))
    for _ in range(TIMES_BEFORE_RECORDING + 1):
        session.gradient(torch.rand(1, 3, 96, 96))
    ((gradient, *energies),) = recorded
    assert gradient.shape == (1, 3, 96, 96)
    assert len(energies) == len(targets)
