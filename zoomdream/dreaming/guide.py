"""The guide: what a dream is to be made of, taken from other pictures.

Mordvintsev et al. (2015), google/deepdream, cell 27: at each position of a layer the dream is drawn
not to what is there, but to whichever of the guide's feature vectors matches best (largest dot
product), so that the guide's motifs grow where the picture is a little like them. That is the style
`best`. From one frame of a clip to the next the best match jumps, and the dream flickers; `soft`
takes instead the mean of all the guide's vectors, weighted by the softmax of their matches, which
moves only as far as the picture does. On the sample clip, at equal strength, what dreaming adds to the
warp error is a fifth of that of `best` at pocket's `patterns` (as much as without a guide); at `eyes` and
`creatures` both are steadier than a dream without a guide, and hardly differ.

Several pictures take turns: a folder's by name, a clip's as it runs along. Which one it is, and how far
it has gone over into the next, comes from the time alone, so that a render can be resumed anywhere.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from zoomdream.dreaming.slideshow import open_guide
from zoomdream.errors import UsageError
from zoomdream.media.frame import as_frame
from zoomdream.network.network import Network
from zoomdream.settings.model import Guide, RenderJob

MOST_POSITIONS = 1024  # positions of a guide that are matched with, in each layer
MATCHES_AT_ONCE = 1 << 22  # matches that are held at once, in one layer
SHARPNESS = 4.0  # of the softmax over matches
_HELD = 3  # pictures whose features are kept
Style = Literal["best", "soft"]
Seed = Callable[[Tensor, Tensor], Tensor]
"""From a layer's values and their own seed, both (1, C, H, W), the guided seed of that shape."""


@dataclass(frozen=True)
class Features:
    """What a guide shows to one layer: feature vectors (M, C), and the same by their mean length."""

    vectors: Tensor
    scaled: Tensor

    @classmethod
    def of(cls, value: Tensor) -> "Features":
        """From a layer's values on the guide, (1, C, H, W): of `MOST` positions at most.

        Which ones is always the same, and follows no grid.
        """
        vectors = value[0].flatten(1).T
        if len(vectors) > MOST_POSITIONS:
            order = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(2015))
            vectors = vectors[order[:MOST_POSITIONS].sort().values.to(vectors.device)]
        length = vectors.float().norm(dim=1).mean().clamp_min(1e-6)
        return cls(vectors.contiguous(), (vectors / length).contiguous())

    def seed(self, value: Tensor, style: Style) -> Tensor:
        """The guided seed of a layer's values (1, C, H, W): at each position what matches there."""
        here = value[0].flatten(1).T
        match = _best if style == "best" else _soft
        rows = max(1, MATCHES_AT_ONCE // len(self.vectors))
        found = torch.cat([match(part, self) for part in torch.split(here, rows)])
        return found.T.reshape(value.shape)

    def likeness(self, value: Tensor) -> float:
        """How well a layer's values (1, C, H, W) are matched: the mean best cosine, up to 1."""
        here = F.normalize(value[0].flatten(1).T, dim=1)
        there = F.normalize(self.vectors, dim=1)
        rows = max(1, MATCHES_AT_ONCE // len(there))
        best = [(part @ there.T).amax(1) for part in torch.split(here, rows)]
        return float(torch.cat(best).float().mean())


def _matches(values: Tensor, guide: Features) -> Tensor:
    """(N, M) from (N, C): dot products, by the lengths of the place's vector and of the guide's mean one.

    So they are about 0 to 2 whatever the layer, and strong features win, as they do where lengths are left.
    """
    return F.normalize(values.float(), dim=1).to(values.dtype) @ guide.scaled.T


def _best(values: Tensor, guide: Features) -> Tensor:
    """(N, C) from (N, C): the guide's vector of the largest dot product."""
    return guide.vectors[_matches(values, guide).argmax(1)]


def _soft(values: Tensor, guide: Features) -> Tensor:
    """(N, C) from (N, C): the mean of the guide's vectors, by the softmax of their matches."""
    shares = torch.softmax(SHARPNESS * _matches(values, guide).float(), 1)
    return shares.to(values.dtype) @ guide.vectors


class GuideSource:
    """Guides a network's targets: whole layers, each by its own features of the guide's pictures.

    Single channels and classes, which there is nothing to match in, go on looking for their own. style:
    where the settings name none. limit, length: see `open_guide`. Raises InputError, and UsageError
    where no target is a whole layer.
    """

    def __init__(
        self, spec: Guide, network: Network, limit: int, length: float, style: Style = "best"
    ) -> None:
        self._guided = [target.channel is None for target in network.targets]
        if not any(self._guided):
            raise UsageError(
                "a guide is matched with whole layers, and single channels are all that is wanted: add "
                f"one such as --layer {network.info.layers[0].partition('=')[0]}"
            )
        self._network, self._style = network, style
        self._turns = open_guide(spec, network.info.least, limit, length)
        self._features: OrderedDict[int, list[Features]] = OrderedDict()

    def seeds(self, spec: Guide, t: float) -> list[Seed | None]:
        """What guides each target at t seconds, as `Network.guides` takes it. spec: as it is then."""
        here, there, share = self._turns.at(t)
        now, after = self.features(here), self.features(there) if share else None
        style = spec.style or self._style

        def guide(number: int) -> Seed:
            def seed(value: Tensor, own: Tensor) -> Tensor:
                found = now[number].seed(value, style)
                if after is not None:
                    found = found.lerp(after[number].seed(value, style), share)
                return found if spec.amount == 1 else own.lerp(found, spec.amount)

            return seed

        return [guide(number) if guided else None for number, guided in enumerate(self._guided)]

    @torch.no_grad()
    def features(self, picture: int) -> list[Features]:
        """Of one of the guide's pictures, for each target."""
        if picture not in self._features:
            frame = as_frame(self._turns.pictures[picture]).to(self._network.at.device)
            self._features[picture] = [Features.of(v) for v in self._network.values(frame)]
            while len(self._features) > _HELD:
                self._features.popitem(last=False)
        return self._features[picture]


def guide_of(
    job: RenderJob, network: Network, length: float = 0.0
) -> Callable[[Guide, float], Sequence[Seed | None] | None]:
    """What guides a network, by the settings at a time and the time; always None without a guide.

    length: seconds that the film lasts. Raises as `Guiding` does.
    """
    if job.guide.picture is None:
        return lambda *_: None
    style: Style = "soft" if job.flow else "best"
    return GuideSource(job.guide, network, job.max_pixels, length, style).seeds
