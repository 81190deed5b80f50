"""A loaded version that scores, and the one form in which features reach any estimator."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.errors import ConfigError, SchemaError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from keel.config import ModelConfig


class ScoringModel:
    """A loaded version that turns features into scores and predictions."""

    def __init__(self, config: ModelConfig, version: int, pyfunc: Any, threshold: float | None) -> None:
        self.config, self.version, self.threshold = config, version, threshold
        self._pyfunc = pyfunc

    def score(self, features: pa.Table) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return ``(score, prediction)``, each of shape (rows,).

        Binary: P(positive) and its thresholded decision 0/1. Regression: NaN and the value. SchemaError for a feature
        that cannot be read as its kind.
        """
        if not features.num_rows:  # estimators refuse what has no rows
            return np.empty(0), np.empty(0)
        raw = np.asarray(self._pyfunc.predict(to_model_input(features, self.config)))
        if self.config.target.kind == "regression":
            value = raw.astype(np.float64).reshape(-1)
            return np.full(len(value), np.nan), value
        score = raw[:, 1].astype(np.float64)
        assert self.threshold is not None
        return score, (score >= self.threshold).astype(np.float64)


def require_features(config: ModelConfig, version: int, needed: Iterable[str]) -> None:
    """Raise `ConfigError` for a feature of a version that was taken out of the configuration.

    It would neither be logged nor read any more, and the version would be judged on data that looks broken.
    """
    if gone := [name for name in needed if name not in config.features]:
        raise ConfigError(
            f"{config.model}: features: version {version} needs {', '.join(gone)}, which is not there any more; "
            "put it back, and leave it out in the pipeline until no deployed version needs it"
        )


def to_model_input(features: pa.Table, config: ModelConfig) -> pd.DataFrame:
    """Return the features as the data frame every version is trained on and scored with.

    Numeric features are float64, categorical ones pandas' str, both with NaN for missing. An infinity becomes NaN too:
    most estimators refuse it, and one in the training rows would fail every retrain. Grid and quality check still count
    it as infinite. Missing columns become all-missing: whether that is acceptable is the quality check's decision.
    SchemaError for a column of values that cannot be read as its kind.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    columns: dict[str, Any] = {}
    for name, kind in config.features.items():
        wanted = pa.float64() if kind == "numeric" else pa.string()
        column = features[name] if name in features.column_names else pa.nulls(features.num_rows, wanted)
        try:
            cast = pc.cast(column, wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise SchemaError(f"{config.model}: feature {name!r} cannot be read as {kind}: {error}") from error
        values = (cast if isinstance(cast, pa.Array) else cast.combine_chunks()).to_numpy(zero_copy_only=False)
        if kind == "numeric" and np.isinf(values).any():
            values = np.where(np.isinf(values), np.nan, values)
        columns[name] = values
    return pd.DataFrame(columns)
