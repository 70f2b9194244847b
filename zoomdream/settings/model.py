"""The order form: every setting with its unit, range and default, in one place.

Settings are frozen; change them by copying: `spec.change(steps=4)`. The command
line takes its options' defaults and help from here, and a preset's sections are these settings.

Numbers named in a class's `CHANGING` may also be a Schedule (see `schedule`): an expression or
keyframes. `timeline.Timeline` turns a job into one of plain numbers for each frame.
"""

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core.core_schema import ValidationInfo

from zoomdream.errors import UsageError, nearest
from zoomdream.settings.expression import ScheduleError
from zoomdream.settings.schedule import Schedule, read_schedule

MAX_PIXELS = 200_000_000  # of a picture or a clip's frame, unless more is asked for


class Settings(BaseModel):
    """Frozen, strict about names, and without infinities."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants"
    )

    CHANGING: ClassVar[frozenset[str]] = frozenset()
    """Which of them may be a Schedule."""

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
        if info.field_name not in cls.CHANGING:
            return check(value)
        try:
            if isinstance(value, list | tuple):
                parts = tuple(_number_or_schedule(part) for part in value)
                return parts if any(isinstance(p, Schedule) for p in parts) else check(parts)
            value = _number_or_schedule(value)
        except ScheduleError as error:
            raise ValueError(str(error)) from None
        return value if isinstance(value, Schedule) else check(value)

    def change(self, **values: Any) -> Self:
        """A checked copy with some settings changed; those that are None stay as they are."""
        given = {name: value for name, value in values.items() if value is not None}
        return type(self)(**{**dict(self), **given})


def _number_or_schedule(value: Any) -> Any:
    """A number as it is, also one in a string; a Schedule of other strings and of tables."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return read_schedule(value)
    return read_schedule(value) if isinstance(value, Mapping) else value


def error_sentence(error: Mapping[str, Any], settings: type[BaseModel]) -> str:
    """Of one of pydantic's errors."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f'there is no setting "{where}": {nearest(where, settings.model_fields)}'
    problem = error["msg"].removeprefix("Value error, ")
    problem = problem[:1].lower() + problem[1:]
    got = "" if "\n" in problem else f" (got {_short(error['input'])})"
    return f"{where}: {problem}{got}" if where else problem


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."


Centre = Annotated[float, Field(ge=0, le=1)]


def _clock(value: Any) -> Any:
    """Seconds of 83.5, 1:23.5 or 0:1:23.5."""
    if isinstance(value, str):
        try:
            parts = [float(part) for part in value.split(":")]
        except ValueError:
            parts = []
        if not 1 <= len(parts) <= 3 or any(part < 0 for part in parts):
            raise ValueError("seconds or a clock time such as 83.5 or 1:23.5 would do")
        return sum(part * 60**place for place, part in enumerate(reversed(parts)))
    return value


Seconds = Annotated[float, BeforeValidator(_clock)]


class Camera(Settings):
    """How the picture moves between two frames. All rates are per second, whatever the fps."""

    CHANGING = frozenset(
        {"zoom", "rotate", "pan", "turn", "tilt", "center", "fov", "swirl", "swirl_radius", "ripple",
         "ripple_length", "ripple_speed"}
    )  # fmt: skip

    zoom: float = Field(1.5, ge=0.05, le=20, description="factor per second; above 1 goes in")
    rotate: float = Field(
        0.0, ge=-1440, le=1440, description="degrees per second; positive turns clockwise"
    )
    pan: tuple[float, float] = Field(
        (0.0, 0.0),
        description="X,Y the camera travels, in frame widths per second; right and down",
    )
    turn: float = Field(
        0.0, ge=-720, le=720, description="degrees per second the camera looks to the right"
    )
    tilt: float = Field(0.0, ge=-720, le=720, description="degrees per second the camera looks up")
    center: tuple[Centre, Centre] = Field(
        (0.5, 0.5), description="X,Y of the fixed point of zoom and rotation; 0,0 is top left"
    )
    fov: float = Field(
        60.0, ge=1, le=160, description="degrees of view across the width, for turn and tilt"
    )
    swirl: float = Field(
        0.0, ge=-1440, le=1440, description="degrees per second that the middle turns by more"
    )
    swirl_radius: float = Field(0.5, gt=0, le=4, description="frame widths that a swirl reaches")
    ripple: float = Field(
        0.0, ge=0, le=0.2, description="height of rings of waves from the center, in frame widths"
    )
    ripple_length: float = Field(0.2, ge=0.02, le=4, description="frame widths from wave to wave")
    ripple_speed: float = Field(0.5, ge=-10, le=10, description="waves per second, outward")
    kaleidoscope: int = Field(
        0, ge=0, le=48, description="mirrored wedges around the center, 2 or more; 0 for none"
    )
    tunnel: float = Field(
        0.0,
        ge=0,
        le=64,
        description="how much smaller the picture is again within itself (Droste), 1.2 or more; 0 for none",
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

    CHANGING = frozenset({"rate", "limit", "vivid", "grain"})

    to: Literal["source", "running", "palette", "none"] = Field(
        "source", description="whose colours and contrasts to keep"
    )
    palette: Path | None = Field(None, description="the picture that to = palette takes them from")
    rate: float = Field(
        0.8, ge=0, le=1, description="share of the way to the anchor that each frame goes"
    )
    bands: int = Field(5, ge=1, le=8, description="frequency bands that are held, each by itself")
    limit: float = Field(
        1.15, ge=1, le=4, description="the most a band is raised or lowered in one frame, a factor"
    )
    vivid: float = Field(
        1.0, ge=0.1, le=4, description="contrast of the fine bands aimed at, relative to the anchor"
    )
    memory: float = Field(
        10.0, gt=0, le=3600, description="seconds that a running anchor looks back"
    )
    grain: float = Field(
        0.004, ge=0, le=0.2, description="seeded noise added to each frame, so that births go on"
    )

    @model_validator(mode="after")
    def _palette_is_given(self) -> Self:
        if (self.to == "palette") != (self.palette is not None):
            raise ValueError("to = palette and a palette picture go together")
        return self


class DreamSpec(Settings):
    """How one frame is dreamt."""

    CHANGING = frozenset(
        {"octaves", "octave_scale", "steps", "step_size", "jitter", "smooth", "variety", "grow"}
    )

    layers: dict[str, float] = Field(
        {},
        validate_default=True,
        description="layer to excite: NAME, NAME=WEIGHT, NAME:CHANNEL or a sum as NAME:3+7-0.5*9; "
        "may be repeated",
    )
    octaves: int = Field(
        3,
        ge=0,
        le=12,
        description="sizes dreamt at, from small to full; 0 for as many as a picture of this size needs",
    )
    octave_scale: float = Field(2.0, gt=1, le=4, description="ratio of one octave to the next")
    steps: int = Field(2, ge=0, le=1000, description="gradient steps per octave and frame")
    step_size: float = Field(
        0.012, ge=0, le=1, description="mean change of a pixel per step, where 1 is black to white"
    )
    jitter: int = Field(32, ge=0, le=1024, description="pixels of random shift before each step")
    smooth: float = Field(
        1.0, ge=0, le=20, description="pixels the gradient is smoothed by (three Gaussians)"
    )
    variety: float = Field(
        2.0, ge=0, le=5, description="how much the mix of channels changes over time; 0 not at all"
    )
    cycle: float = Field(8.0, gt=0, le=3600, description="seconds that such a change takes")
    keep_color: bool = Field(False, description="dream in brightness only: colours stay")
    grow: float = Field(
        0.0,
        ge=0,
        le=2,
        description="how far dreams grow out of lines and edges, in frame widths; 0 for everywhere",
    )
    tile: int = Field(
        0,
        ge=0,
        le=16384,
        description="pixels of a tile's side, 64 or more; 0 chooses by the memory there is",
    )

    @field_validator("layers", mode="wrap")
    @classmethod
    def _weights(cls, value: Any, check: ValidatorFunctionWrapHandler) -> dict[str, float]:
        """From a list of NAME=WEIGHT, or a table; weights may change over time."""
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list | tuple):
            parts = [str(text).partition("=") for text in value]
            value = {name: (weight if mark else 1.0) for name, mark, weight in parts}
        if not isinstance(value, Mapping):
            raise ValueError("a list of names would do, or a table of weights")
        try:
            weights = {name: _number_or_schedule(weight) for name, weight in value.items()}
        except ScheduleError as error:
            raise ValueError(str(error)) from None
        for name, weight in weights.items():
            if not name or not (isinstance(weight, Schedule) or _is_number(weight)):
                raise ValueError(f'"{name}" wants a weight such as 0.5, or one that changes')
        check(dict.fromkeys(weights, 1.0))
        return weights

    @property
    def targets(self) -> list[str]:
        """Layers as `net.load` takes them."""
        return [
            name if isinstance(weight, Schedule) else f"{name}={weight:g}"
            for name, weight in self.layers.items()
        ]

    @field_validator("tile")
    @classmethod
    def _no_tiny_tiles(cls, tile: int) -> int:
        if 0 < tile < 64:
            raise ValueError("a tile has 64 px or more on a side; 0 chooses")
        return tile


def _is_number(value: Any) -> bool:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    return good and math.isfinite(value) and abs(value) < 1e6


class Guide(Settings):
    """Whose motifs a dream is made of, instead of the picture's own."""

    CHANGING = frozenset({"amount"})

    picture: Path | None = Field(
        None,
        description="dream what is in this picture; a folder's pictures take turns, a clip runs along",
    )
    style: Literal["best", "soft"] | None = Field(
        None,
        description="at each place the best match among the guide's features, or a steadier soft one; "
        "else soft for clips, best for stills",
    )
    seconds: float | None = Field(
        None,
        gt=0,
        le=3600,
        description="that each of several pictures has: else 4, or 0.25 for those of a clip",
    )
    fade: float = Field(
        1.0, ge=0, le=3600, description="seconds in which one picture goes over into the next"
    )
    amount: float = Field(
        1.0, ge=0, le=1, description="share of the guide; the rest is the picture's own dream"
    )


class NeuronSpec(Settings):
    """How pictures of single neurons are made."""

    size: int = Field(128, ge=32, le=2048, description="pixels of each picture's side")
    steps: int = Field(
        72,
        ge=1,
        le=10_000,
        description="gradient steps: more are clearer, then harsher, and slower",
    )
    step_size: float | None = Field(
        None,
        gt=0,
        le=10,
        description="how far each step goes (Adam's rate, on Fourier coefficients); else 0.08, "
        "or 0.03 from a picture",
    )
    diverse: int = Field(
        1, ge=1, le=32, description="different answers to each neuron, which are kept unlike"
    )
    neuron: bool = Field(
        False, description="the neuron in the middle of the map alone, instead of the whole channel"
    )


class FlowBlend(Settings):
    """How a dream rides on a clip."""

    CHANGING = frozenset({"strength", "persist"})

    flow: Literal["dis", "raft", "none"] = Field(
        "dis", description="optical flow: dis (CPU), raft (best on a GPU), none"
    )
    flow_weights: Path | None = Field(None, description="local weights of raft_small")
    strength: float = Field(
        1.0, ge=0, le=20, description="how strong the dream is; 1 is as five steps of a still"
    )
    persist: float = Field(
        0.96,
        ge=0,
        le=0.995,
        description="share of the dream that stays from one 30th of a second to the next",
    )
    scenes: bool = Field(True, description="begin to dream anew after a cut")
    start: Seconds = Field(
        0.0, ge=0, description="where in the clip to begin: seconds, or as 1:02:03.5"
    )
    end: Seconds | None = Field(None, gt=0, description="where in the clip to end")

    @model_validator(mode="after")
    def _starts_before_it_ends(self) -> Self:
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"end: {self.end:g} s is not after the start, {self.start:g} s")
        return self


class Output(Settings):
    """What the film is like."""

    fps: Fraction | None = Field(
        None, gt=0, le=240, description="frames per second, exact; else 30, or the clip's own"
    )
    seconds: float = Field(6.0, gt=0, le=86400 * 7, description="length of the film")
    frames: int | None = Field(None, ge=1, description="length in frames, instead of seconds")
    size: tuple[int, int] | None = Field(
        None, description="WxH in pixels; else the picture's shape, 512 px on its longer side"
    )
    scale: float = Field(1.0, gt=0, le=1, description="of the size; a draft takes a half")
    audio: bool = Field(True, description="keep a clip's sound")
    loop: bool = Field(False, description="a zoom that ends where it begins")
    quality: float = Field(
        18.0, ge=0, le=51, description="constant rate factor of H.264 and VP9; lower is better"
    )
    encoder: Literal["software", "hardware"] = Field(
        "software",
        description="of an .mp4; hardware is a graphics card's own, quicker, in a larger file",
    )

    @field_validator("fps", mode="before")
    @classmethod
    def _exact_fps(cls, fps: Any) -> Any:
        """29.97, 23.976 and the like mean n * 1000 / 1001."""
        if fps is None:
            return None
        try:
            exact = Fraction(str(fps))
        except (ValueError, ZeroDivisionError):
            raise ValueError("a number such as 30, 23.976 or 24000/1001 would do") from None
        film = Fraction(round(exact * Fraction(1001, 1000)) * 1000, 1001)
        return film if exact.denominator > 1 and abs(film - exact) < Fraction(1, 200) else exact

    @model_validator(mode="after")
    def _sane_size(self) -> Self:
        if self.size and not (min(self.size) >= 16 and max(self.size) <= 16384):
            width, height = self.size
            raise ValueError(f"size: {width}x{height} is not within 16x16 and 16384x16384")
        return self

    def length(self, fps: Fraction) -> int:
        """Frames of a still's film in all; at least one."""
        return self.frames or max(1, round(self.seconds * fps))


class RenderJob(Settings):
    """Everything that decides a render's pixels and where they go."""

    source: Path | None = Field(
        None,
        description="a picture, or a clip when there is a flow; the word sample means ours; "
        "without one, seeded 1/f noise",
    )
    target: Path | None = Field(None, description="the file, or folder of PNG, to write")
    model: str = Field("pocket", description="network to dream with; zoomdream models lists them")
    weights: Path | None = Field(None, description="local weights, .pth or .safetensors")
    dream: DreamSpec = DreamSpec()
    guide: Guide = Guide()
    camera: Camera = Camera()
    flow: FlowBlend | None = None
    anchor: Anchor = Anchor()
    output: Output = Output()
    paper: float = Field(
        0.0, ge=0, le=1, description="how aged and stained white paper becomes; 0 leaves it"
    )
    mask: Path | None = Field(
        None, description="picture of where to dream: white dreams, black stays the source"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="the same seed gives the same pixels")
    bpm: float | None = Field(
        None, gt=0, le=1000, description="beats per minute, for keyframes in beats"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="where to compute")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="of the network; auto takes the fastest that looks the same"
    )
    force: bool = Field(False, description="replace a file of that name")
    max_pixels: int = Field(
        MAX_PIXELS, ge=1, description="the most that a picture, or a clip's frame, may have"
    )

    @model_validator(mode="after")
    def _clips_last_as_long_as_they_do(self) -> Self:
        if self.flow and self.output.frames is not None:
            raise ValueError("output.frames is for stills: a clip has flow.start and flow.end")
        if self.flow and self.output.loop:
            raise ValueError("output.loop is for zooms: a clip ends where it ends")
        return self

    def draft(self) -> Self:
        """The same motion at a quarter of the pixels and a quarter of the steps, at least one."""
        steps = self.dream.steps
        fewer = steps if isinstance(steps, Schedule) else -(-steps // 4)
        return self.change(
            dream=self.dream.change(steps=fewer),
            output=self.output.change(scale=self.output.scale / 2),
        )


STUDY_JOB = RenderJob(dream=DreamSpec(octaves=4, octave_scale=1.4, steps=10))
"""How a single picture is dreamt to see into a network: as Mordvintsev's of 2015."""


STILL_DREAM = DreamSpec(octaves=0, octave_scale=1.4, steps=10, step_size=0.007, variety=1.0)
"""How a single picture is dreamt, where nothing else is said."""


SECTIONS: dict[str, type[Settings]] = {
    "dream": DreamSpec,
    "guide": Guide,
    "camera": Camera,
    "flow": FlowBlend,
    "anchor": Anchor,
    "output": Output,
}
