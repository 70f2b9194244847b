import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from zoomdream.errors import InputError
from zoomdream.media.image_reader import decode_image, read_mask, read_still, relaxed_decoders
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


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_are_those_of_the_file(tmp_path: Path, suffix: str, channels: int) -> None:
    """OpenCV's IMREAD_COLOR_RGB exchanges red and blue of a TIFF, and spoils a row of it."""
    deep = np.random.default_rng(0).integers(0, 65536, (40, 60, channels), np.uint16)
    order = [2, 1, 0, 3][:channels]
    cv2.imwrite(str(tmp_path / f"a{suffix}"), np.ascontiguousarray(deep[..., order]))
    assert np.array_equal(decode_image(tmp_path / f"a{suffix}").pixels, deep)


def test_two_threads_read_at_once_and_the_limit_is_back_afterwards(tmp_path: Path) -> None:
    """The second thread enters before the first leaves, and leaves after it."""
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    both_in, one_out = threading.Barrier(2, timeout=60), threading.Barrier(2, timeout=60)
    limits: dict[str, int | None] = {}

    def first() -> None:
        with relaxed_decoders:
            both_in.wait()
            limits["first"] = Image.MAX_IMAGE_PIXELS
        one_out.wait()

    def second() -> None:
        with relaxed_decoders:
            both_in.wait()
            one_out.wait()
            read_still(tmp_path / "a.png")
            limits["second"] = Image.MAX_IMAGE_PIXELS

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(first), threads.submit(second)]:
            done.result()
    assert limits == {"first": None, "second": None}
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


def test_many_reads_in_threads_leave_the_limit_as_it_was(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), LEFT_RED)
    before = Image.MAX_IMAGE_PIXELS
    start = threading.Barrier(4, timeout=60)

    def read(_: int) -> int:
        start.wait()
        return sum(read_still(tmp_path / "a.png").shape[3] for _ in range(50))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(read, range(4))) == [50 * 30] * 4
    assert before == Image.MAX_IMAGE_PIXELS


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
