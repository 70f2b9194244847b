"""Reads and writes presets: a mood as a TOML file, whose first comment says what you will see.

The sections are the settings themselves ([dream], [camera] or [flow], [anchor], [output]), and above
them stand those of the whole job (model, seed, bpm ...). What a file does not say keeps its default;
flags win over the file. Your own presets live in the usual configuration folder, and win by name.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from platformdirs import user_config_path

from zoomdream.errors import InputError, OutputError, UsageError, nearest
from zoomdream.files import readable_errors, shipped, write_atomically
from zoomdream.settings.definitions import FILES, SECTIONS, RenderJob
from zoomdream.settings.preset_mistakes import Mistake, line_of_setting, mistakes_in
from zoomdream.settings.setting_paths import (
    change_job,
    job_from_values,
    plain_value,
    settings_by_path,
)
from zoomdream.text import path_from_text, read_text

MOST_BYTES = 1_000_000  # bytes of a preset file


def own_folder() -> Path:
    """Returns the folder in which your own presets live."""
    return user_config_path("zoomdream", appauthor=False, roaming=True) / "presets"


def known() -> dict[str, Path]:
    """Finds every preset, by name: those that ship with zoomdream, and your own, which win."""
    folders = (shipped("presets"), own_folder())
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}


def find(name: str | Path) -> Path:
    """Finds a preset's file by its name or path; raises UsageError."""
    path = Path(name)
    if path.suffix == ".toml":
        return path
    presets = known()
    if str(name) not in presets:
        raise UsageError(f'there is no preset "{name}": {nearest(str(name), presets)}')
    return presets[str(name)]


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """Reads a preset file's text and values; raises UsageError and InputError."""
    text = read_text(path, MOST_BYTES)
    return text, parse(text, path.name)


def parse(text: str, name: str) -> dict[str, Any]:
    """Reads a preset's values from its text, files' names as `path_text` writes them; raises UsageError."""
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{name}: this is no TOML: {error}") from None
    for path in FILES:
        section, _, field = path.rpartition(".")
        settings = values.get(section) if section else values
        if isinstance(settings, dict) and isinstance(settings.get(field), str):
            settings[field] = path_from_text(settings[field])
    return values


def load_preset(name: str | Path) -> RenderJob:
    """Loads the job of a preset, by its name or a TOML file's path. Raises UsageError, InputError."""
    path = find(name)
    text, _ = read(path)
    return job_of(text, path.name)


def job_of(text: str, name: str) -> RenderJob:
    """Makes the job of a preset's text. name: of its file, for error messages."""
    values = parse(text, name)
    if wrong := mistakes_in(values, text):
        raise UsageError(f"{name}: {wrong[0]}")
    return job_from_values(values)


def shipped_job(name: str) -> RenderJob:
    """Loads the job of a preset that ships with zoomdream, whatever your own of that name says."""
    return load_preset(shipped("presets") / f"{name}.toml")


def overlay(job: RenderJob, name: str | Path, moves: bool = False) -> RenderJob:
    """Lays a preset over a job: all that its file says, and how it moves too where the job `moves`.

    Raises UsageError, InputError; and UsageError for a clip's preset over a zoom that moves.
    """
    sections = tuple(SECTIONS) if moves else ("dream", "output")
    load_preset(name)
    _, values = read(find(name))
    changes: dict[str, Any] = {}
    for key, value in values.items():
        if key not in SECTIONS:
            changes[key] = value
        elif key in sections:
            changes |= {f"{key}.{field}": content for field, content in value.items()}
    return change_job(job, changes)


def mistakes(path: Path) -> list[Mistake]:
    """Lists everything that is wrong in a file; nothing where it is good. Raises InputError."""
    try:
        text, values = read(path)
    except UsageError as error:
        line = re.search(r"at line (\d+)", str(error))
        return [Mistake(int(line[1]) if line else None, str(error).removeprefix(f"{path.name}: "))]
    return mistakes_in(values, text)


@dataclass(frozen=True)
class Resolved:
    """A job, and where each of its settings came from, by path."""

    job: RenderJob
    origins: dict[str, str]


def resolve(name: str | Path, changes: Mapping[str, Any] | None = None) -> Resolved:
    """Loads a preset with changes by path laid over it (`dream.octaves`), as flags give them."""
    path = find(name)
    text, _ = read(path)
    job = change_job(load_preset(path), changes or {})
    _, values = read(path)
    origins = {}
    for setting_path, _ in settings_by_path(job):
        parts = setting_path.split(".")
        content: Any = values
        for part in parts:
            content = content.get(part) if isinstance(content, Mapping) else None
        if setting_path in (changes or {}):
            origins[setting_path] = "given"
        elif content is not None:
            origins[setting_path] = f"{path.name}:{line_of_setting(text, parts)}"
        else:
            origins[setting_path] = "default"
    return Resolved(job, origins)


def preset_text(job: RenderJob) -> str:
    """Writes a job as the text of a preset that renders the same frames again."""
    values: dict[str, Any] = {}
    for path, value in settings_by_path(job):
        if value is not None:
            section, _, field = path.rpartition(".")
            (values.setdefault(section, {}) if section else values)[field] = plain_value(value)
    ordered = {k: v for k, v in values.items() if k not in SECTIONS} | {
        k: v for k, v in values.items() if k in SECTIONS
    }
    return tomli_w.dumps(ordered)


def description(path: Path) -> str:
    """Reads a preset's first comment, which says what you will see; "" where there is none."""
    try:
        first = read_text(path, MOST_BYTES).partition("\n")[0]
    except InputError:
        return ""
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def new(target: Path, origin: str = "zoom") -> None:
    """Writes a preset of your own that begins as another; raises OutputError where a file is there."""
    text, _ = read(find(origin))
    write_new(target, text)


def write_new(target: Path, text: str) -> None:
    """Writes a new file; raises OutputError where one is there."""
    if target.exists():
        raise OutputError(f"{target} is there already: take another name")
    with readable_errors(target):
        write_atomically(target, text.encode())
