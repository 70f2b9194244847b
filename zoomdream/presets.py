"""Presets: a mood as a TOML file. Its first comment says what you will see.

The sections are the settings themselves ([dream], [camera] or [flow], [anchor], [output]), and above
them stand those of the whole job (model, seed, bpm ...). What a file does not say keeps its default;
flags win over the file. Your own presets live in the usual configuration folder, and win by name.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import tomli_w
import typer
from pydantic import ValidationError

from zoomdream.errors import InputError, OutputError, UsageError
from zoomdream.schedule import EASES, Clock, Schedule
from zoomdream.spec import SECTIONS, RenderJob, nearest, sentence, shipped
from zoomdream.timeline import Timeline

LARGEST = 1_000_000  # bytes of a preset file
WHERE = ("target", "force")  # of a job, what a preset does not hold


def own_folder() -> Path:
    """Where your own presets live."""
    return Path(typer.get_app_dir("zoomdream")) / "presets"


def known() -> dict[str, Path]:
    """Every preset by name: those that ship with zoomdream, and your own, which win."""
    folders = (shipped("presets"), own_folder())
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}


def find(name: str | Path) -> Path:
    """A preset's file, by its name or path; raises UsageError."""
    path = Path(name)
    if path.suffix == ".toml":
        return path
    presets = known()
    if str(name) not in presets:
        raise UsageError(f'there is no preset "{name}": {nearest(str(name), presets)}')
    return presets[str(name)]


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """A preset file's text and values; raises UsageError and InputError."""
    try:
        if path.stat().st_size > LARGEST:
            raise UsageError(f"{path.name} is too large for a preset: {LARGEST // 1000} kB at most")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    return text, parse(text, path.name)


def parse(text: str, name: str) -> dict[str, Any]:
    """A preset's values; raises UsageError."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{name}: this is no TOML: {error}") from None


def load_preset(name: str | Path) -> RenderJob:
    """The job of a preset: by the name of one, or a TOML file's path. Raises UsageError, InputError."""
    path = find(name)
    text, _ = read(path)
    return job_of(text, path.name)


def job_of(text: str, name: str) -> RenderJob:
    """The job that a preset's text says. name: of where it is from, for errors."""
    values = parse(text, name)
    if found := mistakes_in(values, text):
        raise UsageError(f"{name}: {found[0]}")
    return _job(values)


def shipped_job(name: str) -> RenderJob:
    """The job of a preset that ships with zoomdream, whatever your own of that name says."""
    return load_preset(shipped("presets") / f"{name}.toml")


def over(job: RenderJob, name: str | Path) -> RenderJob:
    """A single picture's job with a preset laid over it: all that its file says, but for how it moves.

    Raises UsageError, InputError.
    """
    load_preset(name)
    _, values = read(find(name))
    changes = {}
    for key, value in values.items():
        if key not in SECTIONS:
            changes[key] = value
        elif key in ("dream", "output"):
            changes |= {f"{key}.{field}": content for field, content in value.items()}
    return change(job, changes)


def _job(values: Mapping[str, Any]) -> RenderJob:
    made = {key: SECTIONS[key](**v) if key in SECTIONS else v for key, v in values.items()}
    return RenderJob(**made)


# --- Mistakes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mistake:
    """Something wrong in a preset."""

    line: int | None
    message: str  # begins with the field's path

    def __str__(self) -> str:
        return self.message if self.line is None else f"line {self.line}: {self.message}"


def mistakes(path: Path) -> list[Mistake]:
    """Everything that is wrong in a file; empty where it is good. Raises InputError."""
    try:
        text, values = read(path)
    except UsageError as error:
        line = re.search(r"at line (\d+)", str(error))
        return [Mistake(int(line[1]) if line else None, str(error).removeprefix(f"{path.name}: "))]
    return mistakes_in(values, text)


def mistakes_in(values: Mapping[str, Any], text: str = "") -> list[Mistake]:
    """Of values as a TOML file gives them; text: the file's own, to tell lines."""
    found = []
    for section, content in values.items():
        if section in SECTIONS:
            found += list(_wrong(section, content, text))
    whole = {key: value for key, value in values.items() if key not in SECTIONS}
    found += list(_wrong("", whole, text))
    if not found:
        try:
            job = _job(values)
            Timeline(job, nominal_clock(job))
        except UsageError as error:
            field = str(error).split(":")[0]
            found.append(Mistake(_line(text, field.split(".")), str(error)))
    return found


def _wrong(section: str, content: Any, text: str) -> Iterator[Mistake]:
    kind = SECTIONS.get(section, RenderJob)
    if not isinstance(content, Mapping):
        yield Mistake(_line(text, [section]), f"{section} is a section: write [{section}]")
        return
    strange = [key for key in content if key not in kind.model_fields or key in WHERE]
    for key in strange:
        names = [n for n in kind.model_fields if n not in WHERE]
        where = f"{section}.{key}" if section else key
        yield Mistake(
            _line(text, [*([section] if section else []), key]),
            f'there is no setting "{where}": {nearest(key, names)}',
        )
    try:
        kind.__pydantic_validator__.validate_python(
            {key: value for key, value in content.items() if key not in strange},
            self_instance=kind.model_construct(),
        )
    except ValidationError as error:
        for one in error.errors():
            path = [*([section] if section else []), *(str(part) for part in one["loc"])]
            said = sentence(one, kind)
            yield Mistake(_line(text, path), f"{section}.{said}" if section else said)
    except UsageError as error:
        yield Mistake(_line(text, [section]), str(error))


def _line(text: str, path: list[str]) -> int | None:
    """Where a setting is in a TOML text: its key in its section, as far as that can be found."""
    section, found = "", None
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([^\]]+?)\s*\]", line)
        if header:
            section = header[1].replace('"', "").replace(" ", "")
            if section.split(".") == path[: len(section.split("."))]:
                found = number
            continue
        key = re.match(r'\s*(["\w.\- ]+?)\s*=', line)
        if key:
            here = [*(section.split(".") if section else []), *key[1].replace('"', "").split(".")]
            if here == path[: len(here)]:
                found = number
    return found


def nominal_clock(job: RenderJob) -> Clock:
    """When frames are shown, as far as that can be told without the input: a clip is taken as 10 s."""
    fps = job.output.fps or Fraction(30)
    frames = round(10 * fps) if job.flow else job.output.length(fps)
    return Clock(fps, max(1, frames), job.seed, job.bpm)


def at_start(job: RenderJob) -> RenderJob:
    """A job as it is at its first frame, with plain numbers; raises UsageError."""
    return Timeline(job, nominal_clock(job)).at(0)


# --- What a preset comes to --------------------------------------------------------------------------


@dataclass(frozen=True)
class Resolved:
    """A job, and where each of its settings came from, by path."""

    job: RenderJob
    origins: dict[str, str]


def resolve(name: str | Path, changes: Mapping[str, Any] | None = None) -> Resolved:
    """A preset with changes by path laid over it (`dream.octaves`), as flags give them."""
    path = find(name)
    text, _ = read(path)
    job = change(load_preset(path), changes or {})
    _, values = read(path)
    origins = {}
    for where, _value in flat(job):
        parts = where.split(".")
        content: Any = values
        for part in parts:
            content = content.get(part) if isinstance(content, Mapping) else None
        if where in (changes or {}):
            origins[where] = "given"
        elif content is not None:
            origins[where] = f"{path.name}:{_line(text, parts)}"
        else:
            origins[where] = "default"
    return Resolved(job, origins)


def change(job: RenderJob, changes: Mapping[str, Any]) -> RenderJob:
    """A job with settings changed by path; raises UsageError for paths that are none."""
    rooms: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        room, _, field = (
            path.partition(".") if path.partition(".")[0] in SECTIONS else ("", "", path)
        )
        kind = SECTIONS.get(room, RenderJob)
        if field not in kind.model_fields or (not room and field in SECTIONS):
            names = [f"{r}.{n}" for r, k in SECTIONS.items() for n in k.model_fields]
            names += [n for n in RenderJob.model_fields if n not in SECTIONS]
            raise UsageError(f'there is no setting "{path}": {nearest(path, names)}')
        rooms.setdefault(room, {})[field] = value
    own = rooms.pop("", {})
    for room, given in rooms.items():
        settings = getattr(job, room)
        if settings is None:
            flags = ", ".join(f"{room}.{name}" for name in given)
            raise UsageError(f"{flags}: this is for clips, and the preset is for stills")
        try:
            own[room] = settings.change(**given)
        except UsageError as error:
            raise UsageError(f"{room}.{error}") from None
    return job.change(**own)


def flat(job: RenderJob) -> Iterator[tuple[str, Any]]:
    """Every setting of a job with its path; those of a missing flow are left out."""
    for name, value in job:
        if name in WHERE or (name in SECTIONS and value is None):
            continue
        if name in SECTIONS:
            yield from ((f"{name}.{field}", content) for field, content in value)
        else:
            yield name, value


def written(job: RenderJob) -> str:
    """A job as the text of a preset that renders the same frames again."""
    values: dict[str, Any] = {}
    for path, value in flat(job):
        if value is not None:
            room, _, field = path.rpartition(".")
            (values.setdefault(room, {}) if room else values)[field] = plain(value)
    ordered = {k: v for k, v in values.items() if k not in SECTIONS} | {
        k: v for k, v in values.items() if k in SECTIONS
    }
    return tomli_w.dumps(ordered)


def plain(value: Any) -> Any:
    """A setting's value as TOML and JSON can hold it."""
    if isinstance(value, Schedule):
        return value.source
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return str(value) if isinstance(value, Path | Fraction) else value


# --- Lists, new ones, schema -------------------------------------------------------------------------


def about(path: Path) -> str:
    """A preset's first comment."""
    try:
        first = path.read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError):
        return ""
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def new(target: Path, origin: str = "zoom") -> None:
    """Writes a preset of your own that begins as another; raises OutputError where a file is there."""
    text, _ = read(find(origin))
    put(target, text)


def put(target: Path, text: str) -> None:
    """Writes a new file; raises OutputError where one is there."""
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise OutputError(f"{target} is there already: take another name") from None
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror}") from None


def schema() -> str:
    """JSON Schema of preset files, for editors."""
    made = RenderJob.model_json_schema()
    number_or_schedule = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Keyframes"}]}
    for kind in SECTIONS.values():
        properties = made["$defs"][kind.__name__]
        for name in kind.CHANGING:
            old = properties["properties"][name]
            about = {key: old.pop(key) for key in ("description", "default", "title") if key in old}
            properties["properties"][name] = {**about, "anyOf": [old, *number_or_schedule["anyOf"]]}
    weight = {"anyOf": [{"type": "number"}, *number_or_schedule["anyOf"]]}
    made["$defs"]["DreamSpec"]["properties"]["layers"] |= {
        "type": ["array", "object"], "items": {"type": "string"}, "additionalProperties": weight,
    }  # fmt: skip
    made["$defs"]["Keyframes"] = {
        "type": "object",
        "description": "time (4s, 120f, 50%, 8b) = number or expression",
        "properties": {"ease": {"enum": list(EASES)}, "per": {"enum": ["second", "frame"]}},
        "patternProperties": {r"^-?[0-9.]+\s*(s|f|%|b|)$": {"type": ["number", "string"]}},
        "additionalProperties": False,
    }
    for name in WHERE:
        del made["properties"][name]
    return json.dumps(made, indent=2)
