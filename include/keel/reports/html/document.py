"""A page as a whole HTML document, and as a frame inside another one."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from html import escape
from typing import TYPE_CHECKING

from keel.reports.html import assets, blocks, columns
from keel.reports.html.byte_budget import LEFT_OUT, ByteBudget, byte_count
from keel.reports.html.elements import facts, tag, text
from keel.reports.page import ColumnCards, Page
from keel.values.texts import CELL, NAME

if TYPE_CHECKING:
    from keel.reports.html.live import Live

MAX_BYTES = 1_000_000
"""Of a document in UTF-8."""
FOR_COLUMNS = 600_000
"""Bytes that are kept for the columns, where there are any."""
HEADLINE = 600
"""Characters of a headline that are shown."""
MAX_FACTS = 12
MAX_BLOCKS = 200
"""Sections of a page, and blocks of a section; nobody reads more."""
MARGIN = 30_000
"""Bytes for sentences that something is left out."""
FRAME_HEIGHT = 720
"""Pixels of a notebook's output that a page takes at most."""


def render(page: Page) -> str:
    """Return a page as one HTML document of at most `MAX_BYTES`, which needs no network and can make no request."""
    return _document(page, MAX_BYTES, "")


def notebook(page: Page) -> str:
    """Return a page as a frame for a notebook: neither's styles reach the other, and its script sees nothing outside.

    The frame is as high as its page, up to `FRAME_HEIGHT` pixels.
    """
    document = _document(page, MAX_BYTES, '<base target="_blank">')
    fit = (
        "const f=this;window.addEventListener('message',e=>{if(e.source===f.contentWindow&&e.data&&e.data.keelHeight>0)"
        f"f.style.height=Math.min(e.data.keelHeight,{FRAME_HEIGHT})+'px'}});f.contentWindow.postMessage('keel','*')"
    )
    return (
        f'<iframe title="{text(page.title, NAME)}" sandbox="allow-scripts allow-popups allow-popups-to-escape-sandbox" '
        f'width="100%" height="{FRAME_HEIGHT}" style="border:0;resize:vertical" onload="{escape(fit)}" '
        f'srcdoc="{escape(document)}"></iframe>'
    )


def _document(page: Page, size: int, extra_head: str) -> str:
    style, script, policy = _assets()
    start = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n{extra_head}'
        f"<title>{text(page.title, NAME)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
    )
    end = f"<script>{script}</script>\n</body>\n</html>\n"
    head, footer, sections = body(page, size - byte_count(start + end), None)
    return f"{start}{head}{sections}</main>\n{footer}{end}"


def body(page: Page, size: int, live: Live | None) -> tuple[str, str, str]:
    """Return head, footer and sections of a page, of at most ``size`` bytes together."""
    lines = "".join(f"<p>{text(line, CELL)}</p>" for line in page.footer[:MAX_FACTS])
    head, footer = _head(page), f"<footer>{lines}</footer>\n"
    budget = ByteBudget(size - MARGIN - byte_count(head + footer))
    return head, footer, "".join(_sections(page, budget, live))


def _head(page: Page) -> str:
    status = f" {tag(page.tag)}" if page.tag else ""
    lead = f'<p class="lead">{text(page.lead)}</p>\n' if page.lead else ""
    return (
        f'<header>\n<p class="eyebrow">{text(page.eyebrow, CELL)}{status}</p>\n'
        f"<h1>{text(page.headline, HEADLINE)}</h1>\n"
        f"{lead}{facts(page.facts[:MAX_FACTS])}\n</header>\n"
    )


def _sections(page: Page, budget: ByteBudget, live: Live | None) -> list[str]:
    """Return all sections: first what surrounds the columns, then the columns in the space that is left."""
    pieces: list[str | ColumnCards] = []
    outer = ByteBudget(budget.left)
    reserved = 0
    if any(isinstance(block, ColumnCards) for section in page.sections for block in section.blocks):
        reserved = FOR_COLUMNS
        outer.left -= reserved
    for number, section in enumerate(page.sections[:MAX_BLOCKS], start=1):
        title = (
            f'<section aria-labelledby="s{number}">\n<h2 id="s{number}">{text(section.title, CELL)}</h2>\n'
            if section.title
            else "<section>\n"
        )
        if not outer.has(title):
            pieces.append(LEFT_OUT)
            break
        pieces.append(title)
        for block in section.blocks[:MAX_BLOCKS]:
            pieces += blocks.render(block, outer, live)
        pieces.append("\n</section>\n")
    inner = ByteBudget(outer.left + reserved)
    wanted = sum(isinstance(piece, ColumnCards) for piece in pieces)
    done: list[str] = []
    for piece in pieces:
        if isinstance(piece, str):
            done.append(piece)
            continue
        share = ByteBudget(inner.left // wanted)
        done.append(html := columns.render(piece, share, str(wanted)))
        inner.left -= byte_count(html)
        wanted -= 1
    return done


@cache
def _assets() -> tuple[str, str, str]:
    """Return the style, the script, and the policy that allows these two and nothing else."""
    style, script = assets.style(), assets.script()
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return style, script, policy


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
