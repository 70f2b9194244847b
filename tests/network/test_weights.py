"""Weights are found in files as people save them, and refused with the true reason."""

import argparse
import gzip
import pickle
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import zoomdream as zd
from zoomdream.errors import WeightsError
from zoomdream.network.catalog import network_info
from zoomdream.network.device import choose_place
from zoomdream.network.network import load_network
from zoomdream.network.unwrapping import find_state
from zoomdream.network.weights import random_network
from zoomdream.network.weights_file import read_weights

CPU = choose_place("cpu", "fp32")
SMALL = "squeezenet1_1"
State = dict[str, Tensor]

# A network of two layers, and as it was earlier in its training.
OWN: State = {
    "features.0.weight": torch.rand(4, 3, 3, 3),
    "features.0.bias": torch.rand(4),
    "classifier.weight": torch.rand(9, 4),
}
ARRAYS = {name: value.numpy() for name, value in OWN.items()}
EARLIER = {name: value / 2 for name, value in OWN.items()}


def prefixed(prefix: str, state: State = OWN) -> State:
    return {prefix + name: value for name, value in state.items()}


def renamed(part: str, by: str) -> State:
    return {name.replace(part, by): value for name, value in OWN.items()}


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (OWN, None),
        ({"epoch": 3, "state_dict": OWN}, 'those under "state_dict"'),
        ({"model_state_dict": OWN, "optimizer": {"state": {0: {"exp_avg": torch.rand(4)}}}},
         'those under "model_state_dict"'),
        ({"net": prefixed("module.")}, 'those under "net", without "module"'),
        ({"a": {"b": [{"c": OWN}]}}, 'those under "a.b.0.c"'),
        (prefixed("module."), 'names are read without "module"'),
        (prefixed("_orig_mod."), 'names are read without "_orig_mod"'),
        (prefixed("model.module._orig_mod."), 'those under "model", without "_orig_mod" and "module"'),
        (prefixed("backbone.encoder."), 'those under "backbone.encoder"'),
        ({"state_dict": prefixed("1.")}, 'those under "state_dict.1"'),
        (renamed("features.", "features.module."), 'names are read without "module"'),
        (renamed("0.", "0._fsdp_wrapped_module."), 'without "_fsdp_wrapped_module"'),
        ({"features": {0: {"weight": OWN["features.0.weight"], "bias": OWN["features.0.bias"]}},
          "classifier": {"weight": OWN["classifier.weight"]}}, None),
        ({**OWN, "head.weight": torch.rand(2), "aux.features.0.bias": torch.rand(4)}, None),
        ({name: nn.Parameter(value) for name, value in OWN.items()}, None),
        ({"args": argparse.Namespace(lr=0.1), "best": np.float64(2), "loss": np.arange(3), "w": OWN},
         'those under "w"'),
    ],
)  # fmt: skip
def test_a_state_dict_is_found_wherever_it_is(
    tmp_path: Path, content: Any, note: str | None
) -> None:
    found = find_state(read_weights(saved(tmp_path / "w.pth", content)), OWN)
    assert all(torch.equal(found.state[name], value) for name, value in OWN.items())
    assert len(found.notes) == (note is not None)
    assert note is None or note in found.notes[0]


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ({"state_dict": EARLIER, "state_dict_ema": OWN}, '"state_dict" fits as well'),
        ({"model": EARLIER, "model_ema": prefixed("module.")}, "averages over a training come first"),
        ({"student": EARLIER, "teacher": OWN}, '"student" fits as well, and is not used'),
        ({"encoder_q": OWN, "encoder_k": EARLIER}, '"encoder_k" fits as well'),
        ({"deep": {"er": EARLIER}, "b": OWN}, "the outermost of the file come first"),
        ({"model": OWN, "ema": {"features.0.bias": torch.rand(4)}}, None),  # it is a part only
        ({"a": {**OWN, "features.0.weight": torch.rand(5, 3, 3, 3)}, "b": OWN}, None),  # another shape
    ],
)  # fmt: skip
def test_of_two_that_fit_one_is_taken_by_a_rule(
    tmp_path: Path, content: Any, note: str | None
) -> None:
    found = find_state(read_weights(saved(tmp_path / "w.pth", content)), OWN)
    assert all(torch.equal(found.state[name], value) for name, value in OWN.items())
    others = " ".join(found.notes[1:])
    assert bool(others) == (note is not None)
    assert note is None or note in others


def test_older_names_are_found_in_wrappings_too(tmp_path: Path) -> None:
    def adapt(state: State) -> State:
        return {name.replace("old", "features"): value for name, value in state.items()}

    content = {"net": {"module." + k.replace("features", "old"): v for k, v in OWN.items()}}
    found = find_state(read_weights(saved(tmp_path / "w.pth", content)), OWN, adapt)
    assert found.state.keys() == OWN.keys()


def test_a_name_that_the_network_has_itself_is_no_wrapper(tmp_path: Path) -> None:
    own = {"module.weight": torch.rand(2), "module.bias": torch.rand(2)}
    found = find_state(read_weights(saved(tmp_path / "w.pth", own)), own)
    assert found.state.keys() == own.keys()
    assert not found.notes


def zipped(path: Path, *names: str) -> None:
    content = saved(path.with_suffix(".inside"), OWN).read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("readme.txt", *names):
            archive.writestr(name, content)


def legacy(path: Path) -> None:
    torch.save(OWN, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("w.bin", lambda path: saved(path, OWN)),
        ("w.pth.tar", legacy),
        ("w.safetensors", lambda path: save_file(OWN, path, metadata={"format": "pt"})),
        ("named-otherwise.pth", lambda path: save_file(OWN, path)),
        ("named-otherwise.safetensors", lambda path: saved(path, OWN)),
        ("w.pth.gz", lambda p: p.write_bytes(gzip.compress(saved(p, OWN).read_bytes()))),
        ("w.zip", lambda path: zipped(path, "folder/w.pth")),
        ("w.npz", lambda path: np.savez(path, **ARRAYS)),  # type: ignore[arg-type]
        ("arrays.pth", lambda path: saved(path, ARRAYS)),
    ],
)
def test_files_are_read_by_what_they_hold(
    tmp_path: Path, name: str, write: Callable[[Path], object]
) -> None:
    write(tmp_path / name)
    read = read_weights(tmp_path / name)
    assert read.keys() == OWN.keys()
    assert all(torch.equal(read[key], value) for key, value in OWN.items())


def tarred(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.add(saved(path.with_suffix(".inside"), OWN), "w.pth")


def cut_safetensors(path: Path) -> None:
    save_file(OWN, path)
    path.write_bytes(path.read_bytes()[:-1])


def test_paths_and_arrays_beside_weights_are_read(tmp_path: Path) -> None:
    arrays = {name: tensor.numpy() for name, tensor in OWN.items()}
    path = saved(tmp_path / "w.pth", {"model": arrays, "args": {"data": Path("a"), "lr": 0.1}})
    read = read_weights(path)
    assert read.keys() == {f"model.{name}" for name in OWN}
    assert all(torch.equal(read[f"model.{name}"], tensor) for name, tensor in OWN.items())


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("evil-ran"),)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1"),
         "a pointer of Git LFS: `git lfs pull` fetches the file"),
        (lambda path: path.write_bytes(b"\r\n<!DOCTYPE html><title>404</title>"), "a page that a server"),
        (lambda path: path.write_bytes(b'{"weight_map": {"a": "model-00001-of-00002.safetensors"}}'),
         "it lists the parts of weights"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), r"of Keras \(HDF5\)"),
        (lambda path: path.write_bytes(saved(path, OWN).read_bytes()[:900]), "damaged or cut short"),
        (lambda path: path.write_bytes(b"\x1f\x8b123"), "damaged or cut short"),
        (lambda path: path.write_bytes(gzip.compress(bytes(9999))[:20]), "damaged or cut short"),
        (cut_safetensors, "damaged or cut short"),
        (tarred, r"an archive \(tar\)"),
        (lambda path: path.write_bytes(b"neither"), "a state dict saved as .safetensors or .pth"),
        (lambda path: zipped(path, "a.pth", "b.pth"), "an archive of 2 such files"),
        (lambda path: saved(path, nn.Sequential(nn.Conv2d(3, 3, 3))),
         r"more than tensors \(torch.nn.modules.container.Sequential\).*model.state_dict\(\)"),
        (lambda path: saved(path, {"state_dict": OWN, "hook": Evil()}), r"more than tensors"),
        (lambda path: path.write_bytes(pickle.dumps({"a": Evil()})), "read safely"),
        (lambda path: torch.jit.save(torch.jit.script(nn.ReLU()), path), r"a program \(TorchScript\)"),
        (lambda path: saved(path, {"lr": 0.1}), "holds no state dict"),
        (lambda path: path.mkdir(), "is a folder; name a file of weights in it"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_what_holds_no_weights_is_told_for_what_it_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path], object],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=reason):
        read_weights(tmp_path / "w.pth")
    assert not (tmp_path / "evil-ran").exists()


def test_a_render_says_what_its_weights_were_found_in(tmp_path: Path) -> None:
    weights = dict(random_network(network_info(SMALL)).state_dict())
    plain = load_network(SMALL, weights=saved(tmp_path / "plain.pth", weights), at=CPU)
    assert not plain.notes
    wrapped = {"state_dict": {f"model.{k}": v.double() for k, v in weights.items()}}
    network = load_network(SMALL, weights=saved(tmp_path / "w.pth", wrapped), at=CPU)
    assert network.fingerprint == plain.fingerprint
    told: list[object] = []
    job = zd.RenderJob(
        model=SMALL, output=zd.Output(size=(64, 48), frames=1), dream=zd.DreamSpec(steps=0)
    )
    with zd.render(job, told.append, network=network):
        pass
    assert isinstance(told[0], zd.Start)
    assert 'the weights are those under "state_dict.model"' in told[0].notes


def test_weights_may_end_behind_the_layers_that_are_wanted(tmp_path: Path) -> None:
    weights = random_network(network_info(SMALL)).state_dict()
    path = saved(tmp_path / "w.pth", {k: v for k, v in weights.items() if "classifier" not in k})
    network = load_network(SMALL, ["features.9"], weights=path, at=CPU)
    assert 'the weights end before "classifier.1.weight"' in network.notes[0]
    with pytest.raises(WeightsError, match=r'it lacks "classifier.1.weight" and 1 more'):
        load_network(SMALL, ["class:lion"], weights=path, at=CPU)


def test_weights_may_be_sparse_and_may_not_be_shapes_alone(tmp_path: Path) -> None:
    own = random_network(network_info(SMALL)).state_dict()
    sparse = {name: value.to_sparse() for name, value in own.items()}
    network = load_network(SMALL, weights=saved(tmp_path / "a.pth", sparse), at=CPU)
    assert network.info.name == SMALL
    shapes = {name: value.to("meta") for name, value in own.items()}
    with pytest.raises(WeightsError, match=r"holds no values of .*, only its shape"):
        load_network(SMALL, weights=saved(tmp_path / "b.pth", shapes), at=CPU)


def test_a_file_of_many_names_that_fit_in_part_is_searched_at_once() -> None:
    """Each of them is looked at once for each name it may lie under, and not for each that any may."""
    tensors = {f"part{n}.{name}": value for n in range(10_000) for name, value in OWN.items()}
    began = time.process_time()
    assert find_state(tensors, OWN).state.keys() == OWN.keys()
    assert time.process_time() - began < 5


def test_weights_of_another_network_are_told_with_its_name(tmp_path: Path) -> None:
    other = random_network(network_info("squeezenet1_0")).state_dict()  # of the same names
    path = saved(tmp_path / "w.pth", {f"module.{k}": v for k, v in other.items()})
    with pytest.raises(WeightsError, match=r"but for squeezenet1_0: use `model=squeezenet1_0`"):
        load_network(SMALL, weights=path, at=CPU)
    part = saved(tmp_path / "model-00001-of-00002.bin", dict(list(other.items())[:9]))
    with pytest.raises(WeightsError, match="a part of several files"):
        load_network(SMALL, weights=part, at=CPU)
    whole = {k: (v * 9).to(torch.int8) for k, v in network_info(SMALL).bare().state_dict().items()}
    path = saved(tmp_path / "w.pth", whole)
    with pytest.raises(WeightsError, match="in int8, without the scale of it"):
        load_network(SMALL, weights=path, at=CPU)
