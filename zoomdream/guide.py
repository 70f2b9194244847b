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

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from zoomdream.errors import InputError, UsageError
from zoomdream.footage import open_footage, play
from zoomdream.frame import Bytes, Frame, as_frame, resize, to_bytes
from zoomdream.net import Network
from zoomdream.read import read_still
from zoomdream.spec import Guide, RenderJob

LONGEST = 224  # px of a guide's longer side, as Mordvintsev has it
MOST = 1024  # positions of a guide that are matched with, in each layer
CHUNK = 1 << 22  # matches that are held at once, in one layer
SHARPNESS = 4.0  # of the softmax over matches
TURN, CLIP_TURN = 4.0, 0.25  # seconds that a picture of a folder has, and one of a clip
MOST_PICTURES = 1000  # that are taken of a clip: longer ones are looked at less often
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
        if len(vectors) > MOST:
            order = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(2015))
            vectors = vectors[order[:MOST].sort().values.to(vectors.device)]
        length = vectors.float().norm(dim=1).mean().clamp_min(1e-6)
        return cls(vectors.contiguous(), (vectors / length).contiguous())

    def seed(self, value: Tensor, style: Style) -> Tensor:
        """The guided seed of a layer's values (1, C, H, W): at each position what matches there."""
        here = value[0].flatten(1).T
        match = _best if style == "best" else _soft
        rows = max(1, CHUNK // len(self.vectors))
        found = torch.cat([match(part, self) for part in torch.split(here, rows)])
        return found.T.reshape(value.shape)

    def likeness(self, value: Tensor) -> float:
        """How well a layer's values (1, C, H, W) are matched: the mean best cosine, up to 1."""
        here = F.normalize(value[0].flatten(1).T, dim=1)
        there = F.normalize(self.vectors, dim=1)
        rows = max(1, CHUNK // len(there))
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


# --- Pictures that take turns -----------------------------------------------------------------------


@dataclass(frozen=True)
class Turns:
    """A guide's pictures, (H, W, 3) of `LONGEST` px, and the seconds that each has."""

    pictures: tuple[Bytes, ...]
    seconds: float
    fade: float

    def at(self, t: float) -> tuple[int, int, float]:
        """Which picture it is at t seconds, the next one, and how far it has gone over into that."""
        turn, count = math.floor(t / self.seconds), len(self.pictures)
        here, fade = t / self.seconds - turn, min(1.0, self.fade / self.seconds)
        share = max(0.0, (here - (1 - fade)) / fade) if fade and count > 1 else 0.0
        return turn % count, (turn + 1) % count, share


def open_guide(spec: Guide, least: int, limit: int, length: float) -> Turns:
    """A guide's pictures: one, a folder's by name, or a clip's. Raises InputError.

    least: px of a side that the network takes. limit: pixels that each may have. length: seconds that the
    film lasts, beyond which nothing of a clip is read.
    """
    assert spec.picture is not None
    path = spec.picture
    if path.is_dir():
        named = [
            p for p in sorted(path.iterdir()) if p.is_file() and p.suffix.lower() in _endings()
        ]
        if not named:
            raise InputError(f"{path} holds no pictures to be guided by: put PNG or JPEG there")
        pictures = [read_still(p, limit) for p in named]
    elif (clip := _clip(path)) is None:
        pictures = [read_still(path, limit)]
    else:
        return _from_clip(clip, spec, least, limit, length)
    shown = tuple(to_bytes(_shrunk(picture, least)) for picture in pictures)
    return Turns(shown, spec.seconds or TURN, spec.fade)


def _endings() -> set[str]:
    Image.init()
    return {*Image.registered_extensions(), ".svg", ".svgz"}


def _clip(path: Path) -> Path | None:
    """The path, if it is that of a clip."""
    try:
        with Image.open(path) as picture:
            return path if getattr(picture, "is_animated", False) else None
    except (OSError, ValueError, Image.DecompressionBombError):
        is_picture = not path.is_file() or path.suffix.lower() in _endings()
        return None if is_picture else path


def _from_clip(path: Path, spec: Guide, least: int, limit: int, length: float) -> Turns:
    """A clip's pictures, each of which has the time from it to the next."""
    footage = open_footage(path, limit)
    lasting = min(length, float(footage.end))
    seconds = max(spec.seconds or CLIP_TURN, lasting / MOST_PICTURES)
    size = _size(footage.size, least)
    frames = play(footage, size, footage.fps).frames
    every = seconds * float(footage.fps)
    count = max(1, math.ceil(lasting / seconds))
    taken: list[Bytes] = []
    for number, frame in enumerate(islice(frames, round((count - 1) * every) + 1)):
        if number == round(len(taken) * every):
            taken.append(to_bytes(frame))
    return Turns(tuple(taken), seconds, spec.fade)


def _size(natural: tuple[int, ...], least: int) -> tuple[int, int]:
    """(height, width): `LONGEST` px or less on the longer side, `least` or more on the shorter."""
    share = max(min(1.0, LONGEST / max(natural)), least / min(natural))
    height, width = (max(least, round(side * share)) for side in natural)
    return height, width


def _shrunk(picture: Frame, least: int) -> Frame:
    return resize(picture, _size(picture.shape[-2:], least)).clamp(0, 1)


# --- The guide of a film -------------------------------------------------------------------------------


class Guiding:
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
                f"one such as --layer {network.kind.layers[0].partition('=')[0]}"
            )
        self._network, self._style = network, style
        self._turns = open_guide(spec, network.kind.least, limit, length)
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
    return Guiding(job.guide, network, job.max_pixels, length, style).seeds
