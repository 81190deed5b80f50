"""Versions as the service holds them, made from an estimator without a registry; and estimators that fail."""

from __future__ import annotations

import tempfile
from itertools import count

from keel.grid.reference import ReferenceGrid
from keel.registry.scoring_model import ScoringModel, to_model_input
from keel.serving.models.input_schema import Inputs
from keel.serving.models.loaded_version import ServedVersion
from keel.serving.models.slots import Served
from keel.serving.models.warmup_rows import typical_rows

MICROSECONDS = count(1_767_225_600_000_000)
"""2026-01-01, the toy model's first day."""


def clock(rows):
    """Return a time; every row gets its own microsecond."""
    return [next(MICROSECONDS) for _ in range(rows)][0]


def load(estimator, config, rows):
    """Save an estimator as `keel.registry.candidate` does, and load it as MLflow does."""
    import mlflow
    from mlflow.models import infer_signature
    from skops import io as skops

    example = to_model_input(rows.slice(0, 5), config)
    method = "predict_proba" if config.target.kind == "binary" else "predict"
    with tempfile.TemporaryDirectory() as folder:
        mlflow.sklearn.save_model(
            estimator,
            folder,
            signature=infer_signature(example, getattr(estimator, method)(example)),
            pyfunc_predict_fn=method,
            pip_requirements=["scikit-learn"],
            skops_trusted_types=skops.get_untrusted_types(data=skops.dumps(estimator)),
        )
        return mlflow.pyfunc.load_model(folder)


def version(estimator, config, rows, number=1, threshold=0.5, **options):
    """Return a version with an estimator that was fitted to ``rows``."""
    grid = ReferenceGrid.fit(rows, dict(config.features))
    inputs = Inputs.of(config, ())
    model = ScoringModel(
        config, number, load(estimator, config, rows), threshold if config.target.kind == "binary" else None
    )
    return ServedVersion(model, typical_rows(grid, inputs), **options)


def served(config, production, challenger=None, plan=None):
    """Return the versions that answer a model's requests."""
    return Served(config.model, Inputs.of(config, production.needed), production, challenger, plan)


class Fussy:
    """A classifier that raises for any row beyond ``limit``, and counts its calls."""

    def __init__(self, estimator, limit=1e6):
        self.estimator, self.limit, self.calls = estimator, limit, 0

    def predict_proba(self, features):
        self.calls += 1
        if (features["x"].abs() > self.limit).any():
            raise ValueError("this is too much")
        return self.estimator.predict_proba(features)
