"""Select the rows of a holdout on which two versions can be compared, and count the others by reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.config import PromotionConfig
    from keel.stats.metrics.losses import Scored

    Mask = NDArray[np.bool_]
    Times = NDArray[np.datetime64]

OF_PROBABILITIES = frozenset({"brier", "log_loss"})
OF_SCORES = OF_PROBABILITIES | {"roc_auc"}
BINARY = OF_SCORES | {"accuracy"}
MAX_EXCLUDED = 0.05
"""Largest share of excluded rows: they are not a random sample, so the others are not representative."""


@dataclass(frozen=True)
class UsableRows:
    """The rows on which both versions are compared, and the numbers of excluded rows by reason."""

    mask: Mask
    excluded: dict[str, int]
    """Reason → number of rows, each row under the first reason that applies."""
    unscored: int
    """Number of rows that lack only a usable score of the challenger."""
    newest: datetime | None
    """Time (UTC) of the newest row with a label; None without labels."""

    @property
    def n(self) -> int:
        """Number of usable rows."""
        return int(self.mask.sum())

    def insufficiency(self, policy: PromotionConfig, holdout_end: datetime) -> str | None:
        """Return why these rows do not suffice for a comparison, and what to do; None if they suffice."""
        total, n = len(self.mask), self.n
        if self.newest is None:
            return "the holdout has no labelled rows: check that labels arrive, and compare again"
        age = holdout_end.astimezone(UTC) - self.newest
        if not age <= policy.max_label_age:
            return (
                f"the newest labelled row, of {self.newest:%Y-%m-%d %H:%M} UTC, is {age} before the holdout's end, "
                f"and at most {policy.max_label_age} are allowed: check that labels arrive, and compare again"
            )
        if self.unscored:
            return (
                f"the challenger gives no usable score for {self.unscored:,} of {n + self.unscored:,} labelled rows, "
                "so its own outputs would select the rows of the comparison: correct its pipeline and train again"
            )
        if n < policy.min_rows:
            return (
                f"the holdout has {n:,} usable rows and {policy.min_rows:,} are needed{self._why()}: "
                "wait for more labels, or lengthen retrain.holdout"
            )
        if not n >= (1 - MAX_EXCLUDED) * total:
            return (
                f"{total - n:,} of {total:,} rows are unusable, more than {MAX_EXCLUDED:.0%}{self._why()}: "
                "correct the data, and compare again"
            )
        return None

    def _why(self) -> str:
        reasons = ", ".join(f"{count:,} with {reason}" for reason, count in self.excluded.items())
        return f" ({reasons})" if reasons else ""


def usable_rows(metric: str, champion: Scored, challenger: Scored, times: Times, holdout_end: datetime) -> UsableRows:
    """Return the rows with everything that ``metric`` needs of both versions.

    `ValueError` if the arrays are not of the same rows: an error of the caller, not of the data.
    """
    n = len(champion)
    if not len(challenger) == len(times) == n or not np.array_equal(champion.label, challenger.label, equal_nan=True):
        raise ValueError("champion, challenger and times must be of the same labelled rows")
    end = np.datetime64(holdout_end.astimezone(UTC).replace(tzinfo=None), "us")
    labelled = _has_label(metric, champion)
    faults = {
        "no label" if metric not in BINARY else "no label of 0 or 1": ~labelled,
        "no time, or one after the holdout's end": ~(times <= end),
        "no usable score of the champion": ~_has_score(metric, champion),
    }
    excluded, usable = dict[str, int](), np.full(n, True)
    for reason, at_fault in faults.items():
        excluded[reason] = int((usable & at_fault).sum())
        usable &= ~at_fault
    unscored = usable & ~_has_score(metric, challenger)
    excluded["no usable score of the challenger"] = int(unscored.sum())
    dated = times[labelled & (times <= end)].astype("datetime64[us]")
    newest = dated.max().astype(datetime).replace(tzinfo=UTC) if len(dated) else None
    return UsableRows(
        usable & ~unscored, {k: count for k, count in excluded.items() if count}, int(unscored.sum()), newest
    )


def _has_label(metric: str, rows: Scored) -> Mask:
    return np.isin(rows.label, (0.0, 1.0)) if metric in BINARY else np.isfinite(rows.label)


def _has_score(metric: str, rows: Scored) -> Mask:
    """Whether a row has the outputs that the metric needs; a decision from a score that is NaN is not usable."""
    usable: NDArray[Any] = np.isfinite(rows.score) if metric in BINARY else np.isfinite(rows.prediction)
    if metric == "accuracy":
        usable &= np.isfinite(rows.prediction)
    if metric in OF_PROBABILITIES:
        usable &= (rows.score >= 0) & (rows.score <= 1)
    return usable
