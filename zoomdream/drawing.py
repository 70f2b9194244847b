"""Drawings: SVG becomes pixels at the size that is wanted, by resvg, in a process of its own.

Nothing outside the file is ever looked at: references to other files and to the web are taken out before
it is drawn, entities are refused, and a drawing that takes too long or too much memory is given up.
"""

import contextlib
import gzip
import re
import subprocess
import sys
import zlib
from io import BytesIO
from xml.etree.ElementTree import Element, ParseError, tostring

LONGEST = 1024  # px of a drawing's longer side, where no size is wanted
PATIENCE = 60.0  # seconds that drawing may take
MEMORY = 8_000_000_000  # bytes that it may take, where the system can limit that
UNPACKED = 50_000_000  # bytes of SVG in an .svgz, at most
_UNITS = {"": 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0}
_START = re.compile(rb"^(\xef\xbb\xbf)?\s*(<\?xml|<!--|<!DOCTYPE\s+svg|<svg)", re.IGNORECASE)


def is_drawing(content: bytes) -> bool:
    """Whether a file's bytes look like SVG, or gzipped SVG."""
    if content[:2] == b"\x1f\x8b":
        return True
    return bool(_START.match(content[:1000])) and b"<svg" in content


def draw(content: bytes, fill: tuple[int, int] | None, limit: int) -> bytes:
    """SVG as a PNG that is just large enough to fill (width, height); or `LONGEST` px without.

    Raises ValueError with half a sentence: what is wrong with it.
    """
    root = _parsed(_unpacked(content))
    _cut_off(root)
    try:
        plain = tostring(root)
    except RecursionError:
        raise ValueError("is nested too deeply to be drawn") from None
    wide, high = _natural(root)
    factor = max(fill[0] / wide, fill[1] / high) if fill else LONGEST / max(wide, high)
    width, height = max(1, round(wide * factor)), max(1, round(high * factor))
    if width * height > limit:
        raise ValueError(f"has {width}x{height} pixels, and {limit} are the most: see --max-pixels")
    words = [sys.executable, "-m", "zoomdream.drawing", str(width)]
    try:
        made = subprocess.run(
            words, input=plain, capture_output=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"takes more than {PATIENCE:g} s to draw: simplify it") from None
    if made.returncode != 0:
        told = made.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(f"cannot be drawn ({told[-1][-120:] if told else 'it takes too much'})")
    return made.stdout


def _unpacked(content: bytes) -> bytes:
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        found = gzip.GzipFile(fileobj=BytesIO(content)).read(UNPACKED + 1)
    except (OSError, EOFError, zlib.error):
        raise ValueError("is damaged: it cannot be unpacked") from None
    if len(found) > UNPACKED:
        raise ValueError(f"unpacks to more than {UNPACKED // 10**6} MB")
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
    if not 1 / 1000 <= wide / high <= 1000:
        raise ValueError("is more than a thousand times longer than wide")
    return wide, high


def _length(text: str) -> float:
    """A length in px; 0 where it is none, or relative."""
    found = re.fullmatch(r"\+?(\d*\.?\d+(?:e[+-]?\d{1,2})?)\s*([a-z]*)", text.strip().lower())
    value = float(found[1]) * _UNITS.get(found[2], 0.0) if found else 0.0
    return value if 1e-3 <= value <= 1e6 else 0.0


def _main() -> None:
    """In a process of its own, which may die of it: SVG in, PNG of a width out."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import resvg_py

    text = sys.stdin.buffer.read().decode()
    try:
        made = resvg_py.svg_to_bytes(svg_string=text, width=int(sys.argv[1]), dpi=96)
    except ValueError as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(made)


if __name__ == "__main__":
    _main()
