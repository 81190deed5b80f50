"""Loaded versions: every fast scoring path gives the same bits as MLflow."""

from __future__ import annotations

import json
import math
from importlib import import_module

import numpy as np
import pyarrow as pa
import pytest

from keel.config import LabelsConfig, get_model
from keel.errors import ScoringFailed
from keel.monitoring.live.audit_sample import is_audited
from keel.registry.scoring_model import to_model_input
from keel.serving.http.json_requests import parse
from keel.serving.models.fast_paths import CachedEncoder, fast_paths
from keel.serving.models.input_schema import Inputs
from keel.serving.prediction_log.records import packed
from keel.serving.scoring.micro_batches import answer_all
from tests.support.serving.models import Fussy, clock, load, served, version
from tests.support.toy import toy_config, toy_rows

REGRESSION = {
    "model": "amounts",
    "target": {"name": "bought", "kind": "regression", "label_delay": "24h"},
    "performance": {"metric": "mae"},
    "retrain": {"pipeline": "tests.support.pipelines.regression"},
}


def with_gaps(rows):
    """Return the same rows with missing values in every feature, and a new category."""
    columns = {}
    for offset, name in enumerate(rows.column_names):
        values = rows[name].to_pylist()
        if name not in ("id", "time", "label"):
            new = "new" if isinstance(values[0], str) else values[0]
            values = [
                None if (i + offset) % 5 == 0 else new if (i + offset) % 5 == 1 else v for i, v in enumerate(values)
            ]
        columns[name] = pa.array(values, rows.schema.field(name).type)
    return pa.table(columns)


@pytest.fixture(scope="module")
def flights():
    config = get_model("flight_delay")
    rows = import_module(config.retrain.pipeline).labelled_history(config)
    rows = rows.filter(pa.compute.is_valid(rows["label"]))
    return config, rows.take(np.arange(0, rows.num_rows, rows.num_rows // 2_000))


def case(name, request):
    if name == "flights":
        return request.getfixturevalue("flights")
    return toy_config(**(REGRESSION if name == "regression" else {})), toy_rows(days=20)


@pytest.fixture(scope="module", params=["toy", "regression", "flights"])
def pipeline(request):
    """A model's configuration, its version, and rows that the version was not fitted to."""
    config, rows = case(request.param, request)
    half = rows.num_rows // 2
    known, new = rows.slice(0, half), with_gaps(rows.slice(half, 120))
    estimator = import_module(config.retrain.pipeline).build(config, 0)
    estimator.fit(to_model_input(known, config), known["label"].to_numpy())
    return config, version(estimator, config, known, threshold=0.3), new


def payload_of(config, rows):
    data = list(zip(*(rows[name].to_pylist() for name in config.features), strict=True))
    return json.dumps({"dataframe_split": {"columns": list(config.features), "data": data}}).encode()


def request(config, answering, rows):
    body = payload_of(config, rows)
    return parse(body, "application/json", Inputs.of(config, answering.needed), clock=clock), body


def test_direct_path_gives_the_same_bits_as_mlflow(pipeline):
    from mlflow.pyfunc.scoring_server import invocations

    config, answering, rows = pipeline
    assert answering.path == "direct"
    pyfunc = answering.model.pyfunc
    for part in (rows, *(rows.slice(i, 1) for i in range(30))):
        read, body = request(config, answering, part)
        [answer] = answer_all([(read, served(config, answering))], on_challenger_failure=pytest.fail)
        theirs = invocations(body, "application/json", pyfunc, pyfunc.metadata.get_input_schema())
        assert json.loads(answer.body())["predictions"] == json.loads(theirs.response)["predictions"]


def test_stored_scores_are_those_of_the_scoring_model(pipeline):
    config, answering, rows = pipeline
    read, _ = request(config, answering, rows)
    [answer] = answer_all([(read, served(config, answering))], on_challenger_failure=pytest.fail)
    score, prediction = answering.model.score(rows)
    assert answer.block.predictions == packed(prediction)
    if config.target.kind == "regression":
        assert answer.block.scores is None
    else:
        assert answer.block.scores == packed(score)
        assert {(s >= 0.3, p) for s, p in zip(score, prediction, strict=True)} == {(True, 1.0), (False, 0.0)}


def test_row_is_scored_the_same_alone_and_in_a_batch(pipeline):
    config, answering, rows = pipeline
    together, _ = request(config, answering, rows)
    alone = [request(config, answering, rows.slice(i, 1))[0] for i in range(rows.num_rows)]
    joined = answer_all([(read, served(config, answering)) for read in alone], on_challenger_failure=pytest.fail)
    [expected] = answer_all([(together, served(config, answering))], on_challenger_failure=pytest.fail)
    assert [answer.raw[0] for answer in joined] == expected.raw


def test_answer_marks_the_audited_rows_beside_their_ids_and_only_where_rows_are_audited(pipeline):
    config, answering, rows = pipeline
    read, _ = request(config, answering, rows)
    [without] = answer_all([(read, served(config, answering))], on_challenger_failure=pytest.fail)
    assert "audited" not in json.loads(without.body())["keel"]
    share = LabelsConfig(audit_share=0.3)
    audits = served(config.model_copy(update={"labels": share}), answering)
    [answer] = answer_all([(read, audits)], on_challenger_failure=pytest.fail)
    keel = json.loads(answer.body())["keel"]
    assert keel["audited"] == is_audited(config.model, keel["ids"], 0.3).tolist()
    assert 0 < sum(keel["audited"]) < len(keel["ids"])


@pytest.fixture(scope="module")
def fitted():
    """A configuration, rows, and a pipeline that was fitted to them."""
    return fit()


def fit():
    config, rows = toy_config(), toy_rows(days=5)
    estimator = import_module("tests.support.pipelines.toy").build(config, 0)
    estimator.fit(to_model_input(rows, config), rows["label"].to_numpy())
    return config, rows, estimator


def test_version_with_an_estimator_of_another_library_uses_data_frames(fitted):
    config, rows, estimator = fitted
    answering = version(Fussy(estimator), config, rows)
    assert answering.path == "estimator"
    read, _ = request(config, answering, rows.slice(0, 3))
    np.testing.assert_array_equal(
        answering.score(read.features)[0], estimator.predict_proba(to_model_input(rows.slice(0, 3), config))
    )


def test_version_does_not_use_a_path_that_gives_other_bits(fitted):
    config, rows, estimator = fitted

    def wrong(pyfunc, needed, kinds):
        yield "constant", lambda features: np.full((features.rows, 2), 0.5)
        yield "raising", lambda features: 1 / 0

    assert version(estimator, config, rows, paths=wrong).path == "mlflow"


def test_version_does_not_use_a_path_that_differs_only_on_unusual_rows(fitted):
    config, rows, estimator = fitted
    [_, predict], *_ = fast_paths(load(estimator, config, rows), tuple(config.features), config.features)

    def slightly_wrong(features):
        raw = predict(features)
        raw[[text is None for text in features.texts["colour"]]] += 1e-9
        return raw

    paths = [("slightly wrong", slightly_wrong)]
    assert version(estimator, config, rows, paths=lambda *_: iter(paths)).path == "mlflow"


def test_version_that_cannot_score_its_warmup_rows_raises(fitted):
    config, rows, estimator = fitted
    with pytest.raises(ScoringFailed, match="version 7 failed on these rows: ValueError: this is too much"):
        version(Fussy(estimator, limit=1.0), config, rows, number=7)


class Lengths:
    """An encoder of texts as their lengths, which records the rows that it encodes."""

    categories_ = (np.array(["a", "b"], dtype=object), np.array(["b", "bb"], dtype=object))

    def __init__(self):
        self.encoded = []

    def transform(self, matrix):
        self.encoded += [tuple(row) for row in matrix]
        return np.array([[0.0 if value is np.nan else len(value) for value in row] for row in matrix])


def test_cached_encoder_encodes_each_combination_of_fitted_categories_once():
    known = CachedEncoder(encoder := Lengths())
    rows = [("a", "bb"), ("a", None), ("a", "bb")]
    for _ in range(2):
        np.testing.assert_array_equal(known(rows), [[1, 2], [1, 0], [1, 2]])
    assert len(encoder.encoded) == 2
    rows = [("new", "bb"), ("a", "bb"), ("b", None)]
    for _ in range(2):
        np.testing.assert_array_equal(known(rows), [[3, 2], [1, 2], [1, 0]])
    assert encoder.encoded[2:] == [("new", "bb"), ("b", np.nan), ("new", "bb")], "unknown categories are not cached"


def test_cached_encoder_is_limited_in_rows_and_columns():
    known = CachedEncoder(encoder := Lengths(), combinations=1)
    for _ in range(2):
        np.testing.assert_array_equal(known([("a", "bb"), ("b", "b")]), [[1, 2], [1, 1]])
    assert len(encoder.encoded) == 3
    known = CachedEncoder(encoder := Lengths(), columns=1)
    for _ in range(2):
        np.testing.assert_array_equal(known([("a", "b"), ("a", "b")]), [[1, 1], [1, 1]])
    assert len(encoder.encoded) == 5, "wide outputs are not cached"


def test_answer_writes_a_missing_output_like_mlflow(fitted):
    config, rows, estimator = fitted
    answering = version(estimator, config, rows)
    answering.predict = lambda features: np.full((features.rows, 2), math.nan)
    read, _ = request(config, answering, rows.slice(0, 1))
    [answer] = answer_all([(read, served(config, answering))], on_challenger_failure=pytest.fail)
    assert answer.body().startswith(b'{"predictions": [[NaN, NaN]]')


def test_score_raises_for_another_number_of_outputs_than_rows(fitted):
    config, rows, estimator = fitted
    answering = version(estimator, config, rows)
    answering.predict = lambda features: np.full((features.rows + 1, 2), 0.5)
    read, _ = request(config, answering, rows.slice(0, 2))
    with pytest.raises(ScoringFailed, match="gave 3 outputs for 2 rows"):
        answering.score(read.features)
