"""Make seeded 1/f noise, which has a photograph's spectrum and nothing in it."""

import torch
from torch import Tensor

from zoomdream.media.frame import Frame
from zoomdream.size import Size


def pink_noise(size: Size, rng: torch.Generator) -> Tensor:
    """Makes 1/f noise, (1, 3, H, W), mean 0 and deviation 1: amplitudes as of photographs (Field 1987)."""
    fy, fx = torch.fft.fftfreq(size.height)[:, None], torch.fft.rfftfreq(size.width)
    numbers = torch.randn(3, size.height, size.width // 2 + 1, 2, generator=rng)
    waves = torch.view_as_complex(numbers) / torch.hypot(fx, fy).clamp_min(1 / size.longer)
    planes: Tensor = torch.fft.irfft2(waves, s=size.shape)
    planes = planes - planes.mean((1, 2), keepdim=True)
    return (planes / planes.std((1, 2), keepdim=True))[None]


def noise_picture(size: Size, seed: int) -> Frame:
    """Makes a Frame of seeded 1/f noise: grey 0.5, deviation about 0.15, muted colour."""
    planes = pink_noise(size, torch.Generator().manual_seed(seed))
    return (0.5 + 0.15 * (0.35 * planes + 0.65 * planes[:, :1])).clamp(0, 1)
