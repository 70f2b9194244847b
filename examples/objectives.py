"""Dreams of sums, and of a wish of one's own; a network is loaded once for all of them.

python examples/objectives.py
"""

from pathlib import Path

from PIL import Image
from torch import Tensor

import zoomdream as zd

photo = Image.open(Path(__file__).parent / "sample.jpg").resize((256, 256))


def contrast(activations: dict[str, Tensor]) -> Tensor:
    """Neurons of a layer, each as unlike its mean as can be."""
    return activations["scales"].float().var((2, 3)).mean()


wishes = {
    "creatures": zd.layer("creatures"),
    "eyes-in-fur": zd.layer("strokes") + 0.3 * zd.channel("eyes", 12),
    "contrast": zd.objective(contrast, "scales"),
}
network = zd.load("pocket", list(wishes.values()))
for name, wish in wishes.items():
    zd.dream(photo, network, wish, steps=8).save(f"{name}.png")
    print(f"{name}.png")  # noqa: T201
