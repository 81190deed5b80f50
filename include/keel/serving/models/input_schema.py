"""The input schema: what a request must contain for a model, given the signatures of the versions that score it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.errors import BadRequest
from keel.values.names import as_configured
from keel.values.scalars import category_in, category_of, number_of, shown

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from keel.config import FeatureKind, ModelConfig

SHOWN = 10
"""How many names an error lists. A request may contain any number of them."""
COMPARED = 100
"""How many of a request's names are searched for a misspelling. Comparing a million takes a minute."""

_PLAIN = frozenset({float, int, bool, type(None)})
"""Types that numpy turns into float64 as `keel.values` does, many at once. It would also read the text 1_000."""
_MISSING_WORDS = frozenset({"", "na", "n/a", "<na>", "nat", "null", "none", "#n/a", "-", "?"})


@dataclass(frozen=True)
class Inputs:
    """The schema of a model's requests.

    features: the configured ones with their kinds. required: those that a loaded version needs. entity_column: names
    each row's entity, and may be a feature; None: only the request's ``keel`` key names entities. max_rows, max_age:
    limits of one request, from the section ``serving`` of model.yaml. audit_share: ``labels.audit_share``.
    """

    model: str
    features: Mapping[str, FeatureKind]
    required: frozenset[str]
    entity_column: str | None = None
    max_rows: int = 10_000
    max_age: timedelta = timedelta(hours=1)
    audit_share: float | None = None

    @classmethod
    def of(cls, config: ModelConfig, required: Iterable[str]) -> Inputs:
        """Return the schema of a model's requests for versions that need the columns ``required``."""
        serving = config.serving
        return cls(
            config.model,
            dict(config.features),
            frozenset(required),
            serving.entity_column,
            serving.max_rows,
            serving.max_age,
            config.labels.audit_share,
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
        """The columns that are read; others are ignored, as by MLflow."""
        return frozenset(self.features) | ({self.entity_column} if self.entity_column else set())


@dataclass(frozen=True)
class Features:
    """Validated features of rows, by column.

    names: of the numeric features. numbers: shape (numeric features, rows), float64, NaN where missing. texts: by
    categorical feature, None where missing. Both follow the order of the configuration. absent: features that the
    request does not contain; they are missing in all rows.
    """

    names: tuple[str, ...]
    numbers: NDArray[np.float64]
    texts: Mapping[str, list[str | None]]
    absent: frozenset[str] = frozenset()

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.numbers.shape[1])

    def given(self) -> tuple[list[str], NDArray[np.float64], dict[str, list[str | None]]]:
        """Return ``names``, ``numbers`` and ``texts`` without the absent features."""
        if not self.absent:
            return list(self.names), self.numbers, dict(self.texts)
        present = [row for row, name in enumerate(self.names) if name not in self.absent]
        texts = {name: values for name, values in self.texts.items() if name not in self.absent}
        return [self.names[row] for row in present], self.numbers[present], texts

    def take(self, rows: NDArray[np.intp]) -> Features:
        """Return the rows with these positions."""
        picked = rows.tolist()
        texts = {name: [values[row] for row in picked] for name, values in self.texts.items()}
        return Features(self.names, self.numbers[:, rows], texts, self.absent)

    def spelt(self, spellings: Mapping[str, Mapping[str, str]]) -> Features:
        """Return the rows with categories under the names that an earlier release trained a version on."""
        texts = dict(self.texts)
        for name, spelt in spellings.items():
            if name in texts:
                texts[name] = [text if text is None else spelt.get(text, text) for text in texts[name]]
        return Features(self.names, self.numbers, texts, self.absent)

    def to_frame(self, needed: Sequence[str]) -> pd.DataFrame:
        """Return the columns that a version needs, equal to those of `keel.registry.scoring_model.to_model_input`."""
        import pandas as pd

        place = {name: row for row, name in enumerate(self.names)}
        # The type is explicit: otherwise a column with only missing values would be of type object, and its rows would
        # be scored differently alone than together with rows that have a value.
        return pd.DataFrame(
            {
                name: self.numbers[place[name]] if name in place else pd.array(self.texts[name], dtype="str")
                for name in needed
            }
        )

    @staticmethod
    def joined(parts: Sequence[Features]) -> Features:
        """Return the rows of all parts, which belong to one model, in order."""
        if len(parts) == 1:
            return parts[0]
        texts = {name: [text for part in parts for text in part.texts[name]] for name in parts[0].texts}
        return Features(parts[0].names, np.concatenate([part.numbers for part in parts], axis=1), texts)


@dataclass(frozen=True)
class Rows:
    """The rows of one request, at least one.

    ids, times (microseconds since the epoch, UTC) and entities (None: no row has one) have one item per row.
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
        raise BadRequest("the request has no rows")
    if size > inputs.max_rows:
        raise BadRequest(
            f"the request has {size:,} rows; send at most {inputs.max_rows:,} (serving.max_rows)", status=413
        )


def renamings(names: Collection[object], inputs: Inputs) -> Mapping[str, str]:
    """Return the columns whose accents are encoded in another way than in the configuration, with their names there."""
    return as_configured(names, inputs.used)


def require_columns(names: Sequence[Any], inputs: Inputs) -> None:
    """Raise `BadRequest` for columns that a version needs and the request lacks, or that it has twice."""
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
            raise BadRequest(f"{_columns(twice)} appears twice; send each column once", status=400)


def checked_features(columns: Mapping[str, Sequence[Any]], size: int, inputs: Inputs) -> Features:
    """Return the validated features in ``columns``, each of ``size`` decoded values, as `keel.values` reads them.

    A number is a JSON number, true or false (1, 0), or a text that names one of these. A category is a text, a number,
    true or false. Null and NaN are missing values.

    Raises
    ------
    BadRequest
        Naming column, row and value, for the first value of another type, or an infinite one.

    """
    absent = inputs.features.keys() - columns.keys()
    missing = (None,) * size if absent else ()
    raw = [columns.get(name, missing) for name in inputs.numeric]
    numbers = None
    if _PLAIN.issuperset(chain.from_iterable(map(type, values) for values in raw)):
        with suppress(OverflowError):
            numbers = np.array(raw, dtype=np.float64) if raw else np.empty((0, size))
    if numbers is None:
        numbers = _one_by_one(raw, inputs)
    if not np.isfinite(numbers).all():
        _reject_infinities(numbers, inputs)
    texts = {name: _texts(name, columns.get(name, missing)) for name in inputs.categorical}
    return Features(inputs.numeric, numbers, texts, frozenset(absent))


def _one_by_one(raw: Sequence[Sequence[Any]], inputs: Inputs) -> NDArray[np.float64]:
    """Read value by value: texts, and to name the one that is not a number."""
    return np.array(
        [
            [_number(value, name, row) for row, value in enumerate(values)]
            for name, values in zip(inputs.numeric, raw, strict=True)
        ]
    )


def _number(value: Any, name: str, row: int) -> float:
    number = number_of(value)
    if number is None:
        means_missing = isinstance(value, str) and value.strip().lower() in _MISSING_WORDS
        hint = "; send null, in CSV an empty field, for a missing value" if means_missing else ""
        raise BadRequest(f"column {name!r}, row {row}: {shown(value)} is not a number{hint}")
    return number


def _reject_infinities(numbers: NDArray[np.float64], inputs: Inputs) -> None:
    infinite = np.argwhere(np.isinf(numbers))
    if len(infinite):
        column, row = infinite[0]
        raise BadRequest(
            f"column {inputs.numeric[column]!r}, row {row}: {numbers[column, row]} is not a finite number; "
            "send null for a missing value"
        )


def _texts(name: str, values: Sequence[Any]) -> list[str | None]:
    try:
        return [category_in(value) if type(value) is str else category_of(value) for value in values]
    except ValueError:
        row, value = next((row, value) for row, value in enumerate(values) if not _is_category(value))
        raise BadRequest(
            f"column {name!r}, row {row}: {shown(value)} is no category; send a text, a number, true or false"
        ) from None


def _is_category(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int | float)


def _columns(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"column{'s' if len(names) > 1 else ''} {', '.join(map(repr, names[:SHOWN]))}{more}"
