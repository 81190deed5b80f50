"""The picture of a mail is about what was decided."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from keel.loop.publishing import choose_picture
from keel.monitoring.records import Action, DecisionRecord
from keel.reports.charts.specs import Histogram, Interval, Intervals, Point, Trend
from keel.reports.page import ColumnCard, ColumnCards, Figure, Page, Section, Tag, Tone
from keel.window import Window

END = datetime(2026, 3, 1, tzinfo=UTC)
TREND = Figure(Trend("brier", (Point(END, 0.2),)), "Worse.")
INTERVALS = Figure(Intervals("gain", (Interval("all", 0.1),)), "Better.")


def card(name, tone, *, drawn=True):
    figure = Figure(Histogram(name, (0.0, 1.0), (1.0,), (1.0,)), name) if drawn else None
    return ColumnCard(name, "numeric", "feature", Tag("status", tone), figure, "", "")


def page(*cards, figures=(TREND, INTERVALS)):
    blocks = (*figures, ColumnCards(cards))
    return Page("t", "e", "h", sections=(Section("s", blocks),))


def decision(*about):
    window = Window(END - timedelta(days=7), END)
    return DecisionRecord(model="toy", version=1, window=window, action=Action.RAISE_ALERT, sentence="s", about=about)


MOVED = (card("worst", Tone.BAD), card("second", Tone.WARN), card("calm", Tone.GOOD))


@pytest.mark.parametrize(
    ("about", "cards", "figures", "shown"),
    [
        (("harm",), MOVED, (TREND, INTERVALS), "Worse."),
        (("harm",), MOVED, (INTERVALS,), "worst"),
        (("drift of worst",), MOVED, (TREND, INTERVALS), "worst"),
        (("drift of worst",), (card("worst", Tone.BAD, drawn=False), *MOVED[1:]), (TREND,), "second"),
        (("missing labels",), MOVED[2:], (TREND, INTERVALS), None),
        (("labels",), (), (TREND,), None),
        ((), (), (TREND, INTERVALS), "Better."),
        ((), (), (), None),
    ],
)
def test_choose_picture_shows_what_the_decision_is_about(about, cards, figures, shown):
    found = choose_picture(page(*cards, figures=figures), decision(*about))

    assert (found and found.sentence) == shown
