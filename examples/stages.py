"""One photograph, dreamt at pocket's stages: makes the README's `examples/layers.jpg`.

python examples/stages.py
"""

import cv2
import numpy as np

import zoomdream as zd
from zoomdream.spec import shipped

STEPS = {"strokes": 0.003, "patterns": 0.005, "eyes": 0.008, "faces": 0.009, "creatures": 0.01}

read = cv2.imread(str(shipped("sample.jpg")), cv2.IMREAD_COLOR_RGB)
assert read is not None
photo = cv2.resize(read[:384, 64:448], (256, 256), interpolation=cv2.INTER_AREA)
sheet = [photo]
for layer, size in STEPS.items():  # early layers are strong: smaller steps
    spec = zd.STILL.change(layers=(layer,), octaves=4, step_size=size, variety=0)
    sheet.append(zd.dream_picture(photo, dream=spec))
picture = np.concatenate([np.concatenate(sheet[:3], 1), np.concatenate(sheet[3:], 1)])
quality = [cv2.IMWRITE_JPEG_QUALITY, 85]
cv2.imwrite("examples/layers.jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)
