"""Traces modules: names their layers as torch's tracer sees them, and cuts them after some layers.

Torch's tracer changes `nn.Module.__call__` for the whole process while it works. So only one thread traces at
a time, and its tracer lets modules that other threads call meanwhile do what they always do.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from torch import nn
from torch.fx import Graph, Tracer

from zoomdream.network.classes import CLASS

TAIL = ("avgpool", "fc", "dropout", "classifier", "flatten")
"""Names of parts after a network's last maps."""


@dataclass(frozen=True)
class LayerNames:
    """Names of a network's layers.

    shown: those that a person chooses from, first to last, each with the tracer's name for it. known: every
    name that the tracer knows.
    """

    shown: Mapping[str, str]
    known: frozenset[str]

    def node(self, layer: str) -> str | None:
        """Gives the tracer's name of a layer; None where there is no such layer."""
        return self.shown.get(layer, layer if layer in self.known else None)


def traced_names(module: nn.Module, depth: int = 1) -> LayerNames:
    """Names a module's parts down to `depth` dots, and `class` the classifier's answers."""
    nodes = _nodes(module)
    parts = dict(module.named_modules())
    shown: dict[str, str] = {}
    for node in nodes:
        for length in range(1, depth + 1):
            part = ".".join(node.split(".")[:length])
            opens_up = length < depth and part == "features"
            if part in parts and not opens_up and not part.startswith(TAIL):
                shown.setdefault(part, part)
    return LayerNames({**shown, CLASS: _classifier(module, nodes)}, _every_prefix(nodes))


def aliased_names(module: nn.Module, aliases: Mapping[str, str]) -> LayerNames:
    """Names some of a module's nodes as `aliases` says, and `class` the classifier's answers."""
    nodes = _nodes(module)
    return LayerNames({**aliases, CLASS: _classifier(module, nodes)}, _every_prefix(nodes))


def cut_after(module: nn.Module, nodes: Sequence[str]) -> nn.Module:
    """Cuts a module after its deepest node; the result gives a dict of the nodes' values."""
    with _torchvision_tracing() as extraction:
        cut = extraction.create_feature_extractor(module, list(nodes), suppress_diff_warning=True)
    return cast(nn.Module, cut.eval())


def trace(module: nn.Module, whole: tuple[type[nn.Module], ...]) -> Graph:
    """Traces a module into a graph.

    whole: types of submodules that stay single nodes, besides torch's own.
    """
    with _TRACING:
        return _GraphTracer(whole).trace(module)


# --- Tracing beside other threads -------------------------------------------------------------------------

_TRACING = threading.Lock()


class _OwnThread(Tracer):
    """A tracer that leaves alone what threads other than its own call while it traces."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._thread = threading.get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


class _GraphTracer(_OwnThread):
    def __init__(self, whole: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self._whole = whole

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._whole) or super().is_leaf_module(m, module_qualified_name)


@contextlib.contextmanager
def _torchvision_tracing() -> Iterator[Any]:
    """Gives torchvision's module of feature extraction, which traces as `_OwnThread` does meanwhile."""
    from torchvision.models import feature_extraction

    with _TRACING:
        original = feature_extraction.NodePathTracer
        feature_extraction.NodePathTracer = _node_path_tracer()
        try:
            yield feature_extraction
        finally:
            feature_extraction.NodePathTracer = original


@cache
def _node_path_tracer() -> type[Tracer]:
    from torchvision.models.feature_extraction import NodePathTracer

    return type("OwnThreadNodePathTracer", (_OwnThread, NodePathTracer), {})


def _nodes(module: nn.Module) -> list[str]:
    """The tracer's names of a module's nodes, in order."""
    with _torchvision_tracing() as extraction:
        return list(extraction.get_graph_node_names(module, suppress_diff_warning=True)[1])


def _classifier(module: nn.Module, nodes: Sequence[str]) -> str:
    """Finds the last linear or convolutional node."""
    parts = dict(module.named_modules())
    return [n for n in nodes if isinstance(parts.get(n), nn.Linear | nn.Conv2d)][-1]


def _every_prefix(nodes: Sequence[str]) -> frozenset[str]:
    return frozenset(
        ".".join(node.split(".")[:length])
        for node in nodes
        for length in range(1, node.count(".") + 2)
    )
