"""Versions that an earlier release trained on other spellings of categories still get those they know."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from keel.feedback import prediction_id
from keel.feedback.parse_json import label_table
from keel.grid.kernel import count_column
from keel.grid.reference import ReferenceGrid
from keel.registry.scoring_model import ScoringModel, trained_spellings
from keel.serving.http.json_requests import JSON, parse
from keel.serving.models.input_schema import Inputs
from keel.serving.models.loaded_version import ServedVersion
from keel.serving.models.warmup_rows import typical_rows
from keel.store.predictions.casting import UTC_MICROSECONDS
from tests.support.serving.models import clock, load
from tests.support.toy import toy_config

if TYPE_CHECKING:
    from keel.store import Store

CONFIG = toy_config(features={"flag": "categorical", "code": "categorical"})
ROWS = pa.table({"flag": ["True", "False"] * 20, "code": ["3.0", "3.0", "4.0", "x"] * 10})
KNOWN = {"flag": ("True", "False"), "code": ("3.0", "4.0", "x")}


@pytest.fixture(scope="module")
def grid() -> ReferenceGrid:
    """Return a grid with the vocabulary that an earlier release fitted."""
    fitted = ReferenceGrid.fit(ROWS, dict(CONFIG.features))
    columns = tuple(replace(column, vocabulary=KNOWN[column.name]) for column in fitted.columns)
    return ReferenceGrid(columns, fitted.n_features, fitted.n_reference, fitted.reference)


@pytest.fixture(scope="module")
def model(grid: ReferenceGrid) -> ScoringModel:
    """Return a version that was trained on the texts as they stand."""
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), list(CONFIG.features)))
    estimator = make_pipeline(columns, LogisticRegression())
    estimator.fit(ROWS.to_pandas().astype("str"), np.tile([1, 0, 1, 1], 10))
    return ScoringModel(CONFIG, 1, load(estimator, CONFIG, ROWS), 0.5, trained_spellings(grid))


def test_trained_spellings_are_those_with_another_name(grid: ReferenceGrid) -> None:
    assert trained_spellings(grid) == {
        "flag": {"true": "True", "false": "False"},
        "code": {"3": "3.0", "4": "4.0"},
    }
    assert trained_spellings(ReferenceGrid.fit(ROWS, dict(CONFIG.features))) == {}


def test_earlier_version_scores_a_category_under_the_name_it_knows(model: ScoringModel, grid: ReferenceGrid) -> None:
    frame = pd.DataFrame({"flag": ["True", "False", "False"], "code": ["3.0", "4.0", "x"]}, dtype="str")
    expected = model.pyfunc.predict(frame)[:, 1]
    assert len(set(expected.round(6))) == 3
    stored = pa.table({"flag": ["true", "False", "false"], "code": ["3", "4.0", "x"]})
    np.testing.assert_array_equal(model.score(stored)[0], expected)
    served = ServedVersion(model, typical_rows(grid, Inputs.of(CONFIG, ())))
    records: list[dict[str, Any]] = [
        {"flag": True, "code": 3},
        {"flag": "False", "code": "4.0"},
        {"flag": False, "code": "x"},
    ]
    body = json.dumps({"dataframe_records": records}).encode()
    rows = parse(body, JSON, Inputs.of(CONFIG, served.needed), clock=clock)
    np.testing.assert_array_equal(served.score(rows.features)[1], expected)
    assert rows.features.texts["flag"] == ["true", "false", "false"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_grid_of_an_earlier_version_counts_every_spelling_in_one_cell(grid: ReferenceGrid, kind: Any) -> None:
    flags = pa.array([None, "True", "true", "FALSE", "false", "other"], kind)
    counts = grid.count(pa.table({"flag": flags, "code": pa.array(["3", "3.0", "4", "y", "x", None], kind)}))
    assert counts.column("flag").cells.tolist() == [2, 2, 1]
    assert counts.column("code").cells.tolist() == [2, 1, 1, 1]
    sliced = count_column(grid.column("flag"), pa.array(["True", "true", "x"], pa.string()).slice(1), 2)
    assert sliced.cells.tolist() == [1, 0, 1]


def test_row_of_an_entity_as_it_was_written_is_labelled_by_its_id_alone(store: Store) -> None:
    log = store.predictions("toy", dict(CONFIG.features))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    written = prediction_id("toy", "17.0", now)  # as 0.1 derived it
    log.append(pa.table({"id": [written], "time": pa.array([now], UTC_MICROSECONDS), "version": [1], "entity": ["17"]}))
    for keys, unmatched in (({"entity": "17.0", "time": now.isoformat()}, 1), ({"id": written}, 0)):
        result = log.add_labels(label_table([{**keys, "label": 1}], CONFIG, now=now))
        assert (result.stored, result.unmatched) == (1, unmatched)
