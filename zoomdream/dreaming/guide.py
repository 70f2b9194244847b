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

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from zoomdream.dreaming.guide_pictures import open_guide, shown_to_network
from zoomdream.dreaming.session import DreamSession
from zoomdream.errors import UsageError
from zoomdream.media.frame import Frame, as_frame
from zoomdream.media.python_pictures import one_frame
from zoomdream.network.layer_objectives import Target
from zoomdream.network.objective import (
    Activations,
    ActivationsOf,
    Objective,
    check_weight,
    is_finite_number,
)
from zoomdream.settings.definitions import Guide as GuideSpec
from zoomdream.settings.definitions import RenderJob

MOST_POSITIONS = 1024  # positions of a guide that are matched with, in each layer
MATCHES_AT_ONCE = 1 << 22  # matches in memory at once, in one layer
SHARPNESS = 4.0  # of the softmax over matches
_MOST_HELD = 3  # pictures whose features are kept
Style = Literal["best", "soft"]


@dataclass(frozen=True)
class Features:
    """A guide's feature vectors in one layer, (M, C), and the same divided by their mean length."""

    vectors: Tensor
    scaled: Tensor

    @classmethod
    def of(cls, value: Tensor, most: int = MOST_POSITIONS) -> "Features":
        """Takes them from a layer's activations on the guide, (1, C, H, W), at `most` positions at most.

        The choice is always the same, and follows no grid.
        """
        vectors = value[0].flatten(1).T
        if len(vectors) > most:
            order = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(2015))
            vectors = vectors[order[:most].sort().values.to(vectors.device)]
        length = vectors.float().norm(dim=1).mean().clamp_min(1e-6)
        return cls(vectors.contiguous(), (vectors / length).contiguous())

    def seed(self, value: Tensor, style: Style, at_once: int = MATCHES_AT_ONCE) -> Tensor:
        """Computes the guided seed of a layer's activations (N, C, H, W): what matches at each position.

        at_once: matches in memory at a time.
        """
        match = _best if style == "best" else _soft
        rows = max(1, at_once // len(self.vectors))
        seeds = []
        for picture in value:
            positions = picture.flatten(1).T
            matched = torch.cat([match(part, self) for part in torch.split(positions, rows)])
            seeds.append(matched.T.reshape(1, *picture.shape))
        return seeds[0] if len(seeds) == 1 else torch.cat(seeds)

    def likeness(self, value: Tensor, at_once: int = MATCHES_AT_ONCE) -> float:
        """Measures how well a layer's activations (1, C, H, W) are matched: the mean best cosine, up to 1."""
        positions = F.normalize(value[0].flatten(1).T, dim=1)
        vectors = F.normalize(self.vectors, dim=1)
        rows = max(1, at_once // len(vectors))
        best = [(part @ vectors.T).amax(1) for part in torch.split(positions, rows)]
        return float(torch.cat(best).float().mean())


def _matches(values: Tensor, guide: Features) -> Tensor:
    """Matches vectors (N, C) with a guide's: dot products (N, M), divided by lengths.

    By that of each vector, and by the mean length of the guide's: so they are about 0 to 2 whatever the
    layer, and strong features still win.
    """
    return F.normalize(values.float(), dim=1).to(values.dtype) @ guide.scaled.T


def _best(values: Tensor, guide: Features) -> Tensor:
    """Replaces each vector (N, C) by the guide's of the largest dot product."""
    return guide.vectors[_matches(values, guide).argmax(1)]


def _soft(values: Tensor, guide: Features) -> Tensor:
    """Replaces each vector (N, C) by the mean of the guide's, weighted by the softmax of their matches."""
    shares = torch.softmax(SHARPNESS * _matches(values, guide).float(), 1)
    return shares.to(values.dtype) @ guide.vectors


@dataclass(frozen=True)
class GuidedLayer(Objective):
    """A whole layer that is drawn to the features of other pictures, instead of to its own.

    layer: whose activations are matched. features: of the guide's picture now, and of the one that it goes
    over into, with the share of that. amount: the guide's share; the rest is the layer's own dream.
    """

    layer: Target
    features: Features
    style: Style = "best"
    amount: float = 1.0
    next_features: Features | None = None
    next_share: float = 0.0
    weight: float = 1.0

    @property
    def name(self) -> str:
        return self.layer.name

    @property
    def layers(self) -> tuple[str, ...]:
        return self.layer.layers

    def seeds(
        self, activations: Activations, channel_weights: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Takes at each place the guide's features that match it, mixed with the layer's own seed."""
        (name,) = self.layers
        value = activations[name]
        guided = self.features.seed(value, self.style)
        if self.next_features is not None:
            guided = guided.lerp(self.next_features.seed(value, self.style), self.next_share)
        if self.amount != 1:
            own = self.layer.seeds(activations, channel_weights)[name]
            guided = own.lerp(guided, self.amount)
        return {name: guided}

    def energy(self, activations: Activations) -> Tensor:
        return self.layer.energy(activations)

    def strength_seeds(self, activations: Activations) -> tuple[dict[str, Tensor], float]:
        return self.layer.strength_seeds(activations)


@dataclass(frozen=True)
class Guide(Objective):
    """A layer guided by one picture, whose features are taken once the network is known."""

    layer: Target
    picture: Frame
    style: Style = "best"
    amount: float = 1.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Raises UsageError for another style, an amount beyond 0..1 and a weight that is not finite."""
        if self.style not in get_args(Style):
            raise UsageError(f"style {self.style!r:.60} of a guide is none of best and soft")
        if not is_finite_number(self.amount) or not 0 <= self.amount <= 1:
            raise UsageError(f"amount {self.amount!r:.60} of a guide is not in 0..1")
        check_weight(self.name, self.weight)

    @property
    def name(self) -> str:
        return f"{self.layer.name} guided"

    @property
    def fingerprint(self) -> str:
        picture = hashlib.sha256(self.picture.cpu().numpy().tobytes()).hexdigest()[:16]
        return f"{self} {self.style} {self.amount:g} {picture}"

    @property
    def layers(self) -> tuple[str, ...]:
        return self.layer.layers

    def seeds(
        self, activations: Activations, channel_weights: Tensor | None = None
    ) -> dict[str, Tensor]:
        raise NotImplementedError("a guide is bound to a network before it is dreamt of")

    def energy(self, activations: Activations) -> Tensor:
        return self.layer.energy(activations)

    def bound(self, look: ActivationsOf, least: int) -> GuidedLayer:
        """The guided layer, with the features that the network finds in the picture."""
        features = Features.of(look(shown_to_network(self.picture, least))[self.layer.layer])
        return GuidedLayer(self.layer, features, self.style, self.amount, weight=self.weight)


def guide(picture: Any, layer: str, *, style: Style = "best", amount: float = 1.0) -> Guide:
    """An objective: a layer that dreams in the motifs of another picture.

    picture: an array, tensor, PIL picture or figure (see `as_frames`). layer: a whole one, by name. style:
    the `best` match at each place, or a steadier `soft` one. amount: the guide's share, 0..1. Raises
    InputError, and UsageError for a channel, another style or another amount.
    """
    target = Target.parse(layer)
    if not target.is_layer:
        raise UsageError(f"{layer}: a guide is matched with a whole layer, without a channel")
    return Guide(target, one_frame(picture), style, amount, target.weight)


class GuideSource:
    """Guides a session's objectives: whole layers, each by its own features of the guide's pictures.

    Single channels and classes, which there is nothing to match in, go on looking for their own. style:
    where the settings name none. limit, length: see `open_guide`. Raises InputError, and UsageError
    where no objective is a whole layer.
    """

    def __init__(
        self,
        spec: GuideSpec,
        session: DreamSession,
        limit: int,
        length: float,
        style: Style = "best",
    ) -> None:
        self._network, self._objectives = session.network, session.objectives
        info = self._network.info
        if not any(part.is_layer for part in self._objectives):
            raise UsageError(
                "a guide is matched with whole layers, and single channels are all that is wanted: add "
                f"one such as `dream.layers={info.layers[0].partition('=')[0]}`"
            )
        self._style = style
        self._slideshow = open_guide(spec, info.least, limit, length)
        self._features: OrderedDict[int, dict[str, Features]] = OrderedDict()

    def objectives(self, spec: GuideSpec, t: float) -> tuple[Objective, ...]:
        """Gives the session's objectives, guided by the pictures at t seconds. spec: as it is then."""
        number, next_number, share = self._slideshow.at(t)
        features = self.features(number)
        following = self.features(next_number) if share else {}
        style = spec.style or self._style
        return tuple(
            GuidedLayer(
                part, features[part.layer], style, spec.amount,
                following.get(part.layer), share, part.weight,
            )
            if isinstance(part, Target) and part.is_layer
            else part
            for part in self._objectives
        )  # fmt: skip

    @torch.no_grad()
    def features(self, number: int) -> dict[str, Features]:
        """Takes the features of one of the guide's pictures, for each layer."""
        if number not in self._features:
            frame = as_frame(self._slideshow.pictures[number]).to(self._network.at.device)
            activations = self._network.activations(frame)
            self._features[number] = {name: Features.of(v) for name, v in activations.items()}
            while len(self._features) > _MOST_HELD:
                self._features.popitem(last=False)
        return self._features[number]


def open_guide_source(
    job: RenderJob, session: DreamSession, length: float = 0.0
) -> GuideSource | None:
    """Opens the guide of a job's dream; None without one.

    length: seconds that the film lasts. Raises as `GuideSource` does.
    """
    if job.guide.picture is None:
        return None
    style: Style = "soft" if job.flow else "best"
    return GuideSource(job.guide, session, job.max_pixels, length, style)
