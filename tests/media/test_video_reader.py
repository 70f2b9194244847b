"""Reading clips: timing, orientation, colours, sound's place, damage."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import films
from tests.films import counting, number, run, write
from zoomdream.errors import InputError, UsageError
from zoomdream.media.frame import Frame
from zoomdream.media.source import Clip
from zoomdream.media.video_reader import VideoFile, open_video
from zoomdream.size import Size
from zoomdream.study.metrics import mean_lab

LONG_GROUPS = ("-c:v", "libx264", "-g", 250, "-bf", 3, "-qp", 0, "-pix_fmt", "yuv444p")


def shown(path: Path, **how: Any) -> tuple[VideoFile, Clip, list[Frame]]:
    video = open_video(path)
    clip = video.clip(video.size, how.pop("fps", video.fps), **how)
    return video, clip, list(clip.frames)


@pytest.mark.parametrize(
    ("fps", "exact"),
    [("24000/1001", Fraction(24000, 1001)), ("30000/1001", Fraction(30000, 1001)),
     ("25", Fraction(25)), ("60", Fraction(60)), ("12.5", Fraction(25, 2))],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_constant_rates_are_exact_and_every_frame_comes_once(
    tmp_path: Path, fps: str, exact: Fraction, name: str
) -> None:
    write(counting(40), tmp_path / name, fps)
    video, clip, frames = shown(tmp_path / name)
    assert video.fps == exact
    assert clip.length == 40
    assert [number(frame) for frame in frames] == list(range(40))
    assert clip.faults == []


def test_a_varying_rate_becomes_an_even_one(tmp_path: Path) -> None:
    """Two frames of three are kept: what is shown at t is what was shown at t."""
    write(counting(60), tmp_path / "a.mp4", 30)
    keep = "select='not(eq(mod(n,3),1))'"
    run("-i", tmp_path / "a.mp4", "-vf", keep, "-fps_mode", "vfr", "-c:v", "libx264rgb", "-qp", 0,
        tmp_path / "v.mp4")  # fmt: skip
    video, _, frames = shown(tmp_path / "v.mp4")
    assert video.fps == 20
    assert len(frames) == 40
    for index, frame in enumerate(frames):
        assert abs(number(frame) - index * 1.5) <= 1
    even = shown(tmp_path / "v.mp4", fps=Fraction(30))[2]
    assert [number(f) for f in even[:6]] == [0, 0, 2, 3, 3, 5]  # at 30, each is held till the next


def test_another_rate(tmp_path: Path) -> None:
    write(counting(30), tmp_path / "a.mp4", 30)
    frames = shown(tmp_path / "a.mp4", fps=Fraction(10))[2]
    assert len(frames) == 10
    assert np.diff([number(f) for f in frames]).tolist() == [3] * 9


@pytest.mark.parametrize(
    ("start", "end", "first", "count"), [(0.5, None, 15, 45), (0, 1.0, 0, 30), (0.5, 0.6, 15, 3)]
)
@pytest.mark.parametrize("options", [(), LONG_GROUPS])
def test_a_part_of_a_clip(
    tmp_path: Path, start: float, end: float | None, first: int, count: int, options: Any
) -> None:
    write(counting(60), tmp_path / "a.mp4", 30, *options)
    _, clip, frames = shown(tmp_path / "a.mp4", start=start, end=end)
    assert clip.length == len(frames) == count
    assert [number(frame) for frame in frames] == list(range(first, first + count))


def test_a_part_beyond_the_end_is_refused(tmp_path: Path) -> None:
    write(counting(10), tmp_path / "a.mp4", 10)
    with pytest.raises(UsageError, match=r"ends at 1.00 s: a start at 3 s is past that"):
        shown(tmp_path / "a.mp4", start=3)
    assert len(shown(tmp_path / "a.mp4", end=99)[2]) == 10


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_turned_phones_are_turned_back(tmp_path: Path, turn: int) -> None:
    write(counting(5), tmp_path / "a.mp4")
    run("-display_rotation", turn, "-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "t.mp4")
    video, _, frames = shown(tmp_path / "t.mp4")
    assert video.size == (Size(48, 64) if turn in (90, 270) else Size(64, 48))
    corners = {90: (-8, 8), 180: (-8, -8), 270: (8, -8)}  # (y, x) of the red one
    y, x = corners[turn]
    assert frames[0][0, 0, y, x] > 0.8
    assert frames[0][0, 1, y, x] < 0.2


def test_odd_sizes_and_pixels_that_are_not_square(tmp_path: Path) -> None:
    write(counting(4, Size(63, 47)), tmp_path / "odd.mkv", 24, "-c:v", "ffv1")
    assert shown(tmp_path / "odd.mkv")[2][3].shape == (1, 3, 47, 63)
    frames = counting(4, Size(64, 48))
    write(frames, tmp_path / "wide.mp4", 24, "-vf", "setsar=2", "-c:v", "libx264rgb")
    assert shown(tmp_path / "wide.mp4")[0].size == Size(128, 48)


def test_alpha_lies_over_white(tmp_path: Path) -> None:
    run("-f", "lavfi", "-i", "color=red@0.0:size=64x48:rate=10:duration=0.5,format=rgba", "-c:v", "png",
        tmp_path / "a.mov")  # fmt: skip
    assert shown(tmp_path / "a.mov")[2][0].min() > 0.99


@pytest.mark.parametrize("kind", ["gif", "webp", "apng"])
def test_animated_pictures_are_clips(tmp_path: Path, kind: str) -> None:
    coder = {"gif": "gif", "webp": "libwebp_anim", "apng": "apng"}[kind]
    lossless = ("-lossless", 1) if kind == "webp" else ()
    write(counting(12), tmp_path / f"a.{kind}", 10, "-c:v", coder, *lossless)
    video, _, frames = shown(tmp_path / f"a.{kind}")
    assert video.fps == 10
    assert [abs(number(f) - n) <= 1 for n, f in enumerate(frames)] == [True] * 12


CODINGS = {
    "bt709": ("bt709", "tv", "yuv420p", 480),
    "bt601": ("smpte170m", "tv", "yuv420p", 480),
    "full": ("bt709", "pc", "yuv420p", 480),
    "ten bits": ("bt709", "tv", "yuv420p10le", 480),
}


@pytest.mark.parametrize("coding", list(CODINGS))
@pytest.mark.parametrize("tagged", [True, False])
def test_colours_are_those_of_the_source(tmp_path: Path, coding: str, tagged: bool) -> None:
    """Untagged colours are BT.601 below 720 lines and BT.709 above; full range has to be tagged."""
    matrix, span, pixels, _ = CODINGS[coding]
    if not tagged and span == "pc":
        pytest.skip("full range cannot be guessed")
    lines = 720 if not tagged and matrix == "bt709" else 96
    photo = films.photograph(Size.square(lines))
    tags = (
        f",setparams=colorspace={matrix}:range={span}"
        if tagged
        else ",setparams=colorspace=unknown"
    )
    write([photo] * 3, tmp_path / "a.mp4", 24, "-vf",
          f"scale=out_color_matrix={matrix}:out_range={span}:flags=accurate_rnd+full_chroma_int,"
          f"format={pixels}{tags}", "-c:v", "libx264", "-crf", 8)  # fmt: skip
    frame = shown(tmp_path / "a.mp4")[2][1]
    assert (mean_lab(frame) - mean_lab(photo)).norm() < 1.0
    assert (frame - photo).abs().mean() < 0.02


@pytest.mark.parametrize("curve", ["smpte2084", "arib-std-b67"])
def test_hdr_is_tone_mapped(tmp_path: Path, curve: str) -> None:
    """A ramp of greys stays a ramp of greys, in a range that a screen shows."""
    ramp = torch.linspace(0, 0.75, 64).expand(1, 3, 48, 64).contiguous()
    write([ramp] * 3, tmp_path / "a.mp4", 24, "-vf",
          "scale=out_color_matrix=bt2020:out_range=tv,format=yuv420p10le,"
          f"setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc={curve}:range=tv",
          "-c:v", "libx264")  # fmt: skip
    line = shown(tmp_path / "a.mp4")[2][1][0, :, 24]
    assert (line[0] - line[2]).abs().max() < 0.05
    assert line[1].diff().min() > -0.02
    assert line[1, 0] < 0.05
    assert 0.6 < line[1, -1] <= 1.0


def test_a_truncated_clip_is_counted_and_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    noisy = np.random.default_rng(0).integers(0, 255, (75, 48, 64, 3), dtype=np.uint8)
    how = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart")
    write(noisy, tmp_path / "a.mp4", 25, *how)
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "t.mp4").write_bytes(content[: len(content) * 6 // 10])
    _, clip, frames = shown(tmp_path / "t.mp4")
    assert 30 < len(frames) < 60
    (fault,) = clip.faults
    lost = int(fault.split(": ")[1].split(" of 75")[0])
    assert lost == pytest.approx(75 - len(frames), abs=2)
    (tmp_path / "h.mp4").write_bytes(content[:600])
    for name in ("h.mp4", "none.mp4"):
        with pytest.raises(InputError):
            open_video(tmp_path / name)


def test_a_clip_damaged_inside_is_told(tmp_path: Path) -> None:
    noisy = np.random.default_rng(0).integers(0, 255, (50, 48, 64, 3), dtype=np.uint8)
    write(noisy, tmp_path / "a.mkv", 25, "-c:v", "libx264", "-pix_fmt", "yuv420p")
    content = bytearray((tmp_path / "a.mkv").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    (tmp_path / "a.mkv").write_bytes(content)
    _, clip, frames = shown(tmp_path / "a.mkv")
    assert len(frames) >= 20
    assert "damaged" in clip.faults[0]


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 5000])
def test_what_is_no_clip_is_told_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InputError, match="holds no clip"):
        open_video(tmp_path / "a.mp4")


def test_pictures_are_for_zoom(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a single picture: zoomdream zoom"):
        open_video(Path("examples/sample.jpg"))
    with pytest.raises(InputError, match="is a folder"):
        open_video(tmp_path)


def test_a_playlist_leads_nowhere(tmp_path: Path) -> None:
    """What a file says of other places on the net is not followed."""
    (tmp_path / "a.m3u8").write_text(
        "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(InputError):
        open_video(tmp_path / "a.m3u8")


def test_other_shapes_are_filled_and_cut(tmp_path: Path) -> None:
    write(counting(3, Size(96, 48)), tmp_path / "a.mp4")
    video = open_video(tmp_path / "a.mp4")
    frame = next(iter(video.clip(Size.square(48), video.fps).frames))
    assert frame.shape == (1, 3, 48, 48)
    assert frame[0, 0, 8, 8] < 0.2  # the red corner is cut off
