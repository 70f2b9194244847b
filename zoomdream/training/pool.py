"""Keeps the pictures that training sees, and draws batches of crops from them."""

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from zoomdream.size import Size
from zoomdream.training.pictures import Picture

MOST_PICTURES = 700
FAINT, SOFT = 0.2, 0.12  # shares of crops of little contrast, and without detail
Grid = np.ndarray[Any, Any]  # (H, W, 3) float32 in 0..1


class Pool:
    """Pictures, each as a pyramid, from which batches of crops are drawn, turned and recoloured by chance.

    The pictures it begins with stay; those that are added later give way to newer ones.
    """

    def __init__(self, pictures: list[Picture], seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self._lasting = len(pictures)
        self.pictures: list[list[Grid]] = []
        for picture in pictures:
            self.add(picture)

    def add(self, picture: Picture) -> None:
        """Adds a picture; where the pool is full another one goes."""
        levels: list[Grid] = [picture.astype(np.float32) / 255]
        while Size.of_channels_last(levels[-1]).shorter > 100 and len(levels) < 4:
            levels.append(
                cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            )
        if len(self.pictures) >= MOST_PICTURES:
            self.pictures.pop(int(self.rng.integers(self._lasting, len(self.pictures))))
        self.pictures.append(levels)

    def batch(self, count: int, size: int) -> Tensor:
        """Draws crops, (count, 3, size, size) in 0..1."""
        crops = torch.from_numpy(np.stack([self.crop(size) for _ in range(count)]))
        crops = crops.permute(0, 3, 1, 2).contiguous()
        crops = self.recolour(crops.clamp(0, 1))
        mixed = torch.from_numpy(self.rng.random(count) < 0.25)[:, None, None, None]
        share = torch.from_numpy(self.rng.uniform(0.2, 0.8, (count, 1, 1, 1))).float()
        crops = torch.where(mixed, crops * share + crops.flip(0) * (1 - share), crops)
        noisy = torch.from_numpy(self.rng.random((count, 1, 1, 1)) < 0.2) * 0.05
        return (crops + torch.randn_like(crops) * noisy).clamp(0, 1)

    def crop(self, size: int) -> Grid:
        """Cuts (size, size, 3) from anywhere in any picture, a little turned, maybe mirrored."""
        reach = self._lasting if self.rng.random() < 0.4 else len(self.pictures)
        levels = self.pictures[int(self.rng.integers(reach))]
        level = levels[int(self.rng.integers(len(levels)))]
        scale = float(np.exp(self.rng.uniform(np.log(0.7), np.log(1.6))))
        sides = np.array(Size.of_channels_last(level))
        room = np.maximum(sides - size / scale, 0.2 * sides) / 2
        middle = sides / 2 + self.rng.uniform(-room, room)
        turn = cv2.getRotationMatrix2D(middle.tolist(), float(self.rng.normal() * 12), scale)
        turn[:, 2] = turn[:, 2] + size / 2 - middle
        crop = cv2.warpAffine(
            level, turn, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
        if self.rng.random() < SOFT:
            crop = cv2.GaussianBlur(crop, (0, 0), float(self.rng.uniform(2, 6)))
        return crop[:, ::-1] if self.rng.random() < 0.5 else crop

    def recolour(self, crops: Tensor) -> Tensor:
        """Mixes and shifts each crop's colours, and changes its saturation and contrast."""
        count = len(crops)
        strength = self.rng.choice([0.0, 0.1, 0.35], size=(count, 1, 1))
        mix = np.eye(3) + self.rng.normal(size=(count, 3, 3)) * strength
        grey = np.full((3, 3), 1 / 3)
        saturation = self.rng.uniform(0.2, 1.6, (count, 1, 1))
        mix = mix @ (saturation * np.eye(3) + (1 - saturation) * grey)
        faint = self.rng.random((count, 1, 1)) < FAINT
        contrast = np.where(faint, 0.25, 1.0) * self.rng.uniform(0.5, 1.6, (count, 1, 1))
        mix = mix * contrast
        middle = crops.mean((2, 3), keepdim=True)
        shift = torch.from_numpy(self.rng.normal(size=(count, 3, 1, 1)) * 0.1).float()
        matrix = torch.from_numpy(mix).float()
        moved = torch.einsum("nij,njhw->nihw", matrix, crops - middle)
        return (moved + middle + shift).clamp(0, 1)
