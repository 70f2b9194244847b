"""The bench measures what it says, on small things; how fast they are is no test's business."""

import json
from pathlib import Path

import pytest
import torch

from tests.conftest import Command
from zoomdream.dreaming.ascent import octave_sizes
from zoomdream.media.frame import Frame
from zoomdream.network import network
from zoomdream.network.catalog import network_info
from zoomdream.network.device import choose_place
from zoomdream.network.network import load_network
from zoomdream.network.target import Target
from zoomdream.network.weights import load_or_random
from zoomdream.settings.model import DreamSpec, Output, RenderJob
from zoomdream.size import Size
from zoomdream.study import bench
from zoomdream.study.bench import _convolutions, _film, _networks, _textbook

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
    found = json.loads(done.out)
    assert found["network"] == model
    assert found["size"] == [128, 64]
    assert found["octaves"] == 2
    for name in ("step", "frame", "textbook", "limit", "textbook_ratio", "limit_ratio", "film", "gflop",
                 "overhead", "fps", "gflops", "limit_gflops"):  # fmt: skip
        assert 0 < found[name] < 1e6, name
    assert found["overhead"] > 1
    assert found["film"] > found["spent"]["dreaming"]
    assert found["memory"] > 1e8


@pytest.mark.parametrize("steps", [0, 1])
def test_its_film_is_as_long_as_a_time(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "FRAMES", (5, 7))
    job = RenderJob(output=Output(size=(64, 64)), dream=DreamSpec(octaves=1, steps=steps))
    for seconds, frames in ((0.0, 5), (1000.0, 7)):
        monkeypatch.setattr(bench, "SECONDS", seconds)
        told: list[str] = []
        _film(job, load_network("pocket"), 0, told.append)
        assert told == ["a few frames", f"a film of {frames} frames"]


def test_operations_are_counted() -> None:
    """One convolution of 12 channels of 2x2 pixels, each 4x4 of them, to 48; there and back."""
    at = choose_place("cpu", "fp32")
    network = load_network("pocket", ["edges"], at=at)
    found = _convolutions(network, [Size(32, 64)], steps=3)
    assert found.flop == 3 * 2 * 2 * (48 * 12 * 4 * 4) * (32 * 16)
    found.run()


def test_the_textbook_way_dreams(photo: Frame) -> None:
    """It raises the objective, as ours does."""
    job = RenderJob(
        dream=DreamSpec(layers=("strokes",), octaves=1, steps=3), output=Output(size=(128, 96))
    )
    network, module, random = _networks(job)
    assert not random
    with torch.no_grad():
        dreamt = _textbook(photo, module, octave_sizes(Size(128, 96), job.dream, 32), job)
        before, after = (network.gradient(frame)[1][0] for frame in (photo, dreamt))
    assert after > 1.5 * before


def test_what_is_not_here_is_not_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(network, "fetch", None)
    module, random = load_or_random(network_info("squeezenet1_1"), [Target("features.3")], None)
    assert random
    assert all(torch.isfinite(p).all() for p in module.parameters())
