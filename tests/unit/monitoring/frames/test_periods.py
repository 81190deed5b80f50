"""Times that no calendar has, and the periods of rows among which a few lie far away."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import keel
from keel.monitoring.frames.periods import split_periods, times_of
from keel.monitoring.frames.tables import read_frame

N = 120
DAYS = [date(2024, 3, 4) + timedelta(days=i // 30) for i in range(N)]


def frame_of(*odd, n=N):
    return pa.table({"x": [i % 7 + 0.5 for i in range(n)], "at": pa.array([*odd, *DAYS[len(odd) : n]])})


@pytest.mark.parametrize("odd", [date(9999, 12, 31), date(1, 1, 1)])
def test_detect_with_the_first_or_last_day_there_is_draws_its_page(odd):
    report = keel.detect(frame_of(odd), frame_of(odd), time="at")
    assert report.frames.period == "day"
    assert report.to_html()
    few = keel.detect(frame_of(odd, n=40), frame_of(odd, n=40), time="at")
    assert few.frames.period == "365 days"
    assert few.to_html()


def test_times_of_a_year_beyond_9999_are_unknown_and_a_note_counts_them():
    days = pa.array([3_000_000, None, *range(19_786, 19_786 + 58)], pa.date32())
    table = pa.table({"x": np.arange(60) + 0.5, "at": days})
    assert np.isnat(times_of(read_frame(table, "current"), "at")).tolist() == [True, True, *[False] * 58]
    report = keel.detect(table, table, time="at")
    assert "1 of 60 rows of current have no time." in report.to_dict()["notes"]
    beyond = "1 of 60 rows of current have a time outside the years 1 to 9999. They count as rows without a time."
    assert beyond in report.to_dict()["notes"]
    assert report.to_html()


def test_split_periods_with_one_row_far_from_many_keeps_their_days():
    times = np.array([date(1900, 1, 1), *DAYS[1:]], dtype="datetime64[us]")
    word, periods = split_periods(times)
    assert (word, len(periods)) == ("day", 4)
    assert [len(period.rows) for period in periods] == [29, 30, 30, 30]


def test_split_periods_without_a_time_gives_none():
    assert split_periods(np.array([np.datetime64("NaT")] * 3)) == ("day", [])


def test_detect_with_one_time_missing_still_clusters_the_others():
    n, rng = 400, np.random.default_rng(0)
    bad = np.arange(n) // 20 % 4 == 0  # errors come in days
    label = rng.integers(0, 2, n)
    table = pd.DataFrame({"y": label, "p": np.where(bad, 0.5, 0.9 * label + 0.05)})
    table["at"] = pd.date_range("2024-03-04", periods=n, freq="72min")
    gap = table.assign(at=table["at"].where(np.arange(n) != 200))
    roles = {"target": "y", "score": "p"}
    plain, whole, other = (
        keel.detect(table, current, **roles, **more).to_dict()["performance"]["current"]["brier"]["standard_error"]
        for current, more in ((table, {"kinds": {"at": "ignore"}}), (table, {"time": "at"}), (gap, {"time": "at"}))
    )
    assert whole > 1.5 * plain
    assert other == pytest.approx(whole, rel=0.1)
