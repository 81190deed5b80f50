"""How many bytes of a file are left, and what becomes of that which does not fit."""

from __future__ import annotations

from collections.abc import Iterable

LEFT_OUT = '<p class="quiet">A part is left out here, as the file would become too large for a browser.</p>'


class ByteBudget:
    """The bytes that are left for a part of a file."""

    def __init__(self, size: int) -> None:
        self.left = size

    def has(self, html: str) -> bool:
        """Return whether there is space for ``html``, and take it."""
        size = byte_count(html)
        if size > self.left:
            return False
        self.left -= size
        return True

    def take(self, html: str) -> str:
        """Return ``html`` if there is space for it, and a sentence that something is left out otherwise."""
        if self.has(html):
            return html
        self.left = 0  # what follows would be a page with gaps
        return LEFT_OUT

    def take_some(self, lines: Iterable[str]) -> list[str]:
        """Return the first ``lines`` that fit together."""
        taken = []
        for line in lines:
            if not self.has(line):
                break
            taken.append(line)
        return taken


def byte_count(html: str) -> int:
    """Return the length of ``html`` in UTF-8."""
    return len(html) if html.isascii() else len(html.encode())
