"""Fast scoring paths through scikit-learn pipelines, which use only scikit-learn's public attributes.

A `ColumnTransformer` costs two to three milliseconds a call, whatever the number of rows: it splits the data frame,
passes each part through a scheduler and checks names. Its fitted transformers, called directly with arrays, give the
same matrix. A fitted categorical encoder gives the same output for the same categories, so the output of each
combination of categories is cached.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.serving.models.input_schema import Features

    Predict = Callable[[Features], Any]
    Part = Callable[[Features], Any]

CACHED_COMBINATIONS = 20_000
"""Combinations of categories that are cached; further ones are encoded each time."""
CACHED_COLUMNS = 64
"""Widest encoding that is cached, so that a cache stays below 10 MB."""


def fast_paths(pyfunc: Any, needed: tuple[str, ...], kinds: Mapping[str, str]) -> Iterator[tuple[str, Predict]]:
    """Yield replacements of ``pyfunc.predict`` by name, the fastest first; none for flavours other than scikit-learn.

    The caller must verify that a path gives the same output, as a pipeline can contain anything.
    """
    flavour = pyfunc.metadata.flavors.get("python_function", {})
    if flavour.get("loader_module") != "mlflow.sklearn":
        return
    estimator, method = pyfunc.get_raw_model(), flavour.get("predict_fn", "predict")
    if direct := _direct(estimator, method, kinds):
        yield "direct", direct
    yield "estimator", _on_frame(getattr(estimator, method), needed)


def _on_frame(predict: Callable[[Any], Any], needed: tuple[str, ...]) -> Predict:
    return lambda features: predict(features.to_frame(needed))


def _direct(estimator: Any, method: str, kinds: Mapping[str, str]) -> Predict | None:
    """Return the path through the parts of a pipeline that starts with a `ColumnTransformer` and is all scikit-learn's.

    Other parts may rely on column names, or on being called together.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    if not isinstance(estimator, Pipeline) or not isinstance(estimator[0], ColumnTransformer):
        return None
    columns, *between = (step for _, step in estimator.steps[:-1])
    if not all(_is_sklearns(step) for step in (columns, *between)):
        return None
    if any(hasattr(step, "feature_names_in_") for step in (*between, estimator[-1])):
        return None  # they get their columns as a data frame
    parts = _parts(columns, kinds)
    if parts is None:
        return None
    final = getattr(estimator[-1], method)

    def predict(features: Features) -> Any:
        matrix = _joined([part(features) for part in parts], columns.sparse_output_)
        for step in between:
            matrix = step.transform(matrix)
        return final(matrix)

    return predict


def _is_sklearns(estimator: Any) -> bool:
    """Return whether an estimator and all its parts are scikit-learn's own, without a user's function."""
    inside = [step for _, step in getattr(estimator, "steps", ())]
    inside += [part for _, part, _ in getattr(estimator, "transformers_", ()) if not isinstance(part, str)]
    return (
        type(estimator).__module__.startswith("sklearn.")
        and getattr(estimator, "func", None) is None
        and all(map(_is_sklearns, inside))
    )


def _parts(columns: Any, kinds: Mapping[str, str]) -> list[Part] | None:
    """Return the function of each transformer's columns, in order; None if columns are unnamed or of mixed kinds."""
    parts: list[Part] = []
    for _, transformer, names in columns.transformers_:
        if isinstance(transformer, str):
            if transformer == "drop":
                continue
            return None
        if not isinstance(names, list) or not all(isinstance(name, str) and name in kinds for name in names):
            return None
        if not names:
            continue
        if len({kinds[name] for name in names}) != 1:
            return None
        nameless = _without_names(copy.deepcopy(transformer))
        parts.append(_numeric(nameless, names) if kinds[names[0]] == "numeric" else _categorical(nameless, names))
    return parts or None


def _without_names(estimator: Any) -> Any:
    """Remove the feature names from a fitted estimator, which would warn about an array without them in each call."""
    vars(estimator).pop("feature_names_in_", None)
    for _, step in getattr(estimator, "steps", ()):
        _without_names(step)
    return estimator


def _numeric(transformer: Any, names: Sequence[str]) -> Part:
    from sklearn.preprocessing import FunctionTransformer

    is_identity = isinstance(transformer, FunctionTransformer)  # without a function: see _is_sklearns

    def part(features: Features) -> Any:
        # Laid out like the values of a data frame: a linear model's sums depend on it in the last bit.
        matrix = features.numbers[[features.names.index(name) for name in names]].T
        return matrix if is_identity else transformer.transform(matrix)

    return part


def _categorical(transformer: Any, names: Sequence[str]) -> Part:
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

    def part(features: Features) -> Any:
        columns = [features.texts[name] for name in names]
        return _encoded(transformer, list(zip(*columns, strict=True)))

    if not isinstance(transformer, OneHotEncoder | OrdinalEncoder | TargetEncoder):
        return part
    encoder = CachedEncoder(transformer)

    def cached(features: Features) -> Any:
        return encoder(list(zip(*(features.texts[name] for name in names), strict=True)))

    return cached


def _encoded(transformer: Any, rows: Sequence[tuple[str | None, ...]]) -> Any:
    matrix = np.array(rows, dtype=object)
    matrix[matrix == None] = np.nan  # noqa: E711 - element by element, as in the data frame's texts
    return transformer.transform(matrix)


class CachedEncoder:
    """A categorical encoder whose output is cached for each combination of categories.

    Only combinations of fitted categories are cached: others may be of any number and length. combinations, columns:
    upper limits of the cache, see `CACHED_COMBINATIONS` and `CACHED_COLUMNS`.
    """

    def __init__(self, encoder: Any, *, combinations: int = CACHED_COMBINATIONS, columns: int = CACHED_COLUMNS) -> None:
        self._encoder = encoder
        self._combinations, self._columns = combinations, columns
        self._fitted = [{None, *categories} for categories in encoder.categories_]
        self._rows: dict[tuple[str | None, ...], NDArray[Any]] = {}
        self._caches = True

    def __call__(self, rows: list[tuple[str | None, ...]]) -> Any:
        """Return the encoding of each row, as a matrix."""
        known = self._rows
        new = [row for row in dict.fromkeys(rows) if row not in known] if self._caches else rows
        if not new:
            return np.array([known[row] for row in rows])
        encoded = _encoded(self._encoder, new)
        self._caches = self._caches and isinstance(encoded, np.ndarray) and encoded.shape[1] <= self._columns
        if not self._caches:
            return encoded if new is rows else _encoded(self._encoder, rows)
        found = dict(zip(new, encoded, strict=True))
        matrix = np.array([known[row] if row in known else found[row] for row in rows])
        for row, values in found.items():
            if len(known) < self._combinations and all(map(set.__contains__, self._fitted, row)):
                known[row] = values
        return matrix


def _joined(blocks: list[Any], sparse: bool) -> Any:
    if sparse:
        from scipy.sparse import hstack

        return hstack(blocks).tocsr()
    blocks = [block if isinstance(block, np.ndarray) else block.toarray() for block in blocks]
    return blocks[0] if len(blocks) == 1 else np.hstack(blocks)
