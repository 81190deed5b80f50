"""Models with more features than a table has columns or a row has bytes: every row is stored and read unchanged."""

from __future__ import annotations

import math
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from keel.errors import ConfigError, SchemaError
from keel.store import Store
from keel.store.predictions import layout
from keel.store.predictions.packing import PACKED
from tests.support.store_fixtures import EVER, NOON, batch, labels

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

NUMBERS = {f"n{i:04}": "numeric" for i in range(1_500)}
TEXTS = {f"t{i:04}": "categorical" for i in range(500)}
WIDE: dict[str, Any] = {**NUMBERS, **TEXTS}
"""Two thousand, of which neither database holds each in a column of its own."""


def filled(ids: list[str], kinds: Mapping[str, str], **columns: Any) -> pa.Table:
    """Return rows with a value in every feature."""
    values = {
        name: [float(i) + row for row in range(len(ids))] if kind == "numeric" else [f"{name} of {row}" for row in ids]
        for i, (name, kind) in enumerate(kinds.items())
    }
    return batch(ids, temp=..., carrier=..., **{**values, **columns})


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Features of which the last ones are packed although they are few, as a wide row takes long to make."""
    monkeypatch.setattr(layout, "COLUMN_BYTES", 40)
    return {f"n{i}": "numeric" for i in range(9)} | {f"t{i}": "categorical" for i in range(4)}


def test_two_thousand_features_survive_a_round_trip(store: Store) -> None:
    log = store.predictions("wide", WIDE)
    odd = {
        "n0000": [1.5, None], "n1400": [None, math.inf], "n1401": [-math.inf, 0.1], "n1402": [-0.0, 5e-324],
        "t0000": [None, "é"], "t0498": ['a "b", [c]', None], "t0499": ["", "温度\n"],
    }  # fmt: skip
    rows = filled(["a", "b"], WIDE, **odd)
    assert log.append(rows).stored == log.append(rows).duplicates == 2
    [read] = log.read(*EVER)
    assert read.column_names[5:] == list(WIDE)
    assert read.select(["id", *WIDE]).to_pylist() == rows.select(["id", *WIDE]).to_pylist()
    assert math.copysign(1, read["n1402"][0].as_py()) == -1
    log.add_labels(labels({"b": 1.0}))
    assert log.labelled(*EVER).select(["label", *odd]).to_pylist() == [
        {"label": 1.0, **{name: values[1] for name, values in odd.items()}}
    ]
    assert log.labelled(*EVER, features=False).num_rows == 1


def test_packed_value_that_does_not_fit_is_read_as_it_was(store: Store, narrow: Mapping[str, Any]) -> None:
    log = store.predictions("m", narrow)
    result = log.append(filled(["a", "b"], narrow, n7=["many", "2"]).drop_columns(["n8", "t3"]))
    assert (result.invalid, result.missing_columns) == ({"n7": 1}, ["n8", "t3"])
    parts = log.read(*EVER)
    assert sorted(value for part in parts for value in map(str, part["n7"].to_pylist())) == ["2.0", "many"]
    assert not {"n8", "t3"} & {name for part in parts for name in part.column_names}


@pytest.mark.parametrize("kind", ["numeric", "categorical", "mixed"])
def test_widest_row_of_columns_fits(store: Store, kind: str) -> None:
    kinds = ("numeric", "categorical") if kind == "mixed" else (kind,)
    features: dict[str, Any] = {f"f{i:04}": kinds[i % len(kinds)] for i in range(1_000)}
    # 23 bytes and their length are the longest text that PostgreSQL keeps in the row; digests cannot be compressed
    texts = {f: [sha256(f.encode()).hexdigest()[:23]] for f, kind in features.items() if kind == "categorical"}
    log = store.predictions("m", features)
    long = {"arm": ["a" * 23], "entity": ["e" * 23], "experiment": ["x" * 23], "shadow_version": [2]}
    numbers = {"allocation": [0.5], "shadow_score": [0.5], "shadow_prediction": [1.0]}
    rows = filled(["i" * 24], features, **long, **numbers, **texts)
    assert log.append(rows).stored == 1
    assert log.read(*EVER)[0].select(list(features)).to_pylist() == rows.select(list(features)).to_pylist()


def test_features_renamed_again_and_again_never_run_out_of_columns(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = 15
    assert layout.MAX_COLUMNS + own + len(PACKED) < 1_600
    monkeypatch.setattr(layout, "MAX_COLUMNS", 25)
    for generation in range(4):
        features: dict[str, Any] = {f"g{generation}_{i}": "numeric" for i in range(10)}
        log = store.predictions("m", features)
        assert log.append(filled([f"row {generation}"], features)).stored == 1
        assert log.read(*EVER)[0][f"g{generation}_9"].to_pylist()[-1] == 9.0
    assert len(log.read(*EVER)[0]) == 4
    with store.connect() as connection:
        columns = connection.execute(sa.text("SELECT * FROM predictions_m")).keys()
    assert len(columns) == 25 + own + len(PACKED)


def test_packed_feature_added_later_is_missing_in_earlier_rows(store: Store, narrow: Mapping[str, Any]) -> None:
    store.predictions("m", narrow).append(filled(["a"], narrow))
    more = {**narrow, "late": "numeric", "later": "categorical"}
    log = store.predictions("m", more)
    log.append(filled(["b"], more, late=[7.0], later=["x"]))
    assert log.read(*EVER)[0].select(["id", "n8", "t3", "late", "later"]).to_pylist() == [
        {"id": "a", "n8": 8.0, "t3": "t3 of a", "late": None, "later": None},
        {"id": "b", "n8": 8.0, "t3": "t3 of b", "late": 7.0, "later": "x"},
    ]
    without = {name: kind for name, kind in more.items() if name != "n8"}
    assert "n8" not in store.predictions("m", without).read(*EVER)[0].column_names


def test_packed_feature_is_renamed_with_its_values_and_keeps_its_kind(store: Store, narrow: Mapping[str, Any]) -> None:
    store.predictions("m", narrow).append(filled(["a"], narrow))
    store.rename_feature("m", "n8", "price")
    renamed = {("price" if name == "n8" else name): kind for name, kind in narrow.items()}
    assert store.predictions("m", renamed).read(*EVER)[0]["price"].to_pylist() == [8.0]
    with pytest.raises(ConfigError, match="'price' is categorical now and stored as numeric"):
        store.predictions("m", {**renamed, "price": "categorical"})


def test_table_of_an_earlier_keel_takes_full_rows_and_keeps_its_values(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    features: dict[str, Any] = {f"f{i:04}": "numeric" for i in range(1_200)}
    with monkeypatch.context() as earlier, Store.open(store_url) as store:
        earlier.setattr(layout, "COLUMN_BYTES", 10**9)
        # rows of PostgreSQL hold no more than 993 numbers
        half = {name: [None] for name in list(features)[:400]}
        store.predictions("m", features).append(filled(["old"], features, **half))
    with Store.open(store_url) as store:
        log = store.predictions("m", features)
        log.append(filled(["new"], features))
        [read] = log.read(*EVER)
        expected = {f"f{i:04}": [float(i), None if i < 400 else float(i)] for i in range(1_200)}
        assert read.sort_by("id").select(list(features)).to_pydict() == expected


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_rows_of_before_packing_are_read_alone_and_beside_packed_ones(
    store: Store, narrow: Mapping[str, Any], kind: str
) -> None:
    few = {name: each for name, each in narrow.items() if name in ("n0", "n1")}
    store.predictions("m", few).append(filled(["old", "older"], few))
    more: dict[str, Any] = {**few, **{f"late{i}": kind for i in range(9)}}
    log = store.predictions("m", more)
    log.add_labels(labels({"old": 1.0}))
    for [read] in (log.read(*EVER), [log.labelled(*EVER)]):
        assert read["n1"].to_pylist() == [1.0, 2.0][: len(read)]
        assert read["late8"].to_pylist() == [None] * len(read)
        assert read["late8"].type == ("double" if kind == "numeric" else "string")
    log.append(filled(["new"], more))
    assert log.read(*EVER)[0]["late8"].null_count == 2


@pytest.mark.postgres
def test_row_that_a_server_can_never_take_is_refused_in_a_short_sentence(
    new_postgres_database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "COLUMN_BYTES", 10**9)
    features: dict[str, Any] = {f"f{i:04}": "numeric" for i in range(1_100)}
    with Store.open(new_postgres_database()) as store:
        log = store.predictions("m", features)
        with pytest.raises(SchemaError, match="cannot take these rows.*row is too big") as caught:
            log.append(filled(["a"], features))
        assert len(str(caught.value)) < 600
        assert log.count(*EVER) == 0
        assert log.dirty_hours(NOON.replace(year=2030)) == []


def test_table_that_a_database_cannot_create_is_refused_in_a_short_sentence(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "COLUMN_BYTES", 10**9)
    monkeypatch.setattr(layout, "MAX_COLUMNS", 10**9)
    with pytest.raises(SchemaError, match=r"cannot take.*columns") as caught:
        store.predictions("m", {f"f{i:04}": "numeric" for i in range(2_000)})
    assert len(str(caught.value)) < 600
    assert store.predictions("m", {"f": "numeric"}).count(*EVER) == 0
