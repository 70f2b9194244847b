"""Puts a picture and its dreams at each layer on a labelled sheet, and enlarges a detail of them."""

from collections.abc import Callable, Sequence
from fractions import Fraction

from zoomdream.errors import UsageError
from zoomdream.film.inputs import resolve_source
from zoomdream.media.frame import Frame, resize
from zoomdream.media.image_formats import check_sheet_target
from zoomdream.media.image_reader import read_still
from zoomdream.media.sheet import Box, Cell, contact_sheet, write_sheet
from zoomdream.settings.definitions import RenderJob
from zoomdream.settings.timeline import at_start
from zoomdream.size import Size
from zoomdream.study.layers import STRENGTH, LayerDream, dream_layers, layer_names

SHEET_SIDE = 320  # px of each picture's longer side


def layer_sheet(
    job: RenderJob,
    layers: Sequence[str] | None = None,
    *,
    size: int = SHEET_SIDE,
    columns: int = 0,
    strength: float = STRENGTH,
    zoom_in: Sequence[float] = (),
    quality: int = 92,
    progress: Callable[[LayerDream, int], None] = lambda *_: None,
) -> Size:
    """Writes a labelled sheet of a picture dreamt at each layer to the job's target; gives its size.

    job: its source, network, weights, dream, seed, machine, target and force are used. layers: NAME or
    NAME:CHANNEL of those to take; None means all. size: px of the longer side at which the picture is
    dreamt and shown. columns: 0 chooses. strength: see `dream_layers`. zoom_in: X,Y,R of a detail that is
    enlarged (see `detail_box`). quality: of JPEG and WebP. progress: is called after each layer, with how
    many there are. Raises UsageError, InputError, OutputError and WeightsError.
    """
    source, target = job.source, job.target
    if source is None or target is None:
        raise UsageError("a sheet of layers needs a source and a target: name both in the job")
    check_sheet_target(target, job.force)
    job = at_start(job)
    picture = read_still(resolve_source(source, job), job.max_pixels, Size.square(size))
    box = detail_box(zoom_in) if zoom_in else None
    whole = Size.of(picture)
    small = resize(picture, whole.scaled(Fraction(size, whole.longer))).clamp(0, 1)
    chosen = layer_names(job.model) if layers is None else layers
    dreams = []
    for layer_dream in dream_layers(job, small, chosen, strength):
        dreams.append(layer_dream)
        progress(layer_dream, len(chosen))
    sheet = contact_sheet(layer_cells(small, dreams, f"seen by {job.model}", box), columns, size)
    write_sheet(target, sheet, job.force, quality)
    return Size.of_channels_last(sheet)


def layer_cells(
    picture: Frame, dreams: Sequence[LayerDream], about: str = "", box: Box | None = None
) -> list[Cell]:
    """Makes a sheet's cells: the original, and its dreams. about: a line under the original.

    box: what of every picture is enlarged under it.
    """
    captioned = [
        (picture, ("original", *([about] if about else []))),
        *((dream.picture, dream.caption) for dream in dreams),
    ]
    return [
        Cell(frame, caption, cut_detail(frame, box) if box else None, None if number else box)
        for number, (frame, caption) in enumerate(captioned)
    ]


def detail_box(zoom_in: Sequence[float]) -> Box:
    """Finds where a detail is, which has the picture's own shape.

    zoom_in: X and Y of its middle as fractions of the picture, 0,0 at the top left, and R, half its width
    as a fraction of the picture's, so that 0.1 enlarges five times. It is moved inside where it would
    stand over. Raises UsageError for what is no such place.
    """
    if len(zoom_in) != 3 or not (
        0 <= zoom_in[0] <= 1 and 0 <= zoom_in[1] <= 1 and 0.01 <= zoom_in[2] <= 0.5
    ):
        written = ",".join(f"{value:g}" for value in zoom_in)
        raise UsageError(
            f'`zoom_in` "{written}" is not X,Y,R such as 0.5,0.4,0.15: X and Y from 0 to 1, '
            "R from 0.01 to 0.5"
        )
    x, y, reach = zoom_in
    left, top = (min(max(middle, reach), 1 - reach) - reach for middle in (x, y))
    return left, top, left + 2 * reach, top + 2 * reach


def cut_detail(picture: Frame, box: Box) -> Frame:
    """Cuts out a part of a picture, and enlarges it to the picture's own size."""
    size = Size.of(picture)
    left, right = (round(share * size.width) for share in (box[0], box[2]))
    top, bottom = (round(share * size.height) for share in (box[1], box[3]))
    part = picture[..., top : max(bottom, top + 1), left : max(right, left + 1)]
    return resize(part, size).clamp(0, 1)
