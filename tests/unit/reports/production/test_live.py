"""The page of the live monitors: one sentence first, the worst monitor first, and what to do."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from keel.monitoring.records import LiveAlarm
from keel.reports import html, text
from keel.reports.charts.specs import Sparkline, Trend
from keel.reports.page import Figure, Table
from keel.reports.production.live import CELL_POINTS, LiveData, OpenAlarm, Trajectory, document, headline, page

NOW = datetime(2013, 12, 31, 12, tzinfo=UTC)
SINCE = datetime(2013, 12, 21, 13, tzinfo=UTC)
BOUND = 6.0


def monitor(subject, evidence, *, kind="shift", points=40):
    """A monitor whose evidence has grown evenly to what it is."""
    start = NOW - timedelta(days=points)
    path = tuple((start + timedelta(days=i), evidence * i / (points - 1)) for i in range(points))
    return Trajectory(kind, subject, evidence, BOUND, blocks=points, since=SINCE, path=path)


def alarm(kind="shift", subject="distance", **more):
    values = {
        "alarm_id": f"{kind}-{subject}", "model": "flights", "version": 3, "kind": kind, "subject": subject,
        "opened_at": SINCE + timedelta(days=5), "since": SINCE, "rows_since": 1_500, "evidence": 7.5, "bound": BOUND,
        "sentence": f"The values of {subject} have changed", **more,
    }  # fmt: skip
    return OpenAlarm(LiveAlarm(**values), rings=2, last_ring_at=NOW)


QUIET = LiveData(
    "flights",
    NOW,
    production=3,
    version=3,
    started_at=NOW - timedelta(days=40),
    rows=4_000,
    blocks=40,
    seen_until=NOW,
    last_block_at=NOW - timedelta(seconds=20),
    waiting=37,
    monitors=(monitor("carrier", 1.0), monitor("origin", 2.5), monitor("distance", 2.0)),
    promise="While nothing changes, the probability is at most 0.05",
)
STALLED = replace(QUIET, waiting=5_000, last_block_at=NOW - timedelta(hours=2))
ALARMED = replace(QUIET, alarms=(alarm(),))


def shown(data, **options):
    return text.plain(page(data, **options), width=1_000)


@pytest.mark.parametrize(
    ("data", "sentence", "attention", "hint"),
    [
        (QUIET, "No alarm is open after 40 blocks of version 3.", False, "63 more make a block"),
        (LiveData("flights", NOW, configured=False), "The live monitors of flights are off.", False, "live: null"),
        (
            LiveData("flights", NOW), "No version of flights is in production, so nothing is monitored.", False,
            "airflow dags trigger flights.retrain",
        ),
        (
            LiveData("flights", NOW, production=3, waiting=20),
            "No block of 100 predictions of version 3 is complete yet.", False, "80 more make a block",
        ),
        (STALLED, "Nothing reads the 5,000 predictions that are waiting.", True, "dags unpause flights.drift_check"),
        (replace(STALLED, paused=True), "The live monitors of flights are paused.", False, "live flights --resume"),
        (replace(QUIET, fault="no reference"), "no reference.", True, "triggerer's log"),
        (
            ALARMED, "1 alarm is open: the values of distance have changed, since 21 December 2013 13:00.", True,
            "It has asked for a run of flights.drift_check 2 times",
        ),
    ],
)  # fmt: skip
def test_page_says_first_how_the_monitors_are_and_what_to_do(data, sentence, attention, hint):
    assert page(data).headline == headline(data) == sentence
    assert data.needs_attention is attention
    assert hint in shown(data)
    assert sentence.split()[0] in html.render(page(data, drawn=True))
    assert document(data)["sentence"] == sentence


def test_headline_of_several_alarms_names_harm_first_and_at_most_three_columns():
    alarms = tuple(alarm(subject=name) for name in "abcd")
    assert "the values of a, b and 2 more have changed" in headline(replace(QUIET, alarms=alarms))
    harmful = replace(QUIET, alarms=(*alarms[:3], alarm("harm", "loss", since=SINCE - timedelta(days=1))))
    assert headline(harmful) == (
        "4 alarms are open: the mean loss has risen and the values of a, b, c have changed, since 20 December 2013 "
        "13:00."
    )


def test_page_lists_monitors_with_an_alarm_first_then_by_their_evidence():
    [table] = [block for section in page(ALARMED).sections for block in section.blocks if isinstance(block, Table)]
    assert [row[0] for row in table.rows] == ["distance", "origin", "carrier"]
    assert [cell.text for row in table.rows for cell in row[1:2]] == ["alarm", "ok", "ok"]
    [line] = [cell for cell in table.rows[1] if isinstance(cell, Sparkline)]
    assert len(line.values) == CELL_POINTS
    assert line.values[-1] == 2.5
    assert (line.threshold, line.from_zero) == (BOUND, True)


def test_trajectory_in_a_terminal_is_as_high_as_a_line_only_where_it_has_reached_its_bound():
    crossed = replace(QUIET, monitors=(monitor("distance", 6.0), monitor("carrier", 5.9)))
    lines = {line.split()[0]: line for line in shown(crossed).splitlines() if "▁" in line}
    assert "█" in lines["distance"]
    assert "█" not in lines["carrier"]


def test_trajectory_of_few_of_many_values_keeps_its_peak():
    path = tuple((NOW, 5.0 if i == 70 else 0.0) for i in range(200))
    data = replace(QUIET, monitors=(replace(monitor("x", 0.0), path=path),))
    [line] = [line for line in shown(data).splitlines() if "▁" in line]
    assert "▆" in line


def test_page_that_is_drawn_has_a_chart_of_the_worst_against_their_bound():
    several = replace(QUIET, monitors=tuple(monitor(f"column {i}", i / 10) for i in range(30)))
    [figure] = [
        block for section in page(several, drawn=True).sections for block in section.blocks if isinstance(block, Figure)
    ]
    assert isinstance(figure.chart, Trend)
    assert [figure.chart.label, *(label for label, _ in figure.chart.others)] == [
        f"column {i}" for i in range(29, 24, -1)
    ]
    assert [level.value for level in figure.chart.levels] == [BOUND]
    assert not any(isinstance(block, Figure) for section in page(several).sections for block in section.blocks)


def test_document_is_json_without_infinities_the_worst_monitor_first():
    none_yet = Trajectory("shift", "new", float("-inf"), BOUND, path=((NOW, float("-inf")),))
    found = json.loads(json.dumps(document(replace(ALARMED, monitors=(none_yet, *QUIET.monitors))), allow_nan=False))
    assert [each["subject"] for each in found["monitors"]] == ["distance", "origin", "carrier", "new"]
    assert found["monitors"][-1]["trajectory"] == [[NOW.isoformat(), None]]
    assert (found["alarms"][0]["rings"], found["alarms"][0]["subject"]) == (2, "distance")
    assert (found["waiting"], found["stalled"], found["needs_attention"]) == (37, False, True)


def test_judged_alarms_and_remarks_are_on_the_page():
    judged = alarm().alarm.model_copy(update={"judged_by": "decision-1"})
    whole = shown(replace(QUIET, judged=(judged,), notes=("The version has no reference by context",)))
    assert "decision-1" in whole
    assert "- The version has no reference by context." in whole
