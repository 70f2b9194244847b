"""Dreams one picture at each layer of a network, at equal strength, to see what the layers see.

A layer's steps are all as large as any other's, and yet strokes burn where creatures can hardly be seen:
what counts is what a person sees (see `perception`). So that is made the same for every layer: by the size
of the steps as far as that goes, since a large step finds other shapes than a small one, and the rest by
fading the change. Washes of colour over whole areas are taken out before (see `unwashed`): what a layer
has learnt is in the forms.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from zoomdream.dreaming.ascent import dream
from zoomdream.dreaming.colors import DreamColors
from zoomdream.dreaming.session import DreamSession
from zoomdream.errors import UsageError
from zoomdream.media.frame import Frame, resize
from zoomdream.network.catalog import network_info
from zoomdream.network.device import choose_place
from zoomdream.network.layer_objectives import Target
from zoomdream.network.layers import Layer, describe_layers, network_layers
from zoomdream.network.network import load_networks
from zoomdream.process_settings import exact_cudnn
from zoomdream.settings.definitions import DreamSpec, RenderJob
from zoomdream.size import Size
from zoomdream.study.visible_change import faded, unwashed, visible_change

STRENGTH = 12.0  # RMS difference in L*a*b*, of a dream that is plain to see and not burnt
FIRST_STEP = 0.002  # tried first
NEAR_ENOUGH = 1.35  # a factor of the strength, within which fading does the rest
MOST_TRIES = 3  # dreams on the whole picture, at most


@dataclass(frozen=True)
class LayerDream:
    """A picture as it is dreamt at one layer, or one channel of it."""

    target: Target
    layer: Layer
    picture: Frame  # (1, 3, H, W)
    change: float  # RMS difference to the original in L*a*b*, as it is seen

    @property
    def caption(self) -> tuple[str, str]:
        """The layer's name, and its stride and channels."""
        channels = f"{self.layer.channels} channels"
        if self.target.channel is not None:
            one, many = self.target.channel, len(self.target.terms)
            which = f"channel {one}" if many == 1 else f"a sum of {many} channels"
            channels = f"{which} of {self.layer.channels}"
        stride = f"stride {self.layer.stride}" if self.layer.stride else "the whole picture"
        return str(self.target), f"{stride}, {channels}"


def dream_layers(
    job: RenderJob,
    picture: Frame,
    names: Sequence[str] | None = None,
    strength: float = STRENGTH,
) -> Iterator[LayerDream]:
    """Dreams a picture at each layer, from first to last; the weights are read once.

    job: its network, dream, seed and place are used. picture: (1, 3, H, W) in 0..1, which is dreamt as
    large as it is. names: NAME or NAME:CHANNEL of the layers to take; None means all. strength: RMS
    difference to the original in L*a*b*. Raises UsageError for a wrong name, or a picture that is too
    small, and WeightsError.
    """
    info = network_info(job.model)
    chosen = layer_names(job.model) if names is None else names
    if weighted := [name for name in chosen if "=" in name]:
        raise UsageError(
            f'"{weighted[0]}" has a weight, which is for dreams: all are equally strong here'
        )
    if job.dream.steps == 0:
        raise UsageError("`dream.steps=0` dreams nothing: 10 would do")
    targets = [Target.parse(name) for name in chosen]
    layers = describe_layers(info, [target.layer for target in targets])
    info.check_size(Size.of(picture))
    at = choose_place(job.device, job.precision)
    colors = DreamColors.of_job(job)
    networks = load_networks(info, targets, weights=job.weights, at=at)
    for target, layer, network in zip(targets, layers, networks, strict=True):
        original = picture.to(at.device)
        session = DreamSession(network)
        session.colors = colors
        with exact_cudnn:
            session.balance(original)
            dreamt = dream_at_strength(original, session, job.dream, strength, job.seed)
            change = visible_change(original, dreamt)
        yield LayerDream(target, layer, dreamt.cpu(), change)


def layer_names(model: str) -> list[str]:
    """Names a network's layers, from first to last."""
    return [layer.name for layer in network_layers(network_info(model))]


@torch.no_grad()
def dream_at_strength(
    picture: Frame, session: DreamSession, spec: DreamSpec, strength: float, seed: int
) -> Frame:
    """Dreams on a picture so that its visible change is `strength`.

    The size of steps is found on the picture at half its size, then corrected on the whole as long as it
    is not near. Where a layer gives no gradient the picture stays as it is.
    """
    step_size = FIRST_STEP
    small = resize(picture, _half(Size.of(picture), session.network.info.least)).clamp(0, 1)
    for before in (small, *[picture] * MOST_TRIES):
        rng = torch.Generator().manual_seed(seed)
        dreamt = dream(before, session, spec.change(step_size=step_size), rng).frame
        after = unwashed(before, dreamt)
        change = visible_change(before, after)
        if change == 0:
            return picture
        if before is picture and 1 / NEAR_ENOUGH < change / strength < NEAR_ENOUGH:
            break
        step_size = min(1.0, step_size * max(0.2, min(5.0, strength / change)))
    return faded(picture, after, strength)


def _half(size: Size, least: int) -> Size:
    """Half a size, or as little as the network takes."""
    return size.scaled(max(0.5, min(1.0, least / size.shorter)))
