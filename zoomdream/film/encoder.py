"""Segments of a film, encoded by ffmpeg as their frames come, and joined as they are."""

import contextlib
import os
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import BinaryIO

from zoomdream.errors import OutputError
from zoomdream.files import flush_file, link_or_copy, readable_errors, remove
from zoomdream.film.spec import FilmSpec
from zoomdream.media.ffmpeg import (
    count_frames,
    error_summary,
    ffmpeg_command,
    input_options,
    start_ffmpeg,
)
from zoomdream.media.film_formats import PNG_FOLDER, FilmFormat

FRAMES_AT_ONCE = 32  # frames that an encoder gets at a time: waking it for each slows the dreaming
LONGEST_WAIT = 4.0  # seconds after which it gets what there is


class SegmentEncoder:
    """A segment on its way from raw frames to a closed file, which is believed once it is looked at.

    Its frames are read from the journal as they come, `SHARE` at a time, on a thread of its own.
    """

    def __init__(
        self, spec: FilmSpec, form: FilmFormat, folder: Path, segment: int, raw: Path
    ) -> None:
        self.segment, self._folder = segment, folder
        self._target = spec.target
        self._name = f"segment-{segment:06d}{form.segment}"
        self._part = f"{os.getpid()}-{self._name}"
        self._frames, self._full, self._come = 0, False, threading.Condition()
        self._fault: str | None = None  # why frames could not be read again
        remove(folder / self._part)
        first: tuple[str, ...] = ()
        output = self._part
        if form is PNG_FOLDER:
            (folder / self._part).mkdir()
            first = ("-start_number", str(spec.plan.first(segment)))
            output = f"{self._part}/%06d.png"
        source = raw.open("rb")
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (`finish` and `kill` close it)
        self._process = start_ffmpeg(
            ffmpeg_command(
                "-y", "-f", "rawvideo", "-pix_fmt", "rgb24",
                "-video_size", str(spec.size), "-framerate", str(spec.fps), "-i", "-",
                *form.options(spec.output), *first, "-f", form.segment_muxer, output,
            ),
            self._said, folder, write_input=True,
        )  # fmt: skip
        self._feeder = threading.Thread(
            target=self._feed, args=(source, spec.plan.frame_bytes), name="feeder", daemon=True
        )
        self._feeder.start()

    @property
    def stopped(self) -> bool:
        """Whether ffmpeg has ended, for better or worse."""
        return self._process.poll() is not None

    def go_on(self, frames: int, full: bool) -> None:
        """So many frames of it are there now; `full` when no more will come."""
        with self._come:
            self._frames, self._full = frames, full
            self._come.notify()

    def _feed(self, source: BinaryIO, size: int) -> None:
        sink = self._process.stdin
        assert sink is not None
        with source, contextlib.suppress(OSError), sink:  # ffmpeg or `_fault` says why
            fed = 0
            while (there := self._come_since(fed)) > fed:
                for _ in range(fed, there):
                    sink.write(self._read(source, size))
                fed = there

    def _read(self, source: BinaryIO, size: int) -> bytes:
        """The next frame; raises OSError where it is not there."""
        try:
            content = source.read(size)
        except OSError as error:
            self._fault = error.strerror or str(error)
            raise
        if len(content) < size:
            self._fault = "the file is too short"
            raise OSError(self._fault)
        return content

    def _come_since(self, fed: int) -> int:
        """Waits for a share of frames; how many there are by then, `fed` where no more will come."""
        with self._come:
            self._come.wait_for(
                lambda: self._full or self._frames >= fed + FRAMES_AT_ONCE, LONGEST_WAIT
            )
            self._come.wait_for(lambda: self._full or self._frames > fed)
            return self._frames

    def finish(self) -> str:
        """Waits for it; the name of the file."""
        code = self._end()
        with self._said as said:
            said.seek(0)
            told = said.read()
        part = self._folder / self._part
        if self._fault:
            raise OutputError(
                f"{self._target} cannot be written: frames that wait in {self._folder} cannot be read "
                f"again ({self._fault})"
            )
        if code != 0:
            raise OutputError(f"{self._target} cannot be written: {error_summary(told)}")
        found = len(list(part.iterdir())) if part.is_dir() else count_frames(part)
        if found != self._frames:
            raise OutputError(
                f"{self._target} cannot be written: a segment holds {found} frames of {self._frames}; "
                "is the disk full?"
            )
        for file in part.iterdir() if part.is_dir() else (part,):
            flush_file(file)
        remove(self._folder / self._name)
        part.replace(self._folder / self._name)
        return self._name

    def _end(self) -> int:
        """Waits for ffmpeg, which may have died early, and for the feeder; ffmpeg's exit code."""
        code = self._process.wait()
        self.go_on(self._frames, full=True)
        self._feeder.join()
        return code

    def kill(self) -> None:
        self._process.kill()
        self._end()
        self._said.close()


def join_segments(
    spec: FilmSpec, form: FilmFormat, folder: Path, files: list[str], frames: int
) -> Path:
    """Segments become a film in their folder, as they are; sound is laid to it.

    A GIF has its colours chosen and is encoded here. Raises OutputError.
    """
    part = folder / f"film{form.suffix}"
    with readable_errors(spec.target):
        remove(part)
        if form is PNG_FOLDER:
            part.mkdir()
            for picture in (picture for name in files for picture in (folder / name).iterdir()):
                link_or_copy(picture, part / picture.name)
            return part
        (folder / "segments.txt").write_text("".join(f"file '{name}'\n" for name in files))
    sound = spec.sound if form.sound else None
    how: tuple[str, ...] = ()
    laid: tuple[str, ...] = ()
    if sound:
        how = ("copy",) if sound.codec in form.sounds else form.sound
        begin = ("-ss", f"{float(sound.start):.6f}") if sound.start > 0 else ()
        laid = (*begin, *input_options(sound.path))
    made = subprocess.run(
        ffmpeg_command(
            "-nostdin", "-y", "-f", "concat", "-i", "segments.txt", *laid,
            "-map", "0:v:0", *(("-map", "1:a:0", "-c:a", *how) if sound else ()),
            *form.joined(frames * spec.size.pixels),
            *(("-t", f"{float(frames / spec.fps):.6f}") if sound else ()),
            *(("-metadata", f"comment={spec.comment}") if spec.comment else ()),
            "-f", form.muxer, part.name,
        ),
        capture_output=True, check=False, cwd=folder,
    )  # fmt: skip
    if made.returncode != 0:
        about = "; --no-audio leaves out its sound" if sound else ""
        raise OutputError(f"{spec.target} cannot be written: {error_summary(made.stderr)}{about}")
    found = count_frames(part)
    if found != frames:
        raise OutputError(
            f"{spec.target} cannot be written: it holds {found} frames of {frames}; is the disk full?"
        )
    return part
