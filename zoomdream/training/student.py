"""The student: a pocket with wider creatures, which is to take the place of the one that ships one day."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from zoomdream.network.catalog import NetworkInfo, network_info
from zoomdream.network.pocket.architecture import Blur, Fire, Pocket
from zoomdream.network.weights_file import read_weights

WIDTH = 288  # channels that the student's `creatures` squeezes to
POCKET_WIDTH = 192  # channels that those of pocket, as it ships, squeeze to


def width_of(state: Mapping[str, Tensor]) -> int:
    """Says how many channels `creatures` squeezes to, by a pocket's or a student's weights."""
    return len(state["creatures.squeeze.weight"])


class PooledBlur(Blur):
    """Computes the same blur by two averages of 2x2 in bfloat16 on a CPU, three times as fast."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.bfloat16 and x.device.type == "cpu":
            return F.avg_pool2d(F.avg_pool2d(x, 2, 1, padding=1), 2)
        return super().forward(x)


class EarlyHalvedFire(Fire):
    """Halves before it squeezes.

    It computes the same but for the border, and costs less where many channels are squeezed to many.
    """

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__(inputs, squeezed, expanded)
        self.halve = PooledBlur(inputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(self.halve(x)))
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


class Student(Pocket):
    """Pocket with wider `creatures`, at no more cost since they halve early; other stages are the same.

    width: channels that `creatures` squeezes to.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.creatures = EarlyHalvedFire(512, width, 256)
        for fire in self.modules():
            if isinstance(fire, Fire) and isinstance(fire.halve, Blur):
                fire.halve = PooledBlur(fire.halve.channels)

    @classmethod
    def shaped_as(cls, state: Mapping[str, Tensor]) -> "Student":
        """Builds a student as wide as a pocket's or a student's weights, without filling them in."""
        return cls(width_of(state))


def info_of(weights: Path) -> NetworkInfo:
    """Describes the network that a file's weights are for, pocket or a student, as the catalog does.

    Both have weights of the same names; a student's are wider. Raises WeightsError.
    """
    info = replace(network_info("pocket"), weights_file=weights)
    state = read_weights(weights)
    if not state.keys() >= info.bare().state_dict().keys() or width_of(state) == POCKET_WIDTH:
        return info
    return replace(info, name="student", build=lambda _: Student.shaped_as(state))
