"""Commands about this machine: bench, doctor."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import zoomdream as zd
from zoomdream.cli.app import MACHINE, app
from zoomdream.cli.console import console, print_json, results, shown
from zoomdream.cli.options import BENCH, make_job, settings_options
from zoomdream.settings import presets
from zoomdream.settings.timeline import at_start


@app.command(rich_help_panel=MACHINE)
@settings_options(presets.shipped_job("zoom"), BENCH)
def bench(
    image: Annotated[
        Path | None, typer.Argument(help="A picture to dream on; else our sample.")
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, max=1000, help="Turns that each way has; medians are told.")
    ] = 5,
    frames: Annotated[
        int,
        typer.Option(
            min=0, help="Frames of the film; 0: as many as take ten seconds, but 24 to 300."
        ),
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Measures this machine: a dreamt frame, the textbook way, the bare convolutions, a whole film.

    [bold]zoomdream bench --model googlenet --layer inception4c --size 512x341[/bold]

    Nothing is fetched: where a network's weights are not here it runs with random ones.
    """
    job = make_job(settings, presets.load_preset("zoom"), source=image)
    from rich.table import Table

    def show_progress(what: str) -> None:
        console.print(f"Measuring {what} ...")

    result = zd.run_bench(at_start(job), rounds, frames, show_progress)
    if as_json:
        rates = {"fps": result.fps, "gflops": result.gflops, "limit_gflops": result.limit_gflops}
        print_json({**asdict(result), **rates})
        return
    random = ", with random weights" if result.random else ""
    layers = " + ".join(result.layers)
    out = results()
    out.print(
        f"{result.network}, {shown(layers)}{random}, in {result.precision}, on {result.machine}"
    )
    table = Table(box=None, show_header=False)
    for row in zd.bench_table(result):
        table.add_row(*row)
    out.print(table)


@app.command(rich_help_panel=MACHINE)
def doctor() -> None:
    """Tells what this machine has, and what to do about what is missing."""
    out = results(soft_wrap=True)
    missing = 0
    for check in zd.machine_checks(zd.__version__):
        mark = "[green]ok[/green]  " if check.good else "[red]FIX[/red] "
        out.print(f"{mark} {check.name}: {shown(check.state)}")
        if not check.good:
            missing += 1
            out.print(f"      {shown(check.cure)}")
    if missing:
        raise typer.Exit(1)
