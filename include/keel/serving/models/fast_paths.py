"""Shorter ways through scikit-learn's estimators, using only what they show in public.

A `ColumnTransformer` costs two to three milliseconds a call, whatever the number of rows: it cuts the data frame up,
hands each piece through a scheduler and checks names on the way. Its fitted parts, asked directly with arrays, give the
same matrix. And a fitted encoder of categories gives the same rows for the same categories every time, so each
combination is asked for once.
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

REMEMBERED = 20_000
"""Combinations of categories whose encoding is kept; what comes after is encoded each time."""
WIDEST = 64
"""Columns of an encoding that is kept, so that what is kept stays below 10 MB."""


def fast_paths(pyfunc: Any, needed: tuple[str, ...], kinds: Mapping[str, str]) -> Iterator[tuple[str, Predict]]:
    """Return functions that give what ``pyfunc.predict`` does, by name, the shortest first; none for other flavours.

    Whoever takes one makes sure that it does: what is inside a pipeline can be anything.
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
    """Return the way through the parts of a pipeline that begins with a `ColumnTransformer`, if it is all of sklearn's.

    Parts written elsewhere may rely on the names of columns, or on being called together.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    if not isinstance(estimator, Pipeline) or not isinstance(estimator[0], ColumnTransformer):
        return None
    columns, *between = (step for _, step in estimator.steps[:-1])
    if not all(_is_sklearns(step) for step in (columns, *between)):
        return None
    if any(hasattr(step, "feature_names_in_") for step in (*between, estimator[-1])):
        return None  # columns come to them as a data frame
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
    """Whether an estimator and everything in it is scikit-learn's own, without a function of somebody's."""
    inside = [step for _, step in getattr(estimator, "steps", ())]
    inside += [part for _, part, _ in getattr(estimator, "transformers_", ()) if not isinstance(part, str)]
    return (
        type(estimator).__module__.startswith("sklearn.")
        and getattr(estimator, "func", None) is None
        and all(map(_is_sklearns, inside))
    )


def _parts(columns: Any, kinds: Mapping[str, str]) -> list[Part] | None:
    """Return what gives each transformer's share of the matrix, in order; None where columns are not named or mixed."""
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
        parts.append(
            _numeric(nameless, names) if kinds[names[0]] == "numeric" else _categorical(nameless, names)
        )  # fmt: skip
    return parts or None


def _without_names(estimator: Any) -> Any:
    """Take the names away that a fitted estimator would miss in an array, and warn about each time."""
    vars(estimator).pop("feature_names_in_", None)
    for _, step in getattr(estimator, "steps", ()):
        _without_names(step)
    return estimator


def _numeric(transformer: Any, names: Sequence[str]) -> Part:
    from sklearn.preprocessing import FunctionTransformer

    passes = isinstance(transformer, FunctionTransformer)  # without a function: see _is_sklearns

    def part(features: Features) -> Any:
        matrix = np.ascontiguousarray(features.numbers[[features.names.index(name) for name in names]].T)
        return matrix if passes else transformer.transform(matrix)

    return part


def _categorical(transformer: Any, names: Sequence[str]) -> Part:
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

    def part(features: Features) -> Any:
        columns = [features.texts[name] for name in names]
        return _encoded(transformer, list(zip(*columns, strict=True)))

    if not isinstance(transformer, OneHotEncoder | OrdinalEncoder | TargetEncoder):
        return part
    known = CachedEncoder(transformer)

    def remembered(features: Features) -> Any:
        return known(list(zip(*(features.texts[name] for name in names), strict=True)))

    return remembered


def _encoded(transformer: Any, rows: Sequence[tuple[str | None, ...]]) -> Any:
    matrix = np.array(rows, dtype=object)
    matrix[matrix == None] = np.nan  # noqa: E711 - element by element; as the data frame's texts have it
    return transformer.transform(matrix)


class CachedEncoder:
    """An encoder of categories that is asked once for each combination; its outputs are one row each and stay so.

    Only what consists of categories that it was fitted to is remembered: others may be of any number and length.
    """

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        self._fitted = [{None, *categories} for categories in encoder.categories_]
        self._rows: dict[tuple[str | None, ...], NDArray[Any]] = {}
        self._keeps = True

    def __call__(self, rows: list[tuple[str | None, ...]]) -> Any:
        """Return the encoding of each row, as a matrix."""
        known = self._rows
        new = [row for row in dict.fromkeys(rows) if row not in known] if self._keeps else rows
        if not new:
            return np.array([known[row] for row in rows])
        encoded = _encoded(self._encoder, new)
        self._keeps = self._keeps and isinstance(encoded, np.ndarray) and encoded.shape[1] <= WIDEST
        if not self._keeps:
            return encoded if new is rows else _encoded(self._encoder, rows)
        found = dict(zip(new, encoded, strict=True))
        matrix = np.array([known[row] if row in known else found[row] for row in rows])
        for row, values in found.items():
            if len(known) < REMEMBERED and all(map(set.__contains__, self._fitted, row)):
                known[row] = values
        return matrix


def _joined(blocks: list[Any], sparse: bool) -> Any:
    if sparse:
        from scipy.sparse import hstack

        return hstack(blocks).tocsr()
    blocks = [block if isinstance(block, np.ndarray) else block.toarray() for block in blocks]
    return blocks[0] if len(blocks) == 1 else np.hstack(blocks)
