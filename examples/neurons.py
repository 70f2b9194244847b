"""A page of neurons, from simple to complex: makes the README's `examples/neurons.jpg`.

python examples/neurons.py
"""

from pathlib import Path

import zoomdream as zd
from zoomdream.media.sheet import contact_sheet, write_sheet
from zoomdream.network.network import load_network
from zoomdream.study.neurons import neuron_cells, parse_channels, visualize_neurons

PAGE = {
    "strokes": "2,13,16,20,25,36",
    "patterns": "10,17,22,24,28,31",
    "eyes": "10,12,21,26,32,37",
    "faces": "10,14,19,20,26,33",
    "creatures": "16,18,19,20,31,34",
    "class": "ostrich,peacock,strawberry,goldfish,volcano,jellyfish",
}


SIZE = 128  # px of each picture


cells = []


spec = zd.NeuronSpec(size=SIZE)


for layer, numbers in PAGE.items():
    network = load_network("pocket", [layer])
    _, targets = parse_channels(f"{layer}:{numbers}")
    cells += neuron_cells(network, targets, visualize_neurons(network, targets, spec))


page = contact_sheet(cells, 6, SIZE)


write_sheet(Path(__file__).parent / "neurons.jpg", page, force=True, quality=80)
