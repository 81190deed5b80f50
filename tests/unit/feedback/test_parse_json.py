"""Labels as clients send them: whose they are, what is refused and how it is named, and what becomes of each."""

from __future__ import annotations

import hashlib
import math
import random
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.errors import BadRequest
from keel.feedback import as_identity, conflicts, label_table, prediction_id, submit_labels
from keel.feedback import parse_json as records
from keel.store import LabelResult, Store
from keel.workspace import Workspace
from tests.support.store_fixtures import EVER, MICROSECONDS
from tests.support.toy import toy_config

if TYPE_CHECKING:
    from keel.config import ModelConfig

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SOON = (NOW + timedelta(minutes=4)).isoformat()
CONFIG = toy_config()
REGRESSION = toy_config(
    target={"name": "bought", "kind": "regression"}, performance={"metric": "mae"}, model="toy_price"
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20) | st.sampled_from(
    ["a\n1", "a|b", "1\n2\n3", "\r\n", "é", "e\u0301", " a", "a ", "toy\n0\na"]
)
TIMES = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))]))
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True)


def row(**changes: Any) -> dict[str, Any]:
    values = {"id": "a", "label": 1, **changes}
    return {key: value for key, value in values.items() if value is not ...}


def by_entity(**changes: Any) -> dict[str, Any]:
    return row(**{"id": ..., "entity": "ann", "time": "2026-05-01T10:00:00Z", **changes})


class TestPredictionId:
    def test_prediction_id_equals_that_of_a_shell(self) -> None:
        time = datetime(2026, 1, 1, tzinfo=UTC)
        micros = int(time.timestamp()) * 10**6
        shell = subprocess.run(
            f"printf 'toy\\n{micros}\\nann' | sha256sum | cut -c1-32", shell=True, capture_output=True, text=True
        )
        assert prediction_id("toy", "ann", time) == shell.stdout.strip() == "3fa911e94b463f0c0fb105cd4b2f956c"

    @given(NAMES, TEXTS, TIMES, NAMES, TEXTS, TIMES)
    def test_prediction_id_differs_for_different_predictions(
        self, model: str, entity: str, time: datetime, model2: str, entity2: str, time2: datetime
    ) -> None:
        same = (model, entity, time) == (model2, entity2, time2)
        assert (prediction_id(model, entity, time) == prediction_id(model2, entity2, time2)) == same

    @given(TEXTS, st.integers(-(10**15), 10**15))
    def test_prediction_id_treats_separators_as_entity(self, entity: str, micros: int) -> None:
        time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
        assert prediction_id("toy", f"{micros}\n{entity}", time) != prediction_id("toy", entity, time)
        assert prediction_id("toy", entity + "\n", time) != prediction_id("toy", entity, time)

    def test_prediction_id_ignores_the_zone_and_sees_microseconds(self) -> None:
        there = NOW.astimezone(timezone(timedelta(hours=-7)))
        assert prediction_id("toy", "ann", there) == prediction_id("toy", "ann", NOW)
        later = NOW + timedelta(microseconds=1)
        assert prediction_id("toy", "ann", later) != prediction_id("toy", "ann", NOW)

    def test_prediction_id_of_a_naive_time_raises(self) -> None:
        with pytest.raises(ValueError, match="has no time zone"):
            prediction_id("toy", "ann", NOW.replace(tzinfo=None))

    def test_prediction_id_is_half_a_digest(self) -> None:
        full = hashlib.sha256(f"toy\n{int(NOW.timestamp()) * 10**6}\nann".encode()).hexdigest()
        assert prediction_id("toy", "ann", NOW) == full[:32]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "1 to 1024 bytes"),
        ("é" * 513, r"1 to 1024 bytes \(has 1026\)"),
        ("a\x00b", "NUL"),
        ("\ud83d", "surrogate"),
        (1.5, "not a fraction"),
        (True, "not true or false"),
        (None, "not null"),
        (["a"], "not a list"),
    ],
)
def test_as_identity_of_other_types_raises(value: object, says: str) -> None:
    with pytest.raises(BadRequest, match=f"entity: .*{says}"):
        as_identity(value, "entity")


class TestLabelTable:
    def test_label_table_has_the_columns_of_the_store(self) -> None:
        table = label_table([row(id="b"), row(label=0, observed_at="2026-05-01T13:30:00+02:00")], CONFIG, now=NOW)
        assert table.schema.types == [pa.string(), pa.float64(), MICROSECONDS]
        assert table.to_pylist() == [
            {"id": "b", "label": 1.0, "observed_at": NOW},
            {"id": "a", "label": 0.0, "observed_at": NOW - timedelta(minutes=30)},
        ]

    def test_entity_and_time_give_the_prediction_id(self) -> None:
        table = label_table([by_entity(), by_entity(entity=7)], CONFIG, now=NOW)
        time = datetime(2026, 5, 1, 10, tzinfo=UTC)
        assert table["id"].to_pylist() == [prediction_id("toy", "ann", time), prediction_id("toy", "7", time)]

    @pytest.mark.parametrize("label", [1, 1.0, True])
    def test_binary_label_accepts_three_spellings(self, label: object) -> None:
        assert label_table([row(label=label)], CONFIG, now=NOW)["label"].to_pylist() == [1.0]

    @pytest.mark.parametrize(
        ("item", "says"),
        [
            ("a", "must be an object"),
            (None, "must be an object"),
            ({"label": 1}, "id: missing: name the prediction by its id"),
            (row(id=None), "id: missing: name the prediction by its id"),
            (row(entity="ann", time="2026-05-01T10:00:00Z"), "id: stands beside entity"),
            (row(time="2026-05-01T10:00:00Z"), "id: stands beside entity or time"),
            (by_entity(time=...), "time: missing: entity alone"),
            (by_entity(entity=...), "entity: missing: time alone"),
            (by_entity(time="2026-05-01T10:00:00"), "time: has no time zone"),
            (by_entity(time="yesterday"), "time: must be an ISO 8601 time .*'yesterday'"),
            (by_entity(time=1777629600), "time: must be an ISO 8601 time"),
            (by_entity(time="2026-05-01T12:06:00Z"), "time: lies in the future"),
            (by_entity(time="0001-01-01T00:00:00+05:00"), "time: lies before the year 1"),
            (by_entity(entity=1.5), "entity: must be a text or a whole number"),
            (row(id=""), "id: must be of 1 to 1024"),
            (row(label=...), "label: missing"),
            (row(label=None), "label: missing"),
            (row(label=2), "label: must be 0 or 1"),
            (row(label=0.5), r"label: must be 0 or 1 .*\(got 0.5\)"),
            (row(label={"a": 1}), r"label: must be 0 or 1 .*\(got an object\)"),
            (row(label="one"), "label: must be 0 or 1"),
            (row(label=math.nan), "label: must be 0 or 1"),
            (row(label=[1]), "label: must be 0 or 1"),
            (row(observed_at="2026-05-01T12:06:00Z"), "observed_at: lies in the future"),
            (row(observed_at="2026-05-01"), "observed_at: has no time zone"),
            (row(observed_at=5), "observed_at: must be an ISO 8601"),
            (row(lable=1), "lable: unknown key; did you mean 'label'"),
        ],
    )
    @pytest.mark.parametrize("place", [0, 2])
    def test_invalid_item_names_place_and_key(self, item: object, says: str, place: int) -> None:
        items = [row(id=f"p{i}") for i in range(4)]
        items[place] = item  # type: ignore[call-overload]
        with pytest.raises(BadRequest, match=f"^item {place}: {says}") as caught:
            label_table(items, CONFIG, now=NOW)
        assert caught.value.status == 422

    @pytest.mark.parametrize("label", [True, "true", "1_000", "twelve", math.inf, math.nan, 10**400, None])
    def test_regression_label_that_is_no_number_raises(self, label: object) -> None:
        with pytest.raises(BadRequest, match="^item 1: label: "):
            label_table([row(), row(id="b", label=label)], REGRESSION, now=NOW)

    def test_regression_label_may_be_any_finite_number(self) -> None:
        found = label_table([row(label=12), row(id="b", label=-0.5)], REGRESSION, now=NOW)
        assert found["label"].to_pylist() == [12.0, -0.5]

    @pytest.mark.parametrize("items", [[], (), {}, "[]", None, {"id": "a", "label": 1}])
    def test_empty_list_and_other_types_raise(self, items: Any) -> None:
        with pytest.raises(BadRequest):
            label_table(items, CONFIG, now=NOW)

    def test_too_many_labels_raise_with_the_limit(self) -> None:
        few = toy_config(serving={"max_rows": 2})
        assert label_table([row(), row()], few, now=NOW).num_rows == 2
        with pytest.raises(BadRequest, match=r"3 labels at once; send at most 2 \(serving.max_rows\)") as caught:
            label_table([row(), row(), row()], few, now=NOW)
        assert caught.value.status == 413

    def test_time_within_the_clock_tolerance_is_accepted(self) -> None:
        found = label_table([by_entity(time=SOON, observed_at=SOON)], CONFIG, now=NOW)
        assert found["observed_at"].to_pylist() == [NOW + timedelta(minutes=4)]

    @pytest.mark.parametrize("seed", range(40))
    def test_uniform_parser_agrees_with_the_parser_of_each(self, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """The fast way takes only what the careful one takes, and makes the same of it."""
        rng = random.Random(seed)
        config = rng.choice([CONFIG, REGRESSION])
        make = rng.choice([row, by_entity])
        plain = {"label": [0, 1, 1.0, 0.0], "observed_at": ["2026-05-01T11:00:00+01:00", "2026-04-01T00:00:00.5Z"]}
        odd = {"label": [True, 2, 0.5, math.nan, 10**400, None, "1"], "observed_at": [SOON, "2027-01-01T00:00:00Z",
               "2026-05-01T11:00:00", None, 3], "id": ["", "é", "x" * 1025, 7], "entity": ["", "\x00", "\ud800", 7],
               "time": ["2027-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "now", "2026-04-01T00:00:00"]}  # fmt: skip
        items = [
            make(
                label=rng.choice(plain["label"]),
                **({"observed_at": rng.choice(plain["observed_at"])} if seed % 2 else {}),
            )
            for _ in range(20)
        ]
        if seed % 4 > 1:
            item = rng.choice(items)
            key = rng.choice(list(item))
            item[key] = rng.choice(odd[key])
        with monkeypatch.context() as patched:
            patched.setattr(records, "parse_uniform", lambda *_: None)
            careful = outcome_of(items, config)
        assert outcome_of(items, config) == careful
        if seed % 4 < 2:
            assert records.parse_uniform(items, config, NOW) == careful


def outcome_of(items: list[dict[str, Any]], config: ModelConfig) -> pa.Table | str:
    try:
        return label_table(items, config, now=NOW)
    except BadRequest as error:
        return str(error)


def test_labels_by_entity_join_early_or_late_and_conflicts_are_listed(store: Store) -> None:
    registry: Any = None
    workspace = Workspace(Path(), store, registry)
    log = store.predictions("toy", dict(CONFIG.features))
    times = [NOW - timedelta(hours=hours) for hours in (3, 2)]
    early, late = (by_entity(time=time.isoformat(), label=1) for time in times)

    def predicted(time: datetime) -> None:
        columns = {"id": [prediction_id("toy", "ann", time)], "time": pa.array([time], MICROSECONDS)}
        log.append(pa.table({**columns, "version": [1], "score": [0.5], "prediction": [1.0]}))

    def handed(*items: dict[str, Any], now: datetime = NOW) -> LabelResult:
        return submit_labels(workspace, CONFIG, label_table(items, CONFIG, now=now))

    predicted(times[1])
    assert handed(early, late) == LabelResult(stored=2, duplicates=0, conflicts=0, unmatched=1)
    predicted(times[0])
    assert log.labelled(*EVER, features=False)["label"].to_pylist() == [1.0, 1.0]
    assert handed(early, late) == LabelResult(stored=0, duplicates=2, conflicts=0, unmatched=0)
    assert conflicts(workspace, CONFIG) == []
    later = NOW + timedelta(minutes=1)
    assert handed({**late, "label": 0}, now=later) == LabelResult(stored=0, duplicates=0, conflicts=1, unmatched=0)
    assert conflicts(workspace, CONFIG) == [
        {"id": prediction_id("toy", "ann", times[1]), "label": 1.0, "observed_at": NOW,
         "other_label": 0.0, "other_observed_at": later}
    ]  # fmt: skip
    assert conflicts(workspace, REGRESSION) == []
