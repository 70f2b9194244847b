"""Makes a short film of a single picture's dream as it grows."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from zoomdream.film.film_spec import FilmSpec
from zoomdream.film.inputs import CLIP_LONGER_SIDE, film_size
from zoomdream.film.source_picture import Original
from zoomdream.film.writer import FilmWriter, open_writer
from zoomdream.media.film_formats import nearest_supported
from zoomdream.media.frame import Frame, cover
from zoomdream.settings.definitions import Output, RenderJob

GROWTH_SECONDS = 5.0  # length of the film, about
ENDING_SECONDS = 1.0  # for which its last frame stays


class GrowthFilm:
    """Takes the frames of a dream as it grows into a film."""

    def __init__(self, writer: FilmWriter, spec: FilmSpec, force: bool) -> None:
        self._writer, self._spec, self._force = writer, spec, force

    def add(self, frame: Frame) -> None:
        self._writer.add(cover(frame, self._spec.size))

    def finish(self, last: Frame) -> None:
        """Stays at the last frame for a while, and gives the film its name."""
        for _ in range(max(1, round(ENDING_SECONDS * self._spec.fps))):
            self.add(last)
        self._writer.join()
        self._writer.place(self._force)


@contextmanager
def growth_film(
    film: Path, original: Original, steps: int, label: RenderJob, force: bool
) -> Iterator[GrowthFilm]:
    """Opens a film that begins with the picture. steps: how many frames will be added."""
    natural = film_size(RenderJob(), original.size, longest=CLIP_LONGER_SIDE)
    rate = Fraction(min(30, max(5, round(steps / GROWTH_SECONDS))))
    size, fps = nearest_supported(film, natural, rate)
    frames = 1 + steps + max(1, round(ENDING_SECONDS * fps))
    spec = FilmSpec(film, Output(), size, fps, frames)
    with open_writer(spec, {"seed": str(label.seed)}, force=force) as writer:
        growth = GrowthFilm(writer, spec, force)
        growth.add(original.frame)
        yield growth
