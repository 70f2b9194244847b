"""Command-line options made from the settings, which hold their help and defaults."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from rich.markup import escape

from zoomdream.errors import UsageError
from zoomdream.settings.model import SECTIONS, NeuronSpec, RenderJob, Settings
from zoomdream.settings.paths import change_job

OWN: dict[str, type[Settings]] = {"neurons": NeuronSpec}  # sections that are no part of a job


@dataclass(frozen=True)
class Option:
    """A flag and the setting of RenderJob that it sets, as a path."""

    path: str
    flag: str = ""
    metavar: str | None = None
    about: str = ""  # where the setting's own description does not fit

    @property
    def name(self) -> str:
        return self.path.replace(".", "_")

    @property
    def flag_name(self) -> str:
        return "--" + (self.flag or self.path.rsplit(".", 1)[-1].replace("_", "-"))

    def value(self, job: RenderJob) -> Any:
        """What a job has for it, or its default where it is no part of one."""
        if self.path.partition(".")[0] in OWN:
            return self.field.default
        return functools.reduce(getattr, self.path.split("."), cast(Any, job))

    @property
    def _settings(self) -> tuple[type[Settings], str]:
        section, _, name = self.path.rpartition(".")
        return {**SECTIONS, **OWN}.get(section, RenderJob), name

    @property
    def field(self) -> FieldInfo:
        settings, name = self._settings
        return settings.model_fields[name]

    @property
    def may_change(self) -> bool:
        """Whether it takes a schedule, too."""
        settings, name = self._settings
        return name in settings.CHANGING


Made = TypeVar("Made", bound=Settings)


Panels = dict[str, tuple[Option, ...]]


FILM: Panels = {
    "Film": (
        Option("output.seconds"),
        Option("output.frames"),
        Option("output.fps"),
        Option("output.size", metavar="WxH"),
        Option("output.loop"),
        Option("output.quality"),
        Option("output.encoder"),
    ),
}


PICTURE: Panels = {
    "Picture": (
        Option("output.size", metavar="WxH", about="WxH in pixels; else the picture's own"),
    )
}


CLIP: Panels = {
    "Film": (
        Option("flow.start", metavar="T"),
        Option("flow.end", metavar="T"),
        Option("output.fps"),
        Option("output.size", metavar="WxH"),
        Option("output.audio"),
        Option("output.quality"),
        Option("output.encoder"),
    ),
    "Ride": (
        Option("flow.flow"),
        Option("flow.flow_weights"),
        Option("flow.strength"),
        Option("flow.persist"),
        Option("flow.scenes"),
    ),
}


CAMERA: Panels = {
    "Camera": (
        Option("camera.zoom"),
        Option("camera.rotate"),
        Option("camera.pan", metavar="X,Y"),
        Option("camera.turn"),
        Option("camera.tilt"),
        Option("camera.center", metavar="X,Y"),
        Option("camera.fov"),
        Option("camera.swirl"),
        Option("camera.swirl_radius"),
        Option("camera.ripple"),
        Option("camera.ripple_length"),
        Option("camera.ripple_speed"),
        Option("camera.kaleidoscope"),
        Option("camera.tunnel"),
    ),
}


DREAM: Panels = {
    "Dream": (
        Option("model"),
        Option("weights"),
        Option("dream.layers", "layer", metavar="NAME[:CHANNEL][=WEIGHT]"),
        Option("dream.octaves"),
        Option("dream.octave_scale"),
        Option("dream.steps"),
        Option("dream.step_size"),
        Option("dream.jitter"),
        Option("dream.smooth"),
        Option("dream.variety"),
        Option("dream.cycle"),
        Option("mask"),
        Option("dream.grow"),
        Option("paper"),
        Option("dream.keep_color"),
        Option("dream.tile"),
    ),
    "Guide": (
        Option("guide.picture", "guide", metavar="PICTURE|FOLDER|CLIP"),
        Option("guide.style", "guide-style"),
        Option("guide.amount", "guide-amount"),
        Option("guide.seconds", "guide-seconds", metavar="S"),
        Option("guide.fade", "guide-fade", metavar="S"),
    ),
}


LOOK: Panels = {
    "Dream": (
        Option("model"),
        Option("weights"),
        Option("dream.octaves"),
        Option("dream.octave_scale"),
        Option("dream.steps"),
        Option("dream.jitter"),
        Option("dream.smooth"),
        Option("dream.keep_color"),
        Option("dream.tile"),
    ),
    "Machine": (
        Option("seed"),
        Option("device"),
        Option("precision"),
        Option("max_pixels"),
        Option("force"),
    ),
}


ANCHOR: Panels = {
    "Staying alive": (
        Option("anchor.to", "anchor", metavar="source|running|none|PICTURE"),
        Option("anchor.rate", "anchor-rate"),
        Option("anchor.bands", "anchor-bands"),
        Option("anchor.limit", "anchor-limit"),
        Option("anchor.memory", "anchor-memory"),
        Option("anchor.vivid"),
        Option("anchor.grain"),
    ),
}


MACHINE: Panels = {
    "Machine": (
        Option("seed"),
        Option("bpm"),
        Option("device"),
        Option("precision"),
        Option("max_pixels"),
        Option("force"),
    ),
}


BENCH: Panels = {
    "What is measured": (
        Option("model"),
        Option("weights"),
        Option("dream.layers", "layer", metavar="NAME[:CHANNEL][=WEIGHT]"),
        Option("output.size", metavar="WxH", about="pixels of a frame; else 512x512"),
        Option("dream.octaves"),
        Option("dream.octave_scale"),
        Option("dream.steps"),
        Option("dream.smooth"),
        Option("dream.tile"),
        Option("device"),
        Option("precision"),
        Option("seed"),
    ),
}


NEURONS: Panels = {
    "Pictures": (
        Option("neurons.size"),
        Option("neurons.steps"),
        Option("neurons.step_size"),
        Option("neurons.diverse"),
        Option("neurons.neuron"),
    ),
    "Machine": (
        Option("model"),
        Option("weights"),
        Option("seed"),
        Option("device"),
        Option("precision"),
        Option("max_pixels"),
        Option("force"),
    ),
}


def _parameter(option: Option, panel: str, base: RenderJob | None) -> inspect.Parameter:
    """A typer option; None stands for "not given". base: the job whose values are the defaults."""
    field, kind, metavar = option.field, _plain(option.field.annotation), option.metavar
    if get_origin(kind) is Literal:
        metavar, kind = metavar or "|".join(get_args(kind)), str
    elif get_origin(kind) is tuple:
        kind = str
    elif option.path == "dream.layers":
        kind = list[str]
    elif kind is Fraction:
        kind, metavar = str, "N"
    elif metavar or option.may_change:  # more than a plain number: the settings read it
        kind, metavar = str, metavar or "N"
    negated = f"/--no-{option.flag_name[2:]}" if field.default is True else ""
    info = typer.Option(
        option.flag_name + negated,
        metavar=metavar,
        help=_help(
            option.about or field.description or "", kind, option.value(base) if base else None
        ),
        rich_help_panel=panel,
        show_default=False,
    )
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, info],
    )


def _plain(annotation: Any) -> Any:
    """T of `T | None`."""
    parts = [part for part in get_args(annotation) if part is not type(None)]
    return parts[0] if type(None) in get_args(annotation) else annotation


def _help(about: str, kind: Any, default: Any) -> str:
    text = escape(about)
    if default is None or default == {} or kind is bool:
        return text
    shown = ",".join(f"{x:g}" for x in default) if isinstance(default, tuple) else str(default)
    return f"{text} [dim]\\[{shown}][/dim]"


def settings_options(
    base: RenderJob | None, *panels: Panels
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds every option of the panels to a command, which gets those given as `settings`."""
    listed = list(
        {
            o.path: (o, panel) for p in panels for panel, options in p.items() for o in options
        }.values()
    )
    made = [_parameter(option, panel, base) for option, panel in listed]
    names = {option.name: option.path for option, _ in listed}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def wrapper(*args: Any, **kwargs: Any) -> None:
            given = {path: kwargs.pop(name) for name, path in names.items()}
            command(
                *args, settings={k: v for k, v in given.items() if v not in (None, [])}, **kwargs
            )

        own = [p for p in inspect.signature(command).parameters.values() if p.name != "settings"]
        signature = inspect.Signature([*own, *made])
        wrapper.__signature__ = signature  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return wrapper

    return decorate


def make_job(settings: dict[str, Any], base: RenderJob | None = None, **more: Any) -> RenderJob:
    """`base` with values by path, as the command line gives them; raises UsageError."""
    values = {**settings, **more}
    if {"output.seconds", "output.frames"} <= values.keys():
        raise UsageError("--seconds and --frames both say how long: give one")
    for path in ("camera.pan", "camera.center"):
        if path in values:
            values[path] = _pair(path, values[path])
    if "output.size" in values:
        values["output.size"] = _numbers("output.size", values["output.size"], "x", int)
    if values.get("anchor.to") not in (None, "source", "running", "none"):
        values["anchor.palette"] = Path(values["anchor.to"])
        values["anchor.to"] = "palette"
    try:
        return change_job(base or RenderJob(), values)
    except UsageError as error:
        raise UsageError(_as_flag(str(error))) from None


def make_section(kind: type[Made], section: str, settings: dict[str, Any]) -> Made:
    """Settings that are no part of a job, taken out of those given by path; raises UsageError."""
    paths = [path for path in settings if path.startswith(f"{section}.")]
    try:
        return kind(**{path.removeprefix(f"{section}."): settings.pop(path) for path in paths})
    except UsageError as error:
        raise UsageError(_as_flag(f"{section}.{error}")) from None


def _as_flag(message: str) -> str:
    """A message that begins with a setting's path, beginning with its flag."""
    path, colon, rest = message.partition(":")
    panels = (FILM, PICTURE, CLIP, CAMERA, DREAM, ANCHOR, MACHINE, NEURONS)
    flags = {o.path: o.flag_name for panel in panels for os in panel.values() for o in os}
    return flags[path] + colon + rest if path in flags else message


def _pair(path: str, text: str) -> tuple[str, ...]:
    """X,Y, each a number or an expression; commas within brackets are the expression's own."""
    depth, parts = 0, [""]
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    if len(parts) != 2 or not all(part.strip() for part in parts):
        flag = path.rsplit(".", 1)[-1]
        raise UsageError(f'--{flag} "{text}" is not two numbers such as 0.5,0.5')
    return tuple(parts)


def _numbers(path: str, text: str, mark: str, kind: Callable[[str], Any]) -> tuple[Any, ...]:
    flag = path.rsplit(".", 1)[-1]
    try:
        first, second = text.lower().split(mark)
        return kind(first), kind(second)
    except ValueError:
        right = "512x512" if mark == "x" else "0.5,0.5"
        raise UsageError(f'--{flag} "{text}" is not two numbers such as {right}') from None
