"""What can go wrong, each with the exit code of the command line.

A message is one sentence: what is wrong, where, and what would be right.
"""


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
