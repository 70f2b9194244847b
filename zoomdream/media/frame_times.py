"""Make sense of when frames are shown: a clock that runs on, one exact rate, a frame for each tick.

Times are in seconds, exact. Containers round them, some to milliseconds; clocks jump or begin anew where
recordings were joined; frames are lost, doubled, or held for minutes. What a player would show counts.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

USUAL_RATE = Fraction(25)  # frames per second, where a single frame says nothing
FASTEST = 1000  # frames per second; a shorter gap is no rate, but two frames at one time
LONGEST_PAUSE = 600  # seconds that a frame may be held; after more the clock has jumped
JITTER = Fraction(1, 50)  # share of a gap by which others may differ and still be the same
SNAP = Fraction(1, 500)  # share of a rate by which the usual one that it is taken for may differ
COARSE = 3  # ticks that a gap has, at least, for others of a tick more or less to be the same
CANDIDATES = 100  # gaps, the commonest ones, that are looked at


@dataclass(frozen=True)
class RunningTimes:
    """Times that never go back, and how many jumps of the clock were closed for that."""

    times: tuple[Fraction, ...]
    jumps: int = 0


def running_times(stamps: Sequence[Fraction | None]) -> RunningTimes:
    """Makes times that never go back of a decoder's time stamps.

    stamps: when each frame is shown, in the order they are shown; None where the file does not say. Such a
    frame follows the one before it by the commonest gap, and so does one after a jump of the clock.
    """
    known = [b - a for a, b in pairwise(stamps) if a is not None and b is not None]
    gaps = Counter(gap for gap in known if gap >= Fraction(1, FASTEST))
    gap = min(gaps, key=lambda gap: (-gaps[gap], gap), default=1 / USUAL_RATE)
    longest = max(Fraction(LONGEST_PAUSE), gap)  # some films show a frame an hour
    times: list[Fraction] = []
    shift, jumps = Fraction(0), 0
    for stamp in stamps:
        following = times[-1] + gap if times else Fraction(0)
        time = following if stamp is None else stamp + shift
        if times and not times[-1] <= time <= times[-1] + longest:
            shift += following - time
            time, jumps = following, jumps + 1
        times.append(time)
    return RunningTimes(tuple(times), jumps)


def frame_rate(
    times: Sequence[Fraction], tick: Fraction, told: Sequence[Fraction] = ()
) -> Fraction:
    """Finds the exact rate of frames, per second: that of the commonest gap, not the mean one.

    Gaps are taken two by two, so that those which take turns (2 and 3 fields of a film on DVD) count as
    one. tick: what the file counts time in, in seconds. told: rates that the file claims, rounded, which
    decide between usual rates that the gaps cannot tell apart.
    """
    times = sorted(set(times))
    two = 2 if len(times) > 2 else 1
    gaps = [(late - early) / two for early, late in zip(times, times[two:], strict=False)]
    alike = _commonest(gaps, tick)
    if not alike:
        return USUAL_RATE
    gap = sum(alike, Fraction(0)) / len(alike)
    spread = max(alike) - min(alike)
    error = tick / gap / len(times)
    if spread or tick * COARSE > gap:
        error = max(SNAP, max(spread, tick) / gap / 4)
    usual = {rate for about in (1 / gap, *told) for rate in _usual_rates(about)}
    near = [rate for rate in sorted(usual) if abs(rate * gap - 1) <= error]
    if not spread or not near:
        near.append((1 / gap).limit_denominator(10**6))
    claimed = [rate for rate in near if any(abs(rate - one) < Fraction(6, 1000) for one in told)]
    return min(claimed or near, key=lambda rate: abs(rate * gap - 1))


def _commonest(gaps: Sequence[Fraction], tick: Fraction) -> list[Fraction]:
    """Picks the commonest gap and those that are the same but for jitter and rounding to ticks.

    A clearly shorter one that is at least half as common wins: so no frames are lost.
    """
    counts = Counter(gap for gap in gaps if gap >= Fraction(1, FASTEST))
    if not counts:
        return []
    seconds, times = np.array([float(gap) for gap in counts]), np.array(list(counts.values()))

    def alike(gap: Fraction) -> NDArray[np.bool_]:
        slack = max(gap * JITTER, tick if tick * COARSE <= gap else Fraction(0))
        same: NDArray[np.bool_] = np.abs(seconds - float(gap)) <= float(slack) + 1e-9
        return same

    candidates = {gap: int(times[alike(gap)].sum()) for gap, _ in counts.most_common(CANDIDATES)}
    common = max(candidates, key=lambda gap: (candidates[gap], counts[gap], -gap))
    if candidates[common] * 3 < counts.total():  # they all differ: the middle half of them
        ordered = sorted(counts.elements())
        quarter = len(ordered) // 4
        return ordered[quarter : len(ordered) - quarter]
    shorter = {
        gap: count
        for gap, count in candidates.items()
        if gap < common * Fraction(9, 10) and count * 2 >= candidates[common]
    }
    chosen = max(shorter, key=lambda gap: (shorter[gap], -gap)) if shorter else common
    kinds = zip(counts, alike(chosen), strict=True)
    return list(Counter({gap: counts[gap] for gap, same in kinds if same}).elements())


def _usual_rates(rate: Fraction) -> Iterator[Fraction]:
    """Yields usual rates around one: wholes, halves, n * 1000 / 1001, and so many seconds a frame."""
    for unit in (Fraction(1), Fraction(1, 2), Fraction(1000, 1001)):
        n = math.floor(rate / unit)
        yield from (unit * count for count in (n, n + 1) if count)
    if rate < 1:
        n = math.floor(1 / rate)
        yield from (Fraction(1, n), Fraction(1, n + 1))


def shown_frames(
    times: Sequence[Fraction], begin: Fraction, fps: Fraction, count: int
) -> Iterator[int]:
    """Says which frame is on at each of `count` ticks from `begin` on: numbers in `times`, never falling.

    A frame comes at the tick that is nearest to its time, and stays until the next one's; where several
    come at one tick, the last is shown (as ffmpeg's `fps` filter has it).
    """
    number, last = 0, len(times) - 1
    for tick in range(count):
        while (
            number < last and math.floor((times[number + 1] - begin) * fps + Fraction(1, 2)) <= tick
        ):
            number += 1
        yield number
