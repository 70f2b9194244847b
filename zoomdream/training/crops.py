"""Draws crops of photographs and of drawn pictures for adversarial training."""

import cv2
import numpy as np
import torch
from torch import Tensor

from zoomdream.training.pictures import Picture, Rng
from zoomdream.training.pool import mix_colours


class Crops:
    """Photographs and drawn pictures, of which crops are cut, maybe mirrored and mildly recoloured."""

    def __init__(self, photos: list[Picture], drawings: list[Picture], rng: Rng) -> None:
        self.photos, self.drawings, self.rng = photos, drawings, rng

    def batch(self, count: int, size: int, drawn: float) -> Tensor:
        """Draws crops, (count, 3, size, size) in 0..1. drawn: the share of drawn pictures."""
        kinds = [self.drawings if self.rng.random() < drawn else self.photos for _ in range(count)]
        crops = [self.crop(kind[int(self.rng.integers(len(kind)))], size) for kind in kinds]
        return self.recolour(as_batch(crops))

    def crop(self, picture: Picture, size: int) -> Picture:
        """Cuts a square of 0.4 to 1 of the shorter side, and makes it `size` px."""
        share = float(np.exp(self.rng.uniform(np.log(0.4), 0)))
        side = int(min(picture.shape[:2]) * share)
        top, left = (int(self.rng.integers(length - side + 1)) for length in picture.shape[:2])
        crop = resize_square(picture[top : top + side, left : left + side], size)
        return crop[:, ::-1] if self.rng.random() < 0.5 else crop

    def recolour(self, crops: Tensor) -> Tensor:
        """Changes each crop's contrast, saturation and tint a little."""
        count = len(crops)
        mix = np.eye(3) + self.rng.normal(size=(count, 3, 3)) * 0.04
        saturation = self.rng.uniform(0.7, 1.3, (count, 1, 1))
        mix = mix @ (saturation * np.eye(3) + (1 - saturation) / 3)
        mix = mix * self.rng.uniform(0.75, 1.25, (count, 1, 1))
        return mix_colours(crops, mix, self.rng.normal(size=(count, 3, 1, 1)) * 0.05)


def central_square(picture: Picture, size: int) -> Picture:
    """Cuts the largest square about the middle, and makes it `size` px."""
    side = min(picture.shape[:2])
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    return resize_square(picture[top : top + side, left : left + side], size)


def resize_square(picture: Picture, size: int) -> Picture:
    """Resizes a square picture to `size` px."""
    shrinks = picture.shape[0] > size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(picture, (size, size), interpolation=method).astype(np.uint8)


def as_batch(pictures: list[Picture]) -> Tensor:
    """Stacks pictures of one size, (N, 3, H, W) in 0..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous().float() / 255
