"""Read numbered pictures as a clip."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from zoomdream.errors import UsageError
from zoomdream.media.frame import Frame, cover
from zoomdream.media.image_reader import read_still
from zoomdream.media.picture_files import missing_numbers
from zoomdream.media.source import Clip
from zoomdream.size import Size


def picture_clip(
    paths: Sequence[Path],
    size: Size,
    fps: Fraction,
    limit: int,
    start: float = 0.0,
    end: float | None = None,
) -> Clip:
    """Reads pictures from `start` to `end` seconds as a Clip of `size`, each filled and cut equally.

    limit: pixels that each may have. Raises UsageError where none is in that time; its frames raise
    InputError where one cannot be read.
    """
    first = round(start * fps)
    last = len(paths) if end is None else min(len(paths), round(end * fps))
    if first >= last:
        raise UsageError(
            f"{len(paths)} pictures at {float(fps):g} fps last {float(len(paths) / fps):.2f} s: "
            "`flow.start` and `flow.end` leave none"
        )
    missing = missing_numbers(list(paths))
    notes = (
        (f"{missing} of its numbers are missing: the others follow each other",) if missing else ()
    )

    def frames() -> Iterator[Frame]:
        for path in paths[first:last]:
            yield cover(read_still(path, limit, size), size)

    return Clip(fps, size, last - first, frames(), notes=notes)
