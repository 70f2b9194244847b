"""Seeing into the network: makes the README's `examples/layers.jpg` and `examples/detail.jpg`.

python examples/seeing.py

The first shows the seed of it all, the sample photograph, beside layers one to three and the deepest
four; the second a deep layer and what is in a corner of it.
"""

from pathlib import Path

from zoomdream.files import shipped
from zoomdream.media.frame import resize
from zoomdream.media.image_reader import read_still
from zoomdream.media.sheet import contact_sheet, write_sheet
from zoomdream.settings.model import STUDY_JOB
from zoomdream.size import Size
from zoomdream.study.layers import detail_box, dream_layers, layer_cells

HERE = Path(__file__).parent


SIDE, COLUMNS = 256, 4  # px of a picture, and how many stand side by side


DEEP, WHERE = ("faces", "creatures"), (0.42, 0.3, 0.2)  # layers, and what is enlarged of them


def main() -> None:
    whole = read_still(shipped("sample.jpg"))
    photo = resize(whole, Size.square(SIDE)).clamp(0, 1)
    first = layer_cells(photo, list(dream_layers(STUDY_JOB, photo, STAGES)))
    write_sheet(HERE / "layers.jpg", contact_sheet(first, COLUMNS, SIDE), force=True, quality=82)
    deep = layer_cells(whole, list(dream_layers(STUDY_JOB, whole, DEEP)), box=detail_box(WHERE))
    write_sheet(HERE / "detail.jpg", contact_sheet(deep, 3, 336), force=True, quality=80)


STAGES = ("edges", "strokes", "patterns", "scales", "eyes", "faces", "creatures")


if __name__ == "__main__":
    main()
