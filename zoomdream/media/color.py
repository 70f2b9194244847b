"""Colour spaces: luma and chroma planes, linear light, and CIE L*a*b*."""

import torch
from torch import Tensor

from zoomdream.media.frame import Frame

_LEAST_DEVIATION = 0.001  # of colours, below which there is nothing to match
# Rows: luma (Rec. 709 weights on encoded values), blue and red difference. Own inverse below.
_OPPONENT = torch.tensor(
    [[0.2126, 0.7152, 0.0722], [-0.1146, -0.3854, 0.5], [0.5, -0.4542, -0.0458]]
)


def to_opponent(frame: Frame) -> Tensor:
    """Converts to luma and two chroma planes, (N, 3, H, W): linear in encoded values, as BT.709's Y'CbCr."""
    return torch.einsum("ij,njhw->nihw", _OPPONENT.to(frame.device), frame)


def from_opponent(planes: Tensor) -> Frame:
    """Converts back what `to_opponent` gave; not clipped."""
    inverse = torch.linalg.inv(_OPPONENT.double()).float().to(planes.device)
    return torch.einsum("ij,njhw->nihw", inverse, planes)


def encode_srgb(light: Tensor) -> Tensor:
    """Encodes linear light 0..1 as sRGB does (IEC 61966-2-1)."""
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def to_lab(frame: Frame) -> Tensor:
    """Converts to CIE L*a*b* (D65), (N, 3, H, W): L 0..100."""
    linear = torch.where(
        frame <= 0.04045, frame / 12.92, ((frame.clamp_min(0) + 0.055) / 1.055) ** 2.4
    )
    matrix = frame.new_tensor(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
         [0.0193339, 0.1191920, 0.9503041]]
    )  # fmt: skip
    xyz = torch.einsum("ij,njhw->nihw", matrix, linear)
    xyz = xyz / frame.new_tensor([0.95047, 1.0, 1.08883]).view(1, 3, 1, 1)
    f = torch.where(
        xyz > 216 / 24389, xyz.clamp_min(1e-9) ** (1 / 3), (24389 / 27 * xyz + 16) / 116
    )
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def color_covariance(planes: Tensor) -> Tensor:
    """Measures the covariance of the three planes of each frame, (N, 3, 3)."""
    pixels = planes.flatten(2)
    pixels = pixels - pixels.mean(2, keepdim=True)
    return pixels @ pixels.transpose(1, 2) / pixels.shape[2]


def mixed(planes: Tensor, matrix: Tensor) -> Tensor:
    """Multiplies the three planes of frames (N, 3, H, W) at each place by matrices (1 or N, 3, 3)."""
    columns = matrix[..., None, None].unbind(2)
    total = columns[0] * planes[:, :1]
    for column, plane in zip(columns[1:], torch.split(planes, 1, 1)[1:], strict=True):
        total.addcmul_(column, plane)
    return total


def transport_maps(now: Tensor, wanted: Tensor, rate: float, limit: float) -> Tensor:
    """Computes matrices (N, 3, 3) that draw covariances towards others, both (N, 3, 3).

    The linear map of Monge and Kantorovich, which turns one covariance S into another, T, and moves colours
    least: A = S^-1/2 (S^1/2 T S^1/2)^1/2 S^-1/2 (Pitie and Kokaram 2007, "The linear Monge-Kantorovitch
    linear colour mapping for example-based colour transfer"). A is symmetric and stretches colours along
    three axes; we take a power of these factors, `rate`, and keep them within `limit` and its inverse.
    """
    least = _LEAST_DEVIATION**2 * torch.eye(3, dtype=torch.float64)
    root = symmetric_power(now.cpu().double() + least, 0.5)
    back = symmetric_power(now.cpu().double() + least, -0.5)
    whole = back @ symmetric_power(root @ (wanted.cpu().double() + least) @ root, 0.5) @ back
    factors, axes = torch.linalg.eigh((whole + whole.mT) / 2)
    factors = (factors.clamp_min(1e-6) ** rate).clamp(1 / limit, limit)
    maps: Tensor = axes * factors[:, None] @ axes.mT
    return maps.to(now)


def symmetric_power(matrices: Tensor, exponent: float) -> Tensor:
    """Raises symmetric positive matrices (N, 3, 3) to a power, which is symmetric too."""
    factors, axes = torch.linalg.eigh(matrices)
    power: Tensor = axes * factors.clamp_min(1e-12)[:, None] ** exponent @ axes.mT
    return power
