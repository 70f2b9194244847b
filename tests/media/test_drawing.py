"""Drawings, however their text was saved."""

from pathlib import Path

import pytest

from zoomdream.media.image_reader import decode_image

SVG = '{}<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><title>é</title>{}</svg>'
RED = '<rect width="8" height="8" fill="#f00"/>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_a_drawing_is_read_in_the_encoding_of_its_text(tmp_path: Path, encoding: str) -> None:
    pytest.importorskip("resvg_py")
    declared = '<?xml version="1.0" encoding="ISO-8859-1"?>' if encoding == "latin-1" else ""
    file = tmp_path / "a.svg"
    file.write_bytes(SVG.format(declared, RED).encode(encoding))
    assert decode_image(file).pixels[4, 4].tolist() == [255, 0, 0]
