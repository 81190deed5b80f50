"""A small model with a known truth, and the rows it lives on: P(label) = σ(1.5·x), or its opposite when flipped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from keel.config import ModelConfig

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def toy_config(**changes) -> ModelConfig:
    raw = {
        "model": "toy",
        "owner": "tests",
        "target": {"name": "bought", "label_delay": "24h"},
        "features": {"x": "numeric", "z": "numeric", "colour": "categorical"},
        "check": {"schedule": None, "lookback": "7d"},
        "drift": {"min_rows": 200},
        "performance": {"metric": "brier", "max_degradation": 0.01, "min_rows": 200, "extra_metrics": ["roc_auc"]},
        "retrain": {"pipeline": "tests.support.pipelines.toy", "window": "30d", "holdout": "7d", "min_rows": 200},
        "alerts": {"email": ["oncall@example.com"]},
    }
    return ModelConfig.model_validate({**raw, **changes})


def toy_rows(start=START, *, days=1, per_hour=20, seed=0, shift=0.0, flip=False) -> pa.Table:
    """Labelled rows, ``per_hour`` an hour from ``start``; ``shift`` moves x, ``flip`` turns the relation round."""
    n = round(days * 24) * per_hour
    rng = np.random.default_rng([seed, int(start.timestamp())])
    x = rng.normal(shift, 1, n)
    chance = 1 / (1 + np.exp((1.5 if flip else -1.5) * x))
    seconds = np.arange(n) * 3600 // per_hour
    times = np.datetime64(start.replace(tzinfo=None), "us") + seconds.astype("timedelta64[s]").astype("timedelta64[us]")
    return pa.table(
        {
            "id": [f"{start:%Y%m%dT%H}-{seed}-{i}" for i in range(n)],
            "time": pa.array(times, pa.timestamp("us", "UTC")),
            "label": (rng.random(n) < chance).astype(float),
            "x": x,
            "z": rng.exponential(1, n),
            "colour": pa.array(rng.choice(["red", "green", "blue"], n, p=[0.5, 0.3, 0.2])),
        }
    )
