"""The command that tries values of settings side by side: sweep."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import zoomdream as zd
from zoomdream.cli.app import SEE, app
from zoomdream.cli.console import (
    AsJson,
    console,
    print_event,
    shell_word,
    shown,
    status,
    waking_up,
)
from zoomdream.cli.options import (
    ANCHOR,
    CAMERA,
    CLIP,
    DREAM,
    FILM,
    FILM_TIME,
    MACHINE,
    OPTIONS,
    PICTURE,
    assignment,
    make_job,
    option_words,
    plain_changes,
    read_value,
    required,
    settings_options,
)
from zoomdream.cli.presets import complete_preset
from zoomdream.errors import UsageError
from zoomdream.settings import presets
from zoomdream.settings.definitions import STILL_DREAM, RenderJob
from zoomdream.settings.expression import split_at_commas
from zoomdream.settings.setting_paths import change_job, plain_value
from zoomdream.settings.variation import PRESET, read_choices, varied_path

RIDE = {"Ride": CLIP["Ride"]}


@app.command(rich_help_panel=SEE)
@settings_options(None, FILM_TIME, CAMERA, RIDE, DREAM, ANCHOR, MACHINE)
def sweep(
    image: Annotated[
        Path | None,
        typer.Argument(
            help="A picture, or the word sample for ours; without one, noise. A clip where --preset is "
            "for clips and --at says when."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="SHEET", help=".png, .jpg or .webp."),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary",
            metavar="NAME=A,B,...",
            help="What to vary: an option without its dashes (steps), any setting (dream.steps), or "
            "preset; twice for rows and columns. A;B;... where values have commas of their own: "
            "'layer=eyes;eyes,faces=0.5', 'center=0.3,0.5;0.7,0.5'. 0..5 counts whole numbers, "
            "0.2..1:5 makes five numbers.",
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="T",
            help="Shows the frame at T seconds of a zoom instead of a still dream, so that camera and "
            "anchor can be compared too.",
        ),
    ] = None,
    size: Annotated[
        int,
        typer.Option(
            min=32, max=4096, help="Pixels of each picture's longer side, at which it is dreamt."
        ),
    ] = 256,
    columns: Annotated[
        int, typer.Option(min=0, max=100, help="Pictures side by side; 0 chooses.")
    ] = 0,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=complete_preset,
            help="A mood for all pictures; or a .toml file.",
        ),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Any setting of all, such as dream.octaves=5."
        ),
    ] = None,
    as_json: AsJson = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Shows what settings do to a picture: a labelled sheet of small dreams, to choose with the eye.

    [bold]zoomdream sweep photo.jpg -o sweep.png --vary steps=5,10,20 --vary layer=eyes,faces[/bold]

    Under each picture stands what to write to get it: steps=5 is --steps 5, or --set dream.steps=5.

    [bold]--vary preset=ink,eyes,aviary[/bold] compares moods; options win over them, for all alike.

    [bold]--at 2 --vary zoom=1.2,1.5,2[/bold] compares zooms after two seconds.
    """
    target = required(output, "sweep.png", ".jpg", ".webp")
    if not vary:
        raise UsageError("what is to vary? add --vary steps=2,4,8 (or any other setting)")
    varied = [read_choices(text, _changes) for text in vary]
    if preset is not None and any(PRESET in one.changes for choices in varied for one in choices):
        raise UsageError("--preset and --vary preset=... both name presets: give one")
    assigned = dict(map(assignment, sets or []))
    seconds = None if at is None else _seconds(at)
    base = change_job(_base(preset, seconds), assigned)
    job = make_job(settings, base, source=image, target=target)
    with waking_up():
        sweep_sheet = zd.sweep_sheet
    done, example = 0, ""

    def show_cell(cell: "zd.SweepCell", total: int) -> None:
        nonlocal done, example
        done += 1
        command = _command(cell, image, preset, {**assigned, **settings})
        if command and not example:
            example = f"{cell.written} by itself, at any --size: {command}"
        if as_json:
            changes = {
                path: plain_value(value)
                for one in cell.choices
                for path, value in one.changes.items()
            }
            about = {"written": cell.written, "settings": changes, "seconds": cell.seconds}
            more = {"note": cell.note, "command": command, "done": done, "total": total}
            print_event("cell", about | more)
        _, about_cell = cell.caption
        console.print(f"{done} of {total}: {shown(cell.written)} ({shown(about_cell)})")

    with status("Dreaming ..."):
        sheet_size = sweep_sheet(
            job,
            *varied,
            at=seconds,
            size=size,
            changes={**assigned, **plain_changes(settings)},
            columns=columns,
            progress=show_cell,
        )
    if as_json:
        print_event("done", {"path": target, "size": sheet_size})
    console.print(f"{shown(target)}: {sheet_size}")
    if example:
        console.print(shown(example))


def _base(preset: str | None, at: float | None) -> RenderJob:
    """What `image`, or for a film's frame `zoom` or `render`, begins with."""
    if at is not None:
        return presets.load_preset(preset or "zoom")
    still = RenderJob(dream=STILL_DREAM)
    return presets.overlay(still, preset) if preset else still


def _changes(path: str, text: str) -> Mapping[str, Any]:
    """Reads a value that is varied, as its option or `--set` would."""
    if path == PRESET:
        return {path: text}
    value = read_value(text)
    if isinstance(value, str) and path in OPTIONS and OPTIONS[path].field.default == {}:
        value = [part.strip() for part in split_at_commas(value)]
    return plain_changes({path: value})


def _seconds(text: str) -> float:
    """Reads a time: 2, 2.5s; raises UsageError."""
    try:
        return float(text.removesuffix("s"))
    except ValueError:
        raise UsageError(f'--at "{text}" is no time in seconds such as 2.5') from None


def _command(
    cell: "zd.SweepCell", image: Path | None, preset: str | None, given: Mapping[str, Any]
) -> str:
    """Writes the command for a cell's picture, or for the film it is a frame of; "" if options cannot.

    given: settings of all cells, by path. Those that the command has no option for play no part in it.
    """
    values = {**given}
    for choice in cell.choices:
        name, _, text = choice.written.partition("=")
        values[varied_path(name)] = text
    values |= {"output.size": str(cell.job.output.size)}
    preset = values.pop(PRESET, preset)
    if cell.at is None:
        panels, words = PICTURE | DREAM | MACHINE, ["image"]
    elif preset is None:
        panels, words = FILM | CAMERA | DREAM | ANCHOR | MACHINE, ["zoom"]
    else:
        panels = FILM | CLIP | CAMERA | DREAM | ANCHOR | MACHINE
        words = ["render", shlex.quote(preset)]
    words += [] if image is None else [shell_word(image)]
    words += ["-o", "dream.png" if cell.at is None else "dream.mp4"]
    words += ["--preset", shlex.quote(preset)] if cell.at is None and preset else []
    taken = {option.path for options in panels.values() for option in options} - {"force"}
    for path, value in values.items():
        option = option_words(path, value)
        if option is None and (preset is not None or str(value).lower() != "false"):
            return ""
        words += map(shlex.quote, option or []) if path in taken else []
    return f"zoomdream {' '.join(words)}"
