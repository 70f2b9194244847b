"""What is made of frames after they were dreamt, and not dreamt on again: old paper is laid over them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from zoomdream.dreaming.line_mask import mean_inside
from zoomdream.media.frame import Frame, resize
from zoomdream.media.noise import pink_noise
from zoomdream.settings.definitions import RenderJob
from zoomdream.size import Size

_CREAM = (0.965, 0.925, 0.825)  # what white paper turns to, linear factors of R, G and B
_BROWN = (0.10, 0.19, 0.36)  # what the darkest of a stain takes away besides


class OldPaper:
    """Lays aged paper over pictures: yellowed, browned at its border, and stained by water.

    age: 0..1; 0 leaves them. seed: of the stains. White becomes the paper's colour, and black stays: colours
    are multiplied, as by a glaze.
    """

    def __init__(self, age: float, seed: int) -> None:
        self._age, self._seed = age, seed
        self._glaze: Tensor | None = None

    def __call__(self, frame: Frame, t: float) -> Frame:  # noqa: ARG002 (it is always as old)
        """frame: (N, 3, H, W)."""
        if not self._age:
            return frame
        if self._glaze is None or self._glaze.shape[-2:] != frame.shape[-2:]:
            self._glaze = _glaze(Size.of(frame), self._age, self._seed).to(frame.device)
        return frame * self._glaze


PostProcess = Callable[[Frame, float], Frame]
"""Makes of a frame, and the time at which it is shown, in seconds, what is shown then."""


def post_processes(job: RenderJob) -> list[PostProcess]:
    """Lists what is done to a job's frames after they were dreamt; the results are not dreamt on again."""
    return [OldPaper(job.paper, job.seed)]


def post_processed(frame: Frame, t: float, chain: Sequence[PostProcess]) -> Frame:
    """Applies a chain of them to a frame that is shown at t seconds, one after another."""
    for process in chain:
        frame = process(frame, t)
    return frame


def _glaze(size: Size, age: float, seed: int) -> Tensor:
    """Makes paper's colour, (1, 3, H, W) in 0..1, at 512 px and stretched: nothing in it is fine."""
    rng = torch.Generator().manual_seed(seed)
    small = size.within(512, least=8)
    cloud = _waves(small, 40, rng)
    pool = _waves(small, 9, rng)
    wet = torch.sigmoid((pool - 1.0) / 0.05)  # water stood here, and left a rim where it dried
    tide = torch.exp(-(((pool - 1.0) / 0.07) ** 2))
    brown = 0.25 + 0.16 * cloud + 0.22 * wet + 0.3 * tide + 0.6 * _rim(small)
    cream, darkening = (torch.tensor(c).view(1, 3, 1, 1) for c in (_CREAM, _BROWN))
    glaze = (1 - age) + age * (cream - darkening * brown.clamp_min(0))
    return resize(glaze, size).clamp_(0, 1)


def _waves(size: Size, across: float, rng: torch.Generator) -> Tensor:
    """Makes smooth 1/f noise, (1, 1, H, W), deviation 1, with no more than about `across` waves."""
    waves = mean_inside(pink_noise(size, rng)[:, :1], size.longer / across / 2)
    return (waves - waves.mean()) / waves.std().clamp_min(1e-6)


def _rim(size: Size) -> Tensor:
    """Grades from 0 in the middle to 1 at the border, where paper browns first; (1, 1, H, W)."""
    y, x = (torch.linspace(-1, 1, side).abs() for side in size.shape)
    return torch.maximum(y[:, None], x[None, :])[None, None] ** 8
