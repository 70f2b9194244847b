"""A picture that Python drew becomes a short film: arrays in, a file out.

python examples/array_to_film.py
"""

from pathlib import Path

import numpy as np

import zoomdream as zd

y, x = np.mgrid[-1:1:256j, -1:1:256j]
rings = np.stack([np.sin(12 * np.hypot(x, y) + phase) for phase in (0, 0.7, 1.4)], -1)
picture = (127 + 90 * rings).astype(np.uint8)  # (256, 256, 3), 0..255
job = zd.RenderJob(
    target=Path("rings.gif"),
    camera=zd.Camera(zoom=1.4, rotate=20),
    output=zd.Output(seconds=2, fps=20),
    force=True,
)
film = zd.render_film(job, picture=picture)
print(f"{film.path}: {film.frames} frames in {film.seconds:.0f} s")  # noqa: T201
