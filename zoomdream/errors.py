"""What can go wrong, each with the exit code of the command line.

A message is one sentence: what is wrong, where, and what would be right.
"""

import difflib
from collections.abc import Iterable


class ZoomdreamError(Exception):
    """Any error that zoomdream itself raises on purpose."""

    exit_code = 1


class UsageError(ZoomdreamError):
    """A setting is wrong: an unknown layer, a number out of range."""

    exit_code = 2


class InputError(ZoomdreamError):
    """A picture cannot be read."""

    exit_code = 3


class OutputError(ZoomdreamError):
    """The result cannot be written."""

    exit_code = 4


class WeightsError(ZoomdreamError):
    """A network's weights are missing, damaged or of another network."""

    exit_code = 5


class Interrupted(ZoomdreamError):  # noqa: N818
    """A render was asked to stop, and did; it can go on."""

    exit_code = 130


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the known names nearest to a wrong one, or all of a few."""
    known = list(known)
    lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.4)
    if close:
        return f"did you mean {' or '.join(lower[match] for match in close)}?"
    more = f" and {len(known) - 30} more" if len(known) > 30 else ""
    return f"there are {', '.join(known[:30])}{more}"
