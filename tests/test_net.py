import pickle
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from zoomdream import engine, net, objective
from zoomdream.errors import UsageError, WeightsError

CPU = engine.place("cpu", "fp32")
SMALL = "squeezenet1_1"


def state(classes: int = 1000) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    import torchvision

    return dict(torchvision.models.squeezenet1_1(weights=None, num_classes=classes).state_dict())


@pytest.mark.parametrize("name", list(net.KINDS))
def test_every_network_lists_layers_and_can_be_dreamt(name: str) -> None:
    layers = net.layers(name)
    kind = net.kind_of(name)
    targets = [objective.Target.parse(text) for text in kind.layers]
    assert {t.layer for t in targets} <= {layer.name for layer in layers}
    assert all(layer.channels > 0 and layer.stride in (1, 2, 4, 8, 16, 32) for layer in layers)
    strides = [layer.stride for layer in layers]
    assert strides == sorted(strides)
    network = net.Network(kind, net.untrained(kind), targets, CPU)
    gradient, (energy, *_) = network.gradient(torch.rand(1, 3, kind.least, kind.least + 8))
    assert gradient.shape == (1, 3, kind.least, kind.least + 8)
    assert gradient.abs().max() > 0
    assert energy > 0


def test_the_forward_pass_stops_at_the_deepest_layer_used() -> None:
    kind = net.kind_of("googlenet")
    network = net.Network(kind, net.untrained(kind), [objective.Target("inception3a")], CPU)
    names = {name.split(".")[0] for name, _ in network._module.named_modules()}
    assert "inception3a" in names
    assert not any(name.startswith("inception4") for name in names)
    assert not any(parameter.requires_grad for parameter in network._module.parameters())


def test_folding_changes_no_value() -> None:
    kind = net.kind_of("googlenet")
    torch.manual_seed(0)
    module = net.untrained(kind)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean = torch.randn(part.num_features) * 0.1
            part.running_var = torch.rand(part.num_features) + 0.5
            part.weight.data = torch.rand(part.num_features) + 0.5
    picture = torch.rand(1, 3, 64, 64)
    plain = net._extractor(module, ["inception3b"])(picture)["inception3b"]
    cut = engine.fold(net._extractor(module, ["inception3b"]))
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
    network = net.load(SMALL, ["features.12"], weights=path, at=CPU)
    assert network.gradient(torch.rand(1, 3, 64, 64))[1][0] > 0


def test_wrong_weights_are_told(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    lacking = state()
    lacking.pop("features.3.squeeze.weight")
    torch.save(lacking, path)
    with pytest.raises(WeightsError, match=r'lacks "features.3.squeeze.weight"'):
        net.load(SMALL, weights=path, at=CPU)
    shaped = state()
    shaped["features.0.weight"] = torch.zeros(64, 3, 5, 5)
    torch.save(shaped, path)
    with pytest.raises(WeightsError, match=r"is \(64, 3, 5, 5\) instead of \(64, 3, 3, 3\)"):
        net.load(SMALL, weights=path, at=CPU)
    broken = state()
    broken["features.0.weight"][0] = float("nan")
    torch.save(broken, path)
    with pytest.raises(WeightsError, match="not finite"):
        net.load(SMALL, weights=path, at=CPU)
    for content in (b"", b"hello", b"PK\x03\x04 broken"):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="no file of weights"):
            net.load(SMALL, weights=path, at=CPU)
    with pytest.raises(WeightsError, match="no such file"):
        net.load(SMALL, weights=tmp_path / "none.pth", at=CPU)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("evil-ran"),)  # type: ignore[return-value]


def test_code_in_weights_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"a": Evil()}))
    with pytest.raises(WeightsError):
        net.load(SMALL, weights=tmp_path / "w.pth", at=CPU)
    assert not (tmp_path / "evil-ran").exists()


def test_unknown_names_are_answered_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        net, "_download", lambda _: pytest.fail("nothing may be fetched for a wrong name")
    )
    with pytest.raises(
        UsageError, match=r'no layer "inception4z" in googlenet: did you mean inception4'
    ):
        net.load("googlenet", ["inception4z"], at=CPU)
    with pytest.raises(UsageError, match="did you mean googlenet"):
        net.load("googlnet", at=CPU)
    with pytest.raises(UsageError, match="channels 0 to 383: 384 is too high"):
        net.load("pocket", ["eyes:384"], at=CPU)
    with pytest.raises(UsageError, match="nothing to dream"):
        net.load("pocket", ["eyes=-1"], at=CPU)


@pytest.mark.parametrize("name", list(net.KINDS))
def test_a_class_can_be_dreamt_by_name(name: str) -> None:
    kind, lion = net.kind_of(name), objective.Target.parse("class:lion")
    network = net.Network(kind, net.untrained(kind), [lion], CPU)
    torch.manual_seed(0)
    picture = torch.rand(1, 3, kind.least + 32, kind.least + 40)
    (before,) = network.gradient(picture)[1]
    gradient = network.gradient(picture)[0]
    for _ in range(8):
        step = network.gradient(picture)[0]
        picture = picture + 0.002 * step / step.abs().mean()
    (after,) = network.gradient(picture)[1]
    assert gradient.abs().max() > 0
    assert after > before


def test_classes_have_names() -> None:
    assert objective.class_number("lion") == 291
    assert objective.class_number("Tabby") == objective.class_number("tabby") == 281
    assert objective.class_number("great_white-shark") == objective.class_number(
        "great white shark"
    )
    assert str(objective.Target.parse("class:lion=0.5")) == "class:lion=0.5"
    assert objective.Target.parse("class:291").channel == 291
    for wrong, right in (
        ("class:dog", "did you mean Maltese dog"),
        ("class:peacok", "did you mean peacock"),
        ("class:CARDIGAN", "class 264 and class 474: say class:264"),
        ("class:1000", "0 to 999"),
        ("class:", "class:lion"),
    ):
        with pytest.raises(UsageError, match=right):
            net.load("pocket", [wrong], at=CPU)


def test_other_classes_have_numbers_only(tmp_path: Path) -> None:
    save_file(state(365), tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="365 classes, which are not ImageNet's"):
        net.load(SMALL, ["class:lion"], weights=tmp_path / "w.safetensors", at=CPU)
    network = net.load(SMALL, ["class:364"], weights=tmp_path / "w.safetensors", at=CPU)
    assert network.gradient(torch.rand(1, 3, 64, 64))[0].abs().max() > 0


def test_missing_weights_and_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def fail(*_: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(WeightsError) as caught:
        net.load("vgg16", at=CPU)
    for part in ("no route to host", "vgg16-397923af.pth", str(tmp_path), "--model pocket"):
        assert part in str(caught.value)


def test_a_damaged_download_is_noticed_on_every_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = net.weights_path("squeezenet1_0")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half of it")
    with pytest.raises(WeightsError, match="damaged"):
        net.load("squeezenet1_0", at=CPU)


def test_no_such_device() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="--device auto"):
            engine.place("cuda")
    assert engine.place("cpu", "bf16").dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_pictures_are_scaled_as_torchvision_does_inside(name: str) -> None:
    kind = net.kind_of(name)
    module = net.untrained(kind)
    network = net.Network(kind, deepcopy(module), [objective.Target(kind.layers[0])], CPU)
    module.transform_input = True  # type: ignore[assignment]  # from ImageNet's scale
    picture = torch.rand(1, 3, 96, 96)
    mean, deviation = (torch.tensor(part).view(1, 3, 1, 1) for part in (net.MEAN, net.DEVIATION))
    (expected,) = net._extractor(module, [kind.layers[0]])((picture - mean) / deviation).values()
    (found,) = network.values(picture)
    assert (found - expected).abs().max() < 1e-3 * expected.abs().max()
