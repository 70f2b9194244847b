"""A page of neurons, from simple to complex: makes the README's `examples/neurons.jpg`.

python examples/neurons.py
"""

from pathlib import Path

import zoomdream as zd

PAGE = [
    "strokes:2,13,16,20,25,36",
    "patterns:10,17,22,24,28,31",
    "eyes:10,12,21,26,32,37",
    "faces:10,14,19,20,26,33",
    "creatures:16,18,19,20,31,34",
    "class:ostrich,peacock,strawberry,goldfish,volcano,jellyfish",
]


def main() -> None:
    job = zd.RenderJob(target=Path(__file__).parent / "neurons.jpg", force=True)
    zd.neuron_sheet(job, zd.NeuronSpec(size=128), PAGE, columns=6, quality=80)


if __name__ == "__main__":
    main()
