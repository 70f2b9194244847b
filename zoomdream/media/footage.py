"""Open whatever moves: a video file, or pictures that are taken in turns."""

from pathlib import Path

from zoomdream.media.picture_files import picture_files
from zoomdream.media.picture_sequence import PictureSequence, open_pictures
from zoomdream.media.video_reader import VideoFile, open_video
from zoomdream.settings.definitions import MAX_PIXELS

Footage = VideoFile | PictureSequence
"""What has a size, a rate and perhaps a sound, and of which a `clip` can be had."""


def open_footage(
    path: Path, limit: int = MAX_PIXELS, start: float = 0.0, end: float | None = None
) -> Footage:
    """Looks into a video file, a folder of pictures, or those that a pattern such as `%05d.png` names.

    limit: pixels that a frame may have. start, end: seconds between which frames are wanted. Raises
    InputError.
    """
    if paths := picture_files(path):
        return open_pictures(paths, limit)
    return open_video(path, limit, start, end)
