"""Score with a loaded version, check that it fits the features, and convert features for estimators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.errors import ConfigError, KeelError, NotPromotable, SchemaError
from keel.values.columns import name_texts, read_column, read_numbers
from keel.values.scalars import category_in

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from keel.config import ModelConfig
    from keel.grid.reference import ReferenceGrid

    Spellings = Mapping[str, Mapping[str, str]]
    Inputs = Mapping[str, str] | None
    """The columns that a version needs, with MLflow's types; None for a signature without column names."""

MLFLOW_TYPES = {"numeric": "double", "categorical": "string"}
"""The types of the features from `to_model_input`."""


class ScoringModel:
    """A loaded version that computes scores and predictions from features.

    spellings: by categorical feature, name → the spelling that the version was trained on; see `trained_spellings`.
    """

    def __init__(
        self,
        config: ModelConfig,
        version: int,
        pyfunc: Any,
        threshold: float | None,
        spellings: Spellings | None = None,
    ) -> None:
        self.config, self.version, self.threshold, self.spellings = config, version, threshold, spellings or {}
        self._pyfunc = pyfunc

    @property
    def pyfunc(self) -> Any:
        """The version as MLflow loaded it."""
        return self._pyfunc

    def score(self, features: pa.Table) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return ``(score, prediction)``, each of shape (rows,).

        Binary: P(positive) and the decision 0 or 1 at the threshold. Regression: NaN and the value. SchemaError for a
        feature that cannot be read as its kind.
        """
        if not features.num_rows:  # estimators reject tables without rows
            return np.empty(0), np.empty(0)
        frame = to_model_input(features, self.config)
        for name, spelt in self.spellings.items():
            frame[name] = frame[name].replace(spelt)
        return self.read(np.asarray(self._pyfunc.predict(frame)))

    def read(self, raw: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return ``(score, prediction)``, as `score` does, from the raw output of the version."""
        if self.config.target.kind == "regression":
            value = raw.astype(np.float64).reshape(-1)
            return np.full(len(value), np.nan), value
        score = raw[:, 1].astype(np.float64)
        assert self.threshold is not None
        return score, (score >= self.threshold).astype(np.float64)


def trained_spellings(grid: ReferenceGrid) -> Spellings:
    """Return what a version of an earlier release knows under another name than `keel.values` gives it; mostly nothing.

    Such a version was trained on categories as they were written, such as ``True`` for ``true`` or ``3.0`` for ``3``.
    """
    found: dict[str, dict[str, str]] = {}
    for name in grid.features:
        vocabulary = grid.column(name).vocabulary
        spelt = {category_in(each): each for each in reversed(vocabulary) if category_in(each) != each}
        if spelt := {read: each for read, each in spelt.items() if read not in vocabulary}:
            found[name] = spelt
    return found


def require_features(config: ModelConfig, version: int, needed: Iterable[str]) -> None:
    """Raise `ConfigError` for a feature of a version that is missing in the configuration.

    Such a feature would not be logged, and the version would be checked on data that looks broken.
    """
    if gone := [name for name in needed if name not in config.features]:
        raise ConfigError(
            f"{config.model}: features: version {version} needs {', '.join(gone)}, which is not configured any more: "
            "put it back, and leave it out in the pipeline until no deployed version needs it"
        )


def require_inputs(config: ModelConfig, version: int, inputs: Inputs) -> None:
    """Raise `ConfigError` for a version that does not fit the configured features, as `require_features` does."""
    require_features(config, version, inputs or ())
    if found := misfits(config, inputs):
        raise ConfigError(f"{config.model}: features: version {version} {'; '.join(found)}")


def require_signature(config: ModelConfig, version: int, inputs: Inputs) -> None:
    """Raise `NotPromotable`, with the columns, for a version that does not fit the features in production."""
    if found := misfits(config, inputs):
        raise NotPromotable(
            f"{config.model}: version {version} does not fit the features in production: it {'; it '.join(found)}; "
            f"correct features in model.yaml, or train another: airflow dags trigger {config.model}.retrain"
        )


def require_sent(config: ModelConfig, version: int, inputs: Inputs, rows: pa.Table) -> None:
    """Raise `NotPromotable` for a version that needs a column that none of these recent requests had.

    The scoring service rejects requests without it, so every client would get errors after the promotion.
    """
    if rows.num_rows and (unsent := [name for name in inputs or () if name not in rows.column_names]):
        raise NotPromotable(
            f"{config.model}: version {version} needs {', '.join(unsent)}, which none of the last {rows.num_rows} "
            "predictions had, so requests would be rejected: let the clients send it first, or train a version without "
            f"it: airflow dags trigger {config.model}.retrain"
        )


def misfits(config: ModelConfig, inputs: Inputs) -> list[str]:
    """Return how a version does not fit the configured features, as predicates; empty if it fits.

    A feature that it does not need is no misfit, because the version does not get it.
    """
    if inputs is None:
        return ["has no signature that names its columns"]
    found = [f"needs {name}, which is not configured" for name in inputs if name not in config.features]
    for name, kind in config.features.items():
        wanted = inputs.get(name, MLFLOW_TYPES[kind])
        if wanted != MLFLOW_TYPES[kind]:
            found.append(f"needs {name} as {wanted}, which is configured as {kind} ({MLFLOW_TYPES[kind]})")
    return found


def inputs_of(pyfunc: Any) -> Inputs:
    """Return the columns that the signature of a loaded MLflow model names."""
    schema = pyfunc.metadata.get_input_schema()
    if schema is None or schema.is_tensor_spec() or not schema.has_input_names():
        return None
    return {column.name: getattr(column.type, "name", str(column.type)) for column in schema.inputs}


def loaded(config: ModelConfig, version: int, load: Callable[[], Any]) -> Any:
    """Return the result of ``load``; `NotPromotable` for any error that is not Keel's own."""
    try:
        return load()
    except KeelError:
        raise
    except Exception as error:
        raise _not_usable(config, version, "cannot be loaded", error) from error


def require_scores(model: ScoringModel, rows: pa.Table) -> None:
    """Raise `NotPromotable` for a version that cannot score the rows, or with values its target cannot have."""
    config = model.config
    if config.target.kind == "binary" and model.threshold is None:
        raise NotPromotable(
            f"{config.model}: version {model.version} has no threshold, so it was not trained for a binary target; "
            f"train another: airflow dags trigger {config.model}.retrain"
        )
    try:
        score, prediction = model.score(rows)
    except KeelError:
        raise
    except Exception as error:
        raise _not_usable(config, model.version, "cannot score the features in production", error) from error
    shown = prediction if config.target.kind == "regression" else score
    wrong = ~np.isfinite(shown)
    if config.target.kind == "binary":
        wrong |= (shown < 0) | (shown > 1)
    if wrong.any():
        wanted = "finite numbers" if config.target.kind == "regression" else "probabilities"
        raise NotPromotable(
            f"{config.model}: version {model.version} gives {int(wrong.sum())} of {len(shown)} rows scores that are no "
            f"{wanted}, such as {shown[wrong][0]}; train another: airflow dags trigger {config.model}.retrain"
        )


def _not_usable(config: ModelConfig, version: int, what: str, error: Exception) -> NotPromotable:
    return NotPromotable(
        f"{config.model}: version {version} {what}: {type(error).__name__}: {error}; "
        f"train another: airflow dags trigger {config.model}.retrain"
    )


def to_model_input(features: pa.Table, config: ModelConfig) -> pd.DataFrame:
    """Return the features as the data frame that versions are trained on and score, as `keel.values` reads them.

    Numeric features are float64, categorical ones pandas' str, both with NaN for missing values. Infinities become NaN
    too, because most estimators reject them and one in the training rows would fail every retrain. Grid and quality
    check still count them as infinite. Missing columns become missing values; the quality check decides whether that is
    acceptable. SchemaError for values that cannot be read as the feature's kind.
    """
    import pandas as pd
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for name, kind in config.features.items():
        column = read_column(features, name)
        if column is None:
            column = pa.nulls(features.num_rows)
        if kind == "numeric":
            values, invalid = read_numbers(column)
            values = np.where(np.isinf(values), np.nan, values) if np.isinf(values).any() else values
        else:
            names, invalid = name_texts(column)
            # The type is explicit, so that a column with only missing values has it, too.
            values = pd.array(names.to_numpy(zero_copy_only=False), dtype="str")
        if invalid is not None and invalid.any():
            row = int(np.flatnonzero(invalid)[0])
            raise SchemaError(
                f"{config.model}: feature {name!r} cannot be read as {kind}: row {row} holds {str(column[row])[:60]!r}"
            )
        columns[name] = values
    return pd.DataFrame(columns)
