"""The page of the live monitors: one sentence first, the worst monitor first, and what to do."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from keel.monitoring.records import AlarmStatus, LiveAlarm, LiveStatus, MonitorStatus
from keel.reports import html, text
from keel.reports.charts.specs import Sparkline, Trend
from keel.reports.page import Figure, Table
from keel.reports.production.live import CELL_POINTS, document, headline, needs_attention, page

NOW = datetime(2013, 12, 31, 12, tzinfo=UTC)
SINCE = datetime(2013, 12, 21, 13, tzinfo=UTC)
BOUND = 6.0


def monitor(subject, evidence, *, kind="shift", points=40):
    """A monitor whose evidence has grown evenly to what it is."""
    path = tuple(evidence * i / (points - 1) for i in range(points))
    return MonitorStatus(
        kind=kind, subject=subject, evidence=evidence, bound=BOUND, blocks=points, since=SINCE, trajectory=path
    )


def alarm(kind="shift", subject="distance", **more):
    values = {
        "alarm_id": f"{kind}-{subject}", "model": "flights", "version": 3, "kind": kind, "subject": subject,
        "opened_at": SINCE + timedelta(days=5), "since": SINCE, "rows_since": 1_500, "evidence": 7.5, "bound": BOUND,
        "sentence": f"The values of {subject} have changed", **more,
    }  # fmt: skip
    return AlarmStatus(alarm=LiveAlarm(**values), rings=2, last_ring_at=NOW)


def status(state="reading", **more):
    return LiveStatus(model="flights", state=state, sentence="What is so, and what to do", **more)


def changed(given, **values):
    return given.model_copy(update=values)


QUIET = status(
    production=3,
    version=3,
    started_at=NOW - timedelta(days=40),
    rows=4_000,
    blocks=40,
    seen_until=NOW,
    last_block_at=NOW - timedelta(seconds=20),
    waiting=37,
    times=tuple(NOW - timedelta(days=40 - i) for i in range(40)),
    monitors=(monitor("carrier", 1.0), monitor("origin", 2.5), monitor("distance", 2.0)),
    promise="While nothing changes, the probability is at most 0.05",
)
STALLED = changed(QUIET, state="stalled", waiting=5_000, last_block_at=NOW - timedelta(hours=2))
ALARMED = changed(QUIET, alarms=(alarm(),))


def shown(given, **options):
    return text.plain(page(given, NOW, **options), width=1_000)


@pytest.mark.parametrize(
    ("given", "sentence", "attention", "hint"),
    [
        (QUIET, "No alarm is open after 40 blocks of version 3.", False, "63 more make a block"),
        (status("off"), "The live monitors of flights are off.", False, "live: null"),
        (
            status("no version"), "No version of flights is in production, so nothing is monitored.", False,
            "airflow dags trigger flights.retrain",
        ),
        (
            status("starting", production=3, waiting=20),
            "No block of 100 predictions of version 3 is complete yet.", False, "80 more make a block",
        ),
        (STALLED, "Nothing reads the 5,000 predictions that are waiting.", True, "dags unpause flights.drift_check"),
        (changed(STALLED, state="paused"), "The live monitors of flights are paused.", False, "live flights --resume"),
        (
            changed(QUIET, fault="It is damaged", monitors=()),
            "The live monitors start again, because their saved state cannot be used.", True, "It is damaged.",
        ),
        (
            ALARMED, "1 alarm is open: the values of distance have changed, since 21 December 2013 13:00.", True,
            "It has asked 2 times, last 31 December 2013 12:00, for a run of flights.drift_check.",
        ),
    ],
)  # fmt: skip
def test_page_says_first_how_the_monitors_are_and_what_to_do(given, sentence, attention, hint):
    assert page(given, NOW).headline == headline(given) == sentence
    assert needs_attention(given) is attention
    assert hint in shown(given)
    assert f"<h1>{sentence}</h1>" in html.render(page(given, NOW, drawn=True))
    assert document(given, NOW)["headline"] == sentence


def test_headline_of_several_alarms_names_harm_first_and_at_most_three_columns():
    alarms = tuple(alarm(subject=name) for name in "abcd")
    assert "the values of a, b, c and 1 more have changed" in headline(changed(QUIET, alarms=alarms))
    harmful = changed(QUIET, alarms=(*alarms[:3], alarm("harm", "loss", since=SINCE - timedelta(days=1))))
    assert headline(harmful) == (
        "4 alarms are open: the mean loss has risen and the values of a, b and c have changed, since 20 December 2013 "
        "13:00."
    )


def test_page_lists_monitors_with_an_alarm_first_then_by_their_evidence():
    [table] = [block for section in page(ALARMED, NOW).sections for block in section.blocks if isinstance(block, Table)]
    assert [row[0] for row in table.rows] == ["distance", "origin", "carrier"]
    assert [cell.text for row in table.rows for cell in row[1:2]] == ["alarm", "ok", "ok"]
    [line] = [cell for cell in table.rows[1] if isinstance(cell, Sparkline)]
    assert len(line.values) == CELL_POINTS
    assert line.values[-1] == 2.5
    assert (line.threshold, line.from_zero) == (BOUND, True)


def test_trajectory_in_a_terminal_is_as_high_as_a_line_only_where_it_has_reached_its_bound():
    crossed = changed(QUIET, monitors=(monitor("distance", 6.0), monitor("carrier", 5.9)))
    lines = {line.split()[0]: line for line in shown(crossed).splitlines() if "▁" in line}
    assert "█" in lines["distance"]
    assert "█" not in lines["carrier"]


def test_trajectory_of_few_of_many_values_keeps_its_peak():
    path = tuple(5.0 if i == 70 else 0.0 for i in range(200))
    given = changed(QUIET, times=(NOW,) * 200, monitors=(changed(monitor("x", 0.0), trajectory=path),))
    [line] = [line for line in shown(given).splitlines() if "▁" in line]
    assert "▆" in line


def test_page_that_is_drawn_has_a_chart_of_the_worst_against_their_bound():
    several = changed(QUIET, monitors=tuple(monitor(f"column {i}", i / 10) for i in range(30)))
    [figure] = [
        block
        for section in page(several, NOW, drawn=True).sections
        for block in section.blocks
        if isinstance(block, Figure)
    ]
    assert isinstance(figure.chart, Trend)
    assert [figure.chart.label, *(label for label, _ in figure.chart.others)] == [
        f"column {i}" for i in range(29, 24, -1)
    ]
    assert [level.value for level in figure.chart.levels] == [BOUND]
    assert not any(isinstance(block, Figure) for section in page(several, NOW).sections for block in section.blocks)


def test_document_is_json_the_worst_monitor_first():
    none_yet = MonitorStatus(kind="shift", subject="new", evidence=None, bound=BOUND, trajectory=(None,) * 40)
    given = changed(ALARMED, monitors=(none_yet, *QUIET.monitors))
    found = json.loads(json.dumps(document(given, NOW), allow_nan=False))
    assert [each["subject"] for each in found["monitors"]] == ["distance", "origin", "carrier", "new"]
    assert found["monitors"][-1]["trajectory"] == [None] * len(found["times"])
    assert (found["alarms"][0]["rings"], found["alarms"][0]["alarm"]["subject"]) == (2, "distance")
    assert (found["waiting"], found["state"], found["needs_attention"]) == (37, "reading", True)


def test_judged_alarms_and_remarks_are_on_the_page():
    judged = alarm().alarm.model_copy(update={"judged_by": "decision-1"})
    whole = shown(changed(QUIET, judged=(judged,), notes=("The version has no reference by context",)))
    assert "decision-1" in whole
    assert "- The version has no reference by context." in whole


OFF = changed(status("off"), alarms=(alarm(), alarm("fault", "state")))


def test_page_of_alarms_that_no_monitor_is_left_to_ring_for_says_how_they_are_judged():
    whole = " ".join(shown(OFF).split())
    assert "2 alarms are open" in whole
    assert "While they are off, no alarm starts flights.drift_check. Its next run judges what is open" in whole
    assert "airflow dags trigger flights.drift_check" in whole
    assert "by itself" not in whole
    assert needs_attention(OFF)


def test_page_of_an_alarm_that_nothing_rings_for_until_the_dag_runs_says_so():
    whole = shown(changed(STALLED, alarms=(alarm(),)))
    assert "airflow dags unpause flights.drift_check" in whole
    assert "flights.drift_check then starts by itself" in whole
    assert "Nothing: " not in whole


def test_page_and_document_of_thousands_of_alarms_are_short():
    names = [f"column {i:04}" for i in range(2_000)]
    given = changed(
        QUIET,
        alarms=tuple(alarm(subject=name) for name in names),
        monitors=tuple(monitor(name, 7.0) for name in names),
    )
    whole = shown(given)
    assert len(whole.splitlines()) < 200
    assert "1,980 more are not told one by one." in whole
    assert len(json.dumps(document(given, NOW))) < 3_500_000


@pytest.mark.parametrize(
    ("kind", "name"),
    [("shift", "loss"), ("harm", "mean loss"), ("audit", "mean loss of the audit sample"), ("fault", "the monitoring")],
)
def test_alarm_is_named_by_its_kind_and_not_by_a_column_of_that_name(kind, name):
    judged = alarm(kind, "loss").alarm.model_copy(update={"judged_by": "decision-1"})
    [row] = [line for line in shown(changed(QUIET, judged=(judged,))).splitlines() if "decision-1" in line]
    assert f"  {name}" in row
    assert ("mean loss" in row) == (kind in ("harm", "audit"))
