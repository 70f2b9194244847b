"""Segments of a film: encoded by ffmpeg as their frames come, and joined as they are."""

import contextlib
import os
import re
import tempfile
import threading
from pathlib import Path
from typing import BinaryIO

from zoomdream.errors import OutputError
from zoomdream.files import (
    flush_file,
    link_or_copy,
    place_file,
    place_folder,
    readable_errors,
    remove,
)
from zoomdream.film.film_spec import FRAME_NAMES, FilmSpec
from zoomdream.media.ffmpeg import (
    count_frames,
    error_summary,
    ffmpeg_command,
    input_options,
    run_ffmpeg,
    start_ffmpeg,
)
from zoomdream.media.film_formats import PNG_FOLDER

FRAMES_AT_ONCE = 32  # frames that an encoder gets at a time: waking it for each slows the dreaming
LONGEST_WAIT = 4.0  # seconds after which it gets what there is


class FrameCount:
    """Counts the frames of a segment that have come, for a thread that waits for them.

    at_once: frames that are waited for. longest_wait: seconds after which fewer are enough.
    """

    def __init__(self, at_once: int = FRAMES_AT_ONCE, longest_wait: float = LONGEST_WAIT) -> None:
        self.frames, self._complete = 0, False
        self._at_once, self._longest_wait = at_once, longest_wait
        self._changed = threading.Condition()

    def update(self, frames: int, complete: bool) -> None:
        """Sets how many frames there are by now; `complete` when no more will come."""
        with self._changed:
            self.frames, self._complete = frames, complete
            self._changed.notify()

    def wait_for_more(self, taken: int) -> int:
        """Waits for frames after the first `taken`; how many there are then, `taken` where none come."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._complete or self.frames >= taken + self._at_once, self._longest_wait
            )
            self._changed.wait_for(lambda: self._complete or self.frames > taken)
            return self.frames


class SegmentEncoder:
    """Encodes a segment with ffmpeg, reading its raw frames as they come, on a thread of its own.

    folder: where the encoded segment is put. raw: the file of its raw frames. frames_at_once,
    longest_wait: see `FrameCount`.
    """

    def __init__(
        self,
        spec: FilmSpec,
        folder: Path,
        segment: int,
        raw: Path,
        frames_at_once: int = FRAMES_AT_ONCE,
        longest_wait: float = LONGEST_WAIT,
    ) -> None:
        form = spec.format
        self.segment, self._folder, self._target = segment, folder, spec.target
        self._name = f"segment-{segment:06d}{form.segment}"
        self._part = folder / f"{os.getpid()}-{self._name}"  # until it is checked
        self._arrived = FrameCount(frames_at_once, longest_wait)
        self._read_error: str | None = None  # why raw frames could not be read again
        remove(self._part)
        if form is PNG_FOLDER:
            self._part.mkdir()
            first = str(spec.plan.first(segment))
            output = [
                "-start_number",
                first,
                "-f",
                form.segment_muxer,
                f"{self._part.name}/%06d.png",
            ]
        else:
            output = ["-f", form.segment_muxer, self._part.name]
        source = raw.open("rb")
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (`finish` and `kill` close it)
        self._process = start_ffmpeg(
            ffmpeg_command(
                "-y", "-f", "rawvideo", "-pix_fmt", "rgb24",
                "-video_size", str(spec.size), "-framerate", str(spec.fps), "-i", "-",
                "-r", str(spec.fps),  # else ffmpeg takes the nearest rate that it knows
                *form.options(spec.output), *output,
            ),
            self._log, folder, write_input=True,
        )  # fmt: skip
        self._feeder = threading.Thread(
            target=self._feed, args=(source, spec.plan.frame_bytes), name="feeder", daemon=True
        )
        self._feeder.start()

    @property
    def has_exited(self) -> bool:
        """Whether ffmpeg has ended, for better or worse."""
        return self._process.poll() is not None

    def update(self, frames: int, complete: bool) -> None:
        """Sets how many raw frames of the segment there are by now; `complete` when no more will come."""
        self._arrived.update(frames, complete)

    def _feed(self, source: BinaryIO, size: int) -> None:
        sink = self._process.stdin
        assert sink is not None
        with source, contextlib.suppress(OSError), sink:  # ffmpeg or `_read_error` says why
            fed = 0
            while (arrived := self._arrived.wait_for_more(fed)) > fed:
                for _ in range(fed, arrived):
                    sink.write(self._read(source, size))
                fed = arrived

    def _read(self, source: BinaryIO, size: int) -> bytes:
        """Reads the next raw frame; raises OSError where it cannot be read."""
        try:
            content = source.read(size)
        except OSError as error:
            self._read_error = error.strerror or str(error)
            raise
        if len(content) < size:
            self._read_error = "the file is too short"
            raise OSError(self._read_error)
        return content

    def finish(self) -> str:
        """Waits for the segment, checks it, and returns its name; raises OutputError."""
        code = self._wait()
        with self._log as log:
            log.seek(0)
            messages = log.read()
        part = self._part
        if self._read_error:
            raise OutputError(
                f"{self._target} cannot be written: frames that wait in {self._folder} cannot be read "
                f"again ({self._read_error})"
            )
        if code != 0:
            raise OutputError(f"{self._target} cannot be written: {error_summary(messages)}")
        frames = len(list(part.iterdir())) if part.is_dir() else count_frames(part)
        if frames != self._arrived.frames:
            raise OutputError(
                f"{self._target} cannot be written: a segment holds {frames} frames of "
                f"{self._arrived.frames}; is the disk full?"
            )
        for file in part.iterdir() if part.is_dir() else (part,):
            flush_file(file)
        remove(self._folder / self._name)
        part.replace(self._folder / self._name)
        return self._name

    def _wait(self) -> int:
        """Waits for ffmpeg, which may have died early, and for the feeder; returns ffmpeg's exit code."""
        code = self._process.wait()
        self._arrived.update(self._arrived.frames, complete=True)
        self._feeder.join()
        return code

    def kill(self) -> None:
        """Ends ffmpeg at once; what it has encoded is of no use."""
        self._process.kill()
        self._wait()
        self._log.close()


def encode_segment(spec: FilmSpec, folder: Path, segment: int, raw: Path, frames: int) -> str:
    """Encodes a segment of which all `frames` raw frames are there, and returns its name."""
    encoder = SegmentEncoder(spec, folder, segment, raw)
    encoder.update(frames, complete=True)
    return encoder.finish()


def joined_file(spec: FilmSpec, folder: Path) -> Path:
    """Returns where in a folder `join_segments` puts the film."""
    return folder / f"film{spec.format.suffix}"


def _metadata(comment: str) -> bytes:
    """Writes a film's metadata as a file for ffmpeg, whose command line would be too short for some."""
    escaped = re.sub(r"([=;#\\\n])", r"\\\1", comment)
    return f";FFMETADATA1\n{f'comment={escaped}' if comment else ''}\n".encode()


def join_segments(
    spec: FilmSpec, folder: Path, files: list[str], frames: int, sound: Path | None = None
) -> Path:
    """Joins a folder's segments to a film in it, adds its sound, and checks that no frame is missing.

    The colours of a GIF are chosen, and it is encoded, here. frames: how many there are in all segments.
    sound: a file of the film's own container, whose times are kept. Raises OutputError.
    """
    film, form = joined_file(spec, folder), spec.format
    with readable_errors(spec.target):
        remove(film)
        if form is PNG_FOLDER:
            film.mkdir()
            for picture in (picture for name in files for picture in (folder / name).iterdir()):
                link_or_copy(picture, film / picture.name)
            return film
        (folder / "segments.txt").write_text("".join(f"file '{name}'\n" for name in files))
        (folder / "metadata.txt").write_bytes(_metadata(spec.comment))
    joining = run_ffmpeg(
        ffmpeg_command(
            "-nostdin", "-y", *(["-copyts"] if sound else []), "-f", "concat", "-i", "segments.txt",
            "-f", "ffmetadata", "-i", "metadata.txt",
            *(input_options(sound) if sound else []), "-map", "0:v:0", "-map_metadata", "1",
            *(["-map", "2:a:0", "-c:a", "copy"] if sound else []),
            *form.joined(frames * spec.size.pixels),
            *(["-t", f"{float(frames / spec.fps):.6f}"] if sound else []),
            "-f", form.muxer, film.name,
        ),
        folder,
    )  # fmt: skip
    if joining.returncode != 0:
        hint = "; `resume=True` with `output.audio=False` leaves out its sound" if sound else ""
        raise OutputError(f"{spec.target} cannot be written: {error_summary(joining.stderr)}{hint}")
    joined = count_frames(film)
    if joined != frames:
        raise OutputError(
            f"{spec.target} cannot be written: it holds {joined} frames of {frames}; is the disk full?"
        )
    return film


def place_joined(film: Path, target: Path, old: Path) -> None:
    """Gives a joined film, a file or a folder of PNG, its name, and reads it back; raises OSError.

    old: where a folder that has the name is put meanwhile.
    """
    if film.is_dir():
        place_folder(film, target, old, FRAME_NAMES)
    else:
        flush_file(film)
        place_file(film, target)
