"""Charts as lines of text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keel.reports.charts.bars import bars, sparkline
from keel.reports.charts.lines import chart_lines
from keel.reports.charts.specs import Bar, Categories, Curves, Histogram, Intervals, Sparkline, Trend
from tests.support.reports.sample_page import categories, curves, histogram, intervals, trend


def test_chart_lines_of_a_histogram_has_both_sides_its_range_and_what_is_beyond():
    lines = chart_lines(replace(histogram(), above=Bar("> 94", 0.0, 0.03)), current="week")
    assert [line.split()[0] for line in lines[:2]] == ["reference", "week"]
    assert len(lines[0]) == len(lines[1])
    assert "13 to 94" in lines[2]
    assert lines[3].split() == [">", "94", "0%", "reference", "3%", "week"]
    assert lines[4].split() == ["missing", "0.1%", "reference", "14%", "week"]


def test_chart_lines_of_categories_has_a_line_each():
    lines = chart_lines(categories())
    assert len(lines) == 8
    assert lines[6].split() == ["unseen", "unknown", "reference", "3%", "window"]


def test_chart_lines_of_intervals_says_which_bound_is_open():
    lines = chart_lines(intervals())
    assert "+0.0205" in lines[0]
    assert "[+0.0006, open]" in lines[0]
    assert "unknown" in lines[2]
    assert lines[-1] == "line: must exceed 0"


def test_chart_lines_of_a_trend_names_its_levels_and_marks():
    lines = "\n".join(chart_lines(trend()))
    assert "never retrained" in lines
    assert "2013-06-30 version 3 promoted" in lines


@pytest.mark.parametrize(
    "empty",
    [
        Histogram("a", (), None, ()),
        Categories("a", ()),
        Trend("a", ()),
        Intervals("a", ()),
        Curves("a", (), "x", "y"),
        Sparkline(()),
    ],
)
def test_chart_lines_of_an_empty_chart_shows_no_bar(empty):
    assert not set("▁▂▃▄▅▆▇█") & set("".join(chart_lines(empty)))


@pytest.mark.parametrize("strange", [float("nan"), float("inf"), float("-inf")])
def test_bars_of_no_number_are_gaps(strange):
    assert bars([0.1, strange, 0.2]) == bars([0.1, None, 0.2])
    assert sparkline([0.1, strange, 0.2]) == sparkline([0.1, None, 0.2])


def test_chart_lines_of_a_histogram_draws_both_sides_to_one_scale():
    chart = Histogram("a", (0.0, 1.0, 2.0), (0.5, 0.5), (0.9, 0.1))
    assert [line.split()[1] for line in chart_lines(chart)[:2]] == ["▅▅", "█▂"]


def test_chart_lines_of_endless_labels_are_cut():
    chart = Categories("a", (Bar("x" * 1_000_000, 0.5, 0.5),))
    assert max(map(len, chart_lines(chart))) < 120


def test_chart_lines_of_curves_has_one_each():
    assert len(chart_lines(curves())) == 2
