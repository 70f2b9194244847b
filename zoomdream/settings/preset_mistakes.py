"""Finds everything that is wrong in a preset, with line, setting and what would be right."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from zoomdream.errors import UsageError, nearest
from zoomdream.settings.definitions import SECTIONS, RenderJob
from zoomdream.settings.setting_paths import NOT_IN_PRESETS, job_from_values
from zoomdream.settings.timeline import Timeline, nominal_clock
from zoomdream.settings.traits import error_sentence


@dataclass(frozen=True)
class Mistake:
    """Something wrong in a preset."""

    line: int | None
    message: str  # begins with the field's path

    def __str__(self) -> str:
        return self.message if self.line is None else f"line {self.line}: {self.message}"


def mistakes_in(values: Mapping[str, Any], text: str = "") -> list[Mistake]:
    """Lists all that is wrong in values as a TOML file gives them. text: the file's, to find lines in."""
    mistakes: list[Mistake] = []
    for section, content in values.items():
        if section in SECTIONS:
            mistakes += _mistakes_of(section, content, text)
    whole = {key: value for key, value in values.items() if key not in SECTIONS}
    mistakes += _mistakes_of("", whole, text)
    if not mistakes:
        try:
            job = job_from_values(values)
            Timeline(job, nominal_clock(job))
        except UsageError as error:
            field = str(error).split(":")[0]
            mistakes.append(Mistake(line_of_setting(text, field.split(".")), str(error)))
    return mistakes


def _mistakes_of(section: str, content: Any, text: str) -> Iterator[Mistake]:
    """Finds the mistakes in one section, or, where it is "", in the settings of the whole job."""
    kind = SECTIONS.get(section, RenderJob)
    if not isinstance(content, Mapping):
        yield Mistake(
            line_of_setting(text, [section]), f"{section} is a section: write [{section}]"
        )
        return
    unknown = [key for key in content if key not in kind.model_fields or key in NOT_IN_PRESETS]
    for key in unknown:
        names = [n for n in kind.model_fields if n not in NOT_IN_PRESETS]
        path = f"{section}.{key}" if section else key
        yield Mistake(
            line_of_setting(text, [*([section] if section else []), key]),
            f'there is no setting "{path}": {nearest(key, names)}',
        )
    try:
        kind.__pydantic_validator__.validate_python(
            {key: value for key, value in content.items() if key not in unknown},
            self_instance=kind.model_construct(),
        )
    except ValidationError as error:
        for one in error.errors():
            parts = [*([section] if section else []), *(str(part) for part in one["loc"])]
            message = error_sentence(one, kind)
            yield Mistake(
                line_of_setting(text, parts), f"{section}.{message}" if section else message
            )
    except UsageError as error:
        yield Mistake(line_of_setting(text, [section]), str(error))


def line_of_setting(text: str, path: list[str]) -> int | None:
    """Finds the number of a setting's line in a TOML text, or of its section's; None without either."""
    section, nearest_line = "", None
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([^\]]+?)\s*\]", line)
        if header:
            section = header[1].replace('"', "").replace(" ", "")
            if section.split(".") == path[: len(section.split("."))]:
                nearest_line = number
            continue
        key = re.match(r'\s*(["\w.\- ]+?)\s*=', line)
        if key:
            key_path = [
                *(section.split(".") if section else []),
                *key[1].replace('"', "").split("."),
            ]
            if key_path == path[: len(key_path)]:
                nearest_line = number
    return nearest_line
