"""The library as its users see it: `import zoomdream as zd`, and nothing else of it."""

import gc
import inspect
import itertools
import re
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import zoomdream as zd

SIZE = zd.Size(64, 48)
QUICK: dict[str, Any] = {"octaves": 1, "steps": 2, "step_size": 0.03}
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    """The sample photograph, (48, 64, 3), uint8."""
    path = Path(__file__).parent.parent.parent / "examples" / "sample.jpg"
    return np.asarray(Image.open(path).convert("RGB").resize((64, 48)))


@pytest.fixture(scope="module")
def creatures() -> Any:
    return zd.load("pocket", layers={"creatures": 1}, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def several() -> Any:
    """A network that may be asked for several things."""
    return zd.load("pocket", ["eyes", "scales", "strokes"], device="cpu", precision="fp32")


def apart(one: Any, other: Any) -> float:
    """The mean difference of two pictures of a kind, in 8-bit steps."""
    one, other = (np.asarray(picture) for picture in (one, other))
    assert one.shape == other.shape
    top = {"uint8": 255, "uint16": 65535}.get(one.dtype.name, 1)
    return float(np.abs(one.astype(float) - other.astype(float)).mean()) / top * 255


# --- Pictures of any kind --------------------------------------------------------------------------------


def as_float32(pixels: Pixels) -> NDArray[np.float32]:
    return (pixels / np.float32(255)).astype(np.float32)


def planes(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


KINDS: dict[str, Callable[[Pixels], Any]] = {
    "uint8": lambda p: p.copy(),
    "uint16": lambda p: p.astype(np.uint16) * 257,
    "float16": lambda p: as_float32(p).astype(np.float16),
    "float32": as_float32,
    "float64": lambda p: p / 255.0,
    "turned": lambda p: p.transpose(1, 0, 2),
    "read only": lambda p: np.frombuffer(p.tobytes(), np.uint8).reshape(p.shape),
    "batch": lambda p: np.stack([p, p[::-1]]),
    "batch of one": lambda p: p[None].copy(),
    "float batch": lambda p: np.stack([as_float32(p)] * 3),
    "tensor": lambda p: planes(p) / 255,
    "tensor of bytes": planes,
    "half tensor": lambda p: (planes(p) / 255).half(),
    "double tensor": lambda p: planes(p).double() / 255,
    "tensor batch": lambda p: torch.stack([planes(p), planes(p).flip(2)]) / 255,
    "tensor batch of one": lambda p: planes(p)[None],
    "tensor of another layout": lambda p: (planes(p)[None] / 255).contiguous(
        memory_format=torch.channels_last
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_kind_comes_out(kind: str, pixels: Pixels, creatures: Any) -> None:
    picture = KINDS[kind](pixels)
    before = picture.clone() if isinstance(picture, Tensor) else picture.copy()
    dreamt = zd.dream(picture, creatures, **QUICK)
    assert type(dreamt) is type(picture)
    assert (dreamt.dtype, dreamt.shape) == (picture.dtype, picture.shape)
    assert (before == picture).all()  # it is not written over
    assert 1 < apart(dreamt, picture) < 40
    assert apart(dreamt, zd.dream(picture, creatures, **QUICK)) == 0
    unchanged = zd.dream(picture, creatures, steps=0)
    assert apart(unchanged, picture) < 0.1  # neither axes nor the range are confused
    unchanged[...] = 0  # what comes out is one's own
    assert (before == picture).all()


def test_grey_comes_back_in_colour(pixels: Pixels, creatures: Any) -> None:
    grey = pixels.mean(2).astype(np.uint8)
    for picture in (grey, grey[..., None]):
        same = zd.dream(picture, creatures, steps=0)
        assert (same.shape, same.dtype) == ((48, 64, 3), np.uint8)
        assert apart(same, np.repeat(grey[..., None], 3, 2)) == 0
    assert zd.dream(torch.from_numpy(grey), creatures, steps=0).shape == (3, 48, 64)


def test_alpha_lies_on_white(pixels: Pixels, creatures: Any) -> None:
    clear = np.dstack([pixels, np.zeros((48, 64), np.uint8)])
    clear[24:, :, 3] = 255
    for picture in (clear, Image.fromarray(clear)):
        same = zd.dream(picture, creatures, steps=0)
        assert isinstance(same, type(picture))
        array = np.asarray(same)
        assert array.shape == (48, 64, 3)
        assert (array[:24] == 255).all()
        assert (array[24:] == pixels[24:]).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_pil_pictures_come_back_as_such(mode: str, pixels: Pixels, creatures: Any) -> None:
    picture = Image.fromarray(pixels).convert(mode)
    before = picture.tobytes()
    dreamt = zd.dream(picture, creatures, **QUICK)
    assert isinstance(dreamt, Image.Image)
    assert (dreamt.mode, dreamt.size) == ("RGB", (64, 48))
    assert picture.tobytes() == before
    assert 1 < apart(dreamt, picture.convert("RGB")) < 40


def test_a_figure_becomes_an_array(creatures: Any) -> None:
    figure = Figure(figsize=(1.5, 1), dpi=64)
    figure.subplots().plot([1, 3, 2])
    dreamt = zd.dream(figure, creatures, **QUICK)
    assert (dreamt.shape, dreamt.dtype) == ((64, 96, 3), np.uint8)


def test_each_of_a_batch_is_dreamt_as_if_alone(
    pixels: Pixels, creatures: Any, several: Any
) -> None:
    """However unlike the others are: one is nearly grey, so that its layers are balanced otherwise."""
    faint = 0.5 + 0.05 * (as_float32(pixels[::-1, ::-1]) - np.float32(0.5))
    batch = np.stack([as_float32(pixels), faint])
    for network in (creatures, several):
        together = zd.dream(batch, network, **QUICK)
        for one, dreamt in zip(batch, together, strict=True):
            assert apart(dreamt, zd.dream(one, network, **QUICK)) < 0.05
        assert apart(zd.dream(list(batch), network, **QUICK), together) == 0


def unlike(*shapes: tuple[int, ...]) -> list[Pixels]:
    return [np.zeros(shape, np.uint8) for shape in shapes]


BAD_PICTURES = [
    (np.zeros((0, 48, 64, 3), np.uint8), r"a picture of shape \(0, 48, 64, 3\) is empty"),
    (torch.zeros(0, 3, 48, 64), r"a picture of shape \(0, 3, 48, 64\) is empty"),
    ([], "is empty"),
    (np.zeros((0, 64, 3), np.uint8), r"a picture of shape \(0, 64, 3\) is empty"),
    (unlike((48, 64, 3), (48, 65, 3)), "pictures of one size"),
    ([torch.zeros(3, 48, 64), torch.zeros(3, 48, 65)], "pictures of one size"),
    (np.full((48, 64, 3), np.nan), "not finite"),
    (torch.full((2, 3, 48, 64), float("inf")), "not finite"),
    (np.zeros((48, 64, 3), np.int64), "pixels are int64, which does not say what white is"),
    (np.zeros((48, 64, 2), np.uint8), r"shape \(48, 64, 2\) has no axis of 1, 3 or 4 channels"),
    (np.zeros((1, 1, 48, 64, 3), np.uint8), r"shape \(1, 1, 48, 64, 3\) would have to be \(H, W\)"),
    ("photo.jpg", r"and no picture: what `PIL.Image.open` makes of it would do"),
    (None, "is no picture|is not"),
]


@pytest.mark.parametrize(("picture", "sentence"), BAD_PICTURES)
def test_what_is_no_picture_gets_a_sentence(picture: Any, sentence: str, creatures: Any) -> None:
    with pytest.raises(zd.InputError, match=sentence):
        zd.dream(picture, creatures, **QUICK)


def test_a_picture_may_be_too_small(creatures: Any) -> None:
    with pytest.raises(zd.UsageError, match="too small for pocket"):
        zd.dream(np.zeros((8, 8, 3), np.uint8), creatures, **QUICK)


# --- How it is dreamt ------------------------------------------------------------------------------------


def test_seeds_and_settings_count(pixels: Pixels, creatures: Any) -> None:
    one = zd.dream(pixels, creatures, seed=1, **QUICK)
    assert apart(one, zd.dream(pixels, creatures, seed=1, **QUICK)) == 0
    assert apart(one, zd.dream(pixels, creatures, seed=2, **QUICK)) > 0
    more = zd.dream(pixels, creatures, seed=1, **{**QUICK, "steps": 6})
    assert apart(more, pixels) > 1.3 * apart(one, pixels)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"stepz": 3}, '"stepz": did you mean steps'),
        ({"steps": -1}, "steps: "),
        ({"octaves": "many"}, "octaves: "),
        ({"layers": {"eyes": 1}, "objective": "scales"}, "objective and layers both"),
    ],
)
def test_a_wrong_setting_is_named(settings: Any, sentence: str, pixels: Pixels) -> None:
    with pytest.raises(zd.UsageError, match=sentence):
        zd.dream(pixels, **settings)


def test_a_mask_says_where(pixels: Pixels, creatures: Any) -> None:
    mask = np.zeros((48, 64), np.uint8)
    mask[:, 32:] = 255
    large = np.kron(mask, np.ones((2, 2), np.uint8))
    for given in (mask, mask / 255.0, torch.from_numpy(mask / 255), Image.fromarray(mask), large):
        dreamt = zd.dream(pixels, creatures, mask=given, **QUICK)
        assert apart(dreamt[:, :30], pixels[:, :30]) == 0
        assert apart(dreamt[:, 34:], pixels[:, 34:]) > 1
    batch = zd.dream(np.stack([pixels, pixels]), creatures, mask=mask, **QUICK)
    assert apart(batch[:, :, :30], np.stack([pixels, pixels])[:, :, :30]) == 0


def test_steps_are_reported(pixels: Pixels, creatures: Any) -> None:
    steps: list[zd.Step] = []
    pictures: list[Any] = []

    def listen(step: zd.Step) -> None:
        steps.append(step)
        assert step.picture is not None
        pictures.append(step.picture())

    dreamt = zd.dream(pixels, creatures, on_step=listen, octaves=1, steps=3)
    assert all(isinstance(step, zd.Step) for step in steps)
    assert [(step.step, step.total, step.size) for step in steps] == [
        (n, 3, SIZE) for n in range(3)
    ]
    assert (steps[-1].share, steps[-1].left) == (1, 0)
    assert apart(pictures[-1], dreamt) == 0
    assert 0 < apart(pictures[0], pixels) < apart(pictures[1], pixels)
    silent = zd.dream(pixels, creatures, octaves=1, steps=3)
    assert apart(silent, dreamt) == 0  # listening changes nothing


def test_a_listener_ends_the_dream(pixels: Pixels, creatures: Any) -> None:
    steps: list[Any] = []

    def listen(step: zd.Step) -> bool:
        assert step.picture is not None
        steps.append(step.picture())
        return len(steps) < 2

    dreamt = zd.dream(pixels, creatures, on_step=listen, octaves=1, steps=9)
    assert len(steps) == 2
    assert apart(dreamt, steps[-1]) == 0
    assert apart(dreamt, zd.dream(pixels, creatures, octaves=1, steps=2)) == 0


def test_a_network_dreams_several_times(pixels: Pixels, creatures: Any) -> None:
    """What one dream needs leaves nothing behind in the network."""
    first = zd.dream(pixels, creatures, **QUICK)
    zd.dream(255 - pixels, creatures, 2 * zd.layer("creatures"), octaves=2, steps=1, tile=64)
    zd.dream(pixels, creatures, zd.guide(pixels[::-1], "creatures"), **QUICK)
    zd.dream(np.stack([pixels[:40], pixels[8:]]), creatures, steps=1)
    assert apart(zd.dream(pixels, creatures, **QUICK), first) == 0
    by_name = zd.dream(pixels, "pocket", {"creatures": 1}, **QUICK)
    assert apart(by_name, first) < 3  # in the precision that the machine prefers


def brightest(activations: dict[str, Tensor]) -> Tensor:
    return activations["eyes"][:, 3].mean() - 0.1 * activations["scales"].std()


OBJECTIVES: dict[str, Any] = {
    "text": "eyes",
    "weighed text": "eyes=0.5",
    "channel": "scales:12",
    "list": ["eyes", "scales:12=0.3"],
    "table": {"eyes": 1, "scales": 0.5},
    "sum": zd.layer("eyes") + 0.3 * zd.channel("scales", 12),
    "difference": zd.layer("eyes") - 0.5 * zd.layer("strokes"),
    "direction": zd.direction("scales", {3: 1.0, 7: -0.5}),
    "function": zd.objective(brightest, ["eyes", "scales"]),
    "function and layer": zd.objective(brightest, ["eyes", "scales"]) + 0.5 * zd.layer("strokes"),
}


def test_whatever_is_wanted_is_dreamt(pixels: Pixels, several: Any) -> None:
    dreams = {
        name: zd.dream(pixels, several, wanted, **QUICK) for name, wanted in OBJECTIVES.items()
    }
    dreams["guide"] = zd.dream(pixels, several, zd.guide(pixels[:, ::-1], "eyes"), **QUICK)
    dreams["guides"] = zd.dream(
        pixels, several, zd.guide(Image.fromarray(pixels), "eyes", style="soft", amount=0.5)
        + 0.3 * zd.channel("scales", 12), **QUICK,
    )  # fmt: skip
    for name, dreamt in dreams.items():
        assert 1 < apart(dreamt, pixels) < 40, name
    assert apart(dreams["text"], dreams["weighed text"]) == 0  # a single weight says nothing
    assert apart(dreams["list"], dreams["sum"]) == 0
    alike = ({"text", "weighed text"}, {"list", "sum"})
    for name, dreamt in dreams.items():
        for other, another in dreams.items():
            if name < other and {name, other} not in alike:
                assert apart(dreamt, another) > 0.2, (name, other)


def test_layers_may_be_a_setting_too(pixels: Pixels, several: Any) -> None:
    weights = {"eyes": 1.0, "scales": 0.5}
    wanted = zd.dream(pixels, several, weights, **QUICK)
    assert apart(zd.dream(pixels, several, layers=weights, **QUICK), wanted) == 0
    assert apart(zd.dream(pixels, "pocket", layers=weights, **QUICK), wanted) < 3
    assert apart(zd.dream(pixels, several, layers=["scales"], **QUICK), wanted) > 0.2


def test_what_is_avoided_fades(pixels: Pixels, several: Any) -> None:
    """The energy of what is wanted rises with the steps, and that of what is avoided falls."""
    energies: list[float] = []

    def strokes(activations: dict[str, Tensor]) -> Tensor:
        value = activations["strokes"].square().mean()
        energies.append(float(value.detach()))
        return value

    wanted = zd.objective(strokes, "strokes")
    for objective, up in ((wanted, True), (-1 * wanted + 0.01 * zd.layer("eyes"), False)):
        energies.clear()
        zd.dream(pixels, several, objective, octaves=1, steps=4, jitter=0, step_size=0.02)
        assert (energies[-1] > energies[1]) == up


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("eyez", 'was loaded for eyes, scales, strokes, and "eyez" is wanted'),
        (zd.layer("creatures"), '"creatures" is wanted of it: name it when the network is loaded'),
        (zd.channel("eyes", 99_999), "99999 is too high"),
        (-1 * zd.layer("eyes"), "no layer has a weight above 0"),
        (zd.objective(lambda a: a["eyes"].mean((2, 3)), "eyes"), "a tensor with a single number"),
        (zd.objective(lambda _: torch.tensor(1.0), "eyes"), "does not depend on the activations"),
    ],
)
def test_what_cannot_be_wanted_gets_a_sentence(
    wanted: Any, sentence: str, pixels: Pixels, several: Any
) -> None:
    with pytest.raises(zd.UsageError, match=sentence):
        zd.dream(pixels, several, wanted, **QUICK)


def test_wishes_that_cannot_be_read() -> None:
    with pytest.raises(zd.UsageError, match="did you mean"):
        zd.load("pocket", ["eyez"])
    with pytest.raises(zd.UsageError, match="tabby"):
        zd.imagenet_class("tabbby")
    with pytest.raises(zd.UsageError, match="a guide is matched with a whole layer"):
        zd.guide(np.zeros((48, 64, 3), np.uint8), "eyes:3")


# --- Films -----------------------------------------------------------------------------------------------


def job(**values: Any) -> zd.RenderJob:
    small: dict[str, Any] = {
        "output": zd.Output(size=SIZE, frames=6, fps=10),
        "dream": zd.DreamSpec(octaves=1, steps=1),
        "device": "cpu",
        "precision": "fp32",
    }
    return zd.RenderJob(**small | values)


def images(picture: Any = None, network: Any = None, **values: Any) -> list[Pixels]:
    with zd.render(job(**values), picture=picture, network=network) as film:
        return [frame.image for frame in film]


def frames_in(folder: Path) -> list[Pixels]:
    """The frames of a film that is a folder of PNG."""
    paths = sorted(folder.glob("*.png"))
    return [np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR))[..., ::-1] for path in paths]


def same(one: list[Pixels], other: list[Pixels]) -> bool:
    return len(one) == len(other) and all(np.array_equal(*pair) for pair in zip(one, other))  # noqa: B905


def test_the_first_example_runs_as_it_is_written(
    pixels: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Its listener is given a Start before any Progress."""
    example = re.search(r"\n\n((?:    .*\n|\n)+)", inspect.getdoc(zd) or "")
    assert example
    Image.fromarray(pixels[::2, ::2]).resize((40, 32)).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(textwrap.dedent(example[1]), names)
    film = names["film"]
    assert (film.path, film.frames, film.size) == (Path("dream.mp4"), 180, (40, 32))
    assert Path("dream.mp4").stat().st_size > 1000
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("Start(")
    assert sum(line.startswith("Progress(") for line in printed) == 180


def test_frames_come_as_they_are_written(pixels: Pixels, tmp_path: Path) -> None:
    events: list[Any] = []
    with zd.render(job(target=tmp_path / "film"), events.append, picture=pixels) as film:
        assert film.result is None
        frames = []
        for frame in film:
            assert frame.frame.shape == (1, 3, 48, 64)
            assert frame.objective > 0
            frames.append(frame)
            assert film.result is None
    assert film.result is not None
    assert [frame.number for frame in frames] == list(range(6))
    assert same([frame.image for frame in frames], frames_in(tmp_path / "film"))
    assert (film.result.path, film.result.frames) == (tmp_path / "film", 6)
    assert [type(event) for event in events] == [zd.Start, *[zd.Progress] * 6]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film", "film.toml"]
    zd.render_film(job(target=tmp_path / "again"), picture=pixels)
    assert same(frames_in(tmp_path / "again"), frames_in(tmp_path / "film"))


def test_without_a_target_nothing_is_written(
    pixels: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with zd.render(job(), picture=pixels) as film:
        count = sum(1 for _ in film)
    assert film.result is not None
    assert (film.result.path, film.result.frames, count) == (None, 6, 6)
    assert not list(tmp_path.iterdir())
    with pytest.raises(zd.UsageError, match="the job has no target"):
        zd.render_film(job())


def test_frames_are_given_once(pixels: Pixels) -> None:
    """A loop over them may be left and taken up again; after the block there are no more."""
    whole = images(pixels)
    with zd.render(job(), picture=pixels) as film:
        first = [frame.image for frame, _ in zip(film, range(2), strict=False)]
        rest = [frame.image for frame in film]
        assert list(film) == []
        assert film.result is not None
    assert list(film) == []
    assert len(first) == 2
    assert same(first + rest, whole[:2] + whole[-len(rest) :])
    with zd.render(job(), picture=pixels) as film:
        next(iter(film))
    assert list(film) == []
    assert film.result is None


def interrupted(
    target: Path, picture: Pixels, how: str, network: Any = None, **values: Any
) -> zd.RenderJob:
    """Begins a film and leaves it after three frames."""
    wanted = job(target=target, **values)

    def listen(event: Any) -> bool | None:
        if how == "a listener" and isinstance(event, zd.Progress) and event.frame == 2:
            raise KeyError("mine")
        return not (how == "False" and isinstance(event, zd.Progress) and event.frame == 2)

    def leave() -> None:
        with zd.render(wanted, listen, picture=picture, network=network) as film:
            for frame in film:
                if frame.number == 2 and how == "an exception":
                    raise KeyError("mine")
                if frame.number == 2 and how == "break":
                    break
        assert film.result is None

    if how in ("an exception", "a listener"):
        with pytest.raises(KeyError, match="mine"):
            leave()
    elif how == "False":
        with pytest.raises(
            zd.Interrupted, match=r"after 3 of 6 frames, .* to go on: `resume=True`"
        ):
            leave()
    else:
        leave()
    assert not target.exists()
    return wanted


@pytest.mark.parametrize(
    ("how", "loop"),
    [
        ("break", False),
        ("an exception", False),
        ("a listener", False),
        ("False", False),
        ("break", True),
    ],
)
def test_a_film_that_is_left_early_goes_on(
    how: str, loop: bool, pixels: Pixels, tmp_path: Path
) -> None:
    values: dict[str, Any] = {"output": zd.Output(size=SIZE, frames=6, fps=10, loop=loop)}
    whole = images(pixels, **values)
    wanted = interrupted(tmp_path / "film", pixels, how, **values)
    starts: list[int] = []

    def listen(event: Any) -> None:
        if isinstance(event, zd.Start):
            starts.append(event.done)

    with zd.render(wanted, listen, picture=pixels, resume=True) as film:
        rest = [frame.image for frame in film]
    assert starts == [3]
    assert same(rest, whole[3:])
    assert same(frames_in(tmp_path / "film"), whole)
    assert film.result is not None
    assert film.result.frames == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film", "film.toml"]


def test_a_film_that_is_whole_is_not_rendered_again(pixels: Pixels, tmp_path: Path) -> None:
    wanted = job(target=tmp_path / "film")
    zd.render_film(wanted, picture=pixels)
    with (
        pytest.raises(zd.OutputError, match="is there already"),
        zd.render(wanted, picture=pixels, resume=True),
    ):
        pass


def test_progress_has_its_picture(pixels: Pixels) -> None:
    pictures: list[Any] = []

    def listen(event: Any) -> None:
        if isinstance(event, zd.Progress):
            assert event.picture is not None
            pictures.append(event.picture())

    with zd.render(job(), listen, picture=pixels) as film:
        assert same([frame.image for frame in film], pictures)


def test_a_picture_is_no_clip(pixels: Pixels, tmp_path: Path) -> None:
    """It was ignored once, and hashed all the same."""
    riding = job(
        source=Path("sample"), target=tmp_path / "a.mp4", flow=zd.FlowBlend(), output=zd.Output()
    )
    with pytest.raises(zd.UsageError, match=r"flow: .* a picture is for stills"):
        zd.render_film(riding, picture=pixels)
    assert not list(tmp_path.iterdir())


def test_only_the_jobs_own_network_is_taken(pixels: Pixels, creatures: Any) -> None:
    def refused(sentence: str, **values: Any) -> None:
        with (
            pytest.raises(zd.UsageError, match=sentence),
            zd.render(job(**values), network=creatures, picture=pixels),
        ):
            pass

    refused("model: the job is for squeezenet1_0, .* is pocket", model="squeezenet1_0")
    spec = zd.DreamSpec(octaves=1, steps=1)
    for layers in (["eyes"], ["creatures:3"], ["creatures", "eyes"]):
        refused(
            f"dream.layers: the job is for {', '.join(layers)}, .* was loaded for creatures",
            dream=spec.change(layers=layers),
        )
    refused("weights: the network that was given has its own", weights=Path("w.safetensors"))
    own = images(pixels, creatures)
    assert same(images(pixels, creatures, dream=spec.change(layers={"creatures": 1})), own)
    assert same(images(pixels, dream=spec.change(layers=["creatures"])), own)  # loaded by itself


def test_a_picture_too_is_only_dreamt_by_the_jobs_own_network(
    pixels: Pixels, tmp_path: Path, creatures: Any
) -> None:
    wanted = zd.RenderJob(
        target=tmp_path / "a.png", dream=zd.STILL_DREAM.change(layers=["eyes"], steps=1)
    )
    with pytest.raises(zd.UsageError, match=r"dream\.layers: the job is for eyes"):
        zd.dream_image(wanted, network=creatures, picture=pixels)
    assert not list(tmp_path.iterdir())


def test_a_film_is_labelled_by_the_network_that_was_given(
    pixels: Pixels, tmp_path: Path, creatures: Any, several: Any
) -> None:
    zd.render_film(job(target=tmp_path / "a.mp4"), network=creatures, picture=pixels)
    assert zd.load_preset(tmp_path / "a.mp4.toml").dream.layers == {"creatures": 1}
    wanted = interrupted(tmp_path / "b.mp4", pixels, "break", several)
    with pytest.raises(zd.UsageError, match=r"dream.layers was .*eyes.* and is .*creatures"):
        zd.render_film(wanted, network=creatures, picture=pixels, resume=True)
    zd.render_film(wanted, network=several, picture=pixels, resume=True)
    layers = zd.load_preset(tmp_path / "b.mp4.toml").dream.layers
    assert layers == {"eyes": 1, "scales": 1, "strokes": 1}


def test_a_film_of_ones_own_objective(pixels: Pixels, tmp_path: Path) -> None:
    network = zd.load("pocket", zd.objective(brightest, ["eyes", "scales"]), device="cpu")
    film = zd.render_film(job(target=tmp_path / "film"), network=network, picture=pixels)
    assert film.frames == 6
    assert apart(frames_in(tmp_path / "film")[0], pixels) > 1


def of_size(size: zd.Size) -> int:
    """How many tensors there are that have a value for each pixel of a size, or an axis of it."""
    gc.collect()
    count = 0
    for thing in gc.get_objects():
        if type(thing) is Tensor:
            count += thing.shape[-2:] == size.shape or thing.shape[-1:] == (size.height,)
    return count


@pytest.mark.parametrize("camera", [zd.Camera(rotate=20), zd.Camera(zoom=1.5)])
def test_nothing_large_stays_of_a_film_that_was_left(camera: zd.Camera, creatures: Any) -> None:
    """Grids of a warp once did: up to 460 MB. The film itself may be kept, for its result."""
    size = zd.Size(122, 90)  # that nothing else has
    picture = np.full((45, 61, 3), 128, np.uint8)
    before = of_size(size)
    wanted = job(camera=camera, output=zd.Output(size=size, frames=6))
    with zd.render(wanted, network=creatures, picture=picture) as film:
        for frame in film:
            if frame.number == 2:
                break
        assert of_size(size) > before + 2
        del frame
    assert of_size(size) == before
    with (
        pytest.raises(KeyError),
        zd.render(wanted, network=creatures, picture=picture) as other,
    ):
        next(iter(other))
        raise KeyError
    assert of_size(size) == before
    assert film.result is None
    assert other.result is None


@pytest.mark.parametrize("shared", [True, False])
def test_two_threads_do_not_disturb_each_other(
    shared: bool, pixels: Pixels, creatures: Any
) -> None:
    settings: list[dict[str, Any]] = [
        {"seed": 1, "camera": zd.Camera(rotate=9), "dream": zd.DreamSpec(octaves=2, steps=2)},
        {"seed": 2, "dream": zd.DreamSpec(octaves=1, steps=3, tile=64)},
    ]
    if not shared:
        for values, layer in zip(settings, ("eyes", "scales"), strict=True):
            values["dream"] = values["dream"].change(layers=[layer])
    network = creatures if shared else None
    expected = [images(pixels, network, **values) for values in settings]
    results: list[list[Pixels]] = [[], []]

    def work(number: int) -> None:
        results[number] = images(pixels, network, **settings[number])

    for _ in range(2):
        threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for result, alone in zip(results, expected, strict=True):
            assert same(result, alone)
        results = [[], []]


@pytest.mark.parametrize("wrong", ["noise", "loop", "target", "size"])
def test_the_librarys_errors_name_settings(wrong: str, tmp_path: Path) -> None:
    """They name no flag of the command line, which its users alone know."""
    with pytest.raises(zd.ZoomdreamError) as caught:
        if wrong == "noise":
            zd.dream_image(zd.RenderJob(target=tmp_path / "a.png"))
        elif wrong == "loop":
            zd.render_film(job(target=tmp_path / "a", flow=zd.FlowBlend()))
        elif wrong == "target":
            zd.render_film(job(target=tmp_path / "none" / "a.mp4"))
        else:
            zd.render_film(job(target=tmp_path / "a.mp4", output=zd.Output(size=(16, 16))))
    assert "--" not in str(caught.value)
    assert len(str(caught.value)) > 20


def test_frames_are_ones_own_to_change(pixels: Pixels) -> None:
    whole = images(pixels)
    with zd.render(job(), picture=pixels) as film:
        changed = []
        for frame in film:
            changed.append(frame.image)
            frame.frame.zero_()
    assert same(changed, whole)


def test_a_film_whose_last_frame_was_taken_is_finished(pixels: Pixels, tmp_path: Path) -> None:
    target = tmp_path / "a.gif"
    with zd.render(job(target=target), picture=pixels) as film:
        taken = list(itertools.islice(film, 6))
    assert len(taken) == 6
    assert film.result is not None
    assert film.result.frames == 6
    assert target.exists()


def test_a_frame_at_which_it_stops_is_handed_out_too(pixels: Pixels, tmp_path: Path) -> None:
    numbers: list[int] = []
    wanted = job(target=tmp_path / "a.gif")
    stops = iter([False, False, True])
    with (
        pytest.raises(zd.Interrupted, match="stopped after 3 of 6"),
        zd.render(wanted, picture=pixels, stopping=lambda: next(stops)) as film,
    ):
        numbers += [frame.number for frame in film]
    with zd.render(wanted, picture=pixels, resume=True) as film:
        numbers += [frame.number for frame in film]
    assert numbers == [3, 4, 5]  # a list that raises has nothing; the loop had the first three
    every = iter([True] * 6)
    with zd.render(job(), picture=pixels, stopping=lambda: next(every)) as film:
        seen = []
        with pytest.raises(zd.Interrupted):
            for frame in film:
                seen += [frame.number]
    assert seen == [0]


def test_another_guide_is_not_gone_on_with(pixels: Pixels, tmp_path: Path) -> None:
    wanted = job(target=tmp_path / "a.gif")

    def guided(picture: Pixels) -> Any:
        return zd.load("pocket", zd.guide(picture, "eyes"), device="cpu")

    with zd.render(wanted, picture=pixels, network=guided(pixels)) as film:
        next(iter(film))
    with pytest.raises(zd.UsageError, match="objectives was"):
        zd.render_film(wanted, picture=pixels, network=guided(255 - pixels), resume=True)
    assert zd.render_film(wanted, picture=pixels, network=guided(pixels), resume=True).frames == 6


def test_leaving_a_clip_ends_its_decoder(tmp_path: Path) -> None:
    def decoders() -> int:
        return len(psutil.Process().children())

    before = decoders()
    clip = zd.RenderJob(source="sample", flow=zd.FlowBlend(), output=zd.Output(size=SIZE))
    with zd.render(clip) as film:
        next(iter(film))
        assert decoders() > before
    assert decoders() == before
    with pytest.raises(zd.InputError), zd.render(clip.change(mask=tmp_path / "none.png")) as film:
        next(iter(film))
    assert decoders() == before


@pytest.mark.parametrize("size", [(8, 8), (1, 1)])
def test_pictures_too_small_for_a_network_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(zd.UsageError, match="too small for pocket"):
        zd.dream(np.zeros((*size, 3), np.uint8), steps=1)


def test_long_pictures_are_dreamt() -> None:
    assert zd.dream(np.zeros((33, 1200, 3), np.uint8), steps=1, octaves=1).shape == (33, 1200, 3)
