"""A module's layers by name, as torch's tracer sees them, and the module cut after some of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from torch import nn

from zoomdream.network.classes import CLASS

TAIL = ("avgpool", "fc", "dropout", "classifier", "flatten")
"""Names of parts that come where there are no maps any more."""


@dataclass(frozen=True)
class LayerNames:
    """Names of a network's layers.

    shown: those that a person chooses from, first to last, each with the tracer's name for it. known: every
    name that the tracer knows.
    """

    shown: Mapping[str, str]
    known: frozenset[str]

    def node(self, layer: str) -> str | None:
        """The tracer's name of a layer; None where there is no such layer."""
        return self.shown.get(layer, layer if layer in self.known else None)


def traced_names(module: nn.Module, depth: int = 1) -> LayerNames:
    """Names of a module's parts down to `depth` dots, and `class` for the classifier's answers."""
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
    """Names of one's own for some of the tracer's, and `class` for the classifier's answers."""
    nodes = _nodes(module)
    return LayerNames({**aliases, CLASS: _classifier(module, nodes)}, _every_prefix(nodes))


def cut_after(module: nn.Module, nodes: Sequence[str]) -> nn.Module:
    """The module cut after its deepest node; it gives a dict of the nodes' values."""
    from torchvision.models.feature_extraction import create_feature_extractor

    cut = create_feature_extractor(module, list(nodes), suppress_diff_warning=True)
    return cast(nn.Module, cut.eval())


def _nodes(module: nn.Module) -> list[str]:
    from torchvision.models.feature_extraction import get_graph_node_names

    return list(get_graph_node_names(module, suppress_diff_warning=True)[1])


def _classifier(module: nn.Module, nodes: Sequence[str]) -> str:
    """The last linear or convolutional node."""
    parts = dict(module.named_modules())
    return [n for n in nodes if isinstance(parts.get(n), nn.Linear | nn.Conv2d)][-1]


def _every_prefix(nodes: Sequence[str]) -> frozenset[str]:
    return frozenset(
        ".".join(node.split(".")[:length])
        for node in nodes
        for length in range(1, node.count(".") + 2)
    )
