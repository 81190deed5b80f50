"""A message as the HTML of a mail: one column, inline styles, readable without its picture, in light and in dark.

Mail programs know little of CSS, and some drop ``<style>``: everything that matters is inline, and the rules in the
head only exchange colours in the dark.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keel.monitoring.records import Message, MessagePart

FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
INK, QUIET, LINE = "#1d1d1b", "#5c5c57", "#deded8"
SHOWN_ADDRESS = 64
"""Characters of an address that are shown; its link is whole."""
LONGEST_WHOLE_WORD = 24
"""Characters of a word in a table that is never broken, which would make its column too narrow for the others."""
HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
@media (prefers-color-scheme: dark) {{
  .page {{ background: #161615 !important; }}
  .card {{ background: #20201e !important; border-color: #3a3a36 !important; }}
  .ink {{ color: #ecece6 !important; }}
  .quiet {{ color: #a9a9a1 !important; }}
  .line {{ border-color: #3a3a36 !important; }}
  .link {{ color: #8ab8ff !important; }}
}}
</style>
</head>
"""
BODY = """\
<body class="page" style="margin:0;padding:0;background:#f4f4f0">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0">
<tr><td align="center" style="padding:16px 8px">
<table role="presentation" class="card" width="640" cellpadding="0" cellspacing="0" border="0" \
style="width:100%;max-width:640px;background:#ffffff;border:1px solid {line};border-radius:6px">
<tr><td class="ink" style="padding:20px 24px;{font};font-size:15px;line-height:1.45;color:{ink}">
{content}
</td></tr>
</table>
</td></tr>
</table>
</body>
</html>
"""


def render(message: Message, *, picture: str | None = None) -> str:
    """Return a message as an HTML document.

    picture: address of the message's picture, such as ``cid:…``; None where it has none.
    """
    title = escape(message.subject)
    headline = escape(message.subject.removeprefix("[Keel] "))
    blocks = [f'<h1 style="margin:0 0 12px;font-size:20px;line-height:1.3;font-weight:600">{headline}</h1>']
    if not message.parts:
        blocks.append(_paragraph(message.text))
    for number, part in enumerate(message.parts):
        blocks.append(_part(part))
        if number == 0 and picture and message.picture:
            blocks.append(_picture(picture, message.picture.sentence))
    content = "\n".join(block for block in blocks if block)
    return HEAD.format(title=title) + BODY.format(line=LINE, font=FONT, ink=INK, content=content)


def _part(part: MessagePart) -> str:
    title = ""
    if part.title:
        title = f'<h2 style="margin:20px 0 6px;font-size:15px;font-weight:600">{escape(part.title)}</h2>'
    rows = _table(part) if part.rows else ""
    facts = _facts(part.facts) if part.facts else ""
    verbatim = _verbatim(part.verbatim) if part.verbatim else ""
    return "\n".join(filter(None, (title, rows, facts, *map(_paragraph, part.paragraphs), verbatim)))


def _paragraph(text: str) -> str:
    return f'<p style="margin:0 0 10px;white-space:pre-line;overflow-wrap:anywhere">{escape(text)}</p>'


def _verbatim(text: str) -> str:
    style = "margin:0 0 10px;white-space:pre-wrap;overflow-wrap:anywhere;font-size:13px;line-height:1.45"
    return f'<pre style="{style};font-family:ui-monospace,Menlo,Consolas,monospace">{escape(text)}</pre>'


def _picture(address: str, sentence: str) -> str:
    """Return the picture with its sentence under it, which is read where the picture is not shown."""
    said = escape(sentence)
    return (
        f'<div style="margin:14px 0 4px;background:#ffffff"><img src="{escape(address)}" alt="{said}" width="590" '
        f'style="display:block;width:100%;max-width:590px;height:auto;border:0;color:{INK}"></div>\n'
        f'<p class="quiet" style="margin:0 0 14px;font-size:13px;color:{QUIET}">{said}</p>'
    )


def _facts(facts: dict[str, str]) -> str:
    label = f"padding:2px 14px 2px 0;vertical-align:top;white-space:nowrap;color:{QUIET}"
    value = "padding:2px 0;vertical-align:top;overflow-wrap:anywhere;word-break:break-word"
    rows = (
        f'<tr><th scope="row" align="left" class="quiet" style="{label};font-weight:normal">{escape(name)}</th>'
        f'<td style="{value}">{_linked(text)}</td></tr>'
        for name, text in facts.items()
    )
    return f'<table cellpadding="0" cellspacing="0" border="0" style="margin:10px 0;{FONT}">{"".join(rows)}</table>'


def _table(part: MessagePart) -> str:
    def cell(kind: str, number: int, text: str) -> str:
        side = "right" if number in part.numeric else "left"
        wrap = "anywhere" if max(map(len, text.split()), default=0) > LONGEST_WHOLE_WORD else "normal"
        style = f"padding:5px 10px 5px 0;border-bottom:1px solid {LINE};vertical-align:top;overflow-wrap:{wrap}"
        extra = ' scope="col"' if kind == "th" else ""
        weight = f";font-weight:normal;white-space:nowrap;color:{QUIET}" if kind == "th" else ""
        css = "line quiet" if kind == "th" else "line"
        return f'<{kind}{extra} align="{side}" class="{css}" style="{style}{weight}">{escape(text)}</{kind}>'

    def line(kind: str, cells: tuple[str, ...]) -> str:
        return f"<tr>{''.join(cell(kind, number, text) for number, text in enumerate(cells))}</tr>"

    body = "".join(line("td", row) for row in part.rows)
    style = f"width:100%;margin:0 0 10px;border-collapse:collapse;font-size:14px;{FONT}"
    return f'<table cellpadding="0" cellspacing="0" border="0" style="{style}">{line("th", part.head)}{body}</table>'


def _linked(text: str) -> str:
    """Return a value; an address of the web as a link, of which a long one is shown in part."""
    if not text.startswith(("http://", "https://")) or any(each.isspace() for each in text):
        return escape(text)
    shown = text if len(text) <= SHOWN_ADDRESS else f"{text[:SHOWN_ADDRESS]}…"
    return f'<a class="link" href="{escape(text)}" style="color:#1a5fb4">{escape(shown)}</a>'
