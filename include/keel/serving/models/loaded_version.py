"""A loaded version: scores requests with the same numbers as MLflow's pyfunc, on the fastest path that gives them.

Pyfunc checks every request against the signature, which this service has done already. A scikit-learn pipeline takes
milliseconds to turn a data frame into a matrix. A faster path is used only if it gives the same bits as pyfunc on test
rows when the version is loaded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.errors import ScoringFailed
from keel.registry.scoring_model import inputs_of
from keel.serving.models.fast_paths import fast_paths
from keel.serving.models.warmup_rows import unusual_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from keel.registry.scoring_model import ScoringModel
    from keel.serving.models.input_schema import Features

    Predict = Callable[[Features], Any]
    Scored = tuple[list[Any], NDArray[np.float64], NDArray[np.float64]]
    FastPaths = Callable[..., Iterator[tuple[str, Predict]]]

log = logging.getLogger(__name__)

SINGLE_ROWS = 4
"""Test rows that are also scored one by one, as libraries may treat a single row differently."""
PRELOADED = (
    "mlflow.pyfunc",
    "mlflow.sklearn",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "pandas",
    "skops.io",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "threadpoolctl",
)


def preload() -> None:
    """Import the libraries that would take seconds of the first load; libraries that are not installed are skipped.

    Versions of another flavour than scikit-learn import their own libraries when they are loaded.
    """
    for name in PRELOADED:
        with suppress(Exception):
            import_module(name)


def limit_to_one_thread() -> Any:
    """Limit the loaded numerical libraries to the calling thread, from now on or inside a with block.

    For the few rows of a request, waking other threads costs more than they compute, and on a busy machine a call waits
    for the slowest of them.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    return threadpool_limits(1)


class ServedVersion:
    """A version that scores requests.

    Parameters
    ----------
    model
        The loaded model.
    warmup
        Rows like those that the version was trained on, to warm it with.
    paths
        Gives the fast paths to try; see `fast_paths`.

    Attributes
    ----------
    needed
        The columns of its signature, in order.
    path
        The scoring path in use: ``direct``, ``estimator`` or ``mlflow``.

    Raises
    ------
    ScoringFailed
        The version cannot score the warm-up rows.

    """

    def __init__(self, model: ScoringModel, warmup: Features, *, paths: FastPaths = fast_paths) -> None:
        self.model, self.number = model, model.version
        self.needed = tuple(inputs_of(model.pyfunc) or ())
        self.is_binary = model.config.target.kind == "binary"
        self.predict: Predict = self._predict_with_mlflow
        with limit_to_one_thread():
            self.score(warmup)
            self.path = self._choose_path(warmup, paths)
            self.score(warmup)

    def score(self, features: Features) -> Scored:
        """Return the version's output for each row, as MLflow's server gives it, with scores and predictions.

        Raises
        ------
        ScoringFailed
            The version raises for these rows, or does not return one output per row.

        """
        name, size = f"{self.model.config.model}: version {self.number}", features.rows
        try:
            raw = self.predict(features.spelt(self.model.spellings) if self.model.spellings else features)
            rows = _to_json(raw)
            score, prediction = self.model.read(np.asarray(raw))
        except Exception as error:
            summary = f"{name} failed on these rows: {type(error).__name__}"
            raise ScoringFailed(f"{summary}: {error}", without_values=summary) from error
        if not len(rows) == len(score) == size:
            raise ScoringFailed(f"{name} gave {len(rows)} outputs for {size} rows")
        return rows, score, prediction

    def _predict_with_mlflow(self, features: Features) -> Any:
        return self.model.pyfunc.predict(features.to_frame(self.needed))

    def _choose_path(self, warmup: Features, paths: FastPaths) -> str:
        """Use the fastest path that gives the same bits as pyfunc on typical and unusual rows; return its name."""
        test_rows = [warmup, unusual_rows(warmup), *(warmup.take(np.array([row])) for row in range(SINGLE_ROWS))]
        expected = [_output(self._predict_with_mlflow, rows) for rows in test_rows]
        for name, predict in paths(self.model.pyfunc, self.needed, self.model.config.features):
            found = [_output(predict, rows) for rows in test_rows]
            if all(map(_same, found, expected)):
                self.predict = predict
                return name
            log.info(
                "%s: version %d does not use the %s path: its output differs from MLflow's",
                self.model.config.model,
                self.number,
                name,
            )
        return "mlflow"


def _to_json(raw: Any) -> list[Any]:
    """Return outputs as the values that MLflow's server writes as JSON."""
    if isinstance(raw, np.ndarray):
        return raw.tolist()
    import pandas as pd

    if isinstance(raw, pd.DataFrame | pd.Series):
        return pd.DataFrame(raw).to_dict(orient="records")
    return list(raw)


def _output(predict: Predict, rows: Features) -> NDArray[Any] | None:
    """Return the output for the rows; None if ``predict`` raises."""
    try:
        return np.asarray(predict(rows))
    except Exception:
        return None


def _same(found: NDArray[Any] | None, expected: NDArray[Any] | None) -> bool:
    if found is None or expected is None:
        return found is expected
    return found.dtype == expected.dtype and np.array_equal(found, expected, equal_nan=found.dtype.kind == "f")
