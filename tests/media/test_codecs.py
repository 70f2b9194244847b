"""The tables of encoders, films and pictures, and how the first working encoder is found."""

import dataclasses
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.films import counting, number
from zoomdream.errors import OutputError, UsageError
from zoomdream.media.codecs import (
    ENCODERS,
    H264_HARDWARE,
    REQUIRED_ENCODERS,
    Encoder,
    first_working,
    working_encoders,
)
from zoomdream.media.ffmpeg import count_frames, ffmpeg_command
from zoomdream.media.film_formats import (
    FILM_FORMATS,
    PALETTE_PIXELS,
    PNG_FOLDER,
    FilmFormat,
    film_format,
)
from zoomdream.media.image_formats import (
    IMAGE_FORMATS,
    check_image_target,
    check_sheet_target,
    image_format,
    sheet_format,
)
from zoomdream.media.image_writer import encode_image
from zoomdream.media.video_reader import open_video
from zoomdream.settings.definitions import Output

MISSING = Encoder("h264_none")
OPENH264 = Encoder("libopenh264", lambda _: ["-b:v", "1M"])
HARDWARE = Output(encoder="hardware")


def encoded(folder: Path, form: FilmFormat, output: Output) -> Path:
    """A segment of ten frames, as a film's encoder writes it."""
    path = folder / f"segment{form.segment}"
    subprocess.run(
        ffmpeg_command("-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", "64x48",
                       "-framerate", "25", "-i", "-", *form.options(output),
                       "-f", form.segment_muxer, str(path)),
        input=counting(10).tobytes(), check=True, capture_output=True,
    )  # fmt: skip
    return path


def test_the_encoders_needed_are_there() -> None:
    works = working_encoders()
    assert all(works[name] for name in REQUIRED_ENCODERS)
    assert set(works) == {*REQUIRED_ENCODERS, *H264_HARDWARE}


@pytest.mark.parametrize("suffix", list(FILM_FORMATS))
def test_every_format_encodes_segments(tmp_path: Path, suffix: str) -> None:
    form = film_format(Path(f"a{suffix}"))
    assert form is not None
    assert count_frames(encoded(tmp_path, form, Output(quality=30))) == 10


def test_a_table_is_enough_for_another_codec(tmp_path: Path) -> None:
    """A container with a new encoder is made of an entry and a word; AV1, where ffmpeg has it."""
    av1 = Encoder("libaom-av1", lambda o: ["-crf", f"{o.quality + 12:g}", "-cpu-used", "8"])
    if not av1.works(Output()):
        pytest.skip("needs an ffmpeg with libaom")
    form = dataclasses.replace(FILM_FORMATS[".mp4"], software=av1)
    film = encoded(tmp_path, form, Output(quality=30))
    assert count_frames(film) == 10
    assert b"av01" in film.read_bytes()


@pytest.mark.parametrize(("pixels", "mode"), [(1000, "full"), (PALETTE_PIXELS + 1, "single")])
def test_a_long_gif_is_not_held_in_memory(tmp_path: Path, pixels: int, mode: str) -> None:
    """It has a palette for each frame; a shorter one has one for all, for which ffmpeg holds it."""
    form = FILM_FORMATS[".gif"]
    joined = form.joined(pixels)
    assert f"stats_mode={mode}" in " ".join(joined)
    segment, film = encoded(tmp_path, form, Output()), tmp_path / "a.gif"
    subprocess.run(ffmpeg_command("-i", str(segment), *joined, str(film)), check=True)
    video = open_video(film)
    frames = list(video.clip(video.size, video.fps).frames)
    assert [abs(number(frame) - n) <= 1 for n, frame in enumerate(frames)] == [True] * 10


def test_a_loop_has_every_frame_coded_alike() -> None:
    once, loop = (FILM_FORMATS[".mp4"].options(Output(loop=loop)) for loop in (False, True))
    assert [word for word in loop if word not in once] == ["-g", "1"]
    webm = FILM_FORMATS[".webm"]
    assert webm.options(Output(loop=True)) == webm.options(Output())


@pytest.mark.skipif(not OPENH264.works(), reason="needs an ffmpeg with OpenH264")
def test_hardware_encodes_where_it_works(tmp_path: Path) -> None:
    """A card whose encoder is one that our ffmpeg has, after one that it has not."""
    form = dataclasses.replace(FILM_FORMATS[".mp4"], hardware=(MISSING, OPENH264))
    assert form.encoder(HARDWARE) is OPENH264
    assert form.encoder(Output()) is ENCODERS["libx264"]
    film = encoded(tmp_path, form, HARDWARE)
    assert count_frames(film) == 10
    assert b"x264" not in film.read_bytes()


def test_without_hardware_it_is_told() -> None:
    with pytest.raises(OutputError, match=r"no hardware encoder works here \(h264_none were tried"):
        first_working((MISSING,))
    assert PNG_FOLDER.encoder(HARDWARE) is ENCODERS["png"]  # nothing else would do


@pytest.mark.parametrize("suffix", list(IMAGE_FORMATS))
def test_what_a_format_holds_is_what_its_files_hold(suffix: str) -> None:
    form = image_format(Path(f"a{suffix}"))
    pixels = np.zeros((3, 4, 4 if form.alpha else 3), np.uint16 if form.deep else np.uint8)
    assert len(encode_image(form, pixels)) > 50


def test_sheets_come_in_what_browsers_show(tmp_path: Path) -> None:
    assert sheet_format(Path("a.PNG")).name == "PNG"
    for name in ("a.tiff", "a.gif", "a"):
        with pytest.raises(UsageError, match=r"is no name for a sheet: \.png, \.jpg or \.webp"):
            check_sheet_target(tmp_path / name, force=True)
    (tmp_path / "a.png").mkdir()
    (tmp_path / "b.png").touch()
    for check in (check_sheet_target, check_image_target):
        with pytest.raises(OutputError, match="is a folder: name a file"):
            check(tmp_path / "a.png", True)
        with pytest.raises(OutputError, match="is there already: add `force=True`"):
            check(tmp_path / "b.png", False)
        with pytest.raises(OutputError, match="is not a folder: create it"):
            check(tmp_path / "none" / "a.png", False)
        check(tmp_path / "b.png", True)
