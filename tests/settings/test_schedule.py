"""Values over time: keyframes, expressions, easing, and what is wrong with them."""

import math
import random
import string
import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from zoomdream.errors import UsageError
from zoomdream.settings.clock import Clock
from zoomdream.settings.easing import EASES
from zoomdream.settings.expression import FUNCTIONS, Expression, ScheduleError, split_at_commas
from zoomdream.settings.schedule import Schedule, read_schedule
from zoomdream.settings.variables import NAMES, variables

CLOCK = Clock(Fraction(10), 50, seed=7, bpm=120)  # 5 s


def values(written: Any, clock: Clock = CLOCK, logarithmic: bool = False) -> list[float]:
    return [float(v) for v in read_schedule(written).values(clock, logarithmic)]


def test_expressions_see_time_in_every_way() -> None:
    for name, at_ten in {
        "t": 1.0, "frame": 10, "frames": 50, "fps": 10, "duration": 5, "seed": 7, "beat": 2,
        "pi": math.pi, "tau": math.tau,
    }.items():  # fmt: skip
        assert values(name)[10] == pytest.approx(at_ten)
    assert values("1.3 + 0.2*sin(2*pi*t/4)")[10] == pytest.approx(1.5)
    assert set(NAMES) == set(variables(CLOCK, np.zeros(1)))


@pytest.mark.parametrize(
    ("written", "result"),
    [
        ("min(3, t, 2)", 1), ("max(3, t)", 3), ("clamp(t, 0, 0.5)", 0.5), ("lerp(2, 4, 0.25)", 2.5),
        ("smoothstep(0, 2, t)", 0.5), ("where(t > 0.5, 3, 4)", 3), ("where(t == 1, 3, 4)", 3),
        ("abs(-2)**3", 8), ("7 // 2 + 7 % 4", 6), ("exp(log(5))", 5), ("sqrt(floor(9.9))", 3),
        ("tan(0) + cos(0)", 1), ("-t + +t", 0), ("1e-3", 0.001), (" 2 ", 2),
        ("where((t > 0.5) & (t < 2), 3, 4)", 3), ("where((t < 0.5) | ~(t < 2), 3, 4)", 4),
        ("(t > 0) ^ (t > 0.5)", 0), ("(t > 0.5) - (t > 2)", 1), ("6 & 3 | 8", 10), ("1 << 4 >> 2", 4),
        ("t // 0.1 + t % 0.1", 10), ("~5 ^ 1", -5), ("arctan2(1, 1) * 4 / pi", 1), ("hypot(3, 4)", 5),
        ("fmod(-7, 3)", -1), ("-7 % 3", 2),
        ("sinh(t > 0)", math.sinh(1)), ("round(2.5) + ceil(0.1) + trunc(-1.9) + sign(-3)", 1),
        ("log10(100) + log2(8) + log1p(0)", 5),
        ("arcsinh(sinh(2)) + arccosh(cosh(3)) + arctanh(tanh(0.5))", 5.5), ("expm1(0)", 0),
        ("maximum(1, 2) + minimum(1, 2) + copysign(3, -1)", 0), ("isnan(sqrt(-1)) + 1", 2),
        ("+".join(["t"] * 2000), 2000), ("where(t < 0, 0, " * 90 + "7" + ")" * 90, 7),
    ],
)  # fmt: skip
def test_functions_and_operators(written: str, result: float) -> None:
    assert values(written)[10] == pytest.approx(result)


def test_noise_is_smooth_seeded_and_within_one() -> None:
    clock = Clock(Fraction(100), 5000)
    series = np.array(values("noise(t)", clock))
    assert np.abs(series).max() <= 1
    assert np.abs(np.diff(series)).max() < 0.05
    assert series.std() > 0.3
    assert values("noise(t, 1)", clock) != values("noise(t, 2)", clock)


def test_keyframes_in_every_unit() -> None:
    assert values({"0s": 1.0, "2s": 3.0})[10] == pytest.approx(2.0)
    assert values({"0f": 1.0, "20f": 3.0})[10] == pytest.approx(2.0)
    assert values({"0%": 1.0, "40%": 3.0})[10] == pytest.approx(2.0)
    assert values({"0b": 1.0, "4b": 3.0})[10] == pytest.approx(2.0)
    assert values({"0": 1.0, "2": 3.0})[10] == pytest.approx(2.0)
    with pytest.raises(ScheduleError, match="give bpm as well"):
        values({"4b": 1.0}, Clock(Fraction(10), 5))


@pytest.mark.parametrize("ease", EASES)
def test_every_ease_goes_from_key_to_key(ease: str) -> None:
    series = values({"0s": 1.0, "2s": 3.0, "4s": 2.0, "ease": ease})
    assert series[0] == pytest.approx(1)
    assert series[20] == pytest.approx(3)
    assert series[40:] == pytest.approx([2.0] * 10)
    if ease == "step":
        assert series[19] == 1
    elif "back" not in ease:
        assert np.diff(series[:21]).min() >= -1e-12
        assert np.diff(series[20:41]).max() <= 1e-12


def test_smooth_never_overshoots_and_has_no_corners() -> None:
    written = {"0s": 0.0, "1s": 1.0, "2s": 1.0, "4s": 5.0, "ease": "smooth"}
    series = np.array(values(written, Clock(Fraction(100), 400)))
    assert series.min() >= 0
    assert series.max() <= 5
    assert np.abs(np.diff(series, 2)).max() < 0.002


def test_bits_are_of_whole_numbers() -> None:
    for written in ("t << 1.5", "0.5 & 1", "1 | 1e30", "sqrt(-1) ^ 1", "~0.5"):
        with pytest.raises(ScheduleError, match="are for conditions and whole numbers"):
            values(written)


def test_factors_are_interpolated_in_the_logarithm() -> None:
    assert values({"0s": 1.0, "2s": 4.0}, logarithmic=True)[10] == pytest.approx(2)
    with pytest.raises(ScheduleError, match="above 0"):
        values({"0s": 0.0, "2s": 4.0}, logarithmic=True)


def test_ends_and_beginnings() -> None:
    beyond = values({"0s": 0.0, "10s": 10.0})
    assert beyond[49] == pytest.approx(4.9)  # a key after the end still shapes the ramp
    late = read_schedule({"2s": 3.0, "4s": 5.0})
    assert late.values(CLOCK)[:21].tolist() == [3.0] * 21
    assert late.notes(CLOCK) == ["there is no key at 0: the value of 2s is held until then"]
    assert read_schedule({"0s": 1.0}).notes(CLOCK) == []


def test_an_expression_runs_until_the_next_key() -> None:
    series = values({"0s": 1.0, "1s": "t*10", "3s": 2.0, "4s": 4.0})
    assert series[5] == pytest.approx(5.5)  # towards what the expression is at its key
    assert series[20] == pytest.approx(20)
    assert series[30] == 2
    assert series[35] == pytest.approx(3)


WRONG = [
    ("", "is empty"),
    ("1 +", "this is no expression"),
    ("1 + tt*2", 'no "tt" here: did you mean t'),
    ("sni(t)", 'no function "sni": did you mean sin'),
    ("sin", "a function, to be called"),
    ("clamp(t, 1)", "clamp takes 3 values"),
    ("t if t > 1 else 2", "where(condition, this, that)"),
    ("t > 1 and t < 2", "join conditions with & and |"),
    ("2 @ 3", "only numbers"),
    ("+".join(["t"] * 4000), "too many parts"),
    ("__import__('os')", "no function"),
    ("t.__class__", "only numbers"),
    ("(1).__class__", "only numbers"),
    ("[1, 2]", "only numbers"),
    ("'a' * 9", "only numbers"),
    ("lambda: 1", "only numbers"),
    ("t := 3", "this is no expression"),
    ("f'{t}'", "only numbers"),
    ("True", "True and False"),
    ("9" * 400, "too large"),
    ("+" * 10_001 + "1", "too long"),
    ("-" * 160 + "1", "nested more than 100"),
    ("(" * 300 + "1" + ")" * 300, "this is no expression"),
    ({}, "keyframes are missing"),
    ({"ease": "in"}, "keyframes are missing"),
    ({"0s": 1.0, "ease": "inn"}, 'no ease "inn": did you mean in'),
    ({"0s": 1.0, "per": "minute"}, '"second" or "frame"'),
    ({"soon": 1.0}, '"soon" is no time of a key'),
    ({"0s": True}, "no number and no expression"),
    ({"0s": math.inf}, "no finite number"),
    ({"0s": 1.0, "0.0s": 2.0}, "given twice"),
]


@pytest.mark.parametrize(("written", "message"), WRONG)
def test_mistakes_are_told(written: Any, message: str) -> None:
    with pytest.raises(ScheduleError, match=r".") as caught:
        read_schedule(written)
    assert message in str(caught.value)


def test_the_caret_is_under_the_mistake() -> None:
    with pytest.raises(ScheduleError) as caught:
        read_schedule("0.01 + tt*2")
    _, text, caret = str(caught.value).split("\n")
    assert text[caret.index("^") :].startswith("tt*2")


def test_the_same_moment_twice_is_told_in_any_unit() -> None:
    with pytest.raises(ScheduleError, match="1s and 10f are the same moment"):
        values({"1s": 1.0, "10f": 2.0})


def test_values_that_are_not_finite_are_told_with_their_frame() -> None:
    with pytest.raises(ScheduleError, match=r"at frame 20 \(2.00 s\) this is inf"):
        values("1/(t-2)")
    with pytest.raises(ScheduleError, match="at frame 0"):
        values("log(t-1)")
    with pytest.raises(ScheduleError, match="this is inf"):
        values("9.0**9**9**9")


def test_a_schedule_is_evaluated_for_all_frames_at_once() -> None:
    """Ten thousand frames are what each of them is alone."""
    clock = Clock(Fraction(30), 10_000, 3)
    text = "1.3 + 0.2*sin(2*pi*t/4)*noise(t) + where(t>3, 2, 0)"
    together = read_schedule(text).values(clock)
    assert together.shape == (10_000,)
    for frame in (0, 91, 9_999):
        alone = Expression(text).values(clock, np.array([frame / 30]))
        assert together[frame] == pytest.approx(float(alone[0]), abs=1e-12)


def test_what_was_written_can_be_written_again() -> None:
    for written in (
        "1 + sin(t)",
        {"0s": 1.0, "4s": 2.0, "ease": "in-out"},
        {"0f": 1.02, "per": "frame"},
    ):
        schedule = read_schedule(written)
        assert schedule.source == written
        assert read_schedule(schedule.source) == schedule


SCRAPS = [
    *FUNCTIONS, *NAMES, *EASES, "(", ")", "((", ",", "+", "**", "//", "%", " ", "\t", "\n", "1e308",
    "0", ".5", "9" * 40, "__class__", "import", "lambda", "[", "{", "'", '"', "\\", "\0", "é", "😀",
    "if", "else", "for", "in", ":=", "=", "==", "<", "~", "@", "#", ";", "0x10", "1_000", "1j",
]  # fmt: skip


def broken(rng: random.Random) -> str:
    """A string that may be taken for an expression."""
    if rng.random() < 0.5:
        return "".join(rng.choice(SCRAPS) for _ in range(rng.randrange(1, 12)))
    if rng.random() < 0.5:
        text = list("1.3 + 0.2*sin(2*pi*t/4) + where(t>2, noise(t), clamp(frame, 0, 1))")
        for _ in range(rng.randrange(1, 6)):
            text[rng.randrange(len(text))] = rng.choice(string.printable)
        return "".join(text)
    return "".join(rng.choices(string.printable, k=rng.randrange(1, 60)))


def test_eighty_thousand_broken_expressions_give_our_errors_only() -> None:
    rng, slowest, good = random.Random(0), 0.0, 0
    clock = Clock(Fraction(30), 8, 1, 100)
    for _ in range(80_000):
        text = broken(rng)
        started = time.perf_counter()
        try:
            schedule = read_schedule(text)
            assert isinstance(schedule, Schedule)
            schedule.values(clock)
            good += 1
        except UsageError:
            pass
        slowest = max(slowest, time.perf_counter() - started)
    assert good > 500  # not all are broken
    assert slowest < 0.5  # 0.1 on a machine with nothing else to do


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1,2", ["1", "2"]),
        ("max(t,1), [2,3],", ["max(t,1)", " [2,3]", ""]),
        ("a(b(1,2),3),4", ["a(b(1,2),3)", "4"]),
        ("1),2", ["1)", "2"]),
        ("", [""]),
    ],
)
def test_commas_within_brackets_do_not_split(text: str, parts: list[str]) -> None:
    assert split_at_commas(text) == parts
