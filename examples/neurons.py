"""A page of neurons, from simple to complex: makes the README's `examples/neurons.jpg`.

python examples/neurons.py
"""

from pathlib import Path

import zoomdream as zd
from zoomdream import net, neurons
from zoomdream.sheet import contact_sheet, write_sheet

PAGE = {
    "strokes": "13,16,20,25,29,33,36",
    "patterns": "10,17,22,24,28,31,34",
    "eyes": "10,13,15,19,21,26,32",
    "faces": "10,14,19,20,22,26,33",
    "creatures": "13,16,18,19,20,31,34",
    "class": "ostrich,peacock,strawberry,goldfish,tabby,volcano,jellyfish",
}
SIZE = 112  # px of each picture

cells = []
for layer, numbers in PAGE.items():
    deep = layer in ("creatures", "class")  # what is rarer takes longer to find
    spec = zd.NeuronSpec(size=SIZE, steps=96 if deep else 56)
    network = net.load("pocket", [layer])
    _, targets = neurons.wanted(f"{layer}:{numbers}")
    cells += neurons.cells(network, targets, neurons.study(network, targets, spec))
page = contact_sheet(cells, 7, SIZE)
write_sheet(Path(__file__).parent / "neurons.jpg", page, force=True, quality=80)
