"""Worlds with a known truth, and how often Keel is wrong in them; tests run them small, ``validate`` in full."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from keel import DriftConfig, ReferenceGrid, detect
from keel.monitoring.quality import check_quality
from keel.stats.metrics.losses import Scored

ALPHA = 0.05
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


KINDS = dict.fromkeys(NUMERIC, "numeric") | dict.fromkeys(CATEGORICAL, "categorical")
WINDOWS_A_REFERENCE = 4


def false_alarms(rows: int, reference: int, trials: int) -> dict[str, float]:
    """Return the shares of unchanged windows in which drift, any one test, or quality said that something was wrong."""
    rng = np.random.default_rng([rows, reference])
    config = DriftConfig(alpha=ALPHA, min_rows=50)
    wrong = {"drift": 0, "any test": 0, "quality": 0}
    grid = None
    for trial in range(trials):
        if trial % WINDOWS_A_REFERENCE == 0 or grid is None:  # a reference is a sample too: each watched a few times
            grid = ReferenceGrid.fit(draw(rng, reference), KINDS, holdout=draw(rng, reference // 2), outputs=OUTPUTS)
        counts = grid.count(draw(rng, rows))
        report = detect(grid, counts, config)
        wrong["drift"] += report.status != "ok"
        wrong["any test"] += any(q <= ALPHA for column in report.columns for q in column.q_values.values())
        wrong["quality"] += check_quality(grid, counts, config=config).status != "ok"
    return {name: count / trials for name, count in wrong.items()}


def versions(n: int, *, seed: int, quality: float = 1.5, binary: bool = True) -> tuple[Scored, Scored]:
    """Return a champion of quality 1.5 and a challenger of ``quality``, with correlated scores, on the same rows."""
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < 0.3).astype(float)
    common = rng.standard_normal(n)

    def version(strength: float) -> Scored:
        if not binary:
            return Scored(label, np.full(n, np.nan), label + (2.5 - strength) * rng.standard_normal(n))
        raw = strength * label + np.sqrt(0.8) * common + np.sqrt(0.2) * rng.standard_normal(n)
        score = 1 / (1 + np.exp(1.2 - raw))
        return Scored(label, score, (score > 0.5).astype(float))

    return version(1.5), version(quality)
