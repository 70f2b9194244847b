"""Commands that make films and pictures: zoom, clip, render, image, resume."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import zoomdream as zd
from zoomdream.cli.app import MAKE, app
from zoomdream.cli.console import (
    AsJson,
    EventPrinter,
    console,
    event_printer,
    print_event,
    shell_word,
    shown,
    waking_up,
)
from zoomdream.cli.options import (
    ANCHOR,
    CAMERA,
    CLIP,
    DREAM,
    FILM,
    MACHINE,
    PICTURE,
    assignment,
    make_job,
    required,
    settings_options,
)
from zoomdream.cli.presets import complete_preset
from zoomdream.cli.signals import StopSignals, stop_signals
from zoomdream.errors import UsageError, ZoomdreamError
from zoomdream.events import Event, Film, Start
from zoomdream.settings import presets
from zoomdream.settings.definitions import STILL_DREAM, RenderJob
from zoomdream.settings.setting_paths import change_job
from zoomdream.text import path_text, printable

FilmOut = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="OUT", help=".mp4, .webm, .gif, or a folder of PNG."),
]
FILM_EXAMPLES = ("dream.mp4", ".webm", ".gif", "or a folder")
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with this render, if it was interrupted once."),
]


@app.command(rich_help_panel=MAKE)
@settings_options(presets.shipped_job("zoom"), FILM, CAMERA, DREAM, ANCHOR, MACHINE)
def zoom(
    context: typer.Context,
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
    go_on: Resume = False,
    as_json: AsJson = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Dreams its way into a photograph, frame by frame.

    [bold]zoomdream zoom photo.jpg -o dream.mp4[/bold]
    """
    target = required(output, *FILM_EXAMPLES)
    with event_printer(as_json) as show:
        job = make_job(settings, presets.load_preset("zoom"), source=image, target=target)
        render_job(job.draft() if draft else job, show, stop_signals(context), go_on)


@app.command(rich_help_panel=MAKE)
@settings_options(presets.shipped_job("clip"), CLIP, DREAM, MACHINE)
def clip(
    context: typer.Context,
    video: Annotated[
        Path,
        typer.Argument(
            help="A video, an animated GIF, WebP, APNG or AVIF, or the word sample for ours; or a folder "
            "of numbered pictures, or a pattern such as in/%05d.png."
        ),
    ],
    output: FilmOut = None,
    draft: Annotated[
        bool,
        typer.Option("--draft", help="A quarter of the pixels and steps: quick to judge."),
    ] = False,
    go_on: Resume = False,
    as_json: AsJson = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Dreams a video, riding on what moves in it; keeps its timing and its sound.

    [bold]zoomdream clip video.mp4 -o dream.mp4[/bold]
    """
    target = required(output, *FILM_EXAMPLES)
    with event_printer(as_json) as show:
        job = make_job(settings, presets.load_preset("clip"), source=video, target=target)
        render_job(job.draft() if draft else job, show, stop_signals(context), go_on)


@app.command(rich_help_panel=MAKE)
@settings_options(None, FILM, CLIP, CAMERA, DREAM, ANCHOR, MACHINE)
def render(
    context: typer.Context,
    preset: Annotated[
        str,
        typer.Argument(autocompletion=complete_preset, help="A preset's name, or a .toml file."),
    ],
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
    go_on: Resume = False,
    as_json: AsJson = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Renders a preset: a mood with a camera or a ride, and values that change over time.

    [bold]zoomdream render cathedral photo.jpg -o dream.mp4[/bold]

    Options win over the preset. A film's own NAME.mp4.toml is a preset, too: the same frames again.
    """
    target = required(output, *FILM_EXAMPLES)
    with event_printer(as_json) as show:
        base = change_job(presets.load_preset(preset), dict(map(assignment, changes or [])))
        job = make_job(settings, base, source=source, target=target)
        if job.flow and job.source is None:
            raise UsageError(f"{preset} is for clips: name one after it")
        render_job(job.draft() if draft else job, show, stop_signals(context), go_on)


@app.command(rich_help_panel=MAKE)
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
        typer.Option(
            "--preset",
            metavar="NAME",
            autocompletion=complete_preset,
            help="A mood to dream in; or a .toml file.",
        ),
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
    target = required(output, "dream.png", ".jpg", ".webp", ".tiff")
    with event_printer(as_json) as show:
        base = RenderJob(dream=STILL_DREAM)
        base = presets.overlay(base, preset) if preset else base
        job = _ask_to_replace(make_job(settings, base, source=image, target=target))
        with waking_up():
            dream_image = zd.dream_image
        show(dream_image(job, show, strip=strip, film=film))


@app.command(rich_help_panel=MAKE)
def resume(
    context: typer.Context,
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
    if join:
        joined, frames = zd.join_so_far(output)
        if as_json:
            print_event("joined", {"path": joined, "frames": frames})
        console.print(f"{shown(joined)}: the first {frames} frames")
        return
    with event_printer(as_json) as show:
        job = zd.interrupted_job(output)
        job = job.change(target=output, force=force)
        render_job(job, show, stop_signals(context), resume=True)


def _ask_to_replace(job: RenderJob) -> RenderJob:
    """Asks at a terminal whether a file that is there may be replaced; the job then says so."""
    target = job.target
    if job.force or target is None or not target.exists():
        return job
    if not (sys.stdin and sys.stdin.isatty() and console.is_terminal):  # nobody would see it
        return job
    if typer.confirm(f"{printable(path_text(target))} is there already. Replace it?", err=True):
        return job.change(force=True)
    return job


def render_job(
    job: RenderJob, show: EventPrinter, signals: StopSignals, resume: bool = False
) -> None:
    """Renders a job and shows its events; a signal stops it after the frame at hand.

    resume: goes on with what was interrupted, if something was.
    """
    job = _ask_to_replace(job)
    with waking_up():
        render_film = zd.render_film

    def report(event: Event | Film) -> None:
        signals.finish_frame = signals.finish_frame or isinstance(event, Start)
        show(event)

    def stopping() -> bool:
        return signals.received is not None

    try:
        report(render_film(job, report, resume=resume, stopping=stopping))
    except ZoomdreamError as error:
        raise type(error)(_with_resume_command(str(error), job)) from error
    finally:
        signals.finish_frame = False


def _with_resume_command(message: str, job: RenderJob) -> str:
    """Puts the command that goes on with a render in place of the arguments that do so in Python."""
    if job.target is None:
        return message
    command = f"zoomdream resume {shell_word(job.target)}"
    again = f"{command} --force" if job.force else command
    return message.replace(
        "`resume=True` and `force=True` replace it", f"{command} --force replaces it"
    ).replace("to go on: `resume=True`", f"to go on: {again}")
