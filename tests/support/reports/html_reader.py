"""Read HTML as a browser does: its elements, and its texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class ReadHtml(HTMLParser):
    """The elements of a document with the names of their attributes, in order, and the texts between them."""

    elements: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]
        self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.elements.append((f"/{tag}", ()))
        self.texts.append("")

    def handle_comment(self, data: str) -> None:
        self.elements.append(("!--", ()))

    def handle_data(self, data: str) -> None:
        self.texts[-1:] = [f"{self.texts[-1]}{data}" if self.texts else data]


def read(document: str) -> ReadHtml:
    reader = ReadHtml()
    reader.feed(document)
    reader.close()
    return reader
