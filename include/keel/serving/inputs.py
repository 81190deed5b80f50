"""What a request must hold for a model: its columns against the signatures of the versions that are to score them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from keel.config import FeatureKind


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


@dataclass(frozen=True)
class Rows:
    """The rows of one request, checked, by column.

    ids, times (microseconds since the epoch, UTC), entities (None: no row has one): as long as there are rows, ≥ 1.
    numbers: shape (rows, numeric features), float64, NaN where missing. texts: by categorical feature, None where
    missing. Both in the order of the configuration. absent: features that the request does not name.
    """

    ids: list[str]
    times: list[int]
    entities: list[str | None] | None
    numbers: NDArray[np.float64]
    texts: Mapping[str, list[str | None]]
    absent: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.ids)
