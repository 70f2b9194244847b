"""A network never changes: whatever dreams change is in their sessions."""

import threading
from collections.abc import Callable

import pytest
import torch

import zoomdream as zd
from zoomdream.dreaming.ascent import dream
from zoomdream.dreaming.session import DreamSession
from zoomdream.dreaming.tiles import tiled_gradient
from zoomdream.dreaming.variety import channel_weights_at
from zoomdream.media.frame import Frame
from zoomdream.network.device import choose_place
from zoomdream.network.network import Network, load_network
from zoomdream.settings.model import DreamSpec

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
    threads = [
        threading.Thread(target=lambda n=n, wish=wish: dreamt.update({n: wish()}))  # type: ignore[misc]
        for n, wish in enumerate(wishes)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for number, frame in enumerate(expected):
        assert torch.equal(dreamt[number], frame)


def test_loading_a_network_disturbs_no_dream_in_another_thread(
    network: Network, photo: Frame
) -> None:
    """Torch's tracer changes how modules are called while it traces, in every thread."""
    info = load_network("squeezenet1_1", at=CPU, weights=None) if False else None
    del info
    plain = network.activations(photo)["eyes"]
    errors: list[Exception] = []
    ended = threading.Event()

    def load() -> None:
        try:
            for _ in range(12):
                load_network("pocket", ["scales", "eyes=0.5"], at=CPU)
        except Exception as error:
            errors.append(error)
        ended.set()

    loading = [threading.Thread(target=load) for _ in range(2)]
    for thread in loading:
        thread.start()
    while not ended.is_set():
        assert torch.equal(network.activations(photo)["eyes"], plain)
    for thread in loading:
        thread.join(120)
    assert not errors


def test_the_state_goes_on_elsewhere(network: Network, photo: Frame) -> None:
    """A film that goes on dreams in tiles as small as they had become."""
    first, second = DreamSession(network), DreamSession(network)
    assert int(first.state["tile"]) == 0
    first.tile = 96
    assert all(isinstance(part, torch.Tensor) for part in first.state.values())
    second.restore(first.state)
    assert second.tile == 96
    spec = DreamSpec(octaves=1, steps=1)
    frames = [dream(photo, session, spec, seeded()).frame for session in (first, second)]
    assert torch.equal(*frames)
    assert not torch.equal(frames[0], dream(photo, DreamSession(network), spec, seeded()).frame)


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
