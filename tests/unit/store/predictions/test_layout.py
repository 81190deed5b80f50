"""Models' and features' names come from configuration: none may break SQL, collide or change its meaning silently."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keel.config.feature_names import RESERVED
from keel.errors import ConfigError
from keel.store.predictions.layout import physical_name
from keel.values.scalars import number_in
from tests.support.store_fixtures import EVER, batch

if TYPE_CHECKING:
    from keel.store import Store

ODD_NAMES = [
    "a b", 'say "hi"', "it's", "select", "Order", "order", "ORDER", "ü", "温度", "🙂", "x;--", "a%b", "%s", "%%", ":x",
    "$1", "?", "a.b", "[x]", "`x`", "\\", "\n", "a" * 63, "a" * 64, "a" * 65, "é" * 40, "xmin", "ctid", "rowid", "oid",
    "hour", "revision", "Time", "ID", " ", "0", "c0", "c1", "keel_stage",
]  # fmt: skip
REPEATED = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
# one store serves all examples of a test
EXAMPLES = itertools.count()
# what a TEXT column of both databases holds; a NUL has a test of its own
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30)
names = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=80)
numbers = st.none() | st.floats(allow_nan=False, allow_subnormal=True) | st.sampled_from([0.0, math.inf, -math.inf])


def plain(size: int, **columns: Any) -> pa.Table:
    return batch(range(size), temp=..., carrier=..., **columns)


def test_any_name_can_be_a_feature(store: Store) -> None:
    features = {name: "numeric" for name in ODD_NAMES}
    log = store.predictions("odd", features)
    table = plain(1, **{name: pa.array([float(i)]) for i, name in enumerate(ODD_NAMES)})
    assert log.append(table).missing_columns == []
    [read] = log.read(*EVER)
    assert read.select(ODD_NAMES).to_pylist() == [{name: float(i) for i, name in enumerate(ODD_NAMES)}]
    [reversed_] = store.predictions("odd", dict(reversed(features.items()))).read(*EVER)
    assert reversed_.column_names[-len(ODD_NAMES) :] == ODD_NAMES[::-1]
    assert reversed_["c0"].to_pylist() == [float(ODD_NAMES.index("c0"))]


def test_any_name_can_be_a_model(store: Store) -> None:
    for i, name in enumerate(ODD_NAMES):
        store.predictions(name, {"x": "numeric"}).append(batch([f"id{i}"], temp=..., carrier=..., x=pa.array([i])))
    for i, name in enumerate(ODD_NAMES):
        log = store.predictions(name, {"x": "numeric"})
        assert log.read(*EVER)[0].select(["id", "x"]).to_pylist() == [{"id": f"id{i}", "x": float(i)}]
        assert len(log.dirty_hours(EVER[1])) == 1


def test_plain_names_are_kept(store: Store) -> None:
    store.predictions("flight_delay", {"temp": "numeric"}).append(batch(["a"]))
    with store.connect() as connection:
        assert connection.exec_driver_sql("SELECT temp FROM predictions_flight_delay").all() == [(0.0,)]


@pytest.mark.parametrize("name", RESERVED)
def test_feature_with_a_reserved_name_raises(store: Store, name: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot be called '{name}'.*rename"):
        store.predictions("m", {name: "numeric"})


@pytest.mark.parametrize(
    ("model", "features", "says"),
    [
        ("", {}, "'' cannot be a model's name"),
        ("a\x00b", {}, "cannot be a model's name"),
        ("m", {"": "numeric"}, "'' cannot be a feature's name"),
        ("m", {"a\x00": "numeric"}, "cannot be a feature's name"),
        ("m", {"a": "float"}, "feature 'a' is 'float'; a feature is 'numeric' or 'categorical'"),
    ],
)
def test_unusable_names_and_kinds_raise(store: Store, model: str, features: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        store.predictions(model, features)


def test_new_features_add_columns_and_old_ones_keep_their_values(store: Store) -> None:
    store.predictions("m", {"temp": "numeric"}).append(batch(["old"], temp=pa.array([7.0])))
    log = store.predictions("m", {"temp": "numeric", "wind %": "numeric", "Temp": "categorical"})
    log.append(batch(["new"], **{"wind %": pa.array([3.0]), "Temp": pa.array(["warm"])}))
    rows = log.read(*EVER)[0].select(["id", "temp", "wind %", "Temp"]).to_pylist()
    assert sorted(rows, key=lambda row: row["id"]) == [
        {"id": "new", "temp": 0.0, "wind %": 3.0, "Temp": "warm"},
        {"id": "old", "temp": 7.0, "wind %": None, "Temp": None},
    ]


def test_dropped_feature_that_returns_has_its_values(store: Store) -> None:
    store.predictions("m", {"temp": "numeric", "wind": "numeric"}).append(batch(["a"], wind=pa.array([3.0])))
    assert "wind" not in store.predictions("m", {"temp": "numeric"}).read(*EVER)[0].column_names
    assert store.predictions("m", {"wind": "numeric"}).read(*EVER)[0]["wind"].to_pylist() == [3.0]


def test_feature_that_changes_its_kind_raises(store: Store) -> None:
    store.predictions("m", {"temp": "numeric"})
    with pytest.raises(ConfigError, match="'temp' is categorical now and stored as numeric.*new name"):
        store.predictions("m", {"temp": "categorical"})


def test_model_without_features_has_a_table(store: Store) -> None:
    log = store.predictions("m", {})
    assert log.append(plain(3)).stored == 3
    assert log.read(*EVER)[0].column_names == ["id", "time", "version", "score", "prediction"]


@given(st.lists(names, unique=True, max_size=8))
@settings(derandomize=True)
def test_physical_names_are_short_and_distinct_ignoring_case(features: list[str]) -> None:
    taken: set[str] = set()
    for name in features:
        chosen = physical_name(name, taken)
        assert 0 < len(chosen.encode()) <= 63
        assert chosen.casefold() not in taken
        taken.add(chosen.casefold())


@REPEATED
@given(data=st.data())
def test_odd_values_and_names_survive_a_round_trip(store: Store, data: st.DataObject) -> None:
    model = data.draw(names) + str(next(EXAMPLES))
    features = names.filter(lambda name: name not in {*RESERVED, "temp", "carrier"})
    kinds = data.draw(st.dictionaries(features, st.sampled_from(["numeric", "categorical"]), max_size=4))
    size = data.draw(st.integers(1, 5))
    columns = {
        name: pa.array(
            data.draw(st.lists(numbers if kind == "numeric" else st.none() | texts, min_size=size, max_size=size)),
            pa.float64() if kind == "numeric" else pa.string(),
        )
        for name, kind in kinds.items()
    }
    ids = data.draw(st.lists(texts.filter(bool), min_size=size, max_size=size, unique=True))
    log = store.predictions(model, kinds)
    written = batch(ids, temp=..., carrier=..., **columns)
    log.append(written)
    [read] = log.read(*EVER)
    assert read.select(["id", *kinds]).to_pylist() == written.select(["id", *kinds]).to_pylist()


@REPEATED
@given(values=st.lists(st.none() | texts | st.just("\x00"), min_size=1, max_size=6))
def test_text_in_a_numeric_feature_is_parsed_or_returned(store: Store, values: list[str | None]) -> None:
    log = store.predictions(f"m{next(EXAMPLES)}", {"temp": "numeric"})
    log.append(batch(range(len(values)), temp=pa.array(values, pa.string()), carrier=...))
    read = {i: v for t in log.read(*EVER) for i, v in zip(t["id"].to_pylist(), t["temp"].to_pylist(), strict=True)}
    for i, value in enumerate(values):
        back = read[f"p{i}"]
        if isinstance(back, float):
            assert value is not None
            assert number_in(value) == back
        else:
            assert back == value or (back is None and math.isnan(float(str(value))))
