"""Which channels of a layer are looked at: named ones, a range, or those that a picture excites most."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from zoomdream.errors import UsageError
from zoomdream.media.frame import Frame
from zoomdream.network.layer_objectives import Target, channel
from zoomdream.network.network import Network
from zoomdream.process_settings import exact_cudnn
from zoomdream.size import Size
from zoomdream.study.fourier import noise_pictures

FIRST_CHANNELS = 16  # channels of a layer, where nothing else is asked for
PICTURES_AT_ONCE = 8  # that a network looks at together


@dataclass(frozen=True)
class ChannelChoice:
    """Channels of a layer as a person chooses them.

    named: those that are named with the layer. within: first and end (not included, None: the last) of a
    range. top: how many of those that `on`, a picture, excites most. Without any of these the first ones
    are meant.
    """

    layer: str
    named: tuple[Target, ...] = ()
    within: tuple[int, int | None] | None = None
    top: int | None = None
    on: Path | None = None

    @classmethod
    def parse(
        cls, text: str, within: str | None = None, top: int | None = None, on: Path | None = None
    ) -> "ChannelChoice":
        """Reads a choice. text: as `parse_channels` takes it. within: A:B; either may be left out.

        Raises UsageError, also where channels are chosen in two ways or half a way.
        """
        layer, named = parse_channels(text)
        if text != layer and (within is not None or top is not None):
            raise UsageError(
                f"`within` and `top` choose from a whole layer: {layer} instead of {text}"
            )
        if within is not None and top is not None:
            raise UsageError("`within` and `top` both choose channels: give one")
        if (top is None) != (on is None):
            raise UsageError("`top=N` and `on=IMAGE` go together: how many, and what excites them")
        return cls(layer, tuple(named), None if within is None else _parse_range(within), top, on)

    def targets(self, network: Network, picture: Frame | None = None) -> list[Target]:
        """Lists the channels. picture: what is in `on`. Raises UsageError for those that there are not."""
        if self.top is not None and picture is not None:
            return top_channels(network, self.layer, picture, self.top)
        if self.named:
            return list(self.named)
        if self.within is None:
            first = min(FIRST_CHANNELS, network.channels[self.layer])
            return layer_channels(network, self.layer, 0, first)
        return layer_channels(network, self.layer, *self.within)


def parse_channels(text: str) -> tuple[str, list[Target]]:
    """Reads LAYER or LAYER:CHANNEL,CHANNEL,DIRECTION: the layer, and the targets in it that are named.

    Raises UsageError.
    """
    layer, colon, parts = text.partition(":")
    if "=" in text:
        raise UsageError(f'"{text}": a picture shows one thing at full weight: leave out the =')
    if not colon:
        return Target.parse(layer).layer, []
    return layer, [Target.parse(f"{layer}:{part.strip()}") for part in parts.split(",")]


def _parse_range(text: str) -> tuple[int, int | None]:
    """Reads A:B; either may be left out."""
    match = re.fullmatch(r"(\d*):(\d*)", text, re.ASCII)
    if not match:
        raise UsageError(f'`within` "{text}" is not A:B, as in 0:64 or 128:')
    return int(match[1] or 0), int(match[2]) if match[2] else None


def layer_channels(
    network: Network, layer: str, start: int = 0, stop: int | None = None
) -> list[Target]:
    """Lists each channel of a layer from `start` to before `stop`; raises UsageError for wrong ones."""
    count = network.channels[layer]
    end = count if stop is None else stop
    if not 0 <= start < end <= count:
        raise UsageError(
            f"`within={start}:{end}` is not in {layer} of {network.info.name}, which has {count} channels: "
            f"0:{min(count, 16)} would do"
        )
    return [channel(layer, number) for number in range(start, end)]


def top_channels(network: Network, layer: str, frame: Frame, count: int) -> list[Target]:
    """Finds the channels of a layer that a picture excites most for what they usually are.

    frame: (1, 3, H, W) in 0..1. A channel's mean over the map is compared with its means on pictures of
    1/f noise, which have a photograph's spectrum and nothing in it, as a standard score: (mean - mean of
    means) / deviation of means. So a channel that is always on gains nothing by it. No deviation counts as
    less than the layer's mean one, or those that noise hardly ever wakes would win with next to nothing.
    Raises UsageError where there are not so many.
    """
    channels = network.channels[layer]
    if not 1 <= count <= channels:
        raise UsageError(
            f"`top={count}` is not in {layer} of {network.info.name}, which has {channels} channels"
        )
    noises = in_batches(noise_pictures(Size.of(frame), 0))
    on_noise = torch.cat([mean_activations(network, layer, noise) for noise in noises])
    on_picture = mean_activations(network, layer, frame)[0]
    spread = on_noise.std(0)
    score = (on_picture - on_noise.mean(0)) / (spread.clamp_min(float(spread.mean())) + 1e-12)
    best = score.argsort(dim=0, descending=True, stable=True)[:count]
    return [channel(layer, int(number)) for number in best]


def in_batches(pictures: Tensor) -> Iterator[Tensor]:
    """Gives pictures (N, ...) in parts that a network can look at together."""
    for start in range(0, len(pictures), PICTURES_AT_ONCE):
        yield pictures[start : start + PICTURES_AT_ONCE]


def mean_activations(network: Network, layer: str, frames: Tensor) -> Tensor:
    """Measures each channel's mean over the map on pictures (N, 3, H, W) in 0..1: (N, C), on the CPU."""
    with torch.no_grad(), exact_cudnn:
        value = network.activations(frames.to(network.at.device))[layer]
        return value.float().mean((2, 3)).cpu()
