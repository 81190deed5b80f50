"""Training: what a version is made from, told apart from everything else, and measured on rows it has not seen."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keel.errors import ConfigError, InsufficientData, TrainingFailed
from keel.training import training
from keel.training.provenance import code_revision, pipeline_digest, table_digest
from keel.training.training import Split, TrainingRows, output_kinds, score_rows, train, training_key, training_recipe
from tests.support.pipelines import toy
from tests.support.toy import DAY, START, toy_config, toy_rows

CONFIG = toy_config()
PLAIN = toy_config(retrain=None)
SPLIT = Split(START, START + 6 * DAY, START + 9 * DAY)


def stored(**changes) -> pa.Table:
    """Rows as the store gives them back: with a score and prediction, here of no version."""
    rows = toy_rows(days=9, **changes)
    for name in ("score", "prediction"):
        rows = rows.append_column(name, pa.nulls(rows.num_rows, pa.float64()))
    return rows


def rows_of(table: pa.Table, split: Split = SPLIT) -> TrainingRows:
    cut = pa.scalar(split.cut, pa.timestamp("us", "UTC"))
    return TrainingRows(
        split, table.filter(pc.less(table["time"], cut)), table.filter(pc.less_equal(cut, table["time"]))
    )


def with_column(table: pa.Table, name: str, values) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values))


ROWS = rows_of(stored())


@pytest.fixture(scope="module")
def candidate():
    return train(CONFIG, ROWS, reason="x drifted", parent=3)


def test_the_split_holds_out_the_last_matured_labels():
    split = Split.ending(START + 40 * DAY, CONFIG)
    assert (split.end, split.cut, split.start) == (START + 39 * DAY, START + 32 * DAY, START + 2 * DAY)


def test_a_model_without_a_retrain_section_cannot_be_trained():
    with pytest.raises(ConfigError, match="toy: retrain: model.yaml has no such section"):
        Split.ending(START, PLAIN)


def test_a_table_digest_depends_on_the_rows_and_not_on_their_chunks():
    table = stored().slice(0, 500)
    expected = table_digest(table)
    pieces = [table.slice(start, 70) for start in range(0, 500, 70)]
    parent = pa.concat_tables([toy_rows(days=1, seed=9), toy_rows(days=1, seed=8)]).append_column("w", pa.nulls(960))
    assert table_digest(pa.concat_tables(pieces)) == expected
    assert table_digest(pa.Table.from_pylist(table.to_pylist(), schema=table.schema)) == expected
    assert table_digest(table.replace_schema_metadata({"pandas": "{}"})) == expected
    assert table_digest(parent.slice(5, 480)) == table_digest(pa.Table.from_batches(parent.slice(5, 480).to_batches()))


def test_a_table_digest_ignores_values_under_a_null():
    masked = [pa.array(np.array([1.0, junk, 3.0]), mask=np.array([False, True, False])) for junk in (2.0, 7.0)]
    first, second = (table_digest(pa.table({"x": column})) for column in masked)
    assert first == second


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.slice(1),
        lambda t: pa.concat_tables([t.slice(1), t.slice(0, 1)]),
        lambda t: t.rename_columns({"x": "y"}),
        lambda t: with_column(t, "x", np.nextafter(t["x"].to_numpy(), np.inf)),
        lambda t: t.select(list(reversed(t.column_names))),
    ],
    ids=["a row less", "another order", "another name", "one bit", "columns in another order"],
)
def test_a_table_digest_changes_with_every_value(change):
    table = stored().slice(0, 50)
    assert table_digest(change(table)) != table_digest(table)


def test_the_same_rows_pipeline_and_seed_have_the_same_training_key():
    again = rows_of(pa.concat_tables([stored().slice(0, 1_000), stored().slice(1_000)]))
    told_otherwise = CONFIG.with_overrides({"alerts.email": [], "promotion.margin": 0.5, "drift.alpha": 0.01})
    assert training_key(CONFIG, again) == training_key(CONFIG, ROWS)
    assert training_key(told_otherwise, ROWS) == training_key(CONFIG, ROWS)


@pytest.mark.parametrize(
    "changes",
    [
        {"retrain.seed": 1},
        {"performance.metric": "log_loss"},
        {"retrain.pipeline": "tests.support.toy"},
        {"features.z": "categorical"},
        {"target.name": "sold"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_changed_setting_changes_the_training_key(changes):
    assert training_key(CONFIG.with_overrides(changes), ROWS) != training_key(CONFIG, ROWS)
    assert training_recipe(CONFIG.with_overrides(changes)) != training_recipe(CONFIG)


@pytest.mark.parametrize("span", ["window", "holdout"])
def test_other_durations_change_the_recipe(span):
    assert training_recipe(CONFIG.with_overrides({f"retrain.{span}": "9d"})) != training_recipe(CONFIG)


def test_other_rows_change_the_training_key():
    assert training_key(CONFIG, rows_of(stored(seed=1))) != training_key(CONFIG, ROWS)


def test_another_pipeline_code_changes_its_digest(tmp_path, monkeypatch):
    module = tmp_path / "keel_test_pipeline.py"
    monkeypatch.syspath_prepend(tmp_path)
    module.write_text("a = 1\n")
    first = pipeline_digest("keel_test_pipeline")
    module.write_text("a = 2\n")
    assert pipeline_digest("keel_test_pipeline") != first


@pytest.mark.parametrize(
    "importing",
    [
        "from keel_test_package.helpers import b",
        "from keel_test_package import helpers",
        "from . import helpers",
        "from .helpers import b as c",
        "import keel_test_package.helpers",
        "def build(config, seed):\n    from .middle import d",
    ],
)
def test_another_code_of_an_imported_helper_changes_the_digest(tmp_path, monkeypatch, importing):
    package = tmp_path / "keel_test_package"
    package.mkdir()
    (package / "middle.py").write_text("from keel_test_package import helpers\nd = 1\n")
    (package / "pipeline.py").write_text(importing)
    (package / "other.py").write_text("e = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    digests = set()
    for helper, other in (("b = 1\n", "e = 1\n"), ("b = 2\n", "e = 1\n"), ("b = 2\n", "e = 2\n")):
        (package / "helpers.py").write_text(helper)
        (package / "other.py").write_text(other)
        digests.add(pipeline_digest("keel_test_package.pipeline"))
    assert len(digests) == 2


def test_pipeline_of_one_file_has_the_digest_of_that_file():
    file = Path(toy.__file__)
    assert pipeline_digest("tests.support.pipelines.toy") == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("module", ["no_such_package.pipeline", "tests.no_such_module"])
def test_a_missing_pipeline_is_a_configuration_error(module):
    with pytest.raises(ConfigError, match=f"no module named '{module}'"):
        pipeline_digest(module)


def test_the_code_revision_is_that_of_the_environment_else_of_git_else_unknown(monkeypatch):
    monkeypatch.setenv("KEEL_CODE_REVISION", "release-7")
    assert code_revision() == "release-7"
    monkeypatch.delenv("KEEL_CODE_REVISION")
    assert code_revision() == "unknown" or len(code_revision()) == 40
    monkeypatch.setenv("PATH", "")
    assert code_revision() == "unknown"


def test_a_candidate_has_its_provenance_in_its_tags(candidate):
    assert dict(candidate.tags) == {
        "keel.reason": "x drifted",
        "keel.parent": "3",
        "keel.decision_id": "",
        "keel.recipe": training_recipe(CONFIG),
        "keel.training_start": SPLIT.start.isoformat(),
        "keel.training_end": SPLIT.cut.isoformat(),
        "keel.holdout_end": SPLIT.end.isoformat(),
        "keel.data_sha256": ROWS.digest,
        "keel.code": code_revision(),
        "keel.pipeline_sha256": pipeline_digest("tests.support.pipelines.toy"),
        "keel.training_key": training_key(CONFIG, ROWS),
        "keel.threshold": f"{candidate.reference['threshold']:.6g}",
        "keel.status": "candidate",
    }
    assert candidate.reference["training"] == {
        "start": SPLIT.start.isoformat(),
        "end": SPLIT.cut.isoformat(),
        "rows": ROWS.training.num_rows,
        "sha256": table_digest(ROWS.training),
    }


def test_a_candidate_is_measured_on_the_holdout_only(candidate):
    judged = score_rows(CONFIG, candidate.estimator, ROWS.holdout, candidate.reference["threshold"])
    brier = float(np.mean((judged.score - judged.label) ** 2))
    assert candidate.reference["metrics"]["brier"]["value"] == pytest.approx(brier)
    assert candidate.reference["metrics"]["brier"]["n"] == ROWS.holdout.num_rows
    assert candidate.reference["loss"] == pytest.approx(brier)
    assert set(candidate.metrics) == {"holdout_brier", "holdout_roc_auc"}


def test_the_grid_holds_features_of_the_training_rows_and_outputs_of_the_holdout(candidate):
    grid = candidate.grid
    assert (grid.features, grid.outputs) == (("x", "z", "colour"), ("score", "prediction"))
    assert grid.reference.column("x").n == ROWS.training.num_rows
    assert grid.reference.column("score").n == ROWS.holdout.num_rows
    assert grid.overall_loss == pytest.approx(candidate.reference["loss"])


def test_the_threshold_is_chosen_without_the_holdout(candidate):
    upside_down = TrainingRows(
        SPLIT, ROWS.training, with_column(ROWS.holdout, "label", 1 - ROWS.holdout["label"].to_numpy())
    )
    again = train(CONFIG, upside_down, reason="x drifted", parent=3)
    assert again.reference["threshold"] == candidate.reference["threshold"]
    assert 0 < candidate.reference["threshold"] < 1


def f1(label: np.ndarray, decided: np.ndarray) -> float:
    hits = float((label * decided).sum())
    return 2 * hits / (decided.sum() + label.sum()) if hits else 0.0


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.integers(0, 6)), min_size=1, max_size=40).filter(
        lambda rows: any(label for label, _ in rows)
    )
)
def test_the_threshold_has_the_best_f1(rows):
    """Scores of seven values only, so that there are ties: as a tree's leaves give them."""
    label, score = np.array([r[0] for r in rows]), np.array([r[1] / 7 for r in rows])
    chosen = training._best_f1_threshold(label, score)
    best = max(f1(label, score >= t) for t in np.unique(score))
    assert f1(label, score >= chosen) == pytest.approx(best)


@pytest.mark.parametrize("label", [np.empty(0), np.zeros(5)])
def test_without_positives_the_threshold_is_a_half(label):
    assert training._best_f1_threshold(label, np.linspace(0, 1, len(label))) == 0.5


def test_a_regression_has_no_score_and_no_threshold():
    config = toy_config(
        target={"name": "spent", "kind": "regression"},
        performance={"metric": "mae", "extra_metrics": ["rmse"]},
        retrain={"pipeline": "tests.unit.training.test_training", "holdout": "3d", "min_rows": 200},
    )
    table = stored()
    table = with_column(table, "label", 3 * table["x"].to_numpy() + 1)
    trained = train(config, rows_of(table), reason="r", parent=None)
    assert output_kinds(config) == {"prediction": "numeric"}
    assert trained.grid.outputs == ("prediction",)
    assert trained.reference["threshold"] is None
    assert (trained.tags["keel.threshold"], trained.tags["keel.parent"]) == ("", "")
    assert trained.reference["metrics"]["mae"]["value"] < 0.01
    assert set(trained.metrics) == {"holdout_mae", "holdout_rmse"}


def build(config, seed):
    """A pipeline for the regression target above; this module is its own pipeline."""
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(make_column_transformer(("passthrough", ["x"])), LinearRegression())


@pytest.mark.parametrize(
    ("part", "settings", "needed"),
    [("training", {"retrain.min_rows": 5_000}, 5_000), ("holdout", {"promotion.min_rows": 2_000}, 2_000)],
)
def test_too_few_rows_before_or_after_the_cut_raise(part, settings, needed):
    with pytest.raises(InsufficientData, match=f"toy: labelled {part} rows: needs at least {needed} rows"):
        train(CONFIG.with_overrides(settings), ROWS, reason="r", parent=None)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (np.nan, "labels that are not finite numbers"),
        (2.0, "labels other than 0 and 1, such as 2 of '.*; replace them: keel feedback toy FILE --correct"),
        (0.0, "only one class of 'bought'"),
    ],
)
def test_unusable_labels_raise(label, said):
    rows = TrainingRows(
        SPLIT, with_column(ROWS.training, "label", np.full(ROWS.training.num_rows, label)), ROWS.holdout
    )
    with pytest.raises(TrainingFailed, match=said):
        train(CONFIG, rows, reason="r", parent=None)


def test_a_holdout_with_an_undefined_metric_is_refused():
    ones = TrainingRows(SPLIT, ROWS.training, with_column(ROWS.holdout, "label", np.ones(ROWS.holdout.num_rows)))
    by_auc = CONFIG.with_overrides({"performance.metric": "roc_auc", "performance.extra_metrics": ["brier"]})
    said = (
        "toy: metric undefined on the holdout: roc_auc needs two rows of each class, and there are 1,440 labelled rows "
        r"from 2026-01-07 00:00 to 2026-01-10 00:00 UTC, 1,440 of them positive; lengthen retrain\.holdout"
    )
    with pytest.raises(TrainingFailed, match=said):
        train(by_auc, ones, reason="r", parent=None)
    assert np.isnan(train(CONFIG, ones, reason="r", parent=None).reference["metrics"]["roc_auc"]["value"])


class Unfit:
    """An estimator whose ``predict_proba`` is whatever a test says."""

    def __init__(self, answer=None):
        if answer:
            self.predict_proba = answer

    def fit(self, features, label):
        return self


@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        (Unfit(), "cannot score: AttributeError"),
        (Unfit(lambda features: np.ones((len(features), 1))), "cannot score: IndexError"),
        (Unfit(lambda features: np.full((len(features), 2), np.nan)), "scores that are not finite numbers"),
    ],
    ids=["no probabilities", "one class", "NaN"],
)
def test_an_estimator_that_cannot_score_fails_the_training(estimator, said):
    with pytest.raises(TrainingFailed, match=f"toy: the estimator (gives )?{said}"):
        score_rows(CONFIG, estimator, ROWS.holdout, None)


def test_infinite_values_train_and_stay_infinite_on_the_grid():
    """The toy pipeline's imputer refuses infinities."""
    x = ROWS.training["x"].to_numpy().copy()
    x[::100] = np.inf
    rows = TrainingRows(SPLIT, with_column(ROWS.training, "x", x), ROWS.holdout)
    trained = train(CONFIG, rows, reason="r", parent=None)
    assert trained.grid.reference.column("x").pos_inf == len(x[::100])


def test_a_pipeline_that_raises_fails_the_training_with_its_error():
    raising = CONFIG.with_overrides({"retrain.pipeline": "tests.support.toy"})  # a module without build()
    with pytest.raises(
        TrainingFailed,
        match=r"tests\.support\.toy: AttributeError: module 'tests\.support\.toy' has no attribute 'build'",
    ):
        train(raising, ROWS, reason="r", parent=None)


def test_the_same_seed_trains_the_same_version(candidate):
    again = train(CONFIG, ROWS, reason="again", parent=3)
    assert again.grid.grid_id == candidate.grid.grid_id
    assert again.reference == candidate.reference


def test_the_cut_moves_with_the_label_delay():
    late = toy_config(target={"name": "bought", "label_delay": "20d"})
    assert Split.ending(START + 40 * DAY, late).end == START + 20 * DAY
    assert Split.ending(START, late).end - Split.ending(START, late).cut == timedelta(days=7)
