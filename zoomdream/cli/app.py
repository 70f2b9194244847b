"""The program: its commands, its errors and its exit codes."""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import zoomdream as zd
from zoomdream.cli.console import console, print_event, shown
from zoomdream.cli.options import with_flags
from zoomdream.cli.signals import Stopped, StopSignals
from zoomdream.cli.streams import Streams, open_streams
from zoomdream.errors import Interrupted, OutputError, ZoomdreamError

MAKE, SEE, PRESETS, MACHINE = PANELS = (
    "Make films and pictures",
    "See into networks and results",
    "Presets",
    "This machine",
)


class PanelGroup(TyperGroup):
    """Lists commands panel by panel, whichever file was imported first."""

    def list_commands(self, ctx: Any) -> list[str]:
        def panel(name: str) -> int:
            return PANELS.index(getattr(self.commands[name], "rich_help_panel", MAKE))

        return sorted(super().list_commands(ctx), key=panel)


app = typer.Typer(
    cls=PanelGroup,
    add_completion=True,
    rich_markup_mode="rich",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"zoomdream {zd.__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def front(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """DeepDream videos: infinite zooms from a photograph."""


def main() -> None:
    """Runs the command line with the process's own words, streams and signals, and exits with its code."""
    streams = open_streams()
    signals = StopSignals()
    signals.install()
    sys.exit(tell_losses(run(signals=signals), streams))


def tell_losses(code: int, streams: Streams) -> int:
    """Tells on one of stdout and stderr what could not be told on the other; returns the exit code.

    It stays the command's own, but for one that was good and has lost what it was asked for.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if (loss := streams.out.loss) and streams.out.only_tells:
        console.print(f"[yellow]Warning:[/yellow] not all could be told on stdout: {shown(loss)}")
    elif streams.out.is_missed and code == 0:
        console.print(f"[red]Error:[/red] stdout cannot be written: {shown(loss)}")
        code = OutputError.exit_code
    if (loss := streams.err.loss) and not streams.out.only_tells:  # JSON tells all
        print(f"Warning: not all could be told on stderr: {loss}", flush=True)  # noqa: T201
    return code


def run(words: Sequence[str] | None = None, signals: StopSignals | None = None) -> int:
    """Runs a command and returns its exit code. words: what follows `zoomdream`; else the process's.

    0 good, 1 internal, 2 usage, 3 input, 4 output, 5 weights, 130 and 143 for signals. An error is one
    sentence; `ZOOMDREAM_DEBUG=1` shows the traceback as well. Names in it are shown as `printable` has them.
    """
    signals = signals or StopSignals()
    as_json = "--json" in (sys.argv if words is None else words)

    def fail(message: str, code: int, kind: str = "Error") -> int:
        if os.environ.get("ZOOMDREAM_DEBUG") == "1":
            traceback.print_exc()
        message = with_flags(message)
        if as_json:
            print_event(kind.lower(), {"message": message, "exit_code": code})
        console.print(f"[red]{kind}:[/red] {shown(message)}")
        return code

    try:
        name = None if words is None else "zoomdream"
        code = app(args=words, prog_name=name, standalone_mode=False, obj=signals)
        return code if isinstance(code, int) else 0
    except Interrupted as error:
        return fail(str(error), 128 + (signals.received or signal.SIGINT), "Stopped")
    except ZoomdreamError as error:
        return fail(str(error), error.exit_code)
    except Stopped as stopped:
        return fail("stopped; nothing was written", 128 + stopped.number)
    except typer.Abort:
        return fail("stopped; nothing was written", 130)
    except OSError as error:  # of files that the system will not even look for
        where = f"{str(error.filename)[:80]}: " if error.filename else ""
        return fail(f"{where}{error.strerror or error}", OutputError.exit_code)
    except Exception as error:
        if hasattr(error, "format_message"):  # the option parser's own
            return fail(error.format_message(), 2)
        console.print(f"Error: {type(error).__name__}: {shown(error)}")
        return fail("this is a fault of zoomdream; ZOOMDREAM_DEBUG=1 shows where it happened", 1)
