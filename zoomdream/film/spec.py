"""What film is to be written, and where."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

from zoomdream.errors import UsageError
from zoomdream.film.journal import (
    Line,
    SegmentPlan,
)
from zoomdream.media.film_formats import PNG_FOLDER, film_format
from zoomdream.media.source import Sound
from zoomdream.settings.model import Output
from zoomdream.size import Size

STANDARD_QUALITY = 18  # the quality for which a format's bulk is told
STATE_BYTES = 16  # bytes a pixel of what a commit carries, at most


@dataclass(frozen=True)
class FilmSpec:
    """What is to be written, and where."""

    target: Path
    output: Output
    size: Size  # as `fitting` gives it
    fps: Fraction  # likewise
    frames: int  # about how many there will be
    early: int = 0  # frames that come before the first and are kept, but not shown
    sound: Sound | None = None  # cut to the film's length; formats without sound leave it out
    label: str = ""  # what is rendered, as TOML, which is put beside the film as NAME.toml
    comment: str = ""  # the same for the film's own metadata
    check: Callable[[Path], None] | None = None  # looks at the finished film and may raise

    @property
    def plan(self) -> SegmentPlan:
        return SegmentPlan(self.size, self.fps, self.early)

    @property
    def facts(self) -> Line:
        """What has to be known to join the film without its job."""
        sound = self.sound and [
            str(self.sound.path.absolute()),
            self.sound.codec,
            str(self.sound.start),
        ]
        return {
            **self.size._asdict(),
            "fps": str(self.fps),
            "early": self.early,
            "sound": sound,
            "quality": self.output.quality,
            "encoder": self.output.encoder,
        }

    @classmethod
    def of(cls, target: Path, facts: Line) -> Self:
        """The order that an interrupted render was begun with, as far as joining needs it.

        Raises UsageError where an older version, which had the height first, wrote the facts.
        """
        if "width" not in facts:
            raise UsageError(
                "the render was begun by an older zoomdream: it can go on, but not be joined so far"
            )
        size = Size(facts["width"], facts["height"])
        sound = facts["sound"]
        if sound:
            sound = Sound(Path(sound[0]), sound[1], Fraction(sound[2]))
        output = Output(quality=facts["quality"], encoder=facts.get("encoder", "software"))
        return cls(target, output, size, Fraction(facts["fps"]), 0, facts["early"], sound)

    def room(self, done: int) -> int:
        """Bytes of disk that it still needs, about, once so many frames are there."""
        form, left = film_format(self.target) or PNG_FOLDER, self.frames - max(done, 0)
        pixels, rate = self.size.pixels, 2 ** ((STANDARD_QUALITY - self.output.quality) / 6)
        coded = pixels * (form.bytes_per_pixel if form.even else form.bytes_per_pixel / rate) * rate
        raw = (
            min(2 * self.plan.length, left) + (self.early if done < 0 else 0)
        ) * self.plan.frame_bytes
        joined = 0 if form is PNG_FOLDER else self.frames
        return round(raw + 3 * STATE_BYTES * pixels + coded * (left + joined))
