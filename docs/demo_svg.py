"""Draw the last screen of ``make demo``: ``make demo | python docs/demo_svg.py > docs/demo.svg``."""

from __future__ import annotations

import io
import re
import sys

from rich.console import Console
from rich.text import Text

FIRST_LINE = re.compile(r"^until +production")
WIDTH = 80


def last_screen(story: str) -> str:
    """Return the lines from the table of decisions on."""
    lines = story.splitlines()
    start = next(number for number, line in enumerate(lines) if FIRST_LINE.match(line.strip()))
    end = next((number for number, line in enumerate(lines) if number > start and "KEEL_HOME" in line), len(lines))
    return "\n".join(lines[start:end]).strip()


def draw(text: str) -> str:
    """Return the screen as SVG in a font of the reader's machine."""
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text(text))
    svg = console.export_svg(title="make demo")
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return re.sub(r"Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace", svg)


if __name__ == "__main__":
    sys.stdout.write(draw(last_screen(sys.stdin.read())))
