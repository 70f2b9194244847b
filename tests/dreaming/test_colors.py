"""Dreams grow in a palette: the source's, that of natural pictures, or of another picture."""

from pathlib import Path

import pytest
import torch

import zoomdream as zd
from zoomdream.dreaming.ascent import busyness, dream
from zoomdream.dreaming.colors import DreamColors, hold_palette
from zoomdream.dreaming.session import DreamSession
from zoomdream.errors import UsageError
from zoomdream.media.color import color_covariance
from zoomdream.media.frame import Frame
from zoomdream.network.network import Network
from zoomdream.settings.definitions import DreamSpec
from zoomdream.study.metrics import palette_distance, saturation

QUICK = DreamSpec(octaves=1, steps=4, step_size=0.02)


def dreamt(
    picture: Frame, network: Network, like: Frame | None = None, **settings: object
) -> Frame:
    session = DreamSession(network)
    session.colors = DreamColors(like)
    rng = torch.Generator().manual_seed(0)
    return dream(picture, session, QUICK.change(**settings), rng).frame


def test_a_grey_picture_stays_grey_and_free_colours_do_not(photo: Frame, pocket: Network) -> None:
    grey = photo.mean(1, keepdim=True).expand_as(photo).contiguous()
    strict = saturation(dreamt(grey, pocket, color_amount=1.0))
    some = saturation(dreamt(grey, pocket, color_amount=0.7))
    free = saturation(dreamt(grey, pocket, colors="free"))
    assert strict < 1 < 1.3 * some < free
    assert torch.equal(
        dreamt(grey, pocket, colors="natural", color_amount=0), dreamt(grey, pocket, colors="free")
    )


def test_steps_go_in_the_colours_of_a_palette(photo: Frame, pocket: Network) -> None:
    red = torch.zeros_like(photo)
    red[:, :1] = photo[:, :1]
    change = (
        dreamt(photo, pocket, red, colors="palette", palette="red.png", color_amount=1.0) - photo
    )
    spread = color_covariance(change)[0].diagonal()
    assert spread[0] > 20 * spread[1:].max()


def test_each_picture_of_a_batch_has_its_own_palette(photo: Frame) -> None:
    other = photo.flip(1)
    matrices = DreamColors().matrix(QUICK, torch.cat([photo, other]))
    assert matrices is not None
    for matrix, alone in zip(matrices, (photo, other), strict=True):
        own = DreamColors().matrix(QUICK, alone)
        assert own is not None
        assert torch.allclose(matrix, own[0], atol=1e-5)
        assert matrix.trace() == pytest.approx(3, rel=1e-4)


def test_a_blank_picture_dreams_in_natural_colours(pocket: Network) -> None:
    blank = torch.full((1, 3, 64, 64), 0.5)
    natural, own = (
        DreamColors().matrix(QUICK.change(colors=colors), blank) for colors in ("natural", "source")
    )
    assert natural is not None
    assert own is not None
    assert torch.allclose(natural, own, atol=1e-3)
    assert (dreamt(blank, pocket) != blank).any()


def test_a_palette_is_held(photo: Frame) -> None:
    harsh = ((photo - 0.5) * 1.8 + 0.55).clamp(0, 1)
    whole, half, none = (
        palette_distance(photo, hold_palette(harsh, photo, QUICK.change(color_amount=amount)))
        for amount in (1.0, 0.5, 0.0)
    )
    assert whole < 0.3 * none
    assert whole < half < none
    assert hold_palette(harsh, photo, QUICK.change(colors="free")) is harsh


@pytest.mark.parametrize("brightness", [0.0, 0.5, 1.0])
def test_a_blank_picture_can_dream_too(brightness: float) -> None:
    blank = torch.full((1, 3, 96, 96), brightness)
    harsh = (
        blank + 0.2 * torch.randn(blank.shape, generator=torch.Generator().manual_seed(0))
    ).clamp(0, 1)
    held = hold_palette(harsh, blank, QUICK.change(color_amount=1.0))
    assert 0.03 < float(held.std()) < 0.07
    grey = harsh[:, :1].expand_as(harsh)
    assert saturation(hold_palette(grey, blank, QUICK.change(keep_color=True))) < 0.5


def test_a_palette_and_its_picture_go_together() -> None:
    for settings in ({"colors": "palette"}, {"palette": "a.png"}):
        with pytest.raises(UsageError, match="palette"):
            DreamSpec(**settings)


def test_other_colours_leave_the_palette_behind() -> None:
    spec = DreamSpec(colors="palette", palette="a.png")
    assert spec.change(colors="natural") == DreamSpec(colors="natural")
    assert spec.change(palette="b.png").palette == Path("b.png")
    assert spec.change(steps=3).palette == Path("a.png")
    assert zd.Anchor(to="palette", palette="a.png").change(to="running") == zd.Anchor(to="running")
    with pytest.raises(UsageError, match="palette"):
        spec.change(colors="natural", palette="b.png")


def test_flat_places_stay_calm(photo: Frame, pocket: Network) -> None:
    half = torch.full((1, 3, 96, 192), 0.5)
    half[..., 96:] = photo[..., :96, :96]

    def share(calm: float) -> float:
        change = (dreamt(half, pocket, calm=calm, noise=0.0) - half).abs()
        return float(change[..., :64].mean() / change[..., 128:].mean())

    assert share(1.0) < 0.8 * share(0.0)
    weights = busyness(torch.randn(2, 3, 64, 64))
    assert weights.shape == (2, 1, 64, 64)
    assert weights.mean() == pytest.approx(1, abs=0.2)


def test_noise_is_seeded_and_is_not_in_the_picture(photo: Frame, pocket: Network) -> None:
    one, same, other = (dreamt(photo, pocket, noise=noise) for noise in (0.1, 0.1, 0.0))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(dreamt(photo, pocket, noise=0.5, step_size=0.0), photo)


def test_a_job_reads_its_palette() -> None:
    job = zd.RenderJob(dream=QUICK.change(colors="palette", palette="nowhere.png"))
    with pytest.raises(zd.InputError, match="nowhere"):
        DreamColors.of_job(job)
