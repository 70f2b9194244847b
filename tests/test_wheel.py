import os
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.conftest import ROOT, decode


def test_a_wheel_works_in_an_empty_folder(tmp_path: Path) -> None:
    """Weights, presets and the sample picture are inside; the checkout is out of reach."""
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    quiet = {"check": True, "cwd": tmp_path, "timeout": 300}
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT],
        **quiet,  # type: ignore[call-overload]
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "zoomdream/network/pocket/pocket.safetensors" in names
    assert "zoomdream/training/adversarial.py" in names
    assert "zoomdream/network/squeezenet/squeezenet1_0.safetensors" in names
    assert "zoomdream/network/squeezenet/LICENSE-squeezenet.txt" in names
    assert "zoomdream/sample.jpg" in names
    assert any(name.startswith("zoomdream/presets/") for name in names)
    scripts = next(name for name in names if name.endswith("entry_points.txt"))
    assert b"zoomdream = zoomdream.cli:main" in zipfile.ZipFile(wheel).read(scripts)
    site, empty = tmp_path / "site", tmp_path / "empty"
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], **quiet)  # type: ignore[call-overload]
    empty.mkdir()
    for words in (
        ["zoom", "sample", "-o", "a.gif", "--frames", "2", "--size", "64x64"],
        ["clip", "sample", "-o", "b.gif", "--end", "0.2", "--size", "64x48", "--octaves", "1"],
        [
            "render",
            "droste",
            "sample",
            "-o",
            "c.gif",
            "--frames",
            "2",
            "--size",
            "64x64",
            "--set",
            "output.loop=false",
        ],
        ["--version"],
    ):
        subprocess.run(
            [sys.executable, "-m", "zoomdream", *words],
            cwd=empty,
            env={**os.environ, "PYTHONPATH": str(site)},
            check=True,
            capture_output=True,
        )
    assert decode(empty / "a.gif").frames.shape == (2, 64, 64, 3)
    code = "import zoomdream as z, sys; print(z.__file__); z.load_preset('zoom')"
    where = subprocess.run(
        [sys.executable, "-c", code], cwd=empty, env={**os.environ, "PYTHONPATH": str(site)},
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert str(site) in where
