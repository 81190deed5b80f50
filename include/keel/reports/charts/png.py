"""Draw a chart as PNG for mails, which show no SVG: the same drawing, with a title, a legend and concrete colours.

The font is a file that matplotlib brings, which MLflow needs anyway. The fonts of the system are not used: a container
may have none, and the picture is then the same on every machine. matplotlib itself is not imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keel.errors import KeelError
from keel.reports.charts.canvas import Canvas, at
from keel.reports.charts.specs import Categories, Histogram
from keel.reports.charts.style import LIGHT, with_colours
from keel.reports.charts.svg import draw

if TYPE_CHECKING:
    from keel.reports.charts.specs import Chart

WIDTH = 560
"""Of a picture in a mail, in pixels at scale 1."""
_FONT = Path("mpl-data", "fonts", "ttf", "DejaVuSans.ttf")
_COLOURS = 64
_FAMILY = "DejaVu Sans"
_MARGIN, _TITLE_LINE, _LEGEND_LINE = 12.0, 22.0, 20.0


def png(
    chart: Chart,
    *,
    description: str,
    width: int = WIDTH,
    scale: float = 2,
    title: str = "",
    legend: tuple[str, str] | None = None,
) -> bytes:
    """Return the chart as the bytes of a PNG picture. The same chart gives the same bytes.

    Parameters
    ----------
    chart, description
        As for `keel.reports.charts.svg.draw`.
    width
        In pixels at scale 1.
    scale
        Pixels of the picture for each of them; 2 is sharp on a telephone.
    title
        A line above the chart.
    legend
        What grey and blue stand for, such as ``("reference", "window")``; of a histogram or categories only, as other
        charts have their own.

    Raises
    ------
    KeelError
        If resvg-py, or the font file of matplotlib, is not installed.

    """
    library = _library()
    picture = _compose(draw(chart, description=description, width=width - 2 * _MARGIN), chart, width, title, legend)
    drawn = library.svg_to_bytes(
        svg_string=picture,
        background=LIGHT["--bg"],
        style_sheet=_stylesheet(),
        zoom=scale,
        skip_system_fonts=True,
        font_files=[str(font())],
        font_family=_FAMILY,
        sans_serif_family=_FAMILY,
    )
    return _with_few_colours(bytes(drawn))


def _compose(drawing: str, chart: Chart, width: int, title: str, legend: tuple[str, str] | None) -> str:
    """Return an SVG with the title, the legend and the chart under each other, and a margin around them."""
    head, _, body = drawing.partition(">")
    height = float(head.rpartition('viewBox="')[2].rstrip('"').split()[3])
    canvas = Canvas(width, 0)
    y = _MARGIN
    if title:
        canvas.text(_MARGIN, y + 13, title, "name title", room=width - 2 * _MARGIN)
        y += _TITLE_LINE
    if legend is not None and isinstance(chart, Histogram | Categories):
        _draw_legend(canvas, legend, y, "cur" if isinstance(chart, Histogram) else "bar")
        y += _LEGEND_LINE
    inner_width = width - 2 * _MARGIN
    viewed = head.rpartition('viewBox="')[2].rstrip('"')
    canvas.shapes.append(
        f'<svg x="{at(_MARGIN)}" y="{at(y)}" width="{at(inner_width)}" height="{at(height)}" viewBox="{viewed}">{body}'
    )
    canvas.height = y + height + _MARGIN
    sized = f' width="{at(width)}" height="{at(canvas.height)}" viewBox='
    return canvas.render("").replace(" viewBox=", sized, 1)


def _draw_legend(canvas: Canvas, legend: tuple[str, str], y: float, current: str) -> None:
    x = _MARGIN
    for label, classes in zip(legend, ("ref", current), strict=True):
        shape = f"M{at(x)} {at(y + 8)}h14" if classes == "cur" else f"M{at(x)} {at(y + 4)}h14v8h-14z"
        if classes == "bar":
            shape = f"M{at(x)} {at(y + 6)}h14v4h-14z"
        canvas.path(classes, shape)
        canvas.text(x + 20, y + 12, label, "name", room=canvas.width / 2 - 40)
        x = canvas.taken[-1].right + 18


def _with_few_colours(picture: bytes) -> bytes:
    """Return the picture with a palette, which needs about half of the bytes and looks the same."""
    from PIL import Image  # here, because pages that are no mail have no use for it

    flat = Image.open(io.BytesIO(picture)).convert("RGB")
    buffer = io.BytesIO()
    few = flat.quantize(_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


@cache
def _stylesheet() -> str:
    """Return the rules that the library understands: it knows neither variables nor several fonts for a text."""
    rules = with_colours(LIGHT)
    before, _, rest = rules.partition("font:11px ")
    return f"{before}font-size:11px;font-family:'{_FAMILY}'{rest[rest.index('}') :]}.chart .title{{font-size:14px}}"


def _library() -> Any:
    try:
        return importlib.import_module("resvg_py")
    except ImportError as error:
        raise KeelError(
            f"a chart cannot be drawn as PNG, because resvg-py is not usable ({error}); install the packages of "
            "requirements.txt"
        ) from error


@cache
def font() -> Path:
    """Return the path of the font; KeelError without it."""
    found = importlib.util.find_spec("matplotlib")
    path = Path(found.origin).parent / _FONT if found is not None and found.origin else None
    if path is None or not path.is_file():
        where = "matplotlib is not installed" if path is None else f"{path} does not exist"
        raise KeelError(
            f"a chart cannot be drawn as PNG, because its font is missing: {where}; install the packages of "
            "requirements.txt"
        )
    return path
