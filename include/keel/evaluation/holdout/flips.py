"""Count the predictions that would have been another one with the challenger in production."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.evaluation.holdout.segments import split_rows
from keel.stats.json_numbers import finite_or_none

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.stats.metrics.losses import Floats

MAX_SEGMENTS = 20
"""Segments that are stored: those in which the largest share of predictions changes."""
MIN_SEGMENT_ROWS = 50
"""In fewer rows, a share says little, and the smallest segments would always be first."""
LONGEST_VALUE = 200
"""Characters of a segment's value that are stored; the text of a row may be of any length."""
CHANGE_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def count_flips(
    champion: Floats,
    challenger: Floats,
    segments: Mapping[str, NDArray[Any]],
    *,
    size: float | None = None,
) -> dict[str, Any]:
    """Return how many predictions differ between two versions, in which direction, and in which segments.

    Parameters
    ----------
    champion, challenger
        Predictions of the same rows, shape (n,): decisions of 0 or 1 as each version decides, or values. A row without
        both is counted as ``unusable``.
    segments
        Value of each row, by column.
    size
        Of a regression: a prediction is changed if it differs by more than this, in the target's unit. None for
        decisions: every difference is a change.

    Returns
    -------
    dict
        ``n`` rows, of which ``changed``, of these ``up`` (to the positive class, or a larger value) and ``down``; the
        same in ``segments``; for values the quantiles of ``change`` (challenger less champion) over all rows.

    """
    usable = np.isfinite(champion) & np.isfinite(challenger)
    change = challenger[usable] - champion[usable]
    found = {
        **_counts(change, size or 0.0),
        "unusable": int((~usable).sum()),
        "segments": _segments(change, {name: values[usable] for name, values in segments.items()}, size or 0.0),
    }
    if size is not None:
        values = np.quantile(change, CHANGE_LEVELS).tolist() if len(change) else [math.nan] * len(CHANGE_LEVELS)
        found["size"] = finite_or_none(size)
        found["change"] = {"level": list(CHANGE_LEVELS), "value": [finite_or_none(value) for value in values]}
    return found


def _counts(change: Floats, size: float) -> dict[str, int]:
    up, down = int((change > size).sum()), int((change < -size).sum())
    return {"n": len(change), "changed": up + down, "up": up, "down": down}


def _segments(change: Floats, columns: Mapping[str, NDArray[Any]], size: float) -> dict[str, Any]:
    found: list[dict[str, Any]] = [
        {"column": column, "value": _abridged(value), **_counts(change[index], size)}
        for column, values in columns.items()
        for value, index in split_rows(values)
        if len(index) >= MIN_SEGMENT_ROWS
    ]
    found.sort(key=lambda each: (-each["changed"] / each["n"], -each["n"], each["column"], each["value"]))
    return {"found": found[:MAX_SEGMENTS], "not_listed": max(0, len(found) - MAX_SEGMENTS)}


def _abridged(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
