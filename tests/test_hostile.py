"""Files that are broken, huge, strange or meant to harm: one sentence each, and nothing else happens."""

import base64
import contextlib
import gzip
import json
import pickle
import random
import shutil
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import zoomdream as zd
from tests import films
from tests.conftest import Command
from tests.pictures import exr, radiance
from zoomdream.errors import Interrupted, ZoomdreamError
from zoomdream.files import shipped
from zoomdream.film.film_spec import SegmentPlan
from zoomdream.film.journal import Journal, journal_folder
from zoomdream.film.render import render_film
from zoomdream.film.resume import interrupted_job
from zoomdream.media.drawing import draw_drawing
from zoomdream.media.frame import Frame, as_frame
from zoomdream.media.image_reader import read_still
from zoomdream.media.video_reader import open_video
from zoomdream.network.pocket.architecture import WEIGHTS
from zoomdream.network.weights_file import read_weights
from zoomdream.settings import presets
from zoomdream.settings.definitions import MAX_PIXELS
from zoomdream.settings.deforum import import_settings
from zoomdream.size import Size

SMALL = ("--size", "64x48", "--octaves", 1, "--steps", 1, "--device", "cpu")
SAMPLE = Image.open(shipped("sample.jpg")).convert("RGB").resize((60, 40))
Maker = Callable[[Path], object]


def content(name: str, data: bytes) -> Maker:
    return lambda folder: (folder / name).write_bytes(data)


def picture(name: str, image: Image.Image, **options: object) -> Maker:
    return lambda folder: image.save(folder / name, **options)  # type: ignore[arg-type]


def png(width: int, height: int, data: bytes = b"x" * 30) -> bytes:
    """A PNG that says it has this size, whatever is in it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def gif(width: int, height: int) -> bytes:
    """Two frames of a GIF that says it has this size."""
    head = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\x00\x00\x00\x00\x00\xff\xff\xff"
    one = b"\x21\xf9\x04\x00\x0a\x00\x00\x00" + b"\x2c" + struct.pack("<HHHH", 0, 0, width, height)
    return head + 2 * (one + b"\x00\x02\x02\x44\x01\x00") + b"\x3b"


def whole(name: str) -> bytes:
    return shipped(name).read_bytes()


def svg(body: str, head: str = 'width="60" height="40"', before: str = "") -> bytes:
    return f'{before}<svg xmlns="http://www.w3.org/2000/svg" {head}>{body}</svg>'.encode()


def pdf(box: str, more: str = "") -> bytes:
    """A PDF of one page, half of it red. box: its sides, in points; more: of the trailer."""
    parts = (
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        f"<</Type/Page/Parent 2 0 R/MediaBox[{box}]/Contents 4 0 R>>",
        "<</Length 24>>stream\n1 0 0 rg 0 0 30 40 re f \nendstream",
    )
    whole, places = "%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(whole))
        whole += f"{number} 0 obj\n{part}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    table = f"xref\n0 5\n0000000000 65535 f \n{table}trailer\n<</Size 5/Root 1 0 R{more}>>\n"
    return f"{whole}{table}startxref\n{len(whole)}\n%%EOF\n".encode()


LOCKED = "/ID[<00><00>]/Encrypt<</Filter/Standard/V 1/R 2/P -4/O<{0}>/U<{0}>>>".format("5" * 64)
LAUGHS = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
BOMB = f'<!DOCTYPE svg [<!ENTITY a0 "ha">{LAUGHS}]>'
OUTSIDE = '<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
USES = "".join(f'<g id="a{n + 1}">' + f'<use href="#a{n}"/>' * 10 + "</g>" for n in range(9))
STATE = read_weights(WEIGHTS)
NAME, FIRST = next((key, value) for key, value in STATE.items() if key.endswith("weight"))


def weights(name: str, first: torch.Tensor | None) -> Maker:
    """Pocket's own, but for the first of them."""
    others = {key: value for key, value in STATE.items() if key != NAME}
    return lambda f: save_file(others if first is None else {**others, NAME: first}, f / name)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (Path("evil-ran"),)


def script(text: str) -> Maker:
    return content("p.toml", f"[camera]\nzoom = {json.dumps(text)}\n".encode())


ZOOM = ("zoom", "a.png", "-o", "o.gif", "--frames", 1)
CLIP = ("clip", "a.mp4", "-o", "o.gif", "--end", 0.1)
RENDER = ("render", "p.toml", "sample", "-o", "o.gif", "--frames", 1)
WITH_WEIGHTS = ("zoom", "-o", "o.gif", "--frames", 1, "--weights")
BIG = "has 60000x60000 pixels, and 200,000,000 are the most: --max-pixels lifts the limit"
GREY = np.linspace(0, 2, 40 * 60, dtype=np.float32).reshape(40, 60)
BIG_WINDOW = struct.pack("<4i", 0, 0, 59_999, 59_999)
Row = tuple[str, Maker, tuple[object, ...], int, str]
TABLE: list[Row] = [
    # Stills that cannot be read
    ("empty", content("a.png", b""), ZOOM, 3, "a.png holds no picture that can be read"),
    ("text", content("a.png", b"hello"), ZOOM, 3, "holds no picture that can be read; PNG, JPEG"),
    ("cut short", content("a.png", whole("sample.jpg")[:9000]), ZOOM, 3, "damaged or cut short"),
    ("cut in the head", content("a.png", png(9, 9)[:20]), ZOOM, 3, "no picture that can be read"),
    ("no pixels in it", content("a.png", png(64, 64, b"")), ZOOM, 3, "damaged or cut short"),
    ("a clip", content("a.png", whole("sample.mp4")), ZOOM, 3, "no picture that can be read"),
    ("a bomb", content("a.png", png(60000, 60000)), ZOOM, 3, BIG),
    ("a GIF bomb", content("a.png", gif(60000, 60000)), ZOOM, 3, BIG),
    ("over a limit", content("a.png", whole("sample.jpg")), (*ZOOM, "--max-pixels", 99), 3, "99 are"),
    ("a bomb as mask", content("m.png", png(60000, 60000)), ("zoom", "-o", "o.gif", "--mask", "m.png"),
     3, BIG),
    ("a bomb as palette", content("m.png", png(60000, 60000)),
     ("zoom", "-o", "o.gif", "--anchor", "m.png"), 3, BIG),
    ("PostScript", content("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), ZOOM, 3,
     "no picture that can be read"),
    ("signed", picture("a.tiff", Image.new("I", (64, 64))), ("zoom", "a.tiff", "-o", "o.gif"), 3,
     "has signed samples, of which no number is white: save it with unsigned ones"),
    ("a camera's", content("a.png", b"FUJIFILMCCD-RAW 0201" + bytes(200)), ZOOM, 3, "raw file"),
    ("HEIC", content("a.png", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"), ZOOM, 3, "it is HEIC; save it as JPEG"),
    ("an EXR bomb", content("a.png", exr({"Y": GREY}, displayWindow=("box2i", BIG_WINDOW))), ZOOM, 3, BIG),
    ("an EXR, cut short", content("a.png", exr({"Y": GREY})[:900]), ZOOM, 3, "damaged or cut short"),
    # Stills that are strange, but good
    ("EXR", content("a.png", exr({"Y": GREY})), ZOOM, 0, "o.gif: "),
    ("Radiance HDR", content("a.png", radiance(GREY[..., None].repeat(3, 2))), ZOOM, 0, "o.gif: "),
    ("floats", picture("a.png", Image.new("F", (64, 64)), format="TIFF"), ZOOM, 0, "o.gif: "),
    ("mislabelled", content("a.png", whole("sample.jpg")), ZOOM, 0, "o.gif: "),
    ("CMYK", picture("a.png", SAMPLE.convert("CMYK"), format="JPEG"), ZOOM, 0, "o.gif: "),
    ("16 bits", lambda f: cv2.imwrite(str(f / "a.png"), np.full((40, 60, 3), 9999, np.uint16)), ZOOM,
     0, "o.gif: "),
    ("palette", picture("a.png", SAMPLE.convert("P")), ZOOM, 0, "o.gif: "),
    ("alpha", picture("a.png", SAMPLE.convert("RGBA")), ZOOM, 0, "o.gif: "),
    ("grey and alpha", picture("a.png", SAMPLE.convert("LA")), ZOOM, 0, "o.gif: "),
    ("one bit", picture("a.png", SAMPLE.convert("1")), ZOOM, 0, "o.gif: "),
    ("1x1", picture("a.png", Image.new("RGB", (1, 1))), ZOOM, 0, "o.gif: "),
    ("10,000x10", picture("a.png", Image.new("RGB", (10000, 10))), ZOOM, 0, "o.gif: "),
    ("1x1 as it is", picture("a.png", Image.new("RGB", (1, 1))), ("zoom", "a.png", "-o", "o.gif"),
     2, "16x16 is too small for pocket: at least 32x32 would do, with --size"),
    ("10,000x10 as it is", picture("a.png", Image.new("RGB", (10000, 10))),
     ("zoom", "a.png", "-o", "o.gif"), 2, "512x16 is too small for pocket"),
    # Clips
    ("empty", content("a.mp4", b""), CLIP, 3, "a.mp4 holds no clip that can be read"),
    ("text", content("a.mp4", b"hello"), CLIP, 3, "a.mp4 holds no clip that can be read"),
    ("cut short", content("a.mp4", whole("sample.mp4")[:900]), CLIP, 3, "a.mp4 is cut short: the index"),
    ("a still", content("a.mp4", whole("sample.jpg")), CLIP, 3, "is a single picture: zoomdream zoom"),
    ("a bomb", content("a.mp4", gif(60000, 60000)), CLIP, 3,
     "has frames of 60000x60000 pixels, and 200,000,000 are the most: --max-pixels lifts the limit"),
    ("over a limit", content("a.mp4", whole("sample.mp4")), (*CLIP, "--max-pixels", 99), 3, "99 are"),
    ("floats", picture("a.png", Image.new("F", (64, 64)), format="TIFF"), ZOOM, 0, "o.gif: "),
    ("mislabelled", content("a.mp4", gif(64, 48)), CLIP, 0, "o.gif: "),
    # Presets
    ("code", script("__import__('os').system('touch evil-ran')"), RENDER, 2, "p.toml: line 2: camera.zoom: "),
    ("a way out", script("t.__class__.__bases__"), RENDER, 2, "p.toml: line 2: camera.zoom: "),
    ("no end", script("9**9**9**9"), RENDER, 2, "p.toml: line 2: camera.zoom: "),
    ("much", script("'a' * 10**10"), RENDER, 2, "p.toml: line 2: camera.zoom: "),
    ("deep", script("(" * 5000 + "1" + ")" * 5000), RENDER, 2, "p.toml: line 2: camera.zoom: "),
    ("deep TOML", content("p.toml", b"a = " + b"[" * 100_000), RENDER, 2, "p.toml"),
    ("bytes", content("p.toml", b"\xff\xfe\x00"), RENDER, 3, "p.toml cannot be read: "),
    ("long", content("p.toml", b"#" * 3_000_000), RENDER, 2, "p.toml"),
    ("itself", content("p.toml", b'extends = "p.toml"'), RENDER, 2, "p.toml"),
    # Weights
    ("pickled code", lambda f: (f / "w.pth").write_bytes(pickle.dumps({"a": Evil()})),
     (*WITH_WEIGHTS, "w.pth"), 5, "w.pth is no file of weights that can be read safely"),
    ("code in torch's own", lambda f: torch.save({"a": Evil()}, f / "w.pth"), (*WITH_WEIGHTS, "w.pth"), 5,
     "w.pth is no file of weights that can be read safely"),
    ("empty", content("w.safetensors", b""), (*WITH_WEIGHTS, "w.safetensors"), 5, "no file of weights"),
    ("a head of terabytes", content("w.safetensors", struct.pack("<Q", 1 << 42) + b"{}"),
     (*WITH_WEIGHTS, "w.safetensors"), 5, "no file of weights"),
    ("one is missing", weights("w.safetensors", first=None), (*WITH_WEIGHTS, "w.safetensors"), 5,
     "is not for pocket: it lacks"),
    ("one is misshapen", weights("w.safetensors", first=torch.zeros(3)), (*WITH_WEIGHTS, "w.safetensors"), 5,
     "is (3,) instead of"),
    ("one is NaN", weights("w.safetensors", first=FIRST * float("nan")), (*WITH_WEIGHTS, "w.safetensors"), 5,
     "holds values that are not finite"),
    # Drawings
    ("a drawing", content("a.png", svg('<rect width="30" height="9" fill="red"/>')), ZOOM, 0, "o.gif: "),
    ("an entity bomb", content("a.png", svg("<text>&a9;</text>", before=BOMB)), ZOOM, 3,
     "a.png defines entities, which is not allowed: save it as plain SVG"),
    ("an outside entity", content("a.png", svg("<text>&x;</text>", before=OUTSIDE)), ZOOM, 3,
     "a.png defines entities, which is not allowed"),
    ("a bomb of uses", content("a.png", svg(f'<defs><g id="a0"><path/></g>{USES}</defs><use href="#a9"/>')),
     ZOOM, 3, "a.png cannot be drawn"),
    ("deep", content("a.png", svg("<g>" * 50_000 + "</g>" * 50_000)), ZOOM, 3,
     "a.png is nested too deeply to be drawn"),
    ("a gigantic one", content("a.png", svg("", 'width="1e9" height="1e9"')), ZOOM, 3, "has no size"),
    ("a line", content("a.png", svg("", 'width="9000" height="1"')), ZOOM, 3, "longer than wide"),
    ("no size", content("a.png", svg("", "")), ZOOM, 3, "a.png has no size: it needs a width and a height"),
    ("over a limit", content("a.png", svg("")), (*ZOOM, "--max-pixels", 99), 3, "see --max-pixels"),
    ("cut short", content("a.png", svg("<g>")[:-9]), ZOOM, 3, "a.png is no SVG that can be read"),
    ("a bomb of gzip", content("a.png", gzip.compress(b" " * 60_000_000)), ZOOM, 3, "more than 50 MB"),
    ("gzip, cut short", content("a.png", gzip.compress(svg(""))[:-9]), ZOOM, 3, "cannot be unpacked"),
    # PDF
    ("a page", content("a.png", pdf("0 0 60 40")), ZOOM, 0, "o.gif: "),
    ("cut short", content("a.png", pdf("0 0 60 40")[:120]), ZOOM, 3,
     "a.png is a PDF that is damaged, or has no page: save it again"),
    ("no pages", content("a.png", pdf("0 0 60 40").replace(b"/Kids[3 0 R]/Count 1", b"/Kids[]/Count 0")),
     ZOOM, 3, "a.png is a PDF that is damaged, or has no page: save it again"),
    ("a password", content("a.png", pdf("0 0 60 40", LOCKED)), ZOOM, 3,
     "a.png is a PDF that wants a password: save it without one"),
    ("a gigantic page", content("a.png", pdf("0 0 999999 900000")), (*ZOOM, "--max-pixels", 2999), 3,
     "pixels, and 2999 are the most: see --max-pixels"),
    ("a line", content("a.png", pdf("0 0 9000 1")), ZOOM, 3, "longer than wide"),
    # Deforum's
    ("a bomb", content("d.txt", b"[" * 100_000), ("presets", "import", "d.txt"), 3,
     "d.txt is no JSON, as Deforum's settings files are"),
    ("code", content("d.txt", b'{"max_frames": 9, "zoom": "0:(__import__(\'os\').abort())"}'),
     ("presets", "import", "d.txt"), 2, "zoom: "),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "words", "code", "told"),
    [row[1:] for row in TABLE],
    ids=[f"{row[2][0]} {row[0]}" for row in TABLE],
)
def test_hostile_files_get_one_sentence_and_a_code(
    zoomdream: Command, tmp_path: Path, make: Maker, words: tuple[object, ...], code: int, told: str
) -> None:
    make(tmp_path)
    before = sorted(p.name for p in tmp_path.iterdir())
    sized = code == 0 and words[0] in ("zoom", "clip", "render")
    started = time.monotonic()
    done = zoomdream(*words, *(SMALL if sized else ()))
    assert done.code == code, done.err
    assert told in done.err, done.err
    assert "Traceback" not in done.err
    assert time.monotonic() - started < 60
    if code:
        errors = [line for line in done.err.splitlines() if line.startswith("Error")]
        assert len(errors) == 1
        assert len(errors[0]) < 500
        assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert not (tmp_path / "evil-ran").exists()


def near(frame: Frame, image: Image.Image, most: float) -> bool:
    expected = as_frame(np.asarray(image.convert("RGB")))
    return frame.shape == expected.shape and float((frame - expected).abs().mean()) * 255 < most


@pytest.mark.parametrize("mode", ["CMYK", "P", "RGBA", "L", "LA", "1", "YCbCr"])
def test_colours_of_every_kind_come_out_as_they_are(tmp_path: Path, mode: str) -> None:
    image = SAMPLE.convert(mode)
    name = "a.jpg" if mode in ("CMYK", "YCbCr") else "a.png"
    options: dict[str, Any] = {"quality": 100, "subsampling": 0} if name == "a.jpg" else {}
    image.save(tmp_path / name, **options)
    assert near(read_still(tmp_path / name), image, 1.5)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_pictures_are_turned_in_every_format(tmp_path: Path, suffix: str, orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    SAMPLE.save(tmp_path / f"a{suffix}", exif=exif)
    with Image.open(tmp_path / f"a{suffix}") as image:
        upright = ImageOps.exif_transpose(image)
    frame = read_still(tmp_path / f"a{suffix}")
    assert near(frame, upright, 0.01)
    assert (frame.shape[2] > frame.shape[3]) == (orientation > 4)


def test_a_drawing_is_drawn_at_the_size_that_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    path.write_bytes(svg('<rect width="30" height="40" fill="#ff0000"/>', 'viewBox="0 0 60 40"'))
    assert read_still(path).shape == (1, 3, 683, 1024)
    frame = read_still(path, fill=Size.square(300))
    assert frame.shape == (1, 3, 300, 450)
    assert frame[0, :, 150, 100].tolist() == [1, 0, 0]
    assert frame[0, :, 150, 400].tolist() == [1, 1, 1]  # paper is white
    edge = frame[0, 1, 150, 215:235]
    assert int(((edge > 0.05) & (edge < 0.95)).sum()) <= 1  # sharp at any size
    (tmp_path / "a.svgz").write_bytes(gzip.compress(path.read_bytes()))
    assert torch.equal(read_still(tmp_path / "a.svgz", fill=Size.square(300)), frame)


def test_a_drawing_by_matplotlib(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([1, 3, 2], color="#ff0000")
    figure.savefig(tmp_path / "a.svg")
    frame = read_still(tmp_path / "a.svg", fill=Size(300, 200))
    assert frame.shape == (1, 3, 200, 300)
    assert float((frame == 1).all(1).float().mean()) > 0.5  # paper
    assert bool(((frame[:, 0] > 0.9) & (frame[:, 1] < 0.1)).any())  # the line


def test_a_drawing_fetches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 9), (255, 0, 0)).save("red.png")
    whole = 'width="60" height="40"'
    inner = svg(f'<image href="{tmp_path}/red.png" {whole}/>')
    data = base64.b64encode(Path("red.png").read_bytes()).decode()
    for outside in (
        f'<image href="red.png" {whole}/>',
        f'<image href="{tmp_path}/red.png" {whole}/>',
        f'<image href=" file://{tmp_path}/red.png" {whole}/>',
        f'<image xmlns:x="http://www.w3.org/1999/xlink" x:href="red.png" {whole}/>',
        f'<image href="http://127.0.0.1:9/red.png" {whole}/>',
        f'<image href="data:image/svg+xml;base64,{base64.b64encode(inner).decode()}" {whole}/>',
        f'<filter id="f"><feImage href="red.png"/></filter><rect filter="url(#f)" {whole}/>',
        f'<style>@import url("red.css");</style><rect fill="url(red.png)" {whole}/>',
    ):
        Path("a.svg").write_bytes(svg(outside))
        frame = read_still(Path("a.svg"))
        assert not bool(((frame[:, 0] > 0.5) & (frame[:, 1] < 0.5)).any()), outside
    Path("a.svg").write_bytes(svg(f'<image href="data:image/png;base64,{data}" {whole}/>'))
    assert read_still(Path("a.svg"))[0, :, 300, 500].tolist() == [1, 0, 0]  # what is in it is shown


def test_a_drawing_that_takes_for_ever_is_given_up() -> None:
    blurs = '<feGaussianBlur stdDeviation="90"/>' * 90
    many = "".join(
        f'<filter id="f{n}">{blurs}</filter><rect width="60" height="40" filter="url(#f{n})"/>'
        for n in range(90)
    )
    started = time.monotonic()
    with pytest.raises(ValueError, match="takes more than 2 s to draw"):
        draw_drawing(svg(many), Size(1500, 1000), MAX_PIXELS, seconds=2)
    assert time.monotonic() - started < 20


def test_without_the_extra_a_drawing_gets_one_sentence(
    zoomdream: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    (tmp_path / "a.svg").write_bytes(svg(""))
    done = zoomdream("zoom", "a.svg", "-o", "a.mp4")
    assert done.code == 3
    assert 'a.svg is an SVG drawing: pip install "zoomdream[svg]" to use those' in done.err


_touched: list[str] | None = None  # what was done outside a folder, while it is watched
_home = ""
TOUCHING = (
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.truncate",
    "os.link",
    "os.symlink",
)


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _touched is None:
        return
    if event == "open":
        path, mode, flags = arguments
        writes = bool(set(str(mode or "")) & set("wax+")) or (
            mode is None and isinstance(flags, int) and flags & 3
        )
        if writes and isinstance(path, str) and not path.startswith((_home, "/dev/null")):
            _touched.append(f"wrote {path}")
    elif event in TOUCHING and not str(arguments[0]).startswith(_home):
        _touched.append(f"{event} {arguments[0]}")
    elif event in ("os.system", "os.exec", "socket.connect", "socket.getaddrinfo"):
        _touched.append(f"{event} {arguments}")
    elif event == "subprocess.Popen":
        program = Path(str(arguments[0])).name
        if not (program.startswith("ffmpeg") or str(arguments[0]) == sys.executable):
            _touched.append(f"{event} {arguments}")


sys.addaudithook(_hook)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is touched outside the working folder, which scratch files go to as well."""
    global _touched, _home
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    _home, _touched = str(tmp_path), []
    yield _touched
    _touched = None


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A file after an accident: bits flipped, parts lost, doubled, moved, or overwritten."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        size = len(found)
        at = rng.randrange(min(size, rng.choice((64, 512, size))) or 1) if size else 0
        long = rng.choice((1, 2, 4, 8, 64, 1000))
        match rng.randrange(7):
            case 0 if size:
                found[at] ^= 1 << rng.randrange(8)
            case 1:
                found[at : at + long] = rng.randbytes(long)
            case 2:
                found[at : at + long] = b"\xff" * min(long, 8)
            case 3:
                found[at : at + long] = b""
            case 4:
                found[at:at] = found[at : at + long]
            case 5:
                del found[at + rng.randrange(max(1, size)) :]
            case _:
                found[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.randrange(1 << 32))
    return bytes(found)


def stills(folder: Path) -> list[Path]:
    for name in ("a.jpg", "a.png", "a.webp", "a.tiff", "a.bmp", "a.gif", "a.ppm"):
        SAMPLE.save(folder / name)
    SAMPLE.convert("CMYK").save(folder / "b.jpg")
    SAMPLE.convert("P").save(folder / "b.png")
    SAMPLE.save(folder / "b.tiff", compression="tiff_deflate")
    cv2.imwrite(str(folder / "c.png"), np.full((40, 60, 3), 9999, np.uint16))
    cv2.imwrite(str(folder / "c.tiff"), np.full((40, 60, 4), 9999, np.uint16))
    return sorted(folder.iterdir())


def light(folder: Path) -> list[Path]:
    planes = np.random.default_rng(0).random((3, 40, 60), np.float32)
    (folder / "a.exr").write_bytes(exr(dict(zip("RGB", planes, strict=True))))
    (folder / "b.exr").write_bytes(exr(dict(zip("RGBA", planes[[0, 1, 2, 0]], strict=True))))
    (folder / "a.hdr").write_bytes(radiance(np.moveaxis(planes, 0, 2)))
    cv2.imwrite(str(folder / "b.hdr"), np.ascontiguousarray(np.moveaxis(planes, 0, 2)))
    return sorted(folder.iterdir())


def clips(folder: Path) -> list[Path]:
    frames = films.counting(6)
    for name, *how in (
        ("a.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p"),
        ("a.webm", "-c:v", "libvpx-vp9", "-cpu-used", "8"),
        ("a.gif",),
        ("a.avi", "-c:v", "mjpeg"),
    ):
        films.write(frames, folder / name, 10, *(how or ["-c:v", "gif"]))
    return sorted(folder.iterdir())


def drawings(folder: Path) -> list[Path]:
    body = '<defs><linearGradient id="g"><stop offset="0"/></linearGradient></defs>'
    body += '<g transform="rotate(9)"><path d="M 1 2 L 30 20 Z" fill="url(#g)"/><text y="9">a</text></g>'
    (folder / "a.svg").write_bytes(svg(body))
    (folder / "a.pdf").write_bytes(pdf("0 0 60 40"))
    return [folder / "a.svg", folder / "a.pdf"]


def moods(folder: Path) -> list[Path]:
    for path in presets.known().values():
        shutil.copy(path, folder)
    return sorted(folder.iterdir())


def deforums(folder: Path) -> list[Path]:
    values = {
        "max_frames": 20,
        "fps": 12,
        "zoom": "0:(1.02), 9:(1+0.02*sin(t/5))",
        "W": 512,
        "seed": 3,
    }
    (folder / "a.txt").write_text(json.dumps(values))
    return [folder / "a.txt"]


def networks(folder: Path) -> list[Path]:
    small = {"a.weight": torch.rand(4, 3, 3, 3), "a.bias": torch.rand(4)}
    save_file(small, folder / "a.safetensors")
    torch.save(small, folder / "a.pth")
    return sorted(folder.iterdir())


def journals(folder: Path) -> list[Path]:
    """The files of a render that was interrupted."""
    stops = iter([False] * 9 + [True])
    quick = zd.DreamSpec(octaves=1, steps=1)
    small = zd.Output(size=(48, 32), frames=20, fps=4)
    job = zd.RenderJob(target=folder / "film.mp4", dream=quick, output=small, device="cpu")
    with pytest.raises(Interrupted):
        render_film(job, stopping=lambda: next(stops))
    return [p for p in journal_folder(folder / "film.mp4").iterdir() if p.name != "lock"]


def play_one(path: Path) -> None:
    video = open_video(path)
    next(iter(video.clip(Size.square(32), video.fps).frames))


def check_mood(path: Path) -> None:
    assert isinstance(presets.mistakes(path), list)
    presets.load_preset(path)


def recover_one(path: Path) -> None:
    """As a render that goes on does, and a look at what there is."""
    target = path.parent.parent / "film.mp4"
    with contextlib.suppress(ZoomdreamError):
        interrupted_job(target)
    journal = Journal(path.parent, SegmentPlan(Size(48, 32), zd.Output(fps=4).fps or 1))  # type: ignore[arg-type]
    journal.recover()
    assert journal.frame in (0, *range(21))


LOADERS: list[tuple[str, int, Callable[[Path], list[Path]], Callable[[Path], object]]] = [
    ("stills", 4000, stills, read_still),
    ("linear light", 400, light, read_still),
    ("clips", 150, clips, play_one),
    ("drawings", 350, drawings, read_still),
    ("presets", 2500, moods, check_mood),
    ("Deforum", 1000, deforums, import_settings),
    ("weights", 1200, networks, read_weights),
    ("journals", 800, journals, recover_one),
]


@pytest.mark.parametrize(("count", "make", "load"), [row[1:] for row in LOADERS],
                         ids=[row[0] for row in LOADERS])  # fmt: skip
def test_mutated_files_give_our_errors_only(
    tmp_path: Path,
    count: int,
    make: Callable[[Path], list[Path]],
    load: Callable[[Path], object],
    request: pytest.FixtureRequest,
) -> None:
    (tmp_path / "here").mkdir()
    paths = make(tmp_path / "here")
    kept = {path: path.read_bytes() for path in paths}
    touched: list[str] = request.getfixturevalue("watched")
    rng, slowest, longest = random.Random(2015), 0.0, 0
    outcomes = Counter[str]()
    for number in range(count):
        path = paths[number % len(paths)]
        for each, data in kept.items():
            if not each.exists() or each == path or load is recover_one:
                each.write_bytes(data)
        data = mutated(kept[path], rng)
        outcomes["changed"] += data != kept[path]
        path.write_bytes(data)
        started = time.monotonic()
        try:
            load(path)
            outcomes["read"] += 1
        except ZoomdreamError as error:
            outcomes["refused"] += 1
            longest = max(longest, len(str(error)))
        except Exception as error:
            raise AssertionError(f"mutation {number} of {path.name}: {error!r}") from error
        slowest = max(slowest, time.monotonic() - started)
    assert touched == []
    assert outcomes["read"] + outcomes["refused"] == count  # each mutation was tried
    assert outcomes["changed"] > 0.9 * count  # and was one
    assert outcomes["read"] > 0  # some did no harm
    assert slowest < 20
    assert longest < 1000
