"""The layers of a network: their names, channels and strides."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoomdream.errors import UsageError, nearest
from zoomdream.network.catalog import NetworkInfo, layer_names, network_info


@dataclass(frozen=True)
class Layer:
    """A layer of a network. Its stride is 0 where it has one answer for the whole picture."""

    name: str
    channels: int
    stride: int  # pixels of the picture per step of the layer


def network_layers(network: str | NetworkInfo) -> list[Layer]:
    """Lists a network's layers with channels and stride, from first to last; needs no weights.

    Those with one answer for the whole picture are left out.
    """
    info = network_info(network)
    return [layer for layer in describe_layers(info, list(layer_names(info).shown)) if layer.stride]


def describe_layers(info: NetworkInfo, layers: Sequence[str]) -> list[Layer]:
    """Describes some layers, by any name that the tracer knows; needs no weights.

    Raises UsageError for unknown names.
    """
    side, nodes = 256, node_names(info, layers)
    values = info.cut(info.bare(), nodes)(torch.zeros(1, 3, side, side))
    return [
        Layer(layer, values[node].shape[1], _stride(side, values[node]))
        for layer, node in zip(layers, nodes, strict=True)
    ]


def _stride(side: int, value: Tensor) -> int:
    is_map = value.ndim == 4 and value.shape[2] > 1
    return 2 ** round(math.log2(side / value.shape[2])) if is_map else 0


def node_names(info: NetworkInfo, layers: Sequence[str]) -> list[str]:
    """Gives the tracer's name of each layer; raises UsageError for unknown ones."""
    names = layer_names(info)
    nodes = []
    for layer in layers:
        node = names.node(layer)
        if node is None:
            hint = nearest(layer, names.shown)
            raise UsageError(f'there is no layer "{layer}" in {info.name}: {hint}')
        nodes.append(node)
    return nodes


def truncate(module: nn.Module, info: NetworkInfo, layers: Sequence[str]) -> nn.Module:
    """Cuts a network after the deepest of some layers; the result gives a dict of their values.

    The dict's keys are the tracer's names.
    """
    return info.cut(module.eval(), list(dict.fromkeys(node_names(info, layers))))
