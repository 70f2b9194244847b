"""What a render reports, printed as JSON, as a bar at a terminal, or as plain lines."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from fractions import Fraction
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from zoomdream.events import Done, Event, Film, Note, Picture, Progress, Start, Step

AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON object per event on stdout, nothing else there.")
]


@contextmanager
def no_status() -> Iterator[None]:
    yield


EventPrinter = Callable[[Event | Done], None]
console = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def event_printer(as_json: bool) -> Iterator[EventPrinter]:
    """A listener for a render: JSON on stdout, a bar at a terminal, or plain lines."""
    if as_json:
        yield _json
    elif console.is_terminal:
        with _bar() as tell:
            yield tell
    else:
        yield _plain_lines()


def print_json(values: dict[str, Any]) -> None:
    print(json.dumps(values, default=str), flush=True)  # noqa: T201


def _json(event: Event | Done) -> None:
    values = {key: _jsonable(value) for key, value in asdict(event).items()}
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


def _opening(start: Start) -> None:
    layers = " + ".join(start.layers)
    much = f"{start.total} steps"
    if start.fps is not None:
        much = f"{start.total} frames at {float(start.fps):g} fps"
    console.print(
        f"{start.network}, layer {escape(layers)}, on {start.device} in {start.precision} ({start.why}); "
        f"{start.size}, {much}"
    )
    for note in start.notes:
        _aside(Note(note))
    if start.done:
        console.print(f"Going on after {start.done} frames that are there.")


def _aside(note: Note) -> None:
    console.print(f"Note: {escape(note.text)}")


def _closing(done: Done) -> None:
    size = done.path.stat().st_size if done.path.is_file() else 0
    weight = f", {size / 1e6:.1f} MB" if size else ""
    length, how = "", "dreamt"
    if isinstance(done, Film):
        length, how = f"{done.length:.2f} s, ", "rendered"
    console.print(
        f"{escape(str(done.path))}: {length}{done.size}{weight}, {how} in {done.seconds:.1f} s"
    )
    if isinstance(done, Picture) and done.others:
        more = f" and {len(done.others) - 1} more" if len(done.others) > 1 else ""
        console.print(f"How it grew: {escape(str(done.others[0]))}{more}")
    for note in done.notes:
        console.print(f"[yellow]Warning:[/yellow] {escape(note)}")


def _plain_lines() -> EventPrinter:
    last = 0.0

    def tell(event: Event | Done) -> None:
        nonlocal last
        match event:
            case Start():
                _opening(event)
            case Film() | Picture():
                _closing(event)
            case Note():
                _aside(event)
            case Step() if event.step in (0, event.total - 1) or event.seconds - last > 10:
                last = event.seconds
                console.print(_at_step(event))
            case Progress() if (
                event.frame in (event.begun, event.total - 1) or event.seconds - last > 10
            ):
                last = event.seconds
                console.print(_status(event))

    return tell


def _status(progress: Progress) -> str:
    return (
        f"frame {progress.frame + 1}/{progress.total}  {progress.fps:.2f} fps  "
        f"{progress.left:.0f} s left  objective {progress.objective:.3g}"
    )


def _at_step(step: Step) -> str:
    return (
        f"step {step.step + 1}/{step.total}, at {step.size}  {step.left:.0f} s left  "
        f"objective {step.objective:.3g}"
    )


@contextmanager
def _bar() -> Iterator[EventPrinter]:
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    bar = Bar(BarColumn(), TextColumn("{task.description}"), console=console, transient=True)
    task = bar.add_task("beginning ...", total=None)

    def tell(event: Event | Done) -> None:
        match event:
            case Start():
                _opening(event)
                bar.start()
            case Film() | Picture():
                bar.stop()
                _closing(event)
            case Note():
                _aside(event)
            case Step():
                bar.update(task, total=1, completed=event.share, description=_at_step(event))
            case Progress():
                done, text = event.frame + 1, _status(event)
                bar.update(task, total=event.total, completed=done, description=text)

    try:
        yield tell
    finally:
        bar.stop()
