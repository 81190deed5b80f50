"""Reports and decisions are read back as they were stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from keel.errors import SchemaError
from keel.monitoring import storage
from keel.monitoring.records import (
    ComparisonRecord,
    CountedWindow,
    DecisionRecord,
    RollbackRequest,
    Span,
    StoredDriftReport,
    StoredQualityReport,
)
from keel.window import HOUR, Window
from keel.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from keel.store import Store

END = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window(END - timedelta(days=7), END)


@pytest.fixture
def ws(store: Store, tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, store, None)  # type: ignore[arg-type]  # no registry is asked here


def decision(decision_id="now", *, action="raise_alert", hours_ago=0, version=1, about=("drift of x",)):
    end = END - hours_ago * HOUR
    return DecisionRecord.from_dict(
        {
            "decision_id": decision_id,
            "model": "toy",
            "version": version,
            "window": Window(end - timedelta(days=7), end),
            "action": action,
            "sentence": "x has drifted.",
            "about": about,
        }
    )


def test_ids_of_reports_are_those_of_release_0_1():
    assert storage.report_id("drift", "toy", 1, WINDOW) == "drift-1bbb67b007e56c8b"


def test_report_is_read_back_and_missing_ones_are_none(ws):
    report = StoredQualityReport(status="ok", n=9, sentence="9 rows.")
    reference = storage.store_report(ws, "quality", "toy", 1, WINDOW, report)
    assert (reference.kind, reference.status, reference.sentence) == ("quality", "ok", "9 rows.")
    assert storage.read_report(ws, StoredQualityReport, "toy", 1, WINDOW) == report
    assert storage.read_report(ws, StoredDriftReport, "toy", 1, WINDOW) is None
    counted = CountedWindow(model="toy", version=1, window=WINDOW, rows=9, counted_hours=0, counted_rows=0)
    with pytest.raises(SchemaError, match="toy: no drift, performance report for this window"):
        storage.read_check_reports(ws, counted)


def test_decision_is_read_back_by_its_id_model_and_kind(ws):
    request = RollbackRequest(
        decision_id="request-1", model="toy", version=2, window=WINDOW, sentence="Roll back.", reason="harm"
    )
    assert storage.store_decision(ws, request, run_id="run-1") == request
    assert storage.read_decision(ws, "toy", "request-1", RollbackRequest) == request
    assert storage.read_decision(ws, "toy", "request-1", DecisionRecord) == request
    assert storage.read_decision(ws, "other", "request-1", RollbackRequest) is None
    assert storage.read_decision(ws, "toy", "unknown", RollbackRequest) is None
    storage.store_decision(ws, decision("alert-1"), run_id="run-1")
    assert storage.read_decision(ws, "toy", "alert-1", RollbackRequest) is None


def test_decide_once_makes_a_decision_only_where_none_is_stored(ws):
    made = []

    def make():
        made.append(1)
        return decision("once")

    first = storage.decide_once(ws, "toy", "once", DecisionRecord, make, run_id="run-1")
    assert storage.decide_once(ws, "toy", "once", DecisionRecord, make, run_id="run-1") == first
    assert len(made) == 1


def test_comparison_is_read_back_though_its_span_is_empty(ws):
    comparison = ComparisonRecord(
        decision_id="d", model="toy", champion=1, challenger=2, report_id="comparison-1", verdict="fail", n=0,
        holdout=Span(start=END, end=END - HOUR), reason="nothing", sentence="Nothing.",
    )  # fmt: skip
    storage.store_comparison(ws, comparison)
    assert storage.read_comparison(ws, "toy", "comparison-1") == comparison
    assert storage.read_comparison(ws, "other", "comparison-1") is None
    assert storage.read_comparison(ws, "toy", None) is None


def test_outcomes_of_release_0_1_count_as_notified(ws):
    storage.store_decision(ws, decision("before"), run_id="run-1")
    assert ws.store.decisions.notified("toy", 1, "raise_alert", after=WINDOW.start) == []
    ws.store.decisions.set_outcome("before", {"outcome": "raise_alert", "sentence": "…", "told": ["email"]})
    [found] = ws.store.decisions.notified("toy", 1, "raise_alert", after=WINDOW.start)
    assert found["decision_id"] == "before"
