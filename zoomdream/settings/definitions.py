"""Every setting, with its type, unit, range, default and description, in one place.

Settings are frozen; change them by copying: `spec.change(steps=4)`. A preset's sections are these
settings, and the command line makes its options from them.

A setting is made by `setting(default, description, ...)`, which also takes what else is known of it, its
`Traits`: whether it may change over time, is a rate, a factor or a file, and where the command line's
help shows it. A new setting is one such field and nothing more.

A setting that changes over time may be a Schedule (see `schedule`): an expression or keyframes.
`timeline.Timeline` turns a job into one of plain numbers for each frame.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetPydanticSchema,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core.core_schema import CoreSchema, ValidationInfo, no_info_after_validator_function

from zoomdream.settings.expression import ScheduleError
from zoomdream.settings.schedule import Schedule
from zoomdream.settings.traits import Settings, Traits, number_or_schedule, setting, traits_of
from zoomdream.size import Size

MAX_PIXELS = 200_000_000  # of a picture or a clip's frame, unless more is asked for
Centre = Annotated[float, Field(ge=0, le=1)]


def _clock_time(value: Any) -> Any:
    """Turns a clock time such as 1:23.5 or 0:1:23.5 into seconds; all else stays as it is."""
    if isinstance(value, str):
        try:
            parts = [float(part) for part in value.split(":")]
        except ValueError:
            parts = []
        if not 1 <= len(parts) <= 3 or any(part < 0 for part in parts):
            raise ValueError("seconds or a clock time such as 83.5 or 1:23.5 would do")
        return sum(part * 60**place for place, part in enumerate(reversed(parts)))
    return value


Seconds = Annotated[float, BeforeValidator(_clock_time)]


def _two_numbers(_: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    """Reads a Size from a list of two whole numbers, as TOML and JSON have it."""
    return no_info_after_validator_function(Size._make, handler(tuple[int, int]))


WidthHeight = Annotated[Size, GetPydanticSchema(_two_numbers)]


class Camera(Settings):
    """How the picture moves between two frames. All rates are per second, whatever the fps."""

    PANEL = "Camera"

    zoom: float = setting(
        1.5, "factor per second; above 1 goes in", ge=1e-6, le=1e6, changes=True, factor=True
    )
    rotate: float = setting(
        0.0,
        "degrees per second; positive turns clockwise",
        ge=-1440,
        le=1440,
        changes=True,
        rate=True,
    )
    pan: tuple[float, float] = setting(
        (0.0, 0.0),
        "X,Y the camera travels, in frame widths per second; right and down",
        changes=True,
        rate=True,
    )
    turn: float = setting(
        0.0,
        "degrees per second the camera looks to the right",
        ge=-720,
        le=720,
        changes=True,
        rate=True,
    )
    tilt: float = setting(
        0.0, "degrees per second the camera looks up", ge=-720, le=720, changes=True, rate=True
    )
    center: tuple[Centre, Centre] = setting(
        (0.5, 0.5), "X,Y of the fixed point of zoom and rotation; 0,0 is top left", changes=True
    )
    fov: float = setting(
        60.0, "degrees of view across the width, for turn and tilt", ge=1, le=160, changes=True
    )
    swirl: float = setting(
        0.0,
        "degrees per second that the middle turns by more",
        ge=-1440,
        le=1440,
        changes=True,
        rate=True,
    )
    swirl_radius: float = setting(
        0.5, "frame widths that a swirl reaches", gt=0, le=4, changes=True
    )
    ripple: float = setting(
        0.0, "height of rings of waves from the center, in frame widths", ge=0, le=0.2, changes=True
    )
    ripple_length: float = setting(
        0.2, "frame widths from wave to wave", ge=0.02, le=4, changes=True
    )
    ripple_speed: float = setting(0.5, "waves per second, outward", ge=-10, le=10, changes=True)
    kaleidoscope: int = setting(
        0, "mirrored wedges around the center, 2 or more; 0 for none", ge=0, le=48
    )
    tunnel: float = setting(
        0.0,
        "how much smaller the picture is again within itself (Droste), 1.2 or more; 0 for none",
        ge=0,
        le=64,
    )

    @field_validator("kaleidoscope", "tunnel")
    @classmethod
    def _none_or_enough(cls, value: float, info: ValidationInfo) -> float:
        least = 2 if info.field_name == "kaleidoscope" else 1.2
        if 0 < value < least:
            raise ValueError(f"{least} or more would do; 0 for none")
        return value


class Anchor(Settings):
    """What keeps a long feedback zoom alive: each frame's statistics are drawn to an anchor's."""

    PANEL = "Staying alive"
    PALETTE_WORD = "to"

    to: Literal["source", "running", "palette", "none"] = setting(
        "source",
        "whose colours and contrasts to keep",
        flag="anchor",
        metavar="source|running|none|PICTURE",
    )
    palette: Path | None = setting(
        None, "the picture that to = palette takes them from", file=True, has_flag=False
    )
    rate: float = setting(
        0.8,
        "share of the way to the anchor that each frame goes",
        ge=0,
        le=1,
        changes=True,
        flag="anchor-rate",
    )
    bands: int = setting(
        5, "frequency bands that are held, each by itself", ge=1, le=8, flag="anchor-bands"
    )
    limit: float = setting(
        1.15,
        "the most a band, and then the whole, is raised or lowered in one frame, a factor",
        ge=1,
        le=4,
        changes=True,
        flag="anchor-limit",
    )
    vivid: float = setting(
        1.0,
        "contrast of the fine bands aimed at, relative to the anchor",
        ge=0.1,
        le=4,
        changes=True,
    )
    memory: float = setting(
        10.0,
        "seconds that a running anchor looks back",
        gt=0,
        le=3600,
        flag="anchor-memory",
        after="anchor.limit",
    )
    grain: float = setting(
        0.004, "seeded noise added to each frame, so that births go on", ge=0, le=0.2, changes=True
    )

    @model_validator(mode="after")
    def _palette_is_given(self) -> Self:
        if (self.to == "palette") != (self.palette is not None):
            raise ValueError("to = palette and a palette picture go together")
        return self


class DreamSpec(Settings):
    """How one frame is dreamt."""

    PANEL = "Dream"
    PALETTE_WORD = "colors"

    layers: dict[str, float] = setting(
        {},
        "layer to excite: NAME, NAME=WEIGHT, NAME:CHANNEL or a sum as NAME:3+7-0.5*9; "
        "may be repeated",
        validate_default=True,
        flag="layer",
        metavar="NAME[:CHANNEL][=WEIGHT]",
    )
    octaves: int = setting(
        3,
        "sizes dreamt at, from small to full; 0 for as many as a picture of this size needs",
        ge=0,
        le=12,
        changes=True,
    )
    octave_scale: float = setting(2.0, "ratio of one octave to the next", gt=1, le=4, changes=True)
    octave_gain: float = setting(
        0.8,
        "size of a step at one octave to that at the coarser one before; below 1 is smoother",
        gt=0,
        le=2,
        changes=True,
    )
    steps: int = setting(2, "gradient steps per octave and frame", ge=0, le=1000, changes=True)
    finest_share: float = setting(
        0.5,
        "share of the steps that the finest octave gets, rounded up: it costs most and adds grain",
        ge=0,
        le=1,
        changes=True,
    )
    step_size: float = setting(
        0.02,
        "mean change of a pixel per step, where 1 is black to white",
        ge=0,
        le=1,
        changes=True,
    )
    jitter: int = setting(
        32, "pixels of random shift before each step", ge=0, le=1024, changes=True
    )
    smooth: float = setting(
        1.0, "pixels the gradient is smoothed by (three Gaussians)", ge=0, le=20, changes=True
    )
    noise: float = setting(
        0.03,
        "seeded noise that the network looks through: fewer dots, larger shapes",
        ge=0,
        le=0.5,
        changes=True,
    )
    calm: float = setting(
        0.35,
        "how calm flat places stay, and how much busy ones get instead; 0 dreams everywhere alike",
        ge=0,
        le=2,
        changes=True,
    )
    variety: float = setting(
        2.0,
        "how much the mix of channels changes over time; 0 not at all",
        ge=0,
        le=5,
        changes=True,
    )
    cycle: float = setting(8.0, "seconds that such a change takes", gt=0, le=3600)
    colors: Literal["source", "natural", "palette", "free"] = setting(
        "source",
        "colours that the dream grows in: the source's own, those of natural pictures, another "
        "picture's, or any",
        metavar="source|natural|free|PICTURE",
    )
    palette: Path | None = setting(
        None, "the picture that colors = palette takes them from", file=True, has_flag=False
    )
    color_amount: float = setting(
        0.9, "how strictly it keeps to those colours; 0 is as free", ge=0, le=1, changes=True
    )
    keep_color: bool = setting(False, "dream in brightness only: colours stay", after="paper")
    grow: float = setting(
        0.0,
        "how far dreams grow out of lines and edges, in frame widths; 0 for everywhere",
        ge=0,
        le=2,
        changes=True,
    )
    tile: int = setting(
        0, "pixels of a tile's side, 64 or more; 0 chooses by the memory there is", ge=0, le=16384
    )

    @field_validator("layers", mode="wrap")
    @classmethod
    def _weights(cls, value: Any, check: ValidatorFunctionWrapHandler) -> dict[str, float]:
        """Reads a list of NAME=WEIGHT, or a table; weights may change over time."""
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list | tuple):
            parts = [str(text).partition("=") for text in value]
            value = {name: (weight if mark else 1.0) for name, mark, weight in parts}
        if not isinstance(value, Mapping):
            raise ValueError("a list of names would do, or a table of weights")
        try:
            weights = {name: number_or_schedule(weight) for name, weight in value.items()}
        except ScheduleError as error:
            raise ValueError(str(error)) from None
        for name, weight in weights.items():
            if not name or not (isinstance(weight, Schedule) or _is_number(weight)):
                raise ValueError(f'"{name}" wants a weight such as 0.5, or one that changes')
        check(dict.fromkeys(weights, 1.0))
        return weights

    @property
    def targets(self) -> list[str]:
        """Writes the layers and their weights as texts, such as `load` takes."""
        return [
            name if isinstance(weight, Schedule) else f"{name}={weight:g}"
            for name, weight in self.layers.items()
        ]

    @model_validator(mode="after")
    def _palette_is_given(self) -> Self:
        if (self.colors == "palette") != (self.palette is not None):
            raise ValueError("colors = palette and a palette picture go together")
        return self

    @field_validator("tile")
    @classmethod
    def _no_tiny_tiles(cls, tile: int) -> int:
        if 0 < tile < 64:
            raise ValueError("a tile has 64 px or more on a side; 0 chooses")
        return tile


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and abs(value) < 1e6


class Guide(Settings):
    """Whose motifs a dream is made of, instead of the picture's own."""

    PANEL = "Guide"

    picture: Path | None = setting(
        None,
        "dream what is in this picture; a folder's pictures take turns, a clip runs along",
        file=True,
        flag="guide",
        metavar="PICTURE|FOLDER|CLIP",
    )
    style: Literal["best", "soft"] | None = setting(
        None,
        "at each place the best match among the guide's features, or a steadier soft one; "
        "else soft for clips, best for stills",
        flag="guide-style",
    )
    seconds: float | None = setting(
        None,
        "that each of several pictures has: else 4, or 0.25 for those of a clip",
        gt=0,
        le=3600,
        flag="guide-seconds",
        metavar="S",
    )
    fade: float = setting(
        1.0,
        "seconds in which one picture goes over into the next",
        ge=0,
        le=3600,
        flag="guide-fade",
        metavar="S",
    )
    amount: float = setting(
        1.0,
        "share of the guide; the rest is the picture's own dream",
        ge=0,
        le=1,
        changes=True,
        flag="guide-amount",
        after="guide.style",
    )


class NeuronSpec(Settings):
    """How pictures of single neurons are made."""

    PANEL = "Pictures"

    size: int = setting(128, "pixels of each picture's side", ge=32, le=2048)
    steps: int = setting(
        72, "gradient steps: more are clearer, then harsher, and slower", ge=1, le=10_000
    )
    step_size: float | None = setting(
        None,
        "how far each step goes (Adam's rate, on Fourier coefficients); else 0.08, "
        "or 0.03 from a picture",
        gt=0,
        le=10,
    )
    diverse: int = setting(
        1, "different answers to each neuron, which are kept unlike", ge=1, le=32
    )
    neuron: bool = setting(
        False, "the neuron in the middle of the map alone, instead of the whole channel"
    )


class FlowBlend(Settings):
    """How a dream rides on a clip."""

    PANEL = "Ride"

    flow: Literal["dis", "raft", "none"] = setting(
        "dis", "optical flow: dis (CPU), raft (best on a GPU), none"
    )
    flow_weights: Path | None = setting(None, "local weights of raft_small", file=True)
    strength: float = setting(
        1.0, "how strong the dream is; 1 is as seven steps of a still", ge=0, le=20, changes=True
    )
    persist: float = setting(
        0.96,
        "share of the dream that stays from one 30th of a second to the next",
        ge=0,
        le=0.995,
        changes=True,
    )
    scenes: bool = setting(True, "begin to dream anew after a cut")
    start: Seconds = setting(
        0.0,
        "where in the clip to begin: seconds, or as 1:02:03.5",
        ge=0,
        panel="Film",
        metavar="T",
        only_for="clips",
    )
    end: Seconds | None = setting(
        None, "where in the clip to end", gt=0, panel="Film", metavar="T", only_for="clips"
    )
    deinterlace: bool = setting(
        True, "put interlaced frames together", panel="Film", only_for="clips"
    )

    @model_validator(mode="after")
    def _starts_before_it_ends(self) -> Self:
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"end: {self.end:g} s is not after the start, {self.start:g} s")
        return self


class Output(Settings):
    """What the film is like."""

    PANEL = "Film"

    fps: Fraction | None = setting(
        None,
        "frames per second, exact; else 30, or the clip's own",
        gt=0,
        le=240,
        after="output.frames",
    )
    seconds: float = setting(6.0, "length of the film", gt=0, le=86400 * 7, only_for="stills")
    frames: int | None = setting(
        None, "length in frames, instead of seconds", ge=1, only_for="stills"
    )
    size: WidthHeight | None = Field(
        None, description="WxH in pixels; else the picture's shape, 512 px on its longer side"
    )
    scale: float = setting(1.0, "of the size; a draft takes a half", gt=0, le=1, has_flag=False)
    audio: bool = setting(True, "keep a clip's sound", only_for="clips")
    loop: bool = setting(False, "a zoom that ends where it begins", only_for="stills")
    quality: float = setting(
        18.0, "constant rate factor of H.264 and VP9; lower is better", ge=0, le=51
    )
    encoder: Literal["software", "hardware"] = setting(
        "software", "of an .mp4; hardware is a graphics card's own, quicker, in a larger file"
    )

    @field_validator("fps", mode="before")
    @classmethod
    def _exact_fps(cls, fps: Any) -> Any:
        """Makes fps exact: 29.97, 23.976 and the like mean n * 1000 / 1001."""
        if fps is None:
            return None
        try:
            exact = Fraction(str(fps).lower().replace("e", "?"))  # 1e999999999 would take for ever
        except (ValueError, ZeroDivisionError):
            raise ValueError("a number such as 30, 23.976 or 24000/1001 would do") from None
        film = Fraction(round(exact * Fraction(1001, 1000)) * 1000, 1001)
        return film if exact.denominator > 1 and abs(film - exact) < Fraction(1, 200) else exact

    @model_validator(mode="after")
    def _sane_size(self) -> Self:
        if self.size and not (self.size.shorter >= 16 and self.size.longer <= 16384):
            raise ValueError(f"size: {self.size} is not within 16x16 and 16384x16384")
        return self

    def length(self, fps: Fraction) -> int:
        """Counts the frames of a still's film; at least one."""
        return self.frames or max(1, round(self.seconds * fps))


class RenderJob(Settings):
    """Everything that decides a render's pixels and where they go."""

    PANEL = "Machine"

    source: Path | None = setting(
        None,
        "a picture, or a clip when there is a flow; the word sample means ours; "
        "without one, seeded 1/f noise",
        file=True,
        has_flag=False,
    )
    target: Path | None = setting(None, "the file, or folder of PNG, to write", has_flag=False)
    model: str = setting(
        "pocket", "network to dream with; zoomdream models lists them", panel="Dream"
    )
    weights: Path | None = setting(
        None, "local weights, .pth or .safetensors", file=True, panel="Dream"
    )
    dream: DreamSpec = DreamSpec()
    guide: Guide = Guide()
    camera: Camera = Camera()
    flow: FlowBlend | None = None
    anchor: Anchor = Anchor()
    output: Output = Output()
    paper: float = setting(
        0.0,
        "how aged and stained white paper becomes; 0 leaves it",
        ge=0,
        le=1,
        panel="Dream",
        after="dream.grow",
    )
    mask: Path | None = setting(
        None,
        "picture of where to dream: white dreams, black stays the source",
        file=True,
        panel="Dream",
        after="dream.cycle",
    )
    seed: int = setting(0, "the same seed gives the same pixels", ge=0, lt=2**63)
    bpm: float | None = setting(None, "beats per minute, for keyframes in beats", gt=0, le=1000)
    device: Literal["auto", "cpu", "cuda", "mps"] = setting("auto", "where to compute")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting(
        "auto", "of the network; auto takes the fastest that looks the same"
    )
    force: bool = setting(False, "replace a file of that name")
    max_pixels: int = setting(
        MAX_PIXELS, "the most that a picture, or a clip's frame, may have", ge=1, after="precision"
    )

    @model_validator(mode="after")
    def _clips_last_as_long_as_they_do(self) -> Self:
        if self.flow and self.output.frames is not None:
            raise ValueError("output.frames is for stills: a clip has flow.start and flow.end")
        if self.flow and self.output.loop:
            raise ValueError("output.loop is for zooms: a clip ends where it ends")
        return self

    def draft(self) -> Self:
        """Keeps the motion, at a quarter of the pixels and a quarter of the steps, at least one."""
        steps = self.dream.steps
        fewer = steps if isinstance(steps, Schedule) else -(-steps // 4)
        return self.change(
            dream=self.dream.change(steps=fewer),
            output=self.output.change(scale=self.output.scale / 2),
        )


STUDY_JOB = RenderJob(dream=DreamSpec(octaves=4, octave_scale=1.4, steps=10, finest_share=1.0))
"""How a single picture is dreamt to see into a network: with Mordvintsev's octaves and steps of 2015."""


STILL_DREAM = DreamSpec(
    octaves=0, octave_scale=1.4, steps=16, step_size=0.007, noise=0.05, calm=0.5, variety=1.0
)
"""How a single picture is dreamt, where nothing else is said."""


SECTIONS: dict[str, type[Settings]] = {
    "dream": DreamSpec,
    "guide": Guide,
    "camera": Camera,
    "flow": FlowBlend,
    "anchor": Anchor,
    "output": Output,
}


@dataclass(frozen=True)
class Setting:
    """One setting, and all that is known of it."""

    path: str  # such as `camera.zoom`, or `seed` for one of the whole job
    field: FieldInfo
    panel: str  # of the help

    @property
    def traits(self) -> Traits:
        return traits_of(self.field)

    @property
    def flag(self) -> str:
        """What its option is called, without dashes."""
        return self.traits.flag or self.path.rsplit(".", 1)[-1].replace("_", "-")


def settings_of(kind: type[Settings], section: str = "") -> dict[str, Setting]:
    """Lists a section's settings by path; those of RenderJob with its sections' in their places."""
    settings: dict[str, Setting] = {}
    for name, field in kind.model_fields.items():
        path = f"{section}.{name}" if section else name
        if kind is RenderJob and name in SECTIONS:
            settings |= settings_of(SECTIONS[name], name)
        else:
            settings[path] = Setting(path, field, traits_of(field).panel or kind.PANEL)
    return settings


SETTINGS = settings_of(RenderJob)
"""Every setting of a job, by path."""

FILES = [path for path, setting in SETTINGS.items() if setting.traits.file]
"""The paths of the settings that name a file which a render reads."""
