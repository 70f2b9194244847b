"""Text that others have saved, and names that are no Unicode."""

import os
import random
from pathlib import Path

import pytest

from zoomdream.errors import InputError, UsageError
from zoomdream.text import path_from_text, path_text, printable, read_text, valid_unicode

posix = pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
TEXT = "# Mød — 日本\nseed = 3\n"
MOST = 1000


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        "\ufeff".encode("utf-16-be") + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.replace("\n", "\r\n").encode("utf-16"),
    ],
)
def test_a_text_is_the_same_however_it_was_saved(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(content)
    assert read_text(file, MOST) == TEXT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed = 3\r\n# caf\xe9", "line 2, column 6 is the byte e9 ('é' in Latin-1), which is no UTF-8"),
        ("\ufeffü".encode() + b"\xff", "line 1, column 2 is the byte ff"),
        (b"a\nb\0c", "line 2, column 2 is a byte of zero"),
        ("seed".encode("utf-16-le"), "line 1, column 2 is a byte of zero, as in no text; save it as UTF-8"),
        ("seed".encode("utf-16") + b"\0", "begins as UTF-16, and is none from byte 11 on"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_told_with_its_place(
    tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(content)
    with pytest.raises(InputError) as told:
        read_text(file, MOST)
    assert message in str(told.value)
    assert str(file) in str(told.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        read_text(tmp_path / "none.txt", MOST)
    with pytest.raises(InputError, match="is a folder"):
        read_text(tmp_path, MOST)
    (tmp_path / "a.txt").write_bytes(b"a" * 1001)
    with pytest.raises(UsageError, match="too large: 1 kB at most"):
        read_text(tmp_path / "a.txt", MOST)


@posix
@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"caf\xe9.png", r"caf\xe9.png"),
        ("café 日本.png".encode(), "café 日本.png"),
        (rb"a\b\n\xq.png", r"a\b\n\xq.png"),
        (rb"literally \xe9", r"literally \x5cxe9"),
        (b"\\\xff", r"\\xff"),
        (b"a\nb", "a\nb"),
    ],
)
def test_a_name_becomes_text_that_can_be_read(name: bytes, text: str) -> None:
    assert path_text(Path(os.fsdecode(name))) == text
    assert os.fsencode(path_from_text(text)) == name


@posix
def test_every_name_comes_back_from_its_text() -> None:
    rng = random.Random(1)
    parts = [b"\\", b"x", b"5c", b"e9", b"\xe9", "é".encode(), b"\xf0\x9f", b"\n", b"%", b"a"]
    for _ in range(2000):
        path = Path(os.fsdecode(b"".join(rng.choices(parts, k=rng.randrange(1, 10)))))
        text = path_text(path)
        assert text.encode().decode() == text
        assert path_from_text(text) == path


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert printable("a\x1b[31m\r\n\x9b\u202e\u2028") == r"a\x1b[31m\r\n\x9b\u202e\u2028"
    assert printable('no "x" here:\n    1 + x\n        ^') == 'no "x" here:\n    1 + x\n        ^'
    assert printable("caf\udce9 \ud800") == r"caf\xe9 \ud800"
    assert printable("é 日本 👩\u200d💻 \\") == "é 日本 👩\u200d💻 \\"
    assert valid_unicode("a\udce9\n") == "a\\xe9\n"
