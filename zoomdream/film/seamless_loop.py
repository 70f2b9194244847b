"""Makes a film's end its beginning, and checks that a finished film is such a loop."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from statistics import median

from zoomdream.errors import OutputError, UsageError
from zoomdream.media.footage import open_footage
from zoomdream.media.frame import Flow, Frame, ImageArray, as_frame, to_bytes
from zoomdream.media.source import Clip
from zoomdream.motion.camera import CameraPath
from zoomdream.motion.warp import warp
from zoomdream.settings.definitions import RenderJob
from zoomdream.settings.timeline import Timeline
from zoomdream.size import Size

LOOP_OVERLAP = 1.5  # seconds in which the end of a loop becomes its beginning
LOOP_MEMORY = 1_000_000_000  # bytes that the frames of this may take
LOOP_SEAM = 1.1  # how large the change at the seam may be, in median changes between frames


class LoopBlend:
    """Makes a film end where it begins; where no loop is wanted it changes nothing.

    early: frames that come before the first one. Raises UsageError for a loop of unknown length.
    """

    def __init__(self, job: RenderJob, clip: Clip) -> None:
        self.early, self._length = 0, clip.length or 0
        self._held: list[ImageArray] = []  # the early frames
        if job.output.loop:
            if clip.length is None:
                raise UsageError("output.loop: a film of unknown length has no end to be closed")
            most = LOOP_MEMORY // (3 * clip.size.pixels)
            self.early = max(1, min(round(LOOP_OVERLAP * clip.fps), clip.length // 2, most))

    def numbered(self, frames: Iterator[Frame]) -> Iterator[tuple[int, Frame]]:
        """Numbers a clip's frames; those of a loop, whose source stands still, begin below 0."""
        if self.early:
            still_frame = next(frames)
            return ((number, still_frame) for number in range(-self.early, self._length))
        return enumerate(frames)

    def hold(self, early: Iterator[ImageArray]) -> None:
        """Takes the early frames of a render that goes on."""
        self._held = list(early)

    def blended(self, number: int, frame: Frame) -> Frame:
        """Draws a frame near the end towards its early one, and holds early ones for that."""
        if number < 0:
            self._held.append(to_bytes(frame))
            return frame
        place = number - (self._length - self.early)  # among the early frames
        if not self.early or place < 0:
            return frame
        before, after = (_ease((place + k) / self.early) for k in (0, 1))
        share = (after - before) / (1 - before)  # so that all shares together go all the way
        return frame.lerp(as_frame(self._held[place]).to(frame), share)


def _ease(share: float) -> float:
    return share * share * (3 - 2 * share)


def check_loop(film: Path, clip: Clip, timeline: Timeline, name: str) -> None:
    """Checks that the change at a finished loop's seam is no larger than those between its frames.

    film: a file, or a folder of PNG. name: of the film, for the message. Raises OutputError.
    """
    path = CameraPath()

    def moves(frame: Frame, number: int) -> Flow:
        camera, t = timeline.at(number).camera, float(number / clip.fps)
        return path.flow(camera, frame, float(1 / clip.fps), t)

    step, seam = loop_steps(film, clip.size, clip.fps, moves)
    if seam > LOOP_SEAM * step:
        raise OutputError(
            f"{name} does not close: its seam is {seam / max(step, 1e-9):.2f} times the step "
            "between frames; more `output.seconds` or less `dream.variety` help (`join_so_far` "
            "shows what there is)"
        )


def loop_steps(
    film: Path,
    size: Size,
    fps: Fraction,
    moves: Callable[[Frame, int], Flow],
) -> tuple[float, float]:
    """Measures the median change between a film's frames, and that from the last to the first.

    film: a file, or a folder of PNG. moves: gives the camera's Flow to a frame, from the frame and its
    number; the frame before is moved along it first.
    """
    frames = open_footage(film).clip(size, fps).frames
    first = last = next(frames)
    steps, number = [], 0
    for number, frame in enumerate(frames, 1):
        steps.append(_change(last, frame, moves(frame, number)))
        last = frame
    return median(steps) if steps else 0.0, _change(last, first, moves(first, 0))


def _change(last: Frame, frame: Frame, flow: Flow) -> float:
    return float((warp(last, flow) - frame).abs().mean())
