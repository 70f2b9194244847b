"""Pictures that Python programs hold go in, and come back as what they were."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import zoomdream as zd
from zoomdream.errors import InputError
from zoomdream.media.frame import as_frame
from zoomdream.media.python_pictures import as_frames

GREY = np.full((40, 48, 3), 51, np.uint8)


@pytest.mark.parametrize(
    "picture",
    [GREY, np.full((40, 48, 3), 13107, ">u2"), np.full((40, 48, 3), 0.2, ">f4"), GREY > 0],
)
def test_arrays_come_back_in_their_own_numbers(picture: np.ndarray[Any, Any]) -> None:
    frames, give_back = as_frames(picture)
    back = give_back(frames)
    assert back.dtype == picture.dtype
    assert np.allclose(back, picture)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "RGBA", "I;16"])
def test_pil_pictures_come_back_as_rgb(mode: str) -> None:
    picture = Image.new(mode, (48, 40))
    frames, give_back = as_frames(picture)
    assert torch.equal(frames, as_frame(picture))
    back = give_back(frames)
    assert (back.mode, back.size) == ("RGB", (48, 40))


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((40, 48, 4), np.uint8),
        torch.zeros(4, 40, 48),
        Image.new("RGBA", (48, 40)),
        Image.new("LA", (48, 40)),
    ],
)
def test_alpha_does_not_come_back(picture: Any) -> None:
    back = zd.dream(picture, steps=0)
    frame = as_frame(back)
    assert frame.shape == (1, 3, 40, 48)
    assert frame.min() == 1


def test_pil_pictures_of_a_list_are_read_as_pictures() -> None:
    both = [Image.fromarray(GREY).convert("P"), Image.fromarray(GREY)]
    frames, give_back = as_frames(both)
    assert frames.shape == (2, 3, 40, 48)
    assert (give_back(frames) == GREY).all()


def test_the_result_requires_no_gradient() -> None:
    picture = torch.full((3, 40, 48), 0.2, requires_grad=True)
    for steps in (0, 1):
        assert not zd.dream(picture, steps=steps, octaves=1).requires_grad
    assert picture.requires_grad


def test_pil_pictures_are_masks_guides_and_sources() -> None:
    mask = Image.fromarray(np.arange(48)[None].repeat(40, 0) >= 24)
    dreamt = zd.dream(GREY, mask=mask, steps=1, octaves=1)
    assert (dreamt[:, :24] == GREY[:, :24]).all()
    assert (dreamt[:, 24:] != GREY[:, 24:]).any()
    deep = np.arange(40 * 48, dtype=np.uint16).reshape(40, 48) * 34
    guide = zd.guide(Image.fromarray(deep), "eyes")
    assert torch.equal(guide.picture, as_frame(deep))
    job = zd.RenderJob(
        output=zd.Output(size=(48, 40), frames=1), dream=zd.DreamSpec(steps=0), device="cpu",
        anchor=zd.Anchor(to="none", grain=0),
    )  # fmt: skip
    with zd.render(job, picture=Image.fromarray(GREY).convert("CMYK")) as film:
        assert (next(iter(film)).image == GREY).all()


def test_a_pil_picture_that_is_cut_short_is_refused() -> None:
    file = BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    picture = Image.open(BytesIO(file.getvalue()[:2000]))
    with pytest.raises(InputError, match="a PIL picture of mode RGB cannot be read: "):
        as_frame(picture)
