"""What labels and scores are: classes or numbers, probabilities or ranks, and the decisions that follow from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from keel.errors import ConfigError
from keel.values.columns import read_numbers
from keel.values.scalars import shown

if TYPE_CHECKING:
    from keel.stats.metrics.losses import Floats

THRESHOLD = 0.5
"""A score from which the decision is 1, where no decision is given."""


def read_values(column: Any, place: str, remedy: str) -> Floats:
    """Return an arrow column's numbers, NaN where one is missing.

    Raises
    ------
    ConfigError
        A value is no number; the message is the place, the value and the remedy.

    """
    values, invalid = read_numbers(column)
    if invalid is not None and invalid.any():
        example = column.filter(pa.array(invalid))[0].as_py()
        raise ConfigError(f"{place} holds {shown(example)}, which is no number{remedy}")
    return values


def are_classes(labels: Floats) -> bool:
    """Whether there are labels, and all are 0 or 1.

    >>> are_classes(np.array([0, 1, np.nan])), are_classes(np.array([0, 2])), are_classes(np.array([np.nan]))
    (True, False, False)
    """
    known = labels[np.isfinite(labels)]
    return bool(len(known) and np.isin(known, (0, 1)).all())


def are_probabilities(*scores: Floats) -> bool:
    """Whether all finite scores are in [0, 1].

    >>> are_probabilities(np.array([0.2, np.nan]), np.array([1.5])), are_probabilities(np.array([0.2]))
    (False, True)
    """
    return all(bool(((each >= 0) & (each <= 1)).all()) for each in (s[np.isfinite(s)] for s in scores))


def decisions(scores: Floats) -> Floats:
    """Return 1 for scores from `THRESHOLD` on, 0 below it, and NaN where the score is not finite."""
    return np.where(np.isfinite(scores), (scores >= THRESHOLD).astype(np.float64), np.nan)
