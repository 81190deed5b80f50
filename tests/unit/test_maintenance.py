"""Maintenance: rows expire when they are old enough, counted, summed and no longer needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from keel import deployments, maintenance
from keel.errors import ConfigError, StoreDamaged
from keel.ledger import entries as ledger
from keel.monitoring import performance_history as realised
from keel.registry.registry import Registry
from keel.store import LabelResult
from keel.store.database.tables import hours, label_conflicts
from keel.store.database.tables import labels as labels_table
from keel.workspace import Workspace
from tests.support.store_fixtures import EVER, MICROSECONDS, labels
from tests.support.toy import DAY, START, toy_config, toy_rows

if TYPE_CHECKING:
    from keel.store import PredictionLog, Store

KEPT = 50 * DAY
CONFIG = toy_config(retention={"rows": "50d"})
NOW = START + 100 * DAY
HORIZON = NOW - KEPT


@pytest.fixture
def ws(store: Store, tmp_path: Path) -> Iterator[Workspace]:
    return Workspace(tmp_path, store, Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", artifacts=tmp_path / "artifacts"))


@pytest.fixture
def log(ws: Workspace) -> PredictionLog:
    return ws.store.predictions("toy", dict(CONFIG.features))


def history(log: PredictionLog, *days: int, version: int | None = None) -> None:
    """Store an hour's labelled rows at the beginning of some days; without a version they need no counting."""
    for day in days:
        rows = toy_rows(START + day * DAY, days=1 / 24, per_hour=4)
        versions = pa.array([version] * rows.num_rows, pa.int64())
        log.append(rows.drop_columns(["label"]).append_column("version", versions))
        observed = pa.array([START + (day + 1) * DAY] * rows.num_rows, MICROSECONDS)
        log.add_labels(rows.select(["id", "label"]).append_column("observed_at", observed))


def note(ws: Workspace, **body: Any) -> None:
    deployments.append(
        ws.store, "toy", actor="tests", action=ledger.Action.CONFIRM, body={"evidence": {}, **body}, now=NOW
    )


def days_of(log: PredictionLog) -> list[int]:
    return sorted({(time - START).days for time in log.labelled(*EVER)["time"].to_pylist()})


def test_expire_rows_deletes_old_rows_with_their_labels_only(ws: Workspace, log: PredictionLog) -> None:
    history(log, 0, 49, 50, 99)
    log.add_labels(labels({"nobody": 1.0}, observed_at=START))
    log.add_labels(labels({"not yet": 1.0}, observed_at=NOW))
    contradicted = log.labelled(*EVER)["id"][0].as_py()
    log.add_labels(labels({contradicted: 7.0}, observed_at=NOW))
    done = maintenance.expire_rows(ws, CONFIG, now=NOW + timedelta(minutes=59))
    assert (done.deleted, done.before, done.kept_for) == (8, HORIZON, ())
    assert done.sentence == (
        "Deleted 8 rows of toy from before 2026-02-20 00:00 UTC (retention.rows 50d). "
        "Deleted 1 labels that matched no prediction."
    )
    assert days_of(log) == [50, 99]
    with ws.store.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(labels_table)).scalar_one() == 8 + 1
        assert connection.execute(sa.select(sa.func.count()).select_from(label_conflicts)).scalar_one() == 0
    again = maintenance.expire_rows(ws, CONFIG, now=NOW + timedelta(minutes=59))
    nothing = "Deleted 0 rows of toy from before 2026-02-20 00:00 UTC (retention.rows 50d)."
    assert again == done.model_copy(
        update={"deleted": 0, "unmatched_deleted": 0, "sentence": nothing, "summed_hours": 0}
    )


def test_expire_rows_without_a_retention_deletes_nothing(ws: Workspace, log: PredictionLog) -> None:
    history(log, 0, 99)
    done = maintenance.expire_rows(ws, toy_config(), now=NOW)
    assert (done.deleted, done.before) == (0, None)
    assert "kept for ever" in done.sentence
    assert days_of(log) == [0, 99]


def test_expire_rows_keeps_rows_that_cannot_be_counted_and_says_so(ws: Workspace, log: PredictionLog) -> None:
    history(log, 0)
    history(log, 1, version=7)
    done = maintenance.expire_rows(ws, CONFIG, now=NOW)
    assert done.deleted == 4
    assert len(done.kept_for) == 1
    assert "1 hours of version 7, which cannot be counted" in done.sentence
    assert days_of(log) == [1]
    assert maintenance.expire_rows(ws, CONFIG, now=NOW).kept_for == done.kept_for


class Lost(Registry):
    """A registry that has version 1, of which no file is left, and no other."""

    def versions(self, model: str) -> list[Any]:
        return [SimpleNamespace(version=1)]


def test_expire_rows_deletes_rows_of_a_lost_version_uncounted_and_says_so(ws: Workspace, log: PredictionLog) -> None:
    ws = replace(ws, registry=Lost(f"sqlite:///{ws.home / 'mlflow.db'}"))
    history(log, 0, 60, version=7)
    history(log, 1, version=1)
    done = maintenance.expire_rows(ws, CONFIG, now=NOW)
    assert (done.deleted, done.never_counted, len(done.kept_for)) == (4, 4, 1)
    assert "4 are of versions that the registry has lost, and were never counted." in done.sentence
    assert "version 1, which cannot be counted" in done.sentence, "it may be mended"
    assert days_of(log) == [1, 60]
    assert maintenance.expire_rows(ws, CONFIG, now=NOW).never_counted == 0
    assert log.dirty_hours(HORIZON) == [(1, START + DAY, 1)]
    [known] = realised.series(ws, CONFIG, START, START + DAY)
    assert (known["version"], known["n"]) == (7, 4), "what labels said of it stays"
    assert maintenance.verify_store(ws) == maintenance.VerifiedStore(faults=0)


def test_hour_kept_past_its_age_accepts_rows_and_labels(ws: Workspace, log: PredictionLog) -> None:
    history(log, 0, version=7)
    maintenance.expire_rows(ws, CONFIG, now=NOW)
    late = toy_rows(START, days=1 / 24, per_hour=5, seed=1)
    ids = pa.array([f"late {i}" for i in range(late.num_rows)])
    late = late.set_column(late.column_names.index("id"), "id", ids)
    versions = pa.array([7] * late.num_rows, pa.int64())
    log.append(late.drop_columns(["label"]).append_column("version", versions))
    assert log.add_labels(labels({"late 0": 1.0}, observed_at=NOW)) == LabelResult(1, 0, 0, 0)
    [known] = realised.series(ws, CONFIG, START, START + DAY)
    assert (known["predictions"], known["n"]) == (9, 5)


def test_label_of_an_expired_row_is_counted_as_expired_and_changes_nothing(ws: Workspace, log: PredictionLog) -> None:
    rows = toy_rows(START, days=1 / 24, per_hour=4)
    log.append(rows.drop_columns(["label"]).append_column("version", pa.array([1] * 4, pa.int64())))
    log.mark_counted(1, [(START, 1)])
    first, second, *_ = rows["id"].to_pylist()
    log.add_labels(labels({first: 1.0}, observed_at=START))
    assert maintenance.expire_rows(ws, CONFIG, now=NOW).deleted == 4
    before = realised.series(ws, CONFIG, START, START + DAY)
    assert log.add_labels(labels({second: 1.0}, observed_at=HORIZON - DAY)) == LabelResult(1, 0, 0, 0, expired=1)
    assert log.add_labels(labels({second: 1.0}, observed_at=NOW)) == LabelResult(0, 1, 0, 0)
    assert log.add_labels(labels({"anybody's": 1.0}, observed_at=NOW)) == LabelResult(1, 0, 0, 1), "it may be early"
    log.append(rows.drop_columns(["label"]).append_column("version", pa.array([1] * 4, pa.int64())))
    assert log.add_labels(labels({first: 0.0}, observed_at=NOW)) == LabelResult(1, 0, 0, 0, expired=1)
    assert realised.series(ws, CONFIG, START, START + DAY) == before
    assert ws.store.performance.stale("toy") == []
    assert maintenance.expire_rows(ws, CONFIG, now=NOW).deleted == 4


@pytest.mark.parametrize("kept", ["10d", None])
def test_expire_rows_deletes_unmatched_labels_by_their_own_age(ws: Workspace, log: PredictionLog, kept: Any) -> None:
    history(log, 0)
    log.add_labels(labels({"nobody": 1.0}, observed_at=NOW - 11 * DAY))
    log.add_labels(labels({"early": 1.0}, observed_at=NOW - 9 * DAY))
    done = maintenance.expire_rows(ws, toy_config(retention={"unmatched_labels": kept}), now=NOW)
    assert done.unmatched_deleted == (1 if kept else 0)
    assert ("Deleted 1 labels that matched no prediction." in done.sentence) == bool(kept)
    with ws.store.connect() as connection:
        known = connection.execute(sa.select(sa.func.count()).select_from(labels_table)).scalar_one()
    assert known == 6 - done.unmatched_deleted
    assert toy_config().retention.unmatched_labels == 365 * DAY


def test_expire_rows_keeps_rows_of_a_probation_until_it_has_ended(ws: Workspace, log: PredictionLog) -> None:
    history(log, 0, 20, 40, 60)
    since = START + 30 * DAY
    spoken = {"version": 2, "previous": 1, "since": since.isoformat(), "until": (since + 90 * DAY).isoformat()}
    note(ws, probation=spoken)
    done = maintenance.expire_rows(ws, CONFIG, now=NOW)
    assert days_of(log) == [40, 60]
    assert (done.deleted, done.before) == (8, since)
    assert done.kept_for == ("rows from 2026-01-31 00:00 UTC on, because version 2 is on probation",)
    note(ws, probation=None)
    assert maintenance.expire_rows(ws, CONFIG, now=NOW).deleted == 4
    assert days_of(log) == [60]


def test_expire_rows_keeps_rows_of_an_experiment_until_it_has_ended(ws: Workspace, log: PredictionLog) -> None:
    from keel.evaluation.experiment.plan import Plan, Stage

    history(log, 0, 20, 40, 60)
    plan = Plan("exp-1", "toy", 1, 2, "ab", (Stage(0.5),), "salt", "brier", 0.0, 0.05, 10_000, START + 15 * DAY)
    note(ws, experiment=plan.to_dict())
    done = maintenance.expire_rows(ws, CONFIG, now=NOW)
    assert days_of(log) == [20, 40, 60]
    assert done.kept_for == ("rows from 2026-01-16 00:00 UTC on, because the experiment exp-1 is running",)
    note(ws, experiment=None)
    maintenance.expire_rows(ws, CONFIG, now=NOW)
    assert days_of(log) == [60]


def test_expire_rows_ignores_a_probation_that_began_later(ws: Workspace, log: PredictionLog) -> None:
    history(log, 0)
    spoken = {"version": 2, "previous": 1, "since": NOW.isoformat(), "until": (NOW + DAY).isoformat()}
    note(ws, probation=spoken)
    done = maintenance.expire_rows(ws, CONFIG, now=NOW)
    assert (done.deleted, done.before, done.kept_for) == (4, HORIZON, ())


def test_retention_shorter_than_its_readers_names_them() -> None:
    # 7 d of lookback, 24 h until labels are due, 30 d of training and 7 d of holdout
    assert toy_config(retention={"rows": "45d"}).retention.rows == 45 * DAY
    with pytest.raises(ValueError, match="retention.rows: 44d is shorter than check.lookback") as caught:
        toy_config(retention={"rows": "44d"})
    assert (
        "check.lookback + target.label_delay + retrain.window + retrain.holdout (45d), for which rows are needed; "
        "raise retention.rows or shorten the others"
    ) in str(caught.value)
    assert toy_config(retention={"rows": "8d"}, retrain=None).retention.rows == 8 * DAY
    with pytest.raises(ValueError, match=r"191h is shorter than check.lookback \+ target.label_delay \(8d\)"):
        toy_config(retention={"rows": "191h"}, retrain=None)
    with pytest.raises(ConfigError, match=r"this run: retention.rows: 50d is shorter.*retrain.window"):
        CONFIG.with_overrides({"retrain.window": "60d"}, origin="this run")


def test_rows_must_be_kept_longer_than_the_oldest_that_a_request_may_bring() -> None:
    rows = {"rows": "100d"}
    assert toy_config(retention=rows, serving={"max_age": "93d"}).serving.max_age == 93 * DAY
    with pytest.raises(ValueError, match=r"serving.max_age: 365d is too long for retention.rows \(100d\)") as caught:
        toy_config(retention=rows, serving={"max_age": "365d"})
    assert "Keep rows for serving.max_age + check.lookback (372d) or longer, or shorten serving.max_age" in str(
        caught.value
    )
    assert toy_config(serving={"max_age": "365d"}).retention.rows is None


def test_compact_frees_space_and_leaves_the_store_consistent(ws: Workspace, log: PredictionLog) -> None:
    rows = toy_rows(days=20, per_hour=100)
    log.append(rows.append_column("version", pa.nulls(rows.num_rows, pa.int64())))
    assert maintenance.expire_rows(ws, CONFIG, now=NOW).deleted == rows.num_rows
    sizes = maintenance.compact(ws)
    assert sizes.bytes_after < sizes.bytes_before
    assert maintenance.verify_store(ws) == maintenance.VerifiedStore(faults=0)


def test_verify_store_names_the_fault(ws: Workspace, log: PredictionLog) -> None:
    history(log, 99, version=1)
    with ws.store.begin() as connection:
        connection.execute(sa.delete(hours))
    with pytest.raises(StoreDamaged, match=r"toy: the hour 2026-04-10 00:00 of version 1 has 4 rows that no check"):
        maintenance.verify_store(ws)


def test_expire_rows_with_a_naive_time_is_refused(ws: Workspace, log: PredictionLog) -> None:
    with pytest.raises((TypeError, ValueError)):
        maintenance.expire_rows(ws, CONFIG, now=datetime(2026, 5, 1))  # noqa: DTZ001
