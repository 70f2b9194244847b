"""The bench measures what it says, on small things; how fast they are is no test's business."""

import json
from pathlib import Path

import pytest
import torch

from tests.conftest import Command
from zoomdream.dreaming.ascent import Octave, plan_octaves
from zoomdream.media.frame import Frame
from zoomdream.network.catalog import network_info
from zoomdream.network.device import choose_place
from zoomdream.network.network import load_network
from zoomdream.network.weights import load_or_random
from zoomdream.settings.definitions import DreamSpec, Output, RenderJob
from zoomdream.size import Size
from zoomdream.study.bare_convolutions import BareConvolutions
from zoomdream.study.bench import load_contenders
from zoomdream.study.comparison import strength
from zoomdream.study.textbook_dream import textbook_dream
from zoomdream.study.timing import time_film

TINY = ("--size", "128x64", "--octaves", 2, "--steps", 1, "--rounds", 1, "--frames", 4)


def test_it_tells_ratios_and_where_time_goes(zoomdream: Command, tmp_path: Path) -> None:
    done = zoomdream("bench", *TINY)
    assert done.code == 0, done.err
    for words in (
        "textbook way",
        "bare convolutions",
        "times as fast",
        "GFLOP/s",
        "fps",
        "dreaming",
        "GB",
    ):
        assert words in done.out, words
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", ["pocket", "squeezenet1_1"])
def test_as_json(zoomdream: Command, model: str) -> None:
    done = zoomdream("bench", "--model", model, *TINY, "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["network"] == model
    assert result["size"] == [128, 64]
    assert result["octaves"] == 2
    for name in ("step", "frame", "textbook", "limit", "textbook_ratio", "limit_ratio", "film", "gflop",
                 "overhead", "fps", "gflops", "limit_gflops"):  # fmt: skip
        assert 0 < result[name] < 1e6, name
    assert result["overhead"] > 1
    assert result["film"] > result["spent"]["dreaming"]
    assert result["memory"] > 1e8


@pytest.mark.parametrize("steps", [0, 1])
def test_its_film_is_as_long_as_a_time(steps: int) -> None:
    job = RenderJob(output=Output(size=(64, 64)), dream=DreamSpec(octaves=1, steps=steps))
    network = load_network("pocket")
    for seconds, frames in ((0.0, 5), (1000.0, 7)):
        phases: list[str] = []
        film = time_film(job, network, 0, phases.append, fewest=5, most=7, seconds=seconds)
        assert phases == ["a few frames", f"a film of {frames} frames"]
        assert film.frames == frames
        assert sum(film.spent.values()) == pytest.approx(film.frame, rel=1e-3)


def test_operations_are_counted() -> None:
    """One convolution of 12 channels of 2x2 pixels, each 4x4 of them, to 48; there and back."""
    at = choose_place("cpu", "fp32")
    network = load_network("pocket", ["edges"], at=at)
    convolutions = BareConvolutions(network, [Octave(Size(32, 64), 3, 0.01)])
    assert convolutions.flop == 3 * 2 * 2 * (48 * 12 * 4 * 4) * (32 * 16)
    convolutions.run()


def test_the_textbook_way_dreams(photo: Frame) -> None:
    """It raises the objective, as ours does."""
    job = RenderJob(
        dream=DreamSpec(layers=("strokes",), octaves=1, steps=6), output=Output(size=(128, 96))
    )
    contenders = load_contenders(job)
    network, module = contenders.network, contenders.textbook
    assert not contenders.random
    octaves = plan_octaves(Size(128, 96), job.dream, 32)
    with torch.no_grad():
        dreamt = textbook_dream(photo, module, network.info, octaves, job.dream, job.seed)
    assert strength(network, dreamt) > 1.5 * strength(network, photo)


def test_what_is_not_here_is_not_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    module, random = load_or_random(network_info("squeezenet1_1"))
    assert random
    assert all(torch.isfinite(p).all() for p in module.parameters())
