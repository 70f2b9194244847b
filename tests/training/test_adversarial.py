"""The student computes what pocket did, and learns against an adversary."""

import copy
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file, save_file
from torchvision.models import squeezenet1_0

from tests.conftest import ROOT
from zoomdream import training
from zoomdream.network.network import load_network
from zoomdream.network.pocket.architecture import STAGES, WEIGHTS, Blur, Pocket
from zoomdream.training.adversarial import (
    AdversarialTraining,
    Schedule,
    Settings,
    attack,
    feature_errors,
    norm,
    run,
    teacher_features,
    weighted_sum,
    without_margin,
)
from zoomdream.training.crops import Crops, as_batch, central_square
from zoomdream.training.pictures import draw_picture
from zoomdream.training.student import WIDTH, PooledBlur, Student, info_of
from zoomdream.training.teacher import MARGIN, Teacher, strokes_kept, widen

SETTINGS = Settings(crops=8, batch=2, sizes=(64,), width=208)
LATEST = Path(training.__file__).with_name("student.safetensors")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """SqueezeNet with weights by chance."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_file(squeezenet1_0().state_dict(), path)
    return Teacher(path)


def adversarial_training(teacher: Teacher, settings: Settings = SETTINGS) -> AdversarialTraining:
    """Two drawn pictures, to learn from and held out, and a student that begins as pocket."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    pictures = [draw_picture(rng, 128) for _ in range(2)]
    student = Student(settings.width)
    widen(student, load_file(WEIGHTS))
    return AdversarialTraining(
        settings,
        student,
        copy.deepcopy(student).requires_grad_(False),
        teacher,
        strokes_kept(student, teacher),
        Crops(pictures, pictures, rng),
        as_batch([central_square(picture, 64 + sum(MARGIN)) for picture in pictures]),
        torch.optim.AdamW(student.parameters()),
    )


def test_a_student_begins_as_pocket_but_for_the_border() -> None:
    pocket, student = Pocket(), Student()
    pocket.load_state_dict({key: value.float() for key, value in load_file(WEIGHTS).items()})
    widen(student, load_file(WEIGHTS))
    picture = torch.rand(1, 3, 96, 96)
    for (name, a), (_, b) in zip(pocket.features(picture), student.features(picture), strict=True):
        edge = 3 if name in ("creatures", "class") else 0
        inside = slice(edge, a.shape[-1] - edge)
        assert torch.allclose(a[..., inside, inside], b[..., inside, inside], atol=1e-4)


def test_a_narrower_student_goes_on_in_a_wider_one() -> None:
    narrow, wide = Student(64), Student()
    widen(wide, dict(narrow.state_dict()))
    picture = torch.rand(1, 3, 64, 64)
    for (_, a), (_, b) in zip(narrow.features(picture), wide.features(picture), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    assert [name for name, _ in narrow.named_children()] == list(STAGES)


def test_blurs_are_the_same_in_16_bits() -> None:
    blur, plain = PooledBlur(4), Blur(4)
    for size in ((8, 8), (7, 9)):
        picture = torch.rand(1, 4, *size).bfloat16()
        exact = plain(picture.float())
        assert torch.equal(blur(picture.float()), exact)
        assert torch.allclose(blur(picture).float(), exact, atol=0.01)


def test_an_attack_stays_in_its_ball_and_hurts_more_than_chance(teacher: Teacher) -> None:
    one = adversarial_training(teacher)
    goals = teacher_features(one.teacher, one.strokes, one.held_out)
    crops, radius = without_margin(one.held_out), torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    moved = attack(one.student, crops, goals, radius, 2, torch.Generator().manual_seed(0))
    assert (norm(moved - crops) <= radius * 1.001).all()
    noise = torch.randn(crops.shape)
    by_chance = crops + noise / norm(noise) * radius
    with torch.no_grad():
        attacked, noisy = (
            float(weighted_sum(feature_errors(one.student, x, goals))) for x in (moved, by_chance)
        )
    assert attacked > noisy


def test_training_ends_with_weights_to_dream_with_and_goes_on(
    teacher: Teacher, tmp_path: Path
) -> None:
    first = adversarial_training(teacher)
    run(first, Schedule(), tmp_path)
    assert first.crops_seen == 8
    assert len((tmp_path / "progress.tsv").read_text().splitlines()) == 3
    second = adversarial_training(teacher)
    second.load(tmp_path)
    assert (second.steps, second.crops_seen) == (4, 8)
    assert second.crops.rng.random() == first.crops.rng.random()
    for a, b in zip(first.average.parameters(), second.average.parameters(), strict=True):
        assert torch.equal(a, b)
    weights = tmp_path / "student.safetensors"
    dreamer = load_network(info_of(weights), ["creatures"], weights=weights)
    assert dreamer.channels == {"creatures": 512}
    assert (tmp_path / "student-0000008.safetensors").read_bytes() == weights.read_bytes()


def test_a_checkpoint_of_another_width_is_refused(teacher: Teacher, tmp_path: Path) -> None:
    adversarial_training(teacher).save(tmp_path)
    wider = adversarial_training(teacher, replace(SETTINGS, width=240))
    with pytest.raises(typer.BadParameter, match="--width 208"):
        wider.load(tmp_path)


def test_training_can_begin_with_the_latest_student() -> None:
    """The weights in the repository are a student's; they fill one of the recipe's width."""
    state = load_file(LATEST)
    student = Student.shaped_as(state)
    widen(student, state)
    for name, value in student.state_dict().items():
        assert torch.equal(value, state[name].float())
    assert Settings().width >= WIDTH == student.creatures.squeeze.out_channels
    assert info_of(LATEST).name == "student"
    assert info_of(WEIGHTS).name == "pocket"
    assert LATEST.stat().st_size < 8e6


def test_the_command_starts() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zoomdream.training.adversarial", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip
    assert "--begin" in done.stdout
