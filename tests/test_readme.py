"""The README's commands do what it says."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import zoomdream as zd
from tests import films
from tests.conftest import ROOT, Command, decode
from zoomdream.files import shipped
from zoomdream.settings import presets
from zoomdream.settings.preset_mistakes import mistakes_in

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(?:sh|bash)\n(.*?)```", README, re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines() if line.strip()]
SETUP, TESTS = LINES[:2]
COMMANDS = [line.partition("  #")[0].strip() for line in LINES[2:]]


def test_two_commands_do_all_the_setting_up() -> None:
    assert "venv" in SETUP
    assert "pip install ." in SETUP
    assert "zoomdream zoom sample -o" in SETUP
    assert "pytest" in TESTS
    assert "README.md" in (ROOT / ".ci" / "run").read_text()  # which takes TESTS from here


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_runs(line: str, zoomdream: Command, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for name in ("photo.jpg", "mask.png", "palette.jpg", "flowers.jpg", "pictures/a.jpg"):
        shutil.copy(shipped("sample.jpg"), tmp_path / name)
    if any(word.startswith("frames/") for word in shlex.split(line)):
        (tmp_path / "frames").mkdir()
        for number in range(3):
            shutil.copy(tmp_path / "photo.jpg", tmp_path / "frames" / f"{number:05}.png")
    sketch = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 48"><path d="M9 9L50 40"/></svg>'
    )
    (tmp_path / "plot.svg").write_text(sketch)
    program, *words = shlex.split(line)
    assert program == "zoomdream"
    little = ["--size", "64x48", "--octaves", "1"]
    if words[0] == "zoom":
        words += [*little, "--frames", "2"]
    if words[0] == "bench":
        words += [*little, "--steps", "1", "--rounds", "1", "--frames", "4"]
    if words[0] == "image":
        words += [*little, "--steps", "20" if "--strip" in words else "1"]
    if "video.mp4" in words:
        long = films.counting(70)
        films.write(long, tmp_path / "video.mp4", 1)
        if words[0] == "metrics":
            films.write(long[:4], tmp_path / "dream.mp4", 1)
    if words[0] in ("layers", "sweep"):
        words += ["--size", "64", "--octaves", "1", "--steps", "1"]
    if words[0] == "clip":
        words += ["--size", "64x48", "--octaves", "1", "--force"]
    if words[0] == "channels":
        words += ["--size", "32", "--steps", "2"]
    if words[0] == "render":
        clip = "carnival" in words
        words += ["--size", "64x48", *(["--end", "2"] if clip else ["--frames", "6"])]
        words += ["--octaves", "1", "--set", "output.loop=false"]
    if words[0] == "resume":
        tries = iter((False, False, True))
        small = zd.Output(size=(64, 48), frames=6)
        job = zd.RenderJob(target=tmp_path / "dream.mp4", output=small)
        with pytest.raises(zd.Interrupted):
            zd.render_film(job, stopping=lambda: next(tries))
    if "googlenet" in words and words[0] == "zoom":
        pytest.skip("needs a download")
    done = zoomdream(*words)
    assert done.code == 0, done.err
    if words[0] == "resume":
        name = "dream.so-far.mp4" if "--join-now" in words else "dream.mp4"
        assert len(decode(tmp_path / name).frames) == (3 if "--join-now" in words else 6)
    if "-o" in words:
        assert (tmp_path / words[words.index("-o") + 1]).exists()
    if "--film" in words:
        assert len(decode(tmp_path / words[words.index("--film") + 1]).frames) > 2
    if "--strip" in words:
        assert (tmp_path / "dream-step-0020.tiff").exists()


def test_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.open(shipped("sample.jpg")).resize((96, 64)).save("photo.jpg")
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    code = code.replace("seconds=6", "frames=2")
    names: dict[str, Any] = {}
    shown: list[NDArray[np.uint8]] = []
    exec(code, {"show": shown.append}, names)
    before = np.asarray(Image.open("photo.jpg"), float)
    for name in ("picture", "again"):
        after = np.asarray(names[name], float)
        assert after.shape == before.shape
        assert np.abs(after - before).mean() > 2
        before = after
    assert [frame.shape for frame in shown] == [(64, 96, 3)] * 2
    assert len(decode(tmp_path / "dream.mp4").frames) == 2


def test_names_of_the_library_are_there() -> None:
    for name in re.findall(r"\bzd\.(\w+)", README):
        assert hasattr(zd, name), name


def test_it_is_short_and_its_paths_exist() -> None:
    assert len(README.splitlines()) <= 250
    for path in re.findall(r"`([a-z_/]+/)`", README):
        assert (ROOT / path).is_dir(), path


def test_pictures_of_the_readme_are_there() -> None:
    for path in re.findall(r'src="([^"]+)"|!\[[^]]*\]\(([^)]+)\)', README):
        name = path[0] or path[1]
        assert (ROOT / name).exists(), name


def test_the_table_of_settings_is_true() -> None:
    """Every option named in the README has the default that the settings have."""
    from zoomdream.cli.options import OPTIONS
    from zoomdream.settings.definitions import SETTINGS

    known = {o.flag_name: o.field.default for path, o in OPTIONS.items() if path in SETTINGS}
    known |= {f"--no-{flag[2:]}": not value for flag, value in known.items() if value is True}
    rows = re.findall(r"^\| `(--[a-z-]+)[^`]*` \|([^|]*)\|", README, re.MULTILINE)
    assert len(rows) > 10
    for flag, default in rows:
        assert flag in known, flag
        value = known[flag]
        shown = ",".join(f"{x:g}" for x in value) if isinstance(value, tuple) else str(value)
        if value is None or value is False or value in ((), {}):
            shown = ""
        elif isinstance(value, float):
            shown = f"{value:g}"
        assert default.strip() in (shown, "30" if flag == "--fps" else shown), flag


def test_the_presets_example_is_a_preset() -> None:
    import tomllib

    (text,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    assert mistakes_in(tomllib.loads(text), text) == []


def test_the_gallery_shows_every_preset_that_needs_no_download() -> None:
    for name in presets.known():
        if presets.load_preset(name).model == "pocket":
            assert f"examples/gallery/{name}.webp" in README
