from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

import zoomdream as zd
from tests.conftest import difference
from zoomdream.dreaming.ascent import StepListener, dream, plan_octaves, smooth
from zoomdream.dreaming.session import DreamSession
from zoomdream.dreaming.tiles import fits_twice, tile_side
from zoomdream.files import shipped
from zoomdream.media.color import to_opponent
from zoomdream.media.frame import Frame, cover
from zoomdream.media.image_reader import read_still
from zoomdream.network.device import choose_place
from zoomdream.network.engine.replay import Replay
from zoomdream.network.network import Network, load_network
from zoomdream.process_settings import exact_cudnn, freed_memory_kept, large_blocks
from zoomdream.settings.definitions import DreamSpec
from zoomdream.size import Size

SPEC = DreamSpec(octaves=2, steps=3, finest_share=1, noise=0)


@pytest.fixture
def session(pocket: Network) -> DreamSession:
    return DreamSession(pocket)


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def test_dreaming_raises_the_objective_and_stays_in_range(
    photo: Frame, session: DreamSession
) -> None:
    dreamt = dream(photo, session, SPEC, seeded()).frame
    _, before = session.gradient(photo)
    _, after = session.gradient(dreamt)
    assert after[0] > 1.5 * before[0]
    assert 0 <= dreamt.min() <= dreamt.max() <= 1
    assert dreamt.shape == photo.shape


def test_a_seed_gives_the_same_pixels(photo: Frame, session: DreamSession) -> None:
    one, same, other = (dream(photo, session, SPEC, seeded(s)).frame for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_no_steps_change_nothing(photo: Frame, session: DreamSession) -> None:
    assert torch.equal(dream(photo, session, DreamSpec(steps=0), seeded()).frame, photo)


def test_octaves_carry_detail_and_leave_the_picture_sharp(
    photo: Frame, session: DreamSession
) -> None:
    """With steps of no size, going through the octaves must not blur anything."""
    spec = DreamSpec(octaves=4, steps=1, step_size=0)
    assert difference(dream(photo, session, spec, seeded()).frame, photo) < 1e-3


def test_octaves_are_planned() -> None:
    """Small to full, those too small for the network left out; the finest has fewer and smaller steps."""
    spec = DreamSpec(
        octaves=3, octave_scale=2, steps=5, step_size=0.1, octave_gain=0.5, finest_share=0.5
    )

    def sizes_of(size: Size) -> list[Size]:
        return [octave.size for octave in plan_octaves(size, spec, 32)]

    octaves = plan_octaves(Size(400, 200), spec, 32)
    assert [octave.steps for octave in octaves] == [5, 5, 3]
    assert [octave.step_size for octave in octaves] == pytest.approx([0.1, 0.05, 0.025])
    assert [octave.steps for octave in plan_octaves(Size.square(20), spec, 32)] == [5]
    assert sizes_of(Size(400, 200)) == [Size(100, 50), Size(200, 100), Size(400, 200)]
    assert sizes_of(Size(400, 100)) == [Size(200, 50), Size(400, 100)]
    assert sizes_of(Size.square(20)) == [Size.square(20)]


@pytest.mark.parametrize("tile", [64, 128])
def test_tiles_look_like_the_whole(session: DreamSession, tile: int) -> None:
    large = cover(read_still(shipped("sample.jpg")), Size(320, 256))
    spec = DreamSpec(octaves=2, steps=2)
    whole = dream(large, session, spec, seeded()).frame
    tiled = dream(large, session, spec.change(tile=tile), seeded()).frame
    assert 0 < difference(whole, tiled) < 2
    assert difference(whole, large) > 4 * difference(whole, tiled)


def test_tiles_are_chosen_by_memory(pocket: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_memory(total: float, free: float) -> list[int]:
        memory = SimpleNamespace(total=total * 1e9, available=free * 1e9)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
        return [tile_side(pocket, pixels) for pixels in (10**4, 15 * 10**6, 24 * 10**6, 10**8)]

    large = with_memory(64, 60)
    assert all(side % 64 == 0 and 256 <= side <= 4096 for side in large)
    assert large == sorted(set(large), reverse=True)  # a larger picture leaves less for a tile
    assert large[-1] == 256
    assert with_memory(4, 3.5)[0] < large[0]  # less is built in
    assert with_memory(64, 0.5)[0] < large[0]  # less is free
    assert 50 < pocket.bytes_per_pixel < 5000


def test_large_blocks_of_memory_are_kept_where_sizes_stay(session: DreamSession) -> None:
    spec, frame = DreamSpec(octaves=1, steps=1), torch.rand(1, 3, 64, 96)

    def kept(tile: int) -> bool:
        """While it dreams; afterwards all is as it was."""
        during: list[bool] = []

        def on_step(*_: object) -> None:
            assert exact_cudnn.active
            assert freed_memory_kept.active
            during.append(large_blocks.active)

        dream(frame, session, spec.change(tile=tile), seeded(), on_step=on_step)
        assert not any(s.active for s in (exact_cudnn, freed_memory_kept, large_blocks))
        return during[0]

    assert kept(tile=0)
    assert kept(tile=96)
    assert not kept(tile=64)
    assert fits_twice(frame, session, 96)
    assert not fits_twice(frame, session, 96, most=1000)
    session.tile = 64
    assert not fits_twice(frame, session, 96)
    assert not kept(tile=96)


def test_a_film_keeps_its_tile(session: DreamSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is free for another process meanwhile changes no pixel."""
    photo = cover(read_still(shipped("sample.jpg")), Size(384, 320))
    spec, pictures = DreamSpec(octaves=1, steps=1), []
    session.tile = 256
    for free in (60, 0.1):
        memory = SimpleNamespace(total=64e9, available=free * 1e9)
        monkeypatch.setattr(psutil, "virtual_memory", lambda memory=memory: memory)
        pictures.append(dream(photo, session, spec, seeded()).frame)
    assert torch.equal(*pictures)


def test_an_octave_of_the_full_size_counts(photo: Frame, session: DreamSession) -> None:
    few, many = (DreamSpec(octaves=n, octave_scale=1.0001, steps=2) for n in (1, 3))
    once, thrice = (dream(photo, session, spec, seeded()).frame for spec in (few, many))
    assert difference(thrice, photo) > 1.5 * difference(once, photo)


def test_a_mask_limits_where_it_dreams(photo: Frame, session: DreamSession) -> None:
    mask = torch.zeros(1, 1, *photo.shape[2:])
    mask[..., 64:] = 1
    dreamt = dream(photo, session, DreamSpec(octaves=3, steps=3), seeded(), mask).frame
    assert torch.equal(dreamt[..., :64], photo[..., :64])
    assert difference(dreamt[..., 68:], photo[..., 68:]) > 3


def test_a_small_mask_does_not_make_it_stronger(photo: Frame, session: DreamSession) -> None:
    changes = []
    for start in (0, 96):
        mask = torch.zeros(1, 1, *photo.shape[2:])
        mask[..., start:] = 1
        dreamt = dream(photo, session, DreamSpec(octaves=1, steps=1), seeded(), mask).frame
        changes.append(difference(dreamt[..., 100:], photo[..., 100:]))
    assert changes[1] == pytest.approx(changes[0], rel=0.02)


def test_keep_color_changes_brightness_only(session: DreamSession) -> None:
    grey = 0.4 + 0.2 * torch.rand(1, 3, 64, 64, generator=seeded())
    spec = DreamSpec(octaves=1, steps=2, step_size=0.02, keep_color=True)
    dreamt = dream(grey, session, spec, seeded()).frame
    before, after = to_opponent(grey), to_opponent(dreamt)
    inside = ((dreamt > 0) & (dreamt < 1)).all(1, keepdim=True)
    assert torch.allclose((after - before)[:, 1:] * inside, torch.zeros(1), atol=1e-5)
    assert (after - before)[:, 0].abs().mean() > 0.005


def test_smoothing_keeps_the_sum_and_lowers_the_highs() -> None:
    noise = torch.randn(1, 3, 64, 64, generator=seeded())
    soft = smooth(noise, 1.0)
    assert soft.std() < 0.6 * noise.std()
    flat = smooth(torch.ones(1, 3, 64, 64), 1.0)[..., 10:-10, 10:-10]
    assert torch.allclose(flat, torch.ones(1), atol=1e-4)
    assert smooth(noise, 0) is noise


def test_several_layers_and_channels(photo: Frame) -> None:
    at = choose_place("cpu", "fp32")
    both = DreamSession(load_network("pocket", ["strokes", "eyes=2"], at=at))
    one = DreamSession(load_network("pocket", ["eyes:5"], at=at))
    _, energies = both.gradient(photo)
    assert len(energies) == 2
    assert both.objective(energies) > 0
    dreamt = dream(photo, one, DreamSpec(octaves=1, steps=4), seeded()).frame
    assert one.gradient(dreamt)[1][0] > one.gradient(photo)[1][0]


def test_weights_mean_the_same_on_every_layer(photo: Frame) -> None:
    """Equal weights: both layers have a say in the gradient."""
    at = choose_place("cpu", "fp32")
    gradients = []
    for layers in (["strokes"], ["creatures"], ["strokes", "creatures"]):
        session = DreamSession(load_network("pocket", layers, at=at))
        session.balance(photo)
        gradients.append(session.gradient(photo)[0].flatten())
    shallow, deep, both = gradients
    towards = [float(torch.cosine_similarity(both, single, dim=0)) for single in (shallow, deep)]
    assert min(towards) > 0.3


@pytest.mark.parametrize(("layers", "least"), [(["eyes"], 0.97), ([], 0.95)])
def test_bf16_follows_fp32(photo: Frame, layers: list[str], least: float) -> None:
    """Deep stages round more often: 0.98 at `eyes`, 0.97 at the default's `creatures`."""
    one, other = (
        DreamSession(load_network("pocket", layers, at=choose_place("cpu", precision)))
        .gradient(photo)[0]
        .flatten()
        for precision in ("fp32", "bf16")
    )
    assert torch.cosine_similarity(one, other, dim=0) > least


@pytest.mark.parametrize("more", [{}, {"tile": 64}, {"grow": 0.1}, {"keep_color": True}])
@pytest.mark.parametrize("octaves", [1, 3])
def test_pictures_of_a_batch_are_dreamt_as_if_alone(
    photo: Frame, octaves: int, more: dict[str, Any]
) -> None:
    """After a step at each octave, in float32: a difference in the last digit grows with each."""
    session = DreamSession(load_network("pocket", at=choose_place("cpu", "fp32")))
    batch = torch.cat([photo, photo.flip(3), (photo * 1.2).clamp(0, 1)])
    spec = DreamSpec(octaves=octaves, steps=1, **more)
    together = dream(batch, session, spec, seeded()).frame
    assert together.shape == batch.shape
    for number in range(3):
        alone = dream(batch[number : number + 1], session, spec, seeded()).frame
        assert float((together[number] - alone[0]).abs().max()) < 1e-5
        assert difference(alone, batch[number : number + 1]) > 0.5


@pytest.mark.parametrize("recorded", [False, True])
def test_pictures_of_a_batch_are_balanced_each_alone(photo: Frame, recorded: bool) -> None:
    """Each layer has its share on each picture, however much stronger others are."""
    network = load_network("pocket", ["strokes", "creatures"], at=choose_place("cpu", "fp32"))
    batch = torch.cat([photo, photo * 0.1, photo.flip(3).square()])

    def gradient(frames: Frame) -> Frame:
        replay = Replay(frames.device, lambda work, _: work) if recorded else None
        session = DreamSession(network, replay=replay)
        session.balance(frames)
        return session.gradient(frames)[0]

    together = gradient(batch)
    for number in range(3):
        alone = gradient(batch[number : number + 1])[0]
        assert torch.allclose(together[number], alone, atol=1e-4 * float(alone.abs().max()))


def test_python_dreams_on_a_batch_as_on_each_alone(photo: Frame) -> None:
    batch = torch.cat([photo, photo * 0.1, photo.flip(3).square()])
    network = load_network("pocket", at=choose_place("cpu", "fp32"))
    together = zd.dream(batch, network, steps=2, octaves=2)
    for number in range(3):
        alone = zd.dream(batch[number : number + 1], network, steps=2, octaves=2)
        assert difference(together[number : number + 1], alone) < 0.01
        assert difference(alone, batch[number : number + 1]) > 1


def test_a_listener_ends_a_dream_with_the_picture_so_far(
    session: DreamSession, photo: Frame
) -> None:
    """At a coarse octave too, where what was dreamt is laid over the whole picture."""
    spec = DreamSpec(octaves=3, octave_scale=1.3, steps=2, finest_share=1)
    so_far: list[Frame] = []

    def listen(last: int) -> StepListener:
        def on_step(objective: float, picture: Callable[[], Frame]) -> bool:
            assert objective > 0
            so_far.append(picture())
            return len(so_far) <= last

        return on_step

    whole = dream(photo, session, spec, seeded()).frame
    for last in (0, 3, 5):
        so_far.clear()
        ended = dream(photo, session, spec, seeded(), on_step=listen(last))
        assert len(so_far) == last + 1
        assert torch.equal(ended.frame, so_far[-1])
        assert ended.frame.shape == photo.shape
        assert difference(ended.frame, photo) > 0.1
        assert ended.objective > 0
        assert (difference(ended.frame, whole) < 1e-3) == (last == 5)
    so_far.clear()
    dream(photo, session, spec, seeded(), on_step=lambda _, picture: so_far.append(picture()))
    assert len(so_far) == 6  # nothing given back means to go on


def test_a_listener_ends_a_dream_within_a_mask(session: DreamSession, photo: Frame) -> None:
    mask = torch.zeros(1, 1, *photo.shape[2:])
    mask[..., 64:] = 1
    spec = DreamSpec(octaves=2, steps=2)
    ended = dream(photo, session, spec, seeded(), mask, on_step=lambda *_: False).frame
    assert torch.equal(ended[..., :64], photo[..., :64])
    assert difference(ended[..., 68:], photo[..., 68:]) > 0.1
