"""Pocket keeps what its card says, and its recipe teaches; `python -m zoomdream.training.*` starts."""

import copy
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import squeezenet1_0

from tests.conftest import ROOT
from zoomdream.dreaming.ascent import dream
from zoomdream.dreaming.session import DreamSession
from zoomdream.files import digest
from zoomdream.media.frame import Frame
from zoomdream.network.catalog import SQUEEZENET_WEIGHTS, network_info
from zoomdream.network.classes import class_names
from zoomdream.network.device import choose_place
from zoomdream.network.layers import network_layers
from zoomdream.network.network import load_network
from zoomdream.network.pocket.architecture import STAGES, WEIGHTS, Pocket
from zoomdream.network.weights import fill_network, has_weights
from zoomdream.network.weights_file import read_weights
from zoomdream.settings.definitions import DreamSpec
from zoomdream.study.comparison import strength
from zoomdream.training.evaluate import compare
from zoomdream.training.pictures import Picture, draw_picture, photographs
from zoomdream.training.pool import Pool
from zoomdream.training.teacher import (
    DEVIATION_PLANES,
    MARGIN,
    MEAN_PLANES,
    SIZE,
    Teacher,
    inherit,
    strokes_kept,
)
from zoomdream.training.train import Training, dream_batch

CARD = WEIGHTS.with_name("README.md")


@pytest.mark.parametrize("weights", [WEIGHTS, SQUEEZENET_WEIGHTS])
def test_the_weights_are_small_and_those_of_the_card(weights: Path) -> None:
    assert weights.stat().st_size < 8e6
    assert (
        f"SHA-256 of `{weights.name}`: `{digest(weights)}`"
        in weights.with_name("README.md").read_text()
    )


def test_squeezenet_ships_and_teaches() -> None:
    """It is there without a download, and its class maps know a photograph from another."""
    assert has_weights("squeezenet1_0")
    assert SQUEEZENET_WEIGHTS.with_name("LICENSE-squeezenet.txt").exists()
    person, cat = (
        (torch.from_numpy(picture).permute(2, 0, 1)[None] / 255 - MEAN_PLANES) / DEVIATION_PLANES
        for picture in photographs(None, ("astronaut", "chelsea"))
    )
    teacher = Teacher()
    best = [teacher(x, aligned=False)["class"].mean((2, 3)).argmax().item() for x in (person, cat)]
    assert "cat" in class_names()[best[1]]
    assert "cat" not in class_names()[best[0]]


def test_the_commands_of_the_card_start() -> None:
    modules = set(re.findall(r"python -m zoomdream.training.(\w+)", CARD.read_text()))
    assert modules == {"train", "adversarial", "evaluate", "class_dreams"}
    for module in modules:
        done = subprocess.run(
            [sys.executable, "-m", f"zoomdream.training.{module}", "--help"], cwd=ROOT,
            capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "100"},
        )  # fmt: skip
        assert "--seed" in done.stdout or "--teacher-weights" in done.stdout


@pytest.mark.parametrize("stage", STAGES)
def test_three_steps_raise_each_stage(stage: str, photo: Frame) -> None:
    network = load_network("pocket", [stage], at=choose_place("cpu", "fp32"))
    spec = DreamSpec(octaves=1, steps=3)
    dreamt = dream(photo, DreamSession(network), spec, torch.Generator().manual_seed(0)).frame
    assert strength(network, dreamt) > 1.2 * strength(network, photo)


def test_stages_have_the_strides_of_the_card() -> None:
    card = CARD.read_text()
    for layer in network_layers(network_info("pocket")):
        assert re.search(rf"\| `{layer.name}` \| {layer.stride} \| {layer.channels} \|", card)


def test_any_size_will_do() -> None:
    pocket = Pocket()
    for size in ((32, 32), (33, 47), (50, 34)):
        values = dict(pocket.features(torch.rand(1, 3, *size)))
        assert list(values) == list(STAGES)


def test_drawn_pictures_are_seeded() -> None:
    one, same, other = (draw_picture(np.random.default_rng(seed), 64) for seed in (1, 1, 2))
    assert one.shape == (64, 64, 3)
    assert (one == same).all()
    assert (one != other).any()


def test_loading_takes_under_half_a_second() -> None:
    """The weights into a network, as often as three times: the quickest counts."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        fill_network(network_info("pocket"), read_weights(WEIGHTS), WEIGHTS)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.5


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """SqueezeNet with weights by chance: the recipe can be run on it, though nothing is learnt."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_file(squeezenet1_0(weights=None).state_dict(), path)
    return Teacher(path)


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    rng = np.random.default_rng(0)
    return [draw_picture(rng) for _ in range(3)]


def inherited(teacher: Teacher, pictures: list[Picture]) -> Pocket:
    torch.manual_seed(0)
    student = Pocket()
    crops = (Pool(pictures, 0).batch(4, SIZE + sum(MARGIN)) - MEAN_PLANES) / DEVIATION_PLANES
    inherit(student, teacher, crops)
    return student


def test_pocket_begins_near_its_teacher(teacher: Teacher, pictures: list[Picture]) -> None:
    by_chance = {s.stage: s for s in compare(Pocket(), teacher, pictures)}
    scores = {s.stage: s for s in compare(inherited(teacher, pictures), teacher, pictures)}
    assert list(scores) == list(STAGES[1:])
    for stage, score in scores.items():
        assert 0 <= score.error < by_chance[stage].error
        assert -1 <= score.cosine <= 1
    assert scores["strokes"].half_cosine > by_chance["strokes"].half_cosine + 0.1
    assert scores["class"].classes is not None


def test_training_goes_down_and_goes_on(
    teacher: Teacher, pictures: list[Picture], tmp_path: Path
) -> None:
    def training() -> Training:
        student = inherited(teacher, pictures)
        optimiser = torch.optim.AdamW(student.parameters(), lr=1.0)
        strokes, pool = strokes_kept(student, teacher), Pool(pictures, 0)
        average, cpu = copy.deepcopy(student), torch.device("cpu")
        return Training(student, average, strokes, teacher, pool, cpu, optimiser)

    first = training()
    errors = [first.step(2, 0.2) for _ in range(6)]
    mean = [sum(e["creatures"] + e["class"] for e in part) for part in (errors[:3], errors[3:])]
    assert mean[1] < mean[0]
    first.save(tmp_path)
    second = training()
    second.load(tmp_path)
    assert second.steps == 6
    for a, b in zip(first.average.parameters(), second.average.parameters(), strict=True):
        assert torch.equal(a, b)
    shipped = load_network("pocket", ["eyes"], weights=tmp_path / "pocket.safetensors")
    assert shipped.channels == {"eyes": 384}


def test_networks_dream_what_they_learn_from_next(pictures: list[Picture]) -> None:
    student, pool = Pocket(), Pool(pictures, 0)
    start = pool.batch(2, 96)
    dreamt = dream_batch(lambda x: dict(student.features(x)), start, pool.rng)
    assert dreamt.shape == start.shape
    assert 0 <= dreamt.min() <= dreamt.max() <= 1
    assert (dreamt - start).abs().mean() > 0.01
