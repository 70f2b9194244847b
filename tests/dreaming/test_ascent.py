from types import SimpleNamespace

import psutil
import pytest
import torch

from tests.conftest import difference
from zoomdream.dreaming.ascent import dream, octave_sizes, smooth
from zoomdream.dreaming.tiles import tile_side
from zoomdream.files import shipped
from zoomdream.media.color import to_opponent
from zoomdream.media.frame import Frame, cover
from zoomdream.media.image_reader import read_still
from zoomdream.network.device import choose_place
from zoomdream.network.engine import compiler
from zoomdream.network.network import Network, load_network
from zoomdream.process import _MMAP_MAX
from zoomdream.settings.model import DreamSpec
from zoomdream.size import Size

SPEC = DreamSpec(octaves=2, steps=3)


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def test_dreaming_raises_the_objective_and_stays_in_range(photo: Frame, pocket: Network) -> None:
    dreamt = dream(photo, pocket, SPEC, seeded()).frame
    _, before = pocket.gradient(photo)
    _, after = pocket.gradient(dreamt)
    assert after[0] > 1.5 * before[0]
    assert 0 <= dreamt.min() <= dreamt.max() <= 1
    assert dreamt.shape == photo.shape


def test_a_seed_gives_the_same_pixels(photo: Frame, pocket: Network) -> None:
    one, same, other = (dream(photo, pocket, SPEC, seeded(s)).frame for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_no_steps_change_nothing(photo: Frame, pocket: Network) -> None:
    assert torch.equal(dream(photo, pocket, DreamSpec(steps=0), seeded()).frame, photo)


def test_octaves_carry_detail_and_leave_the_picture_sharp(photo: Frame, pocket: Network) -> None:
    """With steps of no size, going through the octaves must not blur anything."""
    spec = DreamSpec(octaves=4, steps=1, step_size=0)
    assert difference(dream(photo, pocket, spec, seeded()).frame, photo) < 1e-3


def test_octave_sizes() -> None:
    spec = DreamSpec(octaves=3, octave_scale=2)
    assert octave_sizes(Size(400, 200), spec, 32) == [Size(100, 50), Size(200, 100), Size(400, 200)]
    assert octave_sizes(Size(400, 100), spec, 32) == [Size(200, 50), Size(400, 100)]
    assert octave_sizes(Size.square(20), spec, 32) == [Size.square(20)]


@pytest.mark.parametrize("tile", [64, 128])
def test_tiles_look_like_the_whole(pocket: Network, tile: int) -> None:
    large = cover(read_still(shipped("sample.jpg")), Size(320, 256))
    spec = DreamSpec(octaves=2, steps=2)
    whole = dream(large, pocket, spec, seeded()).frame
    tiled = dream(large, pocket, spec.change(tile=tile), seeded()).frame
    assert 0 < difference(whole, tiled) < 2
    assert difference(whole, large) > 4 * difference(whole, tiled)


def test_tiles_are_chosen_by_memory(pocket: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_memory(total: float, free: float) -> list[int]:
        there = SimpleNamespace(total=total * 1e9, available=free * 1e9)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: there)
        return [tile_side(pocket, pixels) for pixels in (10**4, 15 * 10**6, 24 * 10**6, 10**8)]

    large = with_memory(64, 60)
    assert all(side % 64 == 0 and 256 <= side <= 4096 for side in large)
    assert large == sorted(set(large), reverse=True)  # a larger picture leaves less for a tile
    assert large[-1] == 256
    assert with_memory(4, 3.5)[0] < large[0]  # less is built in
    assert with_memory(64, 0.5)[0] < large[0]  # less is free
    assert 50 < pocket.bytes_per_pixel < 5000


def test_large_blocks_of_memory_are_kept_where_sizes_stay(
    pocket: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[int, int] = {}

    def tune(what: int, value: int) -> int:
        told[what] = value
        return 1

    monkeypatch.setattr(compiler, "_mallopt", lambda: tune)
    spec, frame = DreamSpec(octaves=1, steps=1), torch.rand(1, 3, 64, 96)

    def kept(tile: int) -> bool:
        """While it dreams; afterwards all is as it was."""
        during: list[bool] = []
        dream(
            frame, pocket, spec.change(tile=tile), seeded(),
            watch=lambda *_: during.append(told.get(_MMAP_MAX) == 0),
        )  # fmt: skip
        assert told.pop(_MMAP_MAX, 1) > 0
        return during[0]

    assert kept(tile=0)
    assert kept(tile=96)
    assert not kept(tile=64)
    monkeypatch.setattr("zoomdream.dreaming.tiles.KEPT_MOST", 1000)
    assert not kept(tile=96)


def test_a_film_keeps_its_tile(pocket: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is free for another process meanwhile changes no pixel."""
    photo = cover(read_still(shipped("sample.jpg")), Size(384, 320))
    spec, made = DreamSpec(octaves=1, steps=1), []
    monkeypatch.setattr(pocket, "tile", 256)
    for free in (60, 0.1):
        there = SimpleNamespace(total=64e9, available=free * 1e9)
        monkeypatch.setattr(psutil, "virtual_memory", lambda there=there: there)
        made.append(dream(photo, pocket, spec, seeded()).frame)
    assert torch.equal(*made)


def test_an_octave_of_the_full_size_counts(photo: Frame, pocket: Network) -> None:
    few, many = (DreamSpec(octaves=n, octave_scale=1.0001, steps=2) for n in (1, 3))
    once, thrice = (dream(photo, pocket, spec, seeded()).frame for spec in (few, many))
    assert difference(thrice, photo) > 1.5 * difference(once, photo)


def test_a_mask_limits_where_it_dreams(photo: Frame, pocket: Network) -> None:
    mask = torch.zeros(1, 1, *photo.shape[2:])
    mask[..., 64:] = 1
    dreamt = dream(photo, pocket, DreamSpec(octaves=3, steps=3), seeded(), mask).frame
    assert torch.equal(dreamt[..., :64], photo[..., :64])
    assert difference(dreamt[..., 68:], photo[..., 68:]) > 3


def test_a_small_mask_does_not_make_it_stronger(photo: Frame, pocket: Network) -> None:
    changes = []
    for start in (0, 96):
        mask = torch.zeros(1, 1, *photo.shape[2:])
        mask[..., start:] = 1
        dreamt = dream(photo, pocket, DreamSpec(octaves=1, steps=1), seeded(), mask).frame
        changes.append(difference(dreamt[..., 100:], photo[..., 100:]))
    assert changes[1] == pytest.approx(changes[0], rel=0.02)


def test_keep_color_changes_brightness_only(pocket: Network) -> None:
    grey = 0.4 + 0.2 * torch.rand(1, 3, 64, 64, generator=seeded())
    spec = DreamSpec(octaves=1, steps=2, step_size=0.02, keep_color=True)
    dreamt = dream(grey, pocket, spec, seeded()).frame
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
    both = load_network("pocket", ["strokes", "eyes=2"], at=at)
    one = load_network("pocket", ["eyes:5"], at=at)
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
        network = load_network("pocket", layers, at=at)
        network.balance(photo)
        gradients.append(network.gradient(photo)[0].flatten())
    shallow, deep, both = gradients
    towards = [float(torch.cosine_similarity(both, single, dim=0)) for single in (shallow, deep)]
    assert min(towards) > 0.3


@pytest.mark.parametrize(("layers", "least"), [(["eyes"], 0.97), ([], 0.95)])
def test_bf16_follows_fp32(photo: Frame, layers: list[str], least: float) -> None:
    """Deep stages round more often: 0.98 at `eyes`, 0.97 at the default's `creatures`."""
    one, other = (
        load_network("pocket", layers, at=choose_place("cpu", kind)).gradient(photo)[0].flatten()
        for kind in ("fp32", "bf16")
    )
    assert torch.cosine_similarity(one, other, dim=0) > least
