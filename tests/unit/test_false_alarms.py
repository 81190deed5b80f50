"""With nothing wrong, the whole model is reported not ok with probability at most alpha, at every window size."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from keel import DriftConfig, ReferenceGrid, detect
from keel.checks.quality import check_quality

ALPHA = 0.05
TRIALS = 200
NUMERIC = ["normal", "correlated", "skewed", "flag", "counted", "zeros", "gappy", "heavy"]
CATEGORICAL = ["few", "rare", "many", "long_tail", "identifier"]
OUTPUTS = {"score": "numeric", "prediction": "categorical"}


def draw(rng: np.random.Generator, rows: int) -> pa.Table:
    """Every kind of column a model has, hard ones included, from one unchanging world."""
    normal = rng.normal(size=rows)
    score = rng.beta(2, 5, rows)
    return pa.table(
        {
            "normal": normal,
            "correlated": normal + 0.3 * rng.normal(size=rows),
            "skewed": np.exp(2 * rng.normal(size=rows)),
            "flag": (rng.random(rows) < 0.03).astype(float),
            "counted": rng.poisson(2, rows),
            "zeros": np.where(rng.random(rows) < 0.7, 0.0, rng.exponential(size=rows)),
            "gappy": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows)),
            "heavy": rng.standard_cauchy(rows),
            "few": rng.choice(["a", "b", "c"], rows, p=[0.5, 0.3, 0.2]),
            "rare": rng.choice(["a", "b", "c"], rows, p=[0.995, 0.003, 0.002]),
            "many": rng.integers(0, 30, rows).astype(str),
            "long_tail": np.minimum(rng.zipf(1.5, rows), 10**6).astype(str),
            "identifier": rng.integers(0, 2000, rows).astype(str),
            "score": score,
            "prediction": (score > 0.5).astype(float),
        }
    )


@pytest.mark.parametrize(("rows", "reference"), [(50, 1000), (100, 2000), (500, 5000), (2500, 1000)])
def test_false_alarms_stay_below_alpha(rows: int, reference: int) -> None:
    rng = np.random.default_rng([rows, reference])
    kinds = dict.fromkeys(NUMERIC, "numeric") | dict.fromkeys(CATEGORICAL, "categorical")
    config = DriftConfig(alpha=ALPHA, min_rows=50)
    alarms = significant = broken = 0
    grid = None
    for trial in range(TRIALS):
        if trial % 4 == 0 or grid is None:  # a reference is a sample too: many of them, each watched for four windows
            grid = ReferenceGrid.fit(draw(rng, reference), kinds, holdout=draw(rng, reference // 2), outputs=OUTPUTS)
        counts = grid.count(draw(rng, rows))
        report = detect(grid, counts, config)
        alarms += report.status != "ok"
        significant += any(q <= ALPHA for column in report.columns for q in column.q_values.values())
        broken += check_quality(grid, counts, config=config).status != "ok"
    # Three standard errors of a share of ALPHA; windows on one reference share its luck, hence independent fourths.
    bound = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / (TRIALS / 4))
    assert alarms / TRIALS <= bound
    assert broken / TRIALS <= bound
    assert significant / TRIALS <= bound


def test_a_change_is_still_found() -> None:
    """A test that never alarms keeps its level too."""
    rng = np.random.default_rng(0)
    kinds = dict.fromkeys(NUMERIC, "numeric") | dict.fromkeys(CATEGORICAL, "categorical")
    grid = ReferenceGrid.fit(draw(rng, 5000), kinds)
    found = 0
    for _ in range(20):
        window = draw(rng, 500)
        moved = pa.array(window["normal"].to_numpy() + 0.7)
        found += detect(grid, grid.count(window.set_column(0, "normal", moved))).column("normal").severity != "ok"
    assert found == 20


@pytest.mark.parametrize(("reference", "rows"), [(1000, 100), (1000, 20_000), (5000, 5000)])
def test_identifiers_bring_new_categories_at_their_own_rate(reference: int, rows: int) -> None:
    """The reference chose the vocabulary, of 1,000 at most: its own count of `other` is too small by that choice."""
    rng = np.random.default_rng([reference, rows])
    trials = 150
    rejected = 0
    for _ in range(trials):
        names = pa.table({"c": rng.integers(0, 2000, reference).astype(str)})
        grid = ReferenceGrid.fit(names, {"c": "categorical"})
        window = pa.table({"c": rng.integers(0, 2000, rows).astype(str)})
        rates = detect(grid, grid.count(window), DriftConfig(min_rows=50)).column("c").evidence.rates
        rejected += rates["new_categories"].p_value <= ALPHA
    assert rejected / trials <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / trials)
