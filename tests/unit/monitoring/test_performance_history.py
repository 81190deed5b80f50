"""Performance over time, from a store whose rows, labels and quarantines come and go."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from keel.errors import UnknownVersion
from keel.monitoring import performance_history
from keel.monitoring.performance import detect_degradation
from keel.stats.metrics.losses import Estimate, scored
from keel.workspace import Workspace
from tests.support.toy import DAY, START, toy_config

if TYPE_CHECKING:
    from pathlib import Path

    from keel.store import Store

HOUR = timedelta(hours=1)
CONFIG = toy_config()
REGRESSION = toy_config(
    target={"name": "bought", "kind": "regression", "label_delay": "2h"},
    performance={"metric": "rmse", "extra_metrics": ["mae"]},
)
HOLDOUT = {"brier": {"value": 0.2, "standard_error": 0.01, "n": 900}}


class Holdouts:
    """All of a registry that is asked here; the real one is in tests/integration/test_realised.py."""

    def reference(self, model: str, version: int) -> dict[str, Any]:
        if version != 1:
            raise UnknownVersion(f"{model} has no version {version}")
        return {"metrics": HOLDOUT}


@pytest.fixture
def ws(store: Store, tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, store, Holdouts())  # type: ignore[arg-type]


def log_of(ws: Workspace) -> Any:
    return ws.store.predictions("toy", dict(CONFIG.features))


def answered(hours: int, *, per_hour: int = 20, start: Any = START, version: int = 1, seed: int = 0) -> pa.Table:
    n = hours * per_hour
    rng = np.random.default_rng(seed)
    score = rng.random(n)
    return pa.table(
        {
            "id": [f"{version}-{start:%m%dT%H}-{i}" for i in range(n)],
            "time": pa.array([start + i * HOUR / per_hour for i in range(n)], pa.timestamp("us", "UTC")),
            "version": pa.array([version] * n, pa.int64()),
            "score": score,
            "prediction": (score > 0.5).astype(float),
            "x": rng.normal(size=n),
        }
    )


def labels_of(rows: pa.Table, *, seed: int = 1) -> pa.Table:
    rng = np.random.default_rng(seed)
    label = (rng.random(rows.num_rows) < rows["score"].to_numpy()).astype(float)
    return pa.table({"id": rows["id"], "label": label, "observed_at": rows["time"]})


def labelled(ws: Workspace, hours: int, **options: Any) -> pa.Table:
    rows = answered(hours, **options)
    log_of(ws).append(rows)
    log_of(ws).add_labels(labels_of(rows))
    return rows


def test_series_equals_the_performance_check_on_the_same_rows(ws: Workspace) -> None:
    labelled(ws, 72)
    rows = log_of(ws).labelled(START, START + 3 * DAY, version=1, features=False)
    reference = {name: Estimate(0.2, 0.01, 900) for name in ("brier", "roc_auc")}
    report = detect_degradation(scored(rows), reference, 0.2, CONFIG.performance).to_dict()
    [found] = performance_history.series(ws, CONFIG, START, START + 7 * DAY, bucket="week")
    json.dumps(found, allow_nan=False)
    assert found["start"] == "2025-12-29T00:00:00+00:00", "a Monday"
    assert (found["version"], found["n"], found["hours"], found["metric"]) == (1, 1440, 72, "brier")
    for name in ("brier", "roc_auc"):
        now, then = found["metrics"][name], report["current"][name]
        assert now["value"] == pytest.approx(then["value"], abs=now["bin_error"] + 1e-12)
        assert now["lower"] < then["value"] < now["upper"]
        assert now["clusters"] == {"unit": "6 h", "count": 12}
    assert found["metrics"]["brier"]["holdout"]["value"] == 0.2
    assert found["metrics"]["brier"]["holdout"]["lower"] == pytest.approx(0.1804, abs=1e-4)
    assert found["metrics"]["log_loss"]["holdout"] is None


def test_buckets_are_by_time_and_version_and_days_add_up_to_the_week(ws: Workspace) -> None:
    labelled(ws, 30)
    labelled(ws, 30, version=2, seed=5)
    days = performance_history.series(ws, CONFIG, START, START + 5 * DAY)
    assert [(b["start"][:10], b["version"], b["n"]) for b in days] == [
        ("2026-01-01", 1, 480), ("2026-01-01", 2, 480), ("2026-01-02", 1, 120), ("2026-01-02", 2, 120),
    ]  # fmt: skip
    assert days[1]["metrics"]["brier"]["holdout"] is None, "version 2 is not in the registry"
    [second] = performance_history.series(ws, CONFIG, START, START + 5 * DAY, bucket="week", version=2)
    total = sum(b["metrics"]["brier"]["value"] * b["n"] for b in days if b["version"] == 2)
    assert second["metrics"]["brier"]["value"] == pytest.approx(total / 600)
    hours = performance_history.series(ws, CONFIG, START + HOUR, START + 3 * HOUR, bucket="hour", version=1)
    assert [b["start"][11:16] for b in hours] == ["01:00", "02:00"]
    assert hours[0]["metrics"]["brier"]["clusters"] == {"unit": "row", "count": 20}


def test_refresh_sums_an_hour_again_only_when_labels_arrive(ws: Workspace) -> None:
    rows = answered(5)
    log_of(ws).append(rows)
    assert performance_history.refresh(ws, CONFIG) == 0
    late = labels_of(rows)
    log_of(ws).add_labels(late.slice(0, 50))
    assert (performance_history.refresh(ws, CONFIG), performance_history.refresh(ws, CONFIG)) == (3, 0)
    log_of(ws).add_labels(late)
    assert performance_history.refresh(ws, CONFIG, start=START + 3 * HOUR, end=START + 4 * HOUR) == 1
    assert performance_history.refresh(ws, CONFIG) == 2
    again = ws.store.performance.get("toy", START, START + DAY)
    assert [(hour, n) for _, hour, n, _ in again] == [(START + h * HOUR, 20) for h in range(5)]


def test_coverage_is_known_before_and_after_hours_are_counted(ws: Workspace) -> None:
    log = log_of(ws)
    log.append(answered(4))
    log.add_labels(labels_of(answered(1)))
    for counted in (False, True):
        [found] = performance_history.series(ws, CONFIG, START, START + DAY)
        assert (found["predictions"], found["labelled"], found["coverage"]) == (80, 20, 0.25)
        if counted:
            log.append(answered(1, start=START + 2 * HOUR, seed=9, per_hour=10).set_column(
                0, "id", pa.array([f"late{i}" for i in range(10)])
            ))  # fmt: skip
            assert performance_history.series(ws, CONFIG, START, START + DAY)[0]["predictions"] == 90
        for version, hour, revision in log.dirty_hours(START + DAY):
            ws.store.counts.put("toy", version, hour, "g", 20, b"", revision=revision)
            log.mark_counted(version, [(hour, revision)])


def test_version_without_labels_has_no_value(ws: Workspace) -> None:
    log_of(ws).append(answered(4))
    [found] = performance_history.series(ws, CONFIG, START, START + DAY)
    assert (found["coverage"], found["n"], found["mean_label"]) == (0.0, 0, None)
    assert found["metrics"]["brier"]["value"] is None
    assert performance_history.series(ws, CONFIG, START + DAY, START + 9 * DAY) == []


def test_quarantined_hours_are_excluded_until_they_are_released_even_without_their_rows(ws: Workspace) -> None:
    labelled(ws, 24)
    [before] = performance_history.series(ws, CONFIG, START, START + DAY)
    ws.store.quarantine("toy", START + 4.5 * HOUR, START + 6 * HOUR, "broken", START)
    log = log_of(ws)
    for version, hour, revision in log.dirty_hours(START + DAY):
        ws.store.counts.put("toy", version, hour, "g", 20, b"", revision=revision)
        log.mark_counted(version, [(hour, revision)])
    assert log.expire(START + DAY) == 480
    [without] = performance_history.series(ws, CONFIG, START, START + DAY)
    assert without["quarantined"] == {"hours": 2, "rows": 40}, "half a quarantined hour is all of it"
    assert (without["n"], without["labelled"], without["coverage"]) == (440, 480, 1.0)
    ws.store.release_quarantine("toy", START, START + DAY)
    assert performance_history.series(ws, CONFIG, START, START + DAY) == [before]


def test_rolling_covers_the_last_hours_with_matured_labels_by_version(ws: Workspace) -> None:
    labelled(ws, 24 * 9)
    labelled(ws, 30, start=START + 8 * DAY - 6 * HOUR, version=2)
    found = performance_history.rolling(ws, CONFIG, end=START + 9 * DAY + HOUR / 2)
    assert [(f["window"], f["version"], f["n"]) for f in found] == [
        ("24h", 1, 480), ("24h", 2, 120), ("7d", 1, 3360), ("7d", 2, 120),
    ]  # fmt: skip
    assert {(f["start"], f["end"]) for f in found if f["window"] == "24h"} == {
        ((START + 7 * DAY).isoformat(), (START + 8 * DAY).isoformat())
    }
    assert all(f["metrics"]["brier"]["lower"] < f["metrics"]["brier"]["upper"] for f in found)
    json.dumps(found, allow_nan=False)
    assert performance_history.rolling(ws, CONFIG, end=START - DAY) == []


def test_regression_without_scores(ws: Workspace) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(100, 10, 480)
    rows = answered(24).drop_columns(["score", "prediction"]).append_column("prediction", pa.array(truth + 2))
    log_of(ws).append(rows)
    log_of(ws).add_labels(pa.table({"id": rows["id"], "label": truth, "observed_at": rows["time"]}))
    [found] = performance_history.series(ws, REGRESSION, START, START + DAY)
    assert set(found["metrics"]) == {"mae", "rmse"}
    assert found["metrics"]["rmse"]["value"] == pytest.approx(2)
    assert (found["mean_score"], found["mean_prediction"]) == (None, pytest.approx((truth + 2).mean()))


def test_rows_without_usable_numbers_are_labelled_and_in_no_metric(ws: Workspace) -> None:
    rows = answered(1)
    score = pa.array([float("nan"), float("inf"), *[0.5] * 18])
    rows = rows.set_column(rows.column_names.index("score"), "score", score)
    log_of(ws).append(rows)
    log_of(ws).add_labels(labels_of(answered(1)))
    [found] = performance_history.series(ws, CONFIG, START, START + DAY)
    assert (found["n"], found["metrics"]["brier"]["n"], found["metrics"]["accuracy"]["n"]) == (20, 18, 20)


def test_concurrent_refreshes_while_labels_arrive_sum_all_rows(ws: Workspace) -> None:
    rows = answered(12)
    log_of(ws).append(rows)
    labels = labels_of(rows)
    faults: list[BaseException] = []

    def work(step: Any) -> None:
        try:
            for i in range(6):
                step(i)
        except BaseException as error:
            faults.append(error)

    steps = [lambda i: performance_history.refresh(ws, CONFIG)] * 2
    steps.append(lambda i: log_of(ws).add_labels(labels.take(list(range(i, 240, 6)))))
    threads = [threading.Thread(target=work, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    performance_history.refresh(ws, CONFIG)
    [found] = performance_history.series(ws, CONFIG, START, START + DAY)
    expected = np.mean((rows["score"].to_numpy() - labels["label"].to_numpy()) ** 2)
    assert (found["n"], found["metrics"]["brier"]["value"]) == (240, pytest.approx(expected, rel=1e-12))
    assert ws.store.verify() == []
