"""A film's frames as they come, here as a strip of pictures; nothing else is written.

python examples/frames.py
"""

import numpy as np
from PIL import Image

import zoomdream as zd

job = zd.RenderJob(
    source="sample",
    camera=zd.Camera(zoom=1.6),
    output=zd.Output(size=(160, 160), seconds=4, fps=12),
)
with zd.render(job) as film:
    strip = [frame.image for frame in film if frame.number % 8 == 0]
Image.fromarray(np.hstack(strip)).save("frames.png")  # (160, 960, 3), 0..255
