"""A feedback zoom stays alive: `python -m pytest -m slow` watches 2,000 frames (minutes)."""

import os
from statistics import median

import numpy as np
import pytest
import torch

import zoomdream as zd
from zoomdream.film.frames import render_frames
from zoomdream.film.inputs import open_clip, open_network
from zoomdream.motion.camera import camera_flow
from zoomdream.motion.warp import warp
from zoomdream.size import Size
from zoomdream.study.metrics import high_frequencies, mean_lab, novelty, saturation

APART = 60  # frames between two that are compared for what is new


def watch(frames: int, size: Size) -> dict[str, list[float]]:
    """Colour (L, a, b), saturation, high frequencies and novelty of each frame of a default zoom."""
    job = zd.RenderJob(source="sample", output=zd.Output(size=size, frames=frames))
    clip, network = open_clip(job), open_network(job)
    undone = camera_flow(job.camera, clip.size, APART / float(clip.fps))
    seen: dict[str, list[float]] = {key: [] for key in ("L", "a", "b", "saturation", "high", "new")}
    last: list[torch.Tensor] = []
    for dreamt in render_frames(job, clip, network):
        for key, value in zip("Lab", mean_lab(dreamt.frame).tolist(), strict=True):
            seen[key].append(value)
        seen["saturation"].append(saturation(dreamt.frame))
        seen["high"].append(high_frequencies(dreamt.frame))
        if len(last) == APART:
            seen["new"].append(novelty(dreamt.frame, warp(last.pop(0), undone)))
        last.append(dreamt.frame)
    return seen


@pytest.mark.slow
def test_two_thousand_frames_look_alive() -> None:
    """After the first 100 frames, against the running median of the frames around (3 s)."""
    frames = int(os.environ.get("ZOOMDREAM_STABILITY_FRAMES", "2000"))
    seen = watch(frames, Size.square(256))
    lab = np.stack([seen[key] for key in "Lab"], 1)[100:]
    middle = np.median(lab, 0)
    saturations, highs = np.array(seen["saturation"])[100:], np.array(seen["high"])[100:]
    assert np.linalg.norm(lab - middle, axis=1).max() < 3
    assert np.abs(saturations / np.median(saturations) - 1).max() < 0.05
    assert np.abs(highs / np.median(highs) - 1).max() < 0.10
    assert min(seen["new"]) > 0.2


def test_a_hundred_frames_look_alive() -> None:
    """The quick version: from frame 60 to 120 nothing runs away, and there is something new."""
    seen = watch(120, Size.square(96))
    for key, most in (("saturation", 0.25), ("high", 0.25)):
        late = seen[key][60:]
        assert max(late) / min(late) - 1 < most
    assert abs(median(seen["L"][90:]) - median(seen["L"][60:90])) < 4
    assert median(seen["new"]) > 0.15
