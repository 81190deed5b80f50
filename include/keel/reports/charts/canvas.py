"""A drawing in SVG under construction: shapes, texts that are escaped, and the places that texts already take."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass, field
from html import escape

from keel.values.texts import shown

LABEL_SIZE = 11.0
"""Height of a text's line in units of the drawing, which are pixels at its natural width."""
SMALL_SIZE = 10.0

LONGEST_TEXT = 1000
"""Characters of a title or description that are kept: a name of a megabyte can be one."""

_LIMIT = 1e5
"""Coordinates beyond it are cut: no drawing is that large."""
_NARROW, _WIDE = frozenset("ijlftrI.,:;'|!()[]{}/ -\"`"), frozenset("mwMW@%—…×")


def at(value: float) -> str:
    """Return a coordinate with at most one decimal.

    >>> at(12.04), at(-0.04), at(1e300), at(3.25)
    ('12', '0', '100000', '3.2')
    """
    if not -_LIMIT <= value <= _LIMIT:
        value = 0.0 if math.isnan(value) else math.copysign(_LIMIT, value)
    text = f"{value:.1f}"
    if text.endswith(".0"):
        text = text[:-2]
    return "0" if text == "-0" else text


def width_of(text: str, size: float = LABEL_SIZE) -> float:
    """Return about how wide a text is; fonts differ by a tenth."""
    return size * sum(map(_width, text[:LONGEST_TEXT]))


def _width(character: str) -> float:
    if character in _NARROW:
        return 0.38
    if character in _WIDE:
        return 0.95
    if character.isascii():
        return 0.68 if character.isupper() else 0.6
    return 1.0 if unicodedata.east_asian_width(character) in "WF" else 0.65


def shorten(text: str, width: float, size: float = LABEL_SIZE) -> str:
    """Return a text that is at most about so wide, with an ellipsis where it was cut.

    >>> shorten("a long name of a category", 60), shorten("short", 60)
    ('a long n…', 'short')
    """
    text = shown(text[:400])
    if width_of(text, size) <= width:
        return text
    room = width - width_of("…", size)
    used = 0.0
    for i, character in enumerate(text):
        used += size * _width(character)
        if used > room:
            return text[:i].rstrip() + "…"
    return text


@dataclass(frozen=True)
class Box:
    """A rectangle that a text or a shape takes."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        """Whether both share a point."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def box_of(x: float, y: float, text: str, anchor: str = "start", size: float = LABEL_SIZE) -> Box:
    """Return the box of a text at its anchor on its base line."""
    width = width_of(text, size)
    left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor] * width
    return Box(left - 2, y - size, left + width + 2, y + 0.3 * size)


@dataclass
class Canvas:
    """Collects shapes in order, and texts, which are drawn last and in groups of one class."""

    width: float
    height: float
    shapes: list[str] = field(default_factory=list)
    texts: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    taken: list[Box] = field(default_factory=list)

    def path(self, classes: str, data: str, title: str = "") -> None:
        """Draw a path; nothing for one without points."""
        if data and title:
            self.shapes.append(f'<path class="{classes}" d="{data}"><title>{_text(title)}</title></path>')
        elif data:
            self.shapes.append(f'<path class="{classes}" d="{data}"/>')

    def dot(self, classes: str, x: float, y: float, radius: float = 4, title: str = "") -> None:
        """Draw a filled circle."""
        head = f'<circle class="{classes}" cx="{at(x)}" cy="{at(y)}" r="{at(radius)}"'
        self.shapes.append(f"{head}><title>{_text(title)}</title></circle>" if title else f"{head}/>")

    def group(self, shapes: str, title: str, href: str = "") -> None:
        """Draw shapes that have one title together, and are one link where ``href``, which is quoted, is given."""
        start, end = (f'<a href="{href}">', "</a>") if href else ("<g>", "</g>")
        self.shapes.append(f"{start}<title>{_text(title)}</title>{shapes}{end}")

    def text(
        self, x: float, y: float, text: str, classes: str = "label", *, anchor: str = "start", room: float = math.inf
    ) -> None:
        """Write a text; one wider than ``room`` is shortened, and shown in full where the pointer rests on it."""
        size = SMALL_SIZE if "small" in classes else LABEL_SIZE
        shown = shorten(text, room, size)
        title = f"<title>{_text(text)}</title>" if shown != text else ""
        element = f'<text x="{at(x)}" y="{at(y)}">{title}{_text(shown)}</text>'
        self.texts.setdefault((classes, anchor), []).append(element)
        self.taken.append(box_of(x, y, shown, anchor, size))

    def is_free(self, box: Box) -> bool:
        """Whether a box lies within the drawing and on no text or kept place."""
        inside = box.left >= -1 and box.right <= self.width + 1 and box.top >= -1 and box.bottom <= self.height + 1
        return inside and not any(box.overlaps(other) for other in self.taken)

    def render(self, description: str, kind: str = "", role: str = "img") -> str:
        """Return the SVG element with its accessible name. role: ``group`` of one with links, which an image hides."""
        groups = [
            f'<g class="{classes}"{_anchor(anchor)}>{"".join(texts)}</g>'
            for (classes, anchor), texts in self.texts.items()
        ]
        classes = f"chart {kind}".rstrip()
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="{classes}" role="{role}" '
            f'aria-label="{_text(description)}" viewBox="0 0 {at(self.width)} {at(self.height)}">'
        )
        return head + "".join(self.shapes) + "".join(groups) + "</svg>"


def _anchor(anchor: str) -> str:
    return "" if anchor == "start" else f' text-anchor="{anchor}"'


def _text(text: str) -> str:
    return escape(shown(text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…"), quote=True)


def nothing_to_draw(description: str, *, width: float = 320, height: float = 60, kind: str = "") -> str:
    """Return a drawing that says that it has no values."""
    canvas = Canvas(width, height)
    canvas.text(width / 2, height / 2 + 4, "no values", "label", anchor="middle")
    return canvas.render(description, kind)
