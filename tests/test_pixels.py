"""Many small renders, whose pixels are known: whatever becomes of the code, none of them may change.

Nothing of zoomdream is imported here: a render is a command line, and what it left is decoded again.

`pixels.json` holds the shape of what each render makes, and a hash of its pixels for each machine on which
they were recorded, as floating point differs from one to the next. On any other machine the shapes are
compared, and each render has to differ from the one that it adds options to. To compare there too, record
with the code as it was, and take that pixels.json along:

    python -m pytest tests/test_pixels.py --record-pixels
"""

import hashlib
import itertools
import json
import os
import platform
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from tests import films
from tests.conftest import ROOT, Command, decode, start

FILE = Path(__file__).with_name("pixels.json")

Pixels = NDArray[Any]

# What every render of a command has, but those that say otherwise.
COMMON = {
    "zoom": "--size 64x48 --fps 4 --frames 4 --octaves 2 --octave-scale 1.5 --steps 1",
    "clip": "--size 64x48 --end 0.2 --octaves 2 --octave-scale 1.5 --steps 1",
    "render": "--size 96x72",
    "image": "--size 64x48 --octaves 2 --steps 3",
    "layers": "--size 48 --octaves 2 --steps 2",
    "channels": "--size 48 --steps 6",
    "metrics": "--json",
}

DREAM = """
--octaves 1
--steps 2
--smooth 2
--variety 0
--mask @mask.png
--mask @mask.png --grow 0.1
--grow 0.1
--paper 0.5
--keep-color
--colors free
--colors natural --color-amount 0.5
--colors @guides/b.png
--octave-gain 0.5
--finest-share 0
--noise 0.2
--calm 0
--layer eyes
--layer eyes:3+7-0.5*12
--layer class:lion
--guide @guides/b.png
--guide @guides/b.png --guide-style best
--guide @guides/b.png --guide-amount 0.5
--seed 5
--precision fp32
--precision bf16
"""

ZOOM = """
--octave-scale 1.3
--step-size 0.03
--jitter 0
--cycle 1
--size 160x120 --frames 2
--size 160x120 --frames 2 --tile 64
--layer eyes=0.5
--layer eyes=0.5 --layer strokes=1
--layer eyes:12
--layer eyes:12 --layer patterns=0.2
--layer class:lion --keep-color
--guide @guides/b.png --guide-style soft
--guide @guides/b.png --layer eyes:12 --layer scales
--model squeezenet1_0 --weights @squeezenet.safetensors --layer features.9
--model squeezenet1_0 --weights @squeezenet.safetensors --layer features.9 --variety 0
--zoom 1
--zoom 1 --grain 0
--zoom 0.7
--rotate 20
--pan 0.3,-0.2
--turn 20
--turn 20 --fov 90
--tilt 20
--center 0.2,0.7
--swirl 90
--swirl 90 --swirl-radius 0.2
--ripple 0.03
--ripple 0.03 --ripple-length 0.4
--ripple 0.03 --ripple-speed 2
--kaleidoscope 6
--tunnel 3
--tunnel 3 --rotate 20
--zoom 1.3+0.5*sin(2*pi*t)+0.1*noise(t)
--step-size 0.01+0.01*frame
--anchor running
--anchor running --anchor-memory 0.5
--anchor none
--anchor @palette.png
--anchor-rate 0.2
--anchor-bands 2
--anchor-limit 1.01
--vivid 1.5
--grain 0.05
--fps 8
--size 128x96 --draft --steps 8
--loop
--loop --kaleidoscope 6
--loop --anchor running
--guide @guides --guide-seconds 0.5 --guide-fade 0.25
--guide @guides --guide-seconds 0.5 --guide-fade 0.5
-o out.mp4
-o out.mp4 --quality 40
-o out.webm
-o out.gif
"""

CLIP = """
--guide @guides/b.png --guide-style soft
--model squeezenet1_0 --weights @squeezenet.safetensors --layer features.9
--size 160x120
--size 160x120 --tile 64
--flow none
--strength 2
--persist 0.5
--start 0.08
--end 0.12
--start 1.5 --end 1.7
--start 1.5 --end 1.7 --size 96x72
--fps 12
--strength 0.5+frame
--size 128x96 --draft --steps 8
--guide @guides
--guide @clip.mp4
-o out.mp4
-o out.webm
-o out.gif
"""

IMAGE = """
--guide @guides/b.png --guide-style soft
--model squeezenet1_0 --weights @squeezenet.safetensors --layer features.9
--size 160x120
--size 160x120 --tile 64
-o out.jpg
-o out.webp
-o out.tiff
--strip 2
--film grow.mp4
--film grow.gif
--preset aviary
--octaves 0
"""

OTHERS = """
zoom noise
zoom noise --seed 7
zoom @deep.png
zoom @alpha.png
zoom @wide.jpg
clip @cut.mp4 --end 1
clip @cut.mp4 --end 1 --no-scenes
clip @clip.gif
render aviary sample --frames 3
render breath sample --frames 3
render cathedral sample --frames 3
render droste sample --frames 3
render eyes sample --frames 3
render ink sample --frames 3
render mandala sample --frames 3
render metamorphosis sample --frames 3
render nebula --frames 3
render paper sample --frames 3
render portrait sample --frames 3
render pulse sample --frames 3
render underwater sample --frames 3
render whirlpool sample --frames 3
render zoom sample --frames 3
render zoom sample --frames 3 --set dream.steps=1
render zoom sample --seconds 0.1
render beasts sample --end 0.12
render carnival sample --end 0.12
render clip sample --end 0.12
render heartbeat sample --end 0.12
render watercolour sample --end 0.12
render @keys.toml sample
render @beats.toml sample
presets import @deforum.json -o mine.toml ; render mine.toml sample --frames 3
zoom --rotate 20 --seed 2 ; render out.toml -o again
image noise
image noise --seed 7
image @deep.png
image @deep.png --mask @mask.png
image @deep.png -o out.tiff
image @deep.png -o out.jpg
image @alpha.png
image @alpha.png --mask @mask.png
image @alpha16.png
image @wide.jpg
image @cmyk.jpg
image @indexed.png
layers
layers --layers eyes,scales:12
layers --layers eyes,scales:12 --zoom-in 0.4,0.3,0.2
layers --layers eyes,scales:12 --strength 20
layers --layers eyes,scales:12 --columns 1
layers --layers eyes,scales:12 --keep-color
channels eyes --range 0:3
channels eyes --range 0:3 --from sample
channels eyes --range 0:3 --diverse 2
channels eyes --range 0:3 --neuron
channels eyes --range 0:3 --step-size 0.2
channels eyes --range 0:3 --seed 3
channels eyes --top 3 --on sample
channels eyes:3+7-0.5*12
channels class:lion,tabby
metrics @clip.mp4 @other.mp4
metrics @clip.mp4 @other.mp4 --layer eyes
"""


def lines(text: str, before: str = "") -> list[str]:
    return [f"{before} {line}".strip() for line in text.strip().splitlines()]


RENDERS = [
    *("zoom", "clip", "image"),
    *(line for command in ("zoom", "clip", "image") for line in lines(DREAM, command)),
    *lines(ZOOM, "zoom"),
    *lines(CLIP, "clip"),
    *lines(IMAGE, "image"),
    *lines(OTHERS),
]


# What may well be as without it: which of them is the default depends on the command or the machine.
OTHER = {"--guide-style best": "soft", "--precision bf16": "fp32"}


def simpler(name: str) -> str | None:
    """The render that this one has to differ from: the one that it adds options to."""
    for options, other in OTHER.items():
        if name.endswith(options):
            return f"{name.rsplit(' ', 1)[0]} {other}"
    if name.endswith(tuple(f"{options.split()[0]} {other}" for options, other in OTHER.items())):
        return None
    words = name.split()
    starts = (" ".join(words[:n]) for n in range(len(words) - 1, 0, -1))
    return next((start for start in starts if start in RENDERS), None)


def words_of(line: str, things: Path) -> list[str]:
    """A command line in full. `@` is the folder of things; without a picture it is about our sample."""
    command, *words = line.split()
    about = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
    options = words[len(about) :]
    if not about and command in ("zoom", "clip", "image", "layers"):
        about = ["sample"]
    if about == ["noise"]:
        about = []
    common = COMMON.get(command, "").split()
    if "-o" not in options and command != "metrics":
        common += ["-o", "out" if command in ("zoom", "clip", "render") else "out.png"]
    found = [command, *about, *common, *options]
    return [word.replace("@", f"{things}{os.sep}") for word in found]


# --- What the renders are about --------------------------------------------------------------------


def turn(picture: Pixels, by: int) -> Pixels:
    """A picture whose columns have moved to the left."""
    return np.roll(picture, -by, axis=1)


@pytest.fixture(scope="session")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures, clips, presets and weights, the same on every machine."""
    folder = tmp_path_factory.mktemp("things")
    with Image.open(ROOT / "examples" / "sample.jpg") as sample:
        photo: Pixels = np.asarray(sample.convert("RGB"))[::5, ::5][:72, :96].copy()
    rows, columns = np.mgrid[0:72, 0:96]
    slope = (columns * 255 // 95).astype(np.uint8)

    def save(name: str, picture: Pixels, **options: Any) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(folder / name, **options)

    save("mask.png", slope)
    colours = np.stack([slope, 255 - slope, slope // 2 + 90], 2)
    save("palette.png", colours)
    save("guides/a.png", turn(photo, 30)[::-1])
    save("guides/b.png", np.stack([(rows // 6 + columns // 9) % 3 * 100] * 3, 2).astype(np.uint8))
    save("alpha.png", np.dstack([photo, slope]))
    orientation = Image.Exif()
    orientation[0x0112] = 6
    save("wide.jpg", np.hstack([photo, photo]), quality=95, exif=orientation)
    Image.fromarray(photo).convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    Image.fromarray(photo).quantize(16).save(folder / "indexed.png")
    deep = photo.astype(np.uint16) * 255 + columns[..., None].astype(np.uint16)
    cv2.imwrite(str(folder / "deep.png"), deep)
    cv2.imwrite(str(folder / "alpha16.png"), np.dstack([deep, slope.astype(np.uint16) * 257]))
    moving = np.stack([turn(photo, 2 * n) for n in range(5)])
    films.write(moving, folder / "clip.mp4")
    films.write(moving[:, ::-1] // 2 + moving // 2, folder / "other.mp4")
    slow = np.stack([turn(photo, n) for n in range(8)])  # else a cut is lost in what moves
    films.write(np.concatenate([slow, 255 - slow[:, ::-1]]), folder / "cut.mp4")
    films.write(moving[:4], folder / "clip.gif", 10, "-f", "gif")
    (folder / "keys.toml").write_text(KEYS)
    (folder / "beats.toml").write_text(BEATS)
    (folder / "deforum.json").write_text(json.dumps(DEFORUM))
    save_file(squeezenet(), folder / "squeezenet.safetensors")
    return folder


KEYS = """
[camera]
zoom = { "0s" = 1.0, "50%" = 2.0, "3f" = 1.5, ease = "in-out" }
rotate = { "0s" = 0, "1s" = 40, ease = "out-back" }
[dream]
octaves = 2
[dream.layers]
strokes = { "0%" = 1.0, "100%" = 0.0 }
eyes = { "0%" = 0.0, "100%" = 1.0 }
[output]
fps = 4
frames = 4
"""
BEATS = """
bpm = 100
[camera]
zoom = "1.2 + (beat%1)"
pan = ["0.2*sin(t)", "0.1*noise(t+seed)"]
[dream]
step_size = { "0b" = 0.002, "2b" = 0.03 }
[output]
fps = 4
frames = 4
"""
DEFORUM = {
    "max_frames": 3,
    "fps": 4,
    "animation_mode": "2D",
    "zoom": "0:(1.02), 2:(1.2*cos(t/9))",
    "angle": "0:(3), 3:(10)",
    "translation_x": "0:(2)",
}


def squeezenet() -> dict[str, torch.Tensor]:
    """Weights for torchvision's squeezenet1_0, by chance."""
    chance = torch.Generator().manual_seed(0)
    weights = torchvision.models.squeezenet1_0(weights=None).state_dict()
    for name, kept in weights.items():
        wide = 2 / kept[0].numel() if name.endswith("weight") else 0.01
        weights[name] = torch.randn(kept.shape, generator=chance) * wide**0.5
    return dict(weights)


# --- Rendering and hashing -------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """What a render left: the shapes of it, and 16 digits of a hash."""

    shape: str
    digits: str


def numbers(found: Any) -> Iterator[str]:
    """All of some JSON, each to six digits."""
    if isinstance(found, dict):
        for name in sorted(found):
            yield name
            yield from numbers(found[name])
    elif isinstance(found, list):
        for part in found:
            yield from numbers(part)
    else:
        yield f"{found:.6g}" if isinstance(found, float) else str(found)


def look(folder: Path) -> Made:
    """All pictures and films in a folder, decoded."""
    seen, shapes = hashlib.sha256(), Counter[str]()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix in (".mp4", ".webm", ".gif"):
            pixels: Pixels = decode(path).frames
        elif path.suffix != ".toml":
            picture: Pixels | None = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert picture is not None, path
            pixels = picture
        else:
            continue
        shape = f"{'x'.join(map(str, pixels.shape))} {pixels.dtype}"
        shapes[shape] += 1
        seen.update(f"{path.relative_to(folder).as_posix()} {shape}".encode())
        seen.update(pixels.tobytes())
    assert shapes
    return Made(
        ", ".join(f"{count} of {shape}" for shape, count in shapes.items()), seen.hexdigest()[:16]
    )


Make = Callable[[str], Made]


@pytest.fixture
def make(zoomdream: Command, things: Path, tmp_path: Path) -> Make:
    """Renders one of `RENDERS`, and leaves nothing behind."""

    def run(name: str) -> Made:
        for line in name.split(";"):
            answer = zoomdream(*words_of(line, things))
            assert answer.code == 0, answer.err
        if name.startswith("metrics"):
            told = list(numbers(json.loads(answer.out)))
            return Made(
                f"{len(told)} words", hashlib.sha256(" ".join(told).encode()).hexdigest()[:16]
            )
        made = look(tmp_path)
        for path in tmp_path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return made

    return run


# --- What is known ---------------------------------------------------------------------------------


def machine() -> str:
    """All that decides how floating point is rounded and films are coded."""
    of = (
        "torch",
        "torchvision",
        "numpy",
        "opencv-python",
        "pillow",
        "imageio-ffmpeg",
        "scenedetect",
    )
    versions = [f"{name} {metadata.version(name)}" for name in of]
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    processor = platform.processor()
    if (told := Path("/proc/cpuinfo")).exists():
        pairs = (line.split(":", 1) for line in told.read_text().split("\n\n")[0].splitlines())
        about = {name.strip(): value.strip() for name, value in pairs}
        fields = ("vendor_id", "cpu family", "model", "stepping")
        processor = " ".join(about.get(field, "-") for field in fields)
    return ", ".join(
        [
            *versions,
            f"{platform.system()} {platform.machine()} {processor}",
            f"{torch.backends.cpu.get_cpu_capability()}, bf16 {native}, tiles {tiles}",
            f"{torch.get_num_threads()} and {cv2.getNumThreads()} threads",
            torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU",
        ]
    )


@dataclass(frozen=True)
class Known:
    """Of each render, by name."""

    machine: str
    shapes: dict[str, str]
    digits: dict[str, str]  # on this machine; empty if it was never recorded
    recording: bool
    made: dict[str, Made]  # in this run


@pytest.fixture(scope="session")
def known(pytestconfig: pytest.Config) -> Iterator[Known]:
    recording = bool(pytestconfig.getoption("--record-pixels"))
    stored = json.loads(FILE.read_text()) if FILE.exists() else {"shapes": {}, "machines": {}}
    here = machine()
    found = Known(here, stored["shapes"], stored["machines"].get(here, {}), recording, {})
    yield found
    if recording:
        shapes = found.shapes | {name: made.shape for name, made in found.made.items()}
        digits = found.digits | {name: made.digits for name, made in found.made.items()}
        stored["shapes"] = {name: shapes[name] for name in RENDERS if name in shapes}
        stored["machines"][here] = {name: digits[name] for name in RENDERS if name in digits}
        FILE.write_text(json.dumps(stored, indent=1) + "\n")


@pytest.mark.parametrize("name", RENDERS)
def test_not_one_pixel_has_changed(name: str, make: Make, known: Known) -> None:
    before = simpler(name)
    for each in filter(None, (before, name)):
        if each not in known.made:
            known.made[each] = make(each)
    made = known.made[name]
    if before:
        assert made.digits != known.made[before].digits, f"it looks just like {before}"
    if known.recording:
        return
    assert made.shape == known.shapes[name]
    if known.digits:
        assert made.digits == known.digits[name]


def test_all_were_recorded_here(known: Known) -> None:
    if not known.recording:
        assert list(known.shapes) == RENDERS
        if not known.digits:
            pytest.skip(f"no pixels were recorded on {known.machine}")
        assert list(known.digits) == RENDERS


@pytest.mark.parametrize("name", ["zoom", "clip", "image --guide @guides/b.png"])
def test_the_same_again(name: str, make: Make) -> None:
    assert make(name) == make(name)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs signals")
@pytest.mark.parametrize(
    ("line", "film"), [("zoom --frames 80 -o a.mp4", "a.mp4"), ("clip --end 2.9 -o a", "a")]
)
def test_a_killed_render_goes_on_to_the_same_pixels(
    line: str, film: str, zoomdream: Command, things: Path, tmp_path: Path
) -> None:
    words = words_of(line, things)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    assert zoomdream(*words[:-1], whole / film).code == 0
    journal = cut / f"{film}.zoomdream" / "journal"
    with start(cut, *words) as process:

        def wait_for(seen: Callable[[], bool]) -> None:
            while not seen():
                assert process.poll() is None, "it was over before it could be killed"
                time.sleep(0.002)

        wait_for(lambda: journal.exists() and len(list(journal.parent.iterdir())) > 3)
        process.send_signal(signal.SIGSTOP)
        begun = journal.stat().st_size
        time.sleep(5.1)  # it commits every five seconds
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: journal.stat().st_size > begun)
        process.kill()
    assert not (cut / film).exists()
    assert zoomdream("resume", cut / film).code == 0
    assert look(cut) == look(whole)
