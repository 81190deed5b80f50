"""The registry on a real MLflow (a SQLite file): what goes in comes out, and what cannot says what exists."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from keel.errors import (
    ConfigError,
    KeelError,
    NotPromotable,
    RegistryRefused,
    RegistryUnavailable,
    SchemaError,
    TrainingFailed,
    UnknownVersion,
)
from keel.registry.registry import Registry
from keel.registry.scoring_model import inputs_of, require_signature, to_model_input
from tests.support.paths import PROJECT
from tests.support.toy import toy_config, toy_rows
from tests.support.versions.toy import files_of, toy_candidate

CONFIG = toy_config()


@pytest.fixture(scope="module")
def candidate():
    """A version of the toy model, trained but not yet registered."""
    return toy_candidate()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def registry(home):
    return Registry(f"sqlite:///{home / 'mlflow.db'}", artifacts=home / "artifacts")


@pytest.fixture(scope="module")
def registered(registry, candidate):
    """Version 1 of toy, in production."""
    version = registry.register(CONFIG, candidate, run_name="retrain")
    registry.set_aliases("toy", {"production": 1})
    return version


def model(name, **changes):
    """The toy model under a name of its own, so that tests do not see each other's versions."""
    return toy_config(model=name, **changes)


def rows(n=50):
    return toy_rows(days=5).slice(0, n)


def test_register_stores_tags_grid_and_reference(registry, registered, candidate):
    assert (registered.model, registered.version) == ("toy", 1)
    assert dict(registered.tags) == dict(candidate.tags)
    assert registry.grid("toy", 1) == candidate.grid
    assert registry.reference("toy", 1) == candidate.reference
    run = registry.client.get_run(registered.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == pytest.approx(candidate.metrics)
    fixed = {name: value for name, value in candidate.tags.items() if name != "keel.status"}
    assert {k: v for k, v in run.data.tags.items() if k.startswith("keel.")} == fixed


def test_grid_and_reference_are_cached_and_isolated(home, candidate, monkeypatch):
    from mlflow import MlflowClient

    config = model("remembered")
    place = f"sqlite:///{home / 'mlflow.db'}"
    Registry(place, artifacts=home / "artifacts").register(config, candidate, run_name="retrain")
    fetched = []
    download = MlflowClient.download_artifacts

    def noted(client, run_id, path, folder):
        fetched.append(path)
        return download(client, run_id, path, folder)

    monkeypatch.setattr(MlflowClient, "download_artifacts", noted)
    for _ in range(3):
        opened = Registry(place)  # each step of the loop opens its own
        assert opened.grid("remembered", 1) == candidate.grid
        opened.reference("remembered", 1)["metrics"].clear()
    assert Registry(place).reference("remembered", 1) == candidate.reference
    assert sorted(fetched) == ["keel/grid.npz", "keel/reference.json"]
    Registry(place).client.delete_registered_model("remembered")
    with pytest.raises(UnknownVersion, match="remembered has no versions"):
        Registry(place).grid("remembered", 1)


def test_a_loaded_version_scores_as_the_estimator_did(registry, registered, candidate):
    score, prediction = registry.load(CONFIG, 1).score(rows())
    expected = candidate.estimator.predict_proba(to_model_input(rows(), CONFIG))[:, 1]
    np.testing.assert_array_equal(score, expected)
    np.testing.assert_array_equal(prediction, (expected >= candidate.reference["threshold"]).astype(float))


def test_the_signature_names_every_feature_and_its_type(registry, registered):
    signature = registry.load(CONFIG, 1).pyfunc.metadata.signature
    assert {c.name: c.type.name for c in signature.inputs} == {"x": "double", "z": "double", "colour": "string"}
    assert all(c.required for c in signature.inputs)
    [output] = signature.outputs.inputs
    assert output.shape == (-1, 2)


def test_score_ignores_column_order_and_extra_columns(registry, registered):
    table = rows()
    shuffled = table.select(list(reversed(table.column_names))).append_column("surprise", pa.nulls(table.num_rows))
    loaded = registry.load(CONFIG, 1)
    np.testing.assert_array_equal(loaded.score(shuffled)[0], loaded.score(table)[0])


def test_missing_columns_score_as_all_missing_values_do(registry, registered):
    table = rows()
    loaded = registry.load(CONFIG, 1)
    gone, _ = loaded.score(table.drop_columns(["x", "colour"]))
    nothing = {"x": pa.nulls(50, pa.float64()), "colour": pa.nulls(50, pa.string())}
    emptied = table
    for name, column in nothing.items():
        emptied = emptied.set_column(emptied.schema.get_field_index(name), name, column)
    np.testing.assert_array_equal(gone, loaded.score(emptied)[0])
    assert np.isfinite(gone).all()


def test_score_of_no_rows_is_empty(registry, registered):
    assert [len(part) for part in registry.load(CONFIG, 1).score(rows(0))] == [0, 0]


def test_score_value_that_is_no_number_raises(registry, registered):
    table = rows().drop_columns(["x"]).append_column("x", pa.array(["warm"] * 50))
    with pytest.raises(SchemaError, match="toy: feature 'x' cannot be read as numeric: .*'warm'"):
        registry.load(CONFIG, 1).score(table)


@pytest.mark.parametrize(
    "x",
    [
        pa.array([1, 2, None], pa.int32()),
        pa.chunked_array([pa.array([1.0], pa.float32()), pa.array([2.0, None], pa.float32())]),
        pa.array(["1", " 2 ".strip(), None]),
        pa.array([1, 2, None], pa.int64()).dictionary_encode(),
    ],
    ids=["integers", "chunks of floats", "texts", "a dictionary"],
)
def test_score_converts_numbers_to_float(x):
    frame = to_model_input(pa.table({"x": x, "z": x, "colour": pa.array(["red", "red", "red"])}), CONFIG)
    assert list(frame.columns) == ["x", "z", "colour"]
    assert frame["x"].dtype == np.float64
    np.testing.assert_array_equal(frame["x"], [1.0, 2.0, np.nan])


def test_score_treats_infinity_as_missing(registry, registered):
    table = rows(3)
    place = table.schema.get_field_index("x")
    infinite = table.set_column(place, "x", pa.array([np.inf, -np.inf, 1.0]))
    missing = table.set_column(place, "x", pa.array([None, None, 1.0]))
    loaded = registry.load(CONFIG, 1)
    np.testing.assert_array_equal(loaded.score(infinite)[0], loaded.score(missing)[0])
    assert infinite["x"].to_pylist() == [np.inf, -np.inf, 1.0]


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        (pa.array(["red", None, ""]), ["red", None, ""]),
        (pa.array([1, None, 2]), ["1", None, "2"]),
        (pa.array(["red", None, "blue"]).dictionary_encode(), ["red", None, "blue"]),
        (pa.chunked_array([["red"], [None, "blue"]]), ["red", None, "blue"]),
    ],
    ids=["texts", "numbers", "a dictionary", "chunks"],
)
def test_score_converts_categories_to_text(colour, expected):
    frame = to_model_input(pa.table({"x": [0.0] * 3, "z": [0.0] * 3, "colour": colour}), CONFIG)
    assert isinstance(frame["colour"].dtype, pd.StringDtype)
    assert [None if pd.isna(value) else value for value in frame["colour"]] == expected


def test_gradient_boosting_is_trusted_and_scores_the_same(registry, candidate):
    """MLflow refuses to log it unless its types are named as trusted."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline

    config = model("boosted")
    table = rows(600)
    frame = to_model_input(table, config)
    boosted = make_pipeline(
        make_column_transformer(("passthrough", ["x", "z"])), HistGradientBoostingClassifier(max_iter=5, random_state=0)
    ).fit(frame, table["label"].to_numpy())
    version = registry.register(config, replace(candidate, estimator=boosted, example=frame[:5]), run_name="boosted")
    np.testing.assert_array_equal(
        registry.load(config, version.version).score(table)[0], boosted.predict_proba(frame)[:, 1]
    )


class Guess:
    """An estimator of a type that is nobody's: neither scikit-learn's nor a pipeline's of the project."""

    def predict_proba(self, features):
        return np.full((len(features), 2), 0.5)


def test_register_untrusted_type_raises_and_registers_nothing(registry, candidate):
    config = model("guessing")
    with pytest.raises(TrainingFailed, match=r"does not trust to load: .*Guess; trusted are sklearn\., numpy\."):
        registry.register(config, replace(candidate, estimator=Guess()), run_name="guess")
    assert registry.versions("guessing") == []
    experiment = registry.client.get_experiment_by_name("keel/guessing")
    [run] = registry.client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"


def test_a_regression_scores_its_value(registry, candidate):
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    config = model("spend", target={"name": "spent", "kind": "regression"}, performance={"metric": "mae"})
    table = rows(200)
    frame = to_model_input(table, config)
    line = make_pipeline(make_column_transformer(("passthrough", ["x"])), LinearRegression())
    line.fit(frame, 2 * table["x"].to_numpy())
    described = replace(
        candidate, estimator=line, example=frame[:5], reference={**candidate.reference, "threshold": None}
    )
    version = registry.register(config, described, run_name="line")
    score, value = registry.load(config, version.version).score(table)
    assert np.isnan(score).all()
    np.testing.assert_allclose(value, 2 * table["x"].to_numpy())


WITHOUT_Z = {"x": "numeric", "colour": "categorical"}


def test_preflight_loads_and_scores_a_fitting_version(registry, registered):
    tried = registry.preflight(CONFIG, 1, rows())
    np.testing.assert_array_equal(tried.score(rows())[0], registry.load(CONFIG, 1).score(rows())[0])
    assert registry.preflight(CONFIG, 1, rows(0)).version == 1
    more = toy_config(features={**CONFIG.features, "new": "numeric"})
    assert registry.preflight(more, 1, rows()).version == 1


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (WITHOUT_Z, "it needs z, which is not configured"),
        ({"x": "numeric"}, "it needs z, which is not configured; it needs colour, which is not configured"),
        (
            {**CONFIG.features, "z": "categorical"},
            "it needs z as double, which is configured as categorical (string)",
        ),
        (
            {**CONFIG.features, "colour": "numeric"},
            "it needs colour as string, which is configured as numeric (double)",
        ),
    ],
)
def test_preflight_version_that_does_not_fit_raises(registry, registered, features, said):
    config = toy_config(features=features)
    with pytest.raises(NotPromotable) as refused:
        registry.preflight(config, 1, rows())
    assert str(refused.value) == (
        f"toy: version 1 does not fit the features in production: {said}; "
        "correct features in model.yaml, or train another: airflow dags trigger toy.retrain"
    )
    with pytest.raises(ConfigError, match="version 1 needs"):
        registry.load(config, 1)


def test_preflight_signature_without_columns_raises(registry, candidate):
    from mlflow.models import infer_signature

    config = model("unsigned")
    version = registry.register(config, candidate, run_name="one").version
    pyfunc = registry.load(config, version).pyfunc
    assert inputs_of(pyfunc) == {"x": "double", "z": "double", "colour": "string"}
    for signature in (None, infer_signature(np.zeros((3, 3)), np.zeros(3))):
        pyfunc.metadata.signature = signature
        assert inputs_of(pyfunc) is None
    with pytest.raises(NotPromotable, match="it has no signature that names its columns"):
        require_signature(config, 1, None)


def answers_nan(candidate):
    from copy import deepcopy

    estimator = deepcopy(candidate.estimator)
    estimator[-1].coef_ = estimator[-1].coef_ * np.nan
    return estimator


def knows_only_red(candidate):
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    red = candidate.example.assign(colour="red")
    columns = make_column_transformer((OneHotEncoder(), ["colour"]))
    return make_pipeline(columns, LogisticRegression()).fit(red, np.arange(len(red)) % 2)


@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        (answers_nan, "gives 50 of 50 rows scores that are no probabilities, such as nan"),
        (knows_only_red, "cannot score the features in production: ValueError: Found unknown categories"),
    ],
)
def test_preflight_version_that_cannot_score_raises(registry, candidate, estimator, said):
    config = model(estimator.__name__)
    example = candidate.example.assign(colour="red")
    described = replace(candidate, estimator=estimator(candidate), example=example)
    version = registry.register(config, described, run_name="one").version
    with pytest.raises(NotPromotable, match=said) as refused:
        registry.preflight(config, version, rows())
    assert "train another: airflow dags trigger" in str(refused.value)


def test_preflight_version_that_cannot_be_loaded_raises(registry, candidate):
    config = model("unloadable")
    version = registry.register(config, candidate, run_name="one").version
    described = files_of(registry, version, "unloadable")["model/MLmodel"]
    described.write_text(described.read_text().replace("loader_module: mlflow.sklearn", "loader_module: nowhere"))
    with pytest.raises(NotPromotable, match="version 1 cannot be loaded: ModuleNotFoundError: No module named 'nowhe"):
        registry.preflight(config, version, rows())


def test_preflight_version_for_another_target_raises(registry, candidate):
    config = model("unthresholded")
    described = replace(candidate, reference={**candidate.reference, "threshold": None})
    version = registry.register(config, described, run_name="one").version
    with pytest.raises(NotPromotable, match="has no threshold, so it was not trained for a binary target"):
        registry.preflight(config, version, rows())


def test_preflight_version_that_needs_an_unsent_column_raises(registry, registered):
    with pytest.raises(NotPromotable, match="version 1 needs colour, which none of the last 50 predictions had"):
        registry.preflight(CONFIG, 1, rows().drop_columns(["colour"]))


def test_preflight_unreadable_rows_do_not_blame_the_version(registry, registered):
    warm = rows().drop_columns(["x"]).append_column("x", pa.array(["warm"] * 50))
    with pytest.raises(SchemaError, match="feature 'x' cannot be read as numeric"):
        registry.preflight(CONFIG, 1, warm)


def test_find_returns_the_newest_version_with_the_tags(registry, candidate):
    config = model("counted")
    for key in ("a", "b", "a"):
        registry.register(config, replace(candidate, tags={**candidate.tags, "keel.training_key": key}), run_name=key)
    assert [v.version for v in registry.versions("counted")] == [1, 2, 3]
    assert registry.find("counted", {"keel.training_key": "a"}).version == 3
    assert registry.find("counted", {"keel.training_key": "b"}).version == 2
    assert registry.find("counted", {"keel.training_key": "c"}) is None
    assert registry.find("counted", {"keel.training_key": "a", "keel.reason": "another"}) is None
    registry.set_tags("counted", 2, {"keel.status": "rejected"})
    assert registry.resolve("counted", version=2).tags["keel.status"] == "rejected"
    registry.set_aliases("counted", {"production": 2, "staging": 3})
    # an explicit version wins over the alias
    assert registry.resolve("counted", version="3", alias="production").version == 3
    assert registry.resolve("counted").version == 2
    with pytest.raises(UnknownVersion) as unknown:
        registry.resolve("counted", version=9)
    assert str(unknown.value) == ("counted has no version 9; versions: 1, 2, 3; aliases: production → 2, staging → 3")
    with pytest.raises(UnknownVersion, match="no alias 'stagign'; did you mean 'staging'"):
        registry.resolve("counted", alias="stagign")
    with pytest.raises(UnknownVersion, match="no version first"):
        registry.load(config, "first")


def test_resolve_unknown_version_or_model_raises(registry, registered):
    assert registry.versions("nobody") == []
    assert registry.aliases("nobody") == {}
    with pytest.raises(UnknownVersion, match="nobody has no versions in the registry yet"):
        registry.resolve("nobody", alias="staging")


def test_set_aliases_writes_changes_only(registry, candidate):
    config = model("deployed")
    for name in ("one", "two"):
        registry.register(config, candidate, run_name=name)
    first = {"production": 1, "staging": 2, "previous": None}
    assert registry.set_aliases("deployed", first) == ["production", "staging"]
    assert registry.set_aliases("deployed", first) == []
    assert registry.set_aliases("deployed", {"production": 2, "staging": None, "previous": 1}) == [
        "production",
        "staging",
        "previous",
    ]
    assert registry.aliases("deployed") == {"production": 2, "previous": 1}


@pytest.mark.parametrize(("races", "survives"), [(1, True), (2, False)])
def test_set_alias_retries_a_race_once(registry, registered, monkeypatch, races, survives):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    lost = ["(sqlite3.IntegrityError) UNIQUE constraint failed: registered_model_aliases.name"] * races
    real = MlflowClient.set_registered_model_alias

    def racing(client, name, alias, version):
        if lost:
            raise MlflowException(lost.pop())
        real(client, name, alias, version)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", racing)
    alias = f"race{races}"
    if survives:
        assert registry.set_aliases("toy", {alias: 1}) == [alias]
        assert registry.aliases("toy")[alias] == 1
    else:
        with pytest.raises(RegistryUnavailable, match="IntegrityError"):
            registry.set_aliases("toy", {alias: 1})


def test_set_alias_does_not_retry_other_errors(registry, registered):
    with pytest.raises(RegistryRefused, match="refused: .*reserved"):
        registry.set_aliases("toy", {"latest": 1})


@pytest.mark.parametrize(
    "call",
    [
        lambda registry: registry.set_aliases("toy", {"staging": 99}),
        lambda registry: registry.set_tags("toy", 99, {"a": "b"}),
        lambda registry: registry.log_report("0" * 32, "comparison", {}),
    ],
    ids=["alias", "tag", "report"],
)
def test_call_about_what_another_process_has_deleted_raises_an_error_of_keels(registry, registered, call):
    with pytest.raises(UnknownVersion, match="MLflow at sqlite.*another process may have deleted it"):
        call(registry)


@pytest.mark.parametrize(
    ("use", "method"),
    [("load", "list_artifacts"), ("preflight", "get_model_version"), ("digests", "download_artifacts")],
)
def test_version_deleted_while_it_is_read_raises_an_error_of_keels(registry, candidate, monkeypatch, use, method):
    from mlflow import MlflowClient

    config = model(f"pruned_{use}_{method}")
    version = registry.register(config, candidate, run_name="retrain")
    calls, real = [], getattr(MlflowClient, method)

    def overtaken(self, *arguments, **more):
        calls.append(1)
        if len(calls) == 1:
            result = real(self, *arguments, **more) if method != "download_artifacts" else None
            registry.delete(version)
            return result or real(self, *arguments, **more)
        return real(self, *arguments, **more)

    monkeypatch.setattr(MlflowClient, method, overtaken)
    uses = {
        "load": lambda: registry.load(config, 1, anew=True),
        "preflight": lambda: registry.preflight(config, 1, rows()),
        "digests": lambda: registry.digests(config.model, 1),
    }
    with pytest.raises(KeelError):
        uses[use]()


@pytest.mark.parametrize("with_run", [True, False])
def test_load_version_not_registered_by_keel_raises(registry, registered, with_run):
    client = registry.client
    client.create_registered_model(f"foreign{with_run}".lower())
    run = client.create_run(client.get_experiment_by_name("keel/toy").experiment_id).info.run_id if with_run else None
    client.create_model_version(f"foreign{with_run}".lower(), "file:///nowhere", run)
    with pytest.raises(
        UnknownVersion, match="version 1 of foreign.* was not registered by Keel: its run has no keel/grid"
    ):
        registry.grid(f"foreign{with_run}".lower(), 1)


def test_log_report_stores_it_with_the_run(registry, registered, tmp_path):
    import json

    registry.log_report(registered.run_id, "comparison", {"verdict": "promote"})
    path = registry.client.download_artifacts(registered.run_id, "keel/comparison.json", tmp_path)
    assert json.loads(Path(path).read_text()) == {"verdict": "promote"}
    registry.log_report(registered.run_id, "comparison", {"verdict": "pass"}, {"md": "# Passed"})
    path = registry.client.download_artifacts(registered.run_id, "keel/comparison.md", tmp_path)
    assert Path(path).read_text() == "# Passed"


def test_unreachable_registry_raises_without_its_password(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    gone = Registry("http://keel:s3cret@127.0.0.1:1")
    with pytest.raises(RegistryUnavailable, match=r"MLflow at http://127\.0\.0\.1:1 does not answer") as unavailable:
        gone.versions("toy")
    assert "s3cret" not in str(unavailable.value)
    assert unavailable.value.__cause__ is None
    assert not unavailable.value.permanent


@pytest.mark.parametrize("uri", ["nonsense://keel:s3cret@host", "http://["])
def test_registry_at_a_uri_that_mlflow_cannot_use_raises_without_its_password(uri):
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI: MLflow cannot use ") as refused:
        Registry(uri).versions("toy")
    assert "s3cret" not in str(refused.value)


@pytest.mark.slow
def test_version_scores_the_same_after_a_restart(registry, registered, home):
    """In another process, with nothing in memory: by its training key, as a cleared task does."""
    key = registered.tags["keel.training_key"]
    code = f"""
import hashlib, sys
from pathlib import Path
from keel.registry.registry import Registry
from tests.support.toy import toy_config, toy_rows
registry = Registry({registry.tracking_uri!r})
version = registry.find("toy", {{"keel.training_key": {key!r}}})
score, _ = registry.load(toy_config(), version.version).score(toy_rows(days=5).slice(0, 50))
print(version.version, registry.grid("toy", version.version).grid_id, hashlib.sha256(score.tobytes()).hexdigest())
"""
    environment = {**os.environ, "PYTHONPATH": f"{PROJECT / 'include'}{os.pathsep}{PROJECT}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    score, _ = registry.load(CONFIG, 1).score(rows())
    assert done.stdout.split() == ["1", registry.grid("toy", 1).grid_id, hashlib.sha256(score.tobytes()).hexdigest()]
