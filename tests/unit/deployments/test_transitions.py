"""Changing a deployment on a real store and a real MLflow: one wins, all is recorded, the registry follows."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest
import sqlalchemy as sa

from keel import deployments
from keel.deployments import Deployment
from keel.deployments.history import Status, history
from keel.errors import NoProductionVersion, RegistryUnavailable, StaleGeneration, StoreUnavailable
from keel.ledger import entries as ledger
from keel.registry.registry import Registry
from keel.store import Store
from keel.store.database.tables import arrivals, projections
from keel.store.database.tables import deployments as deployments_table
from tests.support.store_fixtures import NOON
from tests.support.versions.cheap import CheapModel, open_registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Registry:
    return open_registry(tmp_path_factory.mktemp("registry"))


@pytest.fixture
def model(store, registry) -> CheapModel:
    """Version 2 of four is in production, after version 1."""
    made = CheapModel.new(store, registry, versions=4)
    made.change(production=1)
    made.change(production=2, previous=1)
    return made


def test_a_change_adds_one_generation_and_one_row_and_updates_the_registry(model):
    before = model.now
    changed = model.change(production=3, previous=2, staging=4)
    assert changed == model.now == Deployment(model.name, 3, 4, 2, before.generation + 1)
    row = model.rows[-1]
    assert (row.action, row.generation_from, row.generation_to, row.actor) == ("promote", 2, 3, "tests")
    assert (row.body["from"], row.body["to"]) == (before.aliases, changed.aliases)
    assert model.aliases == {"production": 3, "staging": 4, "previous": 2}
    assert model.tags == {1: "archived", 2: "previous", 3: "production", 4: "staging"}
    model.require_agreement()


def test_a_change_records_the_last_row_that_was_stored_before_it(model):
    assert model.rows[-1].body["arrival"] == 0
    with model.store.begin() as connection:
        connection.execute(arrivals.insert().values(model=model.name, last=170))
    model.change(production=3, previous=2)
    assert model.rows[-1].body["arrival"] == 170


def test_given_statuses_override_those_of_the_aliases(model):
    model.change(production=1, previous=None, statuses={2: (Status.QUARANTINED, "it did harm")})
    assert model.tags == {1: "production", 2: "quarantined", 3: "candidate", 4: "candidate"}
    assert history(model.store, model.name).version_statuses[2].reason == "it did harm"
    model.require_agreement()


def test_a_change_from_an_old_generation_writes_nothing(model):
    read, rows = model.now, len(model.rows)
    model.change(staging=3)
    for wanted in ({"production": 3}, {"staging": 3}, {}):
        with pytest.raises(
            StaleGeneration, match=f"{model.name}: the deployment is no longer at generation 2; read it"
        ):
            model.change(current=read, **wanted)
    assert len(model.rows) == rows + 1
    model.require_agreement()


def test_of_two_first_deployments_the_second_is_stale(store, registry):
    model = CheapModel.new(store, registry, versions=2)
    nothing = model.now
    assert nothing.generation == 0
    model.change(current=nothing, production=1)
    with pytest.raises(StaleGeneration):
        model.change(current=nothing, production=2)
    assert model.aliases == {"production": 1}


def test_a_change_from_a_later_generation_is_stale(model):
    with pytest.raises(StaleGeneration):
        model.change(current=replace(model.now, generation=9), production=3)


def test_a_ledger_row_that_cannot_be_written_rolls_the_swap_back(model):
    before, rows = model.now, len(model.rows)
    with pytest.raises(TypeError, match="JSON"):
        deployments.change(
            model.store, model.registry, before, replace(before, production=3), actor="tests", now=NOON,
            action="promote", body={"evidence": {"sentence": object()}},
        )  # fmt: skip
    assert (model.now, len(model.rows)) == (before, rows)


def test_production_version_without_one_raises_an_error_that_says_what_to_do(store, model):
    assert deployments.production_version(store, model.name) == 2
    with pytest.raises(NoProductionVersion, match=r"airflow dags trigger nothing\.retrain"):
        deployments.production_version(store, "nothing")


def test_append_changes_no_generation_and_its_statuses_reach_the_registry(model):
    before = model.now
    noted = model.append(ledger.Action.KEEP_CHAMPION, statuses={3: (Status.REJECTED, "worse")})
    assert (noted.generation_from, noted.generation_to) == (before.generation, before.generation)
    assert noted == model.rows[-1]
    assert model.now == before
    assert model.sync_pending
    assert model.sync_aliases() == []
    assert model.tags[3] == "rejected"
    model.require_agreement()


def append_once(model, evidence, action="keep_champion"):
    body = {"run_id": "r", "evidence": evidence}
    return deployments.append_once(
        model.store, model.name, actor="tests", action=action, identity={"evidence": evidence}, body=body, now=NOON
    )


def test_append_once_adds_no_second_row_for_the_same_identity(model):
    evidence = {"n": 1, "spans": ((1, 2), (3, 4)), "x": 0.1}
    assert append_once(model, evidence) is not None
    assert append_once(model, dict(reversed(evidence.items()))) is None
    assert append_once(model, {**evidence, "n": 2}) is not None
    assert append_once(model, evidence) is None
    assert append_once(model, evidence, action="told") is not None


def test_recorded_finds_the_last_row_whose_body_contains_the_identity(model):
    for number, run_id in enumerate(["run-1", "run-1", "run-2"]):
        model.append("decline", run_id=run_id, evidence={"report_id": f"report-{number % 2}", "n": number})
    found = deployments.recorded(model.store, model.name, "decline", {"evidence": {"report_id": "report-0"}})
    assert (found.body["run_id"], found.body["evidence"]["n"]) == ("run-2", 2)
    mine = {"run_id": "run-1", "evidence": {"report_id": "report-0"}}
    assert deployments.recorded(model.store, model.name, "decline", mine).body["evidence"]["n"] == 0
    for action, identity in (
        ("approve", mine),
        ("decline", {**mine, "run_id": "run-3"}),
        ("decline", {"evidence": {"report_id": "report-0", "missing": None}}),
        ("decline", {"evidence": {"report_id": {"nested": 1}}}),
    ):
        assert deployments.recorded(model.store, model.name, action, identity) is None
    assert deployments.recorded(model.store, "another model", "decline", mine) is None


def test_append_once_by_many_threads_at_once_adds_one_row(model, monkeypatch):
    noted, append = [], ledger.append

    def append_slowly(*arguments, **named):
        time.sleep(0.2)
        return append(*arguments, **named)

    def note():
        noted.append(append_once(model, {"n": 1}))

    monkeypatch.setattr(ledger, "append", append_slowly)
    threads = [threading.Thread(target=note) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(entry is not None for entry in noted) == 1
    assert len([row for row in model.rows if row.action == "keep_champion"]) == 1


def test_an_interrupted_change_is_pending_until_aliases_are_synced(model):
    model.commit(production=3, previous=2)
    assert model.sync_pending
    assert model.aliases == {"production": 2, "previous": 1}
    assert model.sync_aliases() == []
    model.require_agreement()
    assert model.sync_aliases() == []


def test_a_slow_sync_cannot_restore_an_older_state(model, monkeypatch):
    """The first projector comes to the lock when the second change has been committed and projected."""
    lock, overtaken = Store.lock, []

    def late(store, name):
        if not overtaken:
            overtaken.append(True)
            model.change(production=4, previous=3)
        return lock(store, name)

    monkeypatch.setattr(Store, "lock", late)
    changed = model.change(production=3, previous=2)
    assert changed.production == 3, "that is what was changed"
    assert model.now.production == 4
    assert model.aliases == {"production": 4, "previous": 3}
    assert model.out_of_band == []
    model.require_agreement()


def test_only_one_process_writes_to_the_registry_at_a_time(model, monkeypatch):
    within, most = 0, 0
    set_aliases = Registry.set_aliases

    def counted(registry, *arguments):
        nonlocal within, most
        within += 1
        most = max(most, within)
        threading.Event().wait(0.05)
        set_aliases(registry, *arguments)
        within -= 1

    monkeypatch.setattr(Registry, "set_aliases", counted)

    def one_more():
        current = model.now
        with suppress(StaleGeneration):
            model.change(current=current, production=current.production % 4 + 1)

    threads = [threading.Thread(target=one_more) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    model.require_agreement()


def test_an_unavailable_registry_after_the_commit_is_reported_and_a_retry_completes_the_sync(model, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    gone = Registry("http://127.0.0.1:9")
    before = model.now
    with pytest.raises(RegistryUnavailable, match=r"is committed \(generation 3\).*completes it: MLflow at http"):
        CheapModel(model.store, gone, model.name).change(production=3, previous=2)
    assert model.now == replace(before, production=3, previous=2, generation=3)
    assert model.sync_pending
    assert model.aliases["production"] == 2
    assert model.sync_aliases() == []
    model.require_agreement()


def test_a_blocked_sync_reports_that_the_change_is_committed(model, store_url):
    with (
        Store.open(store_url, timeout=0.2) as impatient,
        model.store.lock(f"projection-{model.name}"),
        pytest.raises(StoreUnavailable, match=r"is committed \(generation 3\)"),
    ):  # fmt: skip
        CheapModel(impatient, model.registry, model.name).change(production=3, previous=2)
    assert model.sync_pending
    model.sync_aliases()
    model.require_agreement()


def test_any_other_error_after_the_commit_notes_that_the_change_is_committed(model, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Registry, "set_tags", broken)
    with pytest.raises(ZeroDivisionError) as caught:
        model.change(production=3, previous=2)
    [note] = caught.value.__notes__
    assert note == f"{model.name}: the change is committed (generation 3); only MLflow is not updated."


def test_a_registry_without_any_version_raises(model, tmp_path):
    elsewhere = CheapModel(model.store, open_registry(tmp_path), model.name)
    model.commit(production=3, previous=2)
    for look in (elsewhere.sync_aliases, elsewhere.reconcile):
        with pytest.raises(RegistryUnavailable, match="has no version of .*MLFLOW_TRACKING_URI"):
            look()
    assert model.sync_pending
    model.sync_aliases()
    with pytest.raises(RegistryUnavailable, match="has no version of"):
        elsewhere.reconcile()
    model.require_agreement()


def test_sync_skips_deleted_versions(model):
    model.commit(production=3, previous=2, staging=4)
    model.delete(4)
    assert model.sync_aliases() == []
    assert model.aliases == {"production": 3, "previous": 2}
    assert not model.sync_pending


def test_a_version_may_have_two_aliases(model):
    model.change(staging=2)
    assert model.aliases == {"production": 2, "staging": 2, "previous": 1}
    assert model.tags[2] == "production"
    assert model.reconcile().out_of_band == ()
    model.change(production=3, previous=2)
    assert model.tags[2] == "staging"
    model.change(staging=None)
    assert model.tags[2] == "previous"
    model.require_agreement()


def test_sync_sets_only_what_differs(model, monkeypatch):
    calls = []
    for name in ("set_registered_model_alias", "set_model_version_tag", "delete_registered_model_alias"):
        monkeypatch.setattr(
            f"mlflow.MlflowClient.{name}", lambda *arguments, name=name: calls.append((name, *arguments[2:]))
        )
    model.change(staging=3)
    assert calls == [
        ("set_registered_model_alias", "staging", "3"), ("set_model_version_tag", "3", "keel.status", "staging")
    ]  # fmt: skip
    model.sync_aliases()
    assert len(calls) == 2, "what is not pending is not looked at"


def corrupt(store: Store, model: str, **values: int | None) -> None:
    with store.begin() as connection:
        connection.execute(deployments_table.update().where(deployments_table.c.model == model).values(**values))


def rows_of(store: Store) -> list[tuple[object, ...]]:
    with store.connect() as connection:
        columns = [c for c in deployments_table.c if c.name != "updated_at"]
        return [tuple(row) for row in connection.execute(sa.select(*columns).order_by(deployments_table.c.model))]


def test_rebuild_restores_lost_and_wrong_rows_from_the_ledger(model, store, registry):
    other = CheapModel.new(store, registry, versions=1)
    other.change(production=1)
    right = rows_of(store)
    assert deployments.rebuild(store) == []
    with store.begin() as connection:
        connection.execute(deployments_table.delete())
    assert deployments.rebuild(store, model.name) == [history(store, model.name).deployment]
    assert [row[0] for row in rows_of(store)] == [model.name]
    assert [deployment.model for deployment in deployments.rebuild(store)] == [other.name]
    assert rows_of(store) == right
    corrupt(store, model.name, production=3)
    corrupt(store, other.name, generation=7)
    with store.begin() as connection:
        connection.execute(deployments_table.insert().values(model="unknown", production=1, generation=1, updated_at=0))
    assert {deployment.model for deployment in deployments.rebuild(store)} == {model.name, other.name, "unknown"}
    assert rows_of(store) == right
    model.change(production=3, previous=2)
    model.require_agreement()


def test_rebuild_waits_for_a_concurrent_change_and_keeps_it(model, store):
    """Its row of the ledger and its deployments row are both there, or neither."""
    start = threading.Barrier(2)

    def rebuild():
        start.wait()
        for _ in range(10):
            deployments.rebuild(store)

    thread = threading.Thread(target=rebuild)
    thread.start()
    start.wait()
    for _ in range(10):
        model.change(production=model.now.production % 4 + 1)
    thread.join()
    assert model.now.generation == 12
    model.require_agreement()


def test_a_lost_sync_position_is_restored(model, store):
    with store.begin() as connection:
        connection.execute(projections.delete())
    assert model.sync_pending
    assert model.reconcile().out_of_band == ()
    model.require_agreement()
