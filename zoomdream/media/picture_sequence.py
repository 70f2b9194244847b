"""Read numbered pictures as a clip."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from zoomdream.errors import UsageError
from zoomdream.media.frame import Frame, cover
from zoomdream.media.image_reader import read_still
from zoomdream.media.picture_files import missing_numbers
from zoomdream.media.source import Clip
from zoomdream.settings.definitions import MAX_PIXELS
from zoomdream.size import Size

PICTURE_RATE = Fraction(30)  # pictures a second, where no rate is given; as films of stills have


@dataclass(frozen=True)
class PictureSequence:
    """Pictures that are taken in turns, one for each frame, at whatever rate. The first gives the size."""

    paths: tuple[Path, ...]
    size: Size
    limit: int = MAX_PIXELS  # pixels that each may have
    fps = PICTURE_RATE
    sound = None

    def clip(
        self,
        size: Size,
        fps: Fraction,
        start: float = 0.0,
        end: float | None = None,
        deinterlace: bool = True,  # noqa: ARG002 (pictures are whole)
    ) -> Clip:
        """Reads them from `start` to `end` seconds as a Clip of `size`, each filled and cut equally.

        Raises UsageError where none is in that time; the frames raise InputError where one cannot be read.
        """
        count = len(self.paths)
        first = round(start * fps)
        last = count if end is None else min(count, round(end * fps))
        if first >= last:
            raise UsageError(
                f"{count} pictures at {float(fps):g} fps last {float(count / fps):.2f} s: "
                "`flow.start` and `flow.end` leave none"
            )

        def frames() -> Iterator[Frame]:
            for path in self.paths[first:last]:
                yield cover(read_still(path, self.limit, size), size)

        return Clip(fps, size, last - first, frames(), notes=self._notes(fps))

    def _notes(self, fps: Fraction) -> tuple[str, ...]:
        rate = (
            f"{len(self.paths)} pictures, {float(fps):g} a second: `output.fps` sets another rate"
        )
        missing = missing_numbers(self.paths)
        are = "is" if missing == 1 else "are"
        left_out = f"{missing} of its numbers {are} missing: the others follow each other"
        return (rate, *((left_out,) if missing else ()))


def open_pictures(paths: list[Path], limit: int = MAX_PIXELS) -> PictureSequence:
    """Looks into the first of some pictures. Raises InputError where it cannot be read."""
    return PictureSequence(tuple(paths), Size.of(read_still(paths[0], limit)), limit)
