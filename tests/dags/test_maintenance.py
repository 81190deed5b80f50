"""The nightly maintenance of all models."""

from __future__ import annotations

from email import message_from_string, policy

import pytest
import sqlalchemy as sa
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import select

from keel import deployments, rollout
from keel.errors import ConfigError
from keel.ledger import checkpoints as checkpoint
from keel.ledger import entries as ledger
from keel.ledger import signing_keys as keys
from keel.store.database.tables import hours
from tests.dags.test_structure import write_model
from tests.support.airflow.dag_run import run
from tests.support.airflow.mails import text_of
from tests.support.airflow.tide import (
    HISTORY,
    HOUR,
    LAUNCH,
    ROWS_PER_HOUR,
    happen,
    live,
    promote_staged,
    tide_config,
)
from tests.support.ledger.rows import owned

pytestmark = pytest.mark.usefixtures("airflow_db")


def mails(workspace):
    files = sorted(workspace.outbox.glob("*.eml")) if workspace.outbox.exists() else []
    return [message_from_string(file.read_text(), policy=policy.default) for file in files]


def tamper(workspace, statement):
    """Change the ledger as the owner of the database can."""
    with owned(workspace.store) as connection:
        connection.exec_driver_sql(statement)


def refusing_buoy(reconcile):
    """Reconcile every model but one, which fails."""

    def refusing(workspace, config, **options):
        if config.model == "buoy":
            raise ConfigError("buoy is out of order")
        return reconcile(workspace, config, **options)

    return refusing


def states_by_model(run_id):
    """Return the states of the mapped tasks, in the order of the models' names."""
    found = {}
    with create_session() as session:
        mapped = select(TaskInstance).where(TaskInstance.run_id == run_id, TaskInstance.map_index >= 0)
        for each in session.scalars(mapped.order_by(TaskInstance.map_index)).unique():
            found.setdefault(each.task_id, []).append(str(each.state))
    return found


def test_maintenance_without_faults_sends_nothing(tide):
    done = run("keel.maintenance")

    assert (done.state, done.path) == (
        "success",
        {
            "verify_ledger",
            "reconcile",
            "notify_findings",
            "prune_versions",
            "expire_rows",
            "expire_reports",
            "compact_store",
            "verify_store",
        },
    )
    assert done.xcoms["verify_ledger/return_value"]["signed"] is None
    assert done.xcoms["expire_rows/return_value"]["before"] is None
    assert done.xcoms["compact_store/return_value"]["bytes_after"] > 0
    assert mails(tide) == []


def test_maintenance_expires_old_rows_but_keeps_those_of_a_probation(tide, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__RETENTION__ROWS", "30d")
    log = tide.predictions(tide_config())
    live(tide, happen(LAUNCH, LAUNCH + HOUR), LAUNCH, LAUNCH + HOUR)
    history = log.count(HISTORY, LAUNCH)

    done = run("keel.maintenance")

    assert done.state == "success"
    expired = done.xcoms["expire_rows/return_value"]
    assert (expired["deleted"], expired["before"]) == (history, LAUNCH.isoformat())
    assert "version 1 is on probation" in expired["sentence"]
    assert log.count(HISTORY, LAUNCH + HOUR) == log.count(LAUNCH, LAUNCH + HOUR) == ROWS_PER_HOUR


def test_maintenance_of_an_inconsistent_store_fails_after_all_other_tasks(tide):
    live(tide, happen(LAUNCH, LAUNCH + HOUR), LAUNCH, LAUNCH + HOUR)
    with tide.store.begin() as connection:
        connection.execute(sa.delete(hours))

    done = run("keel.maintenance")

    assert (done.state, done.states["verify_store"]) == ("failed", "failed")
    assert {"prune_versions", "expire_rows", "compact_store"} <= done.path
    assert f"{ROWS_PER_HOUR} rows that no check will ever count" in done.xcoms["verify_store/error"]
    [mail] = mails(tide)
    assert "rows that no check will ever count" in text_of(mail)


def test_maintenance_with_key_and_place_signs_a_checkpoint(tide, tmp_path, monkeypatch):
    keys.keygen(tmp_path / "key")
    monkeypatch.setenv("KEEL_SIGNING_KEY", str(tmp_path / "key"))
    monkeypatch.setenv("KEEL_CHECKPOINTS", str(tmp_path / "elsewhere"))

    done = run("keel.maintenance")

    assert done.state == "success"
    [file] = (tmp_path / "elsewhere").glob("checkpoint-*.json")
    assert done.xcoms["verify_ledger/return_value"]["signed"] == file.name
    found = checkpoint.check(tide.store, tmp_path / "elsewhere", keys.public_keys(tmp_path / "key.pub"))
    assert (found.broken_at, found.checkpoints) == (None, 1)


def test_maintenance_deletes_an_expired_version_with_a_ledger_row(staged, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__KEEP_VERSIONS", "0s")
    promote_staged(staged)
    decision = rollout.request_rollback(
        staged, tide_config(), reason="floods", version=None, end=LAUNCH, actor="test", run_id="1"
    )
    rollout.rollback(staged, tide_config(), decision.decision_id, actor="test", run_id="1")

    done = run("keel.maintenance")

    assert done.state == "success"
    [deleted] = done.xcoms["prune_versions/return_value"]["deleted"]
    assert (deleted["version"], deleted["status"]) == (2, "quarantined")
    assert [version.version for version in staged.registry.versions("tide")] == [1]
    [row] = ledger.entries(staged.store, "tide", "delete_version")
    assert (row.actor, row.body["run_id"]) == ("dag_test", done.run_id)


def test_maintenance_of_a_broken_ledger_fails_and_runs_nothing_else(tide, monkeypatch):
    tamper(tide, "UPDATE ledger SET actor = 'mallory' WHERE seq = 1")

    done = run("keel.maintenance")

    assert (done.state, done.states["verify_ledger"]) == ("failed", "failed")
    assert done.path == set()
    assert "row 1 of the ledger" in done.xcoms["verify_ledger/error"]
    [mail] = mails(tide)
    assert mail["Subject"] == "[Keel] The ledger fails its proof"
    assert (mail["To"], mail["X-Keel-Severity"]) == ("harbour@example.com", "critical")
    assert "row 1 of the ledger" in text_of(mail)


@pytest.mark.slow
def test_maintenance_of_a_truncated_ledger_fails_by_the_checkpoint(tide, tmp_path, monkeypatch):
    keys.keygen(tmp_path / "key")
    monkeypatch.setenv("KEEL_SIGNING_KEY", str(tmp_path / "key"))
    monkeypatch.setenv("KEEL_CHECKPOINTS", str(tmp_path / "elsewhere"))
    deployments.append(tide.store, "tide", actor="test", action="told", body={"evidence": {}}, now=LAUNCH)
    assert run("keel.maintenance").state == "success"
    tamper(tide, "DELETE FROM ledger WHERE seq = (SELECT max(seq) FROM ledger)")

    done = run("keel.maintenance")

    assert done.state == "failed"
    assert "cut off at the end" in done.xcoms["verify_ledger/error"]


def test_maintenance_adopts_a_moved_alias_and_notifies_its_model(staged, tmp_path, monkeypatch):
    promote_staged(staged)
    write_model(tmp_path / "models", "buoy", alerts={"email": ["buoy@example.com"]})
    write_model(tmp_path / "models", "tide")
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path / "models"))
    staged.registry.client.set_registered_model_alias("tide", "production", "1")

    done = run("keel.maintenance")

    assert done.state == "success"
    assert deployments.read(staged.store, "tide").production == 1
    assert [entry.model for entry in ledger.entries(staged.store, action="out_of_band")] == ["tide"]
    [mail] = mails(staged)
    assert mail["To"] == "harbour@example.com"
    assert "was moved outside Keel from version 2 to version 1" in mail["Subject"]
    assert f"/dags/keel.maintenance/runs/{done.run_id}" in text_of(mail)


def test_maintenance_with_one_failing_model_fails_but_maintains_the_rest(staged, tmp_path, monkeypatch):
    promote_staged(staged)
    write_model(tmp_path / "models", "tide")
    write_model(tmp_path / "models", "buoy")
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path / "models"))
    monkeypatch.setattr(rollout, "reconcile", refusing_buoy(rollout.reconcile))
    staged.store.predictions("buoy", {name: "categorical" for name in tide_config().features})  # as they were once
    staged.registry.client.set_registered_model_alias("tide", "production", "1")

    done = run("keel.maintenance")

    assert states_by_model(done.run_id) == {
        "reconcile": ["failed", "success"],
        "notify_findings": ["upstream_failed", "success"],
        "prune_versions": ["upstream_failed", "success"],
        "expire_rows": ["failed", "success"],
        "expire_reports": ["success", "success"],
    }
    assert done.states["compact_store"] == done.states["verify_store"] == "success"
    assert done.state == "failed"
    assert [entry.model for entry in ledger.entries(staged.store, action="out_of_band")] == ["tide"]
    [failure] = [mail for mail in mails(staged) if mail["Subject"] == "[Keel] keel.maintenance failed"]
    assert "ConfigError: buoy" in text_of(failure)
