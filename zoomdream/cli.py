"""The reception: flags -> RenderJob, a progress bar, exit codes.

Options are made from the settings in `spec`, which hold their help and defaults. Nothing here imports
torch before a command needs it.
"""

import json
import os
import platform
import shutil
import signal
import sys
import tomllib
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from zoomdream import __version__, presets
from zoomdream.errors import Interrupted, OutputError, UsageError, ZoomdreamError
from zoomdream.options import (
    ANCHOR,
    BENCH,
    CAMERA,
    CLIP,
    DREAM,
    FILM,
    LOOK,
    MACHINE,
    NEURONS,
    PICTURE,
    make_job,
    make_section,
    settings_options,
)
from zoomdream.report import Event, Film, Start
from zoomdream.spec import LOOKING, STILL, NeuronSpec, RenderJob
from zoomdream.telling import Teller, events, put, told

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="rich",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# --- Commands ------------------------------------------------------------------------------------------


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


FilmOut = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="OUT", help=".mp4, .webm, .gif, or a folder of PNG."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON object per event on stdout, nothing else there.")
]
GoOn = Annotated[
    bool,
    typer.Option("--resume", help="Go on with this render, if it was interrupted once."),
]


@app.command()
@settings_options(presets.shipped_job("zoom"), FILM, CAMERA, DREAM, ANCHOR, MACHINE)
def zoom(
    image: Annotated[
        Path | None,
        typer.Argument(
            help="A picture, or the word sample for ours; without one, the zoom begins from noise."
        ),
    ] = None,
    output: FilmOut = None,
    draft: Annotated[
        bool,
        typer.Option(
            "--draft", help="Same motion, a quarter of the pixels and steps: quick to judge."
        ),
    ] = False,
    go_on: GoOn = False,
    as_json: AsJson = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Dreams its way into a photograph, frame by frame.

    [bold]zoomdream zoom photo.jpg -o dream.mp4[/bold]
    """
    if output is None:
        raise UsageError("where to? add -o dream.mp4 (or .webm, .gif, or a folder)")
    with events(as_json) as event:
        job = make_job(settings, presets.load_preset("zoom"), source=image, target=output)
        run(job.draft() if draft else job, event, go_on)


@app.command()
@settings_options(RenderJob(dream=STILL), PICTURE, DREAM, MACHINE)
def image(
    image: Annotated[
        Path | None,
        typer.Argument(
            help="A picture, drawing or PDF, or the word sample for ours; without one, noise of --size."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT", help=".png, .jpg, .webp or .tiff."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", metavar="NAME", help="A mood to dream in; or a .toml file."),
    ] = None,
    strip: Annotated[
        int,
        typer.Option(
            "--strip", min=0, metavar="N",
            help="Also keep the picture after every N steps, as OUT-step-0010 and so on.",
        ),
    ] = 0,
    film: Annotated[
        Path | None,
        typer.Option(
            "--film", metavar="FILE",
            help="A short film of the dream growing, .mp4, .webm or .gif; a frame for each (or N) steps.",
        ),
    ] = None,
    as_json: AsJson = False,
    *,
    settings: dict[str, Any],
) -> None:  # fmt: skip
    """Dreams on one picture, at its full size.

    [bold]zoomdream image photo.jpg -o dream.png[/bold]

    A picture's own NAME.png.toml is a preset, too: the same picture again.
    """
    if output is None:
        raise UsageError("where to? add -o dream.png (or .jpg, .webp, .tiff)")
    with events(as_json) as event:
        base = RenderJob(dream=STILL)
        base = presets.over(base, preset) if preset else base
        given = {"source": image} if image else {}
        job = make_job(settings, base, target=output, **given)
        job = job.change(force=True) if _ask_to_replace(job) else job
        with told.status("Waking up ...") if told.is_terminal else _nothing():
            from zoomdream.image import dream_image
        event(dream_image(job, event, strip=strip, film=film))


@app.command()
@settings_options(presets.shipped_job("clip"), CLIP, DREAM, MACHINE)
def clip(
    video: Annotated[
        Path,
        typer.Argument(
            help="A video file, an animated GIF, WebP or APNG, or the word sample for ours."
        ),
    ],
    output: FilmOut = None,
    draft: Annotated[
        bool,
        typer.Option("--draft", help="A quarter of the pixels and steps: quick to judge."),
    ] = False,
    go_on: GoOn = False,
    as_json: AsJson = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Dreams a video, riding on what moves in it; keeps its timing and its sound.

    [bold]zoomdream clip video.mp4 -o dream.mp4[/bold]
    """
    if output is None:
        raise UsageError("where to? add -o dream.mp4 (or .webm, .gif, or a folder)")
    with events(as_json) as event:
        job = make_job(settings, presets.load_preset("clip"), source=video, target=output)
        run(job.draft() if draft else job, event, go_on)


@app.command()
@settings_options(None, FILM, CLIP, CAMERA, DREAM, ANCHOR, MACHINE)
def render(
    preset: Annotated[str, typer.Argument(help="A preset's name, or a .toml file.")],
    source: Annotated[
        Path | None,
        typer.Argument(metavar="INPUT", help="A picture or clip; the word sample means ours."),
    ] = None,
    output: FilmOut = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting, such as dream.octaves=5."),
    ] = None,
    draft: Annotated[
        bool, typer.Option("--draft", help="A quarter of the pixels and steps: quick to judge.")
    ] = False,
    go_on: GoOn = False,
    as_json: AsJson = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Renders a preset: a mood with a camera or a ride, and values that change over time.

    [bold]zoomdream render cathedral photo.jpg -o dream.mp4[/bold]

    Options win over the preset. A film's own NAME.mp4.toml is a preset, too: the same frames again.
    """
    if output is None:
        raise UsageError("where to? add -o dream.mp4 (or .webm, .gif, or a folder)")
    with events(as_json) as event:
        base = presets.change(presets.load_preset(preset), dict(map(_assigned, changes or [])))
        given = {"source": source} if source else {}
        job = make_job(settings, base, target=output, **given)
        if job.flow and job.source is None:
            raise UsageError(f"{preset} is for clips: name one after it")
        run(job.draft() if draft else job, event, go_on)


def _assigned(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value as TOML would have it, or else a word."""
    name, mark, value = text.partition("=")
    if not mark:
        raise UsageError(f'--set "{text}" is not NAME=VALUE, such as dream.octaves=5')
    try:
        return name.strip(), tomllib.loads(f"x = {value}")["x"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return name.strip(), value


presets_app = typer.Typer(help="Lists, shows, makes and checks presets.")
app.add_typer(presets_app, name="presets")


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
            table.add_row(name, "", "", f"[red]{escape(str(error))}[/red]")
            continue
        network = job.model + ("" if job.model == "pocket" or job.weights else " (a download)")
        kind = "a clip" if job.flow else "a still"
        table.add_row(name, kind, network, escape(presets.about(path)))
    Console().print(table)


@presets_app.command("show")
def show_preset(
    name: Annotated[str, typer.Argument(help="A preset's name, or a .toml file.")],
) -> None:
    """Tells every setting that a preset comes to, and where each is from."""
    from rich.table import Table

    found = presets.resolve(name)
    table = Table("setting", "value", "from", box=None)
    for path, value in presets.flat(found.job):
        shown = presets.plain(value)
        dim = "[dim]" if found.origins[path] == "default" else ""
        text = "-" if shown is None else json.dumps(shown)
        table.add_row(*(dim + escape(cell) for cell in (path, text, found.origins[path])))
    Console(highlight=False).print(table)


@presets_app.command("new")
def new_preset(
    file: Annotated[Path, typer.Argument(help="The .toml file to write.")],
    origin: Annotated[
        str, typer.Option("--from", metavar="NAME", help="Which one to begin with.")
    ] = "zoom",
) -> None:
    """Writes a preset of your own."""
    if file.suffix != ".toml":
        raise UsageError(f"{file} is no preset: name it {file.with_suffix('.toml').name}")
    presets.new(file, origin)
    told.print(f"Written: {file}. Try it: zoomdream render {file} sample -o dream.mp4 --draft")


@presets_app.command("check")
def check_presets(files: Annotated[list[Path], typer.Argument(help=".toml files.")]) -> None:
    """Exit code 0, or every mistake with file, line, field and what would be right."""
    bad = 0
    for file in files:
        for mistake in presets.mistakes(file):
            bad += 1
            place = f"{file}:{mistake.line}" if mistake.line else f"{file}"
            print(f"{place}: {mistake.message}")  # noqa: T201
    if bad:
        raise typer.Exit(2)


@presets_app.command("schema")
def preset_schema() -> None:
    """Prints the JSON Schema of preset files, for editors."""
    print(presets.schema())  # noqa: T201


@presets_app.command("import")
def import_preset(
    file: Annotated[Path, typer.Argument(help="A Deforum settings file (.txt or .json).")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="The .toml to write.")
    ] = None,
) -> None:
    """Makes a preset of a Deforum settings file."""
    from zoomdream.deforum import import_settings

    target = output or file.with_suffix(".toml")
    text, left = import_settings(file)
    presets.put(target, text)
    told.print(f"Written: {target}")
    for line in left:
        told.print(f"Note: {escape(line)}")


@app.command()
def resume(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The film that was interrupted.")],
    join: Annotated[
        bool,
        typer.Option(
            "--join-now", help="Only join what there is, for a look, as NAME.so-far.EXT beside it."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file of that name.")] = False,
    as_json: AsJson = False,
) -> None:
    """Goes on with an interrupted render: the film will be as if nothing had happened.

    [bold]zoomdream resume dream.mp4[/bold]

    With --join-now the render may even be running still.
    """
    from zoomdream.write import interrupted, join_now

    if join:
        shown, frames = join_now(output)
        if as_json:
            put({"event": "joined", "path": shown, "frames": frames})
        told.print(f"{escape(str(shown))}: the first {frames} frames")
        return
    with events(as_json) as event:
        job = presets.job_of(interrupted(output), str(output))
        run(job.change(target=output, force=force), event, True)


def _ask_to_replace(job: RenderJob) -> bool:
    target = job.target
    if job.force or target is None or not target.exists() or not sys.stdin.isatty():
        return False
    return typer.confirm(f"{target} is there already. Replace it?", err=True)


def run(job: RenderJob, event: Teller, go_on: bool = False) -> None:
    """Renders, and tells `event` all about it. go_on: with what was interrupted, if something was."""
    if _ask_to_replace(job):
        job = job.change(force=True)
    with told.status("Waking up ...") if told.is_terminal else _nothing():
        from zoomdream.render import render_film

    def tell(what: Event | Film) -> None:
        _brakes.gentle = _brakes.gentle or isinstance(what, Start)
        event(what)

    try:
        tell(render_film(job, tell, resume=go_on, stopping=lambda: _brakes.pulled is not None))
    finally:
        _brakes.gentle = False


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@app.command()
@settings_options(LOOKING, LOOK)
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
    if output is None:
        raise UsageError("where to? add -o layers.png (or .jpg, .webp)")
    job = make_job(settings, LOOKING, source=image)
    with told.status("Waking up ...") if told.is_terminal else _nothing():
        from zoomdream.layers import Seen, layer_sheet
        from zoomdream.prepare import ours
        from zoomdream.read import read_still
        from zoomdream.sheet import check_sheet, write_sheet
    check_sheet(output, job.force)
    names = None if picked is None else [name.strip() for name in picked.split(",")]
    done = 0

    def tell(seen: Seen, total: int) -> None:
        nonlocal done
        done += 1
        name, about = seen.caption
        if as_json:
            put(
                {
                    "event": "layer",
                    "name": name,
                    "change": seen.change,
                    "done": done,
                    "total": total,
                }
            )
        told.print(f"{done} of {total}: {escape(name)} ({about})")

    canvas = layer_sheet(
        presets.at_start(job),
        read_still(ours(image, job), job.max_pixels, (size, size)),
        names,
        size=size,
        columns=columns,
        strength=strength,
        zoom_in=_place(zoom_in) if zoom_in else (),
        progress=tell,
    )
    write_sheet(output, canvas, job.force)
    if as_json:
        put({"event": "done", "path": output, "size": [canvas.shape[1], canvas.shape[0]]})
    told.print(f"{escape(str(output))}: {canvas.shape[1]}x{canvas.shape[0]}")


def _place(text: str) -> list[float]:
    """X,Y,R as numbers; raises UsageError."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f'--zoom-in "{text}" is not X,Y,R such as 0.5,0.4,0.15') from None


@app.command()
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
    """Tells how steady, strong and sharp a dreamt clip is, beside its source.

    warp error: how much the dream boils over what moves (Lai et al. 2018); 0 is steady. A blurred or
    frozen clip is steady too, so look at strength and sharpness as well.
    """
    if flow not in ("dis", "raft"):
        raise UsageError(f'--flow "{flow}" is no flow to measure by: dis or raft would do')
    from zoomdream import metrics as gauge

    found = gauge.compare(
        source, dreamed, start=start, model=model, layers=layer or (), weights=weights, flow=flow
    )
    if plot:
        gauge.plot(found, plot)
    mean = asdict(found.mean)
    strengths = dict(zip(found.layers, mean.pop("strengths"), strict=True))
    if as_json:
        put({"frames": len(found.frames) + 1, **mean, "strength": strengths})
        return
    out = Console(highlight=False)
    out.print(f"warp error  {mean['warp_error']:.6f}")
    for name, value in strengths.items():
        out.print(f"strength    {value:.2f} times the source's, {escape(name)}")
    out.print(f"sharpness   {mean['sharpness']:.2f} times the source's")
    out.print(f"flicker     {mean['flicker']:.5f}")


@app.command()
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
    if output is None:
        raise UsageError("where to? add -o sheet.png (or .jpg, .webp)")
    spec = make_section(NeuronSpec, "neurons", settings)
    job = make_job(settings, source=None if begin == "noise" else begin, target=output)
    with told.status("Waking up ...") if told.is_terminal else _nothing():
        from zoomdream import neurons
    with told.status("Looking ...") if told.is_terminal else _nothing() as status:

        def tell(step: int, steps: int) -> None:
            if status:
                status.update(f"step {step} of {steps}")

        made = neurons.make_sheet(
            job, spec, layer, within=within, top=top, on=on, columns=columns, progress=tell
        )
    told.print(f"{escape(str(output))}: {made}")


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

    from zoomdream import bench as measuring

    def tell(what: str) -> None:
        told.print(f"Measuring {what} ...")

    found = measuring.bench(presets.at_start(job), rounds, frames, tell)
    if as_json:
        rates = {"fps": found.fps, "gflops": found.gflops, "limit_gflops": found.limit_gflops}
        put({**asdict(found), **rates})
        return
    random = ", with random weights" if found.random else ""
    layers = " + ".join(found.layers)
    out = Console(highlight=False)
    out.print(
        f"{found.network}, {escape(layers)}{random}, in {found.precision}, on {found.machine}"
    )
    shown = Table(box=None, show_header=False)
    for row in measuring.table(found):
        shown.add_row(*row)
    out.print(shown)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="A network, to list its layers.")] = None,
) -> None:
    """Lists the networks, or the layers of one."""
    from rich.table import Table

    from zoomdream import net, objective

    out = Console()
    if name is None:
        table = Table("network", "MB", "here?", "first layers", "tends to dream", box=None)
        for kind in net.KINDS.values():
            here = "yes" if net.weights_path(kind.name).exists() else "no"
            table.add_row(
                kind.name, f"{kind.megabytes:g}", here, " + ".join(kind.layers), kind.dreams
            )
        out.print(table)
        out.print(
            "\nWeights that are not here are fetched on first use. "
            "zoomdream models NAME lists a network's layers."
        )
        return
    kind = net.kind_of(name)
    firsts = [objective.Target.parse(text).layer for text in kind.layers]
    table = Table("layer", "channels", "stride", box=None)
    for layer in net.layers(name):
        mark = "  (a first choice)" if layer.name in firsts else ""
        table.add_row(layer.name + mark, str(layer.channels), str(layer.stride))
    out.print(table)


@app.command()
def classes(
    word: Annotated[str, typer.Argument(help="Only those whose name has this word in it.")] = "",
) -> None:
    """Lists ImageNet's classes, which `--layer class:NAME` dreams towards."""
    from zoomdream import objective

    for number, name in enumerate(objective.class_names()):
        if word.lower() in name.lower():
            print(f"{number:4} {name}")  # noqa: T201


@app.command()
def doctor() -> None:
    """Tells what this machine has, and what to do about what is missing."""
    out = Console(highlight=False, soft_wrap=True)
    bad = 0
    for what, good, found, cure in _checks():
        mark = "[green]ok[/green]  " if good else "[red]FIX[/red] "
        out.print(f"{mark} {what}: {escape(found)}")
        if not good:
            bad += 1
            out.print(f"      {escape(cure)}")
    if bad:
        raise typer.Exit(1)


def _checks() -> Iterator[tuple[str, bool, str, str]]:
    """(what, good, what was found, what to do) for each thing a render needs."""
    yield "zoomdream", True, f"{__version__} in {Path(__file__).parent}", ""
    python = platform.python_version()
    yield "Python", sys.version_info >= (3, 11), python, "install Python 3.11 or newer"
    try:
        import torch
        import torchvision
    except Exception as error:
        yield "torch", False, str(error), "pip install --force-reinstall torch torchvision"
        return
    yield "torch", True, f"{torch.__version__}, torchvision {torchvision.__version__}", ""
    from zoomdream import engine, ffmpeg, formats, net
    from zoomdream.weights import cache_folder

    place = engine.place()
    kind = str(place.dtype).removeprefix("torch.")
    name = torch.cuda.get_device_name() if place.device.type == "cuda" else platform.machine()
    threads = f", {torch.get_num_threads()} threads" if place.device.type == "cpu" else ""
    devices = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    found = ", ".join(name for name, there in devices.items() if there)
    yield "GPUs", True, found or "none that torch can use (see pytorch.org for your card)", ""
    yield "device", True, f"{place.device.type} ({name}{threads}), {kind}: {place.why}", ""
    path = net.POCKET_WEIGHTS
    yield "pocket", path.exists(), str(path), "pip install --force-reinstall zoomdream"
    try:
        binary = ffmpeg.ffmpeg()
        works = [encoder for encoder, good in formats.encoders().items() if good]
        needed = {"libx264", "libvpx-vp9", "gif"} - set(works)
        cure = "unset IMAGEIO_FFMPEG_EXE, or point it at an ffmpeg with these encoders"
        yield "ffmpeg", True, binary, ""
        yield "encoders", not needed, ", ".join(works) or "none", f"{cure}: {', '.join(needed)}"
    except ZoomdreamError as error:
        yield "ffmpeg", False, "not found", str(error)
    cache = cache_folder()
    yield "weights", True, f"{cache} (TORCH_HOME moves it)", ""
    there = next(p for p in (cache, *cache.parents) if p.exists())
    for what, folder in (("room for weights", there), ("room here", Path.cwd())):
        free = shutil.disk_usage(folder).free / 1e9
        yield what, free > 1, f"{free:.1f} GB free in {folder}", "make room: a GB at least"


# --- The door ----------------------------------------------------------------------------------------------


class Stopped(BaseException):
    """Ctrl-C or SIGTERM: everything is cleaned up on the way out."""


@dataclass
class Brakes:
    """What a signal does. gentle: while frames are dreamt the one at hand is finished first."""

    gentle: bool = False
    pulled: int | None = None  # the signal's number


_brakes = Brakes()
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


def _stop(number: int, _: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)  # a second one ends at once
    if not _brakes.gentle:
        raise Stopped(number)
    _brakes.pulled = number
    told.print("Stopping after this frame; once more ends at once.")


def main() -> None:
    """Runs the command line and exits with its code.

    0 good, 1 internal, 2 usage, 3 input, 4 output, 5 weights, 130 and 143 for signals. An error is one
    sentence; `ZOOMDREAM_DEBUG=1` shows the traceback as well.
    """
    for number in SIGNALS:
        signal.signal(number, _stop)
    sys.exit(_run())


def _run() -> int:
    try:
        code = app(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except Interrupted as error:
        return _say(str(error), 128 + (_brakes.pulled or signal.SIGINT), "Stopped")
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
        told.print(f"Error: {type(error).__name__}: {escape(str(error))}")
        return _say("this is a fault of zoomdream; ZOOMDREAM_DEBUG=1 shows where it happened", 1)


def _say(message: str, code: int, what: str = "Error") -> int:
    if os.environ.get("ZOOMDREAM_DEBUG") == "1":
        traceback.print_exc()
    if "--json" in sys.argv:
        put({"event": what.lower(), "message": message, "exit_code": code})
    told.print(f"[red]{what}:[/red] {escape(message)}")
    return code
