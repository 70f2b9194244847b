"""Pictures as Fourier coefficients in decorrelated colours, which are optimised instead of pixels.

As in tensorflow/lucid (optvis/param): a coefficient counts 1/f, so that all scales grow alike, and the
colours are independent of one another, as those of photographs are not. A sigmoid keeps pixels in 0..1.
"Planes" are a picture before the sigmoid, in those colours: (N, 3, H, W).
"""

import math

import torch
from torch import Tensor

from zoomdream.dreaming.colors import NATURAL_ROOT
from zoomdream.media.color import symmetric_power
from zoomdream.media.frame import Frame
from zoomdream.size import Size

COLOURS: Tensor = NATURAL_ROOT / NATURAL_ROOT.norm(dim=0).max()
GAIN = 0.25  # of lucid's, from planes to what goes into the sigmoid
SMOOTH = 0.7  # px of the blur that fine coefficients are weakened by
CONTRAST = 0.3  # deviation of noise, before the sigmoid
NOISE_COUNT = 48  # pictures of noise at most; fewer where they are larger than 512 x 512


class FourierPictures:
    """A batch of pictures that is optimised by its `coefficients`.

    coefficients: (N, 3, H, W // 2 + 1, 2), real and imaginary; they want gradients.
    """

    def __init__(self, planes: Tensor, colours: Tensor = COLOURS) -> None:
        """planes: (N, 3, H, W), on the device to compute on; see `to_planes` and `noise_planes`.

        colours: (3, 3), what they are multiplied by.
        """
        self.size = Size.of(planes)
        self._scale = _coefficient_scale(self.size).to(planes.device)
        self._colours = colours.to(planes.device)
        spectrum = torch.fft.rfft2(planes, norm="ortho") / self._scale
        self.coefficients = torch.view_as_real(spectrum).contiguous().requires_grad_(True)

    def frames(self) -> Tensor:
        """Makes the pictures: (N, 3, H, W) in 0..1."""
        spectrum = torch.view_as_complex(self.coefficients) * self._scale
        planes = torch.fft.irfft2(spectrum, s=self.size.shape, norm="ortho")
        return torch.einsum("ij,njhw->nihw", self._colours, planes).sigmoid()


def _coefficient_scale(size: Size) -> Tensor:
    """What each coefficient counts, (H, W // 2 + 1): 1/f.

    The finest count less, as after a Gaussian blur: else the grids of strided layers show as dots.
    """
    down, across = torch.fft.fftfreq(size.height)[:, None], torch.fft.rfftfreq(size.width)
    frequency = torch.hypot(down, across)
    fine = torch.exp(-2 * (math.pi * SMOOTH * frequency) ** 2)
    return GAIN * fine / frequency.clamp_min(1 / size.longer)


def colours_of(covariance: Tensor) -> Tensor:
    """Makes colours, (3, 3), whose covariance is a multiple of the given one, and as large as `COLOURS`.

    A symmetric root: a plane stands for red, green or blue, with as much of the others as goes with it.
    """
    root = symmetric_power(covariance[None].cpu().double(), 0.5)[0].float()
    scaled: Tensor = root / root.norm(dim=0).max()
    return scaled


def to_planes(frames: Frame, colours: Tensor = COLOURS) -> Tensor:
    """Turns pictures in 0..1 into planes, from which `FourierPictures` makes them again.

    Black and white become a little less so, since a sigmoid never reaches them.
    """
    inverse = torch.linalg.inv(colours.double()).float().to(frames.device)
    return torch.einsum("ij,njhw->nihw", inverse, frames.clamp(0.02, 0.98).logit())


def noise_planes(size: Size, seed: int, least: int = 1, most: int = NOISE_COUNT) -> Tensor:
    """Draws planes of 1/f noise, (N, 3, H, W): `most` of them, or as many as fit memory, but `least`."""
    rng = torch.Generator().manual_seed(seed)
    count = max(least, min(most, most * 512**2 // size.pixels))
    white = torch.randn(count, 3, size.height, size.width // 2 + 1, 2, generator=rng)
    spectrum = torch.view_as_complex(white) * _coefficient_scale(size)
    spectrum[..., 0, 0] = 0
    planes: Tensor = torch.fft.irfft2(spectrum, s=size.shape, norm="ortho")
    return planes * (CONTRAST / planes.std())


def noise_pictures(size: Size, seed: int, most: int = NOISE_COUNT) -> Tensor:
    """Draws pictures of 1/f noise with a photograph's colours, (N, 3, H, W) in 0..1."""
    return FourierPictures(noise_planes(size, seed, most=most)).frames().detach()
