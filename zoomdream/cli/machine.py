"""Commands about this machine: bench, doctor."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from zoomdream import __version__
from zoomdream.cli.app import app
from zoomdream.cli.console import console, print_json
from zoomdream.cli.options import BENCH, make_job, settings_options
from zoomdream.settings import presets
from zoomdream.settings.timeline import at_start


@app.command()
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

    from zoomdream.study.bench import bench_table, run_bench

    def tell(what: str) -> None:
        console.print(f"Measuring {what} ...")

    found = run_bench(at_start(job), rounds, frames, tell)
    if as_json:
        rates = {"fps": found.fps, "gflops": found.gflops, "limit_gflops": found.limit_gflops}
        print_json({**asdict(found), **rates})
        return
    random = ", with random weights" if found.random else ""
    layers = " + ".join(found.layers)
    out = Console(highlight=False)
    out.print(
        f"{found.network}, {escape(layers)}{random}, in {found.precision}, on {found.machine}"
    )
    shown = Table(box=None, show_header=False)
    for row in bench_table(found):
        shown.add_row(*row)
    out.print(shown)


@app.command()
def doctor() -> None:
    """Tells what this machine has, and what to do about what is missing."""
    from zoomdream.study.doctor import machine_checks

    out = Console(highlight=False, soft_wrap=True)
    bad = 0
    for check in machine_checks(__version__):
        mark = "[green]ok[/green]  " if check.good else "[red]FIX[/red] "
        out.print(f"{mark} {check.name}: {escape(check.state)}")
        if not check.good:
            bad += 1
            out.print(f"      {escape(check.cure)}")
    if bad:
        raise typer.Exit(1)
