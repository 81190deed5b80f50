"""What a request must hold for a model: its columns against the signatures of the versions that are to score them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from functools import cached_property
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.errors import BadRequest

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from keel.config import FeatureKind, ModelConfig

SHOWN = 10
"""How many names an error lists; a request may hold any number of them."""
COMPARED = 100
"""Among how many of a request's names the one is looked for that was meant; comparing a million takes a minute."""


@dataclass(frozen=True)
class Inputs:
    """What requests for a model are checked against.

    features: the configured ones with their kinds. required: those that a loaded version cannot do without. entity: the
    column that says whom a row is about, which may be a feature; None: only the request's ``keel`` key says. max_rows,
    max_age: limits of one request, as in ``serving``.
    """

    model: str
    features: Mapping[str, FeatureKind]
    required: frozenset[str]
    entity: str | None = None
    max_rows: int = 10_000
    max_age: timedelta = timedelta(hours=1)

    @classmethod
    def of(cls, config: ModelConfig, required: Iterable[str]) -> Inputs:
        """Return what the versions that need ``required`` ask of a model's requests."""
        serving = config.serving
        return cls(
            config.model,
            dict(config.features),
            frozenset(required),
            serving.entity_column,
            serving.max_rows,
            serving.max_age,
        )

    @cached_property
    def numeric(self) -> tuple[str, ...]:
        """The numeric features, in the order of the configuration."""
        return tuple(name for name, kind in self.features.items() if kind == "numeric")

    @cached_property
    def categorical(self) -> tuple[str, ...]:
        """The categorical features, in the order of the configuration."""
        return tuple(name for name, kind in self.features.items() if kind == "categorical")

    @cached_property
    def used(self) -> frozenset[str]:
        """Every column that something is done with; others are passed over, as MLflow does."""
        return frozenset(self.features) | ({self.entity} if self.entity else set())


@dataclass(frozen=True)
class Features:
    """The features of some rows, checked, by column.

    numbers: shape (numeric features, rows), float64, NaN where missing. texts: by categorical feature, None where
    missing. Both in the order of the configuration. absent: features that the request does not name, missing in all
    rows. names: of the numeric features.
    """

    names: tuple[str, ...]
    numbers: NDArray[np.float64]
    texts: Mapping[str, list[str | None]]
    absent: frozenset[str] = frozenset()

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.numbers.shape[1])

    def given(self) -> tuple[list[str], NDArray[np.float64], dict[str, list[str | None]]]:
        """Return ``names``, ``numbers`` and ``texts`` without the features that are absent."""
        if not self.absent:
            return list(self.names), self.numbers, dict(self.texts)
        kept = [row for row, name in enumerate(self.names) if name not in self.absent]
        texts = {name: values for name, values in self.texts.items() if name not in self.absent}
        return [self.names[row] for row in kept], self.numbers[kept], texts

    def take(self, rows: NDArray[np.intp]) -> Features:
        """Return some of the rows, by their numbers."""
        picked = rows.tolist()
        texts = {name: [values[row] for row in picked] for name, values in self.texts.items()}
        return Features(self.names, self.numbers[:, rows], texts, self.absent)

    def to_frame(self, needed: Sequence[str]) -> pd.DataFrame:
        """Return the columns that a version needs as `keel.registry.scoring_model.to_model_input` makes them."""
        import pandas as pd

        place = {name: row for row, name in enumerate(self.names)}
        # Said to be texts, or a column of nothing but missing values would be objects, and its rows scored in other
        # company than that of rows with a value would be scored differently.
        return pd.DataFrame(
            {
                name: self.numbers[place[name]] if name in place else pd.array(self.texts[name], dtype="str")
                for name in needed
            }
        )

    @staticmethod
    def joined(parts: Sequence[Features]) -> Features:
        """Return the rows of all parts, which are of one model, one after the other."""
        if len(parts) == 1:
            return parts[0]
        texts = {name: [text for part in parts for text in part.texts[name]] for name in parts[0].texts}
        return Features(parts[0].names, np.concatenate([part.numbers for part in parts], axis=1), texts)


@dataclass(frozen=True)
class Rows:
    """The rows of one request.

    ids, times (microseconds since the epoch, UTC), entities (None: no row has one): as long as there are rows, ≥ 1.
    """

    ids: list[str]
    times: list[int]
    entities: list[str | None] | None
    features: Features

    def __len__(self) -> int:
        return len(self.ids)


def require_size(size: int, inputs: Inputs) -> None:
    """Raise `BadRequest` for a request without rows (422), or with more than the model takes at once (413)."""
    if size == 0:
        raise BadRequest("there is no row in the request")
    if size > inputs.max_rows:
        raise BadRequest(
            f"{size:,} rows at once; send at most {inputs.max_rows:,} (serving.max_rows)", status=413
        )  # fmt: skip


def require_columns(names: Sequence[Any], inputs: Inputs) -> None:
    """Raise `BadRequest` for columns that a version needs and the request does not have, or has twice."""
    present = set(names)
    if not inputs.required <= present:
        missing = [name for name in inputs.features if name in inputs.required - present]
        given = [str(name) for name in names if name not in inputs.features][:COMPARED]
        near = get_close_matches(missing[0], given, n=1)
        hint = f" (the request has {near[0]!r})" if near else ""
        needed = ", ".join(sorted(inputs.required))
        raise BadRequest(f"missing {_columns(missing)}{hint}; {inputs.model} needs {needed}")
    if len(present) < len(names):
        twice = sorted(name for name, times in Counter(names).items() if times > 1 and name in inputs.used)
        if twice:
            raise BadRequest(f"{_columns(twice)} named twice: which one counts?", status=400)


def checked_features(columns: Mapping[str, Sequence[Any]], size: int, inputs: Inputs) -> Features:
    """Return the features in ``columns``, each of ``size`` values as decoded, by column.

    A number is a JSON number, true or false (1, 0), or a text that reads as one, as for MLflow; null and NaN are
    missing. A category is a text; null and NaN are missing.

    Raises
    ------
    BadRequest
        Naming column, row and value, for the first value that is neither, or infinite.

    """
    absent = inputs.features.keys() - columns.keys()
    missing = (None,) * size if absent else ()
    raw = [columns.get(name, missing) for name in inputs.numeric]
    try:
        numbers = np.array(raw, dtype=np.float64) if raw else np.empty((0, size))
    except (ValueError, TypeError, OverflowError):
        numbers = None
    if numbers is None or numbers.ndim != 2:  # lists of equal length in place of numbers make a third dimension
        numbers = _one_by_one(raw, inputs)
    if not np.isfinite(numbers).all():
        _refuse_infinities(numbers, inputs)
    texts = {name: _texts(name, columns.get(name, missing)) for name in inputs.categorical}
    return Features(inputs.numeric, numbers, texts, frozenset(absent))


def _one_by_one(raw: Sequence[Sequence[Any]], inputs: Inputs) -> NDArray[np.float64]:
    """Read value by value: one of them is at fault, and is named."""
    return np.array(
        [
            [_number(value, name, row) for row, value in enumerate(values)]
            for name, values in zip(inputs.numeric, raw, strict=True)
        ]
    )


def _number(value: Any, name: str, row: int) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, bool | int | float | str):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    raise BadRequest(f"column {name!r}, row {row}: {shown(value)} is not a number")


def _refuse_infinities(numbers: NDArray[np.float64], inputs: Inputs) -> None:
    infinite = np.argwhere(np.isinf(numbers))
    if len(infinite):
        column, row = infinite[0]
        raise BadRequest(
            f"column {inputs.numeric[column]!r}, row {row}: {numbers[column, row]} is not a number that can be scored; "
            "send null for a value that is not known"
        )


def _texts(name: str, values: Sequence[Any]) -> list[str | None]:
    kinds = set(map(type, values))
    if kinds <= {str, type(None)}:
        return list(values)
    texts: list[str | None] = []
    for row, value in enumerate(values):
        if value is None or isinstance(value, str):
            texts.append(value)
        elif isinstance(value, float) and isnan(value):
            texts.append(None)
        else:
            raise BadRequest(f"column {name!r}, row {row}: {shown(value)} is not a text, and the column is categorical")
    return texts


def shown(value: object) -> str:
    """Return a value for a message, as it would stand in JSON, short whatever it is."""
    plain = {dict: "an object", list: "a list", type(None): "null"}
    text = plain.get(type(value)) or (str(value).lower() if isinstance(value, bool) else repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _columns(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"column{'s' if len(names) > 1 else ''} {', '.join(map(repr, names[:SHOWN]))}{more}"
