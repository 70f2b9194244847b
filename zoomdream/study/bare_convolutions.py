"""Computes a network's bare convolutions, which no dream with it can be quicker than."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomdream.dreaming.ascent import Octave
from zoomdream.network.network import Network


@dataclass
class _OctaveWork:
    """One octave's convolutions: their arguments on the way there, and back."""

    steps: int
    forward: list[tuple[Any, ...]] = field(default_factory=list)
    backward: list[tuple[Tensor, Tensor, Tensor, Any]] = field(default_factory=list)

    def run(self) -> None:
        for arguments in self.forward:
            F.conv2d(*arguments)
        for gradient, x, weight, (stride, padding, dilation, groups) in self.backward:
            torch.ops.aten.convolution_backward(
                gradient, x, weight, None, stride, padding, dilation, False, (0, 0), groups,
                (True, False, False),
            )  # fmt: skip


class BareConvolutions:
    """A network's convolutions alone, there and back to their inputs, for all steps of a frame.

    flop: floating-point operations that `run` takes.
    """

    def __init__(self, network: Network, octaves: Sequence[Octave]) -> None:
        """Takes down what each convolution is given for random pictures of the octaves' sizes.

        Each is in the precision that a dream computes it in.
        """
        self.flop = 0
        self._work: list[_OctaveWork] = []
        names = {
            part: name
            for name, part in network.module.named_modules()
            if isinstance(part, nn.Conv2d)
        }

        def take_down(part: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            assert isinstance(part, nn.Conv2d)
            self._add(part, arguments[0], names[part] in network.in_float32)

        hooks = [part.register_forward_pre_hook(take_down) for part in names]
        with torch.no_grad():
            for octave in octaves:
                self._work.append(_OctaveWork(octave.steps))
                picture = torch.rand(1, 3, *octave.size.shape, device=network.at.device)
                network.activations(picture)
        for hook in hooks:
            hook.remove()

    def _add(self, module: nn.Conv2d, x: Tensor, in_float32: bool) -> None:
        """Adds a convolution of x. in_float32: on the way there."""
        geometry: Any = (module.stride, module.padding, module.dilation, module.groups)
        x = x.detach().contiguous(memory_format=torch.channels_last)
        weight = module.weight.detach().contiguous(memory_format=torch.channels_last)
        bias = None if module.bias is None else module.bias.detach()
        value = F.conv2d(x, weight, bias, *geometry)
        work = self._work[-1]
        self.flop += 4 * work.steps * weight.numel() * value.shape[2] * value.shape[3]
        arguments = [
            part.float() if in_float32 and part is not None else part for part in (x, weight, bias)
        ]
        work.forward.append((*arguments, *geometry))
        work.backward.append((torch.randn_like(value), x, weight, geometry))

    def run(self) -> None:
        """Computes all of them, once for each step."""
        for work in self._work:
            for _ in range(work.steps):
                work.run()
