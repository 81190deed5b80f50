"""The style and the script of a page."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from keel.reports.charts.style import DARK, LIGHT, RULES

PAGE_LIGHT = {
    "--card": "#f7f9fb",
    "--link": "#0b5cad",
    "--bad": "#a3211a",
    "--badbg": "#fde9e7",
    "--good": "#14613a",
    "--goodbg": "#e3f4e9",
    "--warn": "#744800",
    "--warnbg": "#fcf0d6",
    "--neutral": "#465062",
    "--neutralbg": "#edf0f4",
}
"""The page's own colours, beside those of text and charts. Text has a contrast of 4.5:1 at least."""

PAGE_DARK = {
    "--card": "#171e27",
    "--link": "#7dbbff",
    "--bad": "#ff9b92",
    "--badbg": "#3a1d1b",
    "--good": "#7ddba0",
    "--goodbg": "#15301f",
    "--warn": "#f0c36d",
    "--warnbg": "#33270f",
    "--neutral": "#b7c2d0",
    "--neutralbg": "#232c38",
}


@cache
def style() -> str:
    """Return the stylesheet of a document that follows the reader's system: light or dark."""
    return (
        f":root{{color-scheme:light dark;{_variables(LIGHT | PAGE_LIGHT)}}}\n"
        f"@media screen and (prefers-color-scheme: dark){{:root{{{_variables(DARK | PAGE_DARK)}}}}}\n{RULES}{_rules()}"
    )


@cache
def themed_style() -> str:
    """Return the stylesheet of a document whose root's ``data-theme``, light or dark, goes before the system's."""
    light, dark = _variables(LIGHT | PAGE_LIGHT), _variables(DARK | PAGE_DARK)
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media screen and (prefers-color-scheme: dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n"
        f"@media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}\n{RULES}{_rules()}"
    )


@cache
def script() -> str:
    """Return the script: the search of columns, and what is folded opens for print."""
    return (Path(__file__).parent / "page.js").read_text(encoding="utf-8")


def _rules() -> str:
    return (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"{name}:{colour};" for name, colour in colours.items())
