"""A network's operations: each computes its value forward, and the gradient of its inputs backward.

Autograd stores and calls more than gradient ascent on a picture needs, which asks for no gradient of a
weight. Here a convolution includes the ReLU after it; its backward is a convolution too, with the weights
flipped and packed once; what can be computed in place is. An operation without a rule of its own is left
to autograd (`AutogradOperation`), which is the plain reference of all the others: tests compare them.

Values may be more precise than gradients: a backward computes in the precision of the gradient it gets.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Pair = tuple[int, int]
Saved = dict[str, Any]
"""What one operation's forward saves for its backward, in one pass over a network."""

NHWC = torch.channels_last
PACKED_BYTES = 20_000_000  # bytes of one convolution's weights, in all packed layouts together
MOST_LAYOUTS = 12  # layouts of one convolution's weights: for the sizes of octaves, and some tiles


class Operation(Protocol):
    """One operation. It may be used in several threads at once: what a pass saves is the pass's own."""

    def forward(self, saved: Saved, *inputs: Any) -> Any:
        """Computes the value of the inputs, and saves what `backward` will need."""

    def backward(self, saved: Saved, gradient: Tensor) -> Sequence[Tensor | None]:
        """Computes the gradient of each input from that of the value; may write over `gradient`."""


class Convolution:
    """A convolution, and the ReLU after it where nothing else uses the value between them."""

    def __init__(
        self,
        module: nn.Conv2d,
        like: Tensor,
        backward_like: Tensor,
        relu: bool,
        masks: bool,
        packs: bool = True,
    ) -> None:
        """like, backward_like: tensors of the device and precision that forward and backward compute in.
        relu: whether it includes a ReLU. masks: whether that ReLU's backward is computed here, and not by
        the operation that uses the value. packs: see `PackedConvolution`."""
        weight = module.weight.detach()
        bias = None if module.bias is None else module.bias.detach().to(like)
        stride, padding, dilation = map(pair, (module.stride, module.padding, module.dilation))
        self._masks, self._precision = masks, backward_like.dtype
        geometry = stride, padding, dilation, module.groups
        self._forward = PackedConvolution(weight.to(like), bias, *geometry, relu, packs)
        reach = tuple(
            d * (k - 1) - p for d, k, p in zip(dilation, weight.shape[2:], padding, strict=True)
        )
        depthwise = module.groups == len(weight) == module.in_channels
        weight = weight.to(backward_like)
        if stride == (1, 1) and min(reach) >= 0 and (module.groups == 1 or depthwise):
            flipped = weight.flip(2, 3)
            flipped = flipped if depthwise else flipped.transpose(0, 1)
            geometry = stride, (reach[0], reach[1]), dilation, module.groups
            self._backward: PackedConvolution | StridedBackward = PackedConvolution(
                flipped, None, *geometry, packs=packs
            )
        else:
            self._backward = StridedBackward(weight, geometry)

    def forward(self, saved: Saved, x: Tensor) -> Tensor:
        value = self._forward(x)
        saved["shape"] = x.shape
        if self._masks:
            saved["value"] = value.to(self._precision)
        return value

    def backward(
        self, saved: Saved, gradient: Tensor, add_to: Tensor | None = None
    ) -> list[Tensor]:
        """add_to: another gradient of the same input, to which this one is added in place."""
        if self._masks:
            gradient = masked(gradient, saved["value"])
        if isinstance(self._backward, PackedConvolution):
            return [self._backward(gradient, add_to)]
        input_gradient = self._backward(gradient, saved["shape"])
        return [input_gradient if add_to is None else add_to.add_(input_gradient)]


class PackedConvolution:
    """A convolution whose weights are packed once for the processor (oneDNN), and not at each call.

    Elsewhere, and with `packs=False`, it is `F.conv2d`, and a ReLU if it has one.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
        relu: bool = False,
        packs: bool = True,
    ) -> None:
        """relu: whether a ReLU follows. packs: whether weights are packed, where oneDNN takes them so."""
        self._weight, self._bias, self._relu = weight.contiguous(memory_format=NHWC), bias, relu
        self._geometry = stride, padding, dilation, groups
        self._layouts: dict[torch.Size, Tensor] = {}  # packed weights by the input's size
        self._layouts_lock = threading.Lock()
        self._most_layouts = max(1, min(MOST_LAYOUTS, PACKED_BYTES // max(1, self._weight.nbytes)))
        self._packs = packs and weight.device.type == "cpu" and takes_packed_weights(weight.dtype)
        self._adds = self._packs and _adds_in_place(weight.dtype)

    def __call__(self, x: Tensor, add_to: Tensor | None = None) -> Tensor:
        """add_to: a tensor to which the value, without a ReLU, is added in place."""
        x = x.contiguous(memory_format=NHWC)
        stride, padding, dilation, groups = self._geometry
        if add_to is not None:
            if not self._adds or not add_to.is_contiguous(memory_format=NHWC):
                return add_to.add_(self(x))
            total: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
                add_to, x, self._packed(x.shape), self._bias, padding, stride, dilation, groups,
                "add", 1.0, None, [], None,
            )  # fmt: skip
            return total
        if not self._packs:
            value = F.conv2d(x, self._weight, self._bias, stride, padding, dilation, groups)
            return value.relu_() if self._relu else value
        packed_value: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._packed(x.shape), self._bias, padding, stride, dilation, groups,
            "relu" if self._relu else "none", [], "",
        )  # fmt: skip
        return packed_value

    @property
    def layouts(self) -> int:
        """How many packed layouts of the weights it keeps."""
        return len(self._layouts)

    def _packed(self, size: torch.Size) -> Tensor:
        """The weights packed for inputs of a size: packed for another, they would be again at each call."""
        with self._layouts_lock:
            packed = self._layouts.get(size)
            if packed is None:
                if len(self._layouts) >= self._most_layouts:
                    del self._layouts[next(iter(self._layouts))]
                stride, padding, dilation, groups = self._geometry
                packed = torch.ops.mkldnn._reorder_convolution_weight(
                    self._weight, padding, stride, dilation, groups, list(size)
                )
                self._layouts[size] = packed
            return packed


class StridedBackward:
    """The backward of a convolution where that is no convolution itself, as with a stride."""

    def __init__(self, weight: Tensor, geometry: tuple[Pair, Pair, Pair, int]) -> None:
        """geometry: stride, padding, dilation and groups of the forward."""
        self._weight, self._geometry = weight.contiguous(memory_format=NHWC), geometry

    def __call__(self, gradient: Tensor, size: torch.Size) -> Tensor:
        """Computes the gradient of an input of a size."""
        gradient = gradient.contiguous(memory_format=NHWC)
        stride, padding, dilation, groups = self._geometry
        input_gradient: Tensor = torch.ops.aten.convolution_backward(
            gradient, _of_shape(gradient, size), self._weight, None, stride, padding, dilation,
            False, (0, 0), groups, (True, False, False),
        )[0]  # fmt: skip
        return input_gradient


def _of_shape(like: Tensor, size: torch.Size) -> Tensor:
    """A tensor of which only the shape is read; its values are arbitrary."""
    return torch.empty(size, dtype=like.dtype, device=like.device, memory_format=NHWC)


@cache
def takes_packed_weights(dtype: torch.dtype) -> bool:
    """Whether oneDNN takes packed weights on this machine (as torch's own compiler packs them).

    Tries it on small tensors, since it is no documented part of torch.
    """
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    try:
        x, packed, geometry = _small_convolution(dtype)
        value = torch.ops.mkldnn._convolution_pointwise(x, packed, None, *geometry, "relu", [], "")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return bool((value[..., 1:-1, 1:-1] == 36).all())


@cache
def _adds_in_place(dtype: torch.dtype) -> bool:
    """Whether oneDNN also adds a convolution's value to another tensor in place; tried likewise."""
    try:
        x, packed, geometry = _small_convolution(dtype)
        total = torch.ones_like(x)
        torch.ops.mkldnn._convolution_pointwise_.binary(
            total, x, packed, None, *geometry, "add", 1.0, None, [], None
        )
    except (AttributeError, RuntimeError, TypeError):
        return False
    return bool((total[..., 1:-1, 1:-1] == 37).all())


def _small_convolution(dtype: torch.dtype) -> tuple[Tensor, Tensor, Any]:
    """An input, packed weights and a geometry, to try; away from the border the value is 36."""
    x, weight = (torch.ones(shape, dtype=dtype) for shape in ((1, 4, 8, 8), (4, 4, 3, 3)))
    geometry = (1, 1), (1, 1), (1, 1), 1
    packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *geometry, [1, 4, 8, 8])
    return x.contiguous(memory_format=NHWC), packed, geometry


def masked(gradient: Tensor, value: Tensor) -> Tensor:
    """The gradient where a ReLU's value is above 0, and 0 elsewhere; in place where possible."""
    if gradient.is_contiguous(memory_format=NHWC):
        in_place: Tensor = torch.ops.aten.threshold_backward.grad_input(
            gradient, value, 0, grad_input=gradient
        )
        return in_place
    return cast(Tensor, torch.ops.aten.threshold_backward(gradient, value, 0))


class Stem:
    """A network's first convolution, with a stride; its backward works on blocks of stride x stride pixels.

    Its values are those of the plain convolution. Three channels are too few for a processor's vectors,
    and the backward of a strided convolution is slow: in blocks there are twelve channels, or forty-eight,
    at a stride of 1.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: int,
        pads: Pair,
        like: Tensor,
        backward_like: Tensor,
        relu: bool,
        masks: bool,
        edge: bool = False,
        packs: bool = True,
    ) -> None:
        """pads: pixels of zeros before and after each axis; in blocks those before are rounded up to whole
        blocks. edge: whether an odd last row or column is repeated to fill its block (as pocket does), or
        zeros follow. The others as for `Convolution`."""
        before, after = pads
        size = weight.shape[2]
        self._stride, self._pads, self._edge = stride, pads, edge
        self._masks, self._precision = masks, backward_like.dtype
        bias = None if bias is None else bias.to(like)
        self._pads_evenly = before == after  # then the convolution pads by itself
        inside = before if self._pads_evenly else 0
        self._forward = PackedConvolution(
            weight.to(like), bias, (stride, stride), (inside, inside), (1, 1), 1, relu, packs
        )
        self._lead = -(-before // stride)  # blocks of padding before
        taps = self._lead + (size - 1 - before) // stride + 1  # blocks that a window covers
        whole = weight.new_zeros(len(weight), weight.shape[1], taps * stride, taps * stride)
        first = self._lead * stride - before
        whole[:, :, first : first + size, first : first + size] = weight
        in_blocks = F.pixel_unshuffle(whole, stride)
        flipped = in_blocks.flip(2, 3).transpose(0, 1).to(backward_like)
        self._backward = PackedConvolution(
            flipped, None, (1, 1), (taps - 1, taps - 1), (1, 1), 1, packs=packs
        )

    def forward(self, saved: Saved, x: Tensor) -> Tensor:
        saved["shape"] = x.shape[-2:]
        odd_height, odd_width = self._odd(x.shape[-2:])
        if odd_height or odd_width:
            x = F.pad(x, (0, odd_width, 0, odd_height), mode="replicate")
        value = self._forward(x if self._pads_evenly else F.pad(x, self._pads * 2))
        if self._masks:
            saved["value"] = value.to(self._precision)
        return value

    def _odd(self, size: Sequence[int]) -> list[int]:
        """How many rows and columns are repeated: 0 or 1 each."""
        return [length % 2 if self._edge else 0 for length in size]

    def backward(self, saved: Saved, gradient: Tensor) -> list[Tensor]:
        if self._masks:
            gradient = masked(gradient, saved["value"])
        planes = F.pixel_shuffle(self._backward(gradient), self._stride)
        height, width = saved["shape"]
        odd_height, odd_width = self._odd(saved["shape"])
        lead = self._lead * self._stride
        missing_rows = height + odd_height + lead - planes.shape[2]  # beyond the last window
        missing_columns = width + odd_width + lead - planes.shape[3]
        planes = F.pad(planes, (-lead, missing_columns, -lead, missing_rows))
        if odd_width:
            planes[..., -2] += planes[..., -1]
        if odd_height:
            planes[..., -2, :] += planes[..., -1, :]
        return [planes[..., :height, :width]]


class BlurPool:
    """Pocket's binomial blur and halving; its backward is a bilinear doubling, times a quarter."""

    def __init__(self, kernel: Tensor, packs: bool = True) -> None:
        """kernel: (C, 1, 3, 3). packs: see `PackedConvolution`."""
        self._forward = PackedConvolution(
            kernel, None, (2, 2), (1, 1), (1, 1), len(kernel), packs=packs
        )

    def forward(self, saved: Saved, x: Tensor) -> Tensor:
        saved["shape"] = x.shape[-2:]
        return self._forward(x)

    def backward(self, saved: Saved, gradient: Tensor) -> list[Tensor]:
        height, width = gradient.shape[-2:]
        quarter = F.pad(gradient * 0.25, (0, 1, 0, 1)).contiguous(memory_format=NHWC)
        size = 2 * height + 1, 2 * width + 1
        doubled = F.interpolate(quarter, size, mode="bilinear", align_corners=True)
        input_height, input_width = saved["shape"]
        return [doubled[..., :input_height, :input_width]]


class Cast:
    """Rounds a value to a precision; its gradient, which has that already, is handed on."""

    def __init__(self, precision: torch.dtype) -> None:
        self._precision = precision

    def forward(self, _: Saved, x: Any) -> Any:
        return in_precision(x, self._precision)

    def backward(self, _: Saved, gradient: Tensor) -> list[Tensor]:
        return [gradient]


def in_precision(value: Any, precision: torch.dtype) -> Any:
    """A tensor of floats in a precision; any other value as it is."""
    floats = isinstance(value, Tensor) and value.is_floating_point()
    return value.to(precision) if floats else value


class ReLU:
    """A ReLU that no convolution includes."""

    def __init__(self, backward_like: Tensor) -> None:
        self._precision = backward_like.dtype

    def forward(self, saved: Saved, x: Tensor) -> Tensor:
        value = x.relu()
        saved["value"] = value.to(self._precision)
        return value

    def backward(self, saved: Saved, gradient: Tensor) -> list[Tensor]:
        return [masked(gradient, saved["value"])]


class Concat:
    """Concatenates channels."""

    def forward(self, saved: Saved, *parts: Tensor) -> Tensor:
        saved["channels"] = [part.shape[1] for part in parts]
        return torch.cat(parts, 1)

    def backward(self, saved: Saved, gradient: Tensor) -> list[Tensor]:
        return list(torch.split(gradient, saved["channels"], 1))


class Add:
    """Adds two values, broadcast to each other."""

    def forward(self, saved: Saved, a: Tensor, b: Tensor) -> Tensor:
        saved["shapes"] = a.shape, b.shape
        return a + b

    def backward(self, saved: Saved, gradient: Tensor) -> list[Tensor]:
        first, second = saved["shapes"]
        return [gradient.sum_to_size(first), gradient.clone().sum_to_size(second)]


class MaxPool:
    """The largest value of each window."""

    def __init__(self, module: nn.MaxPool2d, backward_like: Tensor, rectifies: bool) -> None:
        """rectifies: whether its backward includes that of the ReLU before it: a window's gradient goes to
        its largest value, which that ReLU let through unless it is 0."""
        self._precision, self._rectifies = backward_like.dtype, rectifies
        # Metal's backward ignores the indices.
        self._reads_input = backward_like.device.type == "mps"
        size, padding = pair(module.kernel_size), pair(module.padding)
        stride = pair(module.stride if module.stride is not None else module.kernel_size)
        self._geometry = size, stride, padding, pair(module.dilation), module.ceil_mode

    def forward(self, saved: Saved, x: Tensor) -> Tensor:
        value: Tensor
        value, saved["indices"] = torch.ops.aten.max_pool2d_with_indices(x, *self._geometry)
        saved["shape"] = x.shape
        if self._reads_input:
            saved["x"] = x.to(self._precision)
        if self._rectifies:
            saved["value"] = value.to(self._precision)
        return value

    def backward(self, saved: Saved, gradient: Tensor) -> list[Tensor]:
        gradient = gradient.contiguous(memory_format=NHWC)
        if self._rectifies:
            gradient = masked(gradient, saved["value"])
        x = saved["x"] if self._reads_input else _of_shape(gradient, saved["shape"])
        backward = torch.ops.aten.max_pool2d_with_indices_backward
        return [backward(gradient, x, *self._geometry, saved["indices"])]


class RectifiedMaxPool:
    """`MaxPool` of 16-bit values none of which is below 0, quicker on a processor.

    It takes maxima along rows, then along columns, and compares bits as integers: floats that are not below
    0 have the order of their bits. So the gradient is handed on by arithmetic without indices and branches.
    Of equal values in a window one gets all of the gradient, maybe not the one that `MaxPool` takes.
    """

    def __init__(self, module: nn.MaxPool2d, rectifies: bool) -> None:
        """rectifies: as for `MaxPool`."""
        self._rectifies = rectifies
        self._size, self._padding = pair(module.kernel_size), pair(module.padding)
        self._stride = pair(module.stride)
        self._ceil = module.ceil_mode

    @staticmethod
    def pays(like: Tensor) -> bool:
        """Whether it is quicker for tensors like this one: of two bytes by half, of four it is not."""
        return like.device.type == "cpu" and like.element_size() == 2

    @staticmethod
    def fits(module: nn.MaxPool2d) -> bool:
        """Whether a pooling can be computed so: each position is in a window, and dilation is 1."""
        size, stride, padding = map(pair, (module.kernel_size, module.stride, module.padding))
        if stride == (1, 1):
            covers = all(k == 2 * p + 1 for k, p in zip(size, padding, strict=True))
        else:  # each window reaches the tap that is `padding` from its start inside the picture
            centred = all(k > 2 * p for k, p in zip(size, padding, strict=True))
            covers = centred and not (module.ceil_mode and max(padding) > 0)
        return covers and stride[0] == stride[1] and pair(module.dilation) == (1, 1)

    def forward(self, saved: Saved, x: Tensor) -> Tensor:
        bits = x.contiguous(memory_format=NHWC).view(torch.int16)
        row_maxima = self._maxima(bits, 3)
        maxima = self._maxima(row_maxima, 2)
        saved["bits"], saved["row_maxima"], saved["maxima"] = bits, row_maxima, maxima
        return maxima.view(x.dtype)

    def backward(self, saved: Saved, gradient: Tensor) -> list[Tensor]:
        gradient = gradient.contiguous(memory_format=NHWC)
        if self._rectifies:
            gradient = masked(gradient, saved["maxima"].view(gradient.dtype))
        gradient = self._maxima_backward(gradient, saved["maxima"], saved["row_maxima"], 2)
        return [self._maxima_backward(gradient, saved["row_maxima"], saved["bits"], 3)]

    def _windows(self, length: int, axis: int) -> int:
        """How many windows there are along an axis of a length."""
        size, stride, padding = (p[axis - 2] for p in (self._size, self._stride, self._padding))
        over = length + 2 * padding - size
        count = (-(-over // stride) if self._ceil else over // stride) + 1
        last_is_inside = (count - 1) * stride < length + padding  # else it has only padding
        return count if last_is_inside else count - 1

    def _taps(self, length: int, axis: int) -> Iterator[tuple[slice, slice]]:
        """For each tap of a window: the windows where it is inside, and its positions in the input.

        The first is a tap that is inside in all windows.
        """
        size, stride, padding = (p[axis - 2] for p in (self._size, self._stride, self._padding))
        windows = self._windows(length, axis)
        for tap in sorted(range(size), key=lambda tap: tap != padding):
            low = max(0, -(-(padding - tap) // stride))
            high = min(windows, (length - 1 + padding - tap) // stride + 1)
            first = low * stride + tap - padding
            yield slice(low, high), slice(first, first + (high - low - 1) * stride + 1, stride)

    def _maxima(self, bits: Tensor, axis: int) -> Tensor:
        """The largest of each window along one axis, 2 or 3."""
        (_, positions), *taps = self._taps(bits.shape[axis], axis)
        maxima = _part(bits, positions, axis).clone(memory_format=NHWC)
        for windows, positions in taps:
            part = _part(maxima, windows, axis)
            torch.maximum(part, _part(bits, positions, axis), out=part)
        return maxima

    def _maxima_backward(self, gradient: Tensor, maxima: Tensor, bits: Tensor, axis: int) -> Tensor:
        """The gradient of `bits` from that of the `maxima` taken of them along an axis.

        Each tap in turn takes the gradient of those windows whose maximum it is; what no tap has taken
        before the last one is the last one's.
        """
        remaining = gradient.view(bits.dtype)
        length, stride = bits.shape[axis], self._stride[axis - 2]
        *taps, (last_windows, last_positions) = self._taps(length, axis)
        result, begun = torch.empty_like(bits), set[int]()  # begun: phases that have been written
        scratch = torch.empty_like(maxima)

        def destination(positions: slice) -> tuple[Tensor, bool]:
            """The part of the result at some positions, and whether it is to be written and not added to."""
            phase = positions.start % stride  # taps that are a stride apart share positions
            unwritten = phase not in begun
            begun.add(phase)
            if unwritten and (positions.start >= stride or positions.stop + stride <= length):
                _part(result, slice(phase, None, stride), axis).zero_()
                unwritten = False
            return _part(result, positions, axis), unwritten

        for windows, positions in taps:
            left, (target, unwritten) = _part(remaining, windows, axis), destination(positions)
            is_maximum = _part(scratch, windows, axis)  # 1 or 0
            torch.eq(_part(maxima, windows, axis), _part(bits, positions, axis), out=is_maximum)
            taken = torch.mul(left, is_maximum, out=target if unwritten else is_maximum)
            left ^= taken
            if not unwritten:
                target.view(gradient.dtype).add_(taken.view(gradient.dtype))
        left, (target, unwritten) = (
            _part(remaining, last_windows, axis),
            destination(last_positions),
        )
        if unwritten:
            target.copy_(left)
        else:
            target.view(gradient.dtype).add_(left.view(gradient.dtype))
        for phase in set(range(stride)) - begun:
            _part(result, slice(phase, None, stride), axis).zero_()
        return result.view(gradient.dtype)


def _part(planes: Tensor, positions: slice, axis: int) -> Tensor:
    """Some rows (axis 2) or columns (axis 3)."""
    return planes[:, :, positions] if axis == 2 else planes[:, :, :, positions]


class AutogradOperation:
    """Any other operation, derived by autograd."""

    def __init__(self, call: Callable[..., Any]) -> None:
        """call: computes the value of the inputs."""
        self._call = call

    def forward(self, saved: Saved, *inputs: Any) -> Any:
        with torch.enable_grad():
            saved["leaves"] = leaves = [_leaf(value) for value in inputs]
            saved["value"] = value = self._call(*leaves)
        return value.detach() if isinstance(value, Tensor) else value

    def backward(self, saved: Saved, gradient: Tensor) -> list[Tensor | None]:
        leaves, value = saved["leaves"], saved["value"]
        derived = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]
        if not (isinstance(value, Tensor) and value.requires_grad):
            return [None] * len(leaves)
        derivatives = torch.autograd.grad(value, derived, gradient.to(value), allow_unused=True)
        like = (None if part is None else part.to(gradient) for part in derivatives)
        separate = iter(_without_shared_memory(gradient, like))
        return [
            next(separate) if isinstance(leaf, Tensor) and leaf.requires_grad else None
            for leaf in leaves
        ]


def _without_shared_memory(
    gradient: Tensor, derivatives: Iterable[Tensor | None]
) -> Iterator[Tensor | None]:
    """Derivatives none of which shares memory with another or the gradient: each may be written over."""
    used = {gradient.untyped_storage().data_ptr()}
    for derivative in derivatives:
        if derivative is not None:
            shared = derivative.untyped_storage().data_ptr() in used
            derivative = derivative.clone() if shared else derivative
            used.add(derivative.untyped_storage().data_ptr())
        yield derivative


def _leaf(value: Any) -> Any:
    """A tensor of floats as a leaf that autograd derives by; any other value as it is."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.detach().requires_grad_(True)
    return value


def pair(value: Any) -> Pair:
    """One number for both axes, or one for each, as a pair."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
