"""Metrics: what the service counts, and realised performance."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from keel.monitoring.performance_history import rolling
from keel.serving.metrics import Metrics
from keel.serving.performance_metrics import PerformanceGauges
from keel.serving.prediction_log.records import PredictionBlock, packed
from keel.serving.prediction_log.spool import Durability, Spool
from keel.store import LabelResult, Store
from keel.workspace import Workspace
from tests.support.paths import PROJECT
from tests.support.toy import DAY, START, toy_config, toy_rows

CONFIG = toy_config()


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels)


def block(versions, arms=None):
    n = len(versions)
    return PredictionBlock("toy", [str(i) for i in range(n)], [0] * n, versions, None, packed([0.0] * n), arms=arms)


def test_predicted_counts_rows_by_version_and_arm():
    metrics = Metrics()
    metrics.predicted(block([3] * 5))
    metrics.predicted(block([3, 4, 3], ["champion", "challenger", "champion"]))
    metrics.predicted(block([4], ["challenger"]))
    found = {
        (version, arm): value(metrics, "keel_predictions_total", model="toy", version=version, arm=arm)
        for version in ("3", "4")
        for arm in ("", "champion", "challenger")
    }
    assert found == {
        ("3", ""): 5,
        ("3", "champion"): 2,
        ("3", "challenger"): None,
        ("4", ""): None,
        ("4", "champion"): None,
        ("4", "challenger"): 2,
    }


def test_counters_have_no_series_for_their_creation_time():
    metrics = Metrics()
    metrics.predicted(block([3]))
    assert b"keel_predictions_total" in metrics.text()
    assert b"_created" not in metrics.text()


def test_answered_counts_by_status_and_latency():
    metrics = Metrics()
    for status in (200, 503):
        metrics.answered("toy", "invocations", status, 0.004)
    labels = {"model": "toy", "endpoint": "invocations"}
    assert value(metrics, "keel_requests_total", **labels, status="503") == 1
    assert value(metrics, "keel_request_duration_seconds_bucket", **labels, le="0.005") == 2
    assert value(metrics, "keel_request_duration_seconds_bucket", **labels, le="0.003") == 0


def test_labelled_counts_each_outcome():
    metrics = Metrics()
    metrics.labelled("toy", LabelResult(stored=3, duplicates=2, conflicts=1, unmatched=4, expired=5))
    outcomes = ("stored", "duplicate", "conflict", "unmatched", "expired")
    counts = [value(metrics, "keel_labels_total", model="toy", outcome=outcome) for outcome in outcomes]
    assert counts == [3, 2, 1, 4, 5]


def test_totals_given_again_are_counted_once():
    metrics = Metrics()
    metrics.loaded({("toy", "loaded"): 1})
    metrics.loaded({("toy", "loaded"): 1, ("toy", "failed"): 2})
    assert value(metrics, "keel_reloads_total", model="toy", outcome="loaded") == 1
    assert value(metrics, "keel_reloads_total", model="toy", outcome="failed") == 2
    for total in (2, 2, 5):
        metrics.challenger_failed(total)
        metrics.workers_restarted(total)
    assert value(metrics, "keel_challenger_failures_total") == 5
    assert value(metrics, "keel_worker_restarts_total") == 5


def test_serves_sets_a_version_that_left_memory_to_zero():
    metrics = Metrics()
    labels = {"model": "toy", "version": "1"}
    metrics.serves("toy", {"production": 1, "challenger": None, "in_memory": [1]})
    assert value(metrics, "keel_serves_version", **labels, role="production") == 1
    metrics.serves("toy", {"production": 2, "challenger": None, "in_memory": [1, 2]})
    assert value(metrics, "keel_serves_version", **labels, role="production") == 0
    assert value(metrics, "keel_serves_version", **labels, role="standby") == 1
    metrics.serves("other", {"production": 1, "challenger": None, "in_memory": [1]})
    assert value(metrics, "keel_serves_version", **labels, role="standby") == 1
    metrics.serves("toy", {"production": 2, "challenger": None, "in_memory": [2]})
    assert value(metrics, "keel_serves_version", **labels, role="standby") == 0


def test_spooled_shows_size_and_age_of_the_oldest_record(tmp_path):
    metrics = Metrics()
    spool = Spool.open(tmp_path, durability=Durability.WRITE, clock=lambda: 1_000.0)
    metrics.spooled(spool.stats, now=datetime.fromtimestamp(1_010, UTC))
    assert value(metrics, "keel_spool_oldest_seconds") == 0
    spool.append([b"one", b"two"]).result(10)
    metrics.spooled(spool.stats, now=datetime.fromtimestamp(1_010, UTC))
    spool.close()
    assert value(metrics, "keel_spool_records") == 2
    assert value(metrics, "keel_spool_bytes") > 6
    assert value(metrics, "keel_spool_oldest_seconds") == pytest.approx(10, abs=0.01)


def test_performance_gauges_show_value_and_interval_and_nan_after_the_window(tmp_path, migrated_sqlite):
    shutil.copy(migrated_sqlite, tmp_path / "keel.db")
    metrics = Metrics()
    with Store.open(f"sqlite:///{tmp_path / 'keel.db'}") as store:
        ws = Workspace(tmp_path, store, None)
        log = store.predictions("toy", CONFIG.features)
        rows = toy_rows(days=3)
        columns = {"version": 7, "score": 0.5, "prediction": 1.0}
        answered = rows.drop_columns(["label"])
        for name, constant in columns.items():
            answered = answered.append_column(name, pa.array([constant] * rows.num_rows))
        log.append(answered)
        log.add_labels(rows.select(["id", "label"]).append_column("observed_at", rows["time"]))
        gauges, now = PerformanceGauges(ws, [CONFIG], metrics), START + 4 * DAY
        gauges.refresh(CONFIG, now=now)
        labels = {"model": "toy", "version": "7", "window": "24h"}
        brier = {**labels, "metric": "brier", "bound": "value"}
        assert value(metrics, "keel_model_performance_rows", **labels) == 480
        assert value(metrics, "keel_model_performance", **brier) == pytest.approx(0.25)
        for each in rolling(ws, CONFIG, end=now):
            for name, expected in each["metrics"].items():
                for bound in ("value", "lower", "upper"):
                    series = {**labels, "window": each["window"], "metric": name, "bound": bound}
                    shown = value(metrics, "keel_model_performance", **series)
                    assert math.isnan(shown) if expected[bound] is None else shown == expected[bound]
        gauges.refresh(CONFIG, now=now + 30 * DAY)
        assert math.isnan(value(metrics, "keel_model_performance", **brier))
        assert value(metrics, "keel_model_performance_rows", **labels) == 0


WORKER = """
import os, sys
from datetime import UTC, datetime
from types import SimpleNamespace
from keel.serving.metrics import Metrics
metrics = Metrics()
metrics.answered("toy", "invocations", 200, 0.001)
metrics.workers_restarted(1)
metrics.challenger_failed(3)
stats = SimpleNamespace(records=5, bytes=0, oldest_at=None, dead_letters=0, deferred=0)
metrics.spooled(stats, now=datetime.now(UTC))
for name in ("w", "x" if len(sys.argv) == 1 else "z"):
    monitor = SimpleNamespace(kind="shift", subject=name, evidence=2.0, bound=6.0)
    known = {"model": "toy", "state": "reading", "waiting": 7, "last_block_at": None}
    metrics.live.show(SimpleNamespace(monitors=[monitor], alarms=[], **known))
if len(sys.argv) > 1:
    from prometheus_client.multiprocess import mark_process_dead
    mark_process_dead(int(sys.argv[1]), os.environ["PROMETHEUS_MULTIPROC_DIR"])
    print(metrics.text().decode())
else:
    print(os.getpid())
"""


def test_text_of_several_workers_adds_counters_and_drops_gauges_of_ended_ones(tmp_path):
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(PROJECT / "include")}

    def run(*options):
        command = [sys.executable, "-c", WORKER, *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    text = run(run().strip())
    assert 'keel_requests_total{endpoint="invocations",model="toy",status="200"} 2.0' in text
    assert "keel_challenger_failures_total 6.0" in text
    assert "keel_worker_restarts_total 1.0" in text, "the workers share one total"
    assert "keel_spool_records 5.0" in text
    assert [line for line in text.splitlines() if line.startswith("keel_live_evidence")] == [
        'keel_live_evidence{kind="shift",model="toy",monitor="z"} 2.0'
    ], "a monitor that is no longer shown, or that of an ended worker, is gone"
