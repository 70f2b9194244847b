"""Prints what a render reports: as JSON, as a bar at a terminal, or as plain lines."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from zoomdream.cli.options import with_flags
from zoomdream.cli.streams import mark_as_telling
from zoomdream.events import Done, Event, Film, Note, Picture, Progress, Start, Step, as_values
from zoomdream.text import path_text, printable, valid_unicode

AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="One JSON object per event on stdout, nothing else there; the work goes on where nobody reads "
        "them, and bytes of a name that are not UTF-8 are written as \\xe9.",
    ),
]
EventPrinter = Callable[[Event | Done], None]
PLAIN_LINE_EVERY = 10  # seconds between two lines of progress, where there is no terminal
console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def results(soft_wrap: bool = False) -> Console:
    """Makes a console for what a command was asked for, on stdout."""
    return Console(highlight=False, soft_wrap=soft_wrap, emoji=False)


def shown(text: object) -> str:
    """Makes text of others safe for a console: nothing in it is markup, or obeyed by a terminal."""
    return escape(printable(path_text(text) if isinstance(text, Path) else str(text)))


def shell_word(path: Path) -> str:
    """Quotes a file's name for a shell, such as bash, that a person pastes it into."""
    text = os.fsencode(path).decode("utf-8", "surrogateescape")
    if text.startswith("-"):
        text = f"./{text}"
    if printable(text) == text:
        return shlex.quote(text)
    quoted = printable(text.replace("\\", "\\\\").replace("'", "\\'"))
    return f"$'{quoted}'"


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """Shows at a terminal what goes on during a block, and nothing elsewhere.

    Yields a function that changes the text.
    """
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(text) as line:
        yield line.update


def waking_up() -> AbstractContextManager[object]:
    """Shows that the program is at work while a block imports torch."""
    return status("Waking up ...")


@contextmanager
def event_printer(as_json: bool) -> Iterator[EventPrinter]:
    """Yields a function that prints a render's events: as JSON on stdout, as a bar, or as plain lines."""
    if as_json:
        yield _print_event_as_json
    elif console.is_terminal:
        with _bar_printer() as show:
            yield show
    else:
        yield _line_printer()


def print_json(values: Mapping[str, Any]) -> None:
    """Prints an object on stdout, on a line of its own."""
    print(json.dumps(_jsonable(values)), flush=True)  # noqa: T201


def print_event(event: str, values: Mapping[str, Any]) -> None:
    """Prints an event on stdout as JSON; where it cannot be told, the work goes on."""
    mark_as_telling(sys.stdout)
    print_json({"event": event, **values})


def _print_event_as_json(event: Event | Done) -> None:
    values = as_values(event)
    match event:
        case Start():
            print_event("start", values)
        case Progress():
            rates = {"fps": round(event.fps, 3), "left": round(event.left, 1)}
            print_event("progress", {**values, **rates})
        case Step():
            print_event("step", {**values, "left": round(event.left, 1)})
        case Note():
            print_event("note", values)
        case Film():
            print_event("done", {**values, "length": event.length})
        case Picture():
            print_event("done", values)


def _jsonable(value: Any) -> Any:
    """Turns a value into what JSON holds: fractions to numbers, names of files to text (see `text`)."""
    match value:
        case Fraction():
            return float(value)
        case Path():
            return path_text(value)
        case str():
            return valid_unicode(value)
        case Mapping():
            return {key: _jsonable(part) for key, part in value.items()}
        case list() | tuple():
            return [_jsonable(part) for part in value]
    return value if isinstance(value, bool | int | float | None) else str(value)


def _print_start(start: Start) -> None:
    layers = " + ".join(start.layers)
    amount = f"{start.total} steps"
    if start.fps is not None:
        amount = (
            f"{'' if start.total is None else f'{start.total} '}frames at {float(start.fps):g} fps"
        )
    console.print(
        f"{start.network}, layer {shown(layers)}, on {start.device} in {start.precision} ({start.why}); "
        f"{start.size}, {amount}"
    )
    for text in start.notes:
        _print_note(text)
    if start.done:
        console.print(f"Going on after {start.done} frames that are there.")


def _print_note(text: str) -> None:
    console.print(f"Note: {shown(with_flags(text))}")


def _print_result(done: Done) -> None:
    size = done.path.stat().st_size if done.path and done.path.is_file() else 0
    megabytes = f", {size / 1e6:.1f} MB" if size else ""
    length, verb = "", "dreamt"
    if isinstance(done, Film):
        length, verb = f"{done.length:.2f} s, ", "rendered"
    console.print(
        f"{shown(done.path)}: {length}{done.size}{megabytes}, {verb} in {done.seconds:.1f} s"
    )
    if isinstance(done, Picture) and done.others:
        more = f" and {len(done.others) - 1} more" if len(done.others) > 1 else ""
        console.print(f"How it grew: {shown(done.others[0])}{more}")
    for text in done.notes:
        console.print(f"[yellow]Warning:[/yellow] {shown(with_flags(text))}")


def _line_printer() -> EventPrinter:
    last = 0.0  # when a line of progress was printed, in seconds since the start

    def show(event: Event | Done) -> None:
        nonlocal last
        match event:
            case Start():
                _print_start(event)
            case Film() | Picture():
                _print_result(event)
            case Note():
                _print_note(event.text)
            case Step() if (
                event.step in (0, event.total - 1) or event.seconds - last > PLAIN_LINE_EVERY
            ):
                last = event.seconds
                console.print(_step_text(event))
            case Progress() if (
                event.frame + 1 in (event.begun + 1, event.total)
                or event.seconds - last > PLAIN_LINE_EVERY
            ):
                last = event.seconds
                console.print(_progress_text(event))

    return show


def _progress_text(progress: Progress) -> str:
    known = progress.total is not None
    total, left = (f"/{progress.total}", f"  {progress.left:.0f} s left") if known else ("", "")
    return (
        f"frame {progress.frame + 1}{total}  {progress.fps:.2f} fps{left}  "
        f"objective {progress.objective:.3g}"
    )


def _step_text(step: Step) -> str:
    return (
        f"step {step.step + 1}/{step.total}, at {step.size}  {step.left:.0f} s left  "
        f"objective {step.objective:.3g}"
    )


@contextmanager
def _bar_printer() -> Iterator[EventPrinter]:
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    bar = Bar(BarColumn(), TextColumn("{task.description}"), console=console, transient=True)
    task = bar.add_task("beginning ...", total=None)

    def show(event: Event | Done) -> None:
        match event:
            case Start():
                _print_start(event)
                bar.start()
            case Film() | Picture():
                bar.stop()
                _print_result(event)
            case Note():
                _print_note(event.text)
            case Step():
                bar.update(task, total=1, completed=event.share, description=_step_text(event))
            case Progress():
                done, text = event.frame + 1, _progress_text(event)
                bar.update(task, total=event.total, completed=done, description=text)

    try:
        yield show
    finally:
        bar.stop()
