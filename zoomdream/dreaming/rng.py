"""Randomness from (seed, frame) alone, so that a render can go on anywhere."""

import torch


def draw_integer(rng: torch.Generator, low: int, high: int) -> int:
    """Draws an integer from `low` to `high`, both included."""
    return int(torch.randint(low, high + 1, (1,), generator=rng)) if high > low else low


def frame_rng(seed: int, number: int) -> torch.Generator:
    """Makes one frame's generator: from (seed, frame) alone, never carried from frame to frame."""
    return torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)
