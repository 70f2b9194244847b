"""Finds and changes settings by their path, such as `dream.octaves`."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from zoomdream.errors import UsageError, nearest
from zoomdream.settings.definitions import SECTIONS, RenderJob
from zoomdream.settings.schedule import Schedule
from zoomdream.text import path_text

NOT_IN_PRESETS = ("target", "force")  # settings of a job that a preset does not hold


def job_from_values(values: Mapping[str, Any]) -> RenderJob:
    """Makes a job of values as a TOML file gives them; raises UsageError."""
    settings = {key: SECTIONS[key](**v) if key in SECTIONS else v for key, v in values.items()}
    return RenderJob(**settings)


def change_job(job: RenderJob, changes: Mapping[str, Any]) -> RenderJob:
    """Changes settings of a job by path; raises UsageError for paths that are none."""
    by_section: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        section, _, field = (
            path.partition(".") if path.partition(".")[0] in SECTIONS else ("", "", path)
        )
        kind = SECTIONS.get(section, RenderJob)
        if field not in kind.model_fields or (not section and field in SECTIONS):
            names = [f"{s}.{n}" for s, k in SECTIONS.items() for n in k.model_fields]
            names += [n for n in RenderJob.model_fields if n not in SECTIONS]
            raise UsageError(f'there is no setting "{path}": {nearest(path, names)}')
        by_section.setdefault(section, {})[field] = value
    own = by_section.pop("", {})
    for section, values in by_section.items():
        settings = getattr(job, section)
        if settings is None:
            paths = ", ".join(f"{section}.{name}" for name in values)
            raise UsageError(f"{paths}: this is for clips, and the preset is for stills")
        try:
            own[section] = settings.change(**values)
        except UsageError as error:
            raise UsageError(f"{section}.{error}") from None
    return job.change(**own)


def settings_by_path(job: RenderJob) -> Iterator[tuple[str, Any]]:
    """Yields every setting of a job with its path; those of a missing flow are left out."""
    for name, value in job:
        if name in NOT_IN_PRESETS or (name in SECTIONS and value is None):
            continue
        if name in SECTIONS:
            yield from ((f"{name}.{field}", content) for field, content in value)
        else:
            yield name, value


def plain_value(value: Any) -> Any:
    """Turns a setting's value into what TOML and JSON can hold."""
    if isinstance(value, Schedule):
        return value.source
    if isinstance(value, dict):
        return {key: plain_value(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(part) for part in value]
    if isinstance(value, Path):
        return path_text(value)
    return str(value) if isinstance(value, Fraction) else value
