"""Every sentence about one check counts the same columns."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from io import StringIO

import numpy as np
import pyarrow as pa
from rich.console import Console

from keel import DriftConfig, ReferenceGrid, detect
from keel.alerts.channels.email import build
from keel.alerts.findings.check import CheckFacts
from keel.alerts.messages.check import compose_check
from keel.cli.standalone.demo_report import print_story
from keel.config import Kind, ModelConfig
from keel.monitoring.decision import Policy, decide_action
from keel.monitoring.records import DecisionRecord, StoredDriftReport, StoredPerformanceReport, StoredQualityReport
from keel.window import Window
from tests.support.airflow.mails import text_of
from tests.support.alerts.samples import alert, firing, notice

END = datetime(2026, 3, 1, tzinfo=UTC)
NAMES = [f"x{i}" for i in range(5)]
CONFIG = ModelConfig.model_validate(
    {"model": "toy", "owner": "shop", "target": {"name": "bought"}, "features": dict.fromkeys(NAMES, "numeric")}
)


def drifted_report() -> StoredDriftReport:
    """Two of five features have drifted, one has moved a little, and so has the score, an output."""
    rng = np.random.default_rng(0)
    rows = {name: rng.normal(size=4000) for name in [*NAMES, "score"]}
    grid = ReferenceGrid.fit(
        pa.table(rows), dict.fromkeys(NAMES, "numeric"), holdout=pa.table(rows), outputs={"score": "numeric"}
    )
    shifts = {"x0": 1.0, "x1": 1.0, "x2": 0.45, "score": 1.0}
    window = pa.table({name: rng.normal(shifts.get(name, 0.0), 1, 2000) for name in rows})
    report = detect(grid, grid.count(window), DriftConfig(drift_share=0.3))
    assert [c.severity.value for c in sorted(report.columns, key=lambda c: c.name)] == (
        ["drift", "drift", "drift", "warn", "ok", "ok"]
    )
    return StoredDriftReport.from_dict(report.to_dict())


def test_report_decision_message_and_story_count_the_same_columns() -> None:
    drift = drifted_report()
    quality = StoredQualityReport.from_dict({"status": "ok", "n": 2000})
    labels = StoredPerformanceReport.from_dict({"status": "no_labels", "metric": "brier", "n": 0})
    decision = decide_action(quality, drift, labels, Policy(False, timedelta(days=1), END, None))
    body = {
        "decision_id": "decision-1",
        "model": "toy",
        "version": 1,
        "window": Window(END - timedelta(days=7), END),
        "action": decision.action,
        "sentence": decision.sentence,
        "about": decision.about,
    }
    record = DecisionRecord.from_dict(body)
    alerts = [alert(Kind.DATA_DRIFT, name, model="toy") for name in drift.names("drift")]
    message = compose_check(
        CONFIG,
        notice("n", firing(*alerts)),
        CheckFacts(quality=quality, drift=drift),
        decision=record,
        outcome=None,
        now=END,
    )
    mail = text_of(build(message, sender="a@example.com", to="b@example.com", now=END))
    story = StringIO()
    chapter = {**record.to_dict(), "drift": drift.to_dict(), "outcome": None, "run_id": "r1", "report": "week.html"}
    print_story(Console(file=story, width=300), CONFIG, [chapter], {})
    for text in (drift.count, drift.sentence, decision.sentence, mail, story.getvalue()):
        assert set(re.findall(r"\b\d+ of \d+\b", text)) == {"2 of 5"}, text
        assert "2 of 5 features have drifted" in text
    assert "\n  Report: week.html\n" in story.getvalue()
