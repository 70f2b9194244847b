"""The command line: each file holds a family of commands, `app` the program around them."""

from zoomdream.cli import machine, make, presets, see, sweep  # noqa: F401 (they add their commands)
from zoomdream.cli.app import main, run

__all__ = ["main", "run"]
