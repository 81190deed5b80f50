"""Charts as plain values: what goes in comes out, and what is no chart is refused by name."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from keel.errors import SchemaError
from keel.reports.charts.plain import from_plain, to_plain
from keel.reports.charts.specs import (
    Bar,
    Categories,
    Curve,
    Curves,
    Histogram,
    Interval,
    Intervals,
    Level,
    Mark,
    Point,
    Sparkline,
    Trend,
)

DAY = datetime(2013, 6, 1, tzinfo=UTC)
CHARTS = [
    Histogram("x", (0.0, 1.0, 2.0), (0.3, 0.7), (0.1, 0.8), tails=(Bar("missing", 0.0, 0.1),)),
    Histogram("x", (0.0, 1.0), None, (1.0,), scale="log", log_shares=True),
    Categories("c", (Bar("a <b>", 0.1, None), Bar("others", None, 0.5)), tails=(Bar("unseen", 0.0, 0.4),)),
    Trend(
        "brier",
        (Point(DAY, 0.1, 0.05, None, 3), Point(DAY, None)),
        levels=(Level(0.2, "limit", DAY),),
        marks=(Mark(DAY, "version 2"),),
        others=(("never", (Point(DAY, 0.3),)),),
    ),
    Sparkline((0.1, None), threshold=0.2),
    Intervals("gain", (Interval("all", 0.1, 0.05, None, "9 rows"),), line=0.0, line_label="margin"),
    Curves("calibration", (Curve("v1", (0.0, 1.0), (0.1, 0.9)),), "said", "seen", diagonal=True),
]


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: type(chart).__name__)
def test_chart_survives_json(chart):
    assert from_plain(json.loads(json.dumps(to_plain(chart), allow_nan=False))) == chart


def test_numbers_that_are_not_finite_are_null():
    plain = to_plain(Trend("brier", (Point(DAY, float("nan"), float("-inf")),)))

    assert (plain["points"][0]["value"], plain["points"][0]["lower"]) == (None, None)


def test_numbers_are_rounded_to_what_a_picture_shows():
    assert to_plain(Sparkline((1 / 3, 20130601.0)))["values"] == [0.333333333, 20130601.0]


@pytest.mark.parametrize(
    ("values", "named"),
    [({}, "kind 'None'"), ({"kind": "Pie"}, "kind 'Pie'"), ({"kind": "Histogram", "edges": "no"}, "a Histogram")],
)
def test_what_is_no_chart_is_refused_by_name(values, named):
    with pytest.raises(SchemaError, match=named):
        from_plain(values)
