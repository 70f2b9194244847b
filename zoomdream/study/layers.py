"""Seeing into a network: one picture, dreamt at each of its layers, at equal strength.

A layer's steps are all as large as any other's, and yet strokes burn where creatures can hardly be
seen: what counts is what a person sees. So the change is measured as CIE76 differences (L*a*b*, which
is about as even as the eye is) after a blur of one pixel, since the finest ripple goes unseen from
where a sheet is looked at (Zhang and Wandell 1996, S-CIELAB, blur by more exact curves). Its root mean
square is made the same for every layer: by the size of the steps as far as that goes, since a large step
finds other shapes than a small one, and the rest by fading the change. Washes of colour over whole areas
are taken out before (see `unwashed`): what a layer has learnt is in the forms.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from zoomdream.dreaming.ascent import dream
from zoomdream.errors import UsageError
from zoomdream.media.color import to_lab
from zoomdream.media.frame import Frame, ImageArray, blur, resize
from zoomdream.media.sheet import Box, Cell, contact_sheet
from zoomdream.network.catalog import network_info
from zoomdream.network.device import choose_place
from zoomdream.network.layers import Layer, describe_layers, network_layers
from zoomdream.network.network import Network, load_networks
from zoomdream.network.objective import Target
from zoomdream.settings.model import DreamSpec, RenderJob
from zoomdream.size import Size

SHEET_SIDE = 320  # px of each picture's longer side
STRENGTH = 12.0  # RMS difference in L*a*b*, of a dream that is plain to see and not burnt
FIRST_STEP = 0.002  # tried first
NEAR_ENOUGH = 1.35  # a factor of the strength, within which fading does the rest
MOST_TRIES = 3  # dreams on the whole picture, at most
_WASH = 16  # of a picture's longer side, the sigma of what counts as a wash
_VIEW = 1.0  # px, the blur of looking at a sheet


@dataclass(frozen=True)
class LayerDream:
    """A picture as it is dreamt at one layer, or one channel of it."""

    target: Target
    layer: Layer
    picture: Frame  # (1, 3, H, W)
    change: float  # RMS difference to the original in L*a*b*, as it is seen

    @property
    def caption(self) -> tuple[str, str]:
        """The layer's name, and its stride and channels."""
        channels = f"{self.layer.channels} channels"
        if self.target.channel is not None:
            one, many = self.target.channel, len(self.target.terms)
            which = f"channel {one}" if many == 1 else f"a sum of {many} channels"
            channels = f"{which} of {self.layer.channels}"
        place = f"stride {self.layer.stride}" if self.layer.stride else "the whole picture"
        return str(self.target), f"{place}, {channels}"


def dream_layers(
    job: RenderJob,
    picture: Frame,
    names: Sequence[str] | None = None,
    strength: float = STRENGTH,
) -> Iterator[LayerDream]:
    """A picture dreamt at each layer, from first to last; the weights are read once.

    job: its network, dream, seed and place are used. picture: (1, 3, H, W) in 0..1, which is dreamt as
    large as it is. names: NAME or NAME:CHANNEL of the layers to take; None means all. strength: RMS
    difference to the original in L*a*b*. Raises UsageError for a wrong name, or a picture that is too
    small, and WeightsError.
    """
    given = [layer.name for layer in network_layers(job.model)] if names is None else names
    if weighted := [name for name in given if "=" in name]:
        raise UsageError(
            f'"{weighted[0]}" has a weight, which is for dreams: all are equally strong here'
        )
    if job.dream.steps == 0:
        raise UsageError("`dream.steps=0` dreams nothing: 10 would do")
    targets = [Target.parse(name) for name in given]
    known = describe_layers(job.model, [target.layer for target in targets])
    least = network_info(job.model).least
    if Size.of(picture).shorter < least:
        raise UsageError(
            f"{Size.of(picture)} is too small for {job.model}: at least {least}x{least} would do, "
            "with `size`"
        )
    networks = load_networks(
        job.model, targets, weights=job.weights, at=choose_place(job.device, job.precision)
    )
    for target, layer, network in zip(targets, known, networks, strict=True):
        original = picture.to(network.at.device)
        network.balance(original)
        dreamt = at_strength(original, network, job.dream, strength, job.seed)
        yield LayerDream(target, layer, dreamt.cpu(), visible_change(original, dreamt))


@torch.no_grad()
def at_strength(
    picture: Frame, network: Network, spec: DreamSpec, strength: float, seed: int
) -> Frame:
    """A picture, dreamt so that its visible change is `strength`.

    The size of steps is found on the picture at half its size, then corrected on the whole as long as it
    is not near. Where a layer gives no gradient the picture stays as it is.
    """
    size = FIRST_STEP
    small = resize(picture, _half(Size.of(picture), network.info.least)).clamp(0, 1)
    for before in (small, *[picture] * MOST_TRIES):
        rng = torch.Generator().manual_seed(seed)
        after = dream(before, network, spec.change(step_size=size), rng).frame
        after = unwashed(before, after)
        change = visible_change(before, after)
        if change == 0:
            return picture
        if before is picture and 1 / NEAR_ENOUGH < change / strength < NEAR_ENOUGH:
            break
        size = min(1.0, size * max(0.2, min(5.0, strength / change)))
    return faded(picture, after, strength)


def _half(size: Size, least: int) -> Size:
    """Half a size, or as little as the network takes."""
    return size.scaled(max(0.5, min(1.0, least / size.shorter)))


def unwashed(before: Frame, after: Frame) -> Frame:
    """The dream without its wash: what of the change is broader than a sixteenth of the picture.

    Early layers also shift whole areas' colours, which would be most of what is seen of them.
    """
    change, width = after - before, Size.of(before).longer / _WASH
    there = blur(torch.ones_like(before[:, :1]), width)
    return (after - blur(change, width) / there).clamp(0, 1)


def faded(before: Frame, after: Frame, strength: float) -> Frame:
    """`before` with as much of the change to `after`, 4 times at most, as has the strength.

    Clipping to 0..1 answers back, so that the share is corrected until it is right to 0.2 %.
    """
    seen, share, found = _as_seen(before), 1.0, after
    for _ in range(12):
        change = _distance(seen, _as_seen(found))
        if abs(change / strength - 1) < 0.002 or change == 0:
            break
        share = min(4.0, share * strength / change)
        found = (before + share * (after - before)).clamp(0, 1)
    return found


def visible_change(before: Frame, after: Frame) -> float:
    """Root mean square of the CIE76 differences of two Frames, both blurred by a pixel.

    1 can just be told by a sharp eye, 10 is plain to see.
    """
    return _distance(_as_seen(before), _as_seen(after))


def _as_seen(frame: Frame) -> Tensor:
    return to_lab(blur(frame, _VIEW).clamp(0, 1))


def _distance(there: Tensor, here: Tensor) -> float:
    return float((there - here).square().sum(1).mean().sqrt())


def layer_sheet(
    job: RenderJob,
    picture: Frame,
    names: Sequence[str] | None = None,
    *,
    size: int = SHEET_SIDE,
    columns: int = 0,
    strength: float = STRENGTH,
    zoom_in: Sequence[float] = (),
    progress: Callable[[LayerDream, int], None] = lambda *_: None,
) -> ImageArray:
    """A contact sheet of a picture dreamt at each layer, (H, W, 3).

    size: px of the longer side at which the picture is dreamt and shown. columns: 0 chooses. For the
    others see `look` and `box_of`. progress: is called after each layer, with how many there are.
    """
    box = detail_box(zoom_in) if zoom_in else None
    whole = Size.of(picture)
    small = resize(picture, whole.scaled(Fraction(size, whole.longer))).clamp(0, 1)
    given = [layer.name for layer in network_layers(job.model)] if names is None else names
    seen = []
    for one in dream_layers(job, small, given, strength):
        seen.append(one)
        progress(one, len(given))
    return contact_sheet(layer_cells(small, seen, f"seen by {job.model}", box), columns, size)


def layer_cells(
    picture: Frame, seen: Sequence[LayerDream], about: str = "", box: Box | None = None
) -> list[Cell]:
    """A sheet's cells: the original, and what is seen of it. about: a line under the original.

    box: what of every picture is enlarged under it.
    """
    shown = [
        (picture, ("original", *([about] if about else []))),
        *((s.picture, s.caption) for s in seen),
    ]
    return [
        Cell(frame, caption, cut_detail(frame, box) if box else None, None if number else box)
        for number, (frame, caption) in enumerate(shown)
    ]


def detail_box(zoom_in: Sequence[float]) -> Box:
    """Where a detail is, of the picture's own shape.

    zoom_in: X and Y of its middle as fractions of the picture, 0,0 at the top left, and R, half its width
    as a fraction of the picture's, so that 0.1 enlarges five times. It is moved inside where it would
    stand over. Raises UsageError for what is no such place.
    """
    if len(zoom_in) != 3 or not (
        0 <= zoom_in[0] <= 1 and 0 <= zoom_in[1] <= 1 and 0.01 <= zoom_in[2] <= 0.5
    ):
        given = ",".join(f"{value:g}" for value in zoom_in)
        raise UsageError(
            f'`zoom_in="{given}"` is not X,Y,R such as 0.5,0.4,0.15: X and Y from 0 to 1, '
            "R from 0.01 to 0.5"
        )
    x, y, reach = zoom_in
    left, top = (min(max(middle, reach), 1 - reach) - reach for middle in (x, y))
    return left, top, left + 2 * reach, top + 2 * reach


def cut_detail(picture: Frame, box: Box) -> Frame:
    """A part of a picture, enlarged to the picture's own size."""
    size = Size.of(picture)
    left, right = (round(share * size.width) for share in (box[0], box[2]))
    top, bottom = (round(share * size.height) for share in (box[1], box[3]))
    part = picture[..., top : max(bottom, top + 1), left : max(right, left + 1)]
    return resize(part, size).clamp(0, 1)
