"""The layers of a network: their names, channels and strides, and the network cut after some of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

import torch
from torch import Tensor, nn

from zoomdream.errors import UsageError, nearest
from zoomdream.network.catalog import (
    _VGG_STACKS,
    NetworkInfo,
    _vgg_names,
    bare_network,
    network_info,
)
from zoomdream.network.objective import CLASS, Target
from zoomdream.network.pocket.network import STAGES, Pocket


@dataclass(frozen=True)
class Layer:
    """A place in a network that can be dreamt."""

    name: str
    channels: int
    stride: int  # pixels of the picture per step of the layer


@cache
def _nodes(name: str) -> tuple[dict[str, str], frozenset[str]]:
    """Of a network: its layers by the name shown, and every name that the tracer knows."""
    kind = network_info(name)
    bare = bare_network(kind)
    if isinstance(bare, Pocket):
        return {stage: stage for stage in STAGES}, frozenset(STAGES)
    from torchvision.models.feature_extraction import get_graph_node_names

    traced = get_graph_node_names(bare, suppress_diff_warning=True)[1]
    every = {".".join(n.split(".")[:i]) for n in traced for i in range(1, n.count(".") + 2)}
    modules = dict(bare.named_modules())
    last = [n for n in traced if isinstance(modules.get(n), nn.Linear | nn.Conv2d)][-1]
    if name in _VGG_STACKS:
        return {**_vgg_names(name), CLASS: last}, frozenset(every)
    shown: dict[str, str] = {}
    for node in traced:
        for depth in range(1, kind.depth + 1):
            part = ".".join(node.split(".")[:depth])
            deeper = depth < kind.depth and part == "features"
            if part in modules and not deeper and not part.startswith(_TAIL):
                shown.setdefault(part, part)
    return {**shown, CLASS: last}, frozenset(every)


_TAIL = (
    "avgpool",
    "fc",
    "dropout",
    "classifier",
    "flatten",
)  # where there are no pictures any more


def network_layers(name: str) -> list[Layer]:
    """A network's layers with channels and stride, from first to last; needs no weights."""
    found = zip(_nodes(name)[0], describe_layers(name, list(_nodes(name)[0])), strict=True)
    return [layer for _, layer in found if layer.stride]


def describe_layers(name: str, wanted: Sequence[str]) -> list[Layer]:
    """Each of the layers that are wanted, by any name that the tracer knows; needs no weights.

    A stride of 0 is of a layer that has one answer for the whole picture. Raises UsageError for unknown
    names.
    """
    size, kind = 256, network_info(name)
    nodes = node_names(kind, [Target(label) for label in wanted])
    found = extractor(bare_network(kind), nodes)(torch.zeros(1, 3, size, size))
    return [
        Layer(label, found[node].shape[1], _stride(size, found[node]))
        for label, node in zip(wanted, nodes, strict=True)
    ]


def _stride(size: int, value: Tensor) -> int:
    there = value.ndim == 4 and value.shape[2] > 1
    return 2 ** round(math.log2(size / value.shape[2])) if there else 0


def node_names(kind: NetworkInfo, targets: Sequence[Target]) -> list[str]:
    """The tracer's name of each target's layer; raises UsageError for unknown ones."""
    shown, every = _nodes(kind.name)
    for target in targets:
        if target.layer not in shown and target.layer not in every:
            raise UsageError(
                f'there is no layer "{target.layer}" in {kind.name}: {nearest(target.layer, shown)}'
            )
    return [shown.get(target.layer, target.layer) for target in targets]


def extractor(module: nn.Module, nodes: Sequence[str]) -> nn.Module:
    """The module cut after its deepest node; returns a dict of the nodes' values."""
    if isinstance(module, Pocket):
        return module.cut(nodes)
    from torchvision.models.feature_extraction import create_feature_extractor

    cut = create_feature_extractor(module, list(nodes), suppress_diff_warning=True)
    return cast(nn.Module, cut.eval())


def truncate(module: nn.Module, kind: NetworkInfo, targets: Sequence[Target]) -> nn.Module:
    """A network cut after the deepest of its targets, otherwise as it is; gives a dict of their values."""
    return extractor(module.eval(), list(dict.fromkeys(node_names(kind, targets))))
