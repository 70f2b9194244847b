"""Which files of a folder, or of a pattern, are taken in turns, and in which order."""

from pathlib import Path

import pytest

from zoomdream.media.picture_files import (
    is_pattern,
    missing_numbers,
    natural_order,
    picture_files,
)


def named(folder: Path, *names: str) -> list[str]:
    """The names of what a path stands for."""
    for name in names:
        (folder / name).touch()
    files = picture_files(folder)
    assert files is not None
    return [file.name for file in files]


def test_only_pictures_that_can_be_read_are_taken_of_a_folder(tmp_path: Path) -> None:
    """What macOS, cameras and editors leave beside them is no frame."""
    (tmp_path / "folder.png").mkdir()
    others = ("._1.png", ".hidden.jpg", "clip.mpg", "clip.mpeg", "edit.psd", "Thumbs.db", "notes")
    assert named(tmp_path, "2.PNG", "1.jpg", "3.exr", *others) == ["1.jpg", "2.PNG", "3.exr"]


@pytest.mark.parametrize(
    "names",
    [
        ["9.png", "10.png", "100.png"],
        ["a.png", "a1.png", "a2.png", "b.png"],
        ["s1_f2.png", "s1_f10.png", "s2_f1.png"],
        ["f99999999999999999999.png", "f100000000000000000000.png", "fa.png"],
    ],
)
def test_numbers_in_names_are_ordered_by_their_value(names: list[str]) -> None:
    paths = [Path(name) for name in names]
    assert natural_order(sorted(paths, reverse=True)) == paths


def test_a_doubled_percent_sign_in_a_pattern_is_one(tmp_path: Path) -> None:
    for name in ("100%-1.png", "100%-2.png", "100%%-3.png"):
        (tmp_path / name).touch()
    files = picture_files(tmp_path / "100%%-%d.png")
    assert files is not None
    assert [file.name for file in files] == ["100%-1.png", "100%-2.png"]
    assert not is_pattern(tmp_path / "100%%d.png")


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        ("f1.png f2.png f5.png", 2),
        ("f1_v2.png f2_v2.png f4_v2.png", 1),
        ("s1_f1.png s1_f2.png s3_f9.png", 0),
        ("a.png b.png", 0),
        ("f7.png", 0),
    ],
)
def test_numbers_that_are_left_out_are_counted_where_one_number_counts(
    names: str, missing: int
) -> None:
    assert missing_numbers([Path(name) for name in names.split()]) == missing
