"""The eye: networks, the names of their layers, their normalisation and their weights.

A `Network` takes Frames; a network's own normalisation, precision and memory format stay in here.
"""

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from zoomdream.engine import Engine, Place, Replay, fold, place
from zoomdream.errors import UsageError, WeightsError
from zoomdream.frame import Frame, pink
from zoomdream.objective import CLASS, Target, energy_of, seed_of
from zoomdream.pocket.network import STAGES, Pocket
from zoomdream.spec import nearest
from zoomdream.weights import cache_folder, fetch, read_weights

RGB = tuple[float, float, float]
MEAN: RGB = (0.485, 0.456, 0.406)  # of ImageNet's training pictures, RGB in 0..1
DEVIATION: RGB = (0.229, 0.224, 0.225)
HALF: RGB = (0.5, 0.5, 0.5)  # of networks from TensorFlow, in place of `transform_input`


@dataclass(frozen=True)
class Kind:
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


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("pocket", "eyes, fur, faces, birds; ships with zoomdream", ("creatures", "faces=0.4"), 3.4,
             exact_below=4),
        Kind("googlenet", "the 2015 look: dog-slugs, pagodas, arches", ("inception4c",), 49.7,
             mean=HALF, deviation=HALF),
        Kind("inception_v3", "soft birds, feathers, insects", ("Mixed_6b",), 103.9, least=96,
             mean=HALF, deviation=HALF),
        Kind("vgg16", "sharp textures, scales, eyes and beaks", ("relu4_3",), 527.8),
        Kind("vgg19", "as vgg16, a little more baroque", ("relu4_4",), 548.1),
        Kind("resnet50", "brushwork, fur, dense ornaments", ("layer3",), 97.8, depth=2),
        Kind("squeezenet1_0", "eyes at features.9, dogs at 10, birds at 12", ("features.9",), 4.8, depth=2),
        Kind("squeezenet1_1", "as squeezenet1_0, coarser and quicker", ("features.9",), 4.7, depth=2,
             exact_below=16),
        Kind("densenet121", "woven eyes, petals, faces", ("features.denseblock3",), 30.8, depth=2),
        Kind("convnext_tiny", "large smooth shapes, animals in parts", ("features.5",), 109.1, depth=2),
        Kind("efficientnet_b0", "fine lace, insects, flowers", ("features.5",), 20.5, depth=2),
    )
}  # fmt: skip


def kind_of(name: str) -> Kind:
    """The Kind of a name; raises UsageError with the nearest names for an unknown one."""
    if name not in KINDS:
        raise UsageError(f'there is no network "{name}": {nearest(name, KINDS)}')
    return KINDS[name]


@dataclass(frozen=True)
class Layer:
    """A place in a network that can be dreamt."""

    name: str
    channels: int
    stride: int  # pixels of the picture per step of the layer


# --- Building and naming -----------------------------------------------------------------------


def _bare(kind: Kind, classes: int = 1000) -> nn.Module:
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


@cache
def _nodes(name: str) -> tuple[dict[str, str], frozenset[str]]:
    """Of a network: its layers by the name shown, and every name that the tracer knows."""
    kind = kind_of(name)
    bare = _bare(kind)
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


def layers(name: str) -> list[Layer]:
    """A network's layers with channels and stride, from first to last; needs no weights."""
    found = zip(_nodes(name)[0], describe(name, list(_nodes(name)[0])), strict=True)
    return [layer for _, layer in found if layer.stride]


def describe(name: str, wanted: Sequence[str]) -> list[Layer]:
    """Each of the layers that are wanted, by any name that the tracer knows; needs no weights.

    A stride of 0 is of a layer that has one answer for the whole picture. Raises UsageError for unknown
    names.
    """
    size, kind = 256, kind_of(name)
    nodes = _node_names(kind, [Target(label) for label in wanted])
    found = _extractor(_bare(kind), nodes)(torch.zeros(1, 3, size, size))
    return [
        Layer(label, found[node].shape[1], _stride(size, found[node]))
        for label, node in zip(wanted, nodes, strict=True)
    ]


def _stride(size: int, value: Tensor) -> int:
    there = value.ndim == 4 and value.shape[2] > 1
    return 2 ** round(math.log2(size / value.shape[2])) if there else 0


def _node_names(kind: Kind, targets: Sequence[Target]) -> list[str]:
    """The tracer's name of each target's layer; raises UsageError for unknown ones."""
    shown, every = _nodes(kind.name)
    for target in targets:
        if target.layer not in shown and target.layer not in every:
            raise UsageError(
                f'there is no layer "{target.layer}" in {kind.name}: {nearest(target.layer, shown)}'
            )
    return [shown.get(target.layer, target.layer) for target in targets]


def _extractor(module: nn.Module, nodes: Sequence[str]) -> nn.Module:
    """The module cut after its deepest node; returns a dict of the nodes' values."""
    if isinstance(module, Pocket):
        return module.cut(nodes)
    from torchvision.models.feature_extraction import create_feature_extractor

    cut = create_feature_extractor(module, list(nodes), suppress_diff_warning=True)
    return cast(nn.Module, cut.eval())


# --- Weights -------------------------------------------------------------------------------------

POCKET_WEIGHTS = Path(__file__).parent / "pocket" / "pocket.safetensors"


def weights_path(name: str) -> Path:
    """Where a network's weights are, or will be once they are downloaded."""
    if name == "pocket":
        return POCKET_WEIGHTS
    return cache_folder() / Path(urlparse(_url(name)).path).name


def _url(name: str) -> str:
    import torchvision

    enum = torchvision.models.get_model_weights(name)
    return str(enum[kind_of(name).weights].url)


def _download(name: str) -> Path:
    return fetch(name, _url(name))


def _fill(kind: Kind, state: dict[str, Tensor], path: Path) -> nn.Module:
    """A network of the weights' own number of classes, with the weights in it."""
    if kind.name == "densenet121":  # old files number norm.1 what is now norm1
        for key in list(state):
            parts = key.split(".")
            if len(parts) > 3 and parts[-2] in "12" and parts[-3] in ("norm", "relu", "conv"):
                state[".".join([*parts[:-3], parts[-3] + parts[-2], parts[-1]])] = state.pop(key)
    last = [key for key in _bare(kind).state_dict() if key.endswith("weight")][-1]
    module = _bare(kind, len(state[last]) if last in state else 1000)
    own = module.state_dict()
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    if missing:
        raise WeightsError(
            f'{path} is not for {kind.name}: it lacks "{missing[0]}"'
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            + "; check --model"
        )
    for key, value in own.items():
        if key in state and state[key].shape != value.shape:
            raise WeightsError(
                f'{path} is not for {kind.name}: "{key}" is {tuple(state[key].shape)} instead of '
                f"{tuple(value.shape)}; check --model"
            )
        if key in state and not torch.isfinite(state[key]).all():
            raise WeightsError(f'{path} is damaged: "{key}" holds values that are not finite')
    module.load_state_dict({k: state[k].float() for k in own if k in state}, strict=False)
    return module


# --- The network in use --------------------------------------------------------------------------


class Network:
    """A network cut after the deepest of its targets; gives gradients of their energy.

    The energy of a target is half the sum of its squared activations (its gradient is the
    activation itself: Mordvintsev et al. 2015); that of a single class is its answer before softmax
    (Simonyan et al. 2014), so that a class that is nowhere yet can be dreamt too.
    Each target's energy is divided by the mean gradient that its layer has on the picture that is dreamt
    (see `balance`), so that equal weights mean equally strong changes on any layer; Mordvintsev has a
    single layer and needs none of this. `weights`, one of each target, may be changed at any time; so may
    `guides`, which make of a target's values and seed the seed that is taken instead (see `guide`).

    In 16 bits its first layers are computed in float32 all the same (see `Engine`): up to a stride that
    brings the gradient's cosine to float32's to 0.99 at the kind's own layers, and twice that where classes
    are asked for, which takes more.
    """

    def __init__(self, kind: Kind, module: nn.Module, targets: Sequence[Target], at: Place) -> None:
        self.kind, self.targets, self.at = kind, tuple(targets), at
        self._names = _node_names(kind, targets)
        module.requires_grad_(False)
        cut = truncated(module, kind, targets)
        for part in cut.modules():
            if getattr(part, "inplace", False):
                part.inplace = False  # type: ignore[assignment]  # else it writes over what is kept
        self._module = fold(cut).to(at.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._scale = 1 / torch.tensor(kind.deviation, device=at.device).view(1, 3, 1, 1)
        self._shift = -torch.tensor(kind.mean, device=at.device).view(1, 3, 1, 1) * self._scale
        self._bytes: float | None = None
        self.channels = self._count_channels()  # of each target's layer
        classes = any(target.layer == CLASS for target in targets)
        self._engine = Engine(self._module, at, kind.exact_below * (2 if classes else 1))
        self._module = self._module.to(at.dtype)
        self._sizes = [1.0] * len(self.targets)
        self.tile = 0  # px of a tile's side, at most; 0: `dream.tile_side` chooses for a picture
        self.weights = [target.weight for target in self.targets]
        self.guides: Sequence[Callable[[Tensor, Tensor], Tensor] | None] | None = None
        self._replay = Replay(at.device)
        self._held: tuple[list[float], Tensor] | None = None  # factors, and the same on the device
        self.balance(_standard_picture().to(at.device))

    def _count_channels(self) -> list[int]:
        """Of each target's layer; raises UsageError where there is none, or none of that number."""
        with torch.no_grad():
            found = self._module(self._normalised(_standard_picture().to(self.at.device)))
        values = [self._as_map(target, found[name]) for target, name in self._named]
        for target, value in zip(self.targets, values, strict=True):
            if value.ndim != 4:
                raise UsageError(
                    f"{target.layer} of {self.kind.name} has no channels to dream with"
                )
            target.check(value.shape[1], self.kind.name)
        return [value.shape[1] for value in values]

    @property
    def _named(self) -> Iterator[tuple[Target, str]]:
        """Targets with their nodes' names."""
        return zip(self.targets, self._names, strict=True)

    @torch.no_grad()
    def balance(self, frame: Frame) -> None:
        """Makes weights mean the same on every layer, by the gradients that layers have on a frame."""
        x = self._normalised(frame)
        for number, (target, name) in enumerate(self._named):
            look = self._engine.forth(x)
            value = look.values[name]
            one = target.channel is not None and target.layer != CLASS
            seed = value if one else seed_of(target, self._as_map(target, value))
            if one and target.is_direction:  # whose seed does not depend on the value
                seed = torch.ones_like(value)
            top = seed.abs().amax().clamp_min(1e-12)  # keeps fp16 in its range
            gradient = look.back({name: (seed / top).view_as(value)})
            alone = self.channels[number] ** 0.5 if one else 1.0  # it may be silent on this frame
            size = float(gradient.float().abs().mean() * top)
            self._sizes[number] = (size + 1e-12) / alone

    def _normalised(self, frame: Frame, dtype: torch.dtype = torch.float32) -> Tensor:
        x = torch.addcmul(self._shift, frame, self._scale)
        return x.to(dtype, memory_format=torch.channels_last)

    @staticmethod
    def _as_map(target: Target, value: Tensor) -> Tensor:
        """A classifier's answers as a map of a single place."""
        return value[..., None, None] if target.layer == CLASS and value.ndim == 2 else value

    @torch.no_grad()
    def gradient(
        self, frame: Frame, mix: Sequence[Tensor] | None = None, measured: bool = True
    ) -> tuple[Tensor, list[float]]:
        """The objective's gradient at a frame, and each target's mean squared activation if `measured`.

        frame: (1, 3, H, W) in 0..1, H and W at least `kind.least`. mix: for each target (1, C, 1, 1),
        factors of its channels' energies. The gradient has the frame's shape, float32, in no particular
        unit: normalise it.
        """
        factors, mixed = self._factors(), () if mix is None else mix
        if self._replay.on and not any(self.guides or ()):  # guides look differently each time
            gradient, *energies = self._replay(
                measured,
                lambda frame, factors, *mix: self._look(frame, factors.split(1), mix, measured),
                frame, self._on_device(factors), *mixed,
            )  # fmt: skip
            gradient = gradient.clone()  # the next one is written over it
        else:
            gradient, *energies = self._look(frame, factors, mixed, measured)
        return gradient, [float(energy) for energy in energies]

    def forget(self) -> None:
        """Gives memory back that only makes the next gradient quicker."""
        self._replay.forget()

    def _look(
        self, frame: Frame, factors: Sequence[Any], mix: Sequence[Tensor], measured: bool
    ) -> list[Tensor]:
        """The gradient, and each target's energy if `measured`. factors: of each target's seed."""
        look = self._engine.forth(self._normalised(frame))
        seeds: dict[str, Tensor] = {}
        energies = []
        for number, (target, name) in enumerate(self._named):
            value = self._as_map(target, look.values[name])
            if measured:
                energies.append(energy_of(target, value))
            seed = seed_of(target, value)
            if target.channel is None and mix:
                seed = seed * mix[number]
            if self.guides and (guide := self.guides[number]):
                seed = guide(value, seed)
            seed = (seed * factors[number]).to(value.dtype).view_as(look.values[name])
            seeds[name] = seeds[name] + seed if name in seeds else seed
        return [look.back(seeds) * self._scale, *energies]

    def _factors(self) -> list[float]:
        """What each target's seed is multiplied by, for its weight."""
        whole = sum(map(abs, self.weights)) or 1.0
        pairs = zip(self.weights, self._sizes, strict=True)
        return [weight / whole / size for weight, size in pairs]

    def _on_device(self, factors: list[float]) -> Tensor:
        """The same as a tensor, which is brought there only when they change."""
        if self._held is None or self._held[0] != factors:
            self._held = factors, torch.tensor(factors, device=self.at.device)
        return self._held[1]

    def values(self, frames: Tensor) -> list[Tensor]:
        """Each target's layer on pictures (N, 3, H, W) in 0..1: (N, C, h, w), in the network's precision.

        Gradients flow through it to `frames`, where those want them.
        """
        found = self._module(self._normalised(frames, self.at.dtype))
        return [self._as_map(target, found[name]) for target, name in self._named]

    def objective(self, energies: Sequence[float]) -> float:
        """One number from the targets' energies: their geometric mean, by weight; 0 without energies."""
        if not energies:
            return 0.0
        weights = self.weights
        logs = (w * math.log(max(e, 1e-12)) for w, e in zip(weights, energies, strict=True))
        return math.exp(sum(logs) / (sum(map(abs, weights)) or 1.0))

    @property
    def module(self) -> nn.Module:
        """The network itself, cut and folded, in its precision; gives a dict of its targets' values."""
        return cast(nn.Module, self._module)

    @property
    def in_float32(self) -> frozenset[str]:
        """Names of its modules that `gradient` computes in float32 on the way forth (see `Engine`)."""
        return self._engine.in_float32

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all parameters that are used, as they are used, and of the scale of pictures."""
        total = hashlib.sha256(repr((self.kind.mean, self.kind.deviation)).encode())
        for name, tensor in sorted(self._module.state_dict().items()):
            content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            total.update(name.encode() + content.numpy().tobytes())
        return total.hexdigest()

    @property
    def bytes_per_pixel(self) -> float:
        """Memory that one gradient takes at its peak, per pixel: counted, not guessed."""
        if self._bytes is None:
            size = max(64, self.kind.least)
            with torch.no_grad():
                frame = torch.zeros(1, 3, size, size, device=self.at.device)
                held = self._engine.forth(self._normalised(frame)).nbytes
            self._bytes = 1.5 * max(held, 1) / size**2
        return self._bytes


def _standard_picture() -> Frame:
    """1/f noise, (1, 3, 224, 224), always the same."""
    return (0.5 + 0.2 * pink((224, 224), torch.Generator().manual_seed(2015))).clamp(0, 1)


def load(
    name: str,
    targets: Sequence[str] = (),
    *,
    weights: Path | None = None,
    at: Place | None = None,
) -> Network:
    """A network ready to dream with, loaded once per render.

    targets: as `Target.parse` takes them; none means the network's own choice. Raises UsageError
    for unknown names (with the nearest ones) and WeightsError where there are no good weights.
    """
    kind = kind_of(name)
    parsed = parse_targets(kind, targets)
    return Network(kind, _filled(kind, parsed, weights), parsed, at or place())


def parse_targets(kind: Kind, targets: Sequence[str]) -> list[Target]:
    """Targets by their texts, the network's own choice without any; raises UsageError."""
    parsed = [Target.parse(text) for text in targets or kind.layers]
    if all(target.weight <= 0 for target in parsed):
        raise UsageError("no layer has a weight above 0: there is nothing to dream")
    return parsed


def load_each(
    name: str, targets: Sequence[Target], *, weights: Path | None = None, at: Place | None = None
) -> Iterator[Network]:
    """A network for each target alone, one after another; the weights are read once. Raises as `load`."""
    kind = kind_of(name)
    module = _filled(kind, targets, weights)
    for target in targets:
        yield Network(kind, deepcopy(module), [target], at or place())


def filled_or_random(
    kind: Kind, targets: Sequence[Target], weights: Path | None
) -> tuple[nn.Module, bool]:
    """The whole network with the weights that are here, or else with random ones; and which it is.

    For measuring, which nothing is fetched for. Raises as `load`.
    """
    if weights or weights_path(kind.name).exists():
        return _filled(kind, targets, weights), False
    _node_names(kind, targets)
    return untrained(kind), True


def untrained(kind: Kind) -> nn.Module:
    """The whole network with weights by chance: He's normal ones, no biases, norms that do nothing."""
    module = _bare(kind)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for part in module.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(part.weight)
                if part.bias is not None:
                    part.bias.zero_()
    return module


def truncated(module: nn.Module, kind: Kind, targets: Sequence[Target]) -> nn.Module:
    """A network cut after the deepest of its targets, otherwise as it is; gives a dict of their values."""
    return _extractor(module.eval(), list(dict.fromkeys(_node_names(kind, targets))))


def _filled(kind: Kind, targets: Sequence[Target], weights: Path | None) -> nn.Module:
    """The whole network with its weights in it."""
    _node_names(kind, targets)  # a wrong name is told before anything is downloaded
    path = weights or (POCKET_WEIGHTS if kind.name == "pocket" else _download(kind.name))
    return _fill(kind, read_weights(path), path)
