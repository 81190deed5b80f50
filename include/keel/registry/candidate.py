"""A trained estimator with everything that is stored with its version."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keel.errors import TrainingFailed
from keel.registry.pinned_code import copy_code

if TYPE_CHECKING:
    import pandas as pd

    from keel.config import ModelConfig
    from keel.grid.contexts import ContextReference
    from keel.grid.reference import ReferenceGrid

PROJECT = "models."
TRUSTED_PREFIXES = ("sklearn.", "numpy.", "scipy.", PROJECT, "collections.", "builtins.")
"""Types that a model may contain: those of the libraries that Keel pins, and of the project's own pipelines."""


@dataclass(frozen=True)
class Candidate:
    """A trained estimator with everything that is stored with its version."""

    estimator: Any
    example: pd.DataFrame
    grid: ReferenceGrid
    reference: Mapping[str, Any]
    """The baseline of later checks: holdout metrics, loss, threshold and windows, as JSON values."""
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    contexts: ContextReference | None = None
    """The reference of the live monitors; without it they know the grid alone."""


def log_estimator(config: ModelConfig, candidate: Candidate) -> Any:
    """Log the estimator with its signature into MLflow's active run; `TrainingFailed` for untrusted types."""
    import mlflow
    import sklearn
    from mlflow.models import infer_signature

    predict = "predict_proba" if config.target.kind == "binary" else "predict"
    output = getattr(candidate.estimator, predict)(candidate.example)
    types = _trusted_types(candidate.estimator)
    with tempfile.TemporaryDirectory() as folder:
        code = copy_code((name for name in types if name.startswith(PROJECT)), Path(folder))
        return mlflow.sklearn.log_model(
            candidate.estimator,
            name="model",
            signature=infer_signature(candidate.example, output),
            pyfunc_predict_fn=predict,
            skops_trusted_types=types,
            code_paths=code or None,
            # Given, because inferring the same list takes ten seconds.
            pip_requirements=[f"scikit-learn=={sklearn.__version__}", "skops", "pandas"],
        )


def _trusted_types(estimator: Any) -> list[str]:
    from skops import io as skops

    needed: list[str] = skops.get_untrusted_types(data=skops.dumps(estimator))
    refused = [name for name in needed if not name.startswith(TRUSTED_PREFIXES)]
    if refused:
        raise TrainingFailed(
            f"the estimator contains types that Keel does not trust to load: {', '.join(refused)}; "
            f"trusted are {', '.join(TRUSTED_PREFIXES)}"
        )
    return needed
