"""The engine room: where a network is computed, in which precision, and the steps it is made of.

An `Engine` is a network that was cut after its last target, as a list of `steps`; a `Pass` over it gives
the targets' values, and then the gradient of the picture.
"""

import operator
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node, Tracer
from torch.fx.node import map_arg
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from zoomdream.network.device import Place
from zoomdream.network.engine import ops
from zoomdream.network.pocket.network import Blur, Edges


def fold(cut: nn.Module) -> nn.Module:
    """Batch norms folded into the convolutions before them, where nothing else looks at those."""
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


DEEP_STRIDE = 32  # px of stride, from which on a network is deep
FEW_CHANNELS = 4  # channels of a first convolution, at most, whose way back is computed in blocks


class _Tracer(Tracer):
    """Pocket's own parts stay whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Blur | Edges) or super().is_leaf_module(m, module_qualified_name)


class Engine:
    """A network as steps, on one device. x: (N, 3, H, W), float32, channels last.

    In a precision of 16 bits the way back is computed in it, and the way forth from some layer on; the
    layers before it look at the picture in float32. A rounded value near 0 falls on the wrong side of a
    ReLU, or a pooling takes the wrong one of two neighbours; and every layer that follows makes more of
    it. The earliest make almost all of the difference between the gradient and float32's.
    """

    def __init__(self, cut: nn.Module, at: Place, exact_below: int) -> None:
        """cut: a network in float32 that returns a dict of its targets' values; it stays as it is.

        exact_below: what looks at values of a smaller stride than this is computed in float32 on its way
        forth; than twice this in a network that reaches a stride of `DEEP`.
        """
        graph = cut.graph if isinstance(cut, GraphModule) else _Tracer().trace(cut)
        self._parts = dict(cut.named_modules())
        self._like = torch.empty(0, device=at.device, dtype=at.dtype)  # of gradients
        self._like_exact = torch.empty(0, device=at.device)
        self._same: dict[Node, Node] = {}  # nodes that only hand on another's value
        self._constants: dict[str, Any] = {}
        nodes = list(graph.nodes)
        (output,) = (node for node in nodes if node.op == "output")
        targets = {name: self._origin(node) for name, node in output.args[0].items()}
        self._looked_at = set(targets.values())
        self._early = set(self._rectified_early(nodes))
        self._exact = set(self._looking_closely(nodes, exact_below))
        self._steps: list[tuple[str, ops.Operation, list[str]]] = []
        for node in nodes:
            if node.op == "placeholder":
                self._input = node.name
            elif node.op == "get_attr":
                value = operator.attrgetter(str(node.target))(cut)
                self._constants[node.name] = ops.in_precision(
                    value.detach().to(at.device), torch.float32
                )
            elif node.op != "output" and node not in self._same and self._origin(node) is node:
                inputs = [self._given(part, node in self._exact) for part in node.all_input_nodes]
                self._steps.append((node.name, self._step(node, inputs), inputs))
        self.targets = {name: self._given(node, False) for name, node in targets.items()}
        self._spent = self._last_uses()

    @property
    def in_float32(self) -> frozenset[str]:
        """Names of the modules that are computed in float32 on their way forth."""
        if self._like.dtype == self._like_exact.dtype:
            return frozenset(self._parts)
        modules = [str(node.target) for node in self._exact if node.op == "call_module"]
        return frozenset(
            f"{name}.{part}".rstrip(".")
            for name in modules
            for part, _ in self._parts[name].named_modules()
        )

    def _looking_closely(self, nodes: list[Node], exact_below: int) -> Iterator[Node]:
        """The nodes that look at values of a smaller stride than this, or than twice this in a network that
        goes deep. A stride is the product of those that modules say they have."""
        looked_at: dict[Node, int] = {}  # strides
        made: dict[Node, int] = {}
        for node in nodes:
            module = self._parts.get(str(node.target)) if node.op == "call_module" else None
            looked_at[node] = max((made[part] for part in node.all_input_nodes), default=1)
            made[node] = looked_at[node] * max(ops.pair(getattr(module, "stride", 1)))
        limit = exact_below * 2 if max(made.values()) >= DEEP_STRIDE else exact_below
        yield from (node for node, stride in looked_at.items() if stride < limit)

    def _given(self, node: Node, exactly: bool) -> str:
        """The name of a value as it is given to a step that looks at it exactly, or not."""
        origin = self._origin(node)
        exact = origin in self._exact or origin.op in ("placeholder", "get_attr")
        if exactly or not exact or self._like.dtype == self._like_exact.dtype:
            return origin.name
        name = f"{origin.name}, rounded"
        if origin.op == "get_attr":
            self._constants[name] = ops.in_precision(self._constants[origin.name], self._like.dtype)
        elif all(name != known for known, *_ in self._steps):
            self._steps.append((name, ops.Cast(self._like.dtype), [origin.name]))
        return name

    def _origin(self, node: Node) -> Node:
        """The node whose value another hands on."""
        while True:
            module = self._parts.get(str(node.target)) if node.op == "call_module" else None
            if isinstance(module, nn.Identity | nn.Dropout):
                self._same[node] = node.all_input_nodes[0]
            if node not in self._same:
                return node
            node = self._same[node]

    def _users(self, node: Node) -> Iterator[Node]:
        """Who looks at a value, however often it is handed on."""
        for user in node.users:
            if self._origin(user) is user:
                yield user
            else:
                yield from self._users(user)

    def _rectified(self, node: Node) -> bool:
        """Whether a ReLU is all that looks at a value; that ReLU is then handed on, too."""
        users = list(self._users(node))
        if len(users) != 1 or node in self._looked_at or not self._is(users[0], nn.ReLU, F.relu):
            return False
        self._same[users[0]] = node
        return True

    def _rectified_early(self, nodes: list[Node]) -> Iterator[Node]:
        """Convolutions that are put together before a ReLU: each may as well take it along."""
        for node in nodes:
            if node.target is not torch.cat or _axis(node) != 1 or node in self._looked_at:
                continue
            users, parts = list(self._users(node)), list(map(self._origin, node.all_input_nodes))
            alone = all(
                self._is(part, nn.Conv2d) and len(list(self._users(part))) == 1 for part in parts
            )
            free = not self._looked_at.intersection(parts)
            if alone and free and len(users) == 1 and self._is(users[0], nn.ReLU, F.relu):
                self._same[users[0]] = node
                yield from parts

    def _is_rectified(self, node: Node) -> bool:
        """Whether a value comes out of ReLUs, so that none of it is below 0."""
        node = node if self._is(node, nn.ReLU, F.relu) else self._origin(node)
        if node.target is torch.cat or self._is(node, nn.MaxPool2d):
            return all(map(self._is_rectified, node.all_input_nodes))
        fused = any(
            origin is node and self._is(relu, nn.ReLU, F.relu)
            for relu, origin in self._same.items()
        )
        return fused or self._is(node, nn.ReLU, F.relu) or self._is(node, Edges)

    def _is(self, node: Node, module: type[nn.Module], *functions: Any) -> bool:
        if node.op == "call_module":
            return isinstance(self._parts[str(node.target)], module)
        return node.op == "call_function" and node.target in functions

    def _step(self, node: Node, inputs: list[str]) -> ops.Operation:
        module = self._parts[str(node.target)] if node.op == "call_module" else None
        like = self._like_exact if node in self._exact else self._like
        if isinstance(module, Blur):
            return ops.BlurPool(module.get_buffer("kernel").to(like))
        if isinstance(module, Edges):
            weight, bias = F.pixel_shuffle(module.filters.weight, 2), module.filters.bias
            return self._stem(weight, bias, 2, (2, 4), like, relu=True, masks=True, edge=True)
        if isinstance(module, nn.Conv2d) and not isinstance(module.padding, str):
            relu = node in self._early or self._rectified(node)
            return self._convolution(module, like, relu, relu and not self._goes_to_pool(node))
        if isinstance(module, nn.MaxPool2d):
            (before,) = node.all_input_nodes
            rectifies = self._goes_to_pool(self._origin(before))
            if (
                ops.RectifiedMaxPool.pays(like)
                and ops.RectifiedMaxPool.fits(module)
                and self._is_rectified(before)
            ):
                return ops.RectifiedMaxPool(module, rectifies)
            return ops.MaxPool(module, self._like, rectifies)
        if self._is(node, nn.ReLU, F.relu):
            return ops.ReLU(self._like)
        if node.target is torch.cat and _axis(node) == 1 and len(inputs) == len(_listed(node)):
            return ops.Concat()
        if node.target in (operator.add, operator.iadd, torch.add) and len(inputs) == 2:
            return ops.Add()
        return ops.AutogradOperation(self._call(node, like))

    def _goes_to_pool(self, node: Node) -> bool:
        """Whether a convolution's ReLU has nothing but a pooling of the largest to look at it."""
        relus = [relu for relu, origin in self._same.items() if origin is node]
        rectified = any(self._is(relu, nn.ReLU, F.relu) for relu in relus)
        seen, users = self._looked_at.intersection([node, *relus]), list(self._users(node))
        alone = not seen and len(users) == 1 and self._is(users[0], nn.MaxPool2d)
        return alone and rectified and self._is(node, nn.Conv2d)

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
        return ops.Convolution(module, like, self._like, relu, masks)

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
        bias = None if bias is None else bias.detach()
        return ops.Stem(weight.detach(), bias, stride, pads, like, self._like, relu, masks, edge)

    def _call(self, node: Node, like: Tensor) -> Callable[..., Any]:
        """A node's own operation, as a function of what it looks at."""
        parts = node.all_input_nodes
        target: Any = self._parts[str(node.target)] if node.op == "call_module" else node.target
        if node.op == "call_module":
            own = like.dtype == self._like.dtype  # the network's, which has it anyway
            target = (target if own else deepcopy(target)).to(like)

        def call(*values: Any) -> Any:
            found = dict(zip(parts, values, strict=True))
            arguments: Any = map_arg(node.args, found.__getitem__)
            named: Any = map_arg(node.kwargs, found.__getitem__)
            if node.op == "call_method":
                return getattr(arguments[0], str(node.target))(*arguments[1:], **named)
            return target(*arguments, **named)

        return call

    def _last_uses(self) -> list[list[str]]:
        """For each step the values that nothing looks at after it."""
        seen, spent = set(self.targets.values()), []
        for name, _, inputs in reversed(self._steps):
            spent.append([part for part in dict.fromkeys([*inputs, name]) if part not in seen])
            seen.update(inputs, [name])
        return spent[::-1]

    def forward(self, x: Tensor) -> "ForwardPass":
        """Looks at x."""
        values, saved = {**self._constants, self._input: x}, []
        for (name, step, inputs), spent in zip(self._steps, self._spent, strict=True):
            aside: ops.Saved = {}
            values[name] = step.forward(aside, *(values[part] for part in inputs))
            saved.append(aside)
            for part in spent:
                del values[part]
        return ForwardPass(self, {name: values[key] for name, key in self.targets.items()}, saved)

    def backward(self, saved: list[ops.Saved], seeds: Mapping[str, Tensor]) -> Tensor:
        """The gradient of x; `Pass.back` says of what."""
        gradients: dict[str, Tensor] = {}
        for name, seed in seeds.items():
            _add(gradients, self.targets[name], seed)
        for name, step, inputs in reversed(self._steps):
            aside, gradient = saved.pop(), gradients.pop(name, None)
            if gradient is None:
                continue
            if isinstance(step, ops.Convolution):  # which adds by itself, and quicker
                onto = gradients.pop(inputs[0], None)
                (gradients[inputs[0]],) = step.backward(aside, gradient, onto)
                continue
            for part, found in zip(inputs, step.backward(aside, gradient), strict=True):
                if found is not None:
                    _add(gradients, part, found)
        return gradients[self._input]


def _listed(node: Node) -> list[Any]:
    """What a node looks at, when that is a list."""
    listed: Any = node.args[0]
    return list(listed)


def _axis(node: Node) -> Any:
    return node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)


def _add(gradients: dict[str, Tensor], name: str, found: Tensor) -> None:
    gradients[name] = gradients[name].add_(found) if name in gradients else found


@dataclass(frozen=True)
class ForwardPass:
    """One look of an engine at a picture. values: of each target, by name."""

    engine: Engine
    values: dict[str, Tensor]
    saved: list[ops.Saved]

    def backward(self, seeds: Mapping[str, Tensor]) -> Tensor:
        """The gradient of x, of the targets' values times their seeds; once, and then all is spent.

        seeds: by target, of its value's shape; they are written over.
        """
        return self.engine.backward(self.saved, seeds)

    @property
    def nbytes(self) -> int:
        """Memory that is kept for the way back."""
        found: dict[int, int] = {}
        for aside in self.saved:
            for value in aside.values():
                for part in value if isinstance(value, list) else [value]:
                    if isinstance(part, Tensor):
                        storage = part.untyped_storage()
                        found[storage.data_ptr()] = storage.nbytes()
        return sum(found.values())
