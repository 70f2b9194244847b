"""What Ctrl-C and SIGTERM do."""

import signal
from dataclasses import dataclass
from types import FrameType

from zoomdream.cli.console import console


class Stopped(BaseException):
    """Ctrl-C or SIGTERM: everything is cleaned up on the way out."""


@dataclass
class StopRequest:
    """What a signal does. gentle: while frames are dreamt the one at hand is finished first."""

    gentle: bool = False
    pulled: int | None = None  # the signal's number


stop_request = StopRequest()
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


def stop_on_signal(number: int, _: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)  # a second one ends at once
    if not stop_request.gentle:
        raise Stopped(number)
    stop_request.pulled = number
    console.print("Stopping after this frame; once more ends at once.")
