from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoomdream as zd
from tests import films
from tests.conftest import Command, decode
from zoomdream.dreaming.ascent import dream
from zoomdream.dreaming.guide import MOST_POSITIONS, Features, GuidedLayer, GuideSource, Style
from zoomdream.dreaming.guide_pictures import Slideshow, open_guide
from zoomdream.dreaming.session import DreamSession
from zoomdream.errors import InputError, Interrupted, UsageError
from zoomdream.files import shipped
from zoomdream.film.render import render_film
from zoomdream.media.frame import Frame, as_frame, cover, to_bytes
from zoomdream.media.image_reader import read_still
from zoomdream.media.sheet import write_sheet
from zoomdream.network.device import choose_place
from zoomdream.network.layer_objectives import Target
from zoomdream.network.network import load_network
from zoomdream.settings.definitions import DreamSpec, Guide
from zoomdream.size import Size

CPU = choose_place("cpu", "fp32")
SMALL = zd.Output(size=(64, 48), frames=6, fps=Fraction(6))


@pytest.fixture(scope="session")
def rings() -> Frame:
    """Concentric rings in two colours, (1, 3, 128, 128)."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 128), torch.linspace(-1, 1, 128), indexing="ij")
    wave = (20 * torch.hypot(x, y)).sin() / 2 + 0.5
    return torch.stack([wave, 0.6 * wave, 1 - wave])[None].contiguous()


@pytest.fixture
def folder(tmp_path: Path, rings: Frame, photo: Frame) -> Path:
    """Two pictures that take turns, and what is no picture."""
    guides = tmp_path / "guides"
    (guides / "more").mkdir(parents=True)
    (guides / "notes.txt").write_text("not a picture")
    write_sheet(guides / "a.png", to_bytes(rings))
    write_sheet(guides / "b.png", to_bytes(photo))
    return guides


def session_for(*layers: str) -> DreamSession:
    return DreamSession(load_network("pocket", layers, at=CPU))


def source_of(
    session: DreamSession, path: Path, length: float = 10.0, **more: object
) -> GuideSource:
    return GuideSource(Guide(picture=path, **more), session, 10**8, length)


@pytest.mark.parametrize("style", ["best", "soft"])
def test_guiding_raises_the_match(style: Style, photo: Frame, folder: Path) -> None:
    session = session_for("eyes")
    network, plain = session.network, session.objectives
    source = source_of(session, folder)
    features = source.features(0)["eyes"]
    spec = DreamSpec(octaves=2, steps=8, step_size=0.01)

    @torch.no_grad()
    def likeness(guided: bool) -> float:
        settings = Guide(picture=folder, style=style)
        session.objectives = source.objectives(settings, 0.0) if guided else plain
        after = dream(photo, session, spec, torch.Generator().manual_seed(1)).frame
        return features.likeness(network.activations(after)["eyes"])

    before = features.likeness(network.activations(photo)["eyes"])
    assert likeness(True) > before + 0.02
    assert likeness(True) > likeness(False) + 0.02


def test_the_best_match_is_that_of_the_notebook() -> None:
    """Mordvintsev 2015, cell 27, written as there."""
    rng = np.random.default_rng(0)
    x, y = rng.random((5, 4, 6)), rng.random((5, 3, 3))
    flat, other = x.reshape(5, -1), y.reshape(5, -1)
    wanted = other[:, flat.T.dot(other).argmax(1)].reshape(x.shape)
    features = Features.of(torch.from_numpy(y)[None].float())
    seed = features.seed(torch.from_numpy(x)[None].float(), "best")
    assert torch.allclose(seed[0], torch.from_numpy(wanted).float())


def test_soft_moves_as_far_as_the_picture_does() -> None:
    rng = torch.Generator().manual_seed(0)
    features = Features.of(torch.rand(1, 16, 20, 20, generator=rng))
    value = torch.rand(1, 16, 24, 24, generator=rng)
    near = value + 0.01 * torch.randn(value.shape, generator=rng)
    styles: tuple[Style, ...] = ("best", "soft")
    jumps = {
        style: float((features.seed(value, style) - features.seed(near, style)).norm())
        for style in styles
    }
    assert jumps["soft"] < jumps["best"] / 2
    alone = Features.of(torch.rand(1, 16, 1, 1, generator=rng))
    for style in styles:
        assert torch.allclose(
            alone.seed(value, style), alone.vectors.T[None, :, :, None].expand_as(value)
        )


def test_matching_is_bounded_and_in_parts_the_same() -> None:
    value, guide = torch.rand(1, 8, 60, 60), torch.rand(1, 8, 100, 100)
    features = Features.of(guide)
    assert len(features.vectors) == MOST_POSITIONS
    assert len(Features.of(guide, most=7).vectors) == 7
    at_once = 100 * MOST_POSITIONS
    styles: tuple[Style, ...] = ("best", "soft")
    for style in styles:
        whole = features.seed(value, style)
        assert torch.allclose(features.seed(value, style, at_once), whole, atol=1e-5)
    assert features.likeness(value, at_once) == pytest.approx(features.likeness(value))


def test_pictures_take_turns_and_nothing_jumps() -> None:
    turns = Slideshow((np.zeros((2, 2, 3), np.uint8),) * 3, 2.0, 0.5)
    assert turns.at(0.0) == (0, 1, 0.0)
    assert turns.at(1.5) == (0, 1, 0.0)
    assert turns.at(1.75) == (0, 1, 0.5)
    assert turns.at(2.0) == (1, 2, 0.0)
    assert turns.at(5.9)[:2] == (2, 0)
    assert turns.at(-0.1)[:2] == (2, 0)  # a loop's early frames
    running = Slideshow(turns.pictures, 0.25, 1.0)
    for t in (0.1, 0.2499):
        assert running.at(t)[2] == pytest.approx(t / 0.25)
    assert Slideshow(turns.pictures[:1], 2.0, 0.5).at(1.9) == (0, 0, 0.0)


def test_the_seed_goes_over_smoothly(folder: Path, photo: Frame) -> None:
    session = session_for("eyes")
    source = source_of(session, folder, seconds=1, fade=0.5)
    spec = Guide(picture=folder, seconds=1, fade=0.5, style="soft")
    activations = session.network.activations(photo)
    value = activations["eyes"]

    def seed(t: float, amount: float = 1.0) -> torch.Tensor:
        (guided,) = source.objectives(spec.change(amount=amount), t)
        return guided.seeds(activations)["eyes"]

    whole = float((seed(0.0) - seed(1.0)).norm())
    steps = [float((seed(t / 40) - seed((t + 1) / 40)).norm()) for t in range(40)]
    assert 0 < max(steps) < whole / 10
    assert torch.equal(seed(0.3, amount=0.0), value)
    assert torch.allclose(seed(0.3, amount=0.5), (seed(0.3) + value) / 2, atol=1e-5)


def test_a_guide_may_be_a_picture_a_folder_or_a_clip(tmp_path: Path, folder: Path) -> None:
    one = open_guide(Guide(picture=folder / "a.png"), 32, 10**8, 10)
    assert len(one.pictures) == 1
    two = open_guide(Guide(picture=folder, seconds=3), 32, 10**8, 10)
    assert (len(two.pictures), two.seconds) == (2, 3)
    clip = films.write(films.counting(48), tmp_path / "clip.mp4", 24)
    for length, count in ((10.0, 8), (1.0, 4), (0.0, 1)):
        run = open_guide(Guide(picture=clip), 32, 10**8, length)
        assert (len(run.pictures), run.seconds) == (count, 0.25)
        numbers = [films.number(as_frame(picture)) for picture in run.pictures]
        assert numbers == [6 * n for n in range(count)]
    old = films.write(films.counting(48), tmp_path / "old.mpg", 24, "-q:v", 2)
    assert len(open_guide(Guide(picture=old), 32, 10**8, 10).pictures) == 8
    slow = open_guide(Guide(picture=clip, seconds=1), 32, 10**8, 10)
    assert (len(slow.pictures), slow.seconds) == (2, 1)
    large = read_still(shipped("sample.jpg"))
    write_sheet(tmp_path / "wide.png", to_bytes(cover(large, Size(600, 40))))
    (shown,) = open_guide(Guide(picture=tmp_path / "wide.png"), 32, 10**8, 1).pictures
    assert min(shown.shape[:2]) == 32  # what the network takes
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for path, said in (
        ("empty", "holds no pictures"), ("broken.png", "no picture"), ("none.jpg", "no such file"),
        ("none.mp4", "no such file"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            open_guide(Guide(picture=tmp_path / path), 32, 10**8, 1)


def test_whole_layers_are_guided_and_single_channels_are_not(folder: Path, photo: Frame) -> None:
    session = session_for("eyes=0.5", "creatures", "faces:3", "class:lion")
    objectives = source_of(session, folder).objectives(Guide(picture=folder), 0.0)
    assert [isinstance(part, GuidedLayer) for part in objectives] == [True, True, False, False]
    assert [part.weight for part in objectives] == [0.5, 1, 1, 1]
    assert list(map(str, objectives)) == list(map(str, session.objectives))
    session.objectives = objectives
    gradient, energies = session.gradient(photo)
    assert torch.isfinite(gradient).all()
    assert len(energies) == 4
    with pytest.raises(UsageError, match=r"dream\.layers=creatures"):
        source_of(session_for("eyes:3"), folder)


def test_variety_does_not_touch_what_is_guided(folder: Path, photo: Frame) -> None:
    session = session_for("eyes")
    channel_weights = [torch.rand(1, 384, 1, 1) * 3]
    plain = session.gradient(photo)[0]
    assert not torch.equal(session.gradient(photo, channel_weights)[0], plain)
    session.objectives = source_of(session, folder).objectives(Guide(picture=folder), 0.0)
    guided = session.gradient(photo)[0]
    assert torch.equal(session.gradient(photo, channel_weights)[0], guided)
    assert not torch.equal(guided, plain)


def test_tiles_are_guided_as_the_whole_is(folder: Path) -> None:
    session = session_for("eyes")
    picture = films.photograph(Size(320, 256))
    session.objectives = source_of(session, folder).objectives(Guide(picture=folder), 0.0)
    changes = []
    for tile in (1024, 128):
        spec = DreamSpec(octaves=1, steps=1, jitter=0, tile=tile, step_size=0.02)
        with torch.no_grad():
            dreamt = dream(picture, session, spec, torch.Generator().manual_seed(0)).frame
        changes.append((dreamt - picture).flatten())
    pair = torch.corrcoef(torch.stack(changes))
    assert float(pair[0, 1]) > 0.95


def test_a_guided_film_goes_on_bit_for_bit(tmp_path: Path, folder: Path) -> None:
    job = zd.RenderJob(
        source=shipped("sample.jpg"), output=SMALL,
        dream=DreamSpec(octaves=1, layers=("eyes",)),
        guide=Guide(picture=folder, seconds=0.5, fade=0.3, amount="lerp(0.5, 1, t)"),
    )  # fmt: skip
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    render_film(job.change(target=whole))
    tries = iter((False, False, True))
    with pytest.raises(Interrupted):
        render_film(job.change(target=parts), stopping=lambda: next(tries))
    (folder / "b.png").rename(folder / "c.png")
    write_sheet(folder / "b.png", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(zd.ZoomdreamError, match=r"guide\.picture was"):
        render_film(job.change(target=parts), resume=True)
    (folder / "b.png").unlink()
    (folder / "c.png").rename(folder / "b.png")
    render_film(job.change(target=parts), resume=True)
    for name in sorted(p.name for p in whole.iterdir() if p.suffix == ".png"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
    plain = tmp_path / "plain"
    render_film(job.change(target=plain, guide=Guide()))
    assert (whole / "000005.png").read_bytes() != (plain / "000005.png").read_bytes()


@pytest.mark.parametrize("command", ["zoom", "clip", "render"])
def test_films_take_a_guide(command: str, zoomdream: Command, tmp_path: Path, folder: Path) -> None:
    source = films.write(films.counting(6), tmp_path / "in.mp4", 6)
    commands: dict[str, list[object]] = {
        "zoom": ["zoom", "sample", "--frames", "3"],
        "clip": ["clip", source],
        "render": ["render", "carnival", source],
    }
    guided: list[object] = ["--guide", folder, "--guide-style", "soft"]
    made = {}
    choices: list[tuple[str, list[object]]] = [("plain", []), ("guided", guided)]
    for name, more in choices:
        target = tmp_path / f"{name}.mp4"
        done = zoomdream(
            *commands[command], "-o", target, "--size", "64x48", "--octaves", "1", *more
        )
        assert done.code == 0, done.err
        made[name] = decode(target).frames.astype(float)
    assert abs(made["plain"] - made["guided"]).mean() > 0.5
    assert f'picture = "{folder}"' in (tmp_path / "guided.mp4.toml").read_text()


def test_python_takes_a_guide_too(photo: Frame, rings: Frame) -> None:
    network = load_network("pocket", ["eyes"], at=CPU)
    plain = zd.dream(photo, network, steps=2, octaves=1)
    guided = zd.dream(photo, network, zd.guide(rings, "eyes"), steps=2, octaves=1)
    assert guided.shape == photo.shape
    assert float((plain - guided).abs().mean()) > 0.002


@pytest.mark.parametrize("style", ["best", "soft"])
@pytest.mark.parametrize("amount", [1.0, 0.4])
def test_a_guide_is_a_guided_layer_made_by_hand(
    style: Style, amount: float, photo: Frame, rings: Frame
) -> None:
    network = load_network("pocket", ["eyes", "scales"], at=CPU)
    features = Features.of(network.activations(rings)["eyes"])  # it is small enough
    by_hand = GuidedLayer(Target("eyes"), features, style, amount)
    guide = zd.guide(rings, "eyes", style=style, amount=amount)
    sessions = [DreamSession(network, wanted) for wanted in (by_hand, guide)]
    gradients = [session.gradient(photo)[0] for session in sessions]
    assert torch.equal(*gradients)
    assert not torch.equal(gradients[0], DreamSession(network, "eyes").gradient(photo)[0])
    mixed = DreamSession(network, 0.5 * guide + zd.layer("scales"))
    assert mixed.weights == [0.5, 1]
    assert str(0.5 * guide) == "eyes guided=0.5"
    assert torch.isfinite(mixed.gradient(photo)[0]).all()


def test_the_same_pictures_guide_by_settings_and_by_hand(photo: Frame, folder: Path) -> None:
    session = session_for("eyes")
    by_hand = DreamSession(session.network, zd.guide(read_still(folder / "a.png"), "eyes"))
    session.objectives = source_of(session, folder / "a.png").objectives(
        Guide(picture=folder / "a.png"), 0.0
    )
    assert torch.equal(session.gradient(photo)[0], by_hand.gradient(photo)[0])


def test_a_guide_needs_a_whole_layer_and_a_picture(rings: Frame) -> None:
    with pytest.raises(UsageError, match="eyes:3: a guide is matched with a whole layer"):
        zd.guide(rings, "eyes:3")
    with pytest.raises(InputError, match="no picture"):
        zd.guide("rings.png", "eyes")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"style": "bset"}, "style 'bset' of a guide is none of best and soft"),
        ({"amount": 1.5}, r"amount 1.5 of a guide is not in 0..1"),
        ({"amount": -0.1}, r"amount -0.1 of a guide is not in 0..1"),
        ({"amount": float("nan")}, r"amount nan of a guide is not in 0..1"),
        ({"amount": "1"}, r"amount '1' of a guide is not in 0..1"),
        ({"layer": 3}, 'layer 3 is no name such as "eyes"'),
    ],
)
def test_a_guide_refuses_what_it_cannot_be(
    settings: dict[str, Any], sentence: str, rings: Frame
) -> None:
    with pytest.raises(UsageError, match=sentence):
        zd.guide(rings, **{"layer": "eyes", **settings})
