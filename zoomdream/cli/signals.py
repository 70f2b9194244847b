"""Ctrl-C and SIGTERM end the program, or, while frames are dreamt, ask the render to stop."""

import signal
from types import FrameType

import typer

from zoomdream.cli.console import console


class Stopped(BaseException):
    """Ctrl-C or SIGTERM: everything is cleaned up on the way out."""

    def __init__(self, number: int) -> None:
        self.number = number


class StopSignals:
    """Handles the signals that end a program.

    Usually a signal raises `Stopped` at once. While `finish_frame` is set it is only noted, as `received`,
    so that a render can finish the frame at hand. A second signal always ends the program at once. What is
    ignored when the program starts, as under nohup, stays ignored.
    """

    NUMBERS = tuple(
        getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
    )

    def __init__(self) -> None:
        self.finish_frame = False
        self.received: int | None = None
        self._taken: list[int] = []  # the signals that are handled here

    def install(self) -> None:
        """Takes the signals over that are not ignored, for the rest of the process."""
        self._taken = [n for n in self.NUMBERS if signal.getsignal(n) != signal.SIG_IGN]
        for number in self._taken:
            signal.signal(number, self._receive)

    def _receive(self, number: int, _: FrameType | None) -> None:
        for each in self._taken:
            signal.signal(each, signal.SIG_DFL)
        if not self.finish_frame:
            raise Stopped(number)
        self.received = number
        console.print("Stopping after this frame; once more ends at once.")


def stop_signals(context: typer.Context) -> StopSignals:
    """The signals' handler that the program was started with."""
    signals = context.find_root().obj
    assert isinstance(signals, StopSignals)
    return signals
