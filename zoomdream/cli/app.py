"""The program: its commands, its errors and its exit codes."""

import os
import signal
import sys
import traceback
from typing import Annotated

import typer
from rich.markup import escape

from zoomdream import __version__
from zoomdream.cli.console import console, print_json
from zoomdream.cli.presets import presets_app
from zoomdream.cli.signals import SIGNALS, Stopped, stop_on_signal, stop_request
from zoomdream.errors import Interrupted, OutputError, ZoomdreamError

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="rich",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"zoomdream {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def front(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """DeepDream videos: infinite zooms from a photograph."""


app.add_typer(presets_app, name="presets")


def main() -> None:
    """Runs the command line and exits with its code.

    0 good, 1 internal, 2 usage, 3 input, 4 output, 5 weights, 130 and 143 for signals. An error is one
    sentence; `ZOOMDREAM_DEBUG=1` shows the traceback as well.
    """
    for number in SIGNALS:
        signal.signal(number, stop_on_signal)
    sys.exit(run())


def run() -> int:
    try:
        code = app(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except Interrupted as error:
        return _say(str(error), 128 + (stop_request.pulled or signal.SIGINT), "Stopped")
    except ZoomdreamError as error:
        return _say(str(error), error.exit_code)
    except Stopped as stopped:
        return _say("stopped; nothing was written", 128 + stopped.args[0])
    except typer.Abort:
        return _say("stopped; nothing was written", 130)
    except OSError as error:  # of files that the system will not even look for
        where = f"{str(error.filename)[:80]}: " if error.filename else ""
        return _say(f"{where}{error.strerror or error}", OutputError.exit_code)
    except Exception as error:
        if hasattr(error, "format_message"):  # the option parser's own
            return _say(error.format_message(), 2)
        console.print(f"Error: {type(error).__name__}: {escape(str(error))}")
        return _say("this is a fault of zoomdream; ZOOMDREAM_DEBUG=1 shows where it happened", 1)


def _say(message: str, code: int, what: str = "Error") -> int:
    if os.environ.get("ZOOMDREAM_DEBUG") == "1":
        traceback.print_exc()
    if "--json" in sys.argv:
        print_json({"event": what.lower(), "message": message, "exit_code": code})
    console.print(f"[red]{what}:[/red] {escape(message)}")
    return code
