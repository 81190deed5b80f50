"""The views that BI tools read: from whatever is stored, on both databases, and by a user who may read nothing else."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from keel.errors import ConfigError
from keel.store import Store
from keel.store.database import drift_tables, migrations
from keel.store.database.connections import Database, parse_url
from keel.store.database.migrations import metric_views, reader
from keel.store.database.migrations.metric_views import models
from keel.store.database.tables import reports
from tests.support.store_fixtures import NOON

HOUR = timedelta(hours=1)
COLUMN = {
    "kind": "numeric", "role": "feature", "status": "drift", "severity": "drift", "missing_rate": 0.25,
    "impact": 0.5, "p_value": 0.01, "q_value": 0.02, "minimum": -1.0, "maximum": 3.0,
    "measures": {"psi": {"value": 0.4, "excess": 0.3}, "ks": {"statistic": 0.2, "p_value": 0.01}},
    "rates": {"missing": {"reference": 0.125, "current": 0.25}},
}  # fmt: skip
DRIFT = {"n": 10, "share_drifted": 0.5, "drift_share": 0.3, "impact_total": 0.75, "sentence": "it drifts",
         "features": {"temp": COLUMN, "odd \"name\" 'x', ü": {**COLUMN, "measures": {}, "rates": {}}}}  # fmt: skip


def put(store: Store, kind: str, body: dict[str, Any], *, number: int = 1, end: datetime = NOON) -> None:
    store.reports.put(f"{kind}-{number}", "toy", number, kind, end - HOUR, end, "ok", body, NOON)


def rows(store: Store, sql: str) -> list[dict[str, Any]]:
    with store.connect() as connection:
        return [dict(row) for row in connection.execute(sa.text(sql)).mappings()]


@pytest.mark.parametrize("name", metric_views.names())
def test_view_of_an_empty_store_has_no_rows(store: Store, name: str) -> None:
    assert rows(store, f"SELECT * FROM {name}") == []


def test_views_are_all_that_there_are(store: Store) -> None:
    found = sa.inspect(store.engine).get_view_names()
    assert sorted(found) == sorted(metric_views.names())
    assert {name for name in found if not name.startswith(metric_views.PREFIX)} == set()


def test_drift_columns_have_the_numbers_of_the_report(store: Store) -> None:
    put(store, "drift", DRIFT)
    put(store, "consecutive", DRIFT)
    [window, before] = rows(store, "SELECT * FROM keel_drift ORDER BY report_id DESC")
    assert (window["against"], before["against"]) == ("training", "previous")
    assert (window["share_drifted"], window["share_limit"], window["impact"]) == (0.5, 0.3, 0.75)
    found = rows(store, "SELECT * FROM keel_drift_columns WHERE against = 'training' ORDER BY psi")
    [temp] = [row for row in found if row["column_name"] == "temp"]
    assert (temp["psi"], temp["psi_excess"], temp["ks"], temp["wasserstein"]) == (0.4, 0.3, 0.2, None)
    assert {row["column_name"] for row in found} == set(DRIFT["features"])
    [profile] = rows(store, "SELECT * FROM keel_profile WHERE against = 'training' AND column_name = 'temp'")
    assert (profile["missing_rate"], profile["missing_rate_reference"], profile["invalid_rate"]) == (0.25, 0.125, 0.0)
    assert (profile["minimum"], profile["maximum"]) == (-1.0, 3.0)


def test_report_that_is_stored_again_leaves_no_earlier_measure(store: Store) -> None:
    put(store, "drift", DRIFT)
    put(store, "drift", {**DRIFT, "n": 20, "features": {"temp": {**COLUMN, "impact": 9.0}}})
    [row] = rows(store, "SELECT n, column_name, impact FROM keel_drift_columns")
    assert row == {"n": 20, "column_name": "temp", "impact": 9.0}


def test_performance_has_a_row_a_metric_with_that_of_the_holdout(store: Store) -> None:
    estimate = {"value": 0.25, "standard_error": 0.01, "n": 7}
    body = {"metric": "brier", "n": 7, "due": 8, "current": {"brier": estimate, "roc_auc": {"value": None, "n": 7}},
            "reference": {"brier": {"value": 0.125, "standard_error": 0.5, "n": 99}}}  # fmt: skip
    put(store, "performance", body)
    brier, auc = rows(store, "SELECT * FROM keel_performance ORDER BY metric")
    assert (brier["value"], brier["holdout"], brier["holdout_n"]) == (0.25, 0.125, 99)
    assert (bool(brier["is_primary"]), bool(auc["is_primary"])) == (True, False)
    assert brier["upper_95"] - brier["lower_95"] == pytest.approx(2 * 1.959964 * 0.01, rel=1e-6)
    assert (auc["value"], auc["upper_95"], auc["holdout"]) == (None, None, None)


def test_text_that_jsonb_refuses_fails_no_query(store: Store) -> None:
    body = {
        "n": 3,
        "findings": [{"column": "x", "sentence": "NUL \x00, half \ud800, \\u0000 as text, whole \U0001f600"}],
    }
    put(store, "quality", body)
    put(store, "quality", {"n": 4, "findings": None}, number=2)
    assert [row["n"] for row in rows(store, "SELECT n FROM keel_quality ORDER BY n")] == [3, 4]
    assert [row["column_name"] for row in rows(store, "SELECT column_name FROM keel_quality_findings")] == ["x"]
    if store.engine.dialect.name == "postgresql":
        [row] = rows(store, "SELECT sentence FROM keel_quality_findings")
        assert row["sentence"] == "NUL \ufffd, half \ufffd, \\u0000 as text, whole \U0001f600"


def migrate_to(head: str, url: str, patch: pytest.MonkeyPatch, *stored: dict[str, Any]) -> None:
    with patch.context() as earlier:
        earlier.setattr(migrations, "HEAD", head)
        database = Database(parse_url(url), 20)
        database.prepare_file()
        migrations.migrate(database.engine)
    if stored:
        with database.begin() as connection:
            connection.execute(sa.insert(reports), stored)
    database.close()


def test_migration_fills_the_tables_as_reports_are_written(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {**DRIFT, "sentence": "NUL \x00, half \ud800", "later": "unknown"}
    bodies = {"drift-1": body, "drift-2": {"n": 3}, "quality-1": DRIFT}
    stored = [
        {"report_id": name, "model": "toy", "version": 1, "kind": name[:-2], "window_start": 1, "window_end": 2,
         "status": "ok", "body": json.dumps(each), "created_at": 3}
        for name, each in bodies.items()
    ]  # fmt: skip
    migrate_to("0009", store_url, monkeypatch, *stored)
    tables = drift_tables.drift_windows, drift_tables.drift_columns

    def measures() -> list[list[tuple[Any, ...]]]:
        with store.connect() as connection:
            return [sorted(map(tuple, connection.execute(sa.select(table))), key=str) for table in tables]

    with Store.open(store_url, timeout=20) as store:
        migrated = measures()
        for each in store.reports.list("toy", limit=None):
            store.reports.put(**each)
        assert migrated == measures()
    assert [len(each) for each in migrated] == [2, 2]


STRANGE: dict[str, dict[str, Any]] = {
    "measures that are none": {
        "n": 10,
        "features": {"x": {"measures": {"psi": None, "ks": 3}, "rates": {"missing": 1}}},
    },
    "texts for numbers": {"n": "ten", "psi_warn": "high", "sentence": {}, "features": {"x": {"p_value": "low"}}},
    "numbers for texts": {"n": 2**70, "alpha": 10**400, "features": {"x": {"kind": 3, "role": [], "impact": True}}},
    "columns that are a list": {"n": 1.5, "features": [{"x": 1}]},
    "measures that are a text": {"features": {"x": {"measures": "psi", "rates": [1]}, "y": None}},
}
"""Bodies of a form that no release writes, such as those of a later one."""


def test_body_of_another_form_stops_neither_a_migration_nor_a_report(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = [*map(json.dumps, STRANGE.values()), "null", "[1]", '{"n": ']
    same = {"model": "toy", "version": 1, "window_start": 1, "window_end": 2, "status": "ok", "created_at": 3}
    stored = [{**same, "report_id": f"r{i}", "kind": "drift", "body": body} for i, body in enumerate(bodies)]
    migrate_to("0009", store_url, monkeypatch, *stored, {**stored[0], "report_id": "good", "body": json.dumps(DRIFT)})
    with Store.open(store_url, timeout=20) as store:
        assert len(rows(store, "SELECT * FROM drift_windows")) == len(bodies) + 1
        for name, body in STRANGE.items():
            store.reports.put(name, "toy", 1, "drift", NOON - HOUR, NOON, "ok", body, NOON)
        numbers = "n, share_limit, alpha, psi_warn, sentence"
        found = {row.pop("report_id"): row for row in rows(store, f"SELECT report_id, {numbers} FROM drift_windows")}
        assert {found["good"]["n"], found["measures that are none"]["n"]} == {10}
        others = [found[name] for name in STRANGE if name != "measures that are none"]
        assert {value for row in others for value in row.values()} == {None}
        columns = rows(store, "SELECT * FROM drift_columns WHERE column_name = 'x' AND report_id LIKE '% %'")
        assert len(columns) == 4
        assert {row[name] for row in columns for name in ("psi", "ks", "p_value", "impact", "kind")} == {None}
        assert rows(store, "SELECT psi FROM drift_columns WHERE column_name = 'temp'") == [{"psi": 0.4}]


@pytest.mark.parametrize("first", ["", migrations.HEAD])
def test_views_may_read_what_a_later_migration_makes(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    if first:
        migrate_to(first, store_url, monkeypatch)
    folder = shutil.copytree(migrations.FOLDER, tmp_path / "migrations")
    (folder / "versions" / "v9999_later.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision, down_revision = '9999', '{migrations.HEAD}'\n"
        "def upgrade():\n    op.add_column('deployments', sa.Column('later', sa.Text()))\n"
    )
    now = models.views
    monkeypatch.setattr(migrations, "FOLDER", folder)
    monkeypatch.setattr(models, "views", lambda d: {"models": type(v := now(d)["models"])(
        {**v.columns, "later": "m.later"}, v.source)})  # fmt: skip
    migrate_to("9999", store_url, monkeypatch)
    database = Database(parse_url(store_url), 20)
    with database.connect() as connection:
        assert connection.execute(sa.text("SELECT later FROM keel_models")).all() == []
    database.close()


@pytest.mark.postgres
def test_reader_reads_the_views_and_nothing_else(migrated_postgres: str, new_postgres_database: Any) -> None:
    url = new_postgres_database(migrated_postgres)
    with Store.open(url, timeout=20) as store:
        put(store, "drift", DRIFT)
        with store.begin() as connection, pytest.raises(ConfigError, match="KEEL_READER_PASSWORD"):
            reader.prepare(connection, "keel test reader", password=None, page=None)
        for _ in range(2):
            with store.begin() as connection:
                page = "http://localhost/100%'s/"
                reader.prepare(connection, "keel test reader", password="it's %s \\", page=page)
        engine = sa.create_engine(sa.make_url(url).set(username="keel test reader", password="it's %s \\"))
        try:
            with engine.connect() as connection:
                for name in metric_views.names():
                    connection.execute(sa.text(f"SELECT * FROM {name}")).all()
                assert connection.execute(sa.text("SELECT current_setting('keel.page')")).scalar() == page[:-1]
                assert connection.execute(sa.text("SELECT psi FROM keel_drift_columns LIMIT 1")).scalar() == 0.4
            for refused in ("SELECT * FROM reports", "SELECT * FROM labels", "CREATE TABLE mine (n int)",
                            "DELETE FROM keel_alerts"):  # fmt: skip
                with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError, match="denied|read-only"):
                    connection.execute(sa.text(refused))
        finally:
            engine.dispose()
            with store.begin() as connection:
                connection.execute(sa.text('DROP OWNED BY "keel test reader"'))
                connection.execute(sa.text('DROP ROLE "keel test reader"'))
