"""What a video shows: containers without times, edit lists, covers, glued parts, combs, colours."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.films import SMALL, counting, number, run, write
from tests.media.test_video_reader import shown
from zoomdream.errors import InputError, UsageError
from zoomdream.film.inputs import open_clip
from zoomdream.media.frame_listing import SEEK_FROM
from zoomdream.media.video_reader import open_video
from zoomdream.media.video_streams import Stream, list_streams
from zoomdream.settings.definitions import FlowBlend, Output, RenderJob
from zoomdream.size import Size

H264 = ("-c:v", "libx264", "-qp", 4, "-pix_fmt", "yuv420p")


def numbers(path: Path, **how: Any) -> list[int]:
    """Which of `counting` a clip shows, to the nearest."""
    return [number(frame) for frame in shown(path, **how)[2]]


def near(found: list[int], expected: range | list[int]) -> bool:
    """Whether those are the frames, whose brightness lossy codecs change by a step at most."""
    return len(found) == len(expected) and bool(
        np.abs(np.subtract(found, list(expected))).max() <= 1
    )


CONTAINERS = {
    "xvid.avi": ("-c:v", "mpeg4", "-vtag", "XVID", "-bf", 2, "-q:v", 2),
    "h264.avi": (*H264, "-bf", 2),
    "dvd.vob": ("-c:v", "mpeg2video", "-bf", 2, "-q:v", 2, "-f", "vob"),
    "one.mpg": ("-c:v", "mpeg1video", "-q:v", 2),
    "bare.m2v": ("-c:v", "mpeg2video", "-bf", 2, "-q:v", 2, "-f", "mpeg2video"),
    "bare.h264": (*H264, "-bf", 2),
    "bare.hevc": ("-c:v", "libx265", "-crf", 8, "-x265-params", "log-level=none"),
    "old.flv": ("-c:v", "flv1", "-q:v", 2),
    "old.wmv": ("-c:v", "wmv2", "-q:v", 2),
    "broadcast.ts": (*H264, "-bf", 2),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_frame_comes_once_whatever_the_container_says_of_times(
    tmp_path: Path, name: str
) -> None:
    write(counting(12), tmp_path / name, 25, *CONTAINERS[name], "-pix_fmt", "yuv420p")
    video, clip, frames = shown(tmp_path / name)
    assert video.fps == 25
    assert near([number(frame) for frame in frames], range(12))
    assert clip.faults == []


@pytest.mark.parametrize("name", ["bare.h264", "bare.hevc"])
def test_a_bare_stream_is_taken_at_a_supposed_rate_and_that_is_told(
    tmp_path: Path, name: str
) -> None:
    """It has no times: whatever rate its encoder had in mind, 25 frames a second are supposed."""
    write(counting(40), tmp_path / name, 50, *CONTAINERS[name], "-pix_fmt", "yuv420p")
    video, clip, frames = shown(tmp_path / name, start=1.0, end=1.4)
    assert video.fps == 25
    assert near([number(frame) for frame in frames], range(25, 35))
    assert "has no times, and is taken at the 25 fps" in clip.notes[0]


def test_a_frame_a_day_is_a_rate(tmp_path: Path) -> None:
    """ffmpeg rounds it to 0 frames a second."""
    write(counting(4), tmp_path / "a.mkv", "1/86400", *H264)
    video, clip, frames = shown(tmp_path / "a.mkv")
    assert video.fps == Fraction(1, 86400)
    assert near([number(frame) for frame in frames], range(4))
    assert clip.notes == ()


@pytest.mark.parametrize("language", ["en-US", "en US"])
def test_a_stream_in_a_language_of_any_form_is_found(tmp_path: Path, language: str) -> None:
    write(counting(3), tmp_path / "a.mkv", 24, *H264, "-metadata:s:v:0", f"language={language}")
    assert len(shown(tmp_path / "a.mkv")[2]) == 3


def test_a_refusal_says_what_the_file_is_instead(tmp_path: Path) -> None:
    run("-f", "lavfi", "-i", "sine=d=0.2", tmp_path / "a.mp3")
    with pytest.raises(InputError, match="holds sound, and nothing that moves"):
        shown(tmp_path / "a.mp3")
    write(counting(12), tmp_path / "a.mp4", 24, *H264)
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="is cut short: the index"):
        shown(tmp_path / "half.mp4")
    write(counting(3), tmp_path / "a.avi", 24, "-c:v", "mpeg4", "-vtag", "XVID")
    (tmp_path / "z.avi").write_bytes((tmp_path / "a.avi").read_bytes().replace(b"XVID", b"ZZZZ"))
    with pytest.raises(InputError, match=r"does not know its codec \(ZZZZ\)"):
        shown(tmp_path / "z.avi")


def test_frames_that_an_edit_list_hides_are_not_shown(tmp_path: Path) -> None:
    write(counting(36), tmp_path / "long.mp4", 24, *H264, "-g", 250, "-bf", 2)
    run("-ss", 1, "-i", tmp_path / "long.mp4", "-c", "copy", tmp_path / "cut.mp4")
    _, clip, frames = shown(tmp_path / "cut.mp4")
    assert near([number(frame) for frame in frames], range(24, 36))
    assert clip.faults == []


def test_the_film_is_what_moves_and_not_its_cover(tmp_path: Path) -> None:
    Image.new("RGB", (320, 240), "red").save(tmp_path / "cover.jpg")
    write(counting(8), tmp_path / "a.mp4", 24, *H264)
    run("-i", tmp_path / "cover.jpg", "-i", tmp_path / "a.mp4", "-map", 0, "-map", 1,
        "-c:v:0", "mjpeg", "-c:v:1", "copy", tmp_path / "b.mp4")  # fmt: skip
    video, _, frames = shown(tmp_path / "b.mp4")
    assert video.size == SMALL
    assert len(frames) == 8


def test_an_avif_is_its_sequence_and_not_its_still(tmp_path: Path) -> None:
    pictures = [Image.fromarray(frame) for frame in counting(6)]
    pictures[0].save(
        tmp_path / "a.avif", save_all=True, append_images=pictures[1:], duration=100, quality=90
    )
    video, _, frames = shown(tmp_path / "a.avif")
    assert video.fps == 10
    assert len(frames) == 6


def test_parts_of_other_sizes_and_with_clocks_of_their_own(tmp_path: Path) -> None:
    """A recording that was glued together: all its frames come, in one size, and it is not damaged."""
    write(counting(10), tmp_path / "a.ts", 25, *H264)
    write(counting(10, Size(128, 96)), tmp_path / "b.ts", 25, *H264, "-output_ts_offset", 5000)
    parts = [(tmp_path / name).read_bytes() for name in ("a.ts", "b.ts", "a.ts")]
    (tmp_path / "whole.ts").write_bytes(b"".join(parts))
    video, clip, frames = shown(tmp_path / "whole.ts")
    assert video.size == SMALL
    assert near([number(frame) for frame in frames], [*range(10)] * 3)
    assert clip.faults == []
    assert any("change their size, 64x48 and 128x96" in note for note in clip.notes)


def test_a_recording_that_begins_in_the_middle_is_whole(tmp_path: Path) -> None:
    noisy = np.random.default_rng(0).integers(0, 255, (50, 48, 64, 3), dtype=np.uint8)
    write(noisy, tmp_path / "a.ts", 25, *H264, "-g", 20)
    packets = (tmp_path / "a.ts").read_bytes()
    (tmp_path / "b.ts").write_bytes(packets[len(packets) // 188 // 5 * 188 :])
    _, clip, frames = shown(tmp_path / "b.ts")
    assert 30 <= len(frames) <= 31
    assert clip.faults == []


@pytest.mark.parametrize("name", ["a.ts", "a.mp4"])
def test_a_start_is_exact_with_and_without_an_index(tmp_path: Path, name: str) -> None:
    write(counting(60), tmp_path / name, 2, *H264, "-g", 50, "-bf", 2)
    assert SEEK_FROM < 25
    assert near(numbers(tmp_path / name, start=25.0, end=27.0), range(50, 54))


HELD = "settb=1/1000,setpts='(10*gte(N,1)+20*gte(N,2)+gte(N,3)+gte(N,4))/TB'"


@pytest.mark.parametrize(
    ("start", "end", "frames"),
    [
        (5.0, None, [0] * 5 + [1] * 20 + [2, 3, 4]),
        (10.0, None, [1] * 20 + [2, 3, 4]),
        (5.0, 8.0, [0] * 3),
        (12.0, 12.3, [1]),
        (32.9, None, [4]),
    ],
)
def test_a_part_of_a_frame_that_is_held_shows_it(
    tmp_path: Path, start: float, end: float | None, frames: list[int]
) -> None:
    """A recording of a screen that stands still, with frames at 0, 10, 30, 31 and 32 s."""
    write(counting(5), tmp_path / "a.mkv", 25, "-vf", HELD, "-fps_mode", "vfr",
          "-enc_time_base", "1:1000", *H264)  # fmt: skip
    video = open_video(tmp_path / "a.mkv", start=start, end=end)
    clip = video.clip(SMALL, Fraction(1), start, end)
    assert near([number(frame) for frame in clip.frames], frames)


def test_a_film_of_one_frame(tmp_path: Path) -> None:
    write(counting(1), tmp_path / "a.mp4", 24, *H264)
    assert len(shown(tmp_path / "a.mp4")[2]) == 1


def test_interlaced_frames_are_put_together_or_left(tmp_path: Path) -> None:
    moving = np.full((24, 96, 128, 3), 90, np.uint8)
    for n in range(24):
        moving[n, :, 4 * n : 4 * n + 24] = 220
    write(moving, tmp_path / "a.mp4", 50, "-vf", "tinterlace=mode=interleave_top,fieldorder=tff",
          *H264, "-flags", "+ilme+ildct", "-x264opts", "tff=1")  # fmt: skip
    video, clip, frames = shown(tmp_path / "a.mp4")
    assert video.fps == 25
    assert len(frames) == 12
    assert "interlaced, and was put together" in clip.notes[0]
    left = shown(tmp_path / "a.mp4", deinterlace=False)
    assert "left so" in left[1].notes[0]

    def combs(frame: torch.Tensor) -> float:
        return float((frame[:, :, 1::2] - frame[:, :, ::2]).abs().mean())

    assert combs(frames[5]) < 0.2 * combs(left[2][5])
    assert FlowBlend().deinterlace


@pytest.mark.parametrize(
    ("tags", "lines", "coded"),
    [
        ("color_primaries=bt709:color_trc=bt709", 96, "bt709"),
        ("color_primaries=unknown:color_trc=bt709", 96, "bt709"),
        ("color_primaries=smpte170m:color_trc=smpte170m", 720, "smpte170m"),
        ("color_primaries=unknown:color_trc=smpte170m", 720, "bt709"),
        ("color_primaries=unknown:color_trc=iec61966-2-1", 96, "smpte170m"),
    ],
)
def test_a_matrix_that_is_not_told_follows_the_other_tags(
    tmp_path: Path, tags: str, lines: int, coded: str
) -> None:
    color = torch.tensor([0.9, 0.1, 0.2]).view(1, 3, 1, 1).expand(1, 3, lines, 96)
    write([color] * 2, tmp_path / "a.mp4", 24, "-vf",
          f"scale=out_color_matrix={coded}:out_range=tv,format=yuv444p,setparams=colorspace=unknown:{tags}",
          "-c:v", "libx264", "-qp", 2)  # fmt: skip
    assert (shown(tmp_path / "a.mp4")[2][0] - color).abs().max() < 0.02


def test_a_matrix_that_is_told_midway_holds_from_there(tmp_path: Path) -> None:
    """Around the place itself ffmpeg's decoder says it of some frames too early."""
    color = torch.tensor([0.9, 0.1, 0.2]).view(1, 3, 1, 1).expand(1, 3, 48, 64)
    parts = []
    for count, matrix, told in ((12, "smpte170m", "unknown"), (3, "bt709", "bt709")):
        write([color] * count, tmp_path / "part.h264", 24, "-vf",
              f"scale=out_color_matrix={matrix}:out_range=tv,format=yuv444p,setparams=colorspace={told}",
              "-c:v", "libx264", "-qp", 2)  # fmt: skip
        parts.append((tmp_path / "part.h264").read_bytes())
    (tmp_path / "whole.h264").write_bytes(b"".join(parts))
    frames = shown(tmp_path / "whole.h264")[2]
    assert len(frames) == 15
    assert max((frame - color).abs().max() for frame in (frames[0], *frames[-3:])) < 0.02


def test_wide_colours_become_those_of_a_screen(tmp_path: Path) -> None:
    """BT.2020 without HDR: a red that BT.709 has, coded in the wider gamut's smaller numbers."""
    color = torch.tensor([0.8, 0.2, 0.2]).view(1, 3, 1, 1).expand(1, 3, 96, 96)
    write([color] * 2, tmp_path / "a.mp4", 24, "-vf",
          "zscale=pin=bt709:tin=bt709:min=gbr:p=bt2020:t=bt709:m=bt2020nc:r=tv,format=yuv444p10le",
          "-c:v", "libx264", "-qp", 2)  # fmt: skip
    assert (shown(tmp_path / "a.mp4")[2][0] - color).abs().max() < 0.03


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_alpha_of_webm_lies_over_white(tmp_path: Path, codec: str) -> None:
    run("-f", "lavfi", "-i", "color=red@0.0:size=64x48:rate=10:duration=0.3,format=yuva420p", "-c:v", codec,
        "-auto-alt-ref", 0, "-pix_fmt", "yuva420p", tmp_path / "a.webm")  # fmt: skip
    assert shown(tmp_path / "a.webm")[2][0].min() > 0.99


def test_dolby_vision_is_told_apart_by_its_profile() -> None:
    side = "DOVI configuration record: version: 1.0, profile: {}, level: 6, rpu flag: 1, el flag: 0, bl flag: 1, compatibility id: {}"  # noqa: E501
    assert Stream(0, 0, "hevc (Main 10)", side.format(5, 0)).dolby_vision == (5, 0)
    assert Stream(0, 0, "hevc (Main 10)", side.format(8, 4)).dolby_vision == (8, 4)
    assert Stream(0, 0, "hevc (Main 10)").dolby_vision is None


def test_the_sound_is_the_one_that_players_take(tmp_path: Path) -> None:
    write(counting(4), tmp_path / "v.mp4", 24, *H264)
    tones = [("-f", "lavfi", "-i", f"sine={pitch}:d=0.2") for pitch in (300, 600)]
    run("-i", tmp_path / "v.mp4", *tones[0], *tones[1], "-map", 0, "-map", 1, "-map", 2, "-c:v", "copy",
        "-disposition:a:0", 0, "-disposition:a:1", "default", tmp_path / "a.mkv")  # fmt: skip
    sound = list_streams(tmp_path / "a.mkv").sound
    assert sound is not None
    assert (sound.index, sound.place) == (2, 1)


# --- Pictures that are taken in turns


def clip_job(source: Path, fps: Fraction | None = None, start: float = 0.0) -> RenderJob:
    return RenderJob(source=source, flow=FlowBlend(start=start), output=Output(fps=fps))


def numbered(folder: Path, names: list[str]) -> None:
    for name, frame in zip(names, counting(len(names)), strict=True):
        Image.fromarray(frame).save(folder / name)


@pytest.mark.parametrize(
    "names",
    [["9.png", "10.png", "100.png"], [f"a-{n:06}.png" for n in range(3)], ["b2.jpg", "b11.jpg"]],
)
def test_a_folder_is_a_clip_in_natural_order(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "in").mkdir()
    numbered(tmp_path / "in", names)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    (tmp_path / "in" / f"._{names[0]}").write_text("what macOS keeps beside it")
    clip = open_clip(clip_job(tmp_path / "in"))
    assert near([number(frame) for frame in clip.frames], range(len(names)))
    assert clip.length == len(names)
    assert clip.fps == 30
    assert any("pictures, 30 a second: `output.fps`" in note for note in clip.notes)


def test_a_pattern_is_a_clip_and_says_what_is_missing(tmp_path: Path) -> None:
    numbered(tmp_path, [f"f{n:05}.png" for n in (1, 2, 4)])
    numbered(tmp_path, ["f12.png", "g00001.png"])
    clip = open_clip(clip_job(tmp_path / "f%05d.png", fps=Fraction(10), start=0.1))
    assert near([number(frame) for frame in clip.frames], [1, 2])
    assert any(note.startswith("1 of its numbers is missing") for note in clip.notes)
    with pytest.raises(InputError, match="no file has a name of that pattern"):
        open_clip(clip_job(tmp_path / "none%05d.png"))
    with pytest.raises(UsageError, match="leave none"):
        open_clip(clip_job(tmp_path / "f%05d.png", start=5.0))


def test_numbers_that_are_all_the_same_count_nothing(tmp_path: Path) -> None:
    numbered(tmp_path, [f"f{n:05}_v2.png" for n in (1, 2, 4)])
    notes = open_clip(clip_job(tmp_path / "f%05d_v2.png")).notes
    assert any(note.startswith("1 of its numbers is missing") for note in notes)


def test_a_folder_without_pictures_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no pictures"):
        open_clip(clip_job(tmp_path))
