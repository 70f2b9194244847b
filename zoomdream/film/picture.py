"""Dreams on pictures at their own size: `zd.dream`, and what it shares with `zd.dream_image`."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from zoomdream.dreaming.ascent import StepListener, dream, plan_octaves
from zoomdream.dreaming.colors import DreamColors, hold_palette
from zoomdream.dreaming.guide import open_guide_source
from zoomdream.dreaming.postprocess import post_processed, post_processes
from zoomdream.dreaming.rng import frame_rng
from zoomdream.dreaming.session import DreamSession
from zoomdream.dreaming.tiles import tile_side
from zoomdream.dreaming.variety import channel_weights_at
from zoomdream.errors import UsageError
from zoomdream.events import Step
from zoomdream.media.frame import Frame, cover, resize, to_bytes
from zoomdream.media.image_reader import read_mask
from zoomdream.media.python_pictures import as_frames, one_mask
from zoomdream.network.catalog import NetworkInfo
from zoomdream.network.layer_objectives import Wanted
from zoomdream.network.network import Network, load_network
from zoomdream.process_settings import exact_cudnn, freed_memory_kept
from zoomdream.settings.definitions import STILL_DREAM, DreamSpec, RenderJob
from zoomdream.settings.timeline import at_middle
from zoomdream.size import Size

BALANCE_SIDE = 512  # px of the longer side at which layers are weighed against each other

StepReporter = Callable[[Step, Callable[[], Frame]], bool | None]
"""Is given each step, and a function for the picture as it is after it; False ends the dream."""


class StepCounter:
    """Counts a still's steps over all octaves, and knows what share of the work each one is."""

    def __init__(self, size: Size, spec: DreamSpec, network: Network) -> None:
        """Raises UsageError for pictures that are too small for the network."""
        network.info.check_size(size)
        octaves = plan_octaves(size, spec, network.info.least)
        self._sizes = [octave.size for octave in octaves for _ in range(octave.steps)]
        self._work = np.cumsum([size.pixels for size in self._sizes])
        self._begun = time.monotonic()

    @property
    def total(self) -> int:
        """How many steps there are."""
        return len(self._sizes)

    @property
    def seconds(self) -> float:
        """Since the first step was begun."""
        return time.monotonic() - self._begun

    def listener(self, report: StepReporter) -> StepListener:
        """Makes a listener for `dream`, which calls `report` with each step."""
        numbers = iter(range(self.total))
        self._begun = time.monotonic()

        def on_step(objective: float, so_far: Callable[[], Frame]) -> bool | None:
            number = next(numbers)
            share = float(self._work[number] / self._work[-1])
            size = self._sizes[number]
            return report(Step(number, self.total, size, share, self.seconds, objective), so_far)

        return on_step


@torch.no_grad()
def dream_still(
    frame: Frame,
    job: RenderJob,
    session: DreamSession,
    t: float = 0.0,
    counter: StepCounter | None = None,
    on_step: StepReporter | None = None,
    mask: Frame | None = None,
) -> Frame:
    """Dreams on pictures as a job of plain numbers says; on the network's device.

    frame: (N, 3, H, W). t: seconds, at which a guide and the mix of channels are taken. mask: (1, 1, H, W),
    1 dreams and 0 stays; else the job's.
    """
    network = session.network
    frame = frame.to(network.at.device)
    if mask is None and job.mask is not None:
        mask = read_mask(job.mask, job.max_pixels)
    if mask is not None:
        mask = cover(mask, Size.of(frame)).to(frame.device)
    chain = post_processes(job)

    def whole(dreamt: Frame) -> Frame:
        dreamt = hold_palette(dreamt, frame, job.dream)
        masked = dreamt if mask is None else frame.lerp(dreamt, mask)
        return post_processed(masked, t, chain)

    def report(step: Step, so_far: Callable[[], Frame]) -> bool | None:
        return on_step(step, lambda: whole(so_far())) if on_step else None

    size = Size.of(frame)
    counter = counter or StepCounter(size, job.dream, network)
    session.tile = tile_side(network, len(frame) * size.pixels)
    with exact_cudnn, freed_memory_kept:
        balanced_on = resize(frame, size.between(network.info.least, BALANCE_SIDE)).clamp(0, 1)
        session.balance(balanced_on)
        session.colors = DreamColors.of_job(job)
        if guide := open_guide_source(job, session):
            session.objectives = guide.objectives(job.guide, t)
        dreamt = dream(
            frame, session, job.dream, frame_rng(job.seed, 0), mask,
            channel_weights_at(session, job.dream, job.seed, t), counter.listener(report),
        )  # fmt: skip
    return whole(dreamt.frame)


def shown(step: Step, so_far: Callable[[], Frame]) -> Step:
    """Gives a step its picture, which is made when it is asked for."""
    return replace(step, picture=lambda: to_bytes(so_far()))


def dream_picture(
    picture: Any,
    network: Network | NetworkInfo | str = "pocket",
    objective: Wanted = (),
    *,
    seed: int = 0,
    mask: Any = None,
    on_step: Callable[[Step], bool | None] | None = None,
    **settings: Any,
) -> Any:
    """Dreams on a picture, or on several of a size, and gives back what it was given: the same kind.

        net = zd.load("pocket", layers={"creatures": 1})
        dreamt = zd.dream(photo, net, steps=10)

    picture: an array, (H, W), (H, W, 3) or (N, H, W, 3); a tensor, (3, H, W) or (N, 3, H, W); either with
    the channels at the other end, where nothing else can be meant; a PIL picture of any mode; or a
    matplotlib figure, which gives an array. Numbers are 0..255 in 8 bits, 0..65535 in 16, and 0..1 in
    floats; other ranges are refused. All come back in colour and without alpha: grey ones as RGB, and RGBA,
    LA or (H, W, 4) as RGB over white; a PIL picture comes back upright, if its EXIF says how it is turned,
    in sRGB, if it has a colour profile, and with 8 bits. What was given is not written to, and the result
    requires no gradient. network: one that is loaded, or what `zd.load` takes: a name, or an entry for the
    catalog. objective: what to dream of, where that is not what the network was loaded for; or the setting
    `layers`. seed: the same gives the same picture. mask: a picture, of any kind too, of where to dream:
    white dreams, black stays. on_step: is called after each step (`step.picture()` is the first picture so
    far); where it returns False the dream ends there. settings: those of DreamSpec (`steps`, `step_size`,
    `octaves` ...); what changes over time is taken at the middle of six seconds.

    Raises InputError, UsageError and WeightsError.
    """
    frames, give_back = as_frames(picture)
    job = RenderJob(dream=STILL_DREAM.change(**settings), seed=seed)
    now, t = at_middle(job)
    if objective and now.dream.layers:
        raise UsageError("objective and layers both say what to dream of: give one")
    wanted = objective or now.dream.layers
    if not isinstance(network, Network):
        network, wanted = load_network(network, wanted), ()
    session = DreamSession(network, wanted)
    given_mask = None if mask is None else one_mask(mask)
    dreamt = dream_still(
        frames, now, session, t, mask=given_mask,
        on_step=None if on_step is None else lambda step, so_far: on_step(shown(step, so_far)),
    )  # fmt: skip
    return give_back(dreamt)
