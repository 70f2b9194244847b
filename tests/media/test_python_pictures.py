"""Pictures that Python programs hold go in, and come back as what they were."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms

import zoomdream as zd
from zoomdream.errors import InputError
from zoomdream.media.frame import as_frame, to_bytes
from zoomdream.media.python_pictures import as_frames, one_frame, one_mask
from zoomdream.network.network import Network

GREY = np.full((40, 48, 3), 51, np.uint8)
PHOTO = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
UNIT = PHOTO / 255


class OfAnotherLibrary:
    """Gives its values as arrays of JAX, pandas and xarray do."""

    def __array__(self, *_: object, **__: object) -> NDArray[np.uint8]:
        return GREY


class OnAnotherDevice:
    """Refuses numpy as CuPy's arrays do, and gives its values by DLPack."""

    __array__ = None

    def __dlpack__(self, **options: Any) -> object:
        return torch.from_numpy(GREY.copy()).__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return torch.zeros(1).__dlpack_device__()


def lab(pixels: NDArray[np.uint8]) -> Image.Image:
    way = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    converted = ImageCms.applyTransform(Image.fromarray(pixels), way)
    assert converted is not None
    return converted


@pytest.mark.parametrize(
    "picture",
    [
        GREY,
        GREY[..., 0],
        GREY[..., :1],
        GREY[None],
        GREY.transpose(2, 0, 1),
        GREY.transpose(2, 0, 1)[None],
        GREY[None, ..., 0],
        np.asfortranarray(GREY)[::-1, ::-1],
        np.full((40, 48), 13107, ">u2"),
        np.full((40, 48, 3), 0.2, ">f4"),
        np.full((40, 48, 3), 0.2, np.longdouble),
        np.full((40, 48, 3), 0.2).tolist(),
        np.ma.masked_array(GREY, mask=False),
        memoryview(GREY.tobytes()).cast("B", (40, 48, 3)),
        OfAnotherLibrary(),
        OnAnotherDevice(),
        torch.full((3, 40, 48), 0.2),
        torch.full((40, 48, 3), 0.2, dtype=torch.float64),
        torch.full((1, 3, 40, 48), 51, dtype=torch.uint8),
        torch.full((40, 48), 13107, dtype=torch.uint16),
        torch.full((3, 1, 1), 0.2).expand(3, 40, 48).to_sparse(),
        torch.full((3, 40, 48), 0.2, requires_grad=True) * 1,
        Image.new("RGB", (48, 40), (51, 51, 51)),
        Image.new("L", (48, 40), 51),
        Image.new("RGB", (48, 40), (51, 51, 51)).convert("P"),
        Image.new("RGB", (48, 40), (51, 51, 51)).convert("CMYK"),
        Image.new("RGB", (48, 40), (51, 51, 51)).convert("YCbCr"),
        Image.new("RGB", (48, 40), (51, 51, 51)).convert("HSV"),
        Image.new("LA", (48, 40), (51, 255)),
        Image.new("RGBA", (48, 40), (0, 0, 0, 204)),
        Image.new("RGBA", (48, 40), (51, 51, 51, 255)).convert("RGBa"),
        Image.new("La", (48, 40), (51, 255)),
        Image.fromarray(np.full((40, 48), 13107, np.uint16)),
        Image.frombytes("I;16B", (48, 40), np.full((40, 48), 13107, ">u2").tobytes()),
        Image.new("F", (48, 40), 0.2),
    ],
)
def test_every_kind_of_picture_becomes_the_same_frame(picture: object) -> None:
    frame = one_frame(picture)
    assert frame.shape == (1, 3, 40, 48)
    assert frame.dtype == torch.float32
    assert torch.allclose(frame, torch.tensor(0.2), atol=1e-6)
    assert not frame.requires_grad


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"])
def test_pil_pictures_have_the_colours_that_pillow_gives_them(mode: str) -> None:
    picture = lab(PHOTO) if mode == "LAB" else Image.fromarray(PHOTO).convert(mode)
    wanted = PHOTO if mode == "LAB" else np.asarray(picture.convert("RGB"))
    away = np.abs(to_bytes(one_frame(picture)).astype(int) - wanted)
    assert away.mean() < 2  # L*a*b* of 8 bits is coarse


@pytest.mark.parametrize("mode", ["1", "RGB", "RGBA", "La", "P", "CMYK", "LAB", "I;16", "F"])
def test_pil_pictures_come_out_upright(mode: str) -> None:
    left = np.zeros((40, 48), np.uint8)
    left[:, :24] = 255
    picture = Image.fromarray(left)
    if mode == "I;16":
        picture = Image.fromarray(left.astype(np.uint16) * 257)
    elif mode == "F":
        picture = Image.fromarray(left / np.float32(255))
    elif mode == "LAB":
        picture = lab(np.repeat(left[..., None], 3, 2))
    elif mode == "La":
        picture = picture.convert("LA").convert("La")
    else:
        picture = picture.convert("RGB").convert(mode)
    picture.getexif()[0x0112] = 6  # to be turned by 90 degrees, clockwise
    frame, give_back = as_frames(picture)
    assert frame.shape == (1, 3, 48, 40)
    assert frame[..., :23, :].min() > 0.98
    assert frame[..., 25:, :].max() < 0.02
    assert give_back(frame).size == (40, 48)


def test_the_picture_that_an_animation_shows_is_taken() -> None:
    file = BytesIO()
    white = Image.new("L", (48, 40), 255)
    Image.new("L", (48, 40)).save(file, "GIF", save_all=True, append_images=[white])
    assert one_frame(Image.open(file)).max() == 0


def test_booleans_are_black_and_white() -> None:
    half = np.zeros((40, 48), bool)
    half[:, 3:] = True
    expected = np.repeat(half[..., None], 3, 2) * 255
    for picture in (half, torch.from_numpy(half)[None], Image.fromarray(half)):
        assert (to_bytes(one_frame(picture)) == expected).all()


def test_pil_pictures_of_16_bits_keep_them() -> None:
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16
    frame = one_frame(Image.fromarray(ramp))
    assert torch.equal(frame, as_frame(ramp))
    assert len(np.unique(frame)) == 4096


def test_clear_parts_of_a_pil_palette_are_white() -> None:
    palette = Image.new("P", (48, 40), 0)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert one_frame(palette).max() == 0
    palette.info["transparency"] = 0
    assert one_frame(palette).min() == 1


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (PHOTO.astype(float), r"from 0 to 255: `picture / 255` would do"),
        (torch.from_numpy(PHOTO).half(), r"`picture / 255` would do"),
        (PHOTO * 257.0, r"`picture / 65535` would do"),
        (UNIT * 2 - 1, r"from -1 to 1: `\(picture \+ 1\) / 2` would do"),
        ((UNIT - 0.45) / 0.22, r"`\(picture - picture.min\(\)\) / "),
        (np.full((40, 48), np.nan), "not finite: numpy's or torch's `nan_to_num"),
        (np.full((40, 48), -np.inf), "not finite"),
        (PHOTO.astype(int), "pixels are int64, .* go from 0 to 255: as uint8 they would do"),
        (PHOTO.astype("int32") * 257, "as uint16 they would do"),
        (torch.from_numpy(PHOTO > 9).int(), "go from 0 to 1: as booleans they would do"),
        (PHOTO.astype("i2") - 300, "as floats in 0..1 they would do"),
        (UNIT.astype(complex), "pixels are complex128; uint8"),
        (UNIT.astype(object), "pixels are object; uint8"),
        (np.zeros((40, 48, 2)), r"shape \(40, 48, 2\) has no axis of 1, 3 or 4 channels"),
        (torch.zeros(5, 40, 48), r"shape \(5, 40, 48\) has no axis of 1, 3 or 4 channels"),
        (np.zeros((4,)), r"shape \(4,\) would have to be \(H, W\), \(H, W, 3\) or"),
        (0.5, r"shape \(\) would have to be"),
        (np.zeros((0, 48, 3)), r"shape \(0, 48, 3\) is empty"),
        (torch.zeros(0, 3, 40, 48), r"shape \(0, 3, 40, 48\) is empty"),
        (torch.zeros(2, 3, 40, 48), "there are 2 pictures where one is wanted"),
        (torch.zeros(3, 40, 48, device="meta"), "has no values"),
        (np.ma.masked_array(GREY, mask=GREY > 0), r"`picture.filled\(0\)` would do"),
        ("photo.jpg", "'photo.jpg' is a file, .*: what `PIL.Image.open` makes of it would do"),
        (Path("photo.jpg"), "`PIL.Image.open`"),
        (BytesIO(b"GIF89a"), "`PIL.Image.open`"),
        (None, "None is no picture: an array, a tensor or a PIL picture would do"),
        ({"a": 1}, "is no picture"),
        ([[1.0], [1.0, 2.0]], "is no picture"),
        ([GREY, GREY[:20]], "pictures of one size, and not 48x40, 48x20"),
        ([GREY, UNIT], r"of one kind, and not ndarray of uint8 .*, ndarray of float64"),
        ([GREY, GREY.transpose(2, 0, 1)], r"of one kind, and not .*\(40, 48, 3\), .*\(3, 40, 48\)"),
        ([GREY, torch.zeros(3, 40, 48)], r"of one kind, and not ndarray .*, Tensor"),
        ([GREY[None].repeat(2, 0)] * 2, "single ones: `numpy.concatenate` joins others"),
        (["photo.jpg"], "is a file"),
        (Image.new("I", (48, 40), 51), r'mode I .* to 51: `picture.convert\("L"\)` would do'),
        (Image.new("I", (48, 40), 999), r'`picture.convert\("I;16"\)` would do'),
        (Image.new("L", (48, 40), 51).convert("F"), r'mode F .*: `picture.convert\("L"\)`'),
        (Image.new("RGB", (0, 4)), "0x4 pixels is empty"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(picture: object, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        one_frame(picture)


def test_floats_a_little_out_of_range_are_clipped() -> None:
    overshot = np.linspace(-0.1, 1.1, 48 * 40, dtype=np.float32).reshape(40, 48)
    frame = one_frame(overshot)
    assert (float(frame.min()), float(frame.max())) == (0, 1)
    assert overshot.max() > 1


def test_masks_are_of_any_kind() -> None:
    half = np.arange(48)[None].repeat(40, 0) >= 24
    for mask in (half, half * np.uint8(255), half[None] * 1.0, Image.fromarray(half)):
        assert torch.equal(one_mask(mask)[0, 0] == 1, torch.from_numpy(half))
    painted = np.dstack([np.full((40, 48, 3), 255, np.uint8), half * np.uint8(255)])
    assert torch.equal(one_mask(painted)[0, 0] == 1, torch.from_numpy(half))  # in alpha
    with pytest.raises(InputError, match="of zeros and ones `mask > 0` makes booleans"):
        one_mask(half.astype(np.uint8))


@pytest.mark.parametrize("shape", [(3, 40, 48), (40, 48, 3), (2, 40, 48, 3), (1, 3, 40, 48)])
def test_axes_come_back_as_they_were(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for picture in (array, torch.from_numpy(array)):
        frames, give_back = as_frames(picture)
        back = give_back(frames)
        assert type(back) is type(picture)
        assert (np.asarray(back) == array).all()


def test_what_is_given_is_never_written_to(pocket: Network) -> None:
    unit = UNIT.astype(np.float32)
    frozen = unit.copy()
    frozen.flags.writeable = False
    tensor = torch.from_numpy(unit).permute(2, 0, 1)
    for picture in (frozen, unit, tensor):
        assert zd.dream(picture, pocket, steps=1, octaves=1).shape == picture.shape
    assert (unit == frozen).all()
    with torch.inference_mode():
        made_there = tensor * 1
    assert zd.dream(made_there, pocket, steps=0).shape == (3, 40, 48)


def test_pictures_of_a_list_may_differ_in_kind() -> None:
    frames, give_back = as_frames([Image.fromarray(PHOTO).convert("RGBA"), PHOTO])
    assert (give_back(frames) == PHOTO).all()
    tensors = [torch.from_numpy(UNIT).permute(2, 0, 1)] * 2
    frames, give_back = as_frames(tensors)
    assert torch.allclose(give_back(frames), torch.stack(tensors))


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
    assert torch.equal(frames, one_frame(picture))
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
    frame = one_frame(back)
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
        one_frame(picture)
