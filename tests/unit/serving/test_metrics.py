"""What the service counts, and what it shows of realised performance."""

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
from keel.workspace import PROJECT, Workspace
from tests.support.toy import DAY, START, toy_config, toy_rows

CONFIG = toy_config()


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels)


def block(versions, arms=None):
    n = len(versions)
    return PredictionBlock("toy", [str(i) for i in range(n)], [0] * n, versions, None, packed([0.0] * n), arms=arms)


def test_rows_are_counted_by_version_and_arm():
    metrics = Metrics()
    metrics.predicted(block([3] * 5))
    metrics.predicted(block([3, 4, 3], ["champion", "challenger", "champion"]))
    metrics.predicted(block([4], ["challenger"]))
    found = {(v, a): value(metrics, "keel_predictions_total", model="toy", version=v, arm=a)
             for v in ("3", "4") for a in ("", "champion", "challenger")}  # fmt: skip
    assert found == {
        ("3", ""): 5, ("3", "champion"): 2, ("3", "challenger"): None,
        ("4", ""): None, ("4", "champion"): None, ("4", "challenger"): 2,
    }  # fmt: skip


def test_when_a_counter_began_is_no_metric_of_its_own():
    metrics = Metrics()
    metrics.predicted(block([3]))
    assert b"keel_predictions_total" in metrics.text()
    assert b"_created" not in metrics.text()


def test_answers_labels_and_loads_are_counted():
    metrics = Metrics()
    metrics.answered("toy", "invocations", 200, 0.004)
    metrics.answered("toy", "invocations", 503, 0.004)
    assert value(metrics, "keel_requests_total", model="toy", endpoint="invocations", status="503") == 1
    assert value(metrics, "keel_request_seconds_bucket", model="toy", endpoint="invocations", le="0.005") == 2
    assert value(metrics, "keel_request_seconds_bucket", model="toy", endpoint="invocations", le="0.003") == 0
    metrics.labelled("toy", LabelResult(stored=3, duplicates=2, conflicts=1, unmatched=1, expired=2))
    assert value(metrics, "keel_labels_total", model="toy", outcome="expired") == 2
    assert value(metrics, "keel_labels_total", model="toy", outcome="conflict") == 1
    loads = {("toy", "loaded"): 1}
    metrics.loaded(loads)
    metrics.loaded(loads | {("toy", "failed"): 2})
    assert value(metrics, "keel_reloads_total", model="toy", outcome="loaded") == 1
    assert value(metrics, "keel_reloads_total", model="toy", outcome="failed") == 2


def test_a_version_that_leaves_memory_is_shown_as_gone():
    metrics = Metrics()
    shown = {"model": "toy", "version": "1"}
    metrics.serves("toy", {"production": 1, "challenger": None, "in_memory": [1]})
    assert value(metrics, "keel_serves_version", **shown, role="production") == 1
    metrics.serves("toy", {"production": 2, "challenger": None, "in_memory": [1, 2]})
    assert value(metrics, "keel_serves_version", **shown, role="production") == 0
    assert value(metrics, "keel_serves_version", **shown, role="standby") == 1
    metrics.serves("other", {"production": 1, "challenger": None, "in_memory": [1]})
    assert value(metrics, "keel_serves_version", **shown, role="standby") == 1
    metrics.serves("toy", {"production": 2, "challenger": None, "in_memory": [2]})
    assert value(metrics, "keel_serves_version", **shown, role="standby") == 0


def test_the_spool_is_shown_with_the_age_of_its_oldest_record(tmp_path):
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


def test_realised_performance_is_shown_with_its_interval_and_forgotten_with_its_window(tmp_path, migrated_sqlite):
    shutil.copy(migrated_sqlite, tmp_path / "keel.db")
    metrics = Metrics()
    with Store.open(f"sqlite:///{tmp_path / 'keel.db'}") as store:
        ws = Workspace(tmp_path, store, None)
        log = store.predictions("toy", CONFIG.features)
        rows = toy_rows(days=3)
        score = pa.array([0.5] * rows.num_rows)
        log.append(
            rows.drop_columns(["label"])
            .append_column("version", pa.array([7] * rows.num_rows))
            .append_column("score", score)
            .append_column("prediction", pa.array([1.0] * rows.num_rows))
        )
        log.add_labels(rows.select(["id", "label"]).append_column("observed_at", rows["time"]))
        looker, now = PerformanceGauges(ws, [CONFIG], metrics), START + 4 * DAY
        looker.look(CONFIG, now=now)
        labels = {"model": "toy", "version": "7", "window": "24h"}
        assert value(metrics, "keel_realised_rows", **labels) == 480
        assert value(metrics, "keel_realised", **labels, metric="brier", bound="value") == pytest.approx(0.25)
        for each in rolling(ws, CONFIG, end=now):
            for name, said in each["metrics"].items():
                for bound in ("value", "lower", "upper"):
                    shown = value(metrics, "keel_realised", model="toy", version="7", window=each["window"],
                                  metric=name, bound=bound)  # fmt: skip
                    assert math.isnan(shown) if said[bound] is None else shown == said[bound]
        looker.look(CONFIG, now=now + 30 * DAY)
        assert math.isnan(value(metrics, "keel_realised", **labels, metric="brier", bound="value"))
        assert value(metrics, "keel_realised_rows", **labels) == 0


def test_the_workers_of_a_service_are_added_up_and_the_dead_ones_gauges_forgotten(tmp_path):
    code = """
import os, sys
from keel.serving.metrics import Metrics, forget_dead
metrics = Metrics()
metrics.answered("toy", "invocations", 200, 0.001)
metrics._waiting.set(5)
if len(sys.argv) > 1:
    forget_dead(os.environ["PROMETHEUS_MULTIPROC_DIR"], [os.getpid()])
    print(metrics.text().decode())
"""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(PROJECT / "include")}

    def run(*options):
        done = subprocess.run(
            [sys.executable, "-c", code, *options], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run()
    said = run("scrape")
    assert 'keel_requests_total{endpoint="invocations",model="toy",status="200"} 2.0' in said
    assert "keel_spool_records 5.0" in said
