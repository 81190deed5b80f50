"""Names of columns: one name, whichever way its accents are encoded.

Unicode writes ``ö`` as one character (NFC) or as ``o`` and an accent (NFD, as macOS's file names have it). Both look
the same, so they are the same name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from unicodedata import normalize


def as_configured(given: Collection[object], wanted: Iterable[str]) -> dict[str, str]:
    """Return given name → wanted name where the two are one name in two encodings; usually empty.

    >>> as_configured(["gro" + chr(0x308) + "sse", "x"], ["gr" + chr(0xF6) + "sse", "x"]) != {}
    True
    """
    known = wanted if isinstance(wanted, frozenset) else frozenset(wanted)
    if known.issuperset(given):
        return {}
    strange = [name for name in given if isinstance(name, str) and not name.isascii() and name not in known]
    if not strange:
        return {}
    forms = {normalize("NFC", name): name for name in known if not name.isascii()}
    found = {name: forms.get(normalize("NFC", name)) for name in strange}
    return {name: configured for name, configured in found.items() if configured is not None}


def twins(names: Iterable[str]) -> tuple[str, str] | None:
    """Return two of the names that are one name in two encodings; None if there are none."""
    seen: dict[str, str] = {}
    for name in names:
        form = normalize("NFC", name)
        if form in seen and seen[form] != name:
            return seen[form], name
        seen[form] = name
    return None
