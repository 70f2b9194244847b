"""Comparing a dream with its source, whatever the frames lie in."""

from pathlib import Path

from PIL import Image

from tests.films import as_bytes, panning, write
from zoomdream.size import Size
from zoomdream.study.comparison import compare_clips


def test_a_folder_of_frames_is_compared_as_its_film_is(tmp_path: Path) -> None:
    frames = panning(4, Size(64, 48))
    write(frames, tmp_path / "a.mp4", 30)
    (tmp_path / "a").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(as_bytes(frame)[0]).save(tmp_path / "a" / f"{number:06}.png")
    film = compare_clips(tmp_path / "a.mp4", tmp_path / "a.mp4", layers=["strokes"])
    folder = compare_clips(tmp_path / "a", tmp_path / "a", layers=["strokes"])
    assert len(folder.frames) == 3  # pairs of frames
    assert folder == film
