"""The stylesheet of charts. A page embeds it once; a picture without a page gets it with concrete colours.

Grey is the reference, blue is now. Every difference is also one of form: the reference is filled, now is a line, and
further series have dashes of their own. Text on the plot has a halo in the page's colour.
"""

from __future__ import annotations

LIGHT = {
    "--bg": "#ffffff",
    "--fg": "#1c2330",
    "--dim": "#566071",
    "--line": "#dfe4ea",
    "--heat": "#edf1f5",
    "--ref": "#b4bfcf",
    "--ref-line": "#6c7a8f",
    "--cur": "#0b5cad",
    "--s2": "#a04a00",
    "--s3": "#1f7a52",
    "--s4": "#7a3b96",
}
"""Colours on white. A line has a contrast of 3:1 at least, text of 4.5:1."""

DARK = {
    "--bg": "#10151c",
    "--fg": "#e8edf3",
    "--dim": "#9aa6b5",
    "--line": "#2a3442",
    "--heat": "#1c2530",
    "--ref": "#4c5c73",
    "--ref-line": "#8a99ad",
    "--cur": "#6db3ff",
    "--s2": "#f0a35e",
    "--s3": "#6fd0a0",
    "--s4": "#cda2e3",
}
"""Colours on black."""

RULES = """\
.chart{display:block;width:100%;height:auto;overflow:visible}
.chart{font:11px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
.chart .label{fill:var(--dim)}.chart .name{fill:var(--fg)}.chart .small{font-size:10px}
.chart .note{paint-order:stroke;stroke:var(--bg);stroke-width:3px;stroke-linejoin:round}
.chart path{fill:none}
.chart .grid{stroke:var(--line)}.chart .axis{stroke:var(--ref-line)}
.chart .ref{fill:var(--ref)}.chart .cur{stroke:var(--cur);stroke-width:1.8}
.chart .bar{fill:var(--cur)}.chart .point{fill:var(--cur);stroke:var(--bg);stroke-width:1.5}
.chart .interval{stroke:var(--cur);stroke-width:2}.chart .band{fill:var(--cur);fill-opacity:.18}
.chart .spread{stroke-dasharray:3 2}.chart .level{stroke:var(--fg);stroke-dasharray:5 4}
.chart .mark{stroke:var(--dim)}
.chart .cut{stroke:var(--bg);stroke-width:2}
.chart .s0{stroke:var(--ref-line);stroke-width:2;stroke-dasharray:4 1.5}.chart .s1{stroke:var(--cur);stroke-width:2}
.chart .s2{stroke:var(--s2);stroke-width:2;stroke-dasharray:10 3}
.chart .s3{stroke:var(--s3);stroke-width:2;stroke-dasharray:2 3}
.chart .s4{stroke:var(--s4);stroke-width:2;stroke-dasharray:10 3 2 3}
.chart rect{rx:2px}.chart .h0{fill:var(--heat)}
.chart .h1,.chart .h2,.chart .h3,.chart .h4,.chart .h5{fill:var(--cur)}
.chart .h1{fill-opacity:.2}.chart .h2{fill-opacity:.36}.chart .h3{fill-opacity:.54}.chart .h4{fill-opacity:.76}
.chart .hn{fill:none;stroke:var(--ref);stroke-dasharray:2 2}.chart .hm{fill:var(--bg)}
.chart a:hover rect,.chart a:focus-visible rect{stroke:var(--fg);stroke-width:2}.chart a{outline:0}
.chart.spark{display:inline-block;width:96px;height:20px;vertical-align:middle}
.chart.spark .cur{stroke-width:1.5}.chart.spark .level{stroke-dasharray:2 2;stroke:var(--dim)}
"""
"""Rules with the variables above, which the page defines for light, dark and print."""


def with_colours(colours: dict[str, str]) -> str:
    """Return the rules with concrete colours, for a renderer that knows no variables."""
    rules = RULES
    for name, colour in colours.items():
        rules = rules.replace(f"var({name})", colour)
    return rules
