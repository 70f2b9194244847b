"""Chooses the colours that a dream grows in: those of a picture, of natural pictures, or any.

A network's gradient knows nothing of how colours go together, and plain ascent ends in neon. So each
step's gradient, three numbers at each place, is multiplied by a covariance of colours: steepest ascent
where a change is measured by how unusual it is in a palette (in whitened colours, as tensorflow/lucid
decorrelates them for its pictures; we keep the picture and change the step).
"""

import torch
from torch import Tensor

from zoomdream.media.color import color_covariance, mixed, transport_maps
from zoomdream.media.frame import Frame
from zoomdream.media.image_reader import read_still
from zoomdream.settings.definitions import DreamSpec, RenderJob

NATURAL_ROOT = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
"""A root of the covariance of colours in ImageNet's pictures (tensorflow/lucid, color.py)."""
_MOST_STRETCHED = 4.0  # factor of colours' contrasts that holding a palette may take
_LEAST_SPREAD = 0.0075  # variances of R, G and B in all that a dream is held to at least
_VARIANCE_FLOOR = 1e-4  # of natural colours, added to a picture's: a blank one has none of its own


def natural_covariance() -> Tensor:
    """Gives the covariance of colours in natural pictures, (3, 3), of trace 3."""
    return _of_unit_size(NATURAL_ROOT @ NATURAL_ROOT.T)


def hold_palette(dreamt: Frame, source: Frame, spec: DreamSpec) -> Frame:
    """Draws the colours of whole pictures (N, 3, H, W) to their source's, where the settings want those.

    Dreams add contrast, until light and colour are harsh. The mean and covariance of colours go as far
    towards the source's as `color_amount` says, by the map of `transport_maps`; where the source is all but
    blank the dream keeps some contrast of its own. Clipped to 0..1. What grows out of lines alone is left
    as it is, or the paper around it would change; and what dreams in brightness alone has its colours.
    """
    wants_it = spec.colors == "source" and spec.color_amount > 0
    if dreamt is source or not wants_it or spec.keep_color or spec.grow:
        return dreamt
    now, wanted = (color_covariance(frame) for frame in (dreamt, source))
    missing = (_LEAST_SPREAD - _trace(wanted)).clamp_min(0)
    wanted = wanted + missing * now / _trace(now).clamp_min(1e-12)
    maps = transport_maps(now, wanted, spec.color_amount, _MOST_STRETCHED)
    middle, goal = (frame.mean((2, 3), keepdim=True) for frame in (dreamt, source))
    held = mixed(dreamt - middle, maps) + middle.lerp(goal, spec.color_amount)
    return held.clamp(0, 1)


class DreamColors:
    """Knows what a job's dreams may do to colours.

    palette: the picture whose colours are taken, where the settings name one.
    """

    def __init__(self, palette: Frame | None = None) -> None:
        self._palette = palette
        self._measured: tuple[Frame, Tensor] | None = None  # of the last source

    @classmethod
    def of_job(cls, job: RenderJob) -> "DreamColors":
        """Reads the palette that a job names, if it does. Raises InputError."""
        path = job.dream.palette
        return cls(None if path is None else read_still(path, job.max_pixels))

    def matrix(self, spec: DreamSpec, source: Frame) -> Tensor | None:
        """Gives what gradients are multiplied by, (1 or N, 3, 3) of trace 3; None where colours are free.

        source: (N, 3, H, W), the pictures whose own colours `source` means.
        """
        if spec.keep_color:  # the same change in R, G and B
            return torch.ones(1, 3, 3, device=source.device)
        if spec.colors == "free" or spec.color_amount == 0:
            return None
        whose = self._covariance(spec, source)
        return whose.lerp(torch.eye(3, device=source.device), 1 - spec.color_amount)

    def _covariance(self, spec: DreamSpec, source: Frame) -> Tensor:
        if spec.colors == "natural":
            return natural_covariance()[None].to(source.device)
        picture = source if spec.colors == "source" else self._palette
        assert picture is not None
        if self._measured is None or self._measured[0] is not picture:
            natural = _VARIANCE_FLOOR * natural_covariance().to(picture.device)
            self._measured = picture, _of_unit_size(color_covariance(picture) + natural)
        return self._measured[1].to(source.device)


def _of_unit_size(covariance: Tensor) -> Tensor:
    """Scales covariances (..., 3, 3) to a trace of 3, which is that of a step in free colours."""
    return 3 * covariance / _trace(covariance)


def _trace(covariance: Tensor) -> Tensor:
    """Sums the diagonals of matrices (..., 3, 3), (..., 1, 1)."""
    trace: Tensor = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
    return trace[..., None, None]
