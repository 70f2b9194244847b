"""Prints what a render reports: as JSON, as a bar at a terminal, or as plain lines."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from zoomdream.cli.options import with_flags
from zoomdream.events import Done, Event, Film, Note, Picture, Progress, Start, Step, as_values

AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON object per event on stdout, nothing else there.")
]
EventPrinter = Callable[[Event | Done], None]
PLAIN_LINE_EVERY = 10  # seconds between two lines of progress, where there is no terminal
console = Console(stderr=True, highlight=False, soft_wrap=True)


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


def print_json(values: dict[str, Any]) -> None:
    print(json.dumps(values, default=str), flush=True)  # noqa: T201


def _print_event_as_json(event: Event | Done) -> None:
    values = {key: _jsonable(value) for key, value in as_values(event).items()}
    match event:
        case Start():
            print_json({"event": "start", **values})
        case Progress():
            rates = {"fps": round(event.fps, 3), "left": round(event.left, 1)}
            print_json({"event": "progress", **values, **rates})
        case Step():
            print_json({"event": "step", **values, "left": round(event.left, 1)})
        case Note():
            print_json({"event": "note", **values})
        case Film():
            print_json({"event": "done", **values, "length": event.length})
        case Picture():
            print_json({"event": "done", **values})


def _jsonable(value: Any) -> Any:
    return float(value) if isinstance(value, Fraction) else value


def _print_start(start: Start) -> None:
    layers = " + ".join(start.layers)
    amount = f"{start.total} steps"
    if start.fps is not None:
        amount = (
            f"{'' if start.total is None else f'{start.total} '}frames at {float(start.fps):g} fps"
        )
    console.print(
        f"{start.network}, layer {escape(layers)}, on {start.device} in {start.precision} ({start.why}); "
        f"{start.size}, {amount}"
    )
    for text in start.notes:
        _print_note(text)
    if start.done:
        console.print(f"Going on after {start.done} frames that are there.")


def _print_note(text: str) -> None:
    console.print(f"Note: {escape(with_flags(text))}")


def _print_result(done: Done) -> None:
    size = done.path.stat().st_size if done.path and done.path.is_file() else 0
    megabytes = f", {size / 1e6:.1f} MB" if size else ""
    length, verb = "", "dreamt"
    if isinstance(done, Film):
        length, verb = f"{done.length:.2f} s, ", "rendered"
    console.print(
        f"{escape(str(done.path))}: {length}{done.size}{megabytes}, {verb} in {done.seconds:.1f} s"
    )
    if isinstance(done, Picture) and done.others:
        more = f" and {len(done.others) - 1} more" if len(done.others) > 1 else ""
        console.print(f"How it grew: {escape(str(done.others[0]))}{more}")
    for text in done.notes:
        console.print(f"[yellow]Warning:[/yellow] {escape(with_flags(text))}")


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
