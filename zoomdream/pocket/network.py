"""The pocket network: small, smooth and quick, built to be dreamt rather than to win at labels.

How it differs from SqueezeNet 1.0, the teacher whose deep half it inherits:

- no max-pooling: its gradient jumps between neighbours and costs a quarter of a step. Deep stages
  blur with the binomial [1, 2, 1] before they halve (Zhang 2019, "Making convolutional networks
  shift-invariant again"), on the narrow squeezed channels; its transpose interpolates the gradient;
- early stages halve by kernels that are whole multiples of their stride (Odena et al. 2016,
  "Deconvolution and checkerboard artifacts"), and see 2x2 blocks of pixels as twelve channels, so
  that no wide tensor ever exists at the picture's full size.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STAGES = ("edges", "strokes", "patterns", "scales", "eyes", "faces", "creatures", "class")
"""Layers by name, from simple to complex; `class` holds the 1000 ImageNet class maps."""


class Blur(nn.Module):
    """Binomial blur and halving: (N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        kernel = (line[:, None] * line).expand(channels, 1, 3, 3)
        self.register_buffer("kernel", kernel.clone(), persistent=False)
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.get_buffer("kernel")
        return F.conv2d(x, kernel, stride=2, padding=1, groups=self.channels)


class Fire(nn.Module):
    """SqueezeNet's module (Iandola et al. 2016): squeeze to few channels, expand 1x1 and 3x3."""

    def __init__(self, inputs: int, squeezed: int, expanded: int, halve: bool = False) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.halve = Blur(squeezed) if halve else nn.Identity()
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.halve(self.squeeze(x)))
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


class Edges(nn.Module):
    """2x2 pixels -> 12 channels -> 32 filters: (N, 3, H, W) -> (N, 32, H / 2, W / 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv2d(12, 32, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = F.pad(
            x, (0, width % 4 and 4 - width % 4, 0, height % 4 and 4 - height % 4), mode="replicate"
        )
        blocks = F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        return F.relu(self.filters(blocks))


class Strokes(nn.Module):
    """(N, 32, H, W) -> (N, 96, H / 2, W / 2). A 4x4 kernel at stride 2 weighs all places alike."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(32, 64, 4, stride=2, padding=1)
        self.second = nn.Conv2d(64, 96, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))))


class Pocket(nn.Sequential):
    """The stages in order. Input (N, 3, H, W), normalised with ImageNet's mean and deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.edges = Edges()  # stride 2
        self.strokes = Strokes()  # stride 4
        self.patterns = Fire(96, 32, 128, halve=True)  # stride 8
        self.scales = Fire(256, 48, 192)
        self.eyes = Fire(384, 48, 192)
        self.faces = Fire(384, 64, 256)
        self.creatures = Fire(512, 64, 256, halve=True)  # stride 16
        self.add_module("class", nn.Sequential(nn.Conv2d(512, 1000, 1), nn.ReLU()))

    def features(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Every stage's name and activations, in order."""
        for name, stage in self.named_children():
            x = stage(x)
            yield name, x

    def cut(self, names: Sequence[str]) -> "Stages":
        """The stages up to the deepest of `names`."""
        return Stages(self, names)


class Stages(nn.Module):
    """Pocket's first stages; returns the named ones' activations."""

    def __init__(self, pocket: Pocket, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        last = max(STAGES.index(name) for name in names)
        self.stages = nn.ModuleDict({name: getattr(pocket, name) for name in STAGES[: last + 1]})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = {}
        for name, stage in self.stages.items():
            x = stage(x)
            if name in self.names:
                found[name] = x
        return found
