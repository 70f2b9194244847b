"""A drawing and a plot, before and after: makes the README's `examples/drawing.jpg`.

python examples/drawing.py

The sketch is SVG that is written here, the plot is matplotlib's; both are drawn at the size that is wanted.
"""

import math
import random
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import zoomdream as zd
from zoomdream.settings import presets

SIDE = 400  # px of each of the four pictures
TARGET = Path(__file__).parent / "drawing.jpg"


def main() -> None:
    mood = presets.overlay(zd.RenderJob(dream=zd.STILL_DREAM, seed=7), "paper")
    mood = mood.change(dream=mood.dream.change(steps=16), output=zd.Output(size=(SIDE, SIDE)))
    whole = Image.new("RGB", (2 * SIDE, 2 * SIDE))
    with tempfile.TemporaryDirectory() as folder:
        drawing, plot = Path(folder) / "drawing.svg", Path(folder) / "plot.svg"
        drawing.write_text(sketch())
        figure().savefig(plot)
        for row, source in enumerate((drawing, plot)):
            before = mood.change(dream=mood.dream.change(steps=0), paper=0)
            for column, job in enumerate((before, mood)):
                made = Path(folder) / f"{row}{column}.png"
                zd.dream_image(job.change(source=source, target=made))
                whole.paste(Image.open(made), (column * SIDE, row * SIDE))
    whole.save(TARGET, quality=85)


def branch(x: float, y: float, angle: float, length: float, width: float) -> list[str]:
    """A branch that bends, forks and ends in a curl."""
    if length < 8:
        turn = random.choice((-1, 1))
        points = [
            (x + r * math.cos(angle + turn * r / 2), y - r * math.sin(angle + turn * r / 2))
            for r in (0.8 * n for n in range(9))
        ]
        return [stroke(points, 0.8)]
    bent = angle + random.uniform(-0.35, 0.35)
    points = [(x, y)]
    for n in range(8):
        here = angle + (bent - angle) * n / 7 + random.uniform(-0.05, 0.05)
        x, y = x + length / 8 * math.cos(here), y - length / 8 * math.sin(here)
        points.append((x, y))
    made = [stroke(points, width)]
    for spread in (-1, 1):
        fork = bent + spread * random.uniform(0.25, 0.6)
        made += branch(x, y, fork, length * random.uniform(0.68, 0.84), max(0.8, width * 0.66))
    return made


def stroke(points: list[tuple[float, float]], width: float) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" stroke-width="{width:.1f}"/>'


def sketch() -> str:
    """A tree on a hill in the wind, in ink, as SVG."""
    random.seed(11)
    strokes = branch(200, 330, math.pi / 2, 66, 7)
    for n in range(26):  # the hill, hatched
        x = random.uniform(20, 370)
        y = 332 + 26 * ((x - 200) / 200) ** 2 + 1.6 * n
        points = [(x + 3 * k, y + random.uniform(-0.7, 0.7) + 0.02 * k * k) for k in range(14)]
        strokes.append(stroke(points, 1.0))
    sun = [(318 + 24 * math.cos(a / 6), 74 + 24 * math.sin(a / 6)) for a in range(40)]
    strokes.append(stroke(sun, 1.4))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 400">'
        '<g fill="none" stroke="#1c2233" stroke-linecap="round" stroke-linejoin="round">'
        f"{''.join(strokes)}</g></svg>"
    )


def figure() -> Figure:
    """Three curves and a legend."""
    made = Figure(figsize=(SIDE / 112, SIDE / 112), dpi=112, layout="constrained")
    axes = made.subplots()
    t = np.linspace(0, 10, 300)
    for name, colour, rate in (
        ("slow", "#b03a2e", 0.25),
        ("steady", "#1f618d", 0.5),
        ("quick", "#1e8449", 1.0),
    ):
        axes.plot(
            t, 1 - np.exp(-rate * t) * np.cos(2.4 * t * rate), color=colour, label=name, linewidth=2
        )
    axes.set(title="Three ways to settle", xlabel="time (s)", ylabel="response")
    axes.legend()
    return made


if __name__ == "__main__":
    main()
