"""Keel's live monitors on river's FriedmanDrift, set up as in the published comparison of PITMonitor.

A regression is trained once, on rows before the drift. Each trial is a new stream of 2,500 rows before and 2,500 after.
Keel has the trained version's holdout, from which it takes what is tolerated, and bounds the false alarms over the
whole stream. river's ADWIN runs on the same squared errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import friedman
from benchmarks.live import ALPHA, Floats, Integers, river_alarms
from keel import ReferenceGrid
from keel.grid.contexts import ContextReference
from keel.monitoring.live.loss_test import LossTest
from keel.stats.metrics.losses import Estimate
from keel.stats.sequential.bounded_losses import BoundedLoss, bounded_loss
from keel.stats.sequential.conformal import BETS, ConformalRanks
from keel.stats.sequential.e_detector import EDetector

TRAINING, HOLDOUT, BEFORE, AFTER = 8_000, 2_000, 2_500, 2_500
"""The published comparison trains on all 10,000."""
BLOCK_SIZES = (10, 100)
MONITORS = friedman.FEATURES + 2
"""Features, prediction and loss."""


@dataclass(frozen=True)
class Version:
    """A trained regression with what Keel keeps of it."""

    estimator: Any
    reference: ContextReference
    loss: BoundedLoss
    limit: float

    def predict(self, x: Floats) -> Floats:
        """Return predictions, shape (rows,)."""
        predicted: Floats = self.estimator.predict(x)
        return predicted

    def table(self, x: Floats) -> pa.Table:
        """Return rows as they are logged."""
        return pa.table({f"x{i}": c for i, c in enumerate(x.T.copy())} | {"prediction": self.predict(x)})


@lru_cache(maxsize=1)
def trained() -> Version:
    """Return the version, always the same."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = TRAINING + HOLDOUT
    x, y = friedman.stream("gra", np.random.default_rng(0), rows, change=rows)
    network = MLPRegressor(
        hidden_layer_sizes=(64, 64), activation="tanh", learning_rate_init=2e-3, early_stopping=True,
        n_iter_no_change=30, random_state=0,
    )  # fmt: skip
    estimator = TransformedTargetRegressor(make_pipeline(StandardScaler(), network), transformer=StandardScaler())
    estimator.fit(x[:TRAINING], y[:TRAINING])
    squared = (y[TRAINING:] - estimator.predict(x[TRAINING:])) ** 2
    baseline = Estimate(float(squared.mean()), float(squared.std()) / math.sqrt(HOLDOUT), HOLDOUT)
    loss = bounded_loss("rmse", baseline)
    assert loss is not None
    version = Version(estimator, None, loss, loss.limit(baseline, 0.01))  # type: ignore[arg-type]
    training, holdout = version.table(x[:TRAINING]), version.table(x[TRAINING:])
    features = {f"x{i}": "numeric" for i in range(friedman.FEATURES)}
    grid = ReferenceGrid.fit(training, features, holdout=holdout, outputs={"prediction": "numeric"})
    reference = ContextReference.fit(grid, training, holdout=holdout)
    return Version(estimator, reference, loss, version.limit)


def first_row(evidence: Floats, block_size: int, monitors: int) -> int:
    """Return the rows up to the first alarm of any of some of a model's monitors; -1 for never.

    evidence: shape (blocks,) or (blocks, columns). The bound is that of all ``monitors`` over all blocks.
    """
    threshold = math.log(monitors * len(evidence) / ALPHA)
    crossed = (evidence.reshape(len(evidence), -1) >= threshold).any(axis=1)
    return (int(crossed.argmax()) + 1) * block_size if crossed.any() else -1


def trial(kind: str, seed: int, block_size: int) -> tuple[int, int]:
    """Return the rows up to the first alarm of the loss monitor alone, and of all monitors together; -1 for never."""
    version = trained()
    x, y = friedman.stream(kind, np.random.default_rng([1, seed]), BEFORE + AFTER, BEFORE)
    rows = version.table(x)
    losses = np.minimum((y - rows["prediction"].to_numpy()) ** 2 / version.loss.cap, 1.0)
    test = LossTest(version.limit, low=0.0, block_size=block_size)
    harm = test.feed(np.column_stack([losses, np.arange(len(losses))])).evidence
    ranks, detector = ConformalRanks(version.reference.counts), EDetector.fresh(MONITORS - 1, BETS)
    bins, contexts = version.reference.assign(rows)
    uniforms = np.random.Generator(np.random.Philox(seed)).random(bins.shape)
    shift = detector.update(ranks.log_factors(bins, contexts, uniforms, block_size=block_size)).evidence
    every = np.column_stack([shift, harm])
    return first_row(harm, block_size, 1), first_row(every, block_size, MONITORS)


def adwin(kind: str, trials: range) -> Integers:
    """Return the rows up to ADWIN's first alarm on the squared errors of the same streams; -1 for never."""
    version, squared = trained(), []
    for seed in trials:
        x, y = friedman.stream(kind, np.random.default_rng([1, seed]), BEFORE + AFTER, BEFORE)
        squared.append((y - version.predict(x)) ** 2)
    return river_alarms(np.column_stack(squared), ["ADWIN"])["ADWIN"]
