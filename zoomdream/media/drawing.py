"""Drawings: SVG and PDF become pixels at the size that is wanted, in a process of their own.

resvg draws SVG, pdfium the first page of a PDF. Nothing outside the file is ever looked at: SVG's
references to other files and to the web are taken out before it is drawn, its entities are refused, and
pdfium follows none. A drawing that takes too long or too much memory is given up.
"""

import contextlib
import gzip
import re
import subprocess
import sys
import zlib
from importlib.util import find_spec
from io import BytesIO
from xml.etree.ElementTree import Element, ParseError, tostring

from zoomdream.size import Size

DRAWING_LONGER_SIDE = 1024  # px of a drawing's longer side, where no size is wanted
DRAWING_SECONDS = 60.0  # seconds that drawing may take
DRAWING_BYTES = 8_000_000_000  # bytes that it may take, where the system can limit that
UNPACKED_BYTES = 50_000_000  # bytes of SVG in an .svgz, at most
FAULT = 3  # exit code of the process that draws, where it says what is wrong with the file
_UNITS = {"": 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0}
_START = re.compile(rb"^(\xef\xbb\xbf)?\s*(<\?xml|<!--|<!DOCTYPE\s+svg|<svg)", re.IGNORECASE)


def is_drawing(content: bytes) -> bool:
    """Whether a file's bytes look like SVG, gzipped SVG or PDF."""
    if content[:2] == b"\x1f\x8b" or _is_pdf(content):
        return True
    return bool(_START.match(content[:1000])) and b"<svg" in content


def _is_pdf(content: bytes) -> bool:
    return content[:5] == b"%PDF-"


def draw_drawing(content: bytes, fill: Size | None, limit: int) -> bytes:
    """SVG, or a PDF's first page, as a PNG that is just large enough to fill a size.

    Without `fill` its longer side is `LONGEST` px. limit: pixels that it may have. Raises ValueError with
    half a sentence: what is wrong with it.
    """
    if _is_pdf(content):
        if find_spec("pypdfium2") is None:
            raise ValueError('is a PDF: pip install "zoomdream[pdf]" to use those')
        return _drawn(content, "pdf", *(fill or Size(0, 0)), limit)
    root = _parsed(_unpacked(content))
    _cut_off(root)
    try:
        plain = tostring(root)
    except RecursionError:
        raise ValueError("is nested too deeply to be drawn") from None
    return _drawn(plain, "svg", _size(*_natural(root), fill, limit).width)


def _size(wide: float, high: float, fill: Size | None, limit: int) -> Size:
    """In px, of a drawing that is so wide and so high in any unit; raises ValueError."""
    if not (wide > 0 and high > 0 and 1 / 1000 <= wide / high <= 1000):
        raise ValueError("is more than a thousand times longer than wide")
    factor = (
        max(fill.width / wide, fill.height / high)
        if fill
        else DRAWING_LONGER_SIDE / max(wide, high)
    )
    size = Size.rounded(wide * factor, high * factor)
    if size.pixels > limit:
        raise ValueError(f"has {size} pixels, and {limit} are the most: see `max_pixels`")
    return size


def _drawn(content: bytes, *words: object) -> bytes:
    """What a process of its own makes of it."""
    try:
        made = subprocess.run(
            [sys.executable, "-m", "zoomdream.media.drawing", *map(str, words)],
            input=content, capture_output=True, timeout=DRAWING_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ValueError(f"takes more than {DRAWING_SECONDS:g} s to draw: simplify it") from None
    if made.returncode == FAULT:
        raise ValueError(made.stderr.decode(errors="replace").strip()[-200:])
    if made.returncode != 0:
        told = made.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(f"cannot be drawn ({told[-1][-120:] if told else 'it takes too much'})")
    return made.stdout


def _unpacked(content: bytes) -> bytes:
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        found = gzip.GzipFile(fileobj=BytesIO(content)).read(UNPACKED_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        raise ValueError("is damaged: it cannot be unpacked") from None
    if len(found) > UNPACKED_BYTES:
        raise ValueError(f"unpacks to more than {UNPACKED_BYTES // 10**6} MB")
    return found


def _parsed(content: bytes) -> Element:
    try:
        import resvg_py  # noqa: F401
        from defusedxml.common import DefusedXmlException
        from defusedxml.ElementTree import fromstring
    except ImportError:
        raise ValueError('is an SVG drawing: pip install "zoomdream[svg]" to use those') from None
    try:
        root: Element = fromstring(content)
    except DefusedXmlException:
        raise ValueError("defines entities, which is not allowed: save it as plain SVG") from None
    except (ParseError, ValueError, LookupError, RecursionError) as error:
        raise ValueError(f"is no SVG that can be read ({error})") from None
    if root.tag.rpartition("}")[2] != "svg":
        raise ValueError("is XML, but no SVG")
    return root


def _cut_off(root: Element) -> None:
    """Takes out whatever leads out of the file."""
    for part in root.iter():
        for name, value in list(part.attrib.items()):
            local = name.rpartition("}")[2] in ("href", "src", "base")
            if local and not value.strip().startswith(("#", "data:")):
                del part.attrib[name]


def _natural(root: Element) -> tuple[float, float]:
    """Width and height in px; by the view box where they are not given."""
    box = [_length(word) for word in re.split(r"[\s,]+", root.get("viewBox", "").strip())]
    wide, high = _length(root.get("width", "")), _length(root.get("height", ""))
    if len(box) == 4 and box[2] and box[3]:
        wide, high = wide or (high * box[2] / box[3] if high else box[2]), high
        high = high or wide * box[3] / box[2]
    if not (wide and high):
        raise ValueError("has no size: it needs a width and a height, or a viewBox")
    return wide, high


def _length(text: str) -> float:
    """A length in px; 0 where it is none, or relative."""
    found = re.fullmatch(r"\+?(\d*\.?\d+(?:e[+-]?\d{1,2})?)\s*([a-z]*)", text.strip().lower())
    value = float(found[1]) * _UNITS.get(found[2], 0.0) if found else 0.0
    return value if 1e-3 <= value <= 1e6 else 0.0


def _main() -> None:
    """In a process of its own, which may die of it: SVG or PDF in, PNG out.

    Words: svg WIDTH, or pdf WIDTH HEIGHT LIMIT, where 0 0 is no wish.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (DRAWING_BYTES, DRAWING_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    kind, *numbers = sys.argv[1:]
    content = sys.stdin.buffer.read()
    try:
        made = (_svg if kind == "svg" else _page)(content, *map(int, numbers))
    except ValueError as error:
        sys.stderr.write(str(error))
        sys.exit(FAULT if kind == "pdf" else 1)
    sys.stdout.buffer.write(made)


def _svg(content: bytes, width: int) -> bytes:
    import resvg_py

    return bytes(resvg_py.svg_to_bytes(svg_string=content.decode(), width=width, dpi=96))


def _page(content: bytes, width: int, height: int, limit: int) -> bytes:
    """A PDF's first page; raises ValueError with half a sentence."""
    import pypdfium2

    try:
        page = pypdfium2.PdfDocument(content)[0]
        wide, high = page.get_size()
    except (pypdfium2.PdfiumError, IndexError) as error:
        if "password" in str(error):
            raise ValueError("is a PDF that wants a password: save it without one") from None
        raise ValueError("is a PDF that is damaged, or has no page: save it again") from None
    size = _size(wide, high, Size(width, height) if width else None, limit)
    try:
        picture = page.render(scale=(size.width - 0.01) / wide).to_pil()  # it rounds up
    except pypdfium2.PdfiumError as error:
        raise ValueError(f"is a PDF whose first page cannot be drawn ({error})") from None
    made = BytesIO()
    picture.convert("RGB").save(made, "PNG")
    return made.getvalue()


if __name__ == "__main__":
    _main()
