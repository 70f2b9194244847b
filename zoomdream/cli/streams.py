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

    def __init__(self, raw: Any) -> None:
        self._raw = raw
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
        """Why something that somebody would have read is lost; "" where nothing is.

        A pipe whose reader has left, such as `head`, loses nothing that anybody wanted.
        """
        if self.error is None or self.error.errno == errno.EPIPE:
            return ""
        full = self.error.errno == errno.ENOSPC
        return "the disk is full" if full else self.error.strerror or str(self.error)


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
        except OSError:
            nowhere = os.open(
                os.devnull, os.O_RDWR
            )  # gets the lowest number that is free: this one
            os.set_inheritable(nowhere, True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    out, err = _lasting(sys.stdout, 1), _lasting(sys.stderr, 2)
    sys.stdout, sys.stderr = _text(sys.stdout, out), _text(sys.stderr, err)
    return Streams(out, err)


def _lasting(stream: TextIO | None, number: int) -> LastingStream:
    if stream is None:
        return LastingStream(io.FileIO(number, "w", closefd=False))
    return LastingStream(getattr(stream.buffer, "raw", stream.buffer))


def _text(stream: TextIO | None, lasting: LastingStream) -> TextIO:
    encoding = stream.encoding if stream else "utf-8"
    at_once = lasting.isatty() or lasting.fileno() == 2
    raw: Any = (
        lasting  # which needs no buffer: what is written is whole lines, or the text's own buffer
    )
    return io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=at_once)


def mark_as_telling(stream: TextIO) -> None:
    """Says that what is written to stdout tells of other work (see `LastingStream`)."""
    if isinstance(lasting := getattr(stream, "buffer", None), LastingStream):
        lasting.only_tells = True
