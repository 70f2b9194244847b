"""A network's operations, forth and back: each gives a value, and the gradient of what it was made from.

Autograd keeps and calls more than gradient ascent on a picture needs, which asks for no gradient of a
weight. Here a convolution takes its ReLU along; its way back is a convolution too, with its weights
turned round and packed once; what is done in place is done so. What has no rule of its own is left to
autograd, operation by operation (`Other`).

A value may be more precise than gradients are: the way back is computed in the precision of the gradient
that comes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Pair = tuple[int, int]
Saved = dict[str, Any]
"""What a step puts aside on the way forth for the way back, in one pass over a network."""


NHWC = torch.channels_last
LAID_OUT_BYTES = 20_000_000  # bytes of one convolution's weights, in all its layouts
MOST_SIZES = (
    12  # of pictures that weights are laid out for at a time: those of octaves, and some tiles
)


class Operation(Protocol):
    """One operation."""

    def forward(self, saved: Saved, *inputs: Any) -> Any:
        """Its value."""

    def backward(self, saved: Saved, gradient: Tensor) -> Sequence[Tensor | None]:
        """The gradient of each input; it may write over `gradient`."""


class Convolution:
    """A convolution, batch norm folded in, and the ReLU after it where nothing else looks between."""

    def __init__(
        self, module: nn.Conv2d, like: Tensor, backward: Tensor, relu: bool, masks: bool
    ) -> None:
        """like, back: tensors of the device and precision to compute in, forth and back. masks: whether
        the ReLU's way back is taken here, too, and not by what looks at it."""
        weight = module.weight.detach()
        bias = None if module.bias is None else module.bias.detach().to(like)
        stride, padding, dilation = map(pair, (module.stride, module.padding, module.dilation))
        self._masks, self._precision = masks, backward.dtype
        how = stride, padding, dilation, module.groups
        self._forward = PackedConvolution(weight.to(like), bias, *how, relu)
        reach = tuple(
            d * (k - 1) - p for d, k, p in zip(dilation, weight.shape[2:], padding, strict=True)
        )
        depthwise = module.groups == len(weight) == module.in_channels
        weight = weight.to(backward)
        if stride == (1, 1) and min(reach) >= 0 and (module.groups == 1 or depthwise):
            turned = weight.flip(2, 3)
            turned = turned if depthwise else turned.transpose(0, 1)
            how = stride, (reach[0], reach[1]), dilation, module.groups
            self._backward: PackedConvolution | StridedBackward = PackedConvolution(
                turned, None, *how
            )
        else:
            self._backward = StridedBackward(weight, how)

    def forward(self, saved: Saved, x: Tensor) -> Tensor:
        value = self._forward(x)
        saved["shape"] = x.shape
        if self._masks:
            saved["value"] = value.to(self._precision)
        return value

    def backward(self, saved: Saved, gradient: Tensor, onto: Tensor | None = None) -> list[Tensor]:
        """onto: a gradient of the same input, which this one is added to."""
        if self._masks:
            gradient = masked(gradient, saved["value"])
        if isinstance(self._backward, PackedConvolution):
            return [self._backward(gradient, onto)]
        found = self._backward(gradient, saved["shape"])
        return [found if onto is None else onto.add_(found)]


class PackedConvolution:
    """A convolution whose weights are laid out once as the processor wants them, and not at each call."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
        relu: bool = False,
    ) -> None:
        self._weight, self._bias, self._relu = weight.contiguous(memory_format=NHWC), bias, relu
        self._how = stride, padding, dilation, groups
        self._packed: dict[torch.Size, Tensor] = {}  # by the size of what is looked at
        self._packs = weight.device.type == "cpu" and _packs(weight.dtype)
        self._adds = self._packs and _adds(weight.dtype)

    def __call__(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """onto: what its values, without a ReLU, are added to in place."""
        x = x.contiguous(memory_format=NHWC)
        stride, padding, dilation, groups = self._how
        if onto is not None:
            if not self._adds or not onto.is_contiguous(memory_format=NHWC):
                return onto.add_(self(x))
            added: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
                onto, x, self._laid_out(x.shape), self._bias, padding, stride, dilation, groups,
                "add", 1.0, None, [], None,
            )  # fmt: skip
            return added
        if not self._packs:
            value = F.conv2d(x, self._weight, self._bias, stride, padding, dilation, groups)
            return value.relu_() if self._relu else value
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._laid_out(x.shape), self._bias, padding, stride, dilation, groups,
            "relu" if self._relu else "none", [], "",
        )  # fmt: skip
        return found

    def _laid_out(self, size: torch.Size) -> Tensor:
        """The weights as they are best for a size: another one's would be laid out anew at each call."""
        if size not in self._packed:
            if len(self._packed) >= max(1, min(MOST_SIZES, LAID_OUT_BYTES // self._weight.nbytes)):
                del self._packed[next(iter(self._packed))]
            stride, padding, dilation, groups = self._how
            self._packed[size] = torch.ops.mkldnn._reorder_convolution_weight(
                self._weight, padding, stride, dilation, groups, list(size)
            )
        return self._packed[size]


class StridedBackward:
    """The way back of a convolution that is no convolution itself, as with a stride."""

    def __init__(self, weight: Tensor, how: tuple[Pair, Pair, Pair, int]) -> None:
        """how: stride, padding, dilation and groups, as on the way forth."""
        self._weight, self._how = weight.contiguous(memory_format=NHWC), how

    def __call__(self, gradient: Tensor, size: torch.Size) -> Tensor:
        """The gradient of what was looked at, which had a size."""
        gradient = gradient.contiguous(memory_format=NHWC)
        stride, padding, dilation, groups = self._how
        found: Tensor = torch.ops.aten.convolution_backward(
            gradient, _shaped(gradient, size), self._weight, None, stride, padding, dilation,
            False, (0, 0), groups, (True, False, False),
        )[0]  # fmt: skip
        return found


def _shaped(like: Tensor, size: torch.Size) -> Tensor:
    """A tensor that is only asked for its size, and never written to."""
    return torch.empty(size, dtype=like.dtype, device=like.device, memory_format=NHWC)


@cache
def _packs(dtype: torch.dtype) -> bool:
    """Whether oneDNN takes packed weights here, as from torch's own compiler: tried on small ones."""
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    try:
        x, packed, how = _trial(dtype)
        value = torch.ops.mkldnn._convolution_pointwise(x, packed, None, *how, "relu", [], "")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return bool((value[..., 1:-1, 1:-1] == 36).all())


@cache
def _adds(dtype: torch.dtype) -> bool:
    """Whether it also adds to what is there, in place."""
    try:
        x, packed, how = _trial(dtype)
        there = torch.ones_like(x)
        torch.ops.mkldnn._convolution_pointwise_.binary(
            there, x, packed, None, *how, "add", 1.0, None, [], None
        )
    except (AttributeError, RuntimeError, TypeError):
        return False
    return bool((there[..., 1:-1, 1:-1] == 37).all())


def _trial(dtype: torch.dtype) -> tuple[Tensor, Tensor, Any]:
    x, weight = (torch.ones(shape, dtype=dtype) for shape in ((1, 4, 8, 8), (4, 4, 3, 3)))
    how = (1, 1), (1, 1), (1, 1), 1
    packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *how, [1, 4, 8, 8])
    return x.contiguous(memory_format=NHWC), packed, how


def masked(gradient: Tensor, value: Tensor) -> Tensor:
    """A gradient where a ReLU's value is above 0, and else 0; in place where that can be."""
    if gradient.is_contiguous(memory_format=NHWC):
        found: Tensor = torch.ops.aten.threshold_backward.grad_input(
            gradient, value, 0, grad_input=gradient
        )
        return found
    return cast(Tensor, torch.ops.aten.threshold_backward(gradient, value, 0))


class Stem:
    """A first convolution with a stride; its way back is one on blocks of stride x stride pixels.

    It gives the same values. Three channels are too few for a processor's vectors, and the way back
    from a stride is slow: in blocks they are twelve channels, or forty-eight, at a stride of 1.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: int,
        pads: Pair,
        like: Tensor,
        backward: Tensor,
        relu: bool,
        masks: bool,
        edge: bool = False,
    ) -> None:
        """pads: pixels of padding before and after each axis, in blocks those before are made whole ones
        of. edge: whether an odd last row or column is repeated to fill its block (as pocket does), or
        zeros follow. The others as for `Convolution`."""
        before, after = pads
        self._stride, self._pads, self._edge, self._size = stride, pads, edge, weight.shape[2]
        self._masks, self._precision = masks, backward.dtype
        bias = None if bias is None else bias.to(like)
        inside = before if before == after else 0  # padding that the convolution does by itself
        self._alike = before == after
        self._forward = PackedConvolution(
            weight.to(like), bias, (stride, stride), (inside, inside), (1, 1), 1, relu
        )
        self._lead = -(-before // stride)
        taps = self._lead + (self._size - 1 - before) // stride + 1
        spread = weight.new_zeros(len(weight), weight.shape[1], taps * stride, taps * stride)
        first = self._lead * stride - before
        spread[:, :, first : first + self._size, first : first + self._size] = weight
        turned = F.pixel_unshuffle(spread, stride).flip(2, 3).transpose(0, 1).to(backward)
        self._backward = PackedConvolution(turned, None, (1, 1), (taps - 1, taps - 1), (1, 1), 1)

    def forward(self, saved: Saved, x: Tensor) -> Tensor:
        saved["shape"] = x.shape[-2:]
        odd_height, odd_width = self._odd(x.shape[-2:])
        if odd_height or odd_width:
            x = F.pad(x, (0, odd_width, 0, odd_height), mode="replicate")
        value = self._forward(x if self._alike else F.pad(x, self._pads * 2))
        if self._masks:
            saved["value"] = value.to(self._precision)
        return value

    def _odd(self, size: Sequence[int]) -> list[int]:
        """Rows and columns that are repeated."""
        return [length % 2 if self._edge else 0 for length in size]

    def backward(self, saved: Saved, gradient: Tensor) -> list[Tensor]:
        if self._masks:
            gradient = masked(gradient, saved["value"])
        found = F.pixel_shuffle(self._backward(gradient), self._stride)
        height, width = saved["shape"]
        odd_height, odd_width = self._odd(saved["shape"])
        lead = self._lead * self._stride
        missing_rows = height + odd_height + lead - found.shape[2]  # that no window looked at
        missing_columns = width + odd_width + lead - found.shape[3]
        found = F.pad(found, (-lead, missing_columns, -lead, missing_rows))
        if odd_width:
            found[..., -2] += found[..., -1]
        if odd_height:
            found[..., -2, :] += found[..., -1, :]
        return [found[..., :height, :width]]


class BlurPool:
    """Pocket's binomial blur and halving; its way back is a bilinear doubling, at a quarter."""

    def __init__(self, kernel: Tensor) -> None:
        self._forward = PackedConvolution(kernel, None, (2, 2), (1, 1), (1, 1), len(kernel))

    def forward(self, saved: Saved, x: Tensor) -> Tensor:
        saved["shape"] = x.shape[-2:]
        return self._forward(x)

    def backward(self, saved: Saved, gradient: Tensor) -> list[Tensor]:
        height, width = gradient.shape[-2:]
        quarter = F.pad(gradient * 0.25, (0, 1, 0, 1)).contiguous(memory_format=NHWC)
        size = 2 * height + 1, 2 * width + 1
        doubled = F.interpolate(quarter, size, mode="bilinear", align_corners=True)
        high, wide = saved["shape"]
        return [doubled[..., :high, :wide]]


class Cast:
    """From here on a value is less precise; its gradient already is."""

    def __init__(self, to: torch.dtype) -> None:
        self._to = to

    def forward(self, _: Saved, x: Any) -> Any:
        return in_precision(x, self._to)

    def backward(self, _: Saved, gradient: Tensor) -> list[Tensor]:
        return [gradient]


def in_precision(value: Any, to: torch.dtype) -> Any:
    """Floats in a precision, and anything else as it is."""
    floats = isinstance(value, Tensor) and value.is_floating_point()
    return value.to(to) if floats else value


class ReLU:
    """A ReLU that stands alone."""

    def __init__(self, backward: Tensor) -> None:
        self._precision = backward.dtype

    def forward(self, saved: Saved, x: Tensor) -> Tensor:
        value = x.relu()
        saved["value"] = value.to(self._precision)
        return value

    def backward(self, saved: Saved, gradient: Tensor) -> list[Tensor]:
        return [masked(gradient, saved["value"])]


class Concat:
    """Channels side by side."""

    def forward(self, saved: Saved, *parts: Tensor) -> Tensor:
        saved["channels"] = [part.shape[1] for part in parts]
        return torch.cat(parts, 1)

    def backward(self, saved: Saved, gradient: Tensor) -> list[Tensor]:
        return list(torch.split(gradient, saved["channels"], 1))


class Add:
    """Two values, added."""

    def forward(self, saved: Saved, a: Tensor, b: Tensor) -> Tensor:
        saved["shapes"] = a.shape, b.shape
        return a + b

    def backward(self, saved: Saved, gradient: Tensor) -> list[Tensor]:
        one, other = saved["shapes"]
        return [gradient.sum_to_size(one), gradient.clone().sum_to_size(other)]


class MaxPool:
    """The largest of each window."""

    def __init__(self, module: nn.MaxPool2d, backward: Tensor, rectifies: bool) -> None:
        """rectifies: whether to take over the way back of the ReLU that x comes from: a window's
        gradient goes to its largest, which that ReLU let through unless it is 0."""
        self._precision, self._rectifies = backward.dtype, rectifies
        self._looks_again = backward.device.type == "mps"  # Metal finds the largest once more
        size, padding = pair(module.kernel_size), pair(module.padding)
        stride = pair(module.stride if module.stride is not None else module.kernel_size)
        self._how = size, stride, padding, pair(module.dilation), module.ceil_mode

    def forward(self, saved: Saved, x: Tensor) -> Tensor:
        found: Tensor
        found, saved["at"] = torch.ops.aten.max_pool2d_with_indices(x, *self._how)
        saved["shape"] = x.shape
        if self._looks_again:
            saved["x"] = x.to(self._precision)
        if self._rectifies:
            saved["value"] = found.to(self._precision)
        return found

    def backward(self, saved: Saved, gradient: Tensor) -> list[Tensor]:
        gradient = gradient.contiguous(memory_format=NHWC)
        if self._rectifies:
            gradient = masked(gradient, saved["value"])
        x = saved["x"] if self._looks_again else _shaped(gradient, saved["shape"])
        backward = torch.ops.aten.max_pool2d_with_indices_backward
        return [backward(gradient, x, *self._how, saved["at"])]


class RectifiedMaxPool:
    """The largest of each window of what is never below 0, quicker on a processor than `MaxPool`.

    First along rows, then along columns; and as whole numbers: floats that are not below 0 have the
    order of their bits, and so comparing and handing on the gradient is arithmetic that takes no
    indices and no branches. Of equals the gradient goes to one.
    """

    def __init__(self, module: nn.MaxPool2d, rectifies: bool) -> None:
        """rectifies: as for `MaxPool`."""
        self._rectifies = rectifies
        self._size, self._padding = pair(module.kernel_size), pair(module.padding)
        self._stride = pair(module.stride)
        self._ceil = module.ceil_mode

    @staticmethod
    def pays(like: Tensor) -> bool:
        """Whether it is quicker for tensors of a kind: with two bytes it is by half, with four it is not."""
        return like.device.type == "cpu" and like.element_size() == 2

    @staticmethod
    def fits(module: nn.MaxPool2d) -> bool:
        """Whether a pooling is one of these."""
        size, stride, padding = map(pair, (module.kernel_size, module.stride, module.padding))
        if stride == (1, 1):
            covers = all(k == 2 * p + 1 for k, p in zip(size, padding, strict=True))
        else:  # every window has the place that is `padding` from its beginning
            centred = all(k > 2 * p for k, p in zip(size, padding, strict=True))
            covers = centred and not (module.ceil_mode and max(padding) > 0)
        return covers and stride[0] == stride[1] and pair(module.dilation) == (1, 1)

    def forward(self, saved: Saved, x: Tensor) -> Tensor:
        bits = x.contiguous(memory_format=NHWC).view(torch.int16)
        rows = self._largest(bits, 3)
        both = self._largest(rows, 2)
        saved["bits"], saved["rows"], saved["both"] = bits, rows, both
        return both.view(x.dtype)

    def backward(self, saved: Saved, gradient: Tensor) -> list[Tensor]:
        gradient = gradient.contiguous(memory_format=NHWC)
        if self._rectifies:
            gradient = masked(gradient, saved["both"].view(gradient.dtype))
        gradient = self._handed_on(gradient, saved["both"], saved["rows"], 2)
        return [self._handed_on(gradient, saved["rows"], saved["bits"], 3)]

    def _length(self, length: int, axis: int) -> int:
        """How many windows there are along an axis."""
        size, stride, padding = (p[axis - 2] for p in (self._size, self._stride, self._padding))
        over = length + 2 * padding - size
        found = (-(-over // stride) if self._ceil else over // stride) + 1
        inside = (found - 1) * stride < length + padding  # else the last has only padding
        return found if inside else found - 1

    def _taps(self, length: int, axis: int) -> Iterator[tuple[slice, slice]]:
        """For each place in a window: the windows that have it, and where it is; one that all have first."""
        size, stride, padding = (p[axis - 2] for p in (self._size, self._stride, self._padding))
        windows = self._length(length, axis)
        for tap in sorted(range(size), key=lambda tap: tap != padding):
            low = max(0, -(-(padding - tap) // stride))
            high = min(windows, (length - 1 + padding - tap) // stride + 1)
            first = low * stride + tap - padding
            yield slice(low, high), slice(first, first + (high - low - 1) * stride + 1, stride)

    def _largest(self, bits: Tensor, axis: int) -> Tensor:
        (_, where), *taps = self._taps(bits.shape[axis], axis)
        found = _cut(bits, where, axis).clone(memory_format=NHWC)
        for windows, where in taps:
            part = _cut(found, windows, axis)
            torch.maximum(part, _cut(bits, where, axis), out=part)
        return found

    def _handed_on(self, gradient: Tensor, largest: Tensor, bits: Tensor, axis: int) -> Tensor:
        """The gradient of what the largest were taken from."""
        rest = gradient.view(bits.dtype)  # what none of the places looked at so far has taken
        length, stride = bits.shape[axis], self._stride[axis - 2]
        *taps, last = self._taps(length, axis)
        found, begun = torch.empty_like(bits), set[int]()
        aside = torch.empty_like(largest)

        def place(where: slice) -> tuple[Tensor, bool]:
            """Where to put gradients, and whether nothing is there yet."""
            apart = where.start % stride  # places so many apart from the first make a comb
            first = apart not in begun
            begun.add(apart)
            if first and (where.start >= stride or where.stop + stride <= length):
                _cut(found, slice(apart, None, stride), axis).zero_()
                first = False
            return _cut(found, where, axis), first

        for windows, where in taps:
            left, (here, first) = _cut(rest, windows, axis), place(where)
            same = _cut(aside, windows, axis)
            torch.eq(_cut(largest, windows, axis), _cut(bits, where, axis), out=same)  # 1 or 0
            taken = torch.mul(left, same, out=here if first else same)
            left ^= taken
            if not first:
                here.view(gradient.dtype).add_(taken.view(gradient.dtype))
        windows, where = last
        left, (here, first) = _cut(rest, windows, axis), place(where)
        if first:
            here.copy_(left)
        else:
            here.view(gradient.dtype).add_(left.view(gradient.dtype))
        for missing in set(range(stride)) - begun:
            _cut(found, slice(missing, None, stride), axis).zero_()
        return found.view(gradient.dtype)


def _cut(planes: Tensor, where: slice, axis: int) -> Tensor:
    return planes[:, :, where] if axis == 2 else planes[:, :, :, where]


class AutogradOperation:
    """Anything else, by autograd."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def forward(self, saved: Saved, *inputs: Any) -> Any:
        with torch.enable_grad():
            saved["leaves"] = leaves = [_leaf(part) for part in inputs]
            saved["value"] = value = self._call(*leaves)
        return value.detach() if isinstance(value, Tensor) else value

    def backward(self, saved: Saved, gradient: Tensor) -> list[Tensor | None]:
        leaves, made = saved["leaves"], saved["value"]
        wanted = [part for part in leaves if isinstance(part, Tensor) and part.requires_grad]
        if not (isinstance(made, Tensor) and made.requires_grad):
            return [None] * len(leaves)
        parts = torch.autograd.grad(made, wanted, gradient.to(made), allow_unused=True)
        same = (None if part is None else part.to(gradient) for part in parts)
        found = iter(_apart(gradient, same))
        return [
            next(found) if isinstance(part, Tensor) and part.requires_grad else None
            for part in leaves
        ]


def _apart(gradient: Tensor, found: Iterable[Tensor | None]) -> Iterator[Tensor | None]:
    """Gradients none of which shares memory with another, so that each may be written over."""
    taken = {gradient.untyped_storage().data_ptr()}
    for part in found:
        if part is not None:
            place = part.untyped_storage().data_ptr()
            part = part.clone() if place in taken else part
            taken.add(part.untyped_storage().data_ptr())
        yield part


def _leaf(part: Any) -> Any:
    if isinstance(part, Tensor) and part.is_floating_point():
        return part.detach().requires_grad_(True)
    return part


def pair(value: Any) -> Pair:
    """One number for both axes, or one for each."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
