"""A network never changes: whatever dreams change is in their sessions."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch import nn

import zoomdream as zd
from tests import films
from zoomdream.dreaming.ascent import dream
from zoomdream.dreaming.session import DreamSession
from zoomdream.dreaming.tiles import tiled_gradient
from zoomdream.dreaming.variety import channel_weights_at
from zoomdream.media.frame import Frame
from zoomdream.network.catalog import network_info
from zoomdream.network.device import choose_place
from zoomdream.network.layers import truncate
from zoomdream.network.network import Network, load_network
from zoomdream.network.weights import random_network
from zoomdream.settings.definitions import DreamSpec
from zoomdream.size import Size

CPU = choose_place("cpu", "fp32")


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network("pocket", ["scales", "eyes=0.5"], at=CPU)


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def test_sessions_of_one_network_do_not_disturb_each_other(network: Network, photo: Frame) -> None:
    def gradient(session: DreamSession) -> torch.Tensor:
        spec = DreamSpec(tile=1024, variety=1)
        channel_weights = channel_weights_at(session, spec, 1, 0.5)
        return tiled_gradient(photo, session, spec, seeded(), channel_weights, True)[0]

    fingerprint, objectives = network.fingerprint, network.objectives
    one = DreamSession(network)
    before = gradient(one)
    other = DreamSession(network, zd.guide(photo.flip(3), "eyes") + 0.3 * zd.channel("scales", 3))
    other.balance(photo * 0.5)
    other.weights, other.tile = [0.1, -2.0], 64
    with torch.no_grad():
        dream(photo, other, DreamSpec(octaves=2, steps=2), seeded())
    other.objectives = tuple(0.5 * part for part in other.objectives)
    assert not torch.equal(gradient(other), before)
    other.free_memory()
    assert torch.equal(gradient(one), before)
    assert torch.equal(gradient(DreamSession(network)), before)
    assert (one.weights, one.tile) == ([1.0, 0.5], 0)
    assert (network.fingerprint, network.objectives) == (fingerprint, objectives)


@pytest.mark.parametrize("attempt", range(3))
def test_threads_dream_the_same_with_one_network(
    network: Network, photo: Frame, attempt: int
) -> None:
    """Each with its own session, objective, sizes and tiles; bit for bit as one after the other."""
    wishes: list[Callable[[], Frame]] = [
        lambda: dream(
            photo, DreamSession(network), DreamSpec(octaves=6, octave_scale=1.15, steps=2), seeded(1)
        ).frame,
        lambda: dream(
            photo[..., 8:], DreamSession(network, "scales"),
            DreamSpec(octaves=6, octave_scale=1.2, steps=2, tile=64), seeded(attempt),
        ).frame,
        lambda: dream(
            photo, DreamSession(network, zd.guide(photo.flip(2), "eyes", style="soft")),
            DreamSpec(octaves=4, steps=2), seeded(3),
        ).frame,
    ]  # fmt: skip
    expected = [wish() for wish in wishes]
    dreamt: dict[int, Frame] = {}
    all_ready = threading.Barrier(len(wishes), timeout=60)

    def run(number: int) -> None:
        all_ready.wait()
        dreamt[number] = wishes[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(wishes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for number, frame in enumerate(expected):
        assert torch.equal(dreamt[number], frame)


def test_loading_networks_disturbs_no_dream_in_another_thread(
    network: Network, photo: Frame
) -> None:
    """Torch's tracer changes how modules are called while it traces; initialisers are skipped."""
    plain = network.activations(photo)["eyes"]
    random = random_network(network_info("squeezenet1_1")).state_dict()
    errors: list[Exception] = []
    functions = nn.Module.__call__, nn.Module.__getattr__, nn.init.kaiming_normal_

    def load() -> None:
        try:
            for _ in range(6):
                load_network("pocket", ["scales", "eyes=0.5"], at=CPU)
                again = random_network(network_info("squeezenet1_1"))
                for name, tensor in again.state_dict().items():
                    assert torch.equal(tensor, random[name])
                truncate(again, network_info("squeezenet1_1"), ["features.3"])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert torch.equal(network.activations(photo)["eyes"], plain)
    assert not errors
    assert functions == (nn.Module.__call__, nn.Module.__getattr__, nn.init.kaiming_normal_)


def test_the_state_goes_on_elsewhere(network: Network) -> None:
    """A film that goes on dreams in tiles as small as they had become."""
    first, second = DreamSession(network), DreamSession(network)
    assert int(first.state["tile"]) == 0
    first.tile = 96
    assert all(isinstance(part, torch.Tensor) for part in first.state.values())
    second.restore(first.state)
    assert second.tile == 96
    spec = DreamSpec(octaves=1, steps=1, noise=0)
    large = films.photograph(Size(352, 256))
    one, other, whole = (
        dream(large, session, spec, seeded()).frame
        for session in (first, second, DreamSession(network))
    )
    assert torch.equal(one, other)
    assert not torch.equal(one, whole)


def test_weights_may_change_at_any_time(network: Network, photo: Frame) -> None:
    session = DreamSession(network)
    session.balance(photo)
    before = session.gradient(photo)[0]
    session.weights = [0.0, 1.0]
    eyes = DreamSession(network, "eyes")
    eyes.balance(photo)
    assert torch.allclose(session.gradient(photo)[0], eyes.gradient(photo)[0])
    session.weights = [1.0, 0.5]
    assert torch.equal(session.gradient(photo)[0], before)
