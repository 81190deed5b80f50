"""What lies in MLflow's artifact store is used only if it is what was registered, down to the byte."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from keel.deployments.artifact_checksums import LedgerPins
from keel.errors import ArtifactChanged, LedgerBroken, UnknownVersion
from keel.ledger import entries as ledger
from keel.registry import artifacts
from keel.registry.registry import Registry
from keel.workspace import Workspace
from tests.support.toy import START, toy_config, toy_rows
from tests.support.versions.toy import files_of, pin_of, register, sha256, toy_candidate

CONFIG = toy_config()
USES = {
    "load": lambda registry: registry.load(CONFIG, 1),
    "fetch": lambda registry, folder: registry.fetch("toy", 1, folder),
    "preflight": lambda registry: registry.preflight(CONFIG, 1, toy_rows().slice(0, 5)),
    "grid": lambda registry: registry.grid("toy", 1),
    "reference": lambda registry: registry.reference("toy", 1),
    "contexts": lambda registry: registry.context_reference("toy", 1),
}


@pytest.fixture(scope="module")
def candidate():
    return toy_candidate()


@pytest.fixture(scope="module")
def registered(tmp_path_factory, candidate):
    """A registry with versions 1 and 2 of toy, that checks nothing; a copy of its artifacts; what was registered."""
    home = tmp_path_factory.mktemp("registered")
    opened = Registry(f"sqlite:///{home / 'mlflow.db'}", artifacts=home / "artifacts")
    opened.register(CONFIG, candidate, run_name="one")
    opened.register(CONFIG, replace(candidate, tags={**candidate.tags, "keel.training_key": "two"}), run_name="two")
    shutil.copytree(home / "artifacts", home / "kept")
    return opened, home, {version: pin_of(opened, version) for version in (1, 2)}


@pytest.fixture
def plain(registered):
    """The registry as it was made, in a process that has not used it yet."""
    opened, home, _ = registered
    shutil.rmtree(home / "artifacts")
    shutil.copytree(home / "kept", home / "artifacts")
    artifacts.clear_cache()
    return opened


@pytest.fixture
def pinned(plain, registered):
    """The same, which knows what was registered."""
    pins = registered[2]
    return Registry(plain.tracking_uri, pin=lambda model, version: pins.get(version))


def use(name, registry, tmp_path):
    if name == "fetch":
        return USES[name](registry, tmp_path / "fetched")
    return USES[name](registry)


def flip(path, at=-1):
    """Change one bit of one byte."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


def test_digests_are_those_of_the_files_and_of_nothing_else(plain):
    files = files_of(plain, 1)
    assert plain.digests("toy", 1) == {path: sha256(place) for path, place in files.items()}
    assert set(files) == {
        "model/MLmodel", "model/model.skops", "model/conda.yaml", "model/python_env.yaml", "model/requirements.txt",
        "keel/grid.npz", "keel/reference.json", "keel/contexts.npz",
    }  # fmt: skip


def test_digests_do_not_change_by_loading_and_by_reports(plain):
    before = plain.digests("toy", 1)
    plain.load(CONFIG, 1)
    plain.log_report(plain.resolve("toy", version=1).run_id, "comparison", {"verdict": "pass"}, {"md": "# Passed"})
    assert plain.digests("toy", 1) == before


def test_registered_artifacts_are_used(pinned, plain, candidate, tmp_path):
    table = toy_rows()
    np.testing.assert_array_equal(pinned.load(CONFIG, 1).score(table)[0], plain.load(CONFIG, 1).score(table)[0])
    assert pinned.grid("toy", 1) == candidate.grid
    assert pinned.reference("toy", 1) == candidate.reference
    assert pinned.context_reference("toy", 1).to_bytes() == candidate.contexts.to_bytes()
    folder = pinned.fetch("toy", 1, tmp_path / "fetched")
    assert {f"model/{p.name}": sha256(p) for p in folder.iterdir()}.items() <= plain.digests("toy", 1).items()


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("model/model.skops", ["load", "fetch", "preflight"]),
        ("model/MLmodel", ["load", "fetch", "preflight"]),
        ("model/requirements.txt", ["load", "fetch", "preflight"]),
        ("keel/grid.npz", ["grid", "preflight"]),
        ("keel/reference.json", ["reference", "load", "preflight"]),
        ("keel/contexts.npz", ["contexts", "preflight"]),
    ],
)
@pytest.mark.parametrize("harm", ["changed", "missing"])
def test_changed_or_missing_file_raises_and_is_named(plain, pinned, tmp_path, path, refused, harm):
    place = files_of(plain, 1)[path]
    if harm == "changed":
        flip(place, at=len(place.read_bytes()) // 2)
    else:
        place.unlink()
    for name in refused:
        with pytest.raises(ArtifactChanged) as found:
            use(name, pinned, tmp_path)
        assert "toy: the artifacts of version 1 differ from those registered" in str(found.value)
        assert f"({harm}: {path})" in str(found.value)
        assert "airflow dags trigger toy.rollback" in str(found.value)
        assert found.value.permanent
    assert pinned.load(CONFIG, 2).version == 2


@pytest.mark.parametrize("name", ["evil.py", "code/evil.py", ".hidden"])
def test_added_file_raises_and_is_named(plain, pinned, tmp_path, name):
    place = files_of(plain, 1)["model/MLmodel"].parent / name
    place.parent.mkdir(exist_ok=True)
    place.write_text("raise SystemExit")
    for use_ in ("load", "fetch", "preflight"):
        with pytest.raises(ArtifactChanged, match=rf"\(added: model/{name}\)"):
            use(use_, pinned, tmp_path)


def test_file_added_by_mlflow_is_ignored(plain, pinned):
    """MLflow writes it anew into each copy, so that nobody can have put anything there."""
    (files_of(plain, 1)["model/MLmodel"].parent / "registered_model_meta").write_text("model_name: other")
    assert pinned.load(CONFIG, 1).version == 1


def test_all_differing_files_are_named(plain, pinned, tmp_path):
    files = files_of(plain, 1)
    flip(files["model/MLmodel"])
    files["model/conda.yaml"].unlink()
    (files["model/MLmodel"].parent / "evil.py").write_text("")
    said = r"\(changed: model/MLmodel; missing: model/conda.yaml; added: model/evil.py\)"
    with pytest.raises(ArtifactChanged, match=said):
        pinned.load(CONFIG, 1)


def test_files_of_another_version_raise(plain, pinned, tmp_path):
    mine, theirs = files_of(plain, 1), files_of(plain, 2)
    for path, place in theirs.items():
        shutil.copy(place, mine[path])
    with pytest.raises(ArtifactChanged, match="changed: model/MLmodel"):
        pinned.load(CONFIG, 1)


def test_version_without_model_raises(plain, pinned):
    shutil.rmtree(files_of(plain, 1)["model/MLmodel"].parent)
    with pytest.raises(ArtifactChanged, match="missing: model/MLmodel, model/conda.yaml, "):
        pinned.load(CONFIG, 1)
    with pytest.raises(UnknownVersion, match="version 1 of toy has no model in MLflow"):
        plain.load(CONFIG, 1)


def test_version_redirected_in_mlflow_raises(plain, pinned):
    """Somebody with access to MLflow's database, though not to the artifacts, swaps what a version is."""
    import sqlalchemy as sa

    engine = sa.create_engine(plain.tracking_uri)
    columns = ("source", "run_id", "storage_location")
    query = sa.text(f"SELECT {', '.join(columns)} FROM model_versions WHERE name = 'toy' AND version = :version")
    placed = [f"{name} = :{name}" for name in columns]
    point = sa.text(f"UPDATE model_versions SET {', '.join(placed)} WHERE name = 'toy' AND version = 1")
    with engine.begin() as connection:
        mine, theirs = (connection.execute(query, {"version": v}).mappings().one() for v in (1, 2))
        connection.execute(point, dict(theirs))
    try:
        assert plain.load(CONFIG, 1).version == 1
        with pytest.raises(ArtifactChanged, match="changed: model/MLmodel"):
            pinned.load(CONFIG, 1)
    finally:
        with engine.begin() as connection:
            connection.execute(point, dict(mine))
        engine.dispose()


def test_unpinned_version_raises(plain, tmp_path):
    forgetful = Registry(plain.tracking_uri, pin=lambda model, version: None)
    for name in USES:
        with pytest.raises(ArtifactChanged, match="the ledger has no artifacts of version 1.*train a version"):
            use(name, forgetful, tmp_path)


def test_pin_without_a_file_does_not_cover_it(plain, tmp_path):
    short = replace(pin_of(plain, 1), files={"model/MLmodel": "0" * 64})
    registry = Registry(plain.tracking_uri, pin=lambda model, version: short)
    with pytest.raises(ArtifactChanged, match="added: keel/reference.json"):
        registry.load(CONFIG, 1)
    with pytest.raises(ArtifactChanged, match="changed: model/MLmodel; added: model/conda.yaml, model/model.skops"):
        registry.fetch("toy", 1, tmp_path / "fetched")


def test_context_reference_of_a_version_registered_without_one_is_none(plain, tmp_path):
    """Versions of earlier releases have none. A file that somebody added since is not read."""
    older = {path: digest for path, digest in pin_of(plain, 1).files.items() if path != "keel/contexts.npz"}
    pinned = Registry(plain.tracking_uri, pin=lambda model, version: replace(pin_of(plain, 1), files=older))
    assert pinned.context_reference("toy", 1) is None
    assert pinned.preflight(CONFIG, 1, toy_rows().slice(0, 5)).version == 1
    files_of(plain, 1)["keel/contexts.npz"].unlink()
    assert plain.context_reference("toy", 1) is None
    assert plain.digests("toy", 1) == older


def test_cached_artifacts_stay_as_checked(plain, pinned):
    """One process reads many times; a change after its check cannot reach what it scores with."""
    table = toy_rows()
    before, _ = pinned.load(CONFIG, 1).score(table)
    for place in files_of(plain, 1).values():
        flip(place)
    np.testing.assert_array_equal(pinned.load(CONFIG, 1).score(table)[0], before)
    with pytest.raises(ArtifactChanged):
        pinned.load(CONFIG, 1, anew=True)


@pytest.mark.parametrize("path", ["model/model.skops", "keel/grid.npz", "keel/reference.json", "keel/contexts.npz"])
def test_preflight_reads_everything_anew(plain, pinned, path):
    """Other processes will load it, and to them it does not matter what is in memory here."""
    pinned.preflight(CONFIG, 1, toy_rows().slice(0, 5))
    pinned.grid("toy", 1)
    flip(files_of(plain, 1)[path])
    with pytest.raises(ArtifactChanged, match=f"changed: {path}"):
        pinned.preflight(CONFIG, 1, toy_rows().slice(0, 5))


def test_cache_is_separate_by_pin_and_registry(plain, pinned, tmp_path, candidate):
    pinned.load(CONFIG, 1)
    pinned.grid("toy", 1)
    right = pin_of(plain, 1)
    for path, use_ in (("model/MLmodel", "load"), ("keel/grid.npz", "grid"), ("keel/reference.json", "reference")):
        wrong = replace(right, files={**right.files, path: "0" * 64})
        registry = Registry(plain.tracking_uri, pin=lambda model, version, wrong=wrong: wrong)
        with pytest.raises(ArtifactChanged, match=f"changed: {path}"):
            use(use_, registry, tmp_path)
    elsewhere = Registry(f"sqlite:///{tmp_path / 'other.db'}", artifacts=tmp_path / "other")
    elsewhere.register(CONFIG, toy_candidate(seed=1), run_name="one")
    assert elsewhere.grid("toy", 1) != pinned.grid("toy", 1)


def test_a_model_is_loaded_once(pinned, monkeypatch):
    import mlflow

    fetched = []
    download = mlflow.artifacts.download_artifacts

    def noted(**asked):
        fetched.append(asked.get("artifact_uri", asked.get("artifact_path")))
        return download(**asked)

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", noted)
    for _ in range(3):
        pinned.load(CONFIG, 1)
    assert sorted(fetched) == ["keel/grid.npz", "keel/reference.json", "models:/toy/1"]
    pinned.load(CONFIG, 1, anew=True)
    assert fetched[3:] == ["models:/toy/1"]


def test_find_ignores_an_interrupted_registration(plain):
    one = pin_of(plain, 1)
    registry = Registry(plain.tracking_uri, pin=lambda model, version: one if version == 1 else None)
    assert plain.find("toy", {"keel.training_key": "two"}).version == 2
    assert registry.find("toy", {"keel.training_key": "two"}) is None
    assert registry.find("toy", {"keel.reason": "first"}).version == 1
    assert [v.version for v in registry.unpinned("toy")] == [2]
    assert plain.unpinned("toy") == []
    others = registry.client.create_model_version("toy", "file:///made/by/others", None)
    assert [v.version for v in registry.unpinned("toy")] == [2]
    registry.client.delete_model_version("toy", others.version)


def test_workspace_uses_the_ledger_pins(tmp_path, candidate):
    with Workspace.open(home=tmp_path, environment={}) as ws:
        version = register(ws.store, ws.registry, CONFIG, candidate, now=START)
        assert ws.registry.load(CONFIG, version).version == version
        cut_short = ws.registry.register(CONFIG, candidate, run_name="killed")
        with pytest.raises(ArtifactChanged, match="the ledger has no artifacts of version 2"):
            ws.registry.load(CONFIG, cut_short.version)
        flip(files_of(ws.registry, version)["keel/grid.npz"])
        artifacts.clear_cache()
        with pytest.raises(ArtifactChanged, match="changed: keel/grid.npz"):
            ws.registry.grid("toy", version)


def entry(store, version, files, run_id="r"):
    from keel import deployments

    return deployments.append(
        store, "toy", actor="tests", action=ledger.Action.REGISTER, now=START,
        body={"artifacts": {"version": version, "run_id": run_id, "files": files}},
    )  # fmt: skip


def test_ledger_pins_are_the_registered_artifacts(store):
    pins = LedgerPins(store)
    assert pins("toy", 1) is None
    row = entry(store, 1, {"model/MLmodel": "a"})
    entry(store, 2, {"model/MLmodel": "b"})
    assert (pins("toy", 1).files, pins("toy", 1).seq) == ({"model/MLmodel": "a"}, row.seq)
    assert pins("toy", 2).files == {"model/MLmodel": "b"}
    assert pins("toy", 3) is None
    assert pins("other", 1) is None


def test_ledger_row_is_read_once(store, monkeypatch):
    entry(store, 1, {})
    pins = LedgerPins(store)
    first = pins("toy", 1)
    monkeypatch.setattr(ledger, "entries", None)
    assert pins("toy", 1) is first


def tamper(store, change):
    """Change a row as only the owner of the database can: the triggers are taken away first."""
    drop = {
        "sqlite": ["SELECT 'DROP TRIGGER ' || name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'ledger'"],
        "postgresql": ["SELECT 'ALTER TABLE ledger DISABLE TRIGGER USER'"],
    }[store.engine.dialect.name]
    with store.begin() as connection:
        for query in drop:
            for statement in connection.exec_driver_sql(query).scalars().all():
                connection.exec_driver_sql(statement)
        connection.exec_driver_sql(change)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ledger SET body = replace(body, 'aaaa', 'bbbb') WHERE seq = 1",
        "UPDATE ledger SET actor = 'somebody else' WHERE seq = 1",
        """UPDATE ledger SET body = '{"artifacts": {"version": 1}}' WHERE seq = 1""",
        "UPDATE ledger SET body = '[]' WHERE seq = 1",
        "UPDATE ledger SET body = 'nothing' WHERE seq = 1",
        """UPDATE ledger SET body = replace(body, '"version": 2', '"version": 1') WHERE seq = 2""",
    ],
)
def test_altered_ledger_row_raises(store, change):
    entry(store, 1, {"model/MLmodel": "aaaa"})
    entry(store, 2, {"model/MLmodel": "cccc"})
    tamper(store, change)
    with pytest.raises(LedgerBroken, match="keel ledger verify|row 1 of the ledger cannot be read"):
        LedgerPins(store)("toy", 1)


def test_ledger_row_of_bytes_raises(migrated_sqlite, tmp_path):
    """SQLite keeps any type in any column."""
    from keel.store import Store

    shutil.copy(migrated_sqlite, tmp_path / "keel.db")
    with Store.open(f"sqlite:///{tmp_path / 'keel.db'}") as store:
        entry(store, 1, {"model/MLmodel": "aaaa"})
        tamper(store, "UPDATE ledger SET body = CAST(body AS BLOB)")
        with pytest.raises(LedgerBroken):
            LedgerPins(store)("toy", 1)
