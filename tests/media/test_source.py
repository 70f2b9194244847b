"""Clips that end, and clips of which nobody knows when."""

from fractions import Fraction
from itertools import islice

import torch

from zoomdream.media.source import still_clip

FRAME = torch.rand(1, 3, 4, 6)


def test_a_still_repeats_as_often_as_is_wanted() -> None:
    clip = still_clip(FRAME, Fraction(25), 3)
    assert (clip.length, clip.size) == (3, (6, 4))
    assert all(frame is FRAME for frame in clip.frames)


def test_a_clip_of_unknown_length_goes_on() -> None:
    clip = still_clip(FRAME, Fraction(25), None)
    assert clip.length is None
    assert len(list(islice(clip.frames, 1000))) == 1000
