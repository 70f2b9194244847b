from fractions import Fraction
from typing import Any, cast

import pytest

from zoomdream.errors import UsageError, nearest
from zoomdream.network.layer_objectives import Target
from zoomdream.settings.clock import Clock
from zoomdream.settings.definitions import (
    SETTINGS,
    Anchor,
    Camera,
    DreamSpec,
    Output,
    RenderJob,
    settings_of,
)
from zoomdream.settings.schedule import Schedule
from zoomdream.settings.timeline import Timeline
from zoomdream.settings.traits import Settings, setting


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DreamSpec(octaves=-1), "octaves: .*greater than or equal to 0"),
        (lambda: DreamSpec(step_size=float("nan")), "step_size: .*finite"),
        (lambda: Camera(zoom=float("inf")), "zoom: .*finite"),
        (lambda: Camera(zoom=0), "zoom: "),
        (lambda: cast(Any, DreamSpec)(octave=3), 'no setting "octave": did you mean octaves'),
        (lambda: RenderJob(device="gpu"), "device: .*'cuda'"),
        (lambda: Output(size=(1, 99999)), "1x99999 is not within"),
        (lambda: Output(fps="fast"), "fps: a number such as 30"),
        (lambda: Output(fps="1/0"), "fps: a number such as 30"),
        (lambda: Anchor(to="palette"), "palette picture"),
    ],
)
def test_mistakes_are_told_in_one_sentence(make: object, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        make()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_settings_are_frozen_and_change_by_copy() -> None:
    spec = DreamSpec()
    with pytest.raises(Exception, match="frozen"):
        spec.steps = 5  # type: ignore[misc]
    assert spec.change(steps=5, octaves=None).steps == 5
    assert spec.steps == DreamSpec().steps
    with pytest.raises(UsageError):
        spec.change(steps=-1)


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("30", Fraction(30)),
        (24, Fraction(24)),
        ("23.976", Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        ("24000/1001", Fraction(24000, 1001)),
        ("12.5", Fraction(25, 2)),
    ],
)
def test_frame_rates_are_exact(text: object, exact: Fraction) -> None:
    assert Output(fps=text).fps == exact


def test_length_in_seconds_or_frames() -> None:
    assert Output(seconds=2).length(Fraction(24000, 1001)) == 48
    assert Output(seconds=2, frames=7).length(Fraction(30)) == 7
    assert Output(seconds=0.001).length(Fraction(30)) == 1


def test_a_draft_keeps_the_motion() -> None:
    job = RenderJob(dream=DreamSpec(steps=8))
    draft = job.draft()
    assert draft.camera == job.camera
    assert draft.output.seconds == job.output.seconds
    assert (draft.output.scale, draft.dream.steps) == (0.5, 2)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("eyes", Target("eyes")),
        ("eyes=0.5", Target("eyes", (), 0.5)),
        ("eyes:12", Target("eyes", ((12, 1.0),))),
        ("eyes:3+7-0.5*12=2", Target("eyes", ((3, 1.0), (7, 1.0), (12, -0.5)), 2)),
        ("eyes:-3+7", Target("eyes", ((3, -1.0), (7, 1.0)))),
        ("class:291-0.5*281", Target("class", ((291, 1.0), (281, -0.5)))),
        (
            "class:lion+three-toed sloth-1*tabby",
            Target(
                "class", ((291, 1.0), (364, 1.0), (281, -1.0)), 1.0, "lion+three-toed sloth-1*tabby"
            ),
        ),
        ("features.9:3=-2", Target("features.9", ((3, 1.0),), -2)),
    ],
)
def test_targets(text: str, target: Target) -> None:
    assert Target.parse(text) == target
    assert Target.parse(str(target)) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        "eyes=",
        "eyes=x",
        "eyes:",
        "eyes:-1",
        "eyes:a",
        "=1",
        "eyes=nan",
        "eyes:3+",
        "eyes:3++4",
        "eyes:3-",
        "eyes:3*",
    ],
)
def test_wrong_targets(text: str) -> None:
    with pytest.raises(UsageError, match="NAME=WEIGHT"):
        Target.parse(text)


class Lens(Settings):
    """As a section with one setting that is new."""

    PANEL = "Camera"

    blur: float = setting(0.5, "pixels per second", ge=0, le=9, changes=True, rate=True, after="x")
    plain: int = setting(3, "nothing more")


def test_a_field_is_all_that_a_new_setting_needs() -> None:
    blur, plain = settings_of(Lens, "lens").values()
    assert (blur.path, blur.panel, blur.field.default) == ("lens.blur", "Camera", 0.5)
    assert (blur.traits.changes, blur.traits.rate, blur.traits.after) == (True, True, "x")
    assert (plain.panel, plain.traits.changes) == ("Camera", False)
    changing = cast(Any, Lens)(blur="1 + sin(t)")
    assert isinstance(changing.blur, Schedule)
    with pytest.raises(UsageError, match=r"blur: .*less than or equal to 9"):
        Lens(blur=10)
    with pytest.raises(UsageError, match="plain: "):
        cast(Any, Lens)(plain="1 + sin(t)")


def test_what_is_known_of_settings_fits_together() -> None:
    for path, known in SETTINGS.items():
        traits = known.traits
        assert traits.changes or not (traits.rate or traits.factor), path
        assert known.field.description, path
        if traits.after:
            assert SETTINGS[traits.after].panel == known.panel, path
    assert [path for path, known in SETTINGS.items() if known.traits.factor] == ["camera.zoom"]


@pytest.mark.parametrize("path", [path for path, s in SETTINGS.items() if s.traits.changes])
def test_only_rates_and_factors_may_be_given_per_frame(path: str) -> None:
    section, name = path.split(".")
    part: Any = {"0s": 1.0, "per": "frame"}
    traits = SETTINGS[path].traits
    value = (part, 0.0) if isinstance(SETTINGS[path].field.default, tuple) else part
    job = cast(Any, RenderJob)(**{section: {name: value}})
    if traits.rate or traits.factor:
        Timeline(job, Clock(Fraction(10), 5))
    else:
        with pytest.raises(UsageError, match=f'{path}: per = "frame" is for rates'):
            Timeline(job, Clock(Fraction(10), 5))


def test_nearest_names() -> None:
    assert nearest("eys", ["eyes", "faces"]) == "did you mean eyes or faces?"
    assert nearest("Mixed_5D", ["Mixed_5d", "Mixed_7a"]).startswith("did you mean Mixed_5d")
    assert nearest("qqq", ["eyes", "faces"]) == "there are eyes, faces"
