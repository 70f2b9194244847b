"""Everything that is wrong in a preset, with line, setting and what would be right."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from zoomdream.errors import UsageError, nearest
from zoomdream.settings.fields import error_sentence
from zoomdream.settings.model import SECTIONS, RenderJob
from zoomdream.settings.paths import WHERE, job_from_values
from zoomdream.settings.timeline import Timeline, nominal_clock


@dataclass(frozen=True)
class Mistake:
    """Something wrong in a preset."""

    line: int | None
    message: str  # begins with the field's path

    def __str__(self) -> str:
        return self.message if self.line is None else f"line {self.line}: {self.message}"


def mistakes_in(values: Mapping[str, Any], text: str = "") -> list[Mistake]:
    """Everything that is wrong in values as a TOML file gives them. text: the file's, to find lines in."""
    wrong = []
    for section, content in values.items():
        if section in SECTIONS:
            wrong += list(_wrong(section, content, text))
    whole = {key: value for key, value in values.items() if key not in SECTIONS}
    wrong += list(_wrong("", whole, text))
    if not wrong:
        try:
            job = job_from_values(values)
            Timeline(job, nominal_clock(job))
        except UsageError as error:
            field = str(error).split(":")[0]
            wrong.append(Mistake(line_of_setting(text, field.split(".")), str(error)))
    return wrong


def _wrong(section: str, content: Any, text: str) -> Iterator[Mistake]:
    kind = SECTIONS.get(section, RenderJob)
    if not isinstance(content, Mapping):
        yield Mistake(
            line_of_setting(text, [section]), f"{section} is a section: write [{section}]"
        )
        return
    strange = [key for key in content if key not in kind.model_fields or key in WHERE]
    for key in strange:
        names = [n for n in kind.model_fields if n not in WHERE]
        where = f"{section}.{key}" if section else key
        yield Mistake(
            line_of_setting(text, [*([section] if section else []), key]),
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
            message = error_sentence(one, kind)
            yield Mistake(
                line_of_setting(text, path), f"{section}.{message}" if section else message
            )
    except UsageError as error:
        yield Mistake(line_of_setting(text, [section]), str(error))


def line_of_setting(text: str, path: list[str]) -> int | None:
    """The number of a setting's line in a TOML text, or of its section's, or None."""
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
            here = [*(section.split(".") if section else []), *key[1].replace('"', "").split(".")]
            if here == path[: len(here)]:
                nearest_line = number
    return nearest_line
