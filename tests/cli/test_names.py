"""Names that are no UTF-8, or that a terminal, a shell or TOML would take for something else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from rich.text import Text

import zoomdream as zd
from tests.conftest import ROOT, Command
from zoomdream.cli.console import shell_word, shown
from zoomdream.errors import Interrupted
from zoomdream.files import shipped
from zoomdream.settings import presets
from zoomdream.settings.definitions import FILES, RenderJob
from zoomdream.settings.setting_paths import change_job, settings_by_path

pytestmark = pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
QUICK = ("--octaves", 1, "--steps", 1, "--device", "cpu")
SMALL = ("--size", "64x64", "--frames", 2, *QUICK)
LATIN = os.fsdecode(b"caf\xe9.png")
STRANGE = os.fsdecode(b"a\nseed = 3 \x1b[31m \"':smile:[red]\\\xe9%d.png")


def picture(folder: Path, name: str) -> Path:
    Image.open(shipped("sample.jpg")).resize((64, 64)).save(folder / name, "PNG")
    return folder / name


@pytest.mark.parametrize("name", [LATIN, STRANGE])
def test_a_film_and_its_label_find_a_picture_of_any_name(
    zoomdream: Command, tmp_path: Path, name: str
) -> None:
    source = picture(tmp_path, name)
    target = source.with_suffix(".mp4")
    made = zoomdream("zoom", name, "-o", target.name, "--json", *SMALL)
    assert made.code == 0, made.err
    assert presets.load_preset(f"{target}.toml").source == source
    assert zoomdream("render", f"{target.name}.toml", "-o", "b.mp4").code == 0
    again = zoomdream("zoom", name, "-o", target.name, "--json", *SMALL)
    for event in (made.events[-1]["path"], again.events[-1]["message"]):
        assert "\\xe9" in event
    assert again.err.count("\n") == 1
    assert "\x1b" not in again.err


def test_an_interrupted_film_goes_on_whatever_its_name(tmp_path: Path) -> None:
    job = RenderJob(
        source=picture(tmp_path, LATIN),
        target=tmp_path / f"{LATIN}.mp4",
        device="cpu",
        output=zd.Output(size=zd.Size(64, 64), frames=3),
        dream=zd.DreamSpec(octaves=1, steps=1),
    )
    assert job.target
    with pytest.raises(Interrupted):
        zd.render_film(job, lambda event: not isinstance(event, zd.Progress))
    assert zd.join_so_far(job.target)[1] == 1
    interrupted = zd.interrupted_job(job.target)
    assert interrupted.source == job.source
    assert zd.render_film(interrupted, resume=True).frames == 3


def test_every_setting_that_names_a_file_keeps_its_name_in_a_preset() -> None:
    files = [path for path in FILES if not path.startswith("flow.")]
    words = {"anchor.to": "palette", "dream.colors": "palette"}
    job = change_job(RenderJob(), {**words, **dict.fromkeys(files, Path(LATIN))})
    text = presets.preset_text(job)
    assert text.encode().count(rb"caf\\xe9.png") == len(files)
    kept = dict(settings_by_path(presets.job_of(text, "a.toml")))
    assert {kept[path] for path in files} == {Path(LATIN)}


def test_an_import_is_one_comment_and_settings(zoomdream: Command, tmp_path: Path) -> None:
    settings = tmp_path / STRANGE.replace(".png", ".txt")
    settings.write_bytes(
        "\ufeff".encode() + json.dumps({"max_frames": 9, "zoom": "0:(1.01)"}).encode()
    )
    assert zoomdream("presets", "import", settings.name, "-o", "a.toml").code == 0
    assert presets.load_preset(tmp_path / "a.toml").seed == 0
    assert rb"\nseed = 3 \x1b[31m" in (tmp_path / "a.toml").read_bytes().splitlines()[0]


def test_names_of_utf8_are_found_where_the_locale_is_c(tmp_path: Path) -> None:
    source = picture(tmp_path, "ü.png")
    done = subprocess.run(
        [sys.executable, "-m", "zoomdream", "zoom", source.name, "-o", "ö.mp4", *map(str, SMALL)],
        cwd=tmp_path, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONUTF8": "0",
             "PYTHONCOERCECLOCALE": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.isascii()
    assert presets.load_preset(tmp_path / "ö.mp4.toml").source == source


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("a.mp4", "a.mp4"),
        ("a b.mp4", "'a b.mp4'"),
        ("-x.mp4", "./-x.mp4"),
        ("ü's.mp4", "'ü'\"'\"'s.mp4'"),
        (os.fsdecode(b"caf\xe9's\\\n.mp4"), r"$'caf\xe9\'s\\\n.mp4'"),
    ],
)
def test_a_shell_takes_a_name_as_it_is_quoted(name: str, word: str) -> None:
    assert shell_word(Path(name)) == word


def test_nothing_in_a_name_is_markup() -> None:
    assert Text.from_markup(shown(Path("a[red]\x1b[1m"))).plain == "a[red]\\x1b[1m"
