"""What the overview reads: every state, whatever is missing, in as many queries for fifty models as for five."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from keel.config import ModelConfig, read_models
from keel.errors import ConfigError, StoreUnavailable
from keel.registry.registry import Registry
from keel.reports import fleet
from keel.reports.fleet.states import State
from keel.store import Store
from keel.store.database.tables import ledger, reports
from keel.window import DAY, HOUR
from keel.workspace import Workspace
from tests.support import fleet_world
from tests.support.toy import toy_config

NOW = datetime(2026, 11, 30, 14, 30, tzinfo=UTC)
STATES = {
    "model_000": State.WORSE,
    "model_003": State.LABELS_MISSING,
    "model_006": State.EXPERIMENT,
    "model_009": State.DRIFT,
    "model_012": State.PROBATION,
    "model_001": State.FINE,
}


def workspace(store: Store, home: Path) -> Workspace:
    """Return a workspace on a store, whose registry nobody may ask."""
    return Workspace(home, store, Registry(f"sqlite:///{home}/never-made/mlflow.db"))


def configurations(models: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, ModelConfig]:
    fleet_world.configure(folder / "models", models)
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(folder / "models"))
    configs, invalid = read_models()
    assert not invalid
    return configs


@contextmanager
def counted(store: Store) -> Iterator[list[str]]:
    """Collect the statements that are run."""
    seen: list[str] = []

    def note(*arguments: object) -> None:
        seen.append(str(arguments[2]))

    sa.event.listen(store.engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(store.engine, "before_cursor_execute", note)


def test_collect_of_many_models_takes_as_many_queries_as_of_few(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = configurations(15, tmp_path, monkeypatch)
    fleet_world.fill(store, models=15, days=40, now=NOW, hourly=False)
    ws = workspace(store, tmp_path)
    with counted(store) as for_one:
        fleet.collect(ws, {"model_000": configs["model_000"]}, NOW)
    with counted(store) as for_all:
        found = fleet.collect(ws, configs, NOW)
    assert len(for_all) == len(for_one)
    assert 0 < len(for_all) <= 12
    by_model = {row.model: row.state for row in found.rows}
    assert {name: by_model[name] for name in STATES} == STATES
    assert len(found.rows) == 15
    assert [row.state.rank for row in found.rows] == sorted(row.state.rank for row in found.rows)
    histories = {row.model: row.facts.history for row in found.rows if row.facts}
    assert all(len(history) >= 5 for history in histories.values())
    assert histories["model_000"][-1].status == "degraded"
    assert all(each.holdout == 0.16 for history in histories.values() for each in history)


def test_newest_reports_are_found_along_their_index(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'keel.db'}") as store:
        fleet_world.fill(store, models=1, days=2, now=NOW, hourly=False)
        asked: list[tuple[str, Any]] = []
        sa.event.listen(store.engine, "before_cursor_execute", lambda *given: asked.append((given[2], given[3])))
        fleet.collect(workspace(store, tmp_path), {"model_000": toy_config(model="model_000")}, NOW)
        about_reports = [(sql, values) for sql, values in asked if "FROM reports" in sql or "JOIN reports" in sql]
        with store.connect() as connection:
            steps = [
                str(row[3])
                for sql, values in about_reports
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)
            ]
    read = [step for step in steps if " reports" in step]
    assert len(read) >= 4
    assert all("INDEX reports_by_window (model=? AND kind=?" in step for step in read), steps


def test_model_whose_ledger_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'keel.db'}") as store:
        fleet_world.fill(store, models=2, days=2, now=NOW, hourly=False)
        with store.begin() as connection:
            for (trigger,) in connection.execute(
                sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            ).all():
                connection.execute(sa.text(f"DROP TRIGGER {trigger}"))
            promoted = sa.and_(ledger.c.model == "model_001", ledger.c.action == "promote")
            connection.execute(sa.update(ledger).where(promoted).values(body="{"))
        configs = {name: toy_config(model=name) for name in ("model_000", "model_001")}
        broken, other = fleet.collect(workspace(store, tmp_path), configs, NOW).rows[::-1]
    assert (broken.model, broken.state) == ("model_001", State.UNREADABLE)
    assert "keel ledger verify" in broken.error
    assert other.facts is not None


def test_report_that_cannot_be_read_is_one_row(store: Store, tmp_path: Path) -> None:
    fleet_world.fill(store, models=2, days=2, now=NOW, hourly=False)
    with store.begin() as connection:
        mine = sa.and_(reports.c.model == "model_001", reports.c.kind == "drift")
        connection.execute(sa.update(reports).where(mine).values(body='{"status": "new"}'))
    configs = {name: toy_config(model=name) for name in ("model_000", "model_001")}
    found = {row.model: row for row in fleet.collect(workspace(store, tmp_path), configs, NOW).rows}
    assert found["model_001"].state is State.UNREADABLE
    assert "StoredDriftReport" in found["model_001"].error
    assert found["model_000"].state is State.WORSE


def test_collect_of_an_empty_store(store: Store, tmp_path: Path) -> None:
    ws = workspace(store, tmp_path)
    assert fleet.collect(ws, {}, NOW).rows == ()
    lines = [f"/srv/models/churn/model.yaml: {each}" for each in ("check.schedule: must be a cron expression", "x: y")]
    error = ConfigError("\n".join(lines))
    first, second = fleet.collect(ws, {"toy": toy_config()}, NOW, invalid=[error]).rows
    assert (first.model, first.state) == ("churn", State.UNREADABLE)
    assert first.error == "model.yaml: check.schedule: must be a cron expression. And 1 more."
    assert (second.model, second.state) == ("toy", State.NO_VERSION)


def test_check_that_has_not_come_is_overdue(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = configurations(2, tmp_path, monkeypatch)
    fleet_world.fill(store, models=2, days=2, now=NOW, hourly=False)
    ws = workspace(store, tmp_path)
    assert fleet.collect(ws, configs, NOW + HOUR).rows[1].state is State.FINE
    late = fleet.collect(ws, configs, NOW + DAY)
    assert [row.state for row in late.rows] == [State.WORSE, State.OVERDUE]
    on_request = {name: config.with_overrides({"check.schedule": None}) for name, config in configs.items()}
    assert fleet.collect(ws, on_request, NOW + DAY).rows[1].state is State.FINE


@pytest.mark.postgres
def test_store_that_does_not_answer_raises(tmp_path: Path, new_postgres_database: Callable[..., str]) -> None:
    with Store.open(new_postgres_database()) as store:
        ws = workspace(store, tmp_path)
        with store.begin() as connection:
            connection.execute(sa.text("DROP TABLE reports CASCADE"))
        with pytest.raises(StoreUnavailable):
            fleet.collect(ws, {"toy": toy_config()}, NOW)
