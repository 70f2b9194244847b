"""Commands that look into networks and at results: layers, channels, metrics, models, classes."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import zoomdream as zd
from zoomdream.cli.app import SEE, app
from zoomdream.cli.console import (
    AsJson,
    console,
    print_event,
    print_json,
    results,
    shown,
    status,
    waking_up,
)
from zoomdream.cli.options import LOOK, NEURONS, make_job, make_section, required, settings_options
from zoomdream.errors import UsageError
from zoomdream.settings.definitions import STUDY_JOB, NeuronSpec, RenderJob


@app.command(rich_help_panel=SEE)
@settings_options(STUDY_JOB, LOOK)
def layers(
    image: Annotated[
        Path, typer.Argument(help="A picture or drawing; the word sample means ours.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="SHEET", help=".png, .jpg or .webp."),
    ] = None,
    picked: Annotated[
        str | None,
        typer.Option(
            "--layers", metavar="A,B,...", help="Only these: NAME or NAME:CHANNEL; else all."
        ),
    ] = None,
    zoom_in: Annotated[
        str,
        typer.Option(
            metavar="X,Y,R",
            help="Enlarge this of every picture under it: X,Y is its middle, 0,0 top left and 1,1 "
            "bottom right; R is half its width, where 1 is the picture's.",
        ),
    ] = "",
    size: Annotated[
        int, typer.Option(min=32, max=4096, help="Pixels of each picture's longer side.")
    ] = 320,
    columns: Annotated[
        int, typer.Option(min=0, max=100, help="Pictures side by side; 0 chooses.")
    ] = 0,
    strength: Annotated[
        float,
        typer.Option(
            min=0.5, max=60, help="How far each goes from the original: RMS difference in L*a*b*."
        ),
    ] = 12.0,
    as_json: AsJson = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Shows what each layer of a network makes of a picture: a labelled sheet, all equally strong.

    [bold]zoomdream layers photo.jpg -o layers.png --zoom-in 0.5,0.4,0.15[/bold]
    """
    target = required(output, "layers.png", ".jpg", ".webp")
    job = make_job(settings, STUDY_JOB, source=image, target=target)
    with waking_up():
        layer_sheet = zd.layer_sheet
    names = None if picked is None else [name.strip() for name in picked.split(",")]
    done = 0

    def show_layer(dreamt: "zd.LayerDream", total: int) -> None:
        nonlocal done
        done += 1
        name, about = dreamt.caption
        if as_json:
            count = {"done": done, "total": total}
            print_event("layer", {"name": name, "change": dreamt.change, **count})
        console.print(f"{done} of {total}: {shown(name)} ({about})")

    sheet_size = layer_sheet(
        job,
        names,
        size=size,
        columns=columns,
        strength=strength,
        zoom_in=_place(zoom_in) if zoom_in else (),
        progress=show_layer,
    )
    if as_json:
        print_event("done", {"path": target, "size": sheet_size})
    console.print(f"{shown(target)}: {sheet_size}")


def _place(text: str) -> list[float]:
    """Reads X,Y,R; raises UsageError."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f'--zoom-in "{text}" is not X,Y,R such as 0.5,0.4,0.15') from None


@app.command(rich_help_panel=SEE)
@settings_options(RenderJob(), NEURONS)
def channels(
    layer: Annotated[
        str,
        typer.Argument(
            metavar="LAYER",
            help="eyes, or of it eyes:12,40 or a sum of channels, eyes:3+7-0.5*12; class:lion,tabby.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="SHEET", help=".png, .jpg or .webp.")
    ] = None,
    within: Annotated[
        str | None,
        typer.Option("--range", metavar="A:B", help="Channels A to before B. [dim]\\[0:16][/dim]"),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(metavar="N", help="The N channels that the picture --on excites most."),
    ] = None,
    on: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="The picture for --top; or sample.")
    ] = None,
    begin: Annotated[
        str,
        typer.Option(
            "--from", metavar="noise|IMAGE", help="Where to begin; a picture, or sample for ours."
        ),
    ] = "noise",
    columns: Annotated[
        int, typer.Option(min=0, metavar="N", help="Pictures in a row; 0 chooses.")
    ] = 0,
    *,
    settings: dict[str, Any],
) -> None:
    """Shows what single neurons look for: a sheet of pictures that excite them most.

    [bold]zoomdream channels eyes -o eyes.png --range 0:64[/bold]

    Any name under a picture is a layer to dream with: zoomdream zoom photo.jpg -o 12.mp4 --layer eyes:12
    """
    target = required(output, "sheet.png", ".jpg", ".webp")
    spec = make_section(NeuronSpec, "neurons", settings)
    job = make_job(settings, source=None if begin == "noise" else begin, target=target)
    with waking_up():
        neuron_sheet = zd.neuron_sheet
    with status("Looking ...") as show:
        about = neuron_sheet(
            job,
            spec,
            layer,
            within=within,
            top=top,
            on=on,
            columns=columns,
            progress=lambda step, steps: show(f"step {step} of {steps}"),
        )
    console.print(f"{shown(target)}: {about}")


@app.command(rich_help_panel=SEE)
def metrics(
    source: Annotated[Path, typer.Argument(help="The clip that was dreamt on.")],
    dreamed: Annotated[Path, typer.Argument(help="The dreamt clip.")],
    start: Annotated[float, typer.Option(help="Seconds into the source where it began.")] = 0.0,
    model: Annotated[str, typer.Option(help="Network to gauge with.")] = "pocket",
    weights: Annotated[Path | None, typer.Option(help="Local weights of it.")] = None,
    layer: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Layers to gauge, each by itself.")
    ] = None,
    flow: Annotated[str, typer.Option(metavar="dis|raft", help="Optical flow to use.")] = "dis",
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw all of it over time, .png or .svg.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Tells how steady, strong, sharp and clean a dreamt clip is, beside its source.

    warp error: how much the dream boils over what moves (Lai et al. 2018); 0 is steady. A blurred or
    frozen clip is steady too, so look at strength and sharpness as well.

    palette: distance of its colours from the source's, Delta E: 2 near, 10 far.

    dots: share of fine structure that is round, 0 to 1: photographs have 0.25
    to 0.4, carpets of dots half or more.
    """
    if flow not in ("dis", "raft"):
        raise UsageError(f'--flow "{flow}" is no flow to measure by: dis or raft would do')
    comparison = zd.compare_clips(
        source, dreamed, start=start, model=model, layers=layer or (), weights=weights, flow=flow
    )
    if plot:
        zd.plot_comparison(comparison, plot)
    mean = asdict(comparison.mean)
    strengths = dict(zip(comparison.layers, mean.pop("strengths"), strict=True))
    if as_json:
        print_json({"frames": len(comparison.frames) + 1, **mean, "strength": strengths})
        return
    out = results()
    out.print(f"warp error  {mean['warp_error']:.6f}")
    for name, value in strengths.items():
        out.print(f"strength    {value:.2f} times the source's, {shown(name)}")
    out.print(f"sharpness   {mean['sharpness']:.2f} times the source's")
    out.print(f"flicker     {mean['flicker']:.5f}")
    out.print(f"palette     {mean['palette']:.2f} from the source's")
    out.print(f"dots        {mean['dots']:.3f}, the source's {mean['source_dots']:.3f}")


@app.command(rich_help_panel=SEE)
def models(
    name: Annotated[str | None, typer.Argument(help="A network, to list its layers.")] = None,
) -> None:
    """Lists the networks, or the layers of one."""
    from rich.table import Table

    out = results()
    if name is None:
        table = Table("network", "MB", "here?", "first layers", "tends to dream", box=None)
        for info in zd.networks():
            fetched = "yes" if zd.has_weights(info) else "no"
            table.add_row(
                info.name, f"{info.megabytes:g}", fetched, " + ".join(info.layers), info.dreams
            )
        out.print(table)
        out.print(
            "\nWeights that are not here are fetched on first use. "
            "zoomdream models NAME lists a network's layers."
        )
        return
    info = zd.network_info(name)
    table = Table("layer", "channels", "stride", box=None)
    for layer in zd.network_layers(info):
        mark = "  (a first choice)" if layer.name in info.first_layers else ""
        table.add_row(layer.name + mark, str(layer.channels), str(layer.stride))
    out.print(table)


@app.command(rich_help_panel=SEE)
def classes(
    word: Annotated[str, typer.Argument(help="Only those whose name has this word in it.")] = "",
) -> None:
    """Lists ImageNet's classes, which `--layer class:NAME` dreams towards."""
    for number, name in enumerate(zd.class_names()):
        if word.lower() in name.lower():
            print(f"{number:4} {name}")  # noqa: T201
