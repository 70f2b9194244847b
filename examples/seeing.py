"""Seeing into the network: makes the README's `examples/layers.jpg` and `examples/detail.jpg`.

python examples/seeing.py

The first shows the seed of it all, the sample photograph, beside layers one to three and the deepest
four; the second a deep layer and what is in a corner of it.
"""

from pathlib import Path

from zoomdream.frame import resize
from zoomdream.layers import box_of, cells, look
from zoomdream.read import read_still
from zoomdream.sheet import contact_sheet, write_sheet
from zoomdream.spec import LOOKING, shipped

HERE = Path(__file__).parent
SIDE, COLUMNS = 256, 4  # px of a picture, and how many stand side by side
DEEP, WHERE = ("faces", "creatures"), (0.42, 0.3, 0.2)  # layers, and what is enlarged of them


def main() -> None:
    whole = read_still(shipped("sample.jpg"))
    photo = resize(whole, (SIDE, SIDE)).clamp(0, 1)
    first = cells(photo, list(look(LOOKING, photo, STAGES)))
    write_sheet(HERE / "layers.jpg", contact_sheet(first, COLUMNS, SIDE), force=True, quality=82)
    deep = cells(whole, list(look(LOOKING, whole, DEEP)), box=box_of(WHERE))
    write_sheet(HERE / "detail.jpg", contact_sheet(deep, 3, 336), force=True, quality=80)


STAGES = ("edges", "strokes", "patterns", "scales", "eyes", "faces", "creatures")

if __name__ == "__main__":
    main()
