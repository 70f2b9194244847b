"""What film is to be written and where, and how it is cut into segments."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from zoomdream.media.film_formats import PNG_FOLDER, FilmFormat, film_format
from zoomdream.media.source import Sound
from zoomdream.settings.definitions import Output
from zoomdream.size import Size
from zoomdream.text import path_from_text, path_text

STANDARD_QUALITY = 18  # the quality that a format's `bulk` is given for
STATE_BYTES = 16  # bytes a pixel of the state that a commit saves, at most
SEGMENT_SECONDS = 2  # of film in a segment
SEGMENT_BYTES = 400_000_000  # bytes of raw frames in a segment, at most
SEGMENT_FRAMES = 8  # frames of a segment, at least


@dataclass(frozen=True)
class SegmentPlan:
    """Says which frames each segment of a film has.

    The length of a segment follows from the size and rate alone, so that a film is cut, and encoded, in the
    same places however often its render was interrupted. Early frames, those before the first, have
    numbers below 0 and make up segment -1, which is never shown.
    """

    size: Size
    fps: Fraction
    early: int = 0  # early frames

    @property
    def frame_bytes(self) -> int:
        """Bytes of a raw frame: 8-bit RGB."""
        return 3 * self.size.pixels

    @property
    def length(self) -> int:
        """Frames of a segment."""
        return max(
            SEGMENT_FRAMES,
            min(round(SEGMENT_SECONDS * self.fps), SEGMENT_BYTES // self.frame_bytes),
        )

    def segment(self, frame: int) -> int:
        """The number of the segment that a frame is in."""
        return -1 if frame < 0 else frame // self.length

    def first(self, segment: int) -> int:
        """The number of a segment's first frame."""
        return -self.early if segment < 0 else segment * self.length


@dataclass(frozen=True)
class FilmSpec:
    """Says what film is to be written, and where."""

    target: Path
    output: Output
    size: Size  # as `nearest_supported` gives it
    fps: Fraction  # likewise
    frames: int | None  # about how many there will be; None where nobody knows
    early: int = 0  # frames before the first, which are kept while it is made, but not shown
    sound: Sound | None = None  # cut to the film's length; formats without sound leave it out
    label: str = ""  # what is rendered, as TOML, which is put beside the film as NAME.toml
    comment: str = ""  # the same for the film's own metadata

    @property
    def format(self) -> FilmFormat:
        """The format that the target's name asks for."""
        return film_format(self.target) or PNG_FOLDER

    @property
    def plan(self) -> SegmentPlan:
        """How the film is cut into segments."""
        return SegmentPlan(self.size, self.fps, self.early)

    @property
    def record(self) -> dict[str, Any]:
        """All that joining the film takes, as plain values for its journal."""
        sound = self.sound and [
            path_text(self.sound.path.absolute()),
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
    def from_record(cls, target: Path, record: dict[str, Any]) -> Self:
        """Makes a spec from another one's `record`, as far as joining needs it."""
        sound = record["sound"] and Sound(
            path_from_text(record["sound"][0]), record["sound"][1], Fraction(record["sound"][2])
        )
        return cls(
            target,
            Output(quality=record["quality"], encoder=record["encoder"]),
            Size(record["width"], record["height"]),
            Fraction(record["fps"]),
            None,
            record["early"],
            sound,
        )

    def disk_space(self, done: int) -> int:
        """Estimates the bytes of disk that the film still needs once it has `done` frames.

        Of a film of unknown length only the frames that wait to be encoded are counted.
        """
        form, pixels = self.format, self.size.pixels
        waiting = 2 * self.plan.length
        encoded = 0
        if self.frames is not None:
            left = self.frames - max(done, 0)
            waiting = min(waiting, left)
            encoded = left if form is PNG_FOLDER else left + self.frames  # joining copies all
        early = self.early if done < 0 else 0
        raw_bytes = (waiting + early) * self.plan.frame_bytes
        rate = 2 ** ((STANDARD_QUALITY - self.output.quality) / 6)
        frame_bytes = (
            pixels * (form.bytes_per_pixel if form.even else form.bytes_per_pixel / rate) * rate
        )
        return round(raw_bytes + 3 * STATE_BYTES * pixels + frame_bytes * encoded)
