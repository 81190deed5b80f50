"""What drawings show: shares as heights, times and values in their places, every text escaped, and never an error."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keel.reports.charts.specs import (
    Bar,
    Categories,
    Chart,
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
from keel.reports.charts.svg import draw
from tests.unit.reports.charts.drawings import corners, heights, parse, paths, size, text_of, texts

NASTY = "<img src=x onerror=\"alert('1')\">&\x00\x1b[2J\ud800\u202e"
START = datetime(2013, 4, 1, tzinfo=UTC)
BAD = (None, math.nan, math.inf, -math.inf, 0.0, -1.0, 1e300, -1.7e308, 5e-324)
MANY = settings(deadline=None, max_examples=25, derandomize=True)

SHARES = (0.1, 0.2, 0.4, 0.2, 0.05)
HISTOGRAM = Histogram(
    "temp", (0, 10, 20, 30, 40, 50), SHARES, (0.0, 0.1, 0.2, 0.3, 0.2), tails=(Bar("missing", 0.05, 0.2),)
)
CATEGORIES = Categories(
    "carrier", (Bar("UA", 0.5, 0.25), Bar("DL", 0.25, 0.5), Bar("3 others", 0.25, 0.1)), (Bar("unseen", 0.0, 0.15),)
)
TREND = Trend(
    "Brier score",
    tuple(Point(START + timedelta(days=30 * i), 0.2 + 0.01 * i, 0.15, 0.3, 1000) for i in range(8)),
    levels=(Level(0.157, "holdout of version 1", end=START + timedelta(days=90)), Level(0.3, "limit")),
    marks=(Mark(START + timedelta(days=90), "version 3 promoted"),),
    unit="Brier score",
)
INTERVALS = Intervals(
    "improvement",
    (
        Interval("all rows", 0.02, 0.001, None, "19,153 rows"),
        Interval("origin = JFK", 0.01, -0.01, 0.03, "6,153 rows"),
        Interval("origin = LGA", None),
    ),
    line=0.0,
    line_label="a bound must exceed 0",
)
CURVES = Curves(
    "ROC",
    (Curve("version 1", (0, 0.5, 1), (0, 0.75, 1)), Curve("version 2", (0, 0.5, 1), (0, 0.9, 1))),
    "false positive rate",
    "true positive rate",
    diagonal=True,
)
SPARKLINE = Sparkline(tuple(0.1 + 0.01 * (i % 7) for i in range(99)), 0.15)
ALL = (HISTOGRAM, CATEGORIES, TREND, INTERVALS, CURVES, SPARKLINE)
kinds = pytest.mark.parametrize("chart", ALL, ids=lambda chart: type(chart).__name__)


def sentence(chart: Chart) -> str:
    return draw(chart, description="What it shows.")


@kinds
def test_draw_is_an_image_with_the_description_as_its_name(chart: Chart) -> None:
    drawing = parse(draw(chart, description=f"In words: {NASTY}"))
    assert drawing.attrib["role"] == "img"
    assert drawing.attrib["aria-label"].startswith("In words: <img src=x onerror=\"alert('1')\">&")
    assert "width" not in drawing.attrib


@kinds
def test_draw_same_chart_gives_the_same_bytes_that_utf_8_can_hold(chart: Chart) -> None:
    assert sentence(chart).encode() == sentence(replace(chart)).encode()


@kinds
def test_draw_has_no_colours_styles_or_addresses(chart: Chart) -> None:
    for element in parse(sentence(chart)).iter():
        assert set(element.attrib).isdisjoint({"style", "fill", "stroke", "href", "onclick", "id"})
    assert "http" not in sentence(chart).replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize(
    ("chart", "most"), [(HISTOGRAM, 1500), (CATEGORIES, 1500), (SPARKLINE, 401), (TREND, 3000)], ids=str
)
def test_draw_needs_few_bytes(chart: Chart, most: int) -> None:
    assert len(draw(chart, description="").encode()) < most


def test_draw_histogram_of_thirty_bins_needs_at_most_2500_bytes() -> None:
    shares = tuple((i + 1) / 465 for i in range(30))
    chart = Histogram("x", tuple(range(31)), shares, shares[::-1], tails=(Bar("missing", 0.1, 0.2),))
    assert len(draw(chart, description="").encode()) < 2500


@kinds
@pytest.mark.parametrize("width", [None, 340.0, 800.0])
def test_draw_shapes_and_texts_lie_within_the_drawing(chart: Chart, width: float | None) -> None:
    drawing = parse(draw(chart, description="", width=width))
    wide, high = size(drawing)
    for path in drawing.iter("path"):
        for x, y in corners(path.attrib["d"]):
            assert -1 <= x <= wide + 1
            assert -1 <= y <= high + 1
    for text in drawing.iter("text"):
        assert 0 <= float(text.attrib["x"]) <= wide
        assert 0 < float(text.attrib["y"]) <= high


def with_text(text: str) -> list[Chart]:
    return [
        replace(HISTOGRAM, name=text, tails=(Bar(text, 0.1, 0.2),), above=Bar(text, 0.1, 0.2)),
        replace(HISTOGRAM, labels=(text,) * 5),
        Categories(text, (Bar(text, 0.5, 0.5),), (Bar(text, 0.5, 0.5),)),
        Trend(text, TREND.points, (Level(0.2, text),), (Mark(START, text),), text, text, ((text, TREND.points),)),
        Intervals(text, (Interval(text, 0.1, 0.0, 0.2, text),), 0.0, text, text),
        Curves(text, (Curve(text, (0, 1), (0, 1)), Curve(text, (0, 1), (1, 0))), text, text),
    ]


@pytest.mark.parametrize("text", [NASTY, "x" * 1_000_000, "", " ", "日本" * 50, "\n", "-" * 99])
def test_draw_any_text_is_escaped_and_short(text: str) -> None:
    for chart in with_text(text):
        svg = draw(chart, description="")
        assert "<img" not in svg
        assert len(svg) < 30_000
        assert {element.tag for element in parse(svg).iter()} <= {"svg", "g", "path", "circle", "text", "title"}


@pytest.mark.parametrize("value", BAD)
def test_draw_bad_number_anywhere_never_raises(value: float | None) -> None:
    number = value if value is not None else math.nan
    charts: list[Chart] = [
        replace(HISTOGRAM, current=(number, 0.1, 0.2, 0.3, 0.2)),
        replace(HISTOGRAM, reference=(number,) * 5, current=(number,) * 5, log_shares=True),
        replace(HISTOGRAM, edges=(number, 10, 20, 30, 40, 50)),
        replace(HISTOGRAM, edges=(number,) * 6, scale="log"),
        replace(HISTOGRAM, tails=(Bar("missing", value, value),), below=Bar("< 0", value, 0.1)),
        Categories("x", (Bar("a", value, value), Bar("b", 0.1, value))),
        Trend("x", (Point(START, value, value, value), Point(START, 0.2, value, 0.4)), (Level(number, "limit"),)),
        Intervals("x", (Interval("a", value, value, value), Interval("b", 0.1, value, 0.2)), value),
        Curves("x", (Curve("a", (number, 1.0), (0.0, number)),), "x", "y"),
        Sparkline((value, 0.1, value), value),
        Sparkline((value,), value),
    ]
    for chart in charts:
        svg = sentence(chart)
        assert "nan" not in svg
        assert "inf" not in svg
        drawing = parse(svg)
        wide, high = size(drawing)
        for path in drawing.iter("path"):
            for x, y in corners(path.attrib["d"]):
                assert -1 <= x <= wide + 1
                assert -1 <= y <= high + 1


@pytest.mark.parametrize(
    "chart",
    [
        Histogram("x", (), None, ()),
        Histogram("x", (0, 1), (0.0,), (0.0,)),
        Histogram("x", (0, 1, 2), (0.5, 0.5), (0.0,)),
        Categories("x", ()),
        Categories("x", (Bar("a", 0.0, 0.0),)),
        Trend("x", ()),
        Trend("x", (Point(START, None),)),
        Intervals("x", ()),
        Intervals("x", (Interval("a", None),)),
        Curves("x", (), "x", "y"),
        Curves("x", (Curve("a", (), ()),), "x", "y"),
        Sparkline(()),
        Sparkline((None, None), 0.1),
    ],
    ids=str,
)
def test_draw_without_values_says_so(chart: Chart) -> None:
    drawing = parse(sentence(chart))
    assert texts(drawing) == ["no values"]
    assert drawing.attrib["aria-label"] == "What it shows."


def test_histogram_bars_are_as_high_as_their_shares() -> None:
    (path, _) = paths(parse(sentence(HISTOGRAM)), "ref")
    found = heights(path)
    assert [height / max(found) for height in found] == pytest.approx([share / 0.4 for share in SHARES], abs=0.01)


def test_histogram_steps_of_the_window_are_as_high_as_its_shares() -> None:
    drawing = parse(sentence(HISTOGRAM))
    steps, missing = paths(drawing, "cur")
    bottom = max(y for _, y in corners(missing))
    (reference, _) = paths(drawing, "ref")
    per_share = max(heights(reference)) / 0.4
    levels = [bottom - y for _, y in corners(steps)]
    tops = [a for a, b in zip(levels, levels[1:], strict=False) if a == b]
    assert [top / per_share for top in tops] == pytest.approx([0, 0.1, 0.2, 0.3, 0.2], abs=0.005)


def test_histogram_tail_has_its_name_and_both_shares() -> None:
    assert {"missing", "5→20%"} <= set(texts(parse(sentence(HISTOGRAM))))


def test_histogram_tail_much_taller_than_the_bins_is_cut_and_does_not_flatten_them() -> None:
    chart = replace(HISTOGRAM, current=(0.0,) * 5, tails=(Bar("missing", 0.0, 1.0),))
    drawing = parse(sentence(chart))
    (reference, *_) = paths(drawing, "ref")
    assert max(heights(reference)) > 60
    assert len(paths(drawing, "cut")) == 1
    assert "0→100%" in texts(drawing)


def test_histogram_part_whose_shape_is_unknown_is_dashed() -> None:
    chart = replace(HISTOGRAM, shape=(0.0, 30.0), tails=())
    drawing = parse(sentence(chart))
    (known,) = paths(drawing, "cur")
    (spread,) = paths(drawing, "cur spread")
    assert max(x for x, _ in corners(known)) <= min(x for x, _ in corners(spread))


def test_histogram_logarithmic_axis_has_equal_factors_at_equal_distances() -> None:
    chart = Histogram("x", (1, 10, 100, 1000), (0.2, 0.5, 0.3), (0.3, 0.3, 0.4), scale="log")
    (path,) = paths(parse(sentence(chart)), "ref")
    lefts = [corners(f"M{bar}")[0][0] for bar in path.split("M") if bar]
    assert lefts[1] - lefts[0] == pytest.approx(lefts[2] - lefts[1], abs=0.11)
    assert "10" in texts(parse(sentence(chart)))


def test_histogram_logarithmic_shares_show_a_bin_beside_a_tower() -> None:
    shares = (0.98, 0.001, 0.001, 0.018)
    plain = Histogram("x", (0, 1, 2, 3, 4), shares, shares)
    low = min(heights(paths(parse(sentence(plain)), "ref")[0]))
    seen = min(heights(paths(parse(sentence(replace(plain, log_shares=True))), "ref")[0]))
    assert low < 1 < 10 < seen


def test_histogram_of_single_values_names_each_bin() -> None:
    chart = Histogram("flag", (-0.5, 0.5, 1.5), (0.7, 0.3), (0.5, 0.5), labels=("0", "1"))
    assert {"0", "1"} <= set(texts(parse(sentence(chart))))


def test_categories_bars_are_as_long_as_their_shares() -> None:
    drawing = parse(sentence(CATEGORIES))
    for classes, shares in (("ref", (0.5, 0.25, 0.25)), ("bar", (0.25, 0.5, 0.1, 0.15))):
        bars = [corners(f"M{bar}") for bar in paths(drawing, classes)[0].split("M") if bar]
        lengths = [bar[1][0] - bar[0][0] for bar in bars]
        assert [length / max(lengths) for length in lengths] == pytest.approx(
            [share / max(shares) for share in shares], abs=0.01
        )
    assert "50.0% → 25.0%" in texts(drawing)


def test_categories_others_that_are_more_than_any_are_cut_and_do_not_flatten_them() -> None:
    chart = Categories("x", (Bar("a", 0.02, 0.02), Bar("b", 0.01, 0.01), Bar("900 others", 0.97, 0.97)))
    drawing = parse(sentence(chart))
    first, second, others = (corners(f"M{bar}") for bar in paths(drawing, "ref")[0].split("M") if bar)
    assert first[1][0] - first[0][0] == pytest.approx(2 * (second[1][0] - second[0][0]), abs=0.2)
    assert others[1][0] - others[0][0] == pytest.approx(1.5 * (first[1][0] - first[0][0]), abs=0.2)
    assert len(paths(drawing, "cut")) == 1
    assert "97.0% → 97.0%" in texts(drawing)


def test_categories_long_name_is_shortened_and_its_title_is_whole() -> None:
    name = "Delta Air Lines Incorporated of Atlanta"
    drawing = parse(sentence(Categories("carrier", (Bar(name, 0.5, 0.5),))))
    (text,) = [text for text in drawing.iter("text") if text.find("title") is not None]
    assert text.findtext("title") == name
    assert text_of(text).endswith("…")


def test_trend_points_lie_on_their_values_between_the_ticks() -> None:
    drawing = parse(sentence(TREND))
    dots = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in drawing.iter("circle")]
    assert [x for x, _ in dots] == sorted(x for x, _ in dots)
    steps = [a - b for (_, a), (_, b) in zip(dots, dots[1:], strict=False)]
    assert steps == pytest.approx([steps[0]] * len(steps), abs=0.11)
    assert steps[0] > 0
    assert {"Apr 2013", "May", "0.20", "Brier score"} <= set(texts(drawing))


def test_trend_level_of_a_part_of_the_time_ends_where_that_does() -> None:
    drawing = parse(sentence(TREND))
    (levels,) = paths(drawing, "level")
    limit, holdout = sorted((corners(f"M{line}") for line in levels.split("M") if line), key=lambda line: line[0][1])
    (mark,) = paths(drawing, "mark")
    assert holdout[1][0] == corners(mark)[0][0]
    assert limit[1][0] > holdout[1][0]
    assert "limit, 0.3" in texts(drawing)


def test_trend_labels_do_not_overlap() -> None:
    marks = tuple(Mark(START + timedelta(days=3 * i), f"version {i} promoted") for i in range(30))
    drawing = parse(sentence(replace(TREND, marks=marks)))
    labels = [(float(t.attrib["x"]), float(t.attrib["y"])) for t in drawing.iter("text") if "promoted" in text_of(t)]
    assert 3 <= len(labels) < len(marks)
    assert len(paths(drawing, "mark")) == len(marks)
    for line in {y for _, y in labels}:
        places = sorted(x for x, y in labels if y == line)
        assert all(b - a > 80 for a, b in zip(places, places[1:], strict=False))


def test_trend_name_of_a_level_among_dense_intervals_is_over_no_point() -> None:
    points = tuple(Point(START + timedelta(days=7 * i), 0.2 if i < 30 else 0.165, 0.1, 0.25) for i in range(35))
    drawing = parse(sentence(Trend("x", points, levels=(Level(0.156, "holdout"),))))
    (name,) = (text for text in drawing.iter("text") if text_of(text) == "holdout, 0.156")
    x, y = float(name.attrib["x"]), float(name.attrib["y"])
    dots = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in drawing.iter("circle")]
    assert not [dot for dot in dots if abs(dot[0] - x) < 40 and y - 10 < dot[1] < y]


def test_trend_many_points_are_a_line_with_gaps_in_a_band() -> None:
    points = tuple(
        Point(START + timedelta(hours=i), None if 20 <= i < 25 else 0.2, 0.1 if i < 60 else None, 0.3)
        for i in range(100)
    )
    drawing = parse(sentence(Trend("x", points)))
    assert paths(drawing, "s1")[0].count("M") == 2
    assert len(paths(drawing, "band")) == 1
    assert not list(drawing.iter("circle"))


def test_trend_interval_of_few_rows_does_not_flatten_the_rest() -> None:
    points = (*TREND.points, Point(START + timedelta(days=240), 0.25, -100.0, 100.0))
    drawing = parse(sentence(replace(TREND, points=points)))
    ys = [float(dot.attrib["cy"]) for dot in drawing.iter("circle")]
    assert max(ys) - min(ys) > 20


def test_trend_further_series_have_names_and_dashes_of_their_own() -> None:
    others = tuple((f"policy {i}", TREND.points) for i in range(4))
    drawing = parse(sentence(replace(TREND, label="default", others=others)))
    assert {"default", "policy 0", "policy 3"} <= set(texts(drawing))
    assert all(paths(drawing, classes) for classes in ("s0", "s1", "s2", "s3", "s4"))


def test_intervals_open_bound_reaches_the_edge_with_an_arrow() -> None:
    drawing = parse(sentence(INTERVALS))
    open_bar, closed = paths(drawing, "interval")
    assert max(x for x, _ in corners(open_bar)) > max(x for x, _ in corners(closed))
    assert {"no value", "19,153 rows", "a bound must exceed 0", "0"} <= set(texts(drawing))


def test_curves_lie_on_both_axes_with_the_diagonal() -> None:
    drawing = parse(sentence(CURVES))
    first, second = paths(drawing, "s0")[-1], paths(drawing, "s1")[-1]
    assert corners(first)[0] == corners(second)[0]
    assert corners(first)[1][1] > corners(second)[1][1]
    (diagonal,) = paths(drawing, "level")
    assert corners(diagonal) == [corners(first)[0], corners(first)[2]]
    assert {"version 1", "version 2", "false positive rate", "true positive rate"} <= set(texts(drawing))


def test_curves_of_many_points_are_thinned() -> None:
    line = tuple(i / 99_999 for i in range(100_000))
    drawing = parse(sentence(Curves("x", (Curve("a", line, line),), "x", "y")))
    assert len(corners(paths(drawing, "s0")[0])) == 200


def test_sparkline_is_the_newest_values_with_gaps_and_a_dot() -> None:
    drawing = parse(sentence(Sparkline((1.0, 2.0, None, 3.0, 4.0), 2.5)))
    (line,) = paths(drawing, "cur")
    assert line.count("M") == 2
    (dot,) = drawing.iter("circle")
    assert float(dot.attrib["cx"]) == max(x for x, _ in corners(line))
    assert drawing.attrib["class"] == "chart spark"


@MANY
@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.none(), max_size=6),
    st.lists(st.integers(-62_135_596_800, 253_402_300_799), max_size=6),
)
def test_draw_trend_of_any_values_at_any_times_is_a_drawing(values: list[float | None], times: list[int]) -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    points = tuple(
        Point(epoch + timedelta(seconds=time), value, value, value) for time, value in zip(times, values, strict=False)
    )
    wide, high = size(parse(sentence(Trend("x", points, marks=tuple(Mark(p.time, "now") for p in points)))))
    assert wide > 0
    assert 0 < high < 500


def test_draw_name_with_an_invisible_character_shows_its_code_as_the_page_does() -> None:
    drawn = draw(Categories("c", (Bar("a\u202eb", 0.5, 0.5), Bar("ab", 0.5, 0.5))), description="")
    assert {"a‹U+202E›b", "ab"} <= set(texts(parse(drawn)))
