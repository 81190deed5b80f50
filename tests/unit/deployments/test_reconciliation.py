"""Interrupted changes are completed, and changes outside Keel are found, on a real MLflow registry."""

from __future__ import annotations

import json
import threading

import pytest

from keel import deployments
from keel.deployments import Deployment
from keel.deployments.history import Status, history
from keel.ledger import entries as ledger
from keel.registry.registry import Registry
from keel.store.database.tables import deployments as deployments_table
from tests.support.versions.cheap import CheapModel, open_registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Registry:
    return open_registry(tmp_path_factory.mktemp("registry"))


@pytest.fixture
def model(store, registry) -> CheapModel:
    """Version 2 of five is in production, after version 1, and version 3 is staged."""
    made = CheapModel.new(store, registry, versions=5)
    made.change(production=1)
    made.change(production=2, previous=1, staging=3)
    return made


def test_reconcile_without_differences_writes_nothing(model, monkeypatch):
    rows = len(model.rows)
    for name in ("set_registered_model_alias", "set_model_version_tag", "delete_registered_model_alias"):
        monkeypatch.setattr(f"mlflow.MlflowClient.{name}", lambda *_: pytest.fail("nothing was to be done"))
    for adopt in (True, False):
        looked = model.reconcile(adopt=adopt)
        assert looked.to_dict() == {
            "model": model.name, "completed": False, "findings": [], "out_of_band": [],
            "sentence": f"MLflow agrees with the ledger about {model.name}.",
        }  # fmt: skip
    assert len(model.rows) == rows


@pytest.mark.parametrize("adopt", [True, False])
@pytest.mark.parametrize("steps", range(5))
def test_reconcile_completes_a_change_that_was_interrupted_at_any_step(model, steps, adopt):
    model.commit(production=3, previous=2, staging=None)
    for alias, version in [("production", 3), ("staging", None), ("previous", 2)][:steps]:
        model.move(alias, version)
    if steps == 4:
        model.registry.set_tags(model.name, 3, {"keel.status": "production"})
    looked = model.reconcile(adopt=adopt)
    assert looked.completed
    assert looked.out_of_band == ()
    assert looked.sentence == f"Keel completed an interrupted change of {model.name}."
    assert model.aliases == {"production": 3, "previous": 2}
    assert model.out_of_band == []
    model.require_agreement()
    assert not model.reconcile().completed


def test_reconcile_after_several_interrupted_changes_finds_no_change_outside_keel(model):
    model.commit(production=3, previous=2, staging=None)
    model.move("production", 3)
    model.commit(production=4, previous=3)
    model.commit(production=5, previous=4)
    assert model.reconcile().out_of_band == ()
    assert model.aliases == {"production": 5, "previous": 4}
    assert model.out_of_band == []
    model.require_agreement()


def test_a_moved_production_alias_is_reported_and_adopted_only_with_adopt(model):
    before, rows = model.now, len(model.rows)
    model.move("production", 4)
    for _ in range(2):
        looked = model.reconcile(adopt=False)
        said = f"The alias production of {model.name} was moved outside Keel from version 2 to version 4"
        assert looked.sentence == f"{said}. Keel still uses version 2."
    assert (model.now, len(model.rows), model.aliases["production"]) == (before, rows, 4)
    looked = model.reconcile()
    assert looked.sentence == f"{said}. Keel adopts the change as generation 3."
    assert json.loads(json.dumps(looked.to_dict()))["out_of_band"] == [
        {"what": "production", "expected": 2, "found": 4, "sentence": looked.sentence}
    ]
    row = model.rows[-1]
    assert (row.action, row.actor, row.generation_from, row.generation_to) == ("out_of_band", "watcher", 2, 3)
    assert row.body["evidence"]["sentence"] == looked.sentence
    assert model.now == Deployment(model.name, 4, 3, 2, 3), "who served can be gone back to"
    assert model.tags == {1: "archived", 2: "previous", 3: "staging", 4: "production", 5: "candidate"}
    model.require_agreement()
    assert model.reconcile().out_of_band == ()


def test_adopting_a_moved_production_alias_ends_the_probation(model):
    week = {"since": "2026-03-01T00:00:00+00:00", "until": "2026-03-08T00:00:00+00:00"}
    model.append(ledger.Action.CONFIRM, probation={"version": 2, "previous": 1, **week})
    assert history(model.store, model.name).probation is not None
    model.move("production", 4)
    model.reconcile()
    assert history(model.store, model.name).probation is None
    assert model.rows[-1].body["probation"] is None


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ({"production": 3}, (3, None, 2)),
        ({"production": 1}, (1, 3, 2)),
        ({"production": 1, "previous": 4}, (1, 3, 4)),
        ({"production": 4, "previous": None}, (4, 3, 2)),
        ({"production": 3, "staging": 4}, (3, 4, 2)),
        ({"staging": 4}, (2, 4, 1)),
        ({"staging": 2}, (2, 2, 1)),
        ({"previous": 5}, (2, 3, 5)),
        ({"previous": 2}, (2, 3, 2)),
    ],
    ids=str,
)
def test_aliases_moved_outside_keel_become_the_deployment(model, moves, expected):
    for alias, version in moves.items():
        model.move(alias, version)
    model.reconcile()
    assert (model.now.production, model.now.staging, model.now.previous) == expected
    assert model.now.generation == 3
    model.require_agreement()
    assert model.reconcile().out_of_band == ()


@pytest.mark.parametrize("alias", ["production", "staging", "previous"])
def test_a_removed_alias_is_restored_and_recorded_each_time(model, alias):
    before = model.now
    for times in (1, 2):
        model.move(alias, None)
        reported = model.reconcile(adopt=False).sentence
        assert reported == (
            f"The alias {alias} of {model.name} was removed outside Keel. It should be version {before.aliases[alias]}."
        )
        assert alias not in model.aliases
        looked = model.reconcile()
        assert looked.sentence.endswith(
            f"was removed outside Keel. Keel restored it to version {before.aliases[alias]}."
        )
        assert model.out_of_band == [looked.sentence] * times
        assert model.now == before
        model.require_agreement()


@pytest.mark.parametrize(("alias", "version"), [("staging", 3), ("previous", 1)])
def test_a_deleted_version_loses_its_alias(model, alias, version):
    model.delete(version)
    said = f"Version {version} of {model.name} was deleted from MLflow while it was {alias}"
    assert model.reconcile(adopt=False).sentence == f"{said}. The ledger still names it."
    assert model.now.aliases[alias] == version
    assert model.reconcile().sentence == f"{said}. No version is {alias} now."
    assert model.now.aliases[alias] is None
    assert history(model.store, model.name).status(version) is Status.DELETED
    model.require_agreement()
    assert model.reconcile().out_of_band == ()


def test_a_deleted_production_version_stays_is_reported_each_time_and_recorded_once(model):
    before = model.now
    model.delete(2)
    advice = f"Roll back to version 1: airflow dags trigger {model.name}.rollback"
    for _ in range(3):
        assert model.reconcile().sentence.endswith(f"deleted from MLflow while it was production. {advice}")
    assert model.now == before
    assert len(model.out_of_band) == 1
    assert history(model.store, model.name).status(2) is Status.DELETED
    model.delete(1)
    sentences = [finding.sentence for finding in model.reconcile().out_of_band]
    assert f"Train another (airflow dags trigger {model.name}.retrain), and put it into production" in sentences[0]
    model.change(production=3, staging=None, previous=None)
    assert model.reconcile().out_of_band == ()
    model.require_agreement()


@pytest.mark.parametrize("method", ["set_model_version_tag", "set_registered_model_alias"])
def test_a_version_deleted_while_a_change_is_copied_is_skipped(model, monkeypatch, method):
    from mlflow import MlflowClient

    real, calls = getattr(MlflowClient, method), []

    def overtaken(client, *arguments, **more):
        calls.append(arguments)
        if len(calls) == 1:  # another process prunes
            client.delete_model_version(model.name, "5")
        return real(client, *arguments, **more)

    monkeypatch.setattr(MlflowClient, method, overtaken)
    model.change(production=4, staging=5, previous=2)
    assert {"production": 4, "previous": 2}.items() <= model.aliases.items()
    assert model.tags == {1: "archived", 2: "previous", 3: "candidate", 4: "production"}
    assert not model.sync_pending


def test_a_deleted_previous_version_is_replaced_by_the_last_production_version(model):
    model.delete(1)
    model.move("production", 4)
    assert model.reconcile().sentence.endswith("while it was previous. Version 2 is previous now.")
    assert model.now == Deployment(model.name, 4, 3, 2, 3)
    assert history(model.store, model.name).status(1) is Status.DELETED
    model.require_agreement()


def test_a_deleted_and_replaced_production_version_does_not_become_previous(model):
    model.delete(2)
    model.move("production", 4)
    assert "from version 2, which is deleted, to version 4" in model.reconcile().sentence
    assert model.now == Deployment(model.name, 4, 3, None, 3)
    model.require_agreement()


def test_a_version_deleted_before_its_alias_was_set_is_reported_as_deleted(model):
    model.commit(production=3, previous=2, staging=None)
    model.delete(3)
    looked = model.reconcile()
    assert looked.completed
    assert "from version 3, which is deleted, to version 2" in looked.sentence
    assert model.now.production == 2
    model.require_agreement()


@pytest.mark.parametrize("cut_short", [False, True])
def test_an_alias_moved_during_a_change_is_overwritten_and_recorded_once(model, cut_short, monkeypatch):
    model.commit(production=3, previous=2)
    model.move("production", 5)
    if cut_short:
        with monkeypatch.context() as broken:
            broken.setattr(Registry, "set_aliases", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                model.reconcile()
        assert len(model.out_of_band) == 1
    looked = model.reconcile()
    assert looked.completed
    [finding] = looked.out_of_band
    assert (finding.what, finding.expected, finding.found) == ("production", 3, 5)
    assert "was moved to version 5 outside Keel during the change to generation 3" in finding.sentence
    assert model.out_of_band == [finding.sentence]
    assert model.now.generation == 3
    assert model.aliases == {"production": 3, "staging": 3, "previous": 2}
    model.require_agreement()


def test_an_alias_that_a_pending_change_does_not_move_is_found_as_moved_outside_keel(model):
    model.move("staging", 5)
    model.change(production=4, previous=2)
    assert model.aliases["staging"] == 5, "the change has not said anything of it"
    assert "The alias staging" in model.reconcile().sentence
    assert model.now == Deployment(model.name, 4, 5, 2, 4)
    model.require_agreement()


def test_a_pending_status_does_not_restore_a_moved_alias(model):
    model.move("production", 4)
    model.append(ledger.Action.KEEP_CHAMPION, statuses={5: (Status.REJECTED, "worse")})
    model.sync_aliases()
    assert model.aliases["production"] == 4
    assert model.tags[5] == "rejected"
    looked = model.reconcile()
    assert not looked.completed
    assert model.now.production == 4
    model.require_agreement()


def test_a_rejected_or_unknown_version_is_adopted_and_described_as_such(model):
    model.append(ledger.Action.KEEP_CHAMPION, statuses={4: (Status.REJECTED, "worse by 0.02")})
    model.sync_aliases()
    model.move("production", 4)
    assert "to version 4, which is rejected (worse by 0.02). Keel adopts" in model.reconcile().sentence
    model.registry.client.create_model_version(model.name, "file:///nowhere")
    model.move("production", 6)
    assert "to version 6, which Keel did not register and will not load. Keel adopts" in model.reconcile().sentence
    model.require_agreement()


@pytest.mark.parametrize("adopt", [True, False])
def test_wrong_tags_are_corrected_without_a_finding(model, adopt):
    model.registry.set_tags(model.name, 2, {"keel.status": "rejected"})
    model.registry.client.delete_model_version_tag(model.name, "1", "keel.status")
    assert model.reconcile(adopt=adopt).out_of_band == ()
    assert model.out_of_band == []
    model.require_agreement()


def during(monkeypatch, what, act):
    """Do something once, while a reconciler reads the registry's ``what``."""
    read, done = getattr(Registry, what), []

    def read_and_act(registry, name):
        if not done:
            done.append(True)
            act()
        return read(registry, name)

    monkeypatch.setattr(Registry, what, read_and_act)


@pytest.mark.parametrize("what", ["aliases", "versions"])
def test_a_promotion_during_reconciliation_is_no_change_outside_keel(model, monkeypatch, what):
    during(monkeypatch, what, lambda: model.commit(production=4, previous=2))
    assert model.reconcile().out_of_band == ()
    assert model.now.production == 4
    assert model.out_of_band == []
    model.sync_aliases()
    model.require_agreement()


def test_a_promotion_before_the_adoption_wins(model, monkeypatch):
    model.move("production", 5)
    during(monkeypatch, "versions", lambda: model.commit(production=4, previous=2))
    looked = model.reconcile()
    assert model.now == Deployment(model.name, 4, 3, 2, 3)
    assert "during the change to generation 3. The change stands" in looked.sentence
    assert [row.action for row in model.rows[-2:]] == ["promote", "out_of_band"]
    assert model.rows[-1].generation_to == model.rows[-2].generation_to == 3
    model.require_agreement()


def test_of_two_concurrent_reconcilers_one_adopts(model):
    model.move("production", 4)
    model.move("previous", None)
    looked, start = [], threading.Barrier(2)

    def look():
        start.wait()
        looked.append(model.reconcile())

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [one] = [found for found in looked if found.out_of_band]
    assert [finding.what for finding in one.out_of_band] == ["production", "previous"]
    assert one.sentence.endswith("was removed outside Keel. Keel set it to version 2.")
    assert len(model.out_of_band) == 1
    assert model.now == Deployment(model.name, 4, 3, 2, 3)
    model.require_agreement()


def test_reconcile_of_an_unknown_model_finds_nothing(store, registry):
    nothing = CheapModel(store, registry, "unheard_of")
    assert nothing.reconcile().out_of_band == ()
    assert nothing.sync_aliases() == []
    assert nothing.rows == []


def test_a_first_production_alias_set_outside_keel_is_adopted(store, registry):
    model = CheapModel.new(store, registry, versions=2)
    assert model.reconcile().out_of_band == ()
    assert model.now.generation == 0
    model.move("production", 2)
    assert "was moved outside Keel to version 2. Keel adopts the change as generation 1" in model.reconcile().sentence
    assert model.now == Deployment(model.name, 2, None, None, 1)
    model.require_agreement()


def test_other_aliases_are_ignored(model):
    model.move("champion", 5)
    assert model.reconcile().out_of_band == ()
    assert model.aliases["champion"] == 5


@pytest.mark.parametrize("values", [{"production": 4}, {"generation": 1}, {"generation": 9}, None], ids=str)
def test_a_deployments_row_that_differs_from_the_ledger_is_found_and_blocks_adoption(model, values):
    rows, row = len(model.rows), deployments_table.c.model == model.name
    with model.store.begin() as connection:
        if values is None:
            connection.execute(deployments_table.delete().where(row))
        else:
            connection.execute(deployments_table.update().where(row).values(**values))
    model.move("production", 5)
    [finding] = model.reconcile().out_of_band
    assert finding.what == "deployments"
    assert f"keel ledger rebuild {model.name}" in finding.sentence
    assert len(model.rows) == rows
    deployments.rebuild(model.store, model.name)
    assert model.reconcile().out_of_band[0].found == 5
    model.require_agreement()


@pytest.mark.parametrize("what", ["read", "read_sync_state"])
def test_a_row_that_changes_during_reconciliation_is_not_wrong(model, monkeypatch, what):
    """After the row was read, or after the ledger was."""
    from keel.deployments import reconciliation as module

    look, done = getattr(module, what), []

    def look_and_change(store, name):
        found = look(store, name)
        if not done:
            done.append(model.commit(production=4, previous=2))
        return found

    monkeypatch.setattr(module, what, look_and_change)
    assert model.reconcile().out_of_band == ()
    assert model.now == done[0]
