"""A guide's pictures, which take turns: a folder's by name, numbers by value; a clip's as it runs along."""

import math
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image

from zoomdream.media.frame import Frame, ImageArray, resize, to_bytes
from zoomdream.media.image_formats import PILLOW_READS
from zoomdream.media.image_reader import read_still
from zoomdream.media.picture_files import picture_endings, picture_files
from zoomdream.media.video_reader import open_video
from zoomdream.settings.definitions import Guide
from zoomdream.size import Size

GUIDE_LONGER_SIDE = 224  # px of a guide's longer side, as Mordvintsev has it
TURN, CLIP_TURN = 4.0, 0.25  # seconds that a picture of a folder has, and one of a clip
MOST_PICTURES = 1000  # that are taken of a clip: of longer ones at longer intervals


@dataclass(frozen=True)
class Slideshow:
    """A guide's pictures, (H, W, 3) of `GUIDE_LONGER_SIDE` px, and the seconds that each has."""

    pictures: tuple[ImageArray, ...]
    seconds: float
    fade: float

    def at(self, t: float) -> tuple[int, int, float]:
        """Finds the picture at t seconds, the next one, and how far it has faded into that, 0..1."""
        turn, count = math.floor(t / self.seconds), len(self.pictures)
        progress, fade = t / self.seconds - turn, min(1.0, self.fade / self.seconds)
        share = max(0.0, (progress - (1 - fade)) / fade) if fade and count > 1 else 0.0
        return turn % count, (turn + 1) % count, share


def open_guide(spec: Guide, least: int, limit: int, length: float) -> Slideshow:
    """Reads a guide's pictures: one, a folder's by name, or a clip's. Raises InputError.

    least: px of a side that the network takes. limit: pixels that each may have. length: seconds that the
    film lasts, beyond which nothing of a clip is read.
    """
    assert spec.picture is not None
    path = spec.picture
    if files := picture_files(path):
        pictures = [read_still(file, limit) for file in files]
    elif (clip := _clip(path)) is None:
        pictures = [read_still(path, limit)]
    else:
        return _from_clip(clip, spec, least, limit, length)
    shown = tuple(to_bytes(shown_to_network(picture, least)) for picture in pictures)
    return Slideshow(shown, spec.seconds or TURN, spec.fade)


def _clip(path: Path) -> Path | None:
    """The path, if it is that of a clip."""
    try:
        with Image.open(path, formats=PILLOW_READS) as picture:
            return path if getattr(picture, "is_animated", False) else None
    except (OSError, ValueError, Image.DecompressionBombError):
        is_picture = not path.is_file() or path.suffix.lower() in picture_endings()
        return None if is_picture else path


def _from_clip(path: Path, spec: Guide, least: int, limit: int, length: float) -> Slideshow:
    """Reads a clip's pictures, each of which lasts until the next."""
    footage = open_video(path, limit, end=length)
    lasting = min(length, float(footage.end))
    seconds = max(spec.seconds or CLIP_TURN, lasting / MOST_PICTURES)
    frames = footage.clip(footage.size.between(least, GUIDE_LONGER_SIDE), footage.fps).frames
    every = seconds * float(footage.fps)
    count = max(1, math.ceil(lasting / seconds))
    pictures: list[ImageArray] = []
    for number, frame in enumerate(islice(frames, round((count - 1) * every) + 1)):
        if number == round(len(pictures) * every):
            pictures.append(to_bytes(frame))
    return Slideshow(tuple(pictures), seconds, spec.fade)


def shown_to_network(picture: Frame, least: int) -> Frame:
    """Resizes a guide's picture for the network. least: px of a side that it takes."""
    return resize(picture, Size.of(picture).between(least, GUIDE_LONGER_SIDE)).clamp(0, 1)
