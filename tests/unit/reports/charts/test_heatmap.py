"""Heatmaps: a cell a check and column, links only where Keel's pages are, every text escaped, and never an error."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import escape

import pytest

from keel.reports.charts.lines import chart_lines
from keel.reports.charts.plain import from_plain, to_plain
from keel.reports.charts.specs import HeatCell, Heatmap, Mark
from keel.reports.charts.svg import draw
from tests.unit.reports.charts.drawings import parse, size, texts

START = datetime(2013, 5, 1, tzinfo=UTC)
NASTY = "<img src=x onerror=\"alert('1')\">&\x00\x1b[2J\ud800\u202e"


def heatmap(rows: int = 3, columns: int = 4, name: str = "temp") -> Heatmap:
    cells = tuple(
        tuple(
            HeatCell(
                (i + j) / (rows + columns), f"{name} {i}, check {j}", f"models/m/columns/{i}?window={j}", j % 2 == 0
            )
            for j in range(columns)
        )
        for i in range(rows)
    )
    times = tuple(START + timedelta(days=7 * j) for j in range(columns))
    return Heatmap(
        "drift", tuple(f"{name} {i}" for i in range(rows)), times, cells, "PSI 1", (Mark(times[-1], "version 2"),)
    )


def address(path: str) -> str:
    return escape(f"/keel/{path}")


def shades(drawing) -> list[str]:
    return [rect.attrib["class"] for rect in drawing.iter("rect")]


def test_cells_are_darker_the_more_has_changed_and_have_a_dot_where_it_drifted():
    chart = replace(heatmap(1, 4), cells=(tuple(HeatCell(v, "", marked=v == 1.0) for v in (0.0, 0.34, 0.7, 1.0)),))
    drawing = parse(draw(chart, description="d"))
    assert shades(drawing)[:4] == ["h0", "h2", "h4", "h5"]
    assert len([dot for dot in drawing.iter("circle") if dot.attrib["class"] == "hm"]) == 2  # the cell's, the legend's


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_cell_without_a_number_is_not_measured_and_one_without_a_check_is_empty(value):
    chart = replace(heatmap(1, 2), cells=((HeatCell(value, "too few rows"), None),))
    drawing = parse(draw(chart, description="d"))
    assert shades(drawing).count("hn") == 2  # the cell's, the legend's
    assert "not measured" in texts(drawing)


def test_cells_are_links_where_the_pages_are_and_nowhere_else():
    alone = parse(draw(heatmap(), description="d"))
    linked = parse(draw(heatmap(), description="d", address=address))
    assert (alone.attrib["role"], list(alone.iter("a"))) == ("img", [])
    links = list(linked.iter("a"))
    assert linked.attrib["role"] == "group"  # an image would hide its links
    assert links[5].attrib["href"] == "/keel/models/m/columns/1?window=1"
    assert links[5].find("title").text == "temp 1, check 1"
    assert len(links) == 12


def test_phone_has_the_newest_checks_in_cells_wide_enough_to_touch():
    drawing = parse(draw(heatmap(5, 48), description="d", width=340, address=address))
    titles = [link.find("title").text for link in drawing.iter("a")]
    assert titles[-1] == "temp 4, check 47"
    assert 10 < len(titles) / 5 < 48
    assert all(float(link.find("rect").attrib["width"]) >= 10 for link in drawing.iter("a"))


@pytest.mark.parametrize("width", [340, 960])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (25, 48), (25, 1), (1, 48)])
def test_everything_lies_within_the_drawing(rows, columns, width):
    drawing = parse(
        draw(heatmap(rows, columns, "a name that is far too long for its place" * 3), description="d", width=width)
    )
    wide, high = size(drawing)
    assert wide == width
    for rect in drawing.iter("rect"):
        assert 0 <= float(rect.attrib["x"]) <= wide - float(rect.attrib["width"]) + 0.1
        assert 0 <= float(rect.attrib["y"]) <= high - float(rect.attrib["height"])


def test_newest_time_is_labelled_with_its_year_and_a_version_has_a_line():
    shown = texts(parse(draw(heatmap(), description="d")))
    assert "22 May 2013" in shown
    assert "version 2" in shown


def test_texts_of_the_data_are_no_markup():
    chart = heatmap(2, 2, NASTY)
    drawing = parse(draw(chart, description=NASTY, address=address))
    assert not list(drawing.iter("img"))
    assert "<img src=x" in drawing.attrib["aria-label"]


@pytest.mark.parametrize("chart", [Heatmap("d", (), (), (), ""), replace(heatmap(1, 1), cells=((None,),))])
def test_heatmap_without_cells_says_so(chart):
    assert texts(parse(draw(chart, description="d", address=address))) == ["no values"]


def test_same_heatmap_gives_the_same_bytes_and_survives_json():
    assert draw(heatmap(), description="d") == draw(heatmap(), description="d")
    assert from_plain(to_plain(heatmap())) == from_plain(to_plain(from_plain(to_plain(heatmap()))))


def test_lines_have_a_row_each_with_a_character_a_check_and_their_times():
    lines = chart_lines(replace(heatmap(15, 4), rows=tuple(f"c{i}" for i in range(15))))
    assert lines[0].split() == ["c0", "▁▁▁▂"] or lines[0].startswith("c0")
    assert len(lines[0].split()[-1]) <= 4
    assert lines[-2:] == ["and 3 more", "     2013-05-01 to 2013-05-22"]
