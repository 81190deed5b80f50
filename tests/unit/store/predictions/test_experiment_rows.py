"""Rows of experiments, read in portions as narrow columns, are those that the plainest reading of the tables gives."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from keel.evaluation.experiment.analysis import evaluate
from keel.evaluation.experiment.outcomes import Assigned, Outcomes, outputs_for, read_rows
from keel.evaluation.experiment.plan import Plan, Stage
from keel.stats.metrics.losses import Estimate
from keel.store.predictions import experiment_rows as portions
from tests.support.store_fixtures import MICROSECONDS, NOON

if TYPE_CHECKING:
    from keel.store import Store

DELAY = timedelta(minutes=2)
SECOND = timedelta(seconds=1)
TRIALS = 12
START = NOON + 60 * SECOND
"""Some rows are from before it, and some not before `END`."""
END = NOON + 540 * SECOND


def plan(trial: int) -> Plan:
    shadow, metric = trial % 2 == 1, ("brier", "accuracy", "mae")[trial % 3]
    return Plan(
        experiment_id=f"e{trial}", model="m", champion=1, challenger=2, mode="shadow" if shadow else "ab",
        stages=() if shadow else (Stage(0.2, timedelta(minutes=3)), Stage(0.5)), salt="s", metric=metric, margin=0.0,
        alpha=0.05, max_outcomes=50, started_at=START, baseline=Estimate(0.2, 0.002, 5_000),
        min_duration=timedelta(minutes=5), label_delay=DELAY,
    )  # fmt: skip


def drawn(rng: np.random.Generator, made: Plan) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw rows with ties of time, entities that come again or are missing, rows without an arm; and labels."""
    n = int(rng.integers(0, 80))

    def maybe(values: Any, share: float = 0.1) -> list[Any]:
        return [None if missing else value for value, missing in zip(values, rng.random(n) < share, strict=True)]

    score, shadow = rng.random((2, n))
    no_arms = (0.0, 0.2, 1.0)[int(rng.integers(3))]
    rows = pd.DataFrame(
        {
            "id": [f"{letter}{made.experiment_id}-{i}" for i, letter in enumerate(rng.choice([*"aBéZ"], n))],
            "time": [NOON + int(second) * SECOND for second in rng.integers(0, 600, n) // 20 * 20],
            "version": pd.array(maybe(rng.integers(1, 4, n), 0.05), "Int64"),
            "score": pd.array(maybe(score * 1.02), "Float64"),
            "prediction": pd.array(maybe(np.round(score)), "Float64"),
            "arm": pd.array(maybe(rng.choice(["champion", "challenger", "other"], n, p=[0.5, 0.45, 0.05]), no_arms)),
            "allocation": pd.array(maybe(rng.choice([0.2, 0.5, 0.8, 1.0], n)), "Float64"),
            "entity": pd.array(maybe(rng.choice(["x", "y", "é", *(f"z{i}" for i in range(60))], n))),
            "experiment": rng.choice([made.experiment_id, "other"], n, p=[0.9, 0.1]),
            "shadow_version": pd.array(maybe(np.full(n, 2), 0.05), "Int64"),
            "shadow_score": pd.array(maybe(shadow), "Float64"),
            "shadow_prediction": pd.array(maybe(np.round(shadow)), "Float64"),
        }
    )
    labels = rows[["id", "time"]].assign(label=rng.integers(0, 2, n).astype(float))
    labels["observed_at"] = labels.pop("time") + pd.to_timedelta(rng.integers(-30, 300, n) // 10 * 10, unit="s")
    return rows, labels[rng.random(n) < 0.8]


def store_rows(store: Store, rows: pd.DataFrame, labels: pd.DataFrame) -> None:
    log, texts = store.predictions("m", {}), ("id", "arm", "entity", "experiment")
    for some in (rows.iloc[::2], rows.iloc[1::2]):
        columns = {name: pa.array([None if pd.isna(v) else v for v in some[name]]) for name in rows}
        columns |= {name: columns[name].cast(pa.string()) for name in texts}
        log.append(pa.table({**columns, "time": pa.array(list(some["time"]), MICROSECONDS)}))
    columns = {"id": pa.array(list(labels["id"]), pa.string()), "label": pa.array(list(labels["label"]), pa.float64())}
    log.add_labels(pa.table({**columns, "observed_at": pa.array(list(labels["observed_at"]), MICROSECONDS)}))


def plainly(made: Plan, rows: pd.DataFrame, labels: pd.DataFrame) -> tuple[pa.Table, pa.Table]:
    """Return the labelled first rows, and the first rows with an arm, with entities as texts."""
    rows = rows[(rows["experiment"] == made.experiment_id) & (rows["time"] >= START) & (rows["time"] < END)]
    rows = rows.assign(entity=rows["entity"].fillna(rows["id"]), bytes=[i.encode() for i in rows["id"]])
    rows = rows.sort_values(["time", "bytes"]).drop(columns="bytes")
    outcomes = rows.drop_duplicates("entity").merge(labels, on="id")
    assigned = rows[rows["arm"].notna()].drop_duplicates("entity")

    def table(frame: pd.DataFrame) -> pa.Table:
        texts = {n: pa.array([None if pd.isna(v) else v for v in frame[n]], pa.string()) for n in ("entity", "arm")}
        numbers = frame.drop(columns=["id", "experiment", "entity", "arm", "time", "observed_at"], errors="ignore")
        found = {name: pa.array(numbers[name].astype("Float64").to_numpy(float, na_value=math.nan)) for name in numbers}
        times = {n: pa.array(list(frame[n]), MICROSECONDS) for n in ("time", "observed_at") if n in frame}
        return pa.table({**texts, **found, **times})

    return table(outcomes), table(assigned)


def arrays(made: Plan, outcomes: Outcomes, assigned: Assigned) -> dict[str, Any]:
    """Return all that a verdict may look at."""
    output, scored = outputs_for(made)[0], {"answered": outcomes.answered}
    if made.mode == "shadow":
        scored["shadow"] = outcomes.shadow
    return {
        **{f"{of} {name}": vars(rows)[name] for of, rows in scored.items() for name in ("label", output)},
        **{name: value for name, value in vars(outcomes).items() if name not in ("answered", "shadow")},
        **{f"assigned {name}": value for name, value in vars(assigned).items()},
    }


@pytest.mark.parametrize("small", [False, True], ids=["whole", "in portions"])
def test_parse_labels_agrees_with_a_simple_parser(store: Store, small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if small:
        monkeypatch.setattr(portions, "_PORTION", 50_000_000)
        monkeypatch.setattr(portions, "_FEW", 3)
    rng, seen = np.random.default_rng(0), 0
    for trial in range(TRIALS):
        made = plan(trial)
        rows, labels = drawn(rng, made)
        store_rows(store, rows, labels)
        stored = store.predictions("m", {}).experiment_rows(made.experiment_id, START, END, outputs_for(made))
        naive = plainly(made, rows, labels)
        for minutes in (3, 6, 9, 20):
            now = START + timedelta(minutes=minutes)
            found, expected = (arrays(made, *read_rows(made, *tables, now=now)) for tables in (stored, naive))
            for name, values in expected.items():
                np.testing.assert_array_equal(found[name], values, err_msg=name)
            looks = [evaluate(made, *tables, now=now).to_dict() for tables in (stored, naive)]
            assert looks[0] == looks[1]
            seen += len(expected["time"])
    assert seen > 300
