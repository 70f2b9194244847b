"""Renders a small moving picture of every preset: `python examples/gallery.py [NAME ...]`.

They go to examples/gallery/NAME.webp. Presets whose network would have to be fetched are left out,
unless they are named. Needs scikit-image, for photographs beside the sample: `pip install ".[test]"`.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import skimage
from matplotlib.figure import Figure
from PIL import Image

import zoomdream as zd
from zoomdream.settings import presets

HERE = Path(__file__).parent
SIDE = 256  # px of a picture's longer side, rendered and shown
DREAMT, SHOWN = 20, 10  # frames per second
SECONDS, LONGEST = 2.4, 6.0  # of a film, and of one that has a length of its own
QUALITY, LARGEST = 55, 350_000  # WebP's quality, lowered until a file has no more bytes than that
SOURCES = {  # the sample where nothing else is said
    "chelsea": ("beasts", "eyes", "ink", "insects", "knitwear", "metamorphosis", "reef"),
    "coffee": ("citadel", "droste", "embers", "mandala", "underwater", "whirlpool"),
    "rocket": ("candles", "highlands", "pulse"),
    "plot": ("paper",),
    "": ("nebula",),  # from noise
}


def main() -> None:
    folder = HERE / "gallery"
    folder.mkdir(exist_ok=True)
    for name in sys.argv[1:] or presets.known():
        job = zd.load_preset(name)
        if zd.network_info(job.model).weights_file or name in sys.argv[1:]:
            sys.stderr.write(f"{name}\n")
            write(frames_of(job, name), folder / f"{name}.webp")


def frames_of(job: zd.RenderJob, name: str) -> list[Image.Image]:
    """Renders a preset, small and short, but a loop whole; returns the frames to show."""
    with tempfile.TemporaryDirectory() as scratch:
        size = job.output.size or zd.Size.square(SIDE)
        output = job.output.change(fps=DREAMT, size=size.scaled(SIDE / size.longer))
        job = job.change(target=Path(scratch) / "film.mp4")
        if job.flow:
            flow = job.flow.change(end=SECONDS)
            job = job.change(source="sample", flow=flow, output=output)
        else:
            whole = output.loop or name == "metamorphosis"
            output = output.change(seconds=min(output.seconds, LONGEST) if whole else SECONDS)
            job = job.change(source=source_of(name, Path(scratch)), output=output)
        with zd.render(job) as film:
            return [
                Image.fromarray(np.asarray(frame.image))
                for number, frame in enumerate(film)
                if number % (DREAMT // SHOWN) == 0
            ]


def write(frames: list[Image.Image], target: Path) -> None:
    """Writes an endless WebP of at most LARGEST bytes, where a quality of 10 or more allows it."""
    for quality in range(QUALITY, 9, -5):
        frames[0].save(
            target,
            save_all=True,
            append_images=frames[1:],
            duration=1000 // SHOWN,
            loop=0,
            quality=quality,
            method=4,
        )
        if target.stat().st_size <= LARGEST:
            return


def source_of(name: str, folder: Path) -> Path | str | None:
    """Finds a preset's picture, and writes it into the folder where it is not the sample."""
    source = next((source for source, names in SOURCES.items() if name in names), "sample")
    if source in ("", "sample"):
        return source or None
    target = folder / f"{source}.png"
    if source == "plot":
        plot(target)
    else:
        Image.fromarray(getattr(skimage.data, source)()).save(target)
    return target


def plot(target: Path) -> None:
    """Draws a plot on white paper."""
    figure = Figure(figsize=(4, 4), dpi=128, layout="constrained")
    axes = figure.subplots()
    ticks = [n / 20 for n in range(200)]
    for number in range(1, 4):
        axes.plot(ticks, [(t / 4) ** (number / 2) + number * (t % number) / 4 for t in ticks])
    axes.set_title("Growth, in three ways")
    figure.savefig(target)


if __name__ == "__main__":
    main()
