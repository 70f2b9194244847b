import math
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import zoomdream as zd
from tests.conftest import decode, difference
from zoomdream.dreaming.session import DreamSession
from zoomdream.events import Event
from zoomdream.film.inputs import film_size, open_clip
from zoomdream.media.frame import Frame, ImageArray, as_frame, blur, to_bytes
from zoomdream.motion.camera import camera_flow
from zoomdream.motion.warp import warp
from zoomdream.network.network import Network
from zoomdream.size import Size

TINY = zd.Output(size=(64, 48), frames=4)
QUICK = zd.DreamSpec(octaves=1, steps=1)


def zoom(picture: object = None, **settings: object) -> list[ImageArray]:
    """The frames of a zoom; nothing is written."""
    with zd.render(zd.RenderJob(**settings), picture=picture) as film:
        return [frame.image for frame in film]


def job(**values: object) -> zd.RenderJob:
    return zd.RenderJob(**{"output": TINY, "dream": QUICK, "device": "cpu", **values})


def test_five_lines_of_python(photo: Frame, tmp_path: Path) -> None:
    heard: list[Event] = []
    film = zd.render_film(job(target=tmp_path / "a.mp4"), heard.append, picture=to_bytes(photo))
    assert (film.frames, film.size, film.fps) == (4, (64, 48), Fraction(30))
    assert film.path is not None
    assert decode(film.path).frames.shape == (4, 48, 64, 3)
    assert isinstance(heard[0], zd.Start)
    steps = [event for event in heard if isinstance(event, zd.Progress)]
    assert [event.frame for event in steps] == [0, 1, 2, 3]
    assert steps[-1].left == 0
    assert all(event.objective > 0 for event in steps)


def test_arrays_and_tensors_in_and_out(photo: Frame) -> None:
    array = to_bytes(photo)
    dreamt = zd.dream(array, octaves=1, steps=1)
    assert dreamt.dtype == np.uint8
    assert dreamt.shape == array.shape
    assert (dreamt != array).any()
    tensor = zd.dream(photo, octaves=1, steps=1)
    assert isinstance(tensor, torch.Tensor)
    assert tensor.shape == photo.shape
    assert difference(tensor, as_frame(dreamt)) < 1
    frames = zoom(array, output=TINY, dream=QUICK)
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 4


def test_a_seed_gives_the_same_film_and_each_frame_its_own_chance(photo: Frame) -> None:
    one, same, other = (
        np.stack(zoom(photo, output=TINY, dream=QUICK, seed=seed)) for seed in (1, 1, 2)
    )
    assert (one == same).all()
    assert (one != other).any()


def test_the_dream_rides_on_the_camera(photo: Frame) -> None:
    """Without dreaming, anchor and grain a zoom is the picture, warped again and again."""
    still = zd.DreamSpec(steps=0)
    calm = zd.Anchor(to="none", grain=0)
    frames = zoom(photo, output=TINY, dream=still, anchor=calm, camera=zd.Camera(zoom=3))
    first = as_frame(frames[0])
    flow = camera_flow(zd.Camera(zoom=3), Size(64, 48), 1 / 30)
    assert difference(warp(first, flow).clamp(0, 1), as_frame(frames[1])) < 0.6


def test_one_second_of_motion_is_the_same_at_any_fps(photo: Frame) -> None:
    still, calm = zd.DreamSpec(steps=0), zd.Anchor(to="none", grain=0)
    photo = blur(photo, 2.0)  # so that it does not matter how often it is resampled
    ends = []
    for fps in (24, 60):
        output = zd.Output(size=(64, 48), frames=fps + 1, fps=Fraction(fps))
        *_, last = zoom(photo, output=output, dream=still, anchor=calm, camera=zd.Camera(zoom=1.5))
        ends.append(as_frame(last))
    assert difference(*ends) < 1.5


def test_a_zoom_from_noise() -> None:
    frames = zoom(output=TINY, dream=QUICK, seed=3)
    assert frames[0].std() > 10
    assert (frames[0] != zoom(output=TINY, dream=QUICK, seed=4)[0]).any()


def test_black_of_a_mask_stays_the_source(photo: Frame, tmp_path: Path) -> None:
    mask = np.zeros((48, 64), np.uint8)
    mask[:, 32:] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    frames = zoom(photo, output=TINY, mask=tmp_path / "mask.png", camera=zd.Camera(zoom=2))
    clip = open_clip(job(), photo)
    source = to_bytes(next(iter(clip.frames))).astype(int)
    assert np.abs(frames[-1] - source)[:, :30].max() <= 1
    assert np.abs(frames[-1] - source)[:, 34:].mean() > 5


@pytest.mark.parametrize(
    ("output", "natural", "size"),
    [
        (zd.Output(), Size(640, 480), Size(512, 384)),
        (zd.Output(), Size(120, 100), Size(120, 100)),
        (zd.Output(size=(300, 200)), Size(640, 480), Size(300, 200)),
        (zd.Output(scale=0.5), Size(640, 480), Size(256, 192)),
    ],
)
def test_film_sizes(output: zd.Output, natural: Size, size: Size) -> None:
    assert film_size(job(output=output), natural) == size


def test_presets_can_be_loaded_and_rendered(photo: Frame, tmp_path: Path) -> None:
    from zoomdream.files import shipped

    names = [path.stem for path in shipped("presets").glob("*.toml")]
    rendered = 0
    for name in names:
        preset = zd.load_preset(name)
        if preset.flow or preset.model != "pocket":
            continue
        frames = zoom(photo, **dict(preset.change(output=preset.output.change(**dict(TINY)))))
        assert len(frames) == 4
        rendered += 1
    assert rendered == 24  # those of a zoom that ships with a network
    with pytest.raises(zd.UsageError, match="no preset"):
        zd.load_preset("nebulous")
    (tmp_path / "wrong.toml").write_text("[dream]\noctave = 3\n")
    with pytest.raises(
        zd.UsageError, match=r'wrong.toml: line 2: there is no setting "dream.octave": did you mean'
    ):
        zd.load_preset(tmp_path / "wrong.toml")


def test_ten_frames_are_kept_alive(pocket: Network, photo: Frame) -> None:
    """The objective rises well above the source's, while mean and contrast stay the source's."""
    moving = job(output=zd.Output(size=(128, 96), frames=20), dream=zd.DreamSpec())
    with zd.render(moving, network=pocket, picture=photo) as film:
        frames = [dreamt.frame for dreamt in film]
    first, last = frames[0], frames[-1]
    session = DreamSession(pocket)
    assert session.gradient(last)[1][0] > 2 * session.gradient(photo)[1][0]
    assert abs(float(last.mean() - first.mean())) < 0.05
    assert 0.7 < float(last.std() / first.std()) < 1.4
    assert math.isfinite(float(last.sum()))
