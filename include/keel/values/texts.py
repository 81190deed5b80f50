"""Make any text harmless to show: without control characters, and no longer than a reader reads."""

from __future__ import annotations

import unicodedata
from urllib.parse import urlsplit

NAME = 120
"""Characters of a column's or category's name that are shown."""
CELL = 300
"""Characters of a table's cell."""
TEXT = 2_000
"""Characters of a paragraph."""
ADDRESS = 2_000
"""A longer address is no link."""
IN_ASCII = str.maketrans("▁▂▃▄▅▆▇█·…–—−±×’‘“”•─│", "_.-:=+*#-.---~x''\"\"*-|")
"""What a terminal shows that knows ASCII only; any other character is a question mark."""
JOINERS = "\u200c\u200d"
"""Persian, the languages of India and emoji need them inside words."""


def shown(text: str, limit: int = TEXT) -> str:
    r"""Return ``text`` as a page shows it.

    A control character becomes its picture, and one that is invisible or changes the direction of writing its code:
    two names that differ look different, and no name rearranges its surroundings. Line ends and tabs become spaces. A
    text of more than ``limit`` characters is cut, and its length named.

    >>> shown("a\tb"), shown("a\x00b"), shown("abc\u202edef"), shown("x" * 9, 5)
    ('a b', 'a␀b', 'abc‹U+202E›def', 'xxxxx… (9 characters)')
    """
    cut = text if len(text) <= limit else text[:limit]
    if not cut.isprintable():
        cut = "".join(c if c.isprintable() else _visible(c) for c in cut)
    return cut if len(text) <= limit else f"{cut}… ({len(text):,} characters)"


def _visible(character: str) -> str:
    if character in JOINERS:
        return character
    if character.isspace() and character not in "\x1c\x1d\x1e\x1f":
        return " "
    if unicodedata.category(character) == "Cc" and ord(character) < 0x80:
        return "␡" if character == "\x7f" else chr(0x2400 + ord(character))
    return f"‹U+{ord(character):04X}›"


def is_web_address(address: str) -> bool:
    """Return whether an address may become a link: http or https, with a host, of printable ASCII, not endless."""
    if not address.isascii() or not address.isprintable() or " " in address or len(address) > ADDRESS:
        return False
    try:
        parts = urlsplit(address)
    except ValueError:  # such as a port or a bracket that makes no sense
        return False
    return parts.scheme in {"http", "https"} and bool(parts.netloc)


def to_ascii(text: str) -> str:
    """Return a text of as many characters, all of ASCII.

    >>> to_ascii("PSI 0.3 · ▁█ · Zürich")
    'PSI 0.3 - _# - Z?rich'
    """
    return text if text.isascii() else text.translate(IN_ASCII).encode("ascii", "replace").decode()
