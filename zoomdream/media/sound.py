"""Take a clip's sound into a form that a film's container holds, before a frame of the film is made."""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from zoomdream.errors import OutputError
from zoomdream.files import WRITE_REASONS, remove
from zoomdream.media.ffmpeg import error_summary, ffmpeg_command, input_options, run_ffmpeg
from zoomdream.media.film_formats import FilmFormat
from zoomdream.media.source import Sound

GUESSED_CHANNELS = 8  # at most, of sound that does not name its layout, are taken for a usual one
_LAYOUT = re.compile(r"Audio: .*? Hz, ([^,\n]+)")
_ERROR = re.compile(r"\[(?:error|fatal)\](.*)")
_UNNAMED = re.compile(r"(\d+) channels")
_TO_5_1 = (
    "pan=5.1|FL<FL+FLC+DL+WL+SDL+TFL+BFL+BIL|FR<FR+FRC+DR+WR+SDR+TFR+BFR+BIR|FC<FC+TFC+TC+BFC|LFE=LFE"
    "|BL<BL+SL+TBL+TSL+BC+TBC|BR<BR+SR+TBR+TSR+BC+TBC"
)
"""ffmpeg's filter from any layout whose channels have places to one that every encoder takes.

Each channel goes to the nearest place, those that meet there at equal parts; a place that the layout lacks is
silent.
"""


@dataclass(frozen=True)
class TakenSound:
    """What became of a clip's sound."""

    file: Path | None  # of the film's own container; None where the film is silent
    note: str = ""  # what a person should know about it


def take_sound(sound: Sound, form: FilmFormat, seconds: Fraction | None, file: Path) -> TakenSound:
    """Puts a clip's sound into a file from which it can be joined to a film as it is.

    It is copied where the format holds its codec; else encoded, its channels laid out anew where the encoder
    has no place for them. Which of these works is found by playing what came of it. What cannot be kept in
    any way is left out, with a note. seconds: that are taken at most. Raises OutputError where the file
    cannot be written.
    """
    encoded = ["-c:a", *form.sound]
    copied = ["-c:a", "copy", *(["-copypriorss", "0"] if sound.start > 0 else [])]
    ways = [copied, encoded] if sound.codec in form.sounds else [encoded]
    log = b""
    for way in ways:
        log = _write(sound, form, seconds, file, way)
        if _plays(file):
            return TakenSound(file)
    layouts = _LAYOUT.findall(log.decode(errors="replace").partition("Stream mapping:")[0])
    if sound.stream < len(layouts):
        layout = layouts[sound.stream].strip()
        mix, mixed = _mix(layout)
        log = _write(sound, form, seconds, file, ["-af", mix, *encoded])
        if _plays(file):
            return TakenSound(
                file, f"the sound is laid out anew: {form.muxer} has no {layout}, but {mixed}"
            )
    remove(file)
    return TakenSound(
        None, f"the film is silent: the sound of {sound.path.name} {_fault(log, sound)}"
    )


def _write(
    sound: Sound, form: FilmFormat, seconds: Fraction | None, file: Path, way: list[str]
) -> bytes:
    """Writes the sound in one way, and returns what ffmpeg logged; raises OutputError for a full disk.

    way: ffmpeg's options. From the file's beginning the picture is read as well, and dropped: ffmpeg takes
    the first time of what it reads for that beginning, and a sound that begins late would lose its place.
    """
    start = ["-ss", f"{float(sound.start):.6f}"] if sound.start > 0 else []
    length = [] if seconds is None else ["-t", f"{float(seconds):.6f}"]
    ran = run_ffmpeg(
        ffmpeg_command(
            "-nostdin", "-y", *start, "-guess_layout_max", str(GUESSED_CHANNELS),
            *input_options(sound.path), "-map", f"0:a:{sound.stream}",
            "-map_metadata", "-1", *way, *length, "-f", form.muxer, str(file.absolute()),
            *([] if start else ["-map", "0:v:0?", "-c", "copy", *length, "-f", "null", "-"]),
            level="level+info",
        ),
    )  # fmt: skip
    if ran.returncode != 0:
        reason = error_summary(ran.stderr)
        if reason in WRITE_REASONS.values():
            raise OutputError(f"{file} cannot be written: {reason}")
        remove(file)
    return ran.stderr


def _plays(file: Path) -> bool:
    """Whether a file has sound, and all of it can be decoded."""
    if not file.exists():
        return False
    ran = run_ffmpeg(
        ffmpeg_command("-nostdin", *input_options(file), "-map", "0:a", "-f", "framecrc", "-"),
    )  # fmt: skip
    heard = any(not line.startswith(b"#") for line in ran.stdout.splitlines())
    return heard and ran.returncode == 0 and not ran.stderr.strip()


def _mix(layout: str) -> tuple[str, str]:
    """Gives the filter that lays channels out as every encoder takes them, and says what comes of it.

    layout: as ffmpeg names it. Channels without a place are mixed at equal parts. Of ambisonics the first
    channel, what comes from all sides, and the second, left against right, are taken.
    """
    if layout.startswith("ambisonic"):
        return "pan=stereo|c0<c0+c1|c1<c0-c1", "stereo"
    if unnamed := _UNNAMED.fullmatch(layout):
        everything = "+".join(f"c{number}" for number in range(int(unnamed[1])))
        return f"pan=stereo|c0<{everything}|c1<{everything}", "stereo, with all of them mixed"
    return _TO_5_1, "5.1"


def _fault(log: bytes, sound: Sound) -> str:
    """Says in half a sentence why there is no sound. log: ffmpeg's."""
    if fault := _ERROR.search(log.decode(errors="replace")):
        return f"can be neither copied nor encoded (ffmpeg says {fault[1].strip()[:200]})"
    return f"has nothing from {float(sound.start):g} s on"
