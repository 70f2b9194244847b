"""Renders a small moving picture of every preset: `python examples/gallery.py [NAME ...]`.

They go to examples/gallery/NAME.webp. Presets whose network would have to be fetched are left out,
unless they are named.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import imageio_ffmpeg
from matplotlib.figure import Figure

import zoomdream as zd
from zoomdream.settings import presets

HERE = Path(__file__).parent
SIDE, SHOWN, FPS, SECONDS = 192, 144, 10, 2.4  # px rendered and shown


def main() -> None:
    folder = HERE / "gallery"
    folder.mkdir(exist_ok=True)
    for name in sys.argv[1:] or presets.known():
        job = zd.load_preset(name)
        if zd.network_info(job.model).weights_file or name in sys.argv[1:]:
            sys.stderr.write(f"{name}\n")
            picture(job, name, folder / f"{name}.webp")


def picture(job: zd.RenderJob, name: str, target: Path) -> None:
    """Renders a preset, small and at few frames a second; loops as a whole."""
    with tempfile.TemporaryDirectory() as scratch:
        film = Path(scratch) / "film.mp4"
        size = job.output.size or zd.Size.square(SIDE)
        output = job.output.change(fps=FPS, size=size.scaled(SIDE / size.longer))
        if job.flow:
            flow = job.flow.change(end=SECONDS)
            job = job.change(source="sample", flow=flow, output=output)
        else:
            source = None if name == "nebula" else plot(scratch) if name == "paper" else "sample"
            seconds = job.output.seconds if job.output.loop or name == "metamorphosis" else SECONDS
            job = job.change(source=source, output=output.change(seconds=min(seconds, 6)))
        zd.render_film(job.change(target=film))
        shrink = ["-vf", f"scale={SHOWN}:-1", "-c:v", "libwebp_anim", "-q:v", "45", "-loop", "0"]
        subprocess.run(
            [
                imageio_ffmpeg.get_ffmpeg_exe(),
                "-loglevel",
                "error",
                "-y",
                "-i",
                film,
                *shrink,
                target,
            ],
            check=True,
        )


def plot(folder: str) -> Path:
    """A plot on white paper."""
    figure = Figure(figsize=(4, 4), dpi=128, layout="constrained")
    axes = figure.subplots()
    ticks = [n / 20 for n in range(200)]
    for number in range(1, 4):
        axes.plot(ticks, [(t / 4) ** (number / 2) + number * (t % number) / 4 for t in ticks])
    axes.set_title("Growth, in three ways")
    figure.savefig(Path(folder) / "plot.png")
    return Path(folder) / "plot.png"


if __name__ == "__main__":
    main()
