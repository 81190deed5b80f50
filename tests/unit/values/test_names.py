"""A column's name is one name at every door, whichever way its accents are encoded."""

from __future__ import annotations

import io
import json
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from keel.errors import BadRequest
from keel.grid.reference import ReferenceGrid
from keel.registry.scoring_model import to_model_input
from keel.serving.http.json_requests import CSV, JSON, PARQUET, parse
from keel.serving.models.input_schema import Inputs
from keel.sources import Names
from keel.sources.files import open_file
from keel.store import Store
from keel.store.database.times import to_micros
from tests.support.toy import toy_config

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
NFC = "größe"
NFD = unicodedata.normalize("NFD", NFC)
BOTH = [(NFC, NFD), (NFD, NFC)]


def parquet(columns: dict[str, list[Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def bodies(name: str) -> list[tuple[bytes, str]]:
    """Return requests of every form, with the column ``name``."""
    records = [{"x": 1, name: 2}, {"x": 1}]
    as_json = {
        "dataframe_split": {"columns": ["x", name], "data": [[1, 2], [1, None]]},
        "dataframe_records": records,
        "instances": records,
        "inputs": {"x": [1, 1], name: [2, None]},
    }
    found = [(json.dumps({form: content}).encode(), JSON) for form, content in as_json.items()]
    return [*found, (f"x,{name}\n1,2\n1,\n".encode(), CSV), (parquet({"x": [1, 1], name: [2, None]}), PARQUET)]


@pytest.mark.parametrize(("configured", "given"), BOTH)
@pytest.mark.parametrize("required", [True, False])
def test_request_may_encode_the_accents_of_a_column_in_either_way(configured: str, given: str, required: bool) -> None:
    kinds = {"x": "numeric", configured: "numeric"}
    inputs = Inputs("toy", kinds, frozenset(kinds if required else {"x"}))  # type: ignore[arg-type]
    for body, content_type in bodies(given):
        found = parse(body, content_type, inputs, clock=lambda _: to_micros(NOW)).features
        assert not found.absent
        assert found.numbers[1][0] == 2


@pytest.mark.parametrize("form", ["dataframe_records", "dataframe_split", "inputs"])
def test_request_with_a_column_in_both_encodings_is_refused(form: str) -> None:
    inputs = Inputs("toy", {NFC: "numeric"}, frozenset({NFC}))
    content = {
        "dataframe_records": [{NFC: 1, NFD: 2}],
        "dataframe_split": {"columns": [NFC, NFD], "data": [[1, 2]]},
        "inputs": {NFC: [1], NFD: [2]},
    }[form]
    with pytest.raises(BadRequest, match="appears twice"):
        parse(json.dumps({form: content}).encode(), JSON, inputs, clock=lambda _: to_micros(NOW))


@pytest.mark.parametrize(("configured", "given"), BOTH)
def test_table_may_encode_the_accents_of_a_column_in_either_way(configured: str, given: str, tmp_path: Path) -> None:
    config = toy_config(features={configured: "numeric"})
    rows = pa.table({"id": ["a", "b"], "time": pa.array([NOW, NOW], pa.timestamp("us", "UTC")), given: [1.0, 2.0]})
    with Store.open(f"sqlite:///{tmp_path / 'keel.db'}") as store:
        log = store.predictions(config.model, config.features)
        result = log.append(rows)
        assert (result.missing_columns, result.extra_columns) == ([], [])
        [stored] = log.read(NOW.replace(year=2025), NOW.replace(year=2027))
        assert stored[configured].to_pylist() == [1.0, 2.0]
    assert to_model_input(rows, config)[configured].tolist() == [1.0, 2.0]
    for table in (rows, rows.to_pandas()):
        counted = ReferenceGrid.fit(table, {configured: "numeric"}).count(table)
        assert counted.column(configured).cells.sum() == 2


@pytest.mark.parametrize(("asked", "given"), BOTH)
def test_column_of_labels_may_be_named_in_either_encoding(asked: str, given: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"id,{given}\na,1\n", encoding="utf-8")
    with open_file(str(path)) as source:
        assert Names(label=asked).among(source) == {"id": "id", "label": given}
