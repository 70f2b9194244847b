"""Seeing into the network: makes the README's `examples/layers.jpg` and `examples/detail.jpg`.

python examples/seeing.py

The first shows the sample photograph dreamt at each of pocket's layers; the second at two deep ones, and
what is in a corner of them.
"""

from pathlib import Path

import zoomdream as zd

HERE = Path(__file__).parent
STAGES = ("edges", "strokes", "patterns", "scales", "eyes", "faces", "creatures")
DEEP, WHERE = ("faces", "creatures"), (0.42, 0.3, 0.2)  # layers, and what is enlarged of them
DREAM = {"calm": 0.0, "octaves": 5, "steps": 20, "colors": "natural"}  # everywhere, in many colours


def main() -> None:
    dream = zd.STUDY_JOB.dream.change(**DREAM)
    job = zd.STUDY_JOB.change(source="sample", dream=dream, force=True)
    zd.layer_sheet(
        job.change(target=HERE / "layers.jpg"), STAGES, size=256, columns=4, strength=16, quality=82
    )
    zd.layer_sheet(
        job.change(target=HERE / "detail.jpg"),
        DEEP,
        size=336,
        columns=3,
        zoom_in=WHERE,
        strength=15,
        quality=80,
    )


if __name__ == "__main__":
    main()
