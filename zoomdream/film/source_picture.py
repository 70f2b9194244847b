"""Opens the picture that a still is dreamt on, and gives the result its size, depth and transparency."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from zoomdream.errors import UsageError
from zoomdream.film.inputs import film_size, resolve_source
from zoomdream.media.frame import WHITE_8, WHITE_16, Frame, as_frame, cover
from zoomdream.media.image_formats import image_format
from zoomdream.media.image_reader import decode_image
from zoomdream.media.image_writer import Pixels
from zoomdream.media.noise import noise_picture
from zoomdream.media.python_pictures import one_frame
from zoomdream.settings.definitions import RenderJob
from zoomdream.size import Size


@dataclass(frozen=True)
class Original:
    """A picture that is dreamt on, and what of it the result takes over.

    frame: in the size that is wanted; laid over white where parts are clear. alpha, straight: only of such
    a picture, its alpha (1, 1, H, W), and its colours without the white. deep: whether it has 16 bits a
    channel.
    """

    frame: Frame
    notes: tuple[str, ...] = ()
    alpha: Tensor | None = None
    straight: Frame | None = None
    deep: bool = False

    @property
    def size(self) -> Size:
        return Size.of(self.frame)

    def losses(self, target: Path) -> Iterator[str]:
        """Yields sentences on what the target's format cannot hold."""
        form = image_format(target)
        if self.alpha is not None and not form.alpha:
            yield f"{form.name} holds no transparency: the picture lies on white"
        if self.deep and not form.deep:
            yield f"{form.name} holds 8 bits a channel: .png or .tiff would keep its 16"

    def pixels(self, dreamt: Frame, target: Path) -> Pixels:
        """Turns a dreamt frame into pixels, (H, W, 3 or 4), as the target's format holds them."""
        form = image_format(target)
        dreamt, straight = dreamt.cpu(), self.straight
        planes = list(dreamt[0])
        if self.alpha is not None and straight is not None and form.alpha:
            planes = [*straight[0] + (dreamt[0] - self.frame[0]), self.alpha[0, 0]]
        deep = self.deep and form.deep
        pixels = np.empty((*self.size.shape, len(planes)), np.uint16 if deep else np.uint8)
        for number, plane in enumerate(planes):  # one by one, as floats take much
            pixels[..., number] = (
                plane.clamp(0, 1).mul_(WHITE_16 if deep else WHITE_8).round_().numpy()
            )
        return pixels


def open_original(job: RenderJob, picture: Any) -> Original:
    """Opens a job's source, in the size that is wanted; without one makes noise.

    Raises InputError, and UsageError for noise without a size.
    """
    size = job.output.size
    if picture is None and job.source is None:
        if size is None:
            raise UsageError(
                "a dream from noise needs a size: add `output.size=512x512`, or name a picture"
            )
        return _sized(job, Original(noise_picture(film_size(job, size), job.seed)))
    if picture is not None:
        return _sized(job, Original(one_frame(picture)))
    assert job.source is not None
    decoded = decode_image(resolve_source(job.source, job), job.max_pixels, size)
    deep = decoded.pixels.dtype == np.uint16
    clear = decoded.pixels.shape[2] == 4 and decoded.pixels[..., 3].min() < (
        WHITE_16 if deep else WHITE_8
    )
    if not clear or job.paper:  # old paper lies under a clear drawing, too
        frame = as_frame(decoded.pixels if clear else decoded.pixels[..., :3])
        return _sized(job, Original(frame, decoded.notes, deep=deep))
    alpha, straight = as_frame(decoded.pixels[..., 3])[:, :1], as_frame(decoded.pixels[..., :3])
    return _sized(job, Original(as_frame(decoded.pixels), decoded.notes, alpha, straight, deep))


def _sized(job: RenderJob, original: Original) -> Original:
    """Brings a picture to the size that is wanted."""
    wanted = original.size
    if job.output.size or job.output.scale != 1:
        wanted = film_size(job, original.size, longest=original.size.longer)

    def fit(planes: Tensor | None) -> Tensor | None:
        return planes if planes is None or original.size == wanted else cover(planes, wanted)

    frame = fit(original.frame)
    assert frame is not None
    return dataclasses.replace(
        original, frame=frame, alpha=fit(original.alpha), straight=fit(original.straight)
    )
