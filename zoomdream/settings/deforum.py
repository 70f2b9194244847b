"""Makes presets of Deforum's settings files.

Deforum (deforum-art/sd-webui-deforum) writes JSON whose camera values are *per frame*, and schedules such as
`0:(1.0), 60:(1.02+0.01*sin(2*3.14*t/30))` (see `deforum_schedule`). They become schedules of ours,
`per = "frame"`, that give what Deforum's give.

Its camera is told by `animation.py`. In 2D, OpenCV rotates and zooms about a point, after the picture was
moved by pixels. In 3D, a picture of 2 by 2 is looked at from a distance of 1: x goes to the right, y up and z
forward by 200ths, positive angles look up and to the right and roll clockwise, and all of it is as much
stronger as the angle of view is narrow. A perspective flip turns the picture as if it hung on a wall; there,
Deforum's 2D forgets the translation, and turns about a point that depends on the angle of view, where here
the middle stays.

A Parseq manifest among the settings wins over them, as it does there.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import numpy as np
import tomli_w
from pydantic.fields import FieldInfo

from zoomdream.errors import InputError, UsageError
from zoomdream.settings.clock import Clock, Values
from zoomdream.settings.definitions import SETTINGS, Setting
from zoomdream.settings.deforum_schedule import (
    Keys,
    evaluate_keys,
    evaluate_schedule,
    interpolate,
    read_deforum_schedule,
)
from zoomdream.settings.expression import Expression, ScheduleError
from zoomdream.settings.parseq import is_address, read_parseq
from zoomdream.settings.preset_mistakes import mistakes_in
from zoomdream.size import Size
from zoomdream.text import printable, read_text

__all__ = ["evaluate_schedule", "import_settings", "read_deforum_schedule"]

MOST_BYTES = 10_000_000  # bytes of a settings file


@dataclass(frozen=True)
class _Film:
    """What is known of a film before its schedules are read. Angles of view in degrees."""

    frames: int
    fps: Fraction
    size: Size
    seed: int
    fov: float = 90.0
    flip_fov: float = 90.0

    @property
    def terms(self) -> dict[str, str]:
        """What counterparts may name: pixels, and lengths that follow from the angles of view."""
        diagonal = math.hypot(*self.size) / self.size.width
        distance = diagonal / math.sin(math.radians(self.flip_fov / 2)) / 2  # of the eye, in widths
        return {
            "width": f"{self.size.width}",
            "height": f"{self.size.height}",
            "focal": repr(1 / math.tan(math.radians(self.fov / 2))),
            "diagonal": repr(diagonal),
            "shift": repr(math.radians(1) * distance),
        }


@dataclass(frozen=True)
class _Counterpart:
    """Our setting for a field of Deforum's: its path, how to compute it, and what does nothing there.

    formula: an expression of ours with {value}, Deforum's, in it, and with what `_Film.terms` tells.
    idle: the value of Deforum's that is left out; None where there is none.
    """

    path: str  # with an index where the setting is a pair: camera.pan.0
    formula: str = "{value}"
    idle: float | None = 0.0


_Fields = dict[str, list[_Counterpart]]
_IN_2D: _Fields = {
    "zoom": [_Counterpart("camera.zoom", idle=1.0)],
    "angle": [_Counterpart("camera.rotate", "({value})*-1.0")],
    "transform_center_x": [_Counterpart("camera.center.0", idle=0.5)],
    "transform_center_y": [_Counterpart("camera.center.1", idle=0.5)],
}
_IN_2D_UNFLIPPED: _Fields = {
    "translation_x": [_Counterpart("camera.pan.0", "({value})*-1.0/{width}")],
    "translation_y": [_Counterpart("camera.pan.1", "({value})*-1.0/{width}")],
}
_IN_2D_FLIPPED: _Fields = {  # a camera that looks elsewhere, and goes as far back that the middle stays
    "perspective_flip_theta": [_Counterpart("camera.rotate")],
    "perspective_flip_phi": [
        _Counterpart("camera.tilt", idle=None),
        _Counterpart("camera.pan.1", "({value})*{shift}"),
    ],
    "perspective_flip_gamma": [
        _Counterpart("camera.turn", idle=None),
        _Counterpart("camera.pan.0", "({value})*-{shift}"),
    ],
    "perspective_flip_fv": [
        _Counterpart("camera.fov", "2*arctan(sin(({value})*pi/360)/{diagonal})*180/pi", idle=None)
    ],
}
_IN_3D: _Fields = {
    "translation_x": [_Counterpart("camera.pan.0", "({value})*{focal}/400")],
    "translation_y": [_Counterpart("camera.pan.1", "({value})*-{focal}/400*{height}/{width}")],
    "translation_z": [_Counterpart("camera.zoom", "1+({value})*{focal}/200")],
    "rotation_3d_x": [_Counterpart("camera.tilt")],
    "rotation_3d_y": [_Counterpart("camera.turn")],
    "rotation_3d_z": [_Counterpart("camera.rotate", "({value})*-{focal}")],
    "fov_schedule": [_Counterpart("camera.fov", idle=None)],
}
_IN_ALL: _Fields = {
    "noise_schedule": [_Counterpart("anchor.grain", idle=None)],
    "contrast_schedule": [_Counterpart("anchor.vivid", idle=1.0)],
    "amount_schedule": [_Counterpart("anchor.vivid", "1+({value})*0.5")],  # unsharp masking
}
_VIEWS = {"fov_schedule": "fov", "perspective_flip_fv": "flip_fov"}  # angles that a _Film has
_PICTURES = {"use_init": ("init_image", "source"), "use_mask": ("mask_file", "mask")}
"""By switch: the field that names a picture, and our setting for it."""
_OLDER_NAMES = {"flip_2d_perspective": "enable_perspective_flip", "fov": "fov_schedule"}
_SWITCHES = {"animation_mode", "enable_perspective_flip", "use_init", "use_mask"}
_NO_SCHEDULES = {"W", "H", "max_frames", "fps", "seed"} | _SWITCHES
_PARSEQ = {"parseq_manifest", "parseq_use_deltas", "parseq_non_schedule_overrides"}
_SCHEDULES = _IN_2D | _IN_2D_UNFLIPPED | _IN_2D_FLIPPED | _IN_3D | _IN_ALL


def import_settings(path: Path) -> tuple[str, list[str]]:
    """Makes a preset's text of a Deforum settings file; tells what has no counterpart or was changed.

    The file may also be a Parseq manifest by itself. Raises InputError where it is neither, UsageError
    with the field's name for a schedule that cannot be read.
    """
    try:
        settings = json.loads(read_text(path, MOST_BYTES, errors="replace"), strict=False)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON, as Deforum's settings files are: {error}") from None
    if isinstance(settings, dict) and "rendered_frames" in settings:
        settings = {"parseq_manifest": settings, "parseq_non_schedule_overrides": True}
    known = _NO_SCHEDULES | _PARSEQ | _OLDER_NAMES.keys() | _SCHEDULES.keys()
    if not isinstance(settings, dict) or not known & settings.keys():
        raise InputError(
            f"{path} holds no Deforum settings: max_frames, zoom and the like are missing"
        )
    settings = {_OLDER_NAMES.get(name, name): value for name, value in settings.items()}
    settings, notes = _with_parseq(settings)
    text, more = _preset(settings, path)
    return text, notes + more


def _with_parseq(settings: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Lays what a Parseq manifest says of each frame over the settings."""
    manifest = settings.get("parseq_manifest")
    if not manifest or (isinstance(manifest, str) and not manifest.strip()):
        return settings, []
    if is_address(manifest):
        return settings, ["parseq_manifest: no address is read; the schedules beside it are taken"]
    fields = {name: _is_rate(counterparts[0]) for name, counterparts in _SCHEDULES.items()}
    try:
        read = read_parseq(manifest, fields, settings.get("parseq_use_deltas", True))
    except UsageError as error:
        raise UsageError(f"parseq_manifest: {error}") from None
    if not settings.get("parseq_non_schedule_overrides"):
        read = {name: value for name, value in read.items() if name in fields}
    return settings | read, []


def _preset(settings: dict[str, Any], path: Path) -> tuple[str, list[str]]:
    settings = {name: value for name, value in settings.items() if value is not None}
    film, notes = _read_film(settings)
    used, usual = _fields_of_mode(settings)
    if used is _IN_ALL:
        notes.append(f"animation_mode: {str(settings['animation_mode'])[:40]!r} moves no camera")
    settings = usual | settings
    film = _with_views(film, {field: settings[field] for field in _VIEWS if field in used})
    preset: dict[str, Any] = {
        "seed": film.seed,
        "camera": {},
        "anchor": {},
        "output": {"frames": film.frames, "fps": str(film.fps), "size": film.size},
    }
    for field, counterparts in used.items():
        if field in settings:
            notes += _add_schedule(preset, film, field, settings[field], counterparts)
    preset["camera"].setdefault("zoom", 1.0)
    pictures, missing = _read_pictures(settings, path.parent)
    preset |= pictures
    notes += missing + _notes_on_unused(settings, used)
    if mistakes := mistakes_in(preset):
        raise UsageError(f"{path.name}: {mistakes[0].message}")
    return f"# Imported from Deforum's {printable(path.name)}.\n" + tomli_w.dumps(preset), notes


def _with_views(film: _Film, written: Mapping[str, Any]) -> _Film:
    """Gives a film the angles of view that it begins with. written: the schedules of those that are used."""
    angles: dict[str, Any] = {
        _VIEWS[field]: float(np.clip(_read_schedule(schedule, field, film)[1][0], 1, 160))
        for field, schedule in written.items()
    }
    return replace(film, **angles)


def _read_pictures(settings: Mapping[str, Any], folder: Path) -> tuple[dict[str, str], list[str]]:
    """Finds the pictures that are switched on, by our settings for them, and notes on what is no file."""
    found, notes = {}, []
    for switch, (field, ours) in _PICTURES.items():
        if settings.get(switch) is True and field in settings:
            written = str(settings[field])
            picture = (folder / written).absolute()
            if _is_file(picture):
                found[ours] = str(picture)
            else:
                notes.append(f"{field}: {written[:60]!r} is no file here")
    return found, notes


def _notes_on_unused(settings: Mapping[str, Any], used: _Fields) -> list[str]:
    """Lists the fields that do nothing in the file's mode, and those that have no counterpart."""
    pictures = {field for switch, (field, _) in _PICTURES.items() if settings.get(switch) is True}
    unused = settings.keys() - used.keys() - _NO_SCHEDULES - _PARSEQ - pictures
    idle = unused & (_SCHEDULES.keys() - (_IN_2D_FLIPPED.keys() if _flips(settings) else set()))
    notes = []
    for what, fields in (("not used in this mode", idle), ("no counterpart", unused - idle)):
        if fields:
            notes.append(f"{what}: {', '.join(sorted(fields))}")
    return notes


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False


def _fields_of_mode(settings: Mapping[str, Any]) -> tuple[_Fields, dict[str, str]]:
    """Tells which fields Deforum uses in a file's mode, and what those are that may not be missing."""
    mode = str(settings.get("animation_mode", "2D")).strip().lower()
    if mode in ("none", "video input", "interpolation"):
        return _IN_ALL, {}
    if mode == "3d":
        return _IN_3D | _IN_ALL, {"fov_schedule": "0:(70)"}
    if not _flips(settings):
        return _IN_2D | _IN_2D_UNFLIPPED | _IN_ALL, {}
    angles = {"perspective_flip_phi": "0:(0)", "perspective_flip_gamma": "0:(0)"}
    return _IN_2D | _IN_2D_FLIPPED | _IN_ALL, {**angles, "perspective_flip_fv": "0:(53)"}


def _flips(settings: Mapping[str, Any]) -> bool:
    return str(settings.get("enable_perspective_flip")).lower() in ("true", "1")


def _read_film(settings: Mapping[str, Any]) -> tuple[_Film, list[str]]:
    fps = settings.get("fps", 15)
    try:
        per_second = math.nan if isinstance(fps, bool) else float(fps)
    except (ValueError, TypeError, OverflowError):
        per_second = math.nan
    if not 0 < per_second <= 240:
        raise UsageError(f"fps: {str(fps)[:40]} is no number above 0 and up to 240, such as 15")
    seed = _whole_number(settings, "seed", 0, -(2**63), 2**63 - 1)
    film = _Film(
        frames=_whole_number(settings, "max_frames", 120, 1, 10_000_000),
        fps=Fraction(repr(per_second)),
        size=Size(*(_whole_number(settings, side, 512, 16, 16384) for side in ("W", "H"))),
        seed=max(seed, 0),
    )
    return film, ["seed: -1 means another one each time; 0 is taken"] * (seed < 0)


def _whole_number(
    settings: Mapping[str, Any], name: str, default: int, least: int, most: int
) -> int:
    value = settings.get(name, default)
    try:
        number = int(value) if isinstance(value, int) else float(value)
    except (ValueError, TypeError):
        number = math.nan
    if isinstance(value, bool) or not least <= number <= most or number != int(number):
        raise UsageError(f"{name}: {str(value)[:40]} is no whole number of {least} to {most}")
    return int(number)


def _read_schedule(written: Any, field: str, film: _Film) -> tuple[Keys, Values, list[str]]:
    """Reads a field's schedule: its keys, and its value at each frame, which are finite.

    The keys are those of the values where it has gaps. Raises UsageError with the field's name.
    """
    try:
        keys, notes = read_deforum_schedule(_as_text(written), film.frames, film.seed)
        values, has_gaps = evaluate_keys(keys, film.frames, film.seed)
        if has_gaps:
            values = interpolate(values, ~np.isfinite(values))
            keys = _frame_by_frame(values)
            notes.append("it is no number at some frames, where its neighbours are interpolated")
    except ScheduleError as error:
        raise UsageError(f"{field}: {error}") from None
    return keys, values, [f"{field}: {note}" for note in notes]


def _as_text(written: Any) -> str:
    """Writes a number, a list of one for each frame, or a table of them, as a schedule."""
    match written:
        case bool():
            raise ScheduleError(f"{written} is no schedule, such as 0:(1.02)")
        case int() | float():
            return np.format_float_positional(written, trim="-")
        case Mapping():
            return ",".join(f"{frame}:({_as_text(value)})" for frame, value in written.items())
        case list():
            return _as_text(dict(enumerate(written)))
        case _:
            return str(written)


def _frame_by_frame(values: Values) -> Keys:
    """Makes a key of each frame, but for those between two that are the same."""
    same = values[1:] == values[:-1]
    needed = np.ones(len(values), bool)
    needed[1:-1] = ~(same[1:] & same[:-1])
    return {int(frame): float(values[frame]) for frame in np.flatnonzero(needed)}


def _add_schedule(
    preset: dict[str, Any], film: _Film, field: str, written: Any, counterparts: list[_Counterpart]
) -> list[str]:
    """Writes a field's schedule into its counterparts in the preset; returns notes."""
    keys, values, notes = _read_schedule(written, field, film)
    for counterpart in counterparts:
        if counterpart.idle is None or (values != counterpart.idle).any():
            notes += _put(preset, film, field, counterpart, keys, values)
    return notes


def _put(
    preset: dict[str, Any],
    film: _Film,
    field: str,
    counterpart: _Counterpart,
    keys: Keys,
    values: Values,
) -> list[str]:
    """Writes a schedule into one counterpart in the preset, within its range; returns notes."""
    notes = []
    section, name, *place = counterpart.path.split(".")
    terms = film.terms
    formula = Expression(counterpart.formula.format(value="t", **terms))
    ours = formula.values(Clock(Fraction(1), film.frames), values)  # as if they were moments
    least, most = _range(counterpart, film.fps)
    per = " per frame" if _is_rate(counterpart) else ""
    fitted = np.clip(ours, least, most)
    if (beyond := np.flatnonzero(ours != fitted)).size:
        keys, ours = _frame_by_frame(fitted), fitted
        notes.append(
            f"{field}: from frame {beyond[0]} on there are {beyond.size} values beyond what "
            f"{section}.{name} takes, {least:.4g} to {most:.4g}{per}, which are held there"
        )
    schedule: dict[str, Any] = {
        f"{frame}f": counterpart.formula.format(value=value, **terms)
        if isinstance(value, str)
        else float(ours[frame])
        for frame, value in keys.items()
    }
    if _is_rate(counterpart):
        schedule["per"] = "frame"
    if place:
        usual = list(SETTINGS[f"{section}.{name}"].field.default)
        preset[section].setdefault(name, usual)[int(place[0])] = schedule
    elif name in preset[section]:
        return [f"{field}: {section}.{name} is taken by another setting already"]
    else:
        preset[section][name] = schedule
    if field == "translation_z":
        notes.append("translation_z: taken as a zoom, since there is no depth here")
    return notes


def _is_rate(counterpart: _Counterpart) -> bool:
    traits = _setting(counterpart).traits
    return traits.rate or traits.factor


def _setting(counterpart: _Counterpart) -> Setting:
    return SETTINGS[".".join(counterpart.path.split(".")[:2])]


def _range(counterpart: _Counterpart, fps: Fraction) -> tuple[float, float]:
    """Tells the least and the most that a setting takes; of rates in one frame."""
    setting, (*_, place) = _setting(counterpart), counterpart.path.split(".")
    rules = list(setting.field.metadata)
    if place.isdigit():  # of one of a pair
        parts = get_args(get_args(setting.field.annotation)[int(place)])
        rules = [rule for part in parts if isinstance(part, FieldInfo) for rule in part.metadata]
    least = max((rule.ge for rule in rules if hasattr(rule, "ge")), default=-math.inf)
    most = min((rule.le for rule in rules if hasattr(rule, "le")), default=math.inf)
    frame = 1 / float(fps) * (1 - 1e-9)  # within the range also when it was rounded
    if setting.traits.factor:
        return least**frame, most**frame
    return (least * frame, most * frame) if setting.traits.rate else (least, most)
