"""What came before a check: which windows are a column's history, which buckets performance has, who was deployed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keel.ledger.entries import Entry
from keel.reports.check.history import Measured, bucket_of, deployments_of, spaced
from keel.reports.check.performance import most_answered
from keel.store.records import ReportKey
from keel.window import Window
from tests.support.toy import DAY, START

WEEK = 7 * DAY
HOUR = timedelta(hours=1)


def keys(*hours: float, length: timedelta = WEEK) -> list[ReportKey]:
    """Reports of windows that end so many hours before the newest, the newest first."""
    end = START + 400 * DAY
    ends = [end - hour * HOUR for hour in hours]
    return [ReportKey(f"drift-{each:%m%d%H}", 1, each - length, each, "ok", each) for each in ends]


def test_windows_of_a_history_do_not_overlap_where_there_are_enough() -> None:
    every_six_hours = keys(*range(0, 24 * 7 * 30, 6))
    chosen = spaced(every_six_hours, WEEK)
    assert len(chosen) == 20
    assert {after.end - before.end for before, after in zip(chosen, chosen[1:], strict=False)} == {WEEK}
    assert chosen[-1] == every_six_hours[0], "the newest last"


def test_windows_of_a_short_history_overlap() -> None:
    chosen = spaced(keys(*range(0, 72, 6)), WEEK)
    assert len(chosen) == 12
    assert spaced(keys(0), WEEK) == keys(0)
    assert spaced([], WEEK) == []


def test_windows_of_another_length_are_no_history() -> None:
    week, day = keys(0, 168, 336), keys(24, 48, length=DAY)
    assert spaced([*week[:1], *day, *week[1:]], WEEK) == week[::-1]


def test_window_that_was_checked_twice_is_once_in_the_history() -> None:
    both = [*keys(0), *keys(0), *keys(168)]
    assert [key.end for key in spaced(both, WEEK)] == [both[2].end, both[0].end]


@pytest.mark.parametrize(
    ("length", "bucket"),
    [(HOUR, "hour"), (DAY, "day"), (3 * DAY, "day"), (WEEK, "week"), (14 * DAY, "week"), (30 * DAY, "month")],
)
def test_bucket_is_the_one_nearest_to_the_window(length: timedelta, bucket: str) -> None:
    assert bucket_of(Window(START, START + length))[0] == bucket


def entry(seq: int, action: str, production: int | None, **body: object) -> Entry:
    changed = {"to": {"production": production, "staging": None, "previous": None}, **body}
    return Entry(seq, "toy", START + seq * DAY, "tests", action, seq - 1, seq, changed, "", "")


def test_deployments_are_changes_of_production_in_the_time_of_the_data() -> None:
    probation = {"version": 2, "previous": 1, "since": START.isoformat(), "until": (START + WEEK).isoformat()}
    rows = [
        entry(1, "promote", 1),
        entry(2, "stage", 1),
        entry(3, "promote", 2, probation=probation),
        entry(4, "rollback", 1, probation={**probation, "version": 1}),
    ]
    found = [(change.seq, change.before, change.version, change.time) for change in deployments_of(rows)]
    assert found == [
        (1, None, 1, START + 1 * DAY),
        (3, 1, 2, START),
        (4, 2, 1, START + 4 * DAY),
    ]


def test_versions_of_an_experiment_are_drawn_beside_each_other() -> None:
    def measured(week: int, version: int, n: int) -> Measured:
        return Measured(START + week * WEEK, START + (week + 1) * WEEK, version, 0.2, 0.1, 0.3, n)

    series = [measured(0, 1, 900), measured(1, 1, 500), measured(1, 2, 400), measured(2, 1, 100), measured(2, 2, 800)]
    most, others = most_answered(series)
    assert [part.version for part in most] == [1, 1, 2]
    assert {version: [part.n for part in parts] for version, parts in others.items()} == {1: [100], 2: [400]}
