"""The networks that zoomdream knows: one entry for each.

An entry says how a network is built, where its weights are and how its layers are called; nothing else in
zoomdream asks for a network by name. One from another library is one more entry, for example

    NetworkInfo("resnet26d", "dogs", ("layer3",), 64.1,
                build=lambda classes: timm.create_model("resnet26d", num_classes=classes),
                weights_url=lambda: "https://.../resnet26d-69e92c46.pth")
"""

import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from zoomdream.errors import UsageError, nearest
from zoomdream.network.pocket.architecture import STAGES, WEIGHTS, Pocket
from zoomdream.network.tracing import LayerNames, aliased_names, cut_after, traced_names
from zoomdream.process_settings import ProcessSetting
from zoomdream.size import Size

RGB = tuple[float, float, float]
MEAN: RGB = (0.485, 0.456, 0.406)  # of ImageNet's training pictures, RGB in 0..1
DEVIATION: RGB = (0.229, 0.224, 0.225)
HALF: RGB = (0.5, 0.5, 0.5)  # of networks from TensorFlow, in place of `transform_input`

State = dict[str, Tensor]

SQUEEZENET_WEIGHTS = Path(__file__).parent / "squeezenet" / "squeezenet1_0.safetensors"


@dataclass(frozen=True)
class NetworkInfo:
    """An entry of the catalog: what is known of a network before it is loaded.

    build: builds the network without weights, for a number of classes; it may initialise them, or not.
    names: names its layers. cut: cuts it after the deepest of some nodes, and gives a module that returns a
    dict of their values. adapt_weights: turns an older state dict into the one that the network has.
    """

    name: str
    dreams: str  # what it tends to dream
    layers: tuple[str, ...]  # good ones to begin with
    megabytes: float  # of its weights
    build: Callable[[int], nn.Module]
    weights_url: Callable[[], str] | None = None  # where they are fetched from, a hash in the name
    weights_file: Path | None = None  # where they ship with the package
    names: Callable[[nn.Module], LayerNames] = traced_names
    cut: Callable[[nn.Module, Sequence[str]], nn.Module] = cut_after
    adapt_weights: Callable[[State], State] = lambda state: state
    least: int = 32  # px, the smallest picture it takes
    exact_below: int = 8  # px of stride below which layers are computed in float32 (see `Engine`)
    mean: RGB = MEAN  # of pictures as it takes them
    deviation: RGB = DEVIATION

    @property
    def first_layers(self) -> tuple[str, ...]:
        """Names of the layers that are good to begin with."""
        return tuple(re.split("[:=]", text)[0] for text in self.layers)

    def bare(self, classes: int = 1000) -> nn.Module:
        """Builds the network with weights of zero, in evaluation mode; nothing is downloaded."""
        with _uninitialised():
            return self.build(classes).eval()

    def check_size(self, size: Size) -> None:
        """Raises UsageError for pictures that are too small for the network."""
        if size.shorter < self.least:
            raise UsageError(
                f"{size} is too small for {self.name}: at least {self.least}x{self.least} would do, "
                "with `output.size`"
            )


@cache
def layer_names(info: NetworkInfo) -> LayerNames:
    """Names a network's layers; needs no weights."""
    return info.names(info.bare())


_this_thread = threading.local()


@contextlib.contextmanager
def _uninitialised() -> Iterator[None]:
    """Skips, in this thread, the slow random initialisation of weights that are about to be replaced."""
    with _initialisers_can_be_skipped:
        _this_thread.skips = True
        try:
            yield
        finally:
            _this_thread.skips = False


def _let_skip() -> Callable[[], None]:
    """Makes torch's random initialisers write zeros in threads that skip them."""
    names = ("kaiming_normal_", "kaiming_uniform_", "normal_", "trunc_normal_", "uniform_")
    originals = {name: getattr(nn.init, name) for name in names}

    def skippable(
        initialise: Callable[..., Tensor], tensor: Tensor, *more: Any, **named: Any
    ) -> Tensor:
        if getattr(_this_thread, "skips", False):
            return nn.init.zeros_(tensor)
        return initialise(tensor, *more, **named)

    for name, function in originals.items():
        setattr(nn.init, name, partial(skippable, function))

    def undo() -> None:
        for name, function in originals.items():
            setattr(nn.init, name, function)

    return undo


_initialisers_can_be_skipped = ProcessSetting(_let_skip)


# --- torchvision's networks ----------------------------------------------------------------------------


def _torchvision(name: str, classes: int, **options: Any) -> nn.Module:
    import torchvision

    model = torchvision.models.get_model(name, weights=None, num_classes=classes, **options)
    return cast(nn.Module, model)


def _torchvision_url(name: str) -> str:
    import torchvision

    return str(torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url)


def _entry(
    name: str,
    dreams: str,
    layers: tuple[str, ...],
    megabytes: float,
    *,
    depth: int = 1,
    options: dict[str, Any] | None = None,
    **more: Any,
) -> NetworkInfo:
    """One of torchvision's networks. depth: how many dots deep its layers' names go."""
    return NetworkInfo(
        name,
        dreams,
        layers,
        megabytes,
        build=partial(_torchvision, name, **(options or {})),
        weights_url=partial(_torchvision_url, name),
        **{"names": partial(traced_names, depth=depth), **more},
    )


_INCEPTION = {"aux_logits": False, "init_weights": False, "transform_input": False}


def _vgg_names(stacks: Sequence[int], module: nn.Module) -> LayerNames:
    """Names torchvision's features.N relu1_1 ... relu5_4 and pool1 ... pool5.

    stacks: how many convolutions stand before each pooling.
    """
    aliases, index = {}, 0
    for stack, count in enumerate(stacks, 1):
        for number in range(1, count + 1):
            aliases[f"relu{stack}_{number}"] = f"features.{index + 1}"
            index += 2
        aliases[f"pool{stack}"] = f"features.{index}"
        index += 1
    return aliased_names(module, aliases)


def _newer_densenet(state: State) -> State:
    """Renames the weights of old files: norm.1 is norm1 now."""
    renamed = {}
    for key, value in state.items():
        parts = key.split(".")
        if len(parts) > 3 and parts[-2] in "12" and parts[-3] in ("norm", "relu", "conv"):
            key = ".".join([*parts[:-3], parts[-3] + parts[-2], parts[-1]])
        renamed[key] = value
    return renamed


CATALOG: dict[str, NetworkInfo] = {
    info.name: info
    for info in (
        NetworkInfo(
            "pocket", "eyes, fur, faces, animals; ships with zoomdream", ("creatures", "class=0.5"), 4.0,
            build=lambda _: Pocket(), weights_file=WEIGHTS, exact_below=4,
            names=lambda _: LayerNames({stage: stage for stage in STAGES}, frozenset(STAGES)),
            cut=lambda pocket, stages: cast(Pocket, pocket).cut(stages),
        ),
        _entry("googlenet", "the 2015 look: dog-slugs, pagodas, arches", ("inception4c",), 49.7,
               options=_INCEPTION, mean=HALF, deviation=HALF),
        _entry("inception_v3", "soft birds, feathers, insects", ("Mixed_6b",), 103.9,
               options=_INCEPTION, mean=HALF, deviation=HALF, least=96),
        _entry("vgg16", "sharp textures, scales, eyes and beaks", ("relu4_3",), 527.8,
               names=partial(_vgg_names, (2, 2, 3, 3, 3))),
        _entry("vgg19", "as vgg16, a little more baroque", ("relu4_4",), 548.1,
               names=partial(_vgg_names, (2, 2, 4, 4, 4))),
        _entry("resnet50", "brushwork, fur, dense ornaments", ("layer3",), 97.8, depth=2),
        _entry("squeezenet1_0", "eyes at features.9, dogs at 10, birds at 12; ships with zoomdream",
               ("features.9",), 2.5, depth=2, weights_file=SQUEEZENET_WEIGHTS),
        _entry("squeezenet1_1", "as squeezenet1_0, coarser and quicker", ("features.9",), 4.7,
               depth=2, exact_below=16),
        _entry("densenet121", "woven eyes, petals, faces", ("features.denseblock3",), 30.8,
               depth=2, adapt_weights=_newer_densenet),
        _entry("convnext_tiny", "large smooth shapes, animals in parts", ("features.5",), 109.1,
               depth=2),
        _entry("efficientnet_b0", "fine lace, insects, flowers", ("features.5",), 20.5, depth=2),
    )
}  # fmt: skip


def networks() -> list[NetworkInfo]:
    """All networks that zoomdream knows."""
    return list(CATALOG.values())


def network_info(network: str | NetworkInfo) -> NetworkInfo:
    """The entry of a name, or one as it is; raises UsageError with the nearest names for an unknown one."""
    if isinstance(network, NetworkInfo):
        return network
    if not isinstance(network, str):
        raise UsageError(f"network {network!r:.60} is neither a name nor an entry of the catalog")
    if network not in CATALOG:
        raise UsageError(f'there is no network "{network}": {nearest(network, CATALOG)}')
    return CATALOG[network]
