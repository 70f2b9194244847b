"""Stdin, stdout and stderr as a program may find them: closed, full, or a pipe that nobody reads any more."""

import errno
import io
import os
import select
import sys
from dataclasses import dataclass
from typing import Any, TextIO


class LastingStream(io.RawIOBase):
    """Writes to stdout or stderr as long as it can; then it drops what comes, and never raises OSError.

    error: why it can no longer write; None while it can. only_tells: whether what is written tells of
    other work, whose success it is no part of; else it is what a command was asked for.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream  # which would close its number, were it let go
        self._raw: Any = getattr(stream.buffer, "raw", stream.buffer)
        self.error: OSError | None = None
        self.only_tells = False

    def writable(self) -> bool:
        """It is."""
        return True

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return bool(self._raw.isatty())

    def fileno(self) -> int:
        """The number that the system knows it by."""
        return int(self._raw.fileno())

    def write(self, content: Any, /) -> int:
        """Writes all of the content, or drops it; waits where a stream takes nothing just now."""
        left = memoryview(content).cast("B")
        length = len(left)
        while left and self.error is None:
            try:
                written = self._raw.write(left)
                if written is None:  # it was opened so that it does not wait by itself
                    select.select([], [self._raw], [])
                left = left[written or 0 :]
            except OSError as error:
                self.error = error
        return length

    @property
    def loss(self) -> str:
        """Why something of what was written is lost; "" where nothing is."""
        if self.error is None:
            return ""
        known = {errno.EPIPE: "nobody reads it any more", errno.ENOSPC: "the disk is full"}
        return known.get(self.error.errno or 0, self.error.strerror or str(self.error))

    @property
    def is_missed(self) -> bool:
        """Whether somebody wants what is lost: not so of a pipe whose reader has left, such as `head`."""
        return self.error is not None and self.error.errno != errno.EPIPE


@dataclass(frozen=True)
class Streams:
    """The stdout and stderr of a program."""

    out: LastingStream
    err: LastingStream


def open_streams() -> Streams:
    """Makes stdout and stderr last, and lets those of the three that are closed lead nowhere.

    To be called before any file is opened: it would get the number of a stream that is closed, and then all
    that is printed there. What an encoding has no letter for is printed as a backslash and its number.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # what is opened next gets the lowest number that is free: this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    out, err = sys.stdout or _opened(1), sys.stderr or _opened(2)
    streams = Streams(LastingStream(out), LastingStream(err))
    sys.stdout, sys.stderr = _as_text(streams.out, out), _as_text(streams.err, err)
    return streams


def _opened(number: int) -> TextIO:
    return open(number, "w", encoding="utf-8", closefd=False)


def _as_text(lasting: LastingStream, before: TextIO) -> TextIO:
    """Makes a stream of text with the encoding, and the flushing, of the one that was there before."""
    raw: Any = lasting
    return io.TextIOWrapper(
        raw, before.encoding, "backslashreplace", line_buffering=bool(before.line_buffering)
    )


def mark_as_telling(stream: TextIO) -> None:
    """Says that what is written to stdout tells of other work (see `LastingStream`)."""
    if isinstance(lasting := getattr(stream, "buffer", None), LastingStream):
        lasting.only_tells = True
