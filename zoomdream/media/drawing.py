"""Draw SVG and PDF at the size that is wanted, in a process of their own.

resvg draws SVG, pdfium the first page of a PDF. Nothing outside the file is ever looked at: SVG's
references to other files and to the web are removed before it is drawn, its entities are refused, and
pdfium follows none. A drawing that takes too long or too much memory is given up.
"""

import codecs
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
DRAWING_SECONDS = 60.0  # that drawing may take
DRAWING_BYTES = 8_000_000_000  # of memory that it may take, where the system can limit that
UNPACKED_BYTES = 50_000_000  # of SVG in an .svgz, at most
FILE_FAULT = 3  # exit code of the process that draws, where it says what is wrong with the file
_PX = {"": 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0}
_START = re.compile(rb"^(\xef\xbb\xbf)?\s*(<\?xml|<!--|<!DOCTYPE\s+svg|<svg)", re.IGNORECASE)


def is_drawing(content: bytes) -> bool:
    """Whether a file's bytes look like SVG, gzipped SVG or PDF."""
    if content[:2] == b"\x1f\x8b" or _is_pdf(content):
        return True
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        content = content.decode("utf-16", "ignore").encode()
    return bool(_START.match(content[:1000])) and b"<svg" in content


def _is_pdf(content: bytes) -> bool:
    return content[:5] == b"%PDF-"


def draw_drawing(
    content: bytes, fill: Size | None, limit: int, seconds: float = DRAWING_SECONDS
) -> bytes:
    """Draws an SVG, or a PDF's first page, as a PNG that is just large enough to fill a size.

    Without `fill` its longer side is `DRAWING_LONGER_SIDE` px. limit: pixels that it may have. seconds: that
    it may take. Raises ValueError with half a sentence: what is wrong with it.
    """
    if _is_pdf(content):
        if find_spec("pypdfium2") is None:
            raise ValueError('is a PDF: pip install "zoomdream[pdf]" to use those')
        return _run(content, seconds, "pdf", *(fill or Size(0, 0)), limit)
    root = _parsed(_unpacked(content))
    _remove_outside_references(root)
    try:
        plain = tostring(root)
    except RecursionError:
        raise ValueError("is nested too deeply to be drawn") from None
    return _run(plain, seconds, "svg", _pixel_size(*_own_size(root), fill, limit).width)


def _pixel_size(width: float, height: float, fill: Size | None, limit: int) -> Size:
    """The size in px that a drawing of such sides, in any unit, is drawn at; raises ValueError."""
    if not (width > 0 and height > 0 and 1 / 1000 <= width / height <= 1000):
        raise ValueError("is more than a thousand times longer than wide")
    factor = (
        max(fill.width / width, fill.height / height)
        if fill
        else DRAWING_LONGER_SIDE / max(width, height)
    )
    size = Size.rounded(width * factor, height * factor)
    if size.pixels > limit:
        raise ValueError(f"has {size} pixels, and {limit} are the most: see `max_pixels`")
    return size


def _run(content: bytes, seconds: float, *arguments: object) -> bytes:
    """Draws in a process of its own (see `_main`); raises ValueError."""
    try:
        drawn = subprocess.run(
            [sys.executable, "-m", "zoomdream.media.drawing", *map(str, arguments)],
            input=content, capture_output=True, timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ValueError(f"takes more than {seconds:g} s to draw: simplify it") from None
    messages = drawn.stderr.decode(errors="replace").strip()
    if drawn.returncode == FILE_FAULT:
        raise ValueError(messages[-200:])
    if drawn.returncode != 0:
        last = messages.splitlines()[-1][-120:] if messages else "it takes too much"
        raise ValueError(f"cannot be drawn ({last})")
    return drawn.stdout


def _unpacked(content: bytes) -> bytes:
    """Unpacks an .svgz; raises ValueError."""
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        unpacked = gzip.GzipFile(fileobj=BytesIO(content)).read(UNPACKED_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        raise ValueError("is damaged: it cannot be unpacked") from None
    if len(unpacked) > UNPACKED_BYTES:
        raise ValueError(f"unpacks to more than {UNPACKED_BYTES // 10**6} MB")
    return unpacked


def _parsed(content: bytes) -> Element:
    """Parses an SVG without expanding any entity; raises ValueError."""
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


def _remove_outside_references(root: Element) -> None:
    """Removes attributes that lead out of the file."""
    for element in root.iter():
        for name, value in list(element.attrib.items()):
            refers = name.rpartition("}")[2] in ("href", "src", "base")
            if refers and not value.strip().startswith(("#", "data:")):
                del element.attrib[name]


def _own_size(root: Element) -> tuple[float, float]:
    """An SVG's width and height in px; by the view box where they are not given. Raises ValueError."""
    box = [_length(number) for number in re.split(r"[\s,]+", root.get("viewBox", "").strip())]
    width, height = _length(root.get("width", "")), _length(root.get("height", ""))
    if len(box) == 4 and box[2] and box[3]:
        width = width or (height * box[2] / box[3] if height else box[2])
        height = height or width * box[3] / box[2]
    if not (width and height):
        raise ValueError("has no size: it needs a width and a height, or a viewBox")
    return width, height


def _length(text: str) -> float:
    """A length in px; 0 where it is none, or relative."""
    match = re.fullmatch(r"\+?(\d*\.?\d+(?:e[+-]?\d{1,2})?)\s*([a-z]*)", text.strip().lower())
    pixels = float(match[1]) * _PX.get(match[2], 0.0) if match else 0.0
    return pixels if 1e-3 <= pixels <= 1e6 else 0.0


def _main() -> None:
    """Draws stdin, an SVG or PDF, to stdout, a PNG, in a process that may die of it.

    Arguments: svg WIDTH, or pdf WIDTH HEIGHT LIMIT, where 0 0 leaves the size to the drawing.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (DRAWING_BYTES, DRAWING_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    kind, *numbers = sys.argv[1:]
    content = sys.stdin.buffer.read()
    try:
        png = (_draw_svg if kind == "svg" else _draw_page)(content, *map(int, numbers))
    except ValueError as error:
        sys.stderr.write(str(error))
        sys.exit(FILE_FAULT if kind == "pdf" else 1)
    sys.stdout.buffer.write(png)


def _draw_svg(content: bytes, width: int) -> bytes:
    import resvg_py

    return bytes(resvg_py.svg_to_bytes(svg_string=content.decode(), width=width, dpi=96))


def _draw_page(content: bytes, width: int, height: int, limit: int) -> bytes:
    """Draws a PDF's first page; raises ValueError with half a sentence."""
    import pypdfium2

    try:
        page = pypdfium2.PdfDocument(content)[0]
        page_width, page_height = page.get_size()  # in points
    except (pypdfium2.PdfiumError, IndexError) as error:
        if "password" in str(error):
            raise ValueError("is a PDF that wants a password: save it without one") from None
        raise ValueError("is a PDF that is damaged, or has no page: save it again") from None
    size = _pixel_size(page_width, page_height, Size(width, height) if width else None, limit)
    try:
        picture = page.render(scale=(size.width - 0.01) / page_width).to_pil()  # it rounds up
    except pypdfium2.PdfiumError as error:
        raise ValueError(f"is a PDF whose first page cannot be drawn ({error})") from None
    png = BytesIO()
    picture.convert("RGB").save(png, "PNG")
    return png.getvalue()


if __name__ == "__main__":
    _main()
