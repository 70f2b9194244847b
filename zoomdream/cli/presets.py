"""Commands about presets: list, show, new, check, schema, import."""

import json
from pathlib import Path
from typing import Annotated

import typer

from zoomdream.cli.app import PRESETS, app
from zoomdream.cli.console import console, results, shell_word, shown
from zoomdream.errors import UsageError, ZoomdreamError
from zoomdream.settings import presets
from zoomdream.settings.json_schema import preset_schema
from zoomdream.settings.setting_paths import plain_value, settings_by_path
from zoomdream.text import printable

presets_app = typer.Typer(help="Lists, shows, makes and checks presets.")
app.add_typer(presets_app, name="presets", rich_help_panel=PRESETS)


def complete_preset(incomplete: str) -> list[str]:
    """The presets' names that begin so, for the shell; those that cannot be typed are left out."""
    return [n for n in sorted(presets.known()) if n.startswith(incomplete) and printable(n) == n]


@presets_app.callback(invoke_without_command=True)
def list_presets(context: typer.Context) -> None:
    """Lists, shows, makes and checks presets."""
    if context.invoked_subcommand:
        return
    from rich.table import Table

    table = Table("preset", "for", "network", "you will see", box=None)
    for name, path in sorted(presets.known().items()):
        try:
            job = presets.load_preset(path)
        except ZoomdreamError as error:
            table.add_row(shown(name), "", "", f"[red]{shown(error)}[/red]")
            continue
        network = job.model + ("" if job.model == "pocket" or job.weights else " (a download)")
        kind = "a clip" if job.flow else "a still"
        table.add_row(shown(name), kind, network, shown(presets.description(path)))
    results().print(table)


@presets_app.command("show")
def show_preset(
    name: Annotated[
        str,
        typer.Argument(autocompletion=complete_preset, help="A preset's name, or a .toml file."),
    ],
) -> None:
    """Tells every setting that a preset comes to, and where each is from."""
    from rich.table import Table

    resolved = presets.resolve(name)
    table = Table("setting", "value", "from", box=None)
    for path, value in settings_by_path(resolved.job):
        plain, origin = plain_value(value), resolved.origins[path]
        dim = "[dim]" if origin == "default" else ""
        text = "-" if plain is None else json.dumps(plain)
        table.add_row(*(dim + shown(cell) for cell in (path, text, origin)))
    results().print(table)


@presets_app.command("new")
def new_preset(
    file: Annotated[Path, typer.Argument(help="The .toml file to write.")],
    origin: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="NAME",
            autocompletion=complete_preset,
            help="Which one to begin with.",
        ),
    ] = "zoom",
) -> None:
    """Writes a preset of your own."""
    if file.suffix != ".toml":
        raise UsageError(f"{file} is no preset: name it {file.with_suffix('.toml').name}")
    presets.new(file, origin)
    command = f"zoomdream render {shell_word(file)} sample -o dream.mp4 --draft"
    console.print(f"Written: {shown(file)}. Try it: {shown(command)}")


@presets_app.command("check")
def check_presets(files: Annotated[list[Path], typer.Argument(help=".toml files.")]) -> None:
    """Exit code 0, or every mistake with file, line, field and what would be right."""
    wrong = False
    for file in files:
        for mistake in presets.mistakes(file):
            wrong = True
            place = f"{file}:{mistake.line}" if mistake.line else f"{file}"
            print(printable(f"{place}: {mistake.message}"))  # noqa: T201
    if wrong:
        raise typer.Exit(2)


@presets_app.command("schema")
def print_schema() -> None:
    """Prints the JSON Schema of preset files, for editors."""
    print(preset_schema())  # noqa: T201


@presets_app.command("import")
def import_preset(
    file: Annotated[
        Path, typer.Argument(help="A Deforum settings file, or a Parseq manifest (.txt or .json).")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="The .toml to write.")
    ] = None,
) -> None:
    """Makes a preset of a Deforum settings file."""
    from zoomdream.settings.deforum import import_settings

    target = output or file.with_suffix(".toml")
    text, notes = import_settings(file)
    presets.write_new(target, text)
    console.print(f"Written: {shown(target)}")
    for note in notes:
        console.print(f"Note: {shown(note)}")
