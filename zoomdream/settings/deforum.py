"""Makes presets of Deforum's settings files.

Deforum (deforum-art/sd-webui-deforum) writes JSON whose camera values are *per frame*, and schedules
such as `0:(1.0), 60:(1.02+0.01*sin(2*3.14*t/30))`, where t is the frame, s the seed and max_f the last
frame. Numbers go over into the next key's linearly; an expression runs until the next key; keys after the
end are left out. All of that is kept: schedules become ours, `per = "frame"`, and give what Deforum's
give. Where Deforum fails (no key at 0, commas inside an expression, a comma at the end) the evident
meaning is taken.
"""

import json
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import tomli_w

from zoomdream.errors import InputError, UsageError
from zoomdream.settings.clock import Clock, Values
from zoomdream.settings.expression import ScheduleError, split_at_commas
from zoomdream.settings.preset_mistakes import mistakes_in
from zoomdream.settings.schedule import read_schedule
from zoomdream.size import Size
from zoomdream.text import printable, read_text

MOST_BYTES = 10_000_000  # bytes of a settings file
Keys = dict[str, float | str]  # of a schedule of ours
_NUMBER = re.compile(r"(?=.)[+-]?[0-9]*(\.[0-9]+)?")  # what Deforum takes for a plain number
_WORDS = {"t": "frame", "s": "seed", "max_f": "(frames-1)"}


def read_deforum_schedule(text: str, frames: int | None = None) -> tuple[Keys, list[str]]:
    """Makes keyframes of ours of a schedule of Deforum's, and notes; raises ScheduleError.

    frames: of the film; keys after its end are left out, as Deforum does.
    """
    keys: Keys = {}
    notes: list[str] = []
    if len(text) > 100_000:
        raise ScheduleError(f"a schedule of {len(text)} characters is too long")
    for part in filter(str.strip, split_at_commas(text)):
        match = re.fullmatch(r"\s*[\"']?\s*(\d{1,9})\s*[\"']?\s*:(.*)", part, re.DOTALL)
        if not match or not match[2].strip():
            raise ScheduleError(f'"{part.strip()[:60]}" is not frame:(value), such as 0:(1.02)')
        frame, value = int(match[1]), _without_brackets(match[2].strip().strip("\"'").strip())
        if frames is not None and frame >= frames:
            notes.append(f"the key {frame} is after the end, and left out")
            continue
        keys.pop(f"{frame}f", None)  # the last one counts
        keys[f"{frame}f"] = (
            float(value) if _NUMBER.fullmatch(value.strip()) else _in_our_names(value)
        )
    if not keys:
        raise ScheduleError(f'"{text[:60]}" has no key: 0:(1.02) would do')
    return keys, notes


def evaluate_schedule(text: str, frames: int, seed: int = 0) -> Values:
    """Evaluates a schedule as Deforum does: one value per frame; raises ScheduleError."""
    keys, _ = read_deforum_schedule(text, frames)
    return read_schedule(keys).values(Clock(Fraction(30), frames, seed))


def _without_brackets(value: str) -> str:
    """Takes off the one pair of brackets that encloses all of a value, if there is one."""
    if value.startswith("(") and value.endswith(")"):
        depth = 0
        for place, letter in enumerate(value):
            depth += (letter == "(") - (letter == ")")
            if depth == 0:
                return value[1:-1] if place == len(value) - 1 else value
    return value


def _in_our_names(value: str) -> str:
    """Replaces Deforum's variables by our names for them."""
    return re.sub(r"\b(t|s|max_f)\b", lambda word: _WORDS[word[0]], value.strip())


# Deforum's name: our setting, a factor (given the width), and whether it is a rate.
_COUNTERPARTS: dict[str, tuple[str, Callable[[float], float], bool]] = {
    "zoom": ("camera.zoom", lambda _: 1.0, True),
    "angle": ("camera.rotate", lambda _: -1.0, True),  # Deforum turns the other way
    "translation_x": ("camera.pan.0", lambda width: -1 / width, True),  # it moves the picture
    "translation_y": ("camera.pan.1", lambda width: -1 / width, True),
    "rotation_3d_x": ("camera.tilt", lambda _: 1.0, True),
    "rotation_3d_y": ("camera.turn", lambda _: 1.0, True),
    "rotation_3d_z": ("camera.rotate", lambda _: 1.0, True),
    "perspective_flip_theta": ("camera.tilt", lambda _: 1.0, True),
    "perspective_flip_phi": ("camera.turn", lambda _: 1.0, True),
    "perspective_flip_gamma": ("camera.rotate", lambda _: 1.0, True),
    "perspective_flip_fv": ("camera.fov", lambda _: 1.0, False),
    "fov_schedule": ("camera.fov", lambda _: 1.0, False),
    "noise_schedule": ("anchor.grain", lambda _: 1.0, False),
    "contrast_schedule": ("anchor.vivid", lambda _: 1.0, False),
    "amount_schedule": ("anchor.vivid", lambda _: 0.5, False),  # 1 + half of it: unsharp masking
}
_USED_IN_2D = ("zoom", "angle", "translation_x", "translation_y")
_USED_IN_3D = (
    "translation_x",
    "translation_y",
    "rotation_3d_x",
    "rotation_3d_y",
    "rotation_3d_z",
    "fov_schedule",
)
_USED_BY_FLIP = tuple(name for name in _COUNTERPARTS if name.startswith("perspective_flip"))
_USED_ALWAYS = ("noise_schedule", "contrast_schedule", "amount_schedule")
_NO_SCHEDULES = {"W", "H", "max_frames", "fps", "seed", "animation_mode", "enable_perspective_flip"}
_NO_EFFECT = re.compile(r"0\s*:\s*\(\s*(0|0\.0+|1|1\.0+)\s*\)\s*")  # schedules that do nothing


def import_settings(path: Path) -> tuple[str, list[str]]:
    """Makes a preset's text of a Deforum settings file; tells what has no counterpart or was changed.

    Raises InputError where it is no such file, UsageError with the field's name for a schedule that
    cannot be read.
    """
    try:
        settings = json.loads(read_text(path, MOST_BYTES))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON, as Deforum's settings files are: {error}") from None
    if not isinstance(settings, dict) or not _NO_SCHEDULES & settings.keys():
        raise InputError(
            f"{path} holds no Deforum settings: max_frames, zoom and the like are missing"
        )
    return _preset(settings, path.name)


def _preset(settings: dict[str, Any], name: str) -> tuple[str, list[str]]:
    frames = _whole_number(settings, "max_frames", 120, 1, 10_000_000)
    size = Size(*(_whole_number(settings, side, 512, 16, 16384) for side in ("W", "H")))
    fps = settings.get("fps", 30)
    if isinstance(fps, bool) or not isinstance(fps, int | float | str):
        raise UsageError("fps: this is no number")
    seed = _whole_number(settings, "seed", 0, -1, 2**63 - 1)
    notes = ["seed: -1 means another one each time; 0 is taken"] if seed < 0 else []
    mode = str(settings.get("animation_mode", "2D"))
    used = [*(_USED_IN_3D if mode == "3D" else _USED_IN_2D), *_USED_ALWAYS]
    if mode != "3D" and settings.get("enable_perspective_flip"):
        used += _USED_BY_FLIP
    preset: dict[str, Any] = {
        "seed": max(seed, 0),
        "camera": {"zoom": 1.0},
        "anchor": {},
        "output": {"frames": frames, "fps": str(fps), "size": size},
    }
    for field in used:
        if field in settings and not (
            field != "zoom" and _NO_EFFECT.fullmatch(str(settings[field]))
        ):
            notes += _add_schedule(preset, field, str(settings[field]), frames, size.width)
    if mode == "3D" and "translation_z" in settings:
        notes += _add_depth(preset, str(settings["translation_z"]), frames)
    unused = sorted(settings.keys() - set(used) - _NO_SCHEDULES - {"translation_z"})
    if unused:
        notes.append(f"no counterpart: {', '.join(unused)}")
    if mistakes := mistakes_in(preset):
        raise UsageError(f"{name}: {mistakes[0].message}")
    return f"# Imported from Deforum's {printable(name)}.\n" + tomli_w.dumps(preset), notes


def _whole_number(settings: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = settings.get(name, default)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not (is_whole and least <= value <= most):
        raise UsageError(f"{name}: {str(value)[:40]} is no whole number of {least} to {most}")
    return int(value)


def _add_schedule(
    preset: dict[str, Any], field: str, text: str, frames: int, width: int
) -> list[str]:
    path, factor, rate = _COUNTERPARTS[field]
    section, name, *place = path.split(".")
    try:
        keys, notes = read_deforum_schedule(text, frames)
        keys = {key: _times(value, factor(width)) for key, value in keys.items()}
        if field == "amount_schedule":
            keys = {key: _plus_one(value) for key, value in keys.items()}
        read_schedule(keys)
    except ScheduleError as error:
        raise UsageError(f"{field}: {error}") from None
    value: Any = {**keys, **({"per": "frame"} if rate else {})}
    if place:
        pair = preset[section].setdefault(name, [0.0, 0.0])
        pair[int(place[0])] = value
    elif name in preset[section] and field != "zoom":
        return [f"{field}: {section}.{name} is taken by another setting already"]
    else:
        preset[section][name] = value
    return [f"{field}: {note}" for note in notes]


def _add_depth(preset: dict[str, Any], text: str, frames: int) -> list[str]:
    """Turns the depth that Deforum's 3D goes forward by into a zoom, a 200th of a unit per frame."""
    try:
        keys, notes = read_deforum_schedule(text, frames)
        keys = {key: _plus_one(_times(value, 1 / 200)) for key, value in keys.items()}
        read_schedule(keys)
    except ScheduleError as error:
        raise UsageError(f"translation_z: {error}") from None
    preset["camera"]["zoom"] = {**keys, "per": "frame"}
    return ["translation_z: taken as a zoom, since there is no depth here", *notes]


def _times(value: float | str, factor: float) -> float | str:
    if factor == 1:
        return value
    return value * factor if isinstance(value, float) else f"({value})*{factor!r}"


def _plus_one(value: float | str) -> float | str:
    return 1 + value if isinstance(value, float) else f"1+({value})"
