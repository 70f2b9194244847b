from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from zoomdream.errors import InputError
from zoomdream.media.image_reader import read_mask, read_still
from zoomdream.media.noise import noise_picture
from zoomdream.size import Size

LEFT_RED = np.zeros((20, 30, 3), np.uint8)
LEFT_RED[:, :15, 2] = 255  # BGR


def exif_turned(path: Path, orientation: int) -> None:
    """A JPEG whose EXIF says how it is to be turned."""
    cv2.imwrite(str(path), LEFT_RED, [cv2.IMWRITE_JPEG_QUALITY, 100])
    content = path.read_bytes()
    tiff = b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00"
    tiff += bytes([orientation, 0, 0, 0]) + b"\x00\x00\x00\x00"
    body = b"Exif\x00\x00" + tiff
    path.write_bytes(
        content[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + content[2:]
    )


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tiff", "a.bmp", "ü 你 -x.png"])
def test_kinds_and_names(tmp_path: Path, name: str) -> None:
    good, content = cv2.imencode(Path(name).suffix, LEFT_RED)
    assert good
    (tmp_path / name).write_bytes(content.tobytes())
    frame = read_still(tmp_path / name)
    assert frame.shape == (1, 3, 20, 30)
    assert frame[0, 0, 10, 5] > 0.9
    assert frame[0, 0, 10, 25] < 0.1


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    exif_turned(tmp_path / "a.jpg", 6)  # turn right by 90 degrees
    frame = read_still(tmp_path / "a.jpg")
    assert frame.shape == (1, 3, 30, 20)
    assert frame[0, 0, 5, 10] > 0.9  # what was left is on top
    assert frame[0, 0, 25, 10] < 0.1


def test_sixteen_bits_grey_and_alpha(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((4, 4, 3), 32768, np.uint16))
    assert read_still(tmp_path / "deep.png").mean() == pytest.approx(0.5, abs=1e-4)
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((4, 4), 51, np.uint8))
    assert read_still(tmp_path / "grey.png").mean() == pytest.approx(0.2, abs=1e-3)
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[:, :2] = (255, 0, 0, 255)  # blue, solid
    cv2.imwrite(str(tmp_path / "clear.png"), clear)
    frame = read_still(tmp_path / "clear.png")
    assert frame[0, :, 0, 0].tolist() == [0, 0, 1]
    assert frame[0, :, 0, 3].tolist() == [1, 1, 1]


def test_what_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_still(tmp_path / "none.png")
    with pytest.raises(InputError, match="is a folder"):
        read_still(tmp_path)
    for content in (
        b"",
        b"hello",
        LEFT_RED.tobytes(),
        cv2.imencode(".png", LEFT_RED)[1].tobytes()[:40],
    ):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(InputError, match="no picture"):
            read_still(tmp_path / "a.png")


def test_noise_is_seeded() -> None:
    one, same, other = (
        noise_picture(Size(60, 40), 1),
        noise_picture(Size(60, 40), 1),
        noise_picture(Size(60, 40), 2),
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == (1, 3, 40, 60)
    assert 0.08 < one.std() < 0.2


def test_mask(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "m.png"), np.array([[0, 128, 255]], np.uint8).repeat(3, 0))
    assert read_mask(tmp_path / "m.png")[0, 0, 0].tolist() == pytest.approx(
        [0, 0.502, 1], abs=0.001
    )
