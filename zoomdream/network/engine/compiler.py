"""Compiles a network into a list of operations (see `ops`), each in its precision, on one device.

An `Engine` is a network that was cut after its deepest layer; a `ForwardPass` over it gives the layers'
values, and then the gradient of the picture. The plain reference is the module itself and autograd
(`Network.activations`): an engine gives the same values and gradients, with less memory and time.
"""

import operator
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from zoomdream.network.device import Place
from zoomdream.network.engine import ops
from zoomdream.network.pocket.architecture import Blur, Edges
from zoomdream.network.tracing import trace


def fold(cut: nn.Module) -> nn.Module:
    """Folds batch norms into the convolutions before them, where nothing else uses those; in place."""
    if not isinstance(cut, GraphModule):
        return cut
    parts = dict(cut.named_modules())
    for node in cut.graph.nodes:
        norm, before = parts.get(str(node.target)), node.args[0] if node.args else None
        if not isinstance(norm, nn.BatchNorm2d) or not isinstance(before, Node):
            continue
        convolution = parts.get(str(before.target))
        if isinstance(convolution, nn.Conv2d) and len(before.users) == 1:
            cut.set_submodule(str(before.target), fuse_conv_bn_eval(convolution, norm))
            cut.set_submodule(str(node.target), nn.Identity())
    return cut


DEEP_STRIDE = 32  # px of stride at which a network counts as deep
FEW_CHANNELS = 4  # input channels, at most, of a convolution whose backward is computed in blocks


class Engine:
    """A network as a list of operations, on one device. It never changes, and may serve several threads.

    In a precision of 16 bits the backward is computed in it, and so is the forward from some layer on; the
    layers before that are computed in float32. A rounded value near 0 falls on the wrong side of a ReLU, or
    a pooling takes the wrong one of two neighbours, and every layer that follows magnifies the error: the
    earliest layers cause almost all of the difference between the gradient and float32's.
    """

    def __init__(self, cut: nn.Module, at: Place, exact_below: int, packs: bool = True) -> None:
        """cut: a network in float32 that returns a dict of its layers' values. Parts of it that autograd
        computes are used as they are, and brought to the device and precision.

        exact_below: operations whose inputs have a smaller stride than this compute their forward in
        float32; than twice this in a network that reaches a stride of `DEEP_STRIDE`. packs: whether weights
        are packed for the processor (see `ops.PackedConvolution`).
        """
        graph = cut.graph if isinstance(cut, GraphModule) else trace(cut, (Blur, Edges))
        self._modules = dict(cut.named_modules())
        self._packs = packs
        self._like = torch.empty(0, device=at.device, dtype=at.dtype)  # of gradients
        self._like_exact = torch.empty(0, device=at.device)
        self._aliases: dict[Node, Node] = {}  # nodes that only hand on another node's value
        self._constants: dict[str, Any] = {}
        nodes = list(graph.nodes)
        (output,) = (node for node in nodes if node.op == "output")
        outputs = {name: self._origin(node) for name, node in output.args[0].items()}
        self._output_nodes = set(outputs.values())
        self._include_relu = set(self._convolutions_before_concat_and_relu(nodes))
        self._exact = set(self._exact_nodes(nodes, exact_below))
        self._steps: list[
            tuple[str, ops.Operation, list[str]]
        ] = []  # name, operation, inputs' names
        for node in nodes:
            if node.op == "placeholder":
                self._input = node.name
            elif node.op == "get_attr":
                value = operator.attrgetter(str(node.target))(cut)
                self._constants[node.name] = ops.in_precision(
                    value.detach().to(at.device), torch.float32
                )
            elif node.op != "output" and node not in self._aliases and self._origin(node) is node:
                exact = node in self._exact
                inputs = [self._value_name(part, exact) for part in node.all_input_nodes]
                self._steps.append((node.name, self._operation(node, inputs), inputs))
        self._outputs = {name: self._value_name(node, False) for name, node in outputs.items()}
        self._last_used = self._last_uses()

    @property
    def operations(self) -> tuple[ops.Operation, ...]:
        """The operations, in the order of the forward."""
        return tuple(operation for _, operation, _ in self._steps)

    @property
    def in_float32(self) -> frozenset[str]:
        """Names of the modules whose forward is computed in float32."""
        if self._like.dtype == self._like_exact.dtype:
            return frozenset(self._modules)
        exact = [str(node.target) for node in self._exact if node.op == "call_module"]
        return frozenset(
            f"{name}.{part}".rstrip(".")
            for name in exact
            for part, _ in self._modules[name].named_modules()
        )

    def forward(self, x: Tensor) -> "ForwardPass":
        """Computes the layers' values of x: (N, 3, H, W), normalised, float32, channels last."""
        values, saved = {**self._constants, self._input: x}, []
        for (name, operation, inputs), unused in zip(self._steps, self._last_used, strict=True):
            saved_here: ops.Saved = {}
            values[name] = operation.forward(saved_here, *(values[part] for part in inputs))
            saved.append(saved_here)
            for part in unused:
                del values[part]
        return ForwardPass(self, {name: values[key] for name, key in self._outputs.items()}, saved)

    def backward(self, saved: list[ops.Saved], seeds: Mapping[str, Tensor]) -> Tensor:
        """Computes the gradient of x; as `ForwardPass.backward`. saved: of the forward; it is emptied."""
        gradients: dict[str, Tensor] = {}
        for name, seed in seeds.items():
            _add(gradients, self._outputs[name], seed)
        for name, operation, inputs in reversed(self._steps):
            saved_here, gradient = saved.pop(), gradients.pop(name, None)
            if gradient is None:
                continue
            if isinstance(operation, ops.Convolution):  # which adds by itself, and quicker
                other = gradients.pop(inputs[0], None)
                (gradients[inputs[0]],) = operation.backward(saved_here, gradient, other)
                continue
            for part, derivative in zip(
                inputs, operation.backward(saved_here, gradient), strict=True
            ):
                if derivative is not None:
                    _add(gradients, part, derivative)
        return gradients[self._input]

    # --- Which nodes become operations, and in which precision ---

    def _exact_nodes(self, nodes: list[Node], exact_below: int) -> Iterator[Node]:
        """The nodes that are computed in float32: those whose inputs' stride is below a limit.

        A stride is the product of those that the modules before have.
        """
        strides_in: dict[Node, int] = {}
        strides_out: dict[Node, int] = {}
        for node in nodes:
            module = self._module(node)
            strides_in[node] = max((strides_out[part] for part in node.all_input_nodes), default=1)
            strides_out[node] = strides_in[node] * max(ops.pair(getattr(module, "stride", 1)))
        deep = max(strides_out.values()) >= DEEP_STRIDE
        limit = exact_below * 2 if deep else exact_below
        yield from (node for node, stride in strides_in.items() if stride < limit)

    def _value_name(self, node: Node, exact: bool) -> str:
        """The name of a node's value as an operation takes it: exact, or rounded where it is exact.

        Where it has to be rounded an operation for that is added.
        """
        origin = self._origin(node)
        is_exact = origin in self._exact or origin.op in ("placeholder", "get_attr")
        if exact or not is_exact or self._like.dtype == self._like_exact.dtype:
            return origin.name
        name = f"{origin.name}, rounded"
        if origin.op == "get_attr":
            self._constants[name] = ops.in_precision(self._constants[origin.name], self._like.dtype)
        elif all(name != known for known, *_ in self._steps):
            self._steps.append((name, ops.Cast(self._like.dtype), [origin.name]))
        return name

    def _module(self, node: Node) -> nn.Module | None:
        """The module that a node calls, if it calls one."""
        return self._modules.get(str(node.target)) if node.op == "call_module" else None

    def _origin(self, node: Node) -> Node:
        """The node that computes a node's value: itself, or the one whose value it hands on."""
        while True:
            if isinstance(self._module(node), nn.Identity | nn.Dropout):
                self._aliases[node] = node.all_input_nodes[0]
            if node not in self._aliases:
                return node
            node = self._aliases[node]

    def _users(self, node: Node) -> Iterator[Node]:
        """The nodes that use a value, through those that hand it on."""
        for user in node.users:
            if self._origin(user) is user:
                yield user
            else:
                yield from self._users(user)

    def _is_relu(self, node: Node) -> bool:
        return self._is(node, nn.ReLU, F.relu)

    def _include_only_relu(self, node: Node) -> bool:
        """Makes a convolution include the ReLU after it, where nothing else uses its value.

        Gives whether it does.
        """
        users = list(self._users(node))
        if len(users) != 1 or node in self._output_nodes or not self._is_relu(users[0]):
            return False
        self._aliases[users[0]] = node
        return True

    def _convolutions_before_concat_and_relu(self, nodes: list[Node]) -> Iterator[Node]:
        """Convolutions that are concatenated before a ReLU: each may include it, and then it is left out."""
        for node in nodes:
            if node.target is not torch.cat or _axis(node) != 1 or node in self._output_nodes:
                continue
            users, parts = list(self._users(node)), list(map(self._origin, node.all_input_nodes))
            used_once = all(
                self._is(part, nn.Conv2d) and len(list(self._users(part))) == 1 for part in parts
            )
            no_outputs = not self._output_nodes.intersection(parts)
            if used_once and no_outputs and len(users) == 1 and self._is_relu(users[0]):
                self._aliases[users[0]] = node
                yield from parts

    def _is_rectified(self, node: Node) -> bool:
        """Whether a value comes out of ReLUs, so that none of it is below 0."""
        node = node if self._is_relu(node) else self._origin(node)
        if node.target is torch.cat or self._is(node, nn.MaxPool2d):
            return all(map(self._is_rectified, node.all_input_nodes))
        includes_relu = any(
            origin is node and self._is_relu(relu) for relu, origin in self._aliases.items()
        )
        return includes_relu or self._is_relu(node) or self._is(node, Edges)

    def _is_only_pooled(self, node: Node) -> bool:
        """Whether a node is a convolution with a ReLU that only a max pooling uses."""
        aliases = [alias for alias, origin in self._aliases.items() if origin is node]
        includes_relu = any(map(self._is_relu, aliases))
        is_output = self._output_nodes.intersection([node, *aliases])
        users = list(self._users(node))
        only_pooled = not is_output and len(users) == 1 and self._is(users[0], nn.MaxPool2d)
        return only_pooled and includes_relu and self._is(node, nn.Conv2d)

    def _is(self, node: Node, module: type[nn.Module], *functions: Any) -> bool:
        """Whether a node calls a module of a type, or one of some functions."""
        if node.op == "call_module":
            return isinstance(self._modules[str(node.target)], module)
        return node.op == "call_function" and node.target in functions

    # --- The operation of a node ---

    def _operation(self, node: Node, inputs: list[str]) -> ops.Operation:
        """The operation that computes a node. inputs: the names of its inputs' values."""
        module = self._module(node)
        like = self._like_exact if node in self._exact else self._like
        if isinstance(module, Blur):
            return ops.BlurPool(module.get_buffer("kernel").to(like), self._packs)
        if isinstance(module, Edges):
            weight, bias = F.pixel_shuffle(module.filters.weight, 2), module.filters.bias
            return self._stem(weight, bias, 2, (2, 4), like, relu=True, masks=True, edge=True)
        if isinstance(module, nn.Conv2d) and not isinstance(module.padding, str):
            relu = node in self._include_relu or self._include_only_relu(node)
            return self._convolution(module, like, relu, relu and not self._is_only_pooled(node))
        if isinstance(module, nn.MaxPool2d):
            (before,) = node.all_input_nodes
            rectifies = self._is_only_pooled(self._origin(before))
            if (
                ops.RectifiedMaxPool.pays(like)
                and ops.RectifiedMaxPool.fits(module)
                and self._is_rectified(before)
            ):
                return ops.RectifiedMaxPool(module, rectifies)
            return ops.MaxPool(module, self._like, rectifies)
        if self._is_relu(node):
            return ops.ReLU(self._like)
        if node.target is torch.cat and _axis(node) == 1 and len(inputs) == len(_listed(node)):
            return ops.Concat()
        if node.target in (operator.add, operator.iadd, torch.add) and len(inputs) == 2:
            return ops.Add()
        return ops.AutogradOperation(self._call(node, like))

    def _convolution(
        self, module: nn.Conv2d, like: Tensor, relu: bool, masks: bool
    ) -> ops.Operation:
        stride, before = module.stride[0], module.padding[0]
        square = len({*module.stride}) == len({*module.padding}) == len({*module.kernel_size}) == 1
        plain = module.groups == 1 and set(module.dilation) == {1} and square
        if module.in_channels <= FEW_CHANNELS and stride > 1 and plain:
            assert isinstance(before, int)
            pads = before, before
            return self._stem(module.weight, module.bias, stride, pads, like, relu, masks)
        return ops.Convolution(module, like, self._like, relu, masks, self._packs)

    def _stem(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: int,
        pads: tuple[int, int],
        like: Tensor,
        relu: bool,
        masks: bool,
        edge: bool = False,
    ) -> ops.Operation:
        return ops.Stem(
            weight.detach(), None if bias is None else bias.detach(), stride, pads,
            like, self._like, relu, masks, edge, self._packs,
        )  # fmt: skip

    def _call(self, node: Node, like: Tensor) -> Callable[..., Any]:
        """A node's own computation, as a function of its inputs' values."""
        parts = node.all_input_nodes
        target: Any = self._modules[str(node.target)] if node.op == "call_module" else node.target
        if node.op == "call_module":
            own = like.dtype == self._like.dtype  # the network's module gets this precision anyway
            target = (target if own else deepcopy(target)).to(like)

        def call(*inputs: Any) -> Any:
            values = dict(zip(parts, inputs, strict=True))
            arguments: Any = map_arg(node.args, values.__getitem__)
            named: Any = map_arg(node.kwargs, values.__getitem__)
            if node.op == "call_method":
                return getattr(arguments[0], str(node.target))(*arguments[1:], **named)
            return target(*arguments, **named)

        return call

    def _last_uses(self) -> list[list[str]]:
        """For each operation the values that none after it uses."""
        used, last_used = set(self._outputs.values()), []
        for name, _, inputs in reversed(self._steps):
            last_used.append([part for part in dict.fromkeys([*inputs, name]) if part not in used])
            used.update(inputs, [name])
        return last_used[::-1]


def _listed(node: Node) -> list[Any]:
    """A node's first argument, where that is a list."""
    listed: Any = node.args[0]
    return list(listed)


def _axis(node: Node) -> Any:
    """The axis of a concatenation."""
    return node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)


def _add(gradients: dict[str, Tensor], name: str, gradient: Tensor) -> None:
    """Adds to a named gradient, in place."""
    gradients[name] = gradients[name].add_(gradient) if name in gradients else gradient


@dataclass(frozen=True)
class ForwardPass:
    """What an engine computed of a picture. values: of each layer, by the tracer's name."""

    engine: Engine
    values: dict[str, Tensor]
    saved: list[ops.Saved]

    def backward(self, seeds: Mapping[str, Tensor]) -> Tensor:
        """Computes the gradient of x, of the sum of the layers' values times their seeds; once.

        seeds: by layer, of its value's shape; they are written over.
        """
        return self.engine.backward(self.saved, seeds)

    @property
    def nbytes(self) -> int:
        """Memory that is kept for the backward."""
        sizes: dict[int, int] = {}  # by address, as tensors share memory
        for saved_here in self.saved:
            for value in saved_here.values():
                for part in value if isinstance(value, list) else [value]:
                    if isinstance(part, Tensor):
                        storage = part.untyped_storage()
                        sizes[storage.data_ptr()] = storage.nbytes()
        return sum(sizes.values())
