import pickle
from collections import OrderedDict
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import zoomdream as zd
from tests.conftest import difference
from zoomdream.dreaming.session import DreamSession
from zoomdream.errors import UsageError, WeightsError
from zoomdream.media.frame import Frame
from zoomdream.network.catalog import CATALOG, DEVIATION, MEAN, NetworkInfo, network_info
from zoomdream.network.classes import class_number
from zoomdream.network.device import choose_place
from zoomdream.network.engine.compiler import fold
from zoomdream.network.layer_objectives import Target, layer
from zoomdream.network.layers import network_layers, truncate
from zoomdream.network.network import Network, load_network, load_networks
from zoomdream.network.weights import random_network, weights_path
from zoomdream.size import Size

CPU = choose_place("cpu", "fp32")
SMALL = "squeezenet1_1"


def state(classes: int = 1000) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    import torchvision

    return dict(torchvision.models.squeezenet1_1(weights=None, num_classes=classes).state_dict())


@pytest.mark.parametrize("name", list(CATALOG))
def test_every_network_lists_layers_and_can_be_dreamt(name: str) -> None:
    info = network_info(name)
    layers = network_layers(info)
    targets = [Target.parse(text) for text in info.layers]
    assert {t.layer for t in targets} <= {layer.name for layer in layers}
    assert all(layer.channels > 0 and layer.stride in (1, 2, 4, 8, 16, 32) for layer in layers)
    strides = [layer.stride for layer in layers]
    assert strides == sorted(strides)
    session = DreamSession(Network(info, random_network(info), targets, CPU))
    gradient, (energy, *_) = session.gradient(torch.rand(1, 3, info.least, info.least + 8))
    assert gradient.shape == (1, 3, info.least, info.least + 8)
    assert gradient.abs().max() > 0
    assert energy > 0


def test_the_forward_pass_stops_at_the_deepest_layer_used() -> None:
    info = network_info("googlenet")
    network = Network(info, random_network(info), [layer("inception3a")], CPU)
    names = {name.split(".")[0] for name, _ in network.module.named_modules()}
    assert "inception3a" in names
    assert not any(name.startswith("inception4") for name in names)
    assert not any(parameter.requires_grad for parameter in network.module.parameters())


def test_folding_changes_no_value() -> None:
    info = network_info("googlenet")
    torch.manual_seed(0)
    module = random_network(info)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean = torch.randn(part.num_features) * 0.1
            part.running_var = torch.rand(part.num_features) + 0.5
            part.weight.data = torch.rand(part.num_features) + 0.5
    picture = torch.rand(1, 3, 64, 64)
    plain = truncate(module, info, ["inception3b"])(picture)["inception3b"]
    cut = fold(truncate(module, info, ["inception3b"]))
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in cut.modules())
    folded = cut(picture)["inception3b"]
    assert torch.allclose(plain, folded, atol=1e-3 * float(plain.detach().abs().max()))


@pytest.mark.parametrize("wrapped", ["plain", "module", "state_dict", "safetensors"])
def test_weights_come_in_many_wrappings(tmp_path: Path, wrapped: str) -> None:
    path = tmp_path / ("w.safetensors" if wrapped == "safetensors" else "w.pth")
    values = state(365)
    if wrapped == "safetensors":
        save_file(values, path)
    elif wrapped == "module":
        torch.save({f"module.{k}": v for k, v in values.items()}, path)
    else:
        torch.save({"state_dict": values, "epoch": 3} if wrapped == "state_dict" else values, path)
    session = DreamSession(load_network(SMALL, ["features.12"], weights=path, at=CPU))
    assert session.gradient(torch.rand(1, 3, 64, 64))[1][0] > 0


def test_wrong_weights_are_told(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    lacking = state()
    lacking.pop("features.3.squeeze.weight")
    torch.save(lacking, path)
    with pytest.raises(WeightsError, match=r'lacks "features.3.squeeze.weight"'):
        load_network(SMALL, weights=path, at=CPU)
    shaped = state()
    shaped["features.0.weight"] = torch.zeros(64, 3, 5, 5)
    torch.save(shaped, path)
    with pytest.raises(WeightsError, match=r"is \(64, 3, 5, 5\) instead of \(64, 3, 3, 3\)"):
        load_network(SMALL, weights=path, at=CPU)
    broken = state()
    broken["features.0.weight"][0] = float("nan")
    torch.save(broken, path)
    with pytest.raises(WeightsError, match="not finite"):
        load_network(SMALL, weights=path, at=CPU)
    for content in (b"", b"hello", b"PK\x03\x04 broken"):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="no file of weights"):
            load_network(SMALL, weights=path, at=CPU)
    with pytest.raises(WeightsError, match="no such file"):
        load_network(SMALL, weights=tmp_path / "none.pth", at=CPU)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("evil-ran"),)  # type: ignore[return-value]


def test_code_in_weights_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"a": Evil()}))
    with pytest.raises(WeightsError):
        load_network(SMALL, weights=tmp_path / "w.pth", at=CPU)
    assert not (tmp_path / "evil-ran").exists()


def test_unknown_names_are_answered_with_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(
        torch.hub,
        "download_url_to_file",
        lambda *_: pytest.fail("nothing may be fetched for a wrong name"),
    )
    with pytest.raises(
        UsageError, match=r'no layer "inception4z" in googlenet: did you mean inception4'
    ):
        load_network("googlenet", ["inception4z"], at=CPU)
    with pytest.raises(UsageError, match="did you mean googlenet"):
        load_network("googlnet", at=CPU)
    with pytest.raises(UsageError, match="channels 0 to 383: 384 is too high"):
        load_network("pocket", ["eyes:384"], at=CPU)
    with pytest.raises(UsageError, match="nothing to dream"):
        load_network("pocket", ["eyes=-1"], at=CPU)


@pytest.mark.parametrize("name", list(CATALOG))
def test_a_class_can_be_dreamt_by_name(name: str) -> None:
    info, lion = network_info(name), Target.parse("class:lion")
    session = DreamSession(Network(info, random_network(info), [lion], CPU))
    torch.manual_seed(0)
    picture = torch.rand(1, 3, info.least + 32, info.least + 40)
    gradient, (before,) = session.gradient(picture)
    for _ in range(8):
        step = session.gradient(picture)[0]
        picture = picture + 0.002 * step / step.abs().mean()
    (after,) = session.gradient(picture)[1]
    assert gradient.abs().max() > 0
    assert after > before


def test_classes_have_names() -> None:
    assert class_number("lion") == 291
    assert class_number("Tabby") == class_number("tabby") == 281
    assert class_number("great_white-shark") == class_number("great white shark")
    assert str(Target.parse("class:lion=0.5")) == "class:lion=0.5"
    assert Target.parse("class:291").channel == 291
    for wrong, right in (
        ("class:dog", "did you mean Maltese dog"),
        ("class:peacok", "did you mean peacock"),
        ("class:CARDIGAN", "class 264 and class 474: say class:264"),
        ("class:1000", "0 to 999"),
        ("class:", "class:lion"),
    ):
        with pytest.raises(UsageError, match=right):
            load_network("pocket", [wrong], at=CPU)


def test_other_classes_have_numbers_only(tmp_path: Path) -> None:
    save_file(state(365), tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="365 classes, which are not ImageNet's"):
        load_network(SMALL, ["class:lion"], weights=tmp_path / "w.safetensors", at=CPU)
    network = load_network(SMALL, ["class:364"], weights=tmp_path / "w.safetensors", at=CPU)
    assert DreamSession(network).gradient(torch.rand(1, 3, 64, 64))[0].abs().max() > 0


def test_missing_weights_and_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(WeightsError) as caught:
        load_network("vgg16", at=CPU)
    for part in ("no route to host", "vgg16-397923af.pth", str(tmp_path), "`model=pocket`"):
        assert part in str(caught.value)


def test_a_damaged_download_is_noticed_on_every_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = weights_path(network_info("squeezenet1_1"))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half of it")
    with pytest.raises(WeightsError, match="damaged"):
        load_network("squeezenet1_1", at=CPU)


def test_no_such_device() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="device=auto"):
            choose_place("cuda")
    assert choose_place("cpu", "bf16").dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_pictures_are_scaled_as_torchvision_does_inside(name: str) -> None:
    info = network_info(name)
    module = random_network(info)
    network = Network(info, deepcopy(module), [layer(info.layers[0])], CPU)
    module.transform_input = True  # type: ignore[assignment]  # from ImageNet's scale
    picture = torch.rand(1, 3, 96, 96)
    mean, deviation = (torch.tensor(part).view(1, 3, 1, 1) for part in (MEAN, DEVIATION))
    cut = truncate(module, info, [info.layers[0]])
    (expected,) = cut((picture - mean) / deviation).values()
    (activation,) = network.activations(picture).values()
    assert (activation - expected).abs().max() < 1e-3 * expected.abs().max()


def tiny(_: int) -> nn.Module:
    """A network from another library, or of one's own."""
    return nn.Sequential(
        OrderedDict(
            stem=nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
            body=nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.SiLU(inplace=True)),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            answers=nn.Linear(16, 5),
        )
    )


TINY = NetworkInfo(
    "tiny", "nothing known", ("body",), 0.01, build=tiny, least=16,
    mean=(0.5, 0.4, 0.3), deviation=(0.2, 0.2, 0.25),
)  # fmt: skip


@pytest.fixture(scope="module")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    save_file(tiny(5).state_dict(), path)
    return path


def test_a_network_from_another_library_is_one_entry(tiny_weights: Path, photo: Frame) -> None:
    layers = network_layers(TINY)
    assert [(part.name, part.channels, part.stride) for part in layers[:2]] == [
        ("stem", 8, 2), ("body", 16, 4),
    ]  # fmt: skip
    network = load_network(TINY, ["stem=0.5", "body"], weights=tiny_weights, at=CPU)
    assert network.channels == {"stem": 8, "body": 16}
    module = tiny(5).eval()
    module.load_state_dict(load_file(tiny_weights))
    mean, deviation = (torch.tensor(x).view(1, 3, 1, 1) for x in (TINY.mean, TINY.deviation))
    expected = module[:2]((photo - mean) / deviation)  # type: ignore[index]
    for activation in (network.activations(photo), network.look(photo).activations):
        assert torch.allclose(activation["body"], expected, atol=1e-4)
    dreamt = zd.dream(photo, network, steps=2, octaves=2, step_size=0.05)
    assert difference(dreamt, photo) > 1
    by_default = load_network(TINY, weights=tiny_weights, at=CPU)
    assert list(map(str, by_default.objectives)) == ["body"]
    wish = zd.layer("stem") - 0.2 * zd.channel("body", 3)
    assert difference(zd.dream(photo, network, wish, steps=2, octaves=1), photo) > 1


def test_an_entry_of_ones_own_is_answered_as_any_other(tiny_weights: Path) -> None:
    with pytest.raises(WeightsError, match="tiny comes without weights: give a file of them"):
        load_network(TINY, at=CPU)
    with pytest.raises(UsageError, match='no layer "bodi" in tiny: did you mean body'):
        load_network(TINY, ["bodi"], weights=tiny_weights, at=CPU)
    with pytest.raises(UsageError, match="body of tiny has channels 0 to 15: 16 is too high"):
        load_network(TINY, ["body:16"], weights=tiny_weights, at=CPU)
    with pytest.raises(UsageError, match="5 classes, which are not ImageNet's"):
        load_network(TINY, ["class:lion"], weights=tiny_weights, at=CPU)
    with pytest.raises(UsageError, match="at least 16x16"):
        TINY.check_size(Size(15, 40))
    with pytest.raises(WeightsError, match="is not for pocket"):
        load_network("pocket", weights=tiny_weights, at=CPU)
    network = load_network(TINY, ["class:3"], weights=tiny_weights, at=CPU)
    gradient, (energy,) = DreamSession(network).gradient(torch.rand(1, 3, 40, 40))
    assert gradient.abs().max() > 0
    assert energy > 0


def test_weights_may_be_renamed_and_shipped_by_an_entry(tmp_path: Path, tiny_weights: Path) -> None:
    renamed = {f"net.{key}": value for key, value in load_file(tiny_weights).items()}
    save_file(renamed, tmp_path / "old.safetensors")
    info = replace(
        TINY,
        weights_file=tmp_path / "old.safetensors",
        adapt_weights=lambda state: {key.removeprefix("net."): v for key, v in state.items()},
    )
    shipped, given = load_network(info, at=CPU), load_network(TINY, weights=tiny_weights, at=CPU)
    assert shipped.fingerprint == given.fingerprint
    other = replace(TINY, mean=(0.1, 0.1, 0.1))
    assert load_network(other, weights=tiny_weights, at=CPU).fingerprint != given.fingerprint


def test_networks_for_each_objective_alone(tiny_weights: Path) -> None:
    wishes = [zd.layer("stem"), zd.channel("body", 2)]
    networks = list(load_networks(TINY, wishes, weights=tiny_weights, at=CPU))
    assert [network.layers for network in networks] == [("stem",), ("body",)]
    assert [network.objectives for network in networks] == [(wishes[0],), (wishes[1],)]
    with pytest.raises(UsageError, match='no layer "none"'):
        list(load_networks(TINY, [zd.layer("none")], weights=tiny_weights, at=CPU))


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ({"device": "cuda:0"}, 'device "cuda:0" is none of auto, cpu, cuda and mps'),
        ({"device": "gpu"}, 'device "gpu" is none of'),
        ({"device": torch.device("cuda", 1)}, 'device "cuda:1" is none of'),
        ({"device": torch.device("meta")}, 'device "meta" is none of'),
        ({"device": 0}, 'device "0" is none of'),
        ({"device": None}, 'device "None" is none of'),
        ({"precision": "float32"}, 'precision "float32" is none of auto, fp32, bf16 and fp16'),
        ({"precision": torch.float32}, 'precision "torch.float32" is none of'),
    ],
)
def test_other_devices_and_precisions_are_refused(place: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        zd.load(**place)


def test_a_device_of_torch_is_taken() -> None:
    network = zd.load(device=torch.device("cpu"), precision="fp32")
    assert network.at == choose_place("cpu", "fp32")


def test_weights_whose_last_is_a_single_number_are_refused(tmp_path: Path) -> None:
    last = [key for key in state() if key.endswith("weight")][-1]
    torch.save({**state(), last: torch.tensor(1.0)}, tmp_path / "single.pth")
    with pytest.raises(WeightsError, match=rf'"{last}" is \(\) instead of'):
        zd.load(SMALL, weights=tmp_path / "single.pth", device="cpu")
