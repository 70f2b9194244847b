"""A feedback zoom stays alive: `python -m pytest -m slow` watches 2,000 frames (minutes)."""

import os
from statistics import median

import numpy as np
import pytest
import torch

import zoomdream as zd
from zoomdream.files import shipped
from zoomdream.media.frame import cover
from zoomdream.media.image_reader import read_still
from zoomdream.motion.camera import camera_flow
from zoomdream.motion.warp import warp
from zoomdream.size import Size
from zoomdream.study.metrics import (
    high_frequencies,
    mean_lab,
    novelty,
    palette_distance,
    saturation,
)

APART = 60  # frames between two that are compared for what is new


def watch(frames: int, size: Size) -> dict[str, list[float]]:
    """Colour (L, a, b), palette, saturation, high frequencies and novelty of a default zoom's frames.

    palette: how far it is from the source's.
    """
    job = zd.load_preset("zoom").change(source="sample", output=zd.Output(size=size, frames=frames))
    undone = camera_flow(job.camera, size, APART / 30)
    measured: dict[str, list[float]] = {
        key: [] for key in ("L", "a", "b", "palette", "saturation", "high", "new")
    }
    source = cover(read_still(shipped("sample.jpg")), size)
    last: list[torch.Tensor] = []
    with zd.render(job) as film:
        for dreamt in film:
            for key, value in zip("Lab", mean_lab(dreamt.frame).tolist(), strict=True):
                measured[key].append(value)
            measured["palette"].append(palette_distance(source, dreamt.frame))
            measured["saturation"].append(saturation(dreamt.frame))
            measured["high"].append(high_frequencies(dreamt.frame))
            if len(last) == APART:
                measured["new"].append(novelty(dreamt.frame, warp(last.pop(0), undone)))
            last.append(dreamt.frame)
    return measured


@pytest.mark.slow
def test_two_thousand_frames_look_alive() -> None:
    """After the first 100 frames, against the running median of the frames around (3 s)."""
    frames = int(os.environ.get("ZOOMDREAM_STABILITY_FRAMES", "2000"))
    measured = watch(frames, Size.square(256))
    lab = np.stack([measured[key] for key in "Lab"], 1)[100:]
    middle = np.median(lab, 0)
    saturations, highs = np.array(measured["saturation"])[100:], np.array(measured["high"])[100:]
    assert np.linalg.norm(lab - middle, axis=1).max() < 3
    assert np.abs(saturations / np.median(saturations) - 1).max() < 0.10
    assert np.abs(highs / np.median(highs) - 1).max() < 0.10
    assert min(measured["new"]) > 0.2
    palette = np.array(measured["palette"])[30:]
    assert np.quantile(palette, 0.9) < 4
    early, late = np.array_split(palette, 2)
    assert np.median(late) < np.median(early) + 0.5  # no trend


def test_a_hundred_frames_look_alive() -> None:
    """The quick version: from frame 60 to 120 nothing runs away, and there is something new."""
    measured = watch(120, Size.square(96))
    for key, most in (("saturation", 0.25), ("high", 0.25)):
        late = measured[key][60:]
        assert max(late) / min(late) - 1 < most
    assert abs(median(measured["L"][90:]) - median(measured["L"][60:90])) < 4
    assert median(measured["new"]) > 0.15
    assert max(measured["palette"][30:]) < 4
