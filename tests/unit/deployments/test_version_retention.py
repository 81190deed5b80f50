"""Only expired versions are deleted, on a real store and a real MLflow registry."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keel import deployments
from keel.deployments import version_retention as retention
from keel.deployments.artifact_checksums import LedgerPins
from keel.deployments.history import Deployment, Status, history
from keel.deployments.version_retention import prune
from keel.deployments.versions import describe, reinstate
from keel.errors import ArtifactChanged, ConfigError, RegistryUnavailable, StaleGeneration, UnknownVersion
from keel.ledger import entries as ledger
from keel.registry.artifacts import Artifacts
from keel.registry.registry import Registry
from tests.support.paths import PROJECT
from tests.support.toy import DAY, toy_config
from tests.support.versions.cheap import with_production
from tests.support.versions.toy import PreparedRegistry, files_of, record, register, toy_candidate

CONFIG = toy_config(promotion={"keep_versions": "30d"})
REGISTERED = datetime.now(UTC)
"""The clock's own time: MLflow dates versions by it."""
LATER = REGISTERED + 31 * DAY
SOON = REGISTERED + 29 * DAY


@pytest.fixture(scope="module")
def candidate():
    return toy_candidate()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, candidate):
    return PreparedRegistry(tmp_path_factory.mktemp("prepared"), CONFIG, candidate, most=8)


@pytest.fixture
def registry(store, prepared):
    """A registry without versions; `add` brings those that the test needs."""
    prepared.restore(0)
    return prepared.open(pin=LedgerPins(store))


def add(store, prepared, number=1):
    """Give the empty registry this many versions, registered in the ledger."""
    return [record(store, version, digests, now=REGISTERED) for version, digests in prepared.restore(number)]


def move(store, registry, status, version, *, at=REGISTERED):
    """Take a version to a station that is no place in the deployment."""
    deployments.append(
        store, "toy", actor="tests", action="keep_champion", body={"evidence": {"sentence": "moved"}}, now=at,
        statuses={version: (status, f"it is {status}")},
    )  # fmt: skip


def deploy(store, registry, *, at=REGISTERED, probation=None, **places):
    body = {"evidence": {"sentence": "deployed"}, **({"probation": probation} if probation else {})}
    current = deployments.read(store, "toy")
    wanted = Deployment("toy", **places)
    return deployments.change(store, registry, current, wanted, actor="tests", action="promote", body=body, now=at)


def delete(store, registry, now=LATER, **more):
    return [due.version for due in prune(store, registry, CONFIG, now=now, actor="tests", **more)]


def there(registry):
    return [version.version for version in registry.versions("toy")]


def rows(store):
    return [(e.action, e.body["evidence"]["version"]) for e in ledger.entries(store, "toy", "delete_version")]


def left(prepared):
    """The files of the artifact store."""
    return sorted(path for path in prepared.artifacts.rglob("*") if path.is_file())


def test_prune_deletes_only_expired_versions_that_are_not_deployed(store, registry, prepared):
    add(store, prepared, 8)
    deploy(store, registry, production=1, staging=2, previous=3)
    for version, status in {4: "archived", 5: "rejected", 6: "quarantined", 7: "candidate"}.items():
        move(store, registry, Status(status), version)
    move(store, registry, Status.REJECTED, 8, at=REGISTERED + 2 * DAY)
    assert delete(store, registry, SOON) == []
    assert there(registry) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert delete(store, registry, LATER, dry_run=True) == [4, 5, 6, 7]
    assert there(registry) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert rows(store) == []
    assert delete(store, registry, LATER) == [4, 5, 6, 7]
    assert there(registry) == [1, 2, 3, 8]
    assert rows(store) == [("delete_version", version) for version in (4, 5, 6, 7)]
    assert delete(store, registry, LATER) == []
    assert delete(store, registry, LATER + 2 * DAY) == [8]
    state = history(store, "toy")
    assert {v: str(s.status) for v, s in state.version_statuses.items()} == {
        1: "production", 2: "staging", 3: "previous", **dict.fromkeys((4, 5, 6, 7, 8), "deleted"),
    }  # fmt: skip
    assert registry.aliases("toy") == {"production": 1, "staging": 2, "previous": 3}
    assert ledger.verify(store).broken_at is None
    assert not deployments.sync_pending(store, "toy")


def test_a_deleted_version_leaves_its_ledger_rows_and_no_file(store, registry, prepared, candidate):
    add(store, prepared, 2)
    deploy(store, registry, production=2)
    kept, gone = files_of(registry, 2), registry.resolve("toy", version=1)
    assert delete(store, registry) == [1]
    assert left(prepared) == sorted(kept.values())
    with pytest.raises(UnknownVersion, match="toy has no version 1; versions: 2"):
        registry.load(CONFIG, 1)
    assert registry.client.get_run(gone.run_id).info.lifecycle_stage == "deleted"
    assert history(store, "toy").pins[1].run_id == gone.run_id
    [row] = ledger.entries(store, "toy", "delete_version")
    assert row.actor == "tests"
    assert row.body["from"] == row.body["to"] == {"production": 2, "staging": None, "previous": None}
    assert row.body["evidence"]["sentence"] == f"Deleted version 1: candidate since {REGISTERED:%Y-%m-%d}."
    assert registry.load(CONFIG, 2).version == 2


@pytest.mark.slow
@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)  # MLflow's command knows nothing of Keel's store
def test_mlflow_gc_removes_the_rest_of_a_deleted_version(store, registry, prepared):
    add(store, prepared, 2)
    deploy(store, registry, production=2)
    delete(store, registry)
    mlflow = Path(sys.executable).parent / "mlflow"
    uri = registry.tracking_uri
    done = subprocess.run([mlflow, "gc", "--backend-store-uri", uri, "--tracking-uri", uri], timeout=120, check=False)
    assert done.returncode == 0
    assert registry.load(CONFIG, 2).version == 2


@pytest.mark.parametrize("place", ["version", "previous"])
def test_a_version_on_probation_and_its_rollback_target_are_kept(store, registry, prepared, place):
    add(store, prepared, 3)
    watched = {"version": 2, "previous": 1, "since": REGISTERED.isoformat(), "until": LATER.isoformat()}
    deploy(store, registry, production=2, probation=watched)
    move(store, registry, Status.ARCHIVED, watched[place])
    assert delete(store, registry) == [3]


def test_a_version_with_an_alias_set_outside_keel_is_kept(store, registry, prepared):
    add(store, prepared, 3)
    registry.set_aliases("toy", {"production": 1, "our_own": 2})
    assert delete(store, registry) == [3]


def test_a_model_without_a_deployment_can_be_promoted_after_a_deletion(store, registry, prepared, candidate):
    add(store, prepared)
    assert delete(store, registry) == [1]
    register(store, registry, CONFIG, candidate, now=REGISTERED)
    deploy(store, registry, production=2)
    assert deployments.production_version(store, "toy") == 2


def test_interrupted_registrations_are_deleted_after_a_day(store, registry, prepared, candidate):
    add(store, prepared)
    registry.register(CONFIG, candidate, run_name="killed")
    by_hand = registry.client.create_model_version("toy", "file:///made/by/others", None)
    assert delete(store, registry, REGISTERED + timedelta(hours=20)) == []
    assert delete(store, registry, REGISTERED + timedelta(hours=25), dry_run=True) == [2]
    [found] = prune(store, registry, CONFIG, now=REGISTERED + timedelta(hours=25), actor="tests")
    assert (found.version, found.status) == (2, None)
    assert found.reason.endswith("was interrupted")
    assert there(registry) == [1, int(by_hand.version)]
    assert history(store, "toy").status(2) is Status.DELETED


STEPS = ("get_logged_model", "delete_logged_model", "get_run", "delete_run", "delete_model_version")


@pytest.mark.parametrize("step", STEPS)
def test_a_deletion_interrupted_at_any_step_is_completed_by_the_next_prune(
    store, registry, prepared, monkeypatch, step
):
    from mlflow import MlflowClient

    add(store, prepared, 2)
    deploy(store, registry, production=2)
    kept = files_of(registry, 2)

    def killed(*arguments, **more):
        raise KeyboardInterrupt(step)

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, step, killed)
        with pytest.raises(KeyboardInterrupt, match=step):
            delete(store, registry)
    assert history(store, "toy").status(1) is Status.DELETED
    assert there(registry) == [1, 2]
    assert registry.resolve("toy", version=1).tags["keel.status"] == "deleted"
    assert registry.find("toy", {"keel.reason": "first"}).version == 2
    assert registry.find("toy", {"keel.reason": "first", "keel.status": "deleted"}) is None
    [due] = prune(store, registry, CONFIG, now=LATER, actor="tests", dry_run=True)
    assert (due.version, due.begun) == (1, True)
    assert delete(store, registry) == [1]
    assert there(registry) == [2]
    assert left(prepared) == sorted(kept.values())
    assert rows(store) == [("delete_version", 1)]


def test_a_deletion_is_completed_after_the_registry_was_unavailable(store, registry, prepared, monkeypatch):
    add(store, prepared, 2)
    deploy(store, registry, production=2)

    def unreachable(*arguments):
        raise RegistryUnavailable("MLflow does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(Registry, "set_tags", unreachable)
        with pytest.raises(RegistryUnavailable):
            delete(store, registry)
    assert delete(store, registry) == [1]


def test_files_shared_with_another_version_are_kept(store, registry, prepared):
    add(store, prepared, 2)
    deploy(store, registry, production=2)
    files = files_of(registry, 1)
    run_id = registry.resolve("toy", version=1).run_id
    registry.client.create_registered_model("borrowed")
    source = registry.client.get_model_version("toy", "1").source
    registry.client.create_model_version("borrowed", source, run_id)
    assert delete(store, registry) == [1]
    assert all(path.exists() for path in files.values())
    assert registry.client.get_run(run_id).info.lifecycle_stage == "active"


def test_a_folder_without_the_versions_id_is_not_deleted(store, registry, prepared, tmp_path):
    """Who may write to MLflow's database must not have Keel delete whatever folder it names."""
    import sqlalchemy as sa

    add(store, prepared, 2)
    deploy(store, registry, production=2)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep me")
    engine = sa.create_engine(registry.tracking_uri)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE runs SET artifact_uri = :uri"), {"uri": precious.as_uri()})
        connection.execute(sa.text("UPDATE logged_models SET artifact_location = :uri"), {"uri": precious.as_uri()})
    engine.dispose()
    assert delete(store, registry) == [1]
    assert (precious / "file").read_text() == "keep me"


def test_of_a_concurrent_promotion_and_deletion_one_is_refused(store, registry, prepared, monkeypatch):
    add(store, prepared, 2)
    deploy(store, registry, production=2)
    decided_on = deployments.read(store, "toy")
    assert delete(store, registry) == [1]
    with pytest.raises(StaleGeneration):
        deployments.change(
            store, registry, decided_on, with_production(decided_on, 1), actor="tests", action="promote", body={},
            now=LATER,
        )  # fmt: skip
    assert registry.aliases("toy") == {"production": 2}


def test_a_version_promoted_during_a_prune_is_not_deleted(store, registry, prepared, monkeypatch):
    add(store, prepared, 3)
    deploy(store, registry, production=3)
    record, calls = retention.record_deletion, []

    def overtaken(*arguments, **more):
        calls.append(arguments[3].version)
        if len(calls) == 1:
            deploy(store, registry, production=1, previous=3)
        record(*arguments, **more)

    monkeypatch.setattr(retention, "record_deletion", overtaken)
    assert delete(store, registry) == [2]
    assert calls == [1, 2]
    assert there(registry) == [1, 3]
    assert registry.load(CONFIG, 1).version == 1


def test_a_reused_version_number_is_not_deleted_for_the_old_version(store, registry, candidate):
    """MLflow counts from 1 again in a registered model that was deleted and made again."""
    register(store, registry, CONFIG, candidate, now=REGISTERED - 31 * DAY)
    assert delete(store, registry, datetime.now(UTC)) == [1]
    registry.client.delete_registered_model("toy")
    registry.register(CONFIG, candidate, run_name="again")
    assert history(store, "toy").status(1) is Status.DELETED
    assert delete(store, registry, LATER) == []
    assert there(registry) == [1]


def test_a_reused_version_number_is_refused_without_a_new_pin(store, registry, prepared, candidate):
    add(store, prepared)
    registry.client.delete_registered_model("toy")
    with pytest.raises(UnknownVersion):
        registry.load(CONFIG, 1)
    registry.register(CONFIG, candidate, run_name="again")
    with pytest.raises(ArtifactChanged, match="version 1 differ from those registered"):
        registry.load(CONFIG, 1)


def test_without_pins_no_registration_counts_as_interrupted(store, registry, candidate):
    plain = Registry(registry.tracking_uri)
    registry.register(CONFIG, candidate, run_name="killed")
    assert prune(store, plain, CONFIG, now=LATER, actor="tests") == []


def test_reinstate_makes_a_rejected_version_a_candidate_and_a_quarantined_one_archived(store, registry, prepared):
    add(store, prepared, 3)
    deploy(store, registry, production=3)
    move(store, registry, Status.REJECTED, 1)
    move(store, registry, Status.QUARANTINED, 2)
    for version, becomes in ((1, Status.CANDIDATE), (2, Status.ARCHIVED)):
        given = reinstate(store, registry, "toy", version, reason="understood", actor="ada", now=SOON)
        assert given is becomes
        standing = history(store, "toy").version_statuses[version]
        assert (standing.status, standing.reason, standing.since) == (becomes, "understood", SOON)
        assert registry.resolve("toy", version=version).tags["keel.status"] == becomes
    one, two = ledger.entries(store, "toy", "release_version")
    assert (one.actor, one.body["evidence"]["was"], two.body["evidence"]["was"]) == ("ada", "rejected", "quarantined")
    assert two.body["evidence"]["because"] == "it is quarantined"
    assert delete(store, registry, LATER) == []
    assert deployments.read(store, "toy").production == 3


@pytest.mark.parametrize(
    ("version", "is_now"), [(1, "candidate"), (2, "production"), (3, "deleted"), (9, "not known to Keel")]
)
def test_only_rejected_and_quarantined_versions_can_be_reinstated(store, registry, prepared, version, is_now):
    add(store, prepared, 4)
    deploy(store, registry, production=2)
    move(store, registry, Status.DELETED, 3)
    move(store, registry, Status.REJECTED, 4)
    before = list(ledger.entries(store, "toy"))
    with pytest.raises(UnknownVersion, match=rf"version {version} is {is_now}; .* can be reinstated: 4 \(rejected\)$"):
        reinstate(store, registry, "toy", version, reason="please", actor="ada", now=SOON)
    with pytest.raises(ConfigError, match="say why version 4 is reinstated"):
        reinstate(store, registry, "toy", 4, reason=" ", actor="ada", now=SOON)
    assert list(ledger.entries(store, "toy")) == before


def test_describe_returns_deleted_deployed_and_unknown_versions(store, registry, prepared, candidate):
    add(store, prepared, 2)
    deploy(store, registry, production=2)
    delete(store, registry)
    registry.register(CONFIG, candidate, run_name="killed")
    deleted, serving, unknown = describe(store, registry, "toy")
    assert serving == {
        "model": "toy", "version": 2, "status": "production", "since": REGISTERED.isoformat(), "reason": "deployed",
        "alias": "production", "why": "first", "pinned": True, "in_registry": True,
        "trained_on": {"start": "2026-01-01T00:00:00+00:00", "end": "2026-01-04T00:00:00+00:00"},
        "metrics": {name.removeprefix("holdout_"): value for name, value in candidate.metrics.items()},
    }  # fmt: skip
    assert (deleted["version"], deleted["status"], deleted["in_registry"]) == (1, "deleted", False)
    assert (deleted["why"], deleted["metrics"]) == ("first", serving["metrics"])
    assert (unknown["version"], unknown["status"], unknown["pinned"]) == (3, None, False)
    assert "never loads it" in unknown["reason"]


def test_a_version_without_its_run_is_described_without_metrics(store, registry):
    registry.client.create_registered_model("toy")
    registry.client.create_model_version("toy", "file:///made/by/others", "no_such_run")
    [found] = describe(store, registry, "toy")
    assert (found["metrics"], found["trained_on"]) == ({}, {"start": None, "end": None})


def test_a_version_without_its_run_can_be_deleted(registry):
    from keel.registry.mlflow_client import Tracking

    registry.client.create_registered_model("toy")
    registry.client.create_model_version("toy", "file:///made/by/others", "0" * 32)
    Artifacts(Tracking(registry.tracking_uri), None).delete(registry.resolve("toy", version=1))
    assert there(registry) == []


def versions_page():
    return (PROJECT / "docs" / "versions.md").read_text()


def first_column(heading):
    """The names in the first column of the table under a heading."""
    section = versions_page().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([\w.]+)`", cell)]


def test_the_documentation_names_every_status_and_every_tag(candidate):
    assert first_column("Statuses") == [str(status) for status in Status]
    assert set(first_column("The ledger and MLflow's tags")) == {*candidate.tags, "keel.benchmark"}
    expiring = re.search(r"has been (.+?) for\n", versions_page()).group(1)
    assert set(re.findall(r"`(\w+)`", expiring)) == {str(status) for status in retention.EXPIRING}
