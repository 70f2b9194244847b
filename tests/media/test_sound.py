"""Sounds of many layouts, codecs and faults, as films hold them: all is heard, and in its place."""

import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.films import run
from zoomdream.errors import OutputError
from zoomdream.media.ffmpeg import ffmpeg_path
from zoomdream.media.film_formats import FILM_FORMATS
from zoomdream.media.sound import TakenSound, take_sound
from zoomdream.media.source import Sound
from zoomdream.media.video_streams import list_streams

RATE = 48000  # samples per second
CLICK = 0.03  # seconds of a click, which is low enough for a subwoofer
PLACES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # seconds at which channels click, one after the other


def clicks(path: Path, channels: int, layout: str, *options: object) -> Path:
    """Writes a second of sound, each of whose channels clicks at its own place; "": of no layout."""
    tones = "|".join(
        f"if(between(t,{PLACES[n % len(PLACES)]},{PLACES[n % len(PLACES)] + CLICK}),0.8*sin(600*t),0)"
        for n in range(channels)
    )
    named = f":c={layout}" if layout else ""
    run("-f", "lavfi", "-i", f"aevalsrc='{tones}':s={RATE}:d=1{named}", *options, path)
    return path


def heard(path: Path) -> list[float]:
    """The seconds, from a film's beginning, at which any channel of its sound clicks."""
    au = subprocess.run(
        [ffmpeg_path(), "-v", "error", "-nostdin", "-copyts", "-i", str(path), "-map", "0:a:0",
         "-af", f"aresample={RATE}:async=1:first_pts=0", "-c:a", "pcm_s16be", "-f", "au", "-"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    offset, _, _, _, channels = struct.unpack(">5I", au[4:24])
    loud = np.abs(np.frombuffer(au[offset:], ">i2").reshape(-1, channels).astype(int)).max(1)
    times = np.flatnonzero(loud > loud.max() / 8) / RATE
    return [float(time) for time in times[np.diff(times, prepend=-1) > CLICK]]


def take(path: Path, suffix: str, start: float = 0.0, stream: int = 0) -> TakenSound:
    """Takes a file's sound for a film of a second."""
    described = list_streams(path).sound
    codec = described.codec if described else ""
    sound = Sound(path, codec, Fraction(start).limit_denominator(1000), stream)
    return take_sound(sound, FILM_FORMATS[suffix], Fraction(1), path.with_name(f"taken{suffix}"))


@pytest.mark.parametrize(
    ("channels", "layout", "codec", "suffix", "told"),
    [
        (2, "stereo", "aac", ".mp4", ""),  # copied
        (2, "stereo", "alac", ".mp4", ""),
        (2, "stereo", "pcm_s16le", ".webm", ""),
        (6, "5.1", "flac", ".webm", ""),
        (6, "5.1(side)", "ac3", ".webm", "webm has no 5.1(side), but 5.1"),
        (3, "2.1", "wavpack", ".webm", "webm has no 2.1, but 5.1"),
        (12, "7.1.4", "wavpack", ".mp4", "mp4 has no 7.1.4, but 5.1"),
        (16, "", "pcm_s16le", ".mp4", "mp4 has no 16 channels, but stereo, with all of them mixed"),
        (9, "", "pcm_s16le", ".webm", "webm has no 9 channels, but stereo, with all of them mixed"),
    ],
)
def test_every_channel_is_heard_in_its_place(
    tmp_path: Path, channels: int, layout: str, codec: str, suffix: str, told: str
) -> None:
    taken = take(clicks(tmp_path / "a.mkv", channels, layout, "-c:a", codec), suffix)
    assert (told in taken.note, bool(taken.note)) == (True, bool(told))
    assert taken.file
    assert heard(taken.file) == pytest.approx(PLACES[: min(channels, len(PLACES))], abs=0.02)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_sound_keeps_its_place_beside_the_film(tmp_path: Path, suffix: str) -> None:
    """Where it begins late, in the middle, or is another of the clip's streams."""
    sound = clicks(tmp_path / "sound.m4a", 1, "mono", "-c:a", "aac")
    clip = tmp_path / "clip.mkv"
    picture = ("-f", "lavfi", "-i", "color=size=64x48:rate=25:duration=2")
    run(*picture, "-itsoffset", 0.4, "-i", sound, "-i", sound, "-map", 0, "-map", 1, "-map", 2, "-c:a",
        "copy", clip)  # fmt: skip
    for start, stream, at in ((0.0, 0, 0.6), (0.5, 0, 0.1), (0.0, 1, 0.2), (0.1, 1, 0.1)):
        taken = take(clip, suffix, start, stream)
        assert taken.file
        assert heard(taken.file) == pytest.approx([at], abs=0.02), (start, stream)


def test_sound_whose_layout_changes_goes_on(tmp_path: Path) -> None:
    """As where a broadcast goes over to surround: what a copy could not play is encoded."""
    parts = [
        clicks(tmp_path / f"{layout}.aac", 1 if layout == "mono" else 6, layout, "-c:a", "aac")
        for layout in ("mono", "5.1")
    ]
    both = tmp_path / "both.aac"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    taken = take_sound(
        Sound(both, "aac"), FILM_FORMATS[".mp4"], Fraction(2), tmp_path / "taken.mp4"
    )
    assert taken.file
    assert heard(taken.file)[-1] == pytest.approx(1 + PLACES[5], abs=0.1)


def test_sound_that_nothing_can_decode_is_left_out_with_a_note(tmp_path: Path) -> None:
    known = clicks(tmp_path / "known.mkv", 1, "mono", "-c:a", "aac").read_bytes()
    unknown = tmp_path / "unknown.mkv"
    unknown.write_bytes(known.replace(b"A_AAC", b"A_QQQ"))
    short = clicks(tmp_path / "short.mkv", 1, "mono", "-c:a", "aac")
    for path, start, told in (
        (unknown, 0.0, "the sound of unknown.mkv can be neither copied nor encoded (ffmpeg says "),
        (short, 5.0, "the sound of short.mkv has nothing from 5 s on"),
    ):
        taken = take(path, ".mp4", start)
        assert taken.file is None
        assert f"the film is silent: {told}" in taken.note
        assert not (tmp_path / "taken.mp4").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_no_reason_for_silence(tmp_path: Path) -> None:
    path = clicks(tmp_path / "a.mkv", 1, "mono", "-c:a", "aac")
    (tmp_path / "taken.webm").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="the disk is full"):
        take(path, ".webm")
