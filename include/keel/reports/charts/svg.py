"""Draw a chart as SVG: one element without colours, which the page's stylesheet gives it by class.

=========== ===========================================================================================
Class       Of
=========== ===========================================================================================
chart       the ``svg`` element; ``spark`` beside it for a sparkline
ref         filled bars of the reference
cur         the line of the window; ``spread`` beside it where the shape is not known, only the sum
bar         thin bars of the window in a chart of categories
point       a dot; ``interval`` its interval; ``band`` the intervals of many points
s0, s1      lines of series: the reference or champion, which is dashed, and now or the challenger
s2, s3, s4  lines of further series, with dashes of their own
level       a baseline, a limit or a diagonal, dashed
mark        a vertical line at the time of an event
axis, grid  the axis, and lines at its ticks
cut         the break in a bar that is taller than the plot
h0 to h5    cells of a heatmap, the darker the more has changed; ``hn`` not measured; ``hm`` the dot of a drift
label       a text of an axis; ``small`` beside it in a smaller size, ``note`` on the plot with a halo
name        the name of a category, row or series
=========== ===========================================================================================

`keel.reports.charts.style` has the rules, with the variables that a page defines. A drawing is as wide as its container
and looks best at its natural width: 320 for a column, 720 for a trend, 960 for a heatmap, 560 for intervals, 380 for
curves.
"""

from __future__ import annotations

from collections.abc import Callable

from keel.reports.charts.categories import draw_categories
from keel.reports.charts.curves import draw_curves
from keel.reports.charts.heatmap import draw_heatmap
from keel.reports.charts.histogram import draw_histogram
from keel.reports.charts.intervals import draw_intervals
from keel.reports.charts.sparkline import draw_sparkline
from keel.reports.charts.specs import Categories, Chart, Curves, Heatmap, Histogram, Intervals, Sparkline, Trend
from keel.reports.charts.trend import draw_trend


def draw(
    chart: Chart,
    *,
    description: str,
    width: float | None = None,
    address: Callable[[str], str] | None = None,
) -> str:
    """Return the chart as one ``svg`` element. The same chart gives the same bytes, and none raises an error.

    Parameters
    ----------
    chart
        What to draw. A number that is None, NaN or infinite leaves a gap, and a chart without any says so.
    description
        Its accessible name: the sentence that says what it shows.
    width
        Its natural width in pixels; about 340 gives a phone texts of a readable size. None: the chart's own.
    address
        Gives the address of a page of Keel's from its path, quoted for an attribute. None where those pages are not.

    """
    match chart:
        case Histogram():
            return draw_histogram(chart, description, width)
        case Categories():
            return draw_categories(chart, description, width)
        case Trend():
            return draw_trend(chart, description, width)
        case Intervals():
            return draw_intervals(chart, description, width)
        case Curves():
            return draw_curves(chart, description, width)
        case Sparkline():
            return draw_sparkline(chart, description)
        case Heatmap():
            return draw_heatmap(chart, description, width, address)
