"""Frames of a job one by one: clips of unknown length, and what is done only once."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from tests import films
from zoomdream.errors import UsageError
from zoomdream.film.frame_renderer import FrameRenderer
from zoomdream.film.inputs import job_clock
from zoomdream.media.frame import Frame
from zoomdream.media.source import Clip, still_clip
from zoomdream.network.network import Network
from zoomdream.settings.definitions import Camera, DreamSpec, FlowBlend, Output, RenderJob
from zoomdream.settings.timeline import Timeline
from zoomdream.size import Size

SIZE = Size(64, 48)
QUICK = DreamSpec(octaves=1, steps=1)
FPS = Fraction(12)


def renderer_of(job: RenderJob, clip: Clip, network: Network) -> FrameRenderer:
    return FrameRenderer(job, clip, network, Timeline(job, job_clock(job, clip)))


def endless() -> Iterator[Frame]:
    """What a camera sees: nobody knows when it ends."""
    while True:
        yield from films.panning(3, SIZE)


@pytest.mark.parametrize("job", [RenderJob(dream=QUICK, flow=FlowBlend()), RenderJob(dream=QUICK)])
def test_a_clip_of_unknown_length_has_frames(job: RenderJob, pocket: Network) -> None:
    frames = renderer_of(job, Clip(FPS, SIZE, None, endless()), pocket).frames()
    live = list(islice(frames, 5))
    frames.close()
    assert [rendered.number for rendered in live] == list(range(5))
    known = Clip(FPS, SIZE, 5, islice(endless(), 5))
    recorded = list(renderer_of(job, known, pocket).frames())
    for one, other in zip(live, recorded, strict=True):
        assert torch.equal(one.frame, other.frame)


def test_a_grey_mask_is_laid_on_by_the_motion_alone(tmp_path: Path, pocket: Network) -> None:
    Image.new("L", (64, 48), 128).save(tmp_path / "mask.png")
    job = RenderJob(dream=QUICK, flow=FlowBlend(), mask=tmp_path / "mask.png")
    free = job.change(dream=QUICK.change(colors="free"))
    source = films.panning(1, SIZE)[0]
    renderer = renderer_of(free, Clip(FPS, SIZE, 1, iter([source])), pocket)
    frame = next(renderer.frames()).frame
    assert torch.allclose(frame, source + renderer.state["dream"], atol=1e-6)


def test_a_clip_of_unknown_length_may_end(pocket: Network) -> None:
    """What changes over time is laid out for ten seconds, and then begins again."""
    job = RenderJob(dream=QUICK, flow=FlowBlend(strength={"0%": 0.5, "100%": 2.5}))
    clip = Clip(FPS, SIZE, None, iter(films.panning(4, SIZE)))
    assert job_clock(job, clip).frames == 120
    assert len(list(renderer_of(job, clip, pocket).frames())) == 4


def test_a_loop_of_unknown_length_is_refused(photo: Frame, pocket: Network) -> None:
    job = RenderJob(dream=QUICK, output=Output(loop=True))
    with pytest.raises(UsageError, match=r"output\.loop: a film of unknown length has no end"):
        renderer_of(job, still_clip(photo, FPS, None), pocket)


class CountedFrame(Tensor):
    """A picture that counts how often it is moved to a device."""

    moves = 0
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def to(self, *places: Any, **more: Any) -> Tensor:
        type(self).moves += 1
        return self.as_subclass(Tensor).to(*places, **more)


@pytest.mark.parametrize("loop", [False, True])
def test_a_stills_picture_is_moved_to_the_device_once(
    loop: bool, photo: Frame, pocket: Network
) -> None:
    CountedFrame.moves = 0
    still = photo.clone().as_subclass(CountedFrame)
    job = RenderJob(dream=QUICK, camera=Camera(zoom=1.2), output=Output(loop=loop))
    clip = Clip(FPS, Size.of(photo), 5, repeat(still, 5))
    plain = list(renderer_of(job, still_clip(photo, FPS, 5), pocket).frames())
    counted = list(renderer_of(job, clip, pocket).frames())
    assert CountedFrame.moves == 1
    for one, other in zip(plain, counted, strict=True):
        assert torch.equal(one.frame, other.frame)
