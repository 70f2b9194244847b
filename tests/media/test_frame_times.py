"""When frames are shown: a clock that runs on, one exact rate, a frame for each tick."""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate

import pytest

from zoomdream.media.frame_times import frame_rate, running_times, shown_frames

MILLISECOND, FINE = Fraction(1, 1000), Fraction(1, 90000)


def evenly(rate: Fraction, count: int, tick: Fraction = FINE) -> list[Fraction]:
    """Times of frames, rounded to ticks as containers do."""
    return [round(n / rate / tick) * tick for n in range(count)]


def gaps(*lengths: float) -> list[Fraction]:
    return [
        Fraction(0),
        *accumulate(Fraction(length).limit_denominator(3000) for length in lengths),
    ]


RATES = ["15000/1001", "10000/1001", "24000/1001", "24", "25", "12.5", "30000/1001", "30", "60",
         "120000/1001", "240000/1001", "1", "1/10", "480"]  # fmt: skip


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("tick", [MILLISECOND, FINE])
def test_rates_are_exact_however_times_are_rounded(rate: str, tick: Fraction) -> None:
    exact = Fraction(rate)
    told = [round(exact, 2)]
    assert frame_rate(evenly(exact, 30, tick), tick, told) == exact


@pytest.mark.parametrize(
    ("times", "rate"),
    [
        pytest.param(gaps(*[1 / 30] * 50, 2 / 30, *[1 / 30] * 48), "30", id="one is lost"),
        pytest.param(gaps(*[1 / 60] * 49, 2, 2, *[1 / 60] * 47), "60", id="bursts"),
        pytest.param(gaps(*[1 / 24] * 40, *[1 / 30] * 30), "30", id="two rates: none is lost"),
        pytest.param(gaps(*[2 / 60, 3 / 60] * 20), "24", id="fields of a film take turns"),
        pytest.param(gaps(*[0, 1 / 25] * 20), "25", id="frames at one time"),
        pytest.param([n / Fraction(30) + Fraction(round(math.sin(n * 1.7) * 540), 90000)
                      for n in range(100)], "30", id="a telephone's jitter"),
        pytest.param([Fraction(0)], "25", id="a single one"),
        pytest.param(gaps(*[0.07] * 9), "100/7", id="of no usual kind"),
    ],
)  # fmt: skip
def test_the_commonest_gap_is_the_rate(times: Sequence[Fraction], rate: str) -> None:
    assert frame_rate(times, FINE, [Fraction(30)]) == Fraction(rate)


def test_an_empty_frame_of_avi_is_no_other_rate() -> None:
    """AVI counts in frames: two ticks are a frame that is missing, not rounding."""
    times = [Fraction(n, 24) for n in range(24) if n != 1]
    assert frame_rate(times, Fraction(1, 24)) == 24


def test_a_clock_that_jumps_or_begins_anew_runs_on() -> None:
    second = [Fraction(n, 25) for n in range(25)]
    whole = tuple(Fraction(n, 25) for n in range(50))
    assert running_times([*second, *second]).times == whole
    leap = running_times([*second, *(time + 7200 for time in second)])
    assert leap.times == whole
    assert leap.jumps == 1
    unknown = running_times([*second[:3], None, None, *second[5:]])
    assert unknown.times == tuple(second)
    assert unknown.jumps == 0
    pause = running_times([*second, *(time + 90 for time in second)])  # a screen that stood still
    assert pause.times[-1] == 90 + second[-1]
    hourly = running_times([Fraction(n * 3600) for n in range(4)])
    assert hourly.times[-1] == 3 * 3600
    assert hourly.jumps == 0


def test_frames_without_any_time_follow_each_other() -> None:
    assert running_times([None] * 3).times == tuple(Fraction(n, 25) for n in range(3))


@pytest.mark.parametrize(
    ("rate", "frames"), [("30", [0, 0, 2, 3, 3, 5]), ("10", [0, 3]), ("60", [0, 0, 0, 0, 2, 2, 3])]
)
def test_a_frame_is_shown_until_the_next(rate: str, frames: list[int]) -> None:
    """30 frames a second of which every third from the second on is missing."""
    times = [Fraction(n, 30) for n in range(9) if n % 3 != 1]
    chosen = shown_frames(times, Fraction(0), Fraction(rate), len(frames))
    assert [round(times[number] * 30) for number in chosen] == frames
