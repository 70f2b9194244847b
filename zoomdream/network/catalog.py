"""The networks that zoomdream knows: how each is built, where its weights are, how its layers are called."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from zoomdream.errors import UsageError, nearest
from zoomdream.network.pocket.network import Pocket

RGB = tuple[float, float, float]
MEAN: RGB = (0.485, 0.456, 0.406)  # of ImageNet's training pictures, RGB in 0..1
DEVIATION: RGB = (0.229, 0.224, 0.225)
HALF: RGB = (0.5, 0.5, 0.5)  # of networks from TensorFlow, in place of `transform_input`


@dataclass(frozen=True)
class NetworkInfo:
    """What is known of a network before it is loaded."""

    name: str
    dreams: str  # what it tends to dream
    layers: tuple[str, ...]  # good ones to begin with
    megabytes: float  # of its weights
    weights: str = "IMAGENET1K_V1"
    depth: int = 1  # how many dots deep its layers' names go
    least: int = 32  # px, the smallest picture it takes
    exact_below: int = 8  # px of stride below which layers look in float32 (see `Network`)
    mean: RGB = MEAN  # of pictures as it takes them
    deviation: RGB = DEVIATION


CATALOG: dict[str, NetworkInfo] = {
    network.name: network
    for network in (
        NetworkInfo(
            "pocket",
            "eyes, fur, faces, birds; ships with zoomdream",
            ("creatures", "faces=0.4"),
            3.4,
            exact_below=4,
        ),
        NetworkInfo(
            "googlenet",
            "the 2015 look: dog-slugs, pagodas, arches",
            ("inception4c",),
            49.7,
            mean=HALF,
            deviation=HALF,
        ),
        NetworkInfo(
            "inception_v3",
            "soft birds, feathers, insects",
            ("Mixed_6b",),
            103.9,
            least=96,
            mean=HALF,
            deviation=HALF,
        ),
        NetworkInfo("vgg16", "sharp textures, scales, eyes and beaks", ("relu4_3",), 527.8),
        NetworkInfo("vgg19", "as vgg16, a little more baroque", ("relu4_4",), 548.1),
        NetworkInfo("resnet50", "brushwork, fur, dense ornaments", ("layer3",), 97.8, depth=2),
        NetworkInfo(
            "squeezenet1_0",
            "eyes at features.9, dogs at 10, birds at 12",
            ("features.9",),
            4.8,
            depth=2,
        ),
        NetworkInfo(
            "squeezenet1_1",
            "as squeezenet1_0, coarser and quicker",
            ("features.9",),
            4.7,
            depth=2,
            exact_below=16,
        ),
        NetworkInfo(
            "densenet121", "woven eyes, petals, faces", ("features.denseblock3",), 30.8, depth=2
        ),
        NetworkInfo(
            "convnext_tiny",
            "large smooth shapes, animals in parts",
            ("features.5",),
            109.1,
            depth=2,
        ),
        NetworkInfo(
            "efficientnet_b0", "fine lace, insects, flowers", ("features.5",), 20.5, depth=2
        ),
    )
}


def network_info(name: str) -> NetworkInfo:
    """The Kind of a name; raises UsageError with the nearest names for an unknown one."""
    if name not in CATALOG:
        raise UsageError(f'there is no network "{name}": {nearest(name, CATALOG)}')
    return CATALOG[name]


def bare_network(kind: NetworkInfo, classes: int = 1000) -> nn.Module:
    """The network without weights, in evaluation mode; nothing is downloaded."""
    if kind.name == "pocket":
        return Pocket().eval()
    import torchvision

    options: dict[str, Any] = {"weights": None, "num_classes": classes}
    if kind.name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": False, "transform_input": False}
    with _no_init():
        return cast(nn.Module, torchvision.models.get_model(kind.name, **options).eval())


@contextlib.contextmanager
def _no_init() -> Iterator[None]:
    """Skips the slow random initialisation of weights that are about to be replaced."""
    names = ("kaiming_normal_", "kaiming_uniform_", "normal_", "trunc_normal_", "uniform_")
    kept = {name: getattr(nn.init, name) for name in names}
    try:
        for name in names:
            setattr(nn.init, name, lambda tensor, *_, **__: tensor)
        yield
    finally:
        for name, function in kept.items():
            setattr(nn.init, name, function)


_VGG_STACKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


def _vgg_names(name: str) -> dict[str, str]:
    """relu1_1 ... relu5_4 and pool1 ... pool5, to torchvision's features.N."""
    names, index = {}, 0
    for stack, count in enumerate(_VGG_STACKS[name], 1):
        for number in range(1, count + 1):
            names[f"relu{stack}_{number}"] = f"features.{index + 1}"
            index += 2
        names[f"pool{stack}"] = f"features.{index}"
        index += 1
    return names
