"""Pocket computes what it did when it was narrower, and learns against an adversary."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file, save_file
from torchvision.models import squeezenet1_0

from zoomdream.network.network import load_network
from zoomdream.network.pocket.architecture import (
    WEIGHTS,
    WIDTH,
    Blur,
    EarlyHalvedFire,
    Fire,
    Pocket,
)
from zoomdream.training.adversarial import (
    AdversarialTraining,
    Schedule,
    Settings,
    attack,
    feature_errors,
    norm,
    prepare,
    run,
    teacher_features,
    weighted_sum,
    without_margin,
)
from zoomdream.training.crops import Crops, as_batch, central_square
from zoomdream.training.pictures import draw_picture
from zoomdream.training.teacher import MARGIN, Teacher, pocket_info, strokes_kept, widen

SETTINGS = Settings(crops=8, batch=2, sizes=(64,))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """SqueezeNet with weights by chance."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_file(squeezenet1_0().state_dict(), path)
    return Teacher(path)


def adversarial_training(teacher: Teacher, width: int = WIDTH) -> AdversarialTraining:
    """Two drawn pictures, to learn from and held out, and a pocket that begins as the one that ships."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    pictures = [draw_picture(rng, 128) for _ in range(2)]
    student = Pocket(width)
    if width == WIDTH:
        widen(student, load_file(WEIGHTS))
    return AdversarialTraining(
        SETTINGS,
        student,
        copy.deepcopy(student).requires_grad_(False),
        teacher,
        strokes_kept(student, teacher),
        Crops(pictures, pictures, rng),
        as_batch([central_square(picture, 64 + sum(MARGIN)) for picture in pictures]),
        torch.optim.AdamW(student.parameters()),
    )


def test_a_narrower_pocket_goes_on_in_a_wider_one() -> None:
    narrow, wide = Pocket(64), Pocket()
    widen(wide, narrow.state_dict())
    picture = torch.rand(1, 3, 64, 64)
    for (_, a), (_, b) in zip(narrow.features(picture), wide.features(picture), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_halving_early_is_the_same_but_for_the_border() -> None:
    """So weights of 0.1.0, which squeezed before it halved, are a good beginning."""
    early, late = EarlyHalvedFire(8, 4, 6), Fire(8, 4, 6, halve=True)
    late.load_state_dict(early.state_dict())
    picture = torch.rand(1, 8, 24, 24)
    inside = ..., slice(2, -2), slice(2, -2)
    assert torch.allclose(early(picture)[inside], late(picture)[inside], atol=1e-6)


def test_blurs_are_the_same_in_16_bits() -> None:
    blur = Blur(4)
    for size in ((8, 8), (7, 9)):
        picture = torch.rand(1, 4, *size).bfloat16()
        exact = blur(picture.float())
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
    weights = tmp_path / "pocket.safetensors"
    dreamer = load_network("pocket", ["creatures"], weights=weights)
    assert dreamer.channels == {"creatures": 512}
    assert (tmp_path / "pocket-0000008.safetensors").read_bytes() == weights.read_bytes()


def test_other_widths_are_refused_where_they_cannot_go_on(teacher: Teacher, tmp_path: Path) -> None:
    narrow = adversarial_training(teacher, width=208)
    narrow.save(tmp_path)
    with pytest.raises(typer.BadParameter, match="squeezes to 208 channels"):
        adversarial_training(teacher).load(tmp_path)
    assert (
        pocket_info(tmp_path / "pocket.safetensors").bare().state_dict().keys()
        == Pocket().state_dict().keys()
    )
    wide = tmp_path / "wide.safetensors"
    save_file(Pocket(WIDTH + 16).state_dict(), wide)
    with pytest.raises(typer.BadParameter, match=f"at most {WIDTH} would do"):
        prepare(SETTINGS, None, wide, None, "cpu")
