"""Makes settings that know their range, unit, place in the help, and whether they may change over time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypeVar, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core.core_schema import ValidationInfo

from zoomdream.errors import UsageError, nearest
from zoomdream.settings.expression import ScheduleError
from zoomdream.settings.schedule import Schedule, read_schedule
from zoomdream.text import valid_unicode


@dataclass(frozen=True)
class Traits:
    """What is known of a setting besides its type, range, default and description."""

    changes: bool = False
    """It may be a Schedule, and change from frame to frame."""
    rate: bool = False
    """It is an amount per second, and a schedule of it may be given per frame."""
    factor: bool = False
    """As a rate, but frames multiply it: it is interpolated in its logarithm."""
    file: bool = False
    """It names a file that a render reads: what is in the file counts, not its name."""
    has_flag: bool = True
    """It is an option of the command line."""
    panel: str = ""
    """Of the help, in which its option is shown; else the panel of its class."""
    flag: str = ""
    """Its option's name, without dashes; else the setting's own name."""
    metavar: str = ""
    """What the help shows for its option's value, which is then passed on as text."""
    only_for: Literal["", "stills", "clips"] = ""
    """Which films it is for; else for both."""
    after: str = ""
    """Path of the setting after which the help shows it; else it stands as in its class."""


Value = TypeVar("Value")


def setting(
    default: Value,
    description: str,
    *,
    changes: bool = False,
    rate: bool = False,
    factor: bool = False,
    file: bool = False,
    has_flag: bool = True,
    panel: str = "",
    flag: str = "",
    metavar: str = "",
    only_for: Literal["", "stills", "clips"] = "",
    after: str = "",
    **rules: Any,
) -> Value:
    """Makes a setting's field, with its Traits, and rules such as `ge` and `le` that pydantic checks."""
    field = cast(FieldInfo, Field(default, description=description, **rules))
    traits = Traits(
        changes=changes,
        rate=rate,
        factor=factor,
        file=file,
        has_flag=has_flag,
        panel=panel,
        flag=flag,
        metavar=metavar,
        only_for=only_for,
        after=after,
    )
    field.metadata.append(traits)
    return cast(Value, field)


def traits_of(field: FieldInfo) -> Traits:
    """Returns the traits that `setting` gave a field; those of any other field are the usual ones."""
    return next((known for known in field.metadata if isinstance(known, Traits)), Traits())


class Settings(BaseModel):
    """A section of settings: frozen, with no other names than its own, and without infinities."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants"
    )

    PANEL: ClassVar[str] = ""
    """Of the command line's help, for those of these settings that do not name another."""

    PALETTE_WORD: ClassVar[str] = ""
    """The setting that, where it is `palette`, wants the picture in the setting `palette`."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise UsageError(error_sentence(error.errors()[0], type(self))) from None

    @field_validator("*", mode="wrap")
    @classmethod
    def _may_change(
        cls, value: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> Any:
        """Lets schedules through, where there may be some; all else is checked as usual."""
        if not traits_of(cls.model_fields[info.field_name or ""]).changes:
            return check(value)
        try:
            if isinstance(value, list | tuple):
                parts = tuple(number_or_schedule(part) for part in value)
                return parts if any(isinstance(p, Schedule) for p in parts) else check(parts)
            value = number_or_schedule(value)
        except ScheduleError as error:
            raise ValueError(valid_unicode(str(error))) from None
        return value if isinstance(value, Schedule) else check(value)

    def change(self, **values: Any) -> Self:
        """Copies and checks the settings with some changed; those that are None stay as they are.

        Where colours are no palette's any more its picture is left behind.
        """
        changes = {name: value for name, value in values.items() if value is not None}
        if changes.get(self.PALETTE_WORD, "palette") != "palette":
            changes = {"palette": None, **changes}
        return type(self)(**{**dict(self), **changes})


def number_or_schedule(value: Any) -> Any:
    """Keeps a number, also one in a string; makes a Schedule of other strings and of tables."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return read_schedule(value)
    return read_schedule(value) if isinstance(value, Mapping) else value


def error_sentence(error: Mapping[str, Any], settings: type[BaseModel]) -> str:
    """Turns one of pydantic's errors into a sentence, which begins with the setting's path."""
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f'there is no setting "{path}": {nearest(path, settings.model_fields)}'
    problem = error["msg"].removeprefix("Value error, ")
    problem = problem[:1].lower() + problem[1:]
    value = "" if "\n" in problem else f" (got {_short(error['input'])})"
    return f"{path}: {problem}{value}" if path else problem


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."
