import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import ROOT, Command, decode, start
from zoomdream.cli.app import PANELS
from zoomdream.cli.options import (
    ANCHOR,
    CAMERA,
    CLIP,
    DREAM,
    FILM,
    MACHINE,
    NEURONS,
    OPTIONS,
    PICTURE,
    Panels,
    with_flags,
)
from zoomdream.files import shipped
from zoomdream.media.frame import Frame, as_frame
from zoomdream.network.catalog import CATALOG
from zoomdream.network.device import choose_place
from zoomdream.network.network import load_network
from zoomdream.settings.definitions import SETTINGS

SMALL = ("--size", "96x64", "--octaves", 2, "--device", "cpu")


def test_a_film_from_the_sample_means_what_was_asked(tmp_path: Path) -> None:
    words = ("zoom", "sample", "-o", "a.mp4", "--seconds", 0.5, "--fps", 24, *SMALL)
    process = start(tmp_path, *words)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert out == ""
    assert "pocket, layer creatures + class=0.5, on cpu" in err
    assert "frame 12/12" in err
    assert "a.mp4: 0.50 s, 96x64" in err.splitlines()[-1]
    film = decode(tmp_path / "a.mp4")
    assert film.frames.shape == (12, 64, 96, 3)
    assert "24 fps" in film.about
    moving = np.abs(np.diff(film.frames.astype(int), axis=0)).mean((1, 2, 3))
    assert (moving > 2).all()
    network = load_network("pocket", at=choose_place("cpu", "fp32"))

    def energy(frame: Frame) -> float:
        return float(network.objectives[0].energy(network.activations(frame)))

    first, last = (energy(as_frame(film.frames[i])) for i in (0, -1))
    source = cv2.imread(str(shipped("sample.jpg")))
    assert source is not None
    plain = as_frame(cv2.cvtColor(cv2.resize(source[85:427], (96, 64)), cv2.COLOR_BGR2RGB))
    assert last > 1.5 * energy(plain)
    assert last > first


def test_json_is_all_there_is_on_stdout(zoomdream: Command) -> None:
    done = zoomdream("zoom", "-o", "a.gif", "--frames", 3, "--json", *SMALL)
    kinds = [event["event"] for event in done.events]
    assert kinds == ["start", "progress", "progress", "progress", "done"]
    start, *_, end = done.events
    assert (start["fps"], start["size"], start["layers"]) == (
        25.0,
        [96, 64],
        ["creatures", "class=0.5"],
    )
    assert start["notes"]
    assert end["frames"] == 3
    assert done.err == ""
    wrong = zoomdream("zoom", "none.jpg", "-o", "b.gif", "--json")
    assert wrong.events[-1]["exit_code"] == wrong.code == 3
    wrong = zoomdream("zoom", "-o", "b.gif", "--json", "--zoom", "fast")
    assert wrong.events[-1]["exit_code"] == wrong.code == 2
    wrong = zoomdream("zoom", "-o", "b.gif", "--json", "--steps", -2)
    assert wrong.events[-1]["exit_code"] == wrong.code == 2


def test_a_draft_is_a_quarter(zoomdream: Command, tmp_path: Path) -> None:
    done = zoomdream("zoom", "sample", "-o", "a.gif", "--frames", 3, "--draft", *SMALL)
    assert done.code == 0, done.err
    assert decode(tmp_path / "a.gif").frames.shape == (3, 32, 48, 3)


WRONG = [
    (("zoom", "none.jpg", "-o", "a.mp4"), 3, "none.jpg: there is no such file"),
    (("zoom", ".", "-o", "a.mp4"), 3, "is a folder"),
    (("zoom",), 2, "add -o dream.mp4"),
    (("zoom", "-o", "a.avi"), 2, ".mp4, .webm or .gif"),
    (("zoom", "-o", "none/a.mp4"), 4, "create it"),
    (("zoom", "-o", "a.mp4", "--layer", "eys"), 2, "did you mean eyes"),
    (("zoom", "-o", "a.mp4", "--layer", "eyes:x"), 2, "NAME:CHANNEL"),
    (("zoom", "-o", "a.mp4", "--model", "pokcet"), 2, "did you mean pocket"),
    (("zoom", "-o", "a.mp4", "--zoom", "nan"), 2, "finite"),
    (("zoom", "-o", "a.mp4", "--zoom", "fast"), 2, "--zoom"),
    (("zoom", "-o", "a.mp4", "--size", "big"), 2, "512x512"),
    (("zoom", "-o", "a.mp4", "--pan", "1"), 2, "0.5,0.5"),
    (("zoom", "-o", "a.mp4", "--fps", "0"), 2, "fps"),
    (("zoom", "-o", "a.mp4", "--anchor", "none.png"), 3, "none.png: there is no such file"),
    (("zoom", "-o", "a.mp4", "--mask", "none.png"), 3, "none.png: there is no such file"),
    (("zoom", "-o", "a.mp4", "--weights", "none.pth"), 5, "no such file"),
    (("zoom", "-o", "a.mp4", "--colour"), 2, "--colour"),
    (("zoom", "-o", "a.mp4", "--seconds", "2", "--frames", "7"), 2, "give one"),
    (("zoom", "-o", "a.mp4", "--size", "16x16"), 2, "at least 32x32"),
    (("zoom", "-o", "."), 2, "name"),
    (("zooom",), 2, "zooom"),
    (("models", "vgg61"), 2, "did you mean vgg19 or vgg16"),
]


@pytest.mark.parametrize(("words", "code", "message"), WRONG)
def test_mistakes_get_one_sentence_and_a_code(
    zoomdream: Command, tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    done = zoomdream(*words)
    assert done.code == code, done.err
    assert message in done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    assert len([line for line in done.err.splitlines() if line.startswith("Error")]) == 1
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback(zoomdream: Command) -> None:
    assert "Traceback" in zoomdream("zoom", "none.jpg", "-o", "a.mp4", ZOOMDREAM_DEBUG="1").err


def test_a_film_is_replaced_only_by_force(zoomdream: Command, tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(b"mine")
    done = zoomdream("zoom", "-o", "a.gif", "--frames", 1, *SMALL)
    assert (done.code, "--force" in done.err) == (4, True)
    assert (tmp_path / "a.gif").read_bytes() == b"mine"
    assert zoomdream("zoom", "-o", "a.gif", "--frames", 1, "--force", *SMALL).code == 0
    assert (tmp_path / "a.gif").read_bytes() != b"mine"


@pytest.mark.skipif(os.name == "nt", reason="signals are different there")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_frame_and_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = start(tmp_path, "zoom", "-o", "a.mp4", "--frames", 5000, "--size", "64x64", "--json")
    assert process.stdout
    for line in process.stdout:
        if json.loads(line)["event"] == "progress":
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    last = json.loads(out.splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("stopped", code)
    assert "to go on: zoomdream resume a.mp4" in err
    assert "Traceback" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4.zoomdream"]


def test_models_lists_networks_and_layers(zoomdream: Command) -> None:
    every = zoomdream("models").out
    assert all(name in every for name in CATALOG)
    layers = zoomdream("models", "googlenet").out
    assert "inception4c" in layers
    assert "512" in layers


def test_doctor_and_version(zoomdream: Command) -> None:
    done = zoomdream("doctor")
    assert done.code == 0, done.out
    for word in (
        "Python",
        "torch",
        "device",
        "ffmpeg",
        "libx264",
        "pocket",
        "squeezenet1_0",
        "GB free",
    ):
        assert word in done.out
    broken = zoomdream("doctor", IMAGEIO_FFMPEG_EXE="/nowhere/ffmpeg")
    assert broken.code == 1
    assert "FIX  ffmpeg" in broken.out
    assert "room here" in broken.out
    assert zoomdream("--version").out.startswith("zoomdream 0.")


@pytest.mark.parametrize(
    ("command", "panels"),
    [
        ("zoom", {**FILM, **CAMERA, **DREAM, **ANCHOR, **MACHINE}),
        ("clip", {**CLIP, **DREAM, **MACHINE}),
        ("image", {**PICTURE, **DREAM, **MACHINE}),
    ],
)
def test_help_names_every_option(command: str, panels: Panels, zoomdream: Command) -> None:
    shown = zoomdream(command, "--help", COLUMNS="200", TERM="dumb").out
    for panel, options in panels.items():
        assert panel in shown
        for option in options:
            assert f"{option.flag_name} " in shown


def test_every_option_is_in_a_panel_of_some_command() -> None:
    panels = (FILM, CLIP, CAMERA, DREAM, ANCHOR, MACHINE, NEURONS)
    shown = {option.path for panel in panels for options in panel.values() for option in options}
    assert shown == OPTIONS.keys()
    flags = [option.flag_name for path, option in OPTIONS.items() if path in SETTINGS]
    assert len(flags) == len(set(flags))


def test_help_tells_defaults(zoomdream: Command) -> None:
    shown = zoomdream("zoom", "--help", COLUMNS="200", TERM="dumb").out
    assert "[1.5]" in shown
    assert "factor per second" in shown


def test_help_groups_the_commands(zoomdream: Command) -> None:
    shown = zoomdream("--help", COLUMNS="200", TERM="dumb").out
    commands = shown.partition(f"─ {PANELS[0]}")[2]
    titles_and_commands = re.findall(r"^(?:╭─|│) (\S.*?)(?: ─|  )", commands, re.MULTILINE)
    assert titles_and_commands == [
        "zoom", "clip", "render", "image", "resume",
        PANELS[1], "layers", "channels", "metrics", "models", "classes", "sweep",
        PANELS[2], "presets",
        PANELS[3], "bench", "doctor",
    ]  # fmt: skip
    assert "--install-completion" in shown


def test_completion_knows_commands_and_presets_without_torch() -> None:
    code = (
        "import os, sys\n"
        "from zoomdream.cli import run\n"
        "for words in ('zoomdream re', 'zoomdream render dr'):\n"
        "    os.environ['_ZOOMDREAM_COMPLETE'] = 'complete_bash'\n"
        "    os.environ |= {'COMP_WORDS': words, 'COMP_CWORD': str(words.count(' '))}\n"
        "    try:\n"
        "        run([])\n"
        "    except SystemExit:\n"
        "        pass\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["render", "resume", "droste"]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("check `model`", "check --model"),
        ("add `output.size=512x512`, or", "add --size 512x512, or"),
        ("`force=True` replaces it", "--force replaces it"),
        ("`output.audio=False` leaves it out", "--no-audio leaves it out"),
        ('`within="1:"` is none; `zoom_in` is', '--range "1:" is none; --zoom-in is'),
        ("as in `target=dream.mp4`", "as in -o dream.mp4"),
        ("camera.zoom: `dance` is `no=setting`", "camera.zoom: `dance` is `no=setting`"),
    ],
)
def test_messages_name_flags_where_the_library_names_settings(message: str, shown: str) -> None:
    assert with_flags(message) == shown


@pytest.mark.parametrize("flag", ["--colors", "--anchor"])
def test_a_word_that_is_no_word_is_no_picture_either(zoomdream: Command, flag: str) -> None:
    done = zoomdream("zoom", "sample", "-o", "a.mp4", flag, "sourse")
    assert done.code == 2
    assert f'{flag} "sourse" is no word for it, and no picture' in done.err
    assert "did you mean source" in done.err
    assert "no such file" in zoomdream("zoom", "sample", "-o", "a.mp4", flag, "sourse.png").err
