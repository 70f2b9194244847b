"""Commands that make films and pictures: zoom, clip, render, image, resume."""

import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from zoomdream.cli.app import app
from zoomdream.cli.console import (
    AsJson,
    EventPrinter,
    console,
    event_printer,
    no_status,
    print_json,
)
from zoomdream.cli.options import (
    ANCHOR,
    CAMERA,
    CLIP,
    DREAM,
    FILM,
    MACHINE,
    PICTURE,
    make_job,
    settings_options,
)
from zoomdream.cli.signals import stop_request
from zoomdream.errors import UsageError
from zoomdream.events import Event, Film, Start
from zoomdream.settings import presets
from zoomdream.settings.model import STILL_DREAM, RenderJob
from zoomdream.settings.paths import change_job

FilmOut = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="OUT", help=".mp4, .webm, .gif, or a folder of PNG."),
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
    with event_printer(as_json) as event:
        job = make_job(settings, presets.load_preset("zoom"), source=image, target=output)
        render_job(job.draft() if draft else job, event, go_on)


@app.command()
@settings_options(RenderJob(dream=STILL_DREAM), PICTURE, DREAM, MACHINE)
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
    with event_printer(as_json) as event:
        base = RenderJob(dream=STILL_DREAM)
        base = presets.over(base, preset) if preset else base
        given = {"source": image} if image else {}
        job = make_job(settings, base, target=output, **given)
        job = job.change(force=True) if _ask_to_replace(job) else job
        with console.status("Waking up ...") if console.is_terminal else no_status():
            from zoomdream.film.still import dream_image
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
    with event_printer(as_json) as event:
        job = make_job(settings, presets.load_preset("clip"), source=video, target=output)
        render_job(job.draft() if draft else job, event, go_on)


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
    with event_printer(as_json) as event:
        base = change_job(presets.load_preset(preset), dict(map(_assigned, changes or [])))
        given = {"source": source} if source else {}
        job = make_job(settings, base, target=output, **given)
        if job.flow and job.source is None:
            raise UsageError(f"{preset} is for clips: name one after it")
        render_job(job.draft() if draft else job, event, go_on)


def _assigned(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value as TOML would have it, or else a word."""
    name, mark, value = text.partition("=")
    if not mark:
        raise UsageError(f'--set "{text}" is not NAME=VALUE, such as dream.octaves=5')
    try:
        return name.strip(), tomllib.loads(f"x = {value}")["x"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return name.strip(), value


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
    from zoomdream.film.resume import interrupted_job, join_so_far

    if join:
        shown, frames = join_so_far(output)
        if as_json:
            print_json({"event": "joined", "path": shown, "frames": frames})
        console.print(f"{escape(str(shown))}: the first {frames} frames")
        return
    with event_printer(as_json) as event:
        job = presets.job_of(interrupted_job(output), str(output))
        render_job(job.change(target=output, force=force), event, True)


def _ask_to_replace(job: RenderJob) -> bool:
    target = job.target
    if job.force or target is None or not target.exists() or not sys.stdin.isatty():
        return False
    return typer.confirm(f"{target} is there already. Replace it?", err=True)


def render_job(job: RenderJob, event: EventPrinter, go_on: bool = False) -> None:
    """Renders, and tells `event` all about it. go_on: with what was interrupted, if something was."""
    if _ask_to_replace(job):
        job = job.change(force=True)
    with console.status("Waking up ...") if console.is_terminal else no_status():
        from zoomdream.film.render import render_film

    def tell(what: Event | Film) -> None:
        stop_request.gentle = stop_request.gentle or isinstance(what, Start)
        event(what)

    try:
        tell(render_film(job, tell, resume=go_on, stopping=lambda: stop_request.pulled is not None))
    finally:
        stop_request.gentle = False
