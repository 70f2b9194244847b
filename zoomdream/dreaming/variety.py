"""What a dream looks for changes slowly over time: weights of channels."""

import math

import torch

from zoomdream.dreaming.session import ChannelWeights, DreamSession
from zoomdream.settings.definitions import DreamSpec


def channel_weights_at(
    session: DreamSession, spec: DreamSpec, seed: int, t: float
) -> ChannelWeights | None:
    """Weights the channels of each objective at t seconds: a mixture that changes slowly.

    A zoom whose objective stays the same locks into whatever is its own enlargement, an eye in the
    middle for ever. Each channel's energy is multiplied by exp(variety * sin(...)), a wave of its own
    phase and of about `cycle` seconds, so that there is always something else to become. From (seed,
    t) alone. None without variety.
    """
    if spec.variety == 0:
        return None
    network = session.network
    rng, channel_weights = torch.Generator().manual_seed(seed), []
    for part in session.objectives:
        phase, pace = torch.rand(2, network.channels[part.layers[0]], generator=rng)
        waves = torch.sin(2 * math.pi * (phase + t / spec.cycle * (0.5 + pace)))
        factors = torch.exp(spec.variety * waves).view(1, -1, 1, 1)
        channel_weights.append(factors.to(network.at.device, network.at.dtype))
    return channel_weights
