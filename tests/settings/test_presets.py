"""Presets: what they come to, what is wrong with them, and that every one can be rendered."""

import json
import random
import re
import sys
import time
import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoomdream as zd
from tests import films
from tests.conftest import Command, decode
from zoomdream.errors import UsageError, ZoomdreamError
from zoomdream.files import shipped
from zoomdream.network.catalog import network_info
from zoomdream.network.device import choose_place
from zoomdream.network.layer_objectives import Target
from zoomdream.network.network import Network
from zoomdream.network.weights import random_network
from zoomdream.settings import presets
from zoomdream.settings.clock import Clock
from zoomdream.settings.definitions import SECTIONS, RenderJob
from zoomdream.settings.deforum import evaluate_schedule
from zoomdream.settings.preset_mistakes import mistakes_in
from zoomdream.settings.setting_paths import plain_value
from zoomdream.settings.timeline import Timeline
from zoomdream.size import Size

NAMES = sorted(presets.known())
TINY = ("--size", "64x48", "--octaves", 1, "--device", "cpu")


def test_there_are_enough_of_every_kind() -> None:
    jobs = {name: zd.load_preset(name) for name in NAMES}
    assert len(jobs) >= 14
    assert sum(job.model == "pocket" for job in jobs.values()) >= 10
    assert sum(job.flow is not None for job in jobs.values()) >= 4
    assert sum(job.output.loop for job in jobs.values()) >= 3
    assert any(job.model == "googlenet" for job in jobs.values())
    assert any(job.output.size and job.output.size[1] > job.output.size[0] for job in jobs.values())
    assert {"zoom", "clip"} <= jobs.keys()
    for name, path in presets.known().items():
        assert len(presets.description(path)) > 20, name
        assert presets.mistakes(path) == [], name
    assert len({presets.description(path) for path in presets.known().values()}) == len(jobs)


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_renders(name: str, tmp_path: Path) -> None:
    """At 192 px on the CPU; networks that would be fetched have weights by chance here."""
    job = zd.load_preset(name)
    kind = network_info(job.model)
    network = None
    if job.model != "pocket":
        targets = [Target.parse(text) for text in job.dream.targets]
        network = Network(kind, random_network(kind), targets, choose_place("cpu"))
        job = job.change(dream=job.dream.change(octaves=2, steps=1))
    source = shipped("sample.mp4" if job.flow else "sample.jpg")
    output = job.output.change(size=(192, 192), fps=12, seconds=1.0)
    flow = job.flow.change(end=1.0) if job.flow else None
    target = tmp_path / "film.mp4"
    job = RenderJob(
        **{**dict(job), "source": source, "target": target, "output": output, "flow": flow}
    )
    if job.output.loop:  # a second is too short for its seam to be judged
        job = job.change(output=output.change(loop=False))
    film = zd.render_film(job, network=network)
    assert film.frames == 12
    frames = decode(target).frames
    assert frames.shape == (12, 192, 192, 3)
    assert frames[-1].std() > 10  # no grey mush
    burnt = (frames[-1] < 4).all(-1) | (frames[-1] > 251).all(-1)
    assert burnt.mean() < 0.5


def test_a_film_can_be_rendered_again_from_what_lies_beside_it(
    tmp_path: Path, zoomdream: Command
) -> None:
    first = zoomdream(
        "render", "metamorphosis", "sample", "-o", "a.mp4", "--seed", 5, "--frames", 5, *TINY
    )
    assert first.code == 0, first.err
    again = zoomdream("render", "a.mp4.toml", "-o", "b.mp4")
    assert again.code == 0, again.err
    assert (decode(tmp_path / "a.mp4").frames == decode(tmp_path / "b.mp4").frames).all()
    other = zoomdream("render", "a.mp4.toml", "-o", "c.mp4", "--seed", 6)
    assert other.code == 0
    assert (decode(tmp_path / "a.mp4").frames != decode(tmp_path / "c.mp4").frames).any()
    assert (
        "[dream.layers.strokes]" in decode(tmp_path / "a.mp4").about
    )  # the film's own metadata, too


def test_a_films_metadata_names_no_folders(tmp_path: Path, zoomdream: Command) -> None:
    films.write([films.photograph(Size(64, 48))], tmp_path / "me.png", 1, "-frames:v", 1)
    assert zoomdream("zoom", "me.png", "-o", "a.mp4", "--frames", 2, *TINY).code == 0
    about = decode(tmp_path / "a.mp4").about
    assert 'source = "me.png"' in about
    assert str(tmp_path) not in about.split("Metadata:", 1)[1]
    assert str(tmp_path) in (tmp_path / "a.mp4.toml").read_text()


def test_flags_win_over_sets_and_those_over_the_preset(tmp_path: Path, zoomdream: Command) -> None:
    words = ("render", "eyes", "sample", "-o", "a.mp4", "--frames", 2, *TINY)
    more = (
        "--set",
        "camera.zoom=1.1",
        "--set",
        "dream.layers=['strokes']",
        "--set",
        "camera.rotate=t*2",
    )
    assert zoomdream(*words, *more, "--zoom", "1.2 + 0.1*t").code == 0
    job = zd.load_preset(tmp_path / "a.mp4.toml")
    assert plain_value(job.camera.zoom) == "1.2 + 0.1*t"
    assert plain_value(job.camera.rotate) == "t*2"
    assert list(job.dream.layers) == ["strokes"]


def test_settings_change_over_time() -> None:
    job = zd.RenderJob(
        dream=zd.DreamSpec(
            steps={"0s": 1, "1s": 3}, layers={"strokes": {"0s": 1.0, "1s": 0.0}, "eyes": 0.5}
        ),
        camera=zd.Camera(zoom={"0s": 1.0, "1s": 4.0}, pan=["0.1*t", 0.2]),
    )
    timeline = Timeline(job, Clock(Fraction(10), 20))
    now = timeline.at(5)
    assert now.dream.steps == 2
    assert now.camera.zoom == pytest.approx(2)  # in the logarithm
    assert now.camera.pan == pytest.approx((0.05, 0.2))
    assert now.dream.layers == pytest.approx({"strokes": 0.5, "eyes": 0.5})
    assert timeline.at(25) == timeline.at(5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"camera": {"zoom": "1/(t-1)"}}, "camera.zoom: at frame 10"),
        (
            {"camera": {"zoom": {"0s": 1.0, "1s": 5e6}}},
            "camera.zoom: input should be less than or equal",
        ),
        ({"dream": {"step_size": "0.01*t - 0.005"}}, "at frame 0 (0.00 s)"),
        ({"dream": {"smooth": {"0s": 1.0, "per": "frame"}}}, "is for rates"),
        ({"camera": {"pan": ["t*", 0]}}, "this is no expression"),
    ],
)
def test_a_mistake_at_any_frame_is_told_before_the_first(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        job = RenderJob(**{key: SECTIONS[key](**value) for key, value in settings.items()})
        Timeline(job, Clock(Fraction(10), 20))
    assert message in str(caught.value)


BROKEN = """# A broken one.
modle = "pocket"
seed = -3

[dream]
octaves = 99
step_size = "0.01 + tt"
layerz = ["eyes"]

[camera]
zoom = { "0s" = 1.2, "soon" = 2.0 }
pan = [0.1]

[output]
fps = "fast"
seconds = nan
"""


def test_check_tells_every_mistake_with_its_line(tmp_path: Path, zoomdream: Command) -> None:
    (tmp_path / "bad.toml").write_text(BROKEN)
    answer = zoomdream("presets", "check", "bad.toml")
    assert answer.code == 2
    for line, part in (
        (2, 'no setting "modle": did you mean model'),
        (3, "seed: input should be greater"),
        (6, "dream.octaves: input should be less than or equal to 12"),
        (7, 'dream.step_size: there is no "tt" here'),
        (8, 'no setting "dream.layerz": did you mean layers'),
        (11, '"soon" is no time of a key'),
        (12, "camera.pan"),
        (15, "output.fps"),
        (16, "output.seconds: input should be a finite number"),
    ):
        assert re.search(rf"^bad.toml:{line}: .*{re.escape(part)}", answer.out, re.MULTILINE), part
    (tmp_path / "none.toml").write_text("[dream\n")
    assert "none.toml:1: this is no TOML" in zoomdream("presets", "check", "none.toml").out
    assert zoomdream("presets", "check", *(presets.known().values())).code == 0
    assert zoomdream("presets", "check", "missing.toml").code == 3


def test_list_show_new_and_schema(tmp_path: Path, zoomdream: Command) -> None:
    listed = zoomdream("presets", COLUMNS="200").out
    for name in NAMES:
        assert name in listed
    assert "googlenet (a download)" in listed
    shown = zoomdream("presets", "show", "eyes", COLUMNS="200").out
    assert re.search(r"camera.zoom +1.3 +eyes.toml:9", shown)
    assert re.search(r"dream.steps +2 +default", shown)
    assert zoomdream("presets", "new", "mine.toml", "--from", "eyes").code == 0
    assert zd.load_preset(tmp_path / "mine.toml") == zd.load_preset("eyes")
    assert zoomdream("presets", "new", "mine.toml").code == 4
    assert zoomdream("presets", "new", "mine.txt").code == 2
    schema = json.loads(zoomdream("presets", "schema").out)
    camera = schema["$defs"]["Camera"]["properties"]
    assert {"type": "string"} in camera["zoom"]["anyOf"]
    assert "target" not in schema["properties"]


def test_your_own_presets_are_in_the_configuration_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        assert presets.own_folder() == tmp_path / "zoomdream" / "presets"
        monkeypatch.delenv("XDG_CONFIG_HOME")
        assert presets.own_folder() == Path.home() / ".config" / "zoomdream" / "presets"


def test_your_own_presets_win_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("XDG_CONFIG_HOME", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    folder = presets.own_folder()
    if tmp_path not in folder.parents:
        pytest.skip("the configuration folder cannot be moved here")
    folder.mkdir(parents=True)
    (folder / "eyes.toml").write_text("# Mine.\nseed = 77\n")
    (folder / "own.toml").write_text("# Mine, too.\nseed = 78\n")
    assert zd.load_preset("eyes").seed == 77
    assert zd.load_preset("own").seed == 78
    assert zd.load_preset("droste").seed == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("render", "eyez", "sample", "-o", "a.mp4"), 2, "did you mean eyes"),
        (("render", "clip", "-o", "a.mp4"), 2, "is for clips: name one"),
        (("render", "eyes", "sample", "-o", "a.mp4", "--strength", "2"), 2, "for stills"),
        (("render", "eyes", "sample", "-o", "a.mp4", "--set", "dream.octavs=5"), 2, "dream.octaves"),
        (("render", "eyes", "sample", "-o", "a.mp4", "--set", "octaves"), 2, "NAME=VALUE"),
        (("render", "eyes", "sample"), 2, "where to?"),
        (("zoom", "sample", "-o", "a.mp4", "--zoom", "1 + tt"), 2, "--zoom: there is no \"tt\" here"),
        (("zoom", "sample", "-o", "a.mp4", "--pan", "max(t,1)"), 2, "not two numbers"),
        (("clip", "sample", "-o", "a.mp4", "--layer", "eyes=sin("), 2, "this is no expression"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_a_sentence(
    words: tuple[str, ...], code: int, message: str, zoomdream: Command
) -> None:
    answer = zoomdream(*words)
    assert answer.code == code
    assert message in answer.err


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_a_loop_closes_on_itself(tmp_path: Path, zoomdream: Command, name: str) -> None:
    """Measured here anew on the decoded film: the step over the seam is like those between frames."""
    from zoomdream.motion.camera import camera_flow
    from zoomdream.motion.warp import warp

    words = ("zoom", "sample", "-o", name, "--loop", "--seconds", 2, "--fps", 20)
    answer = zoomdream(*words, "--size", "112x112", "--octaves", 2, "--device", "cpu")
    assert answer.code == 0, answer.err
    frames = torch.from_numpy(decode(tmp_path / name).frames.copy()).permute(0, 3, 1, 2) / 255
    decoded = list(frames[:, None])
    assert len(decoded) == 40
    flow = camera_flow(zd.Camera(), Size.square(112), 1 / 20)
    after = [*decoded[1:], decoded[0]]
    pairs = zip(decoded, after, strict=True)
    steps = [float((warp(a, flow) - b).abs().mean()) for a, b in pairs]
    assert steps[-1] <= 1.1 * np.median(steps[:-1])
    assert float((decoded[20] - decoded[0]).abs().mean()) > 0.05  # it goes somewhere meanwhile


def test_without_loop_the_end_is_elsewhere(tmp_path: Path, zoomdream: Command) -> None:
    words = ("zoom", "sample", "-o", "a.mp4", "--seconds", 1, "--size", "96x96", "--octaves", 1)
    assert zoomdream(*words, "--device", "cpu").code == 0
    frames = decode(tmp_path / "a.mp4").frames.astype(float)
    assert np.abs(frames[-1] - frames[0]).mean() > 10


MESS = ["", "=", '"', "[", "nan", "{", "1e999", "\n", "-", "t", "9" * 30]


def test_twenty_thousand_broken_files_give_our_errors_only() -> None:
    """Mutated presets, and mutated schedules of Deforum's: read, checked, never anything but our errors."""
    rng = random.Random(1)
    texts = [path.read_text() for path in presets.known().values()] + [BROKEN]
    slowest, good = 0.0, 0
    for number in range(20_000):
        text = list(rng.choice(texts))
        for _ in range(rng.randrange(1, 5)):
            place = rng.randrange(len(text))
            text[place : place + rng.randrange(4)] = rng.choice(MESS)
        started = time.perf_counter()
        try:
            if number % 4 == 0:
                evaluate_schedule("".join(text)[:200], 5)
            values = tomllib.loads("".join(text))
            wrong = mistakes_in(values, "".join(text))
            good += not wrong
            assert all(isinstance(mistake.message, str) for mistake in wrong)
        except (ZoomdreamError, tomllib.TOMLDecodeError):
            pass
        slowest = max(slowest, time.perf_counter() - started)
    assert good > 100
    assert slowest < 1.0  # 0.1 on a machine with nothing else to do
