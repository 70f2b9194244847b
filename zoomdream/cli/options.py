"""Makes command-line options from the settings, which hold their flags, panels, help and defaults.

A command takes whole panels of settings (`panel`) or some settings by path (`chosen`). A setting that is
new in `settings` is an option of every command that takes its panel.
"""

import functools
import inspect
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

import typer
from pydantic.fields import FieldInfo
from rich.markup import escape

from zoomdream.errors import UsageError, nearest
from zoomdream.settings.definitions import SETTINGS, NeuronSpec, RenderJob, Setting, settings_of
from zoomdream.settings.expression import split_at_commas
from zoomdream.settings.setting_paths import change_job
from zoomdream.settings.traits import Settings
from zoomdream.size import Size

NEURON_SETTINGS = settings_of(NeuronSpec, "neurons")  # settings that are no part of a job


@dataclass(frozen=True)
class Option:
    """A setting as an option of a command."""

    setting: Setting
    about: str = ""  # where the setting's own description does not fit the command

    @property
    def path(self) -> str:
        return self.setting.path

    @property
    def name(self) -> str:
        return self.path.replace(".", "_")

    @property
    def flag_name(self) -> str:
        return f"--{self.setting.flag}"

    @property
    def field(self) -> FieldInfo:
        return self.setting.field

    @property
    def is_point(self) -> bool:
        """Whether it is two numbers that need not be whole: X,Y."""
        return _numbers_of(_plain(self.field.annotation)) == (float, float)

    def value(self, job: RenderJob) -> Any:
        """Returns what a job has for it, or its default where it is no part of one."""
        if self.path in NEURON_SETTINGS:
            return self.field.default
        return functools.reduce(getattr, self.path.split("."), cast(Any, job))


OPTIONS = {
    path: Option(setting)
    for path, setting in {**SETTINGS, **NEURON_SETTINGS}.items()
    if setting.traits.has_flag
}
FLAGS = {path: option.flag_name for path, option in OPTIONS.items()} | {
    "target": "-o",
    "resume": "--resume",
    "join_so_far": "zoomdream resume OUT --join-now",
    "within": "--range",
    "top": "--top",
    "on": "--on",
    "zoom_in": "--zoom-in",
    "columns": "--columns",
    "at": "--at",
    "preset": "--preset",
    "size": "--size",
}
"""What the command line calls a setting, by its path, or an argument of the library's functions."""

PALETTES = {"anchor.to": "anchor.palette", "dream.colors": "dream.palette"}
"""Options that take a word or a picture, by path: the setting that names the picture."""

Section = TypeVar("Section", bound=Settings)
Panels = dict[str, tuple[Option, ...]]


def panel(title: str, films: Literal["", "stills", "clips"] = "") -> Panels:
    """Collects all options of a panel, in the order of their fields but for those with an `after`.

    films: leaves out what is only for the other kind of films.
    """
    options = [option for option in OPTIONS.values() if option.setting.panel == title]

    def in_order(after: str) -> Iterator[Option]:
        for option in options:
            if option.setting.traits.after == after:
                yield option
                yield from in_order(option.path)

    unfit = {"stills": "clips", "clips": "stills"}.get(films)
    return {title: tuple(o for o in in_order("") if o.setting.traits.only_for != unfit)}


def chosen(title: str, *paths: str, about: Mapping[str, str] | None = None) -> Panels:
    """Collects a command's own choice of options. about: its own descriptions of some, by path."""
    about = about or {}
    return {title: tuple(Option(OPTIONS[path].setting, about.get(path, "")) for path in paths)}


FILM = panel("Film", "stills")
CLIP = panel("Film", "clips") | panel("Ride")
PICTURE = chosen(
    "Picture", "output.size", about={"output.size": "WxH in pixels; else the picture's own"}
)
FILM_TIME = chosen("Film", "output.seconds", "output.fps", "output.loop")
CAMERA = panel("Camera")
DREAM = panel("Dream") | panel("Guide")
ANCHOR = panel("Staying alive")
MACHINE = panel("Machine")
LOOK = chosen(
    "Dream",
    "model",
    "weights",
    "dream.octaves",
    "dream.octave_scale",
    "dream.steps",
    "dream.finest_share",
    "dream.jitter",
    "dream.smooth",
    "dream.octave_gain",
    "dream.noise",
    "dream.calm",
    "dream.colors",
    "dream.color_amount",
    "dream.keep_color",
    "dream.tile",
) | chosen("Machine", "seed", "device", "precision", "max_pixels", "force")
NEURONS = (
    panel("Pictures")
    | chosen("Dream", "model", "weights", "dream.colors", "dream.color_amount")
    | chosen("Machine", "seed", "device", "precision", "max_pixels", "force")
)
BENCH = chosen(
    "What is measured",
    "model",
    "weights",
    "dream.layers",
    "output.size",
    "dream.octaves",
    "dream.octave_scale",
    "dream.steps",
    "dream.smooth",
    "dream.tile",
    "device",
    "precision",
    "seed",
    about={"output.size": "pixels of a frame; else 512x512"},
)


def _parameter(option: Option, title: str, base: RenderJob | None) -> inspect.Parameter:
    """Makes a typer option; None stands for "not given". base: the job whose values are the defaults."""
    field, traits = option.field, option.setting.traits
    kind, metavar = _plain(field.annotation), traits.metavar or None
    if get_origin(kind) is Literal:
        metavar, kind = metavar or "|".join(get_args(kind)), str
    elif numbers := _numbers_of(kind):
        metavar, kind = metavar or ("WxH" if numbers == (int, int) else "X,Y"), str
    elif get_origin(kind) is dict:
        kind = list[str]
    elif kind is Fraction:
        kind, metavar = str, "N"
    elif metavar or traits.changes:  # more than a plain number: the settings read it
        kind, metavar = str, metavar or "N"
    negated = f"/--no-{option.flag_name[2:]}" if field.default is True else ""
    info = typer.Option(
        option.flag_name + negated,
        metavar=metavar,
        help=_help(
            option.about or field.description or "", kind, option.value(base) if base else None
        ),
        rich_help_panel=title,
        show_default=False,
    )
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, info],
    )


def _plain(annotation: Any) -> Any:
    """Takes T out of `T | None`, and of an annotated T."""
    if type(None) in get_args(annotation):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _numbers_of(kind: Any) -> tuple[Any, ...]:
    """Lists the types of a tuple's parts; none where it is no tuple."""
    if isinstance(kind, type) and issubclass(kind, tuple):
        return tuple(get_type_hints(kind).values())
    return tuple(map(_plain, get_args(kind))) if get_origin(kind) is tuple else ()


def _help(about: str, kind: Any, default: Any) -> str:
    text = escape(about)
    if default is None or default == {} or kind is bool:
        return text
    shown = ",".join(f"{x:g}" for x in default) if isinstance(default, tuple) else str(default)
    return f"{text} [dim]\\[{shown}][/dim]"


def settings_options(
    base: RenderJob | None, *panels: Panels
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds the panels' options to a command, whose `settings` will be the values given, by path."""
    placed = {
        option.path: (option, title)
        for one in panels
        for title, options in one.items()
        for option in options
    }
    parameters = [_parameter(option, title, base) for option, title in placed.values()]
    names = {option.name: path for path, (option, _) in placed.items()}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def wrapper(*args: Any, **kwargs: Any) -> None:
            values = {path: kwargs.pop(name) for name, path in names.items()}
            settings = {path: value for path, value in values.items() if value not in (None, [])}
            command(*args, settings=settings, **kwargs)

        own = [p for p in inspect.signature(command).parameters.values() if p.name != "settings"]
        signature = inspect.Signature([*own, *parameters])
        wrapper.__signature__ = signature  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return wrapper

    return decorate


def make_job(settings: dict[str, Any], base: RenderJob | None = None, **fixed: Any) -> RenderJob:
    """Changes `base` by settings as the command line gives them, by path; raises UsageError.

    fixed: settings of the whole job, such as `source`; those that are None stay as they are.
    """
    if {"output.seconds", "output.frames"} <= settings.keys():
        raise UsageError("--seconds and --frames both say how long: give one")
    try:
        return change_job(base or RenderJob(), {**plain_changes(settings), **fixed})
    except UsageError as error:
        raise UsageError(_flag_first(str(error))) from None


def plain_changes(settings: dict[str, Any]) -> dict[str, Any]:
    """Turns settings as the command line gives them into changes of a job, by path; raises UsageError."""
    values = dict(settings)
    for path, value in settings.items():
        if path in OPTIONS and OPTIONS[path].is_point and isinstance(value, str):
            values[path] = _point(OPTIONS[path].flag_name, value)
    if isinstance(size := values.get("output.size"), str):
        values["output.size"] = _size(size)
    for path, palette in PALETTES.items():
        words = get_args(_plain(SETTINGS[path].field.annotation))
        if values.get(path) not in (None, *words):
            picture = Path(values[path])
            if not picture.suffix and not picture.exists():
                hint = nearest(str(picture), [word for word in words if word != "palette"])
                raise UsageError(
                    f'{FLAGS[path]} "{picture}" is no word for it, and no picture: {hint}'
                )
            values |= {palette: picture, path: "palette"}
    return values


def assignment(text: str) -> tuple[str, Any]:
    """Reads NAME=VALUE, as `--set` takes it; raises UsageError."""
    name, mark, value = text.partition("=")
    if not mark:
        raise UsageError(f'--set "{text}" is not NAME=VALUE, such as dream.octaves=5')
    return name.strip(), read_value(value)


def read_value(text: str) -> Any:
    """Reads a value as TOML would have it, or else as a word."""
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def option_words(path: str, value: Any) -> list[str] | None:
    """Writes a setting as the words of its option; None where no option says it.

    value: as `plain_changes` takes it, or as its text.
    """
    if path not in OPTIONS:
        return None
    flag, default = OPTIONS[path].flag_name, OPTIONS[path].field.default
    if isinstance(default, bool):
        on = str(value).lower() in ("true", "1", "yes", "on")
        return [flag] if on else [f"--no-{flag[2:]}"] if default else None
    if isinstance(default, dict):
        parts = value
        if isinstance(value, str):
            parts = split_at_commas(value)
        elif isinstance(value, Mapping):
            parts = [f"{name}={weight}" for name, weight in value.items()]
        return [word for part in parts for word in (flag, str(part).strip())]
    if isinstance(value, Mapping):
        return None
    return [flag, ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)]


def make_section(kind: type[Section], section: str, settings: dict[str, Any]) -> Section:
    """Takes settings that are no part of a job out of those given by path; raises UsageError."""
    paths = [path for path in settings if path.startswith(f"{section}.")]
    try:
        return kind(**{path.removeprefix(f"{section}."): settings.pop(path) for path in paths})
    except UsageError as error:
        raise UsageError(_flag_first(f"{section}.{error}")) from None


def _flag_first(message: str) -> str:
    """Puts the flag in place of the setting's path that a message begins with, if it does."""
    path, colon, rest = message.partition(":")
    return OPTIONS[path].flag_name + colon + rest if path in OPTIONS else message


def with_flags(message: str) -> str:
    """Puts flags in place of the settings and arguments that a message names in backquotes.

    `output.size` becomes --size, `output.size=64x64` becomes --size 64x64, `force=True` becomes --force and
    `output.audio=False` becomes --no-audio. What is no setting and no argument stays as it is.
    """

    def flag(match: re.Match[str]) -> str:
        name, value = FLAGS.get(match[1]), match[2]
        if name is None:
            return match[0]
        if value == "False":
            return f"--no-{name.removeprefix('--')}"
        return name if value in (None, "True") else f"{name} {value}"

    return re.sub(r"`([a-z_]+(?:\.[a-z_]+)?)(?:=([^`]*))?`", flag, message)


def required(output: Path | None, example: str, *others: str) -> Path:
    """The path that was given after -o; raises UsageError, with examples, where none was."""
    if output is None:
        raise UsageError(f"where to? add -o {example} (or {', '.join(others)})")
    return output


def _point(flag: str, text: str) -> tuple[str, ...]:
    """Reads X,Y, each a number or an expression; raises UsageError."""
    parts = split_at_commas(text)
    if len(parts) != 2 or not all(part.strip() for part in parts):
        raise UsageError(f'{flag} "{text}" is not two numbers such as 0.5,0.5')
    return tuple(parts)


def _size(text: str) -> Size:
    """Reads WxH, two whole numbers; raises UsageError."""
    width, _, height = text.lower().partition("x")
    try:
        return Size(int(width), int(height))
    except ValueError:
        raise UsageError(f'--size "{text}" is not two numbers such as 512x512') from None
