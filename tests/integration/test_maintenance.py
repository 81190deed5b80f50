"""Rows expire after they were counted and summed, on both databases, with a version that has a probation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from keel import loop, maintenance, rollout
from keel.errors import InsufficientData
from keel.feedback import submit_labels
from keel.grid.counts import Counts
from keel.grid.engines.local import count_hours
from keel.monitoring import performance_history as realised
from keel.monitoring.window_counts import window_counts
from keel.store import LabelResult
from keel.window import Window
from keel.workspace import Workspace
from tests.support.loop_steps import BY, NOW, check, first_version, live
from tests.support.toy import DAY, START, toy_config, toy_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

CONFIG = toy_config(retention={"rows": "45d"})
LATER = NOW + 50 * DAY
"""When history and the first five days of version 1 are older than that."""
HORIZON = NOW + 5 * DAY


@pytest.fixture
def ws(store_url: str, tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(home=tmp_path, store_url=store_url, environment={}) as opened:
        first_version(opened)
        live(opened, toy_rows(NOW, days=20), days=20)
        live(opened, toy_rows(NOW, days=20), days=1, start=NOW + 20 * DAY)  # whose labels those of the last day are
        yield opened


def known(ws: Workspace) -> tuple[Counts, list[dict]]:
    """What is known of version 1's first five days: rows counted, and performance by the day."""
    window = Window(NOW, HORIZON)
    counts = window_counts(ws, CONFIG, 1, ws.registry.grid("toy", 1), window, decided_before=LATER)
    return counts.usable, realised.series(ws, CONFIG, NOW, HORIZON, bucket="day")


def drift_of_expired(ws: Workspace) -> dict:
    """What the check of drift says of a window whose rows are gone in the end."""
    window = loop.resolve_window(CONFIG, end=HORIZON, now=LATER)
    return loop.check_data_drift(ws, CONFIG, loop.count_window(ws, CONFIG, window))


def retrain_on(ws: Workspace, end: datetime) -> None:
    window = loop.resolve_window(CONFIG, end=end, now=LATER)
    decision = loop.request_retrain(ws, CONFIG, window=window, reason="again", run_id="run-4")
    loop.retrain(ws, CONFIG, decision, **BY)


def test_expired_rows_leave_their_counts_and_sums(ws: Workspace) -> None:
    log = ws.predictions(CONFIG)
    grid = ws.registry.grid("toy", 1)
    expected = sum(count_hours(grid, log.read(NOW, HORIZON, 1)).values(), start=Counts.zero(grid))
    some = log.labelled(START, START + DAY)["id"][0].as_py()

    on_probation = maintenance.expire_rows(ws, CONFIG, now=LATER)
    assert on_probation.before == NOW
    assert on_probation.kept_for == ("rows from 2026-02-10 00:00 UTC on, because version 1 is on probation",)
    assert on_probation.deleted == 40 * 24 * 20
    watched = rollout.watch(ws, CONFIG, end=LATER, run_id="run-3")
    rollout.confirm(ws, CONFIG, watched.decision_id, **BY)
    before = realised.series(ws, CONFIG, NOW, HORIZON, bucket="day")
    assert [day["n"] for day in before] == [24 * 20] * 5
    drift = drift_of_expired(ws)

    done = maintenance.expire_rows(ws, CONFIG, now=LATER)
    assert (done.deleted, done.before, done.kept_for) == (5 * 24 * 20, HORIZON, ())
    assert done.counted_hours == 0, "the check has"
    assert log.count(START, HORIZON) == 0
    assert known(ws) == (expected, before)
    assert drift_of_expired(ws) == drift
    with pytest.raises(InsufficientData, match=r"toy: labelled \w+ rows: needs at least \d+ rows, got 0"):
        retrain_on(ws, HORIZON)
    assert maintenance.verify_store(ws) == maintenance.VerifiedStore(faults=0)
    assert maintenance.compact(ws).bytes_after > 0

    late = pa.table({"id": [some], "label": [1.0], "observed_at": pa.array([LATER], pa.timestamp("us", "UTC"))})
    assert submit_labels(ws, CONFIG, late) == LabelResult(stored=1, duplicates=0, conflicts=0, unmatched=1)
    again = toy_rows(NOW, days=1 / 24).drop_columns(["label"])
    log.append(again.append_column("version", pa.array([1] * again.num_rows, pa.int64())))
    assert maintenance.expire_rows(ws, CONFIG, now=LATER).deleted == again.num_rows
    assert known(ws) == (expected, before)

    decision, _ = check(ws, NOW + 20 * DAY, config=CONFIG)
    assert decision.action == "all_clear"
