"""Single neurons: that they are excited, that a sheet's names mean what is dreamt, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.conftest import Command
from zoomdream.dreaming.ascent import dream
from zoomdream.dreaming.session import DreamSession
from zoomdream.errors import UsageError
from zoomdream.media.frame import Frame, cover
from zoomdream.media.noise import noise_picture
from zoomdream.media.sheet import GAP
from zoomdream.network.catalog import CATALOG, network_info
from zoomdream.network.classes import class_names
from zoomdream.network.device import choose_place
from zoomdream.network.layer_objectives import Target
from zoomdream.network.network import Network, load_network
from zoomdream.network.weights import load_module, random_network
from zoomdream.settings import presets
from zoomdream.settings.definitions import DreamSpec, NeuronSpec
from zoomdream.size import Size
from zoomdream.study.channels import mean_activations, top_channels
from zoomdream.study.fourier import noise_pictures
from zoomdream.study.neuron_sheet import neuron_cells, neuron_label
from zoomdream.study.neurons import gram_likeness, visualize_neurons

CPU = choose_place("cpu", "fp32")
QUICK = NeuronSpec(size=48, steps=12)


@pytest.fixture(scope="module")
def eyes() -> Network:
    return load_network("pocket", ["eyes"], at=CPU)


class AlteredEyes(Network):
    """Pocket's eyes, whose activations are changed: (N, 384, H, W) in and out."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        self._change = change
        info = network_info("pocket")
        super().__init__(info, load_module(info), [Target("eyes")], CPU)

    def activations(self, frames: Tensor) -> dict[str, Tensor]:
        return {"eyes": self._change(super().activations(frames)["eyes"])}


def excitement(network: Network, pictures: Tensor) -> Tensor:
    """(N, C): each channel's mean over the map."""
    return mean_activations(network, network.layers[0], pictures)


def targets(*texts: str) -> list[Target]:
    return [Target.parse(text) for text in texts]


def test_each_picture_excites_its_own_neuron_most(eyes: Network) -> None:
    chosen = (12, 40, 90, 200)
    wanted = targets(*(f"eyes:{number}" for number in chosen))
    pictures = visualize_neurons(eyes, wanted, QUICK.change(steps=30))
    assert pictures.shape == (4, 1, 3, 48, 48)
    assert 0 <= pictures.min() <= pictures.max() <= 1
    reached = excitement(eyes, pictures[:, 0])[:, list(chosen)]
    assert reached.argmax(0).tolist() == [0, 1, 2, 3]
    before = excitement(eyes, noise_pictures(Size.square(48), 0))[:, list(chosen)].amax(0)
    assert (reached.diagonal() > 1.5 * before).all()


def test_a_batch_is_as_one_by_one(eyes: Network) -> None:
    wanted = targets("eyes:1", "eyes:2", "eyes:3-0.5*4")
    together = visualize_neurons(eyes, wanted, QUICK)
    steps: list[tuple[int, int]] = []
    alone = visualize_neurons(
        eyes, wanted, QUICK, progress=lambda *step: steps.append(step), pixels_at_once=1
    )
    assert steps == [(number + 1, 3 * QUICK.steps) for number in range(3 * QUICK.steps)]
    assert (together - alone).abs().max() < 0.02
    last = visualize_neurons(eyes, wanted[2:], QUICK)
    assert torch.equal(alone[2:], last)


def test_a_seed_gives_the_same_pictures(eyes: Network) -> None:
    spec, wanted = QUICK.change(steps=3), targets("eyes:1", "eyes:2")
    one, same = (visualize_neurons(eyes, wanted, spec, seed=5) for _ in range(2))
    assert torch.equal(one, same)
    assert (one - visualize_neurons(eyes, wanted, spec, seed=6)).abs().mean() > 0.01


def test_a_direction_takes_away_what_it_has_less_of(eyes: Network) -> None:
    wanted = targets("eyes:12+40", "eyes:12-40", "eyes:12-1*40+7")
    reached = excitement(eyes, visualize_neurons(eyes, wanted, QUICK)[:, 0])
    assert reached[0, 40] > 2 * reached[1, 40]
    assert reached[1, 12] > 10 * reached[1, 40]
    assert reached[2, 7] > reached[1, 7]


def test_a_neuron_alone_leaves_the_rest_of_the_channel(eyes: Network) -> None:
    wanted, spec = targets("eyes:12"), QUICK.change(size=96)
    shares = []
    for neuron in (True, False):
        pictures = visualize_neurons(eyes, wanted, spec.change(neuron=neuron))[0]
        channel = eyes.activations(pictures)["eyes"][0, 12]
        shares.append(float(channel[6, 6] / channel.mean()))
    assert shares[0] > 2 * shares[1]


def test_diverse_answers_differ_more(eyes: Network) -> None:
    wanted, spec = targets("eyes:12"), QUICK.change(diverse=3, steps=24)

    def likeness(pictures: Tensor) -> float:
        with torch.no_grad():
            return float(gram_likeness(eyes.activations(pictures)["eyes"], 3).mean())

    apart = likeness(visualize_neurons(eyes, wanted, spec)[0])
    at_no_cost = visualize_neurons(eyes, wanted, spec, diversity_cost=0.0)[0]
    assert apart < 0.9 * likeness(at_no_cost)


def test_top_finds_the_channel_that_was_planted(eyes: Network) -> None:
    (planted,) = targets("eyes:266")
    picture = visualize_neurons(eyes, [planted], QUICK.change(size=96))[0]
    assert top_channels(eyes, "eyes", picture, 3)[0] == planted
    always_on = AlteredEyes(lambda value: value + 1e5 * (torch.arange(384) == 5).view(1, -1, 1, 1))
    assert int(excitement(always_on, picture).argmax()) == 5
    assert top_channels(always_on, "eyes", picture, 3)[0] == planted
    assert targets("eyes:5")[0] not in top_channels(always_on, "eyes", picture, 30)


def test_a_dream_climbs_what_the_sheet_shows(eyes: Network) -> None:
    """eyes:12 under a picture is eyes:12 of --layer, and a negative weight is its contrary."""
    spec = DreamSpec(octaves=1, steps=6)

    def dreamt(*layers: str) -> Tensor:
        session = DreamSession(load_network("pocket", layers, at=CPU))
        start, rng = noise_picture(Size.square(96), 1), torch.Generator().manual_seed(0)
        frame = dream(start, session, spec, rng).frame
        return excitement(eyes, frame)[0]

    plain, direction = dreamt("eyes:12"), dreamt("eyes:12-0.5*40")
    less, more = dreamt("eyes:12", "eyes:40=-1"), dreamt("eyes:12", "eyes:40=1")
    usual = excitement(eyes, noise_picture(Size.square(96), 1))[0]
    assert plain[12] > 2 * usual[12]
    assert direction[12] > 2 * usual[12]
    assert less[40] < more[40]
    assert direction[40] <= plain[40]


def test_a_direction_may_be_named_wherever_a_layer_is(zoomdream: Command, tmp_path: Path) -> None:
    sums = ("eyes:3+7-0.5*12=0.5", "class:lion+0.5*great white shark")
    words = [word for text in sums for word in ("--layer", text)]
    small = ("--frames", 2, "--size", "64x48", "--octaves", 1)
    done = zoomdream("zoom", "sample", "-o", "a.gif", *words, *small)
    assert done.code == 0, done.err
    job = presets.load_preset(tmp_path / "a.gif.toml")
    assert job.dream.targets == [sums[0], f"{sums[1]}=1"]
    assert zoomdream("zoom", "sample", "-o", "b.gif", "--layer", "eyes:3-500").code == 2


def test_it_begins_with_a_picture(eyes: Network, photo: Frame) -> None:
    start = cover(photo, Size.square(48))
    spec = QUICK.change(steps=1, step_size=1e-6)
    same = visualize_neurons(eyes, targets("eyes:12"), spec, start=start)[0]
    assert (same - start.clamp(0.02, 0.98)).abs().max() < 1e-3
    one, other = visualize_neurons(eyes, targets("eyes:12"), QUICK.change(diverse=2), start=start)[
        0
    ]
    assert (one - other).abs().mean() > 0.01


@pytest.mark.parametrize(
    ("name", "layer"),
    [(info.name, Target.parse(info.layers[0]).layer) for info in CATALOG.values()]
    + [(name, "class") for name in ("pocket", "squeezenet1_1", "googlenet")],
)
def test_every_network_has_neurons(name: str, layer: str) -> None:
    info = network_info(name)
    network = Network(info, random_network(info), [Target(layer)], CPU)
    spec = NeuronSpec(size=max(32, info.least), steps=2, step_size=0.3)
    wanted = Target(layer, ((7, 1.0),))
    (pictures,) = visualize_neurons(network, [wanted], spec, noise_count=2)
    assert torch.isfinite(pictures).all()
    first = noise_pictures(Size.square(spec.size), 0, most=2)
    assert (pictures - first).abs().amax((1, 2, 3)).min() > 0.01


def test_a_sheet_is_written_with_names(zoomdream: Command, tmp_path: Path) -> None:
    small = ("--size", "32", "--steps", "2")
    done = zoomdream("channels", "eyes", "-o", "a.png", "--range", "3:7", *small)
    assert done.code == 0, done.err
    assert "4 of the 384 channels of eyes of pocket" in done.err
    done = zoomdream("channels", "class:lion,tabby", "-o", "b.webp", "--diverse", "3", *small)
    assert done.code == 0, done.err
    assert Image.open(tmp_path / "b.webp").width == 3 * (32 + GAP) + GAP  # a row for each neuron
    top = ("--top", "2", "--on", "sample", "--from", "sample")
    assert zoomdream("channels", "faces", "-o", "c.jpg", *top, *small).code == 0


def test_a_silent_neuron_is_told() -> None:
    silenced = AlteredEyes(lambda value: value * (torch.arange(384) != 7).view(1, -1, 1, 1))
    wanted = targets("eyes:7", "eyes:12")
    pictures = visualize_neurons(silenced, wanted, QUICK)
    cells = neuron_cells(silenced, wanted, pictures)
    assert [cell.caption for cell in cells] == [("eyes:7", "silent"), ("eyes:12",)]
    before = noise_pictures(Size.square(48), 0)
    assert excitement(silenced, pictures[0]).mean() > excitement(silenced, before).mean()


def test_labels_are_what_is_dreamt_with() -> None:
    assert neuron_label(Target.parse("eyes:12"), 384) == "eyes:12"
    assert neuron_label(Target.parse("eyes:3+7-0.5*12"), 384) == "eyes:3+7-0.5*12"
    assert neuron_label(Target.parse("class:291"), 1000) == "lion"
    assert neuron_label(Target.parse("class:17"), 365) == "class:17"
    assert neuron_label(Target.parse("class:lion+tabby"), 1000) == "class:lion+tabby"
    assert not any("," in name or "+" in name for name in class_names())  # which divide them


WRONG = {
    "--range 370:400": "eyes of pocket, which has 384 channels",
    "--range 7:3": "384 channels",
    "--range x": "is not A:B",
    "--range 0:4 --top 3 --on sample": "give one",
    "--top 3": "go together",
    "--on sample": "go together",
    "--top 500 --on sample": "384 channels",
    "--from nothing.jpg": "no such file",
    "--size 8": "--size",
    "--steps 0": "--steps",
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_told(words: str, zoomdream: Command, tmp_path: Path) -> None:
    done = zoomdream("channels", "eyes", "-o", "a.png", *words.split())
    assert done.code in (2, 3)
    assert WRONG[words] in " ".join(done.err.split())
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("layer", "message"),
    [("eys", "did you mean eyes"), ("eyes:384", "too high"), ("eyes=2", "leave out the ="),
     ("eyes:3,", "NAME:CHANNEL"), ("class:lio", "did you mean")],
)  # fmt: skip
def test_wrong_neurons_are_told(layer: str, message: str, zoomdream: Command) -> None:
    done = zoomdream("channels", layer, "-o", "a.png")
    assert done.code == 2
    assert message in done.err


def test_too_small_for_the_network_is_told() -> None:
    info = network_info("inception_v3")
    network = Network(info, random_network(info), [Target("Mixed_5b")], CPU)
    with pytest.raises(UsageError, match="48x48 is too small for inception_v3: at least 96x96"):
        visualize_neurons(network, targets("Mixed_5b:1"), QUICK)


def test_a_gradient_that_overflows_is_told(eyes: Network) -> None:
    overflowing = AlteredEyes(lambda value: value * 1e38 * 1e38)
    with pytest.raises(
        UsageError, match=r"of pocket overflows in torch\.float32: use `precision=fp32`"
    ):
        visualize_neurons(overflowing, targets("eyes:12"), QUICK.change(steps=1))
    eyes.check_finite(0.5)
