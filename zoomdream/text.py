"""Read text that others have saved, keep names that are no Unicode, and show both safely.

A file's name is bytes, and on POSIX they need not be UTF-8. Where such a name becomes text (in a film's
NAME.toml, in its journal, in `--json`, in a message) each byte that is no UTF-8 is written as a backslash, an
x and two hexadecimal digits: `caf\\xe9.png`. `path_text` writes names so, and `path_from_text` reads them
again, whatever the locale is by then. A backslash that would be mistaken for the beginning of one is
written as `\\x5c`.
"""

import codecs
import os
import re
import unicodedata
from pathlib import Path

from zoomdream.errors import InputError, UsageError
from zoomdream.files import readable_inputs

_MARKS = {  # UTF-32 first: its mark begins like that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_ESCAPED_BYTE = re.compile(rb"\\x(5c|[89a-f][0-9a-f])")
_NO_CHARACTER = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # surrogates that stand for no byte
_BIDIRECTIONAL = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def read_text(path: Path, most_bytes: int, errors: str = "strict") -> str:
    """Reads a text file: UTF-8, or what its byte order mark says; each line ends with a line feed.

    most_bytes: that the file may have. errors: "replace" takes what is no text for unknown letters. Raises
    UsageError where it has more, and InputError, which says where it is no text.
    """
    with readable_inputs(path), path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise UsageError(f"{path} is too large: {most_bytes // 1000} kB at most")
    return decode_text(content, str(path), errors)


def decode_text(content: bytes, name: str, errors: str = "strict") -> str:
    """Decodes a text file's content, as `read_text` does. name: of the file, for messages."""
    content = content.removeprefix(codecs.BOM_UTF8)
    encoding = next((known for mark, known in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise InputError(
                f"{name} cannot be read: it begins as {encoding.upper()}, and is none from byte "
                f"{error.start + 1} on; save it as UTF-8"
            ) from None
        byte = content[error.start]
        place = _place(content[: error.start].decode())
        raise InputError(
            f"{name} cannot be read: {place} is the byte {byte:02x} ({chr(byte)!r} in Latin-1), "
            "which is no UTF-8; save it as that"
        ) from None
    if "\0" in text:
        place = _place(text[: text.index("\0")])
        raise InputError(
            f"{name} cannot be read: {place} is a byte of zero, as in no text; save it as UTF-8"
        )
    return _lines_ended_alike(text)


def _lines_ended_alike(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _place(before: str) -> str:
    """Says where a text goes on: `line 3, column 5`, from 1."""
    lines = _lines_ended_alike(before).split("\n")
    return f"line {len(lines)}, column {len(lines[-1]) + 1}"


def path_text(path: Path) -> str:
    """Writes a path as text that is valid Unicode, from which `path_from_text` makes it again."""
    if os.name == "nt":  # its names are Unicode
        return str(path)
    name = re.sub(rb"\\(?=x(5c|[89a-f][0-9a-f]))", rb"\\x5c", os.fsencode(path))
    return name.decode("utf-8", "backslashreplace")


def path_from_text(text: str) -> Path:
    """Makes a path of what `path_text` has written, or of a usual path."""
    if os.name == "nt":
        return Path(text)
    name = _ESCAPED_BYTE.sub(lambda escape: bytes.fromhex(escape[1].decode()), text.encode())
    return Path(os.fsdecode(name))


def valid_unicode(text: str) -> str:
    """Writes bytes of names within a text as `\\xe9`, so that it can be encoded."""
    text = _NO_CHARACTER.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    """Escapes what a terminal would obey instead of showing: control characters, and what turns the
    direction of writing; also bytes of names, as `valid_unicode` does.

    A line's end is escaped too, but not before four blanks: there an error shows a line of what is wrong.
    """
    lines = valid_unicode(text).split("\n    ")
    return "\n    ".join(
        "".join(repr(letter)[1:-1] if _steers(letter) else letter for letter in line)
        for line in lines
    )


def _steers(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Zl", "Zp") or letter in _BIDIRECTIONAL
