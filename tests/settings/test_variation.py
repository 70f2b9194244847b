"""What a sweep varies is found by any name of a setting, and read from one text."""

from pathlib import Path
from typing import Any

import pytest

from zoomdream.errors import UsageError
from zoomdream.settings.definitions import SETTINGS
from zoomdream.settings.variation import choices, read_choices, varied_path


def read(text: str) -> list[tuple[str, dict[str, Any]]]:
    return [(one.written, dict(one.changes)) for one in read_choices(text, lambda p, v: {p: v})]


def test_a_setting_has_three_names() -> None:
    for name in ("dream.step_size", "step-size", "step_size", "--step-size"):
        assert varied_path(name) == "dream.step_size"
    assert varied_path("layer") == varied_path("layers") == "dream.layers"
    assert varied_path("anchor") == "anchor.to"
    assert varied_path("seconds") == "output.seconds"  # the option's name goes before guide.seconds
    assert varied_path("seed") == "seed"
    assert varied_path("preset") == "preset"
    for path, setting in SETTINGS.items():
        if setting.traits.has_flag and path not in ("force", "max_pixels"):
            assert varied_path(setting.flag) == varied_path(path) == path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stepz", "did you mean steps"),
        ("dream.stepz", "did you mean dream.steps"),
        ("target", "there is no setting"),
        ("force", "there is no setting"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        varied_path(name)


def test_values_stand_between_commas_or_semicolons() -> None:
    assert read("steps = 2, 4") == [
        ("steps=2", {"dream.steps": "2"}),
        ("steps=4", {"dream.steps": "4"}),
    ]
    written = {
        "zoom=1.2,min(1,t)": ["1.2", "min(1,t)"],
        "center=0.3,0.5;0.7,0.5": ["0.3,0.5", "0.7,0.5"],
        "center=0.3,0.5;": ["0.3,0.5"],
        "layer=eyes:3+7-0.5*12,faces=0.5": ["eyes:3+7-0.5*12", "faces=0.5"],
        'zoom={"0s"=1,"2s"=2},3': ['{"0s"=1,"2s"=2}', "3"],
        "seed=0..3": ["0", "1", "2", "3"],
        "seed=3..1,9": ["3", "2", "1", "9"],
        "zoom=0.2..1.0:5": ["0.2", "0.4", "0.6", "0.8", "1"],
        "steps=2..9:4": ["2", "4", "7", "9"],
        "vivid=-.5..0.5:3": ["-0.5", "0", "0.5"],
    }
    for text, values in written.items():
        assert [choice.partition("=")[2] for choice, _ in read(text)] == values, text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps", "is not NAME=VALUE"),
        ("steps=", "empty value"),
        ("steps=1,,2", "empty value"),
        ("zoom=0.2..1", r"such as 0.2..1:5"),
        ("seed=0..1000000000", "2 to 100 would do"),
        ("zoom=0..1:1", "2 to 100 would do"),
    ],
)
def test_what_is_no_value_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(text)


def test_values_from_python_are_written_as_options_take_them() -> None:
    def written(name: str, value: Any) -> str:
        (choice,) = choices(name, [value])
        assert choice.changes == {varied_path(name): value}
        return choice.written

    assert written("zoom", 1.50) == "zoom=1.5"
    assert written("keep-color", True) == "keep-color=true"
    assert written("center", (0.3, 0.5)) == "center=0.3,0.5"
    assert written("dream.layers", {"eyes": 1, "faces": 0.5}) == "dream.layers=eyes=1,faces=0.5"
    assert written("mask", Path("a.png")) == "mask=a.png"
