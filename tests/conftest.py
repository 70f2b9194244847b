"""What several tests use: pictures made on the spot, a command line to run, films to decode."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from zoomdream import cli
from zoomdream.files import shipped
from zoomdream.media.ffmpeg import ffmpeg_path
from zoomdream.media.frame import Frame, cover
from zoomdream.media.image_reader import read_still
from zoomdream.network.device import choose_place
from zoomdream.network.network import Network, load_network
from zoomdream.size import Size

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-pixels", action="store_true", help="see test_pixels.py")


@pytest.fixture(scope="session")
def photo() -> Frame:
    """The sample photograph, (1, 3, 96, 128)."""
    return cover(read_still(shipped("sample.jpg")), Size(128, 96))


@pytest.fixture(scope="session")
def pocket() -> Network:
    return load_network("pocket", at=choose_place("cpu", "fp32"))


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Answer]


@pytest.fixture
def zoomdream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    """Runs `zoomdream ...` in an empty folder, in this process."""

    def run(*words: object, **environment: str) -> Answer:
        with monkeypatch.context() as patch, open(os.devnull) as nothing:  # noqa: PTH123
            patch.chdir(tmp_path)
            patch.setattr(sys, "stdin", nothing)
            for name, value in environment.items():
                patch.setenv(name, value)
            capfd.readouterr()
            code = cli.run(list(map(str, words)))
            return Answer(code, *capfd.readouterr())

    return run


def start(folder: Path, *words: object) -> "subprocess.Popen[str]":
    """Starts `python -m zoomdream ...` in a folder, as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "zoomdream", *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@dataclass(frozen=True)
class Decoded:
    """A film, decoded again."""

    frames: NDArray[np.uint8]  # (N, H, W, 3)
    about: str  # ffmpeg's own description


def decode(film: Path) -> Decoded:
    about = subprocess.run(
        [ffmpeg_path(), "-hide_banner", "-i", f"file:{film}"],
        capture_output=True,
        text=True,
        check=False,
    ).stderr
    size = next(
        word.rstrip(",")
        for word in about.split("Video:")[1].split()
        if "x" in word and word.rstrip(",").replace("x", "").isdigit()
    )
    width, height = map(int, size.split("x"))
    raw = subprocess.run(
        [ffmpeg_path(), "-loglevel", "error", "-i", f"file:{film}", "-fps_mode", "passthrough",
         "-vf", "scale=in_color_matrix=bt709:in_range=tv" if film.suffix != ".gif" else "null",
         "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    return Decoded(np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3), about)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean, in 8-bit steps."""
    return float((a - b).abs().mean()) * 255
