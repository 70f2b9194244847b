"""Detects where one shot of a clip ends and the next begins."""

from fractions import Fraction

import cv2
from scenedetect import ContentDetector, FrameTimecode

from zoomdream.media.frame import Frame, resize, to_bytes
from zoomdream.size import Size

CUT_SIDE = 256  # px of the longer side at which cuts are looked for, at most
SHORTEST_SHOT = 0.2  # seconds of a shot


class CutDetector:
    """Detects cuts in a clip's frames, one after another (by PySceneDetect's ContentDetector)."""

    def __init__(self, fps: Fraction) -> None:
        self._fps, self._number = float(fps), 0
        self._detector = ContentDetector(min_scene_len=max(1, round(SHORTEST_SHOT * fps)))

    def starts_shot(self, frame: Frame) -> bool:
        """Tells whether a frame is the first after a cut; to be asked once of each frame, in order."""
        small = resize(frame, Size.of(frame).within(CUT_SIDE))
        picture = cv2.cvtColor(to_bytes(small), cv2.COLOR_RGB2BGR)
        at, self._number = FrameTimecode(self._number, fps=self._fps), self._number + 1
        return any(cut == at for cut in self._detector.process_frame(at, picture))
