"""A page with every block and every chart, and one with thousands of columns."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

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
from keel.reports.page import (
    ColumnCard,
    ColumnCards,
    Command,
    Details,
    Fact,
    Facts,
    Figure,
    Items,
    Link,
    Measure,
    Page,
    Paragraph,
    Section,
    Table,
    Tag,
    Tone,
)

MARKUP = "<img src=x onerror=\"document.title='ran'\">"
"""A column's name that must stay a text."""
START = datetime(2013, 4, 1, tzinfo=UTC)


def bell(middle: float, width: float, bins: int = 30) -> tuple[float, ...]:
    heights = [math.exp(-(((i + 0.5) / bins - middle) ** 2) / width) for i in range(bins)]
    return tuple(height / sum(heights) for height in heights)


def histogram(name: str = "temp", shift: float = 0.4) -> Histogram:
    edges = tuple(13 + 2.7 * i for i in range(31))
    tails = (Bar("missing", 0.001, 0.14),)
    return Histogram(name, edges, bell(0.3, 0.02), bell(0.3 + shift, 0.01), tails=tails)


def categories(name: str = "carrier") -> Categories:
    bars = tuple(Bar(label, 0.3 - i / 20, 0.1 + i / 50) for i, label in enumerate(["UA", "B6", "EV", "DL", "AA"]))
    return Categories(name, (*bars, Bar("8 others", 0.12, 0.2)), (Bar("unseen", None, 0.03), Bar("missing", 0.0, 0.01)))


def trend() -> Trend:
    months = [START + timedelta(days=30 * i) for i in range(8)]
    values = [0.184, 0.165, 0.183, 0.181, 0.169, None, 0.16, 0.17]
    points = tuple(
        Point(time, value, value and value - 0.02, value and value + 0.02, 6_000)
        for time, value in zip(months, values, strict=True)
    )
    never = tuple(Point(time, 0.16 + 0.012 * i) for i, time in enumerate(months))
    return Trend(
        "Brier score",
        points,
        (
            Level(0.168, "baseline of version 1", None, months[3]),
            Level(0.178, "baseline of version 3", months[3], None),
        ),
        (Mark(months[3], "version 3 promoted"),),
        unit="Brier score",
        label="as Keel decided",
        others=(("never retrained", never),),
    )


def intervals() -> Intervals:
    rows = (
        Interval("all rows", 0.0205, 0.0006, None, "19,153 rows"),
        Interval("origin = JFK", 0.012, -0.004, None, "6,102 rows"),
        Interval("origin = LGA", None, None, None, "too few rows"),
    )
    return Intervals("improvement", rows, 0.0, "must exceed 0", "Brier score")


def curves() -> Curves:
    x = tuple(i / 10 for i in range(11))
    champion = Curve("version 1", x, tuple(v**1.6 for v in x))
    challenger = Curve("version 3", x, tuple(v**1.1 for v in x))
    return Curves("calibration", (champion, challenger), "predicted probability", "share that was late", diagonal=True)


def card(name: str, i: int = 0) -> ColumnCard:
    drifted = i < 3
    chart = categories(name) if i % 5 == 4 else histogram(name, 0.5 / (i + 1))
    history = Sparkline(tuple(0.01 * j * (3 - i % 3) for j in range(12)), 0.2)
    return ColumnCard(
        name,
        "categorical" if i % 5 == 4 else "numeric",
        "feature",
        Tag("drift", Tone.BAD) if drifted else Tag("stable", Tone.GOOD),
        Figure(chart, "In the window the values lie higher, and 14.0% are missing; it was 0.1%."),
        f"{0.0159 / (i + 1):+.4f}",
        f"PSI {3.62 / (i + 1):.2f} · KS {0.52 / (i + 1):.2f}",
        (
            Measure("PSI", f"{3.62 / (i + 1):.2f}", "Population stability index. Above 0.20 is drift."),
            Measure("KS", f"{0.52 / (i + 1):.2f}", "The largest distance of the two distributions' shares."),
        ),
        ("PSI 3.62 is above 0.20.",) if drifted else (),
        history,
        "The PSI of the last 12 checks rose to 0.33.",
    )


def compact(name: str, i: int) -> ColumnCard:
    return ColumnCard(
        name, "numeric", "feature", Tag("stable", Tone.GOOD), None, f"{1 / (i + 9):+.4f}", "PSI 0.01 · KS 0.02"
    )


def every_block(name: str = MARKUP) -> Page:
    """A page with every block and every chart. ``name`` is the name of its worst column."""
    names = (name, "temp", "wind_speed", "dewp", "carrier", "origin_of_the_incoming_aircraft_" * 3)
    table = Table(
        "Metrics of both versions",
        ("metric", "champion", "challenger", "says", "run", "history"),
        (
            (
                "Brier score",
                "0.2487",
                "0.2282",
                Tag("better", Tone.GOOD),
                Link("run 41", "https://mlflow.test/41"),
                _line(),
            ),
            ("log loss", "0.6921", "0.6430", Tag("not worse"), Link("run 41", "javascript:alert(1)"), _line()),
        ),
        (1, 2),
        wide=True,
    )
    narrow = Table("Labels", ("labels", "share"), (("arrived", "92.7%"), ("late", "7.3%")), (1,))
    inner = (Paragraph("Inside.", quiet=True), Items(("an item", "another")), narrow)
    return Page(
        "flight_delay, week to 1 July 2013",
        "flight_delay · version 1 in production · week to 1 July 2013 · 6,702 predictions, 6,216 labels",
        "Predictions are worse than on the holdout, and a retrained version is better: version 3 was promoted.",
        Tag("retrained", Tone.WARN),
        "The Brier score rose from 0.157 on the holdout to 0.249. Input drift explains −0.021 of the change; "
        "the relation between inputs and delays accounts for +0.113.",
        (
            Fact("0.249", ("Brier score, 95% 0.221 to 0.277", "holdout 0.157, limit +0.010"), Tone.BAD),
            Fact("8 of 15", ("columns drifted", "30% or more is a drifted window"), Tone.WARN),
            Fact("+0.0205", ("better than the champion on 19,153 unseen rows", "at least +0.0006 (97%)"), Tone.GOOD),
            Fact(
                "Nothing to do",
                ("version 3 is on probation until 8 July", "roll back: airflow dags trigger flight_delay.rollback"),
            ),
        ),
        (
            Section(
                "Performance since April", (Figure(trend(), "The Brier score fell after version 3 was promoted."),)
            ),
            Section(
                "Columns, by what their drift costs",
                (ColumnCards(tuple(card(n, i) for i, n in enumerate(names)), "reference", "this week", "Brier score"),),
            ),
            Section(
                "Champion and challenger",
                (
                    Figure(intervals(), "The challenger is better by at least 0.0006 on all rows."),
                    Figure(curves(), "Version 3 is closer to the diagonal."),
                    table,
                    Details("How it was compared", inner),
                ),
            ),
            Section(
                "What to do",
                (
                    Facts((Fact("1", ("open finding",)),)),
                    Items(("Look at the feed of pressure.", "Watch the probation.")),
                    Command("airflow dags trigger flight_delay.rollback"),
                    Paragraph("The decision is in the ledger.", (Link("row 12", "http://keel.test/ledger#12"),)),
                    Figure(histogram(), "The temperature rose."),
                    Figure(categories(), "UA flew less."),
                ),
            ),
        ),
        ("Reference: 123,456 rows of version 1's training data.", "Keel 0.2.0 · level 1%"),
    )


def _line() -> Sparkline:
    return Sparkline((0.25, 0.24, None, 0.21, 0.2), 0.22)


def many_columns(count: int = 5_000) -> Page:
    """A page of ``count`` columns, of which sixty can be drawn."""
    cards = tuple(card(f"column_{i}", i) if i < 100 else compact(f"column_{i}", i) for i in range(count))
    headline = f"3 of {count:,} columns drifted."
    section = Section("Columns, by what their drift costs", (ColumnCards(cards, impact_unit="Brier score"),))
    return Page("wide data", f"two files · {count:,} columns", headline, sections=(section,))
