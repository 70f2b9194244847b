"""The pocket network: small, smooth and quick, built to be dreamt rather than to win at labels.

It is SqueezeNet 1.0 (Iandola et al. 2016), rebuilt:

- no max-pooling: its gradient jumps between neighbours and costs a quarter of a step. Instead a
  binomial [1, 2, 1] blur before each halving (Zhang 2019, "Making convolutional networks
  shift-invariant again"), whose transpose interpolates the gradient; and on the narrow squeezed
  channels, which for a linear blur is the same as before them, but for the border;
- the wide early layers are cut to half their channels and fewer, while the deepest, which see few
  places and cost little, are squeezed to more channels than the teacher's: room to do with several what
  a maximum does with one. There the blur stands before the squeeze, for where many channels are squeezed
  to many it is the squeeze that costs;
- the first layer sees 2x2 blocks of pixels as twelve channels, which runs faster than three, and its
  8x8 pixels are a whole multiple of its stride, so that all places weigh alike (Odena et al. 2016,
  "Deconvolution and checkerboard artifacts").
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WEIGHTS = Path(__file__).parent / "pocket.safetensors"
STAGES = ("edges", "strokes", "patterns", "scales", "eyes", "faces", "creatures", "class")
"""Layers by name, from simple to complex; `class` holds maps of the 1000 ImageNet classes' answers."""
WIDTH = 288
"""Channels that `creatures` squeezes to; whoever trains a wider pocket changes this number alone."""


class Blur(nn.Module):
    """Binomial blur and halving: (N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2))."""

    stride = 2  # of its input, as a convolution has it

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        kernel = (line[:, None] * line).expand(channels, 1, 3, 3)
        self.register_buffer("kernel", kernel.clone(), persistent=False)
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.bfloat16 and x.device.type == "cpu":  # the same, three times as fast
            return F.avg_pool2d(F.avg_pool2d(x, 2, 1, padding=1), 2)
        kernel = self.get_buffer("kernel")
        return F.conv2d(x, kernel, stride=self.stride, padding=1, groups=self.channels)


class Fire(nn.Module):
    """SqueezeNet's module: squeeze to few channels, expand 1x1 and 3x3."""

    def __init__(self, inputs: int, squeezed: int, expanded: int, halve: bool = False) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.halve = Blur(squeezed) if halve else nn.Identity()
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.halve(self.squeeze(x)))
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


class EarlyHalvedFire(Fire):
    """A Fire that halves before it squeezes."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__(inputs, squeezed, expanded)
        self.halve = Blur(inputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(self.halve(x)))
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


class Edges(nn.Module):
    """8x8 pixels at stride 2, by 2x2 blocks: (N, 3, H, W) -> (N, 48, H / 2, W / 2)."""

    stride = 2  # of its input, as a convolution has it

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv2d(12, 48, 4)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if height % 2 or width % 2:
            x = torch.cat([x, x[..., -1:]], 3) if width % 2 else x
            x = torch.cat([x, x[..., -1:, :]], 2) if height % 2 else x
        blocks = F.pad(F.pixel_unshuffle(x, 2), (1, 2, 1, 2))
        return F.relu(self.filters(blocks.contiguous(memory_format=torch.channels_last)))


class Pocket(nn.Sequential):
    """The stages in order. Input (N, 3, H, W), normalised with ImageNet's mean and deviation.

    width: channels that `creatures` squeezes to; other than `WIDTH` in weights of the past.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.edges = Edges()  # stride 2
        self.strokes = nn.Sequential(  # stride 4
            Fire(48, 16, 32, halve=True), Fire(64, 16, 32), Fire(64, 32, 48)
        )
        self.patterns = Fire(96, 32, 128, halve=True)  # stride 8
        self.scales = Fire(256, 48, 192)
        self.eyes = Fire(384, 48, 192)
        self.faces = Fire(384, 96, 256)
        self.creatures = EarlyHalvedFire(512, width, 256)  # stride 16
        self.add_module("class", nn.Sequential(nn.Conv2d(512, 1000, 1)))

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
        activations = {}
        for name, stage in self.stages.items():
            x = stage(x)
            if name in self.names:
                activations[name] = x
        return activations
