"""Dreams as DeepDream is usually written, to compare with: google/deepdream, and most that came after."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from zoomdream.dreaming.ascent import Octave
from zoomdream.dreaming.rng import frame_rng
from zoomdream.media.frame import Frame
from zoomdream.network.catalog import NetworkInfo
from zoomdream.settings.definitions import DreamSpec


def textbook_dream(
    frame: Frame,
    module: nn.Module,
    info: NetworkInfo,
    octaves: Sequence[Octave],
    spec: DreamSpec,
    seed: int,
) -> Frame:
    """Dreams in float32, by autograd, with the octaves' sizes and numbers of steps.

    module: the network as its library makes it, cut; gives a dict of layers' values.
    """
    mean = frame.new_tensor(info.mean).view(1, 3, 1, 1)
    deviation = frame.new_tensor(info.deviation).view(1, 3, 1, 1)
    rng = frame_rng(seed, 0)
    detail = torch.zeros_like(frame)
    for octave in octaves:
        shape = octave.size.shape
        base = F.interpolate(frame, shape, mode="bilinear")
        picture = base + F.interpolate(detail, shape, mode="bilinear")
        for _ in range(octave.steps):
            jitter = spec.jitter
            x, y = torch.randint(-jitter, jitter + 1, (2,), generator=rng).tolist()
            with torch.enable_grad():
                rolled = picture.roll((x, y), (2, 3)).requires_grad_(True)
                values = module((rolled - mean) / deviation).values()
                loss = sum(value.square().sum() / 2 for value in values)
                (gradient,) = torch.autograd.grad(loss, rolled)
            gradient = gradient / (gradient.abs().mean() + 1e-8)
            rolled = (rolled.detach() + spec.step_size * gradient).clamp(0, 1)
            picture = rolled.roll((-x, -y), (2, 3))
        detail = picture - base
    return picture
