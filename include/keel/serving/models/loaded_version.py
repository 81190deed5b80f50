"""A loaded version as requests are scored with it: the same numbers as MLflow's pyfunc gives, without its detours.

Pyfunc checks every request against the signature, which is done here already, and a scikit-learn pipeline turns the
columns of a data frame into a matrix in milliseconds. Whether the shorter way gives the very same bits is tried out on
every version when it is loaded; one for which it does not is asked the long way.
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
from keel.serving.models.warmup_rows import unusual

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.registry.scoring_model import ScoringModel
    from keel.serving.models.input_schema import Features

    Predict = Callable[[Features], Any]
    Scored = tuple[list[Any], NDArray[np.float64], NDArray[np.float64]]

log = logging.getLogger(__name__)

ALONE = 4
"""Rows on which the shorter ways are tried one by one, since a single row may go another way through a library."""


PRELOADED = (
    "mlflow.pyfunc", "mlflow.sklearn", "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store", "pandas", "skops.io", "sklearn.compose", "sklearn.ensemble",
    "sklearn.linear_model", "sklearn.pipeline", "sklearn.preprocessing", "threadpoolctl",
)  # fmt: skip


def preload() -> None:
    """Import what takes seconds when the first version is loaded; nothing happens where something of it is not there.

    Versions of another flavour than scikit-learn import their own libraries when they come.
    """
    for name in PRELOADED:
        with suppress(Exception):
            import_module(name)


def one_thread() -> Any:
    """Have numerical libraries compute in the calling thread alone, from now on or inside a with block.

    For the few rows of a request, waking other threads costs more than they compute, and on a busy machine a call waits
    for the slowest of them. Holds for the libraries that are loaded.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    return threadpool_limits(1)


class ServedVersion:
    """A version that scores requests.

    needed: the columns of its signature, in its order. probe: rows like those it was trained on, to warm it with;
    raises ScoringFailed if it cannot score them.
    """

    def __init__(self, model: ScoringModel, probe: Features) -> None:
        self.model, self.number = model, model.version
        self.needed = tuple(inputs_of(model.pyfunc) or ())
        self.is_binary = model.config.target.kind == "binary"
        self._predict: Predict = self._as_mlflow
        with one_thread():
            self.score(probe)
            self.way = self._shorten(probe)
            self.score(probe)

    def score(self, features: Features) -> Scored:
        """Return what the version puts out for each row, as MLflow's server would give it, with score and prediction.

        Raises
        ------
        ScoringFailed
            It raises for these rows, or gives back something else than one output for each.

        """
        name, size = f"{self.model.config.model}: version {self.number}", features.rows
        try:
            raw = self._predict(features)
            rows = _plain(raw)
            score, prediction = self.model.read(np.asarray(raw))
        except Exception as error:
            said = f"{name} failed on these rows: {type(error).__name__}"
            raise ScoringFailed(f"{said}: {error}", without_values=said) from error
        if not len(rows) == len(score) == size:
            raise ScoringFailed(f"{name} gave {len(rows)} outputs for {size} rows")
        return rows, score, prediction

    def _as_mlflow(self, features: Features) -> Any:
        return self.model.pyfunc.predict(features.to_frame(self.needed))

    def _shorten(self, probe: Features) -> str:
        """Take the shortest way that gives the same bits, on these rows and on unusual ones; return its name."""
        tried = [probe, unusual(probe), *(probe.take(np.array([row])) for row in range(ALONE))]
        expected = [_output(self._as_mlflow, rows) for rows in tried]
        for name, way in fast_paths(self.model.pyfunc, self.needed, self.model.config.features):
            found = [_output(way, rows) for rows in tried]
            if all(map(_same, found, expected)):
                self._predict = way
                return name
            log.info("%s: version %d does not take the %s way", self.model.config.model, self.number, name)
        return "mlflow"


def _plain(raw: Any) -> list[Any]:
    """Return outputs as MLflow's server makes JSON of them."""
    if isinstance(raw, np.ndarray):
        return raw.tolist()
    import pandas as pd

    if isinstance(raw, pd.DataFrame | pd.Series):
        return pd.DataFrame(raw).to_dict(orient="records")
    return list(raw)


def _output(way: Predict, rows: Features) -> NDArray[Any] | None:
    """Return what comes out for the rows; None if it raises."""
    try:
        return np.asarray(way(rows))
    except Exception:
        return None


def _same(found: NDArray[Any] | None, expected: NDArray[Any] | None) -> bool:
    if found is None or expected is None:
        return found is expected
    return found.dtype == expected.dtype and np.array_equal(found, expected, equal_nan=found.dtype.kind == "f")
