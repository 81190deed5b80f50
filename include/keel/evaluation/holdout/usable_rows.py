"""The rows of a holdout on which two versions can be compared, and what is wrong with the others."""

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
MAX_LEFT_OUT = 0.05
"""Share of rows that may be left out: which ones they are is no chance, and the rest no picture of the whole."""


@dataclass(frozen=True)
class UsableRows:
    """Which rows both versions are judged on; the others by what they lack."""

    mask: Mask
    left_out: dict[str, int]
    """Reason → rows, each row under the first that applies; without those of which there are none."""
    unscored: int
    """Rows that are complete but for a score of the challenger."""
    newest: datetime | None
    """Time (UTC) of the newest row with a label; none without any."""

    @property
    def n(self) -> int:
        """How many are usable."""
        return int(self.mask.sum())

    def missing(self, policy: PromotionConfig, holdout_end: datetime) -> str | None:
        """Say what these rows lack to decide anything by, and the way out; None where they lack nothing."""
        total, n = len(self.mask), self.n
        if self.newest is None:
            return "the holdout has no labelled rows: see that labels arrive, and compare again"
        age = holdout_end.astimezone(UTC) - self.newest
        if not age <= policy.max_label_age:
            return (
                f"the newest labelled row, of {self.newest:%Y-%m-%d %H:%M} UTC, lies {age} before the holdout's end, "
                f"and {policy.max_label_age} are allowed: see that labels arrive, and compare again"
            )
        if self.unscored:
            return (
                f"the challenger gives no usable score for {self.unscored:,} of {n + self.unscored:,} labelled rows, "
                "and must not choose the rows it is judged on: correct its pipeline and train again"
            )
        if n < policy.min_rows:
            return (
                f"the holdout has {n:,} usable rows and {policy.min_rows:,} are needed{self._why()}: "
                "wait for more labels, or lengthen retrain.holdout"
            )
        if not n >= (1 - MAX_LEFT_OUT) * total:
            return (
                f"{total - n:,} of {total:,} rows cannot be used, more than {MAX_LEFT_OUT:.0%}{self._why()}: "
                "correct what spoils them, and compare again"
            )
        return None

    def _why(self) -> str:
        reasons = ", ".join(f"{count:,} with {reason}" for reason, count in self.left_out.items())
        return f" ({reasons})" if reasons else ""


def usable_rows(metric: str, champion: Scored, challenger: Scored, times: Times, holdout_end: datetime) -> UsableRows:
    """Say which rows have all that ``metric`` needs of both versions.

    `ValueError` where the arrays are not of the same rows: that is a mistake of the caller, not of the data.
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
    left_out, usable = dict[str, int](), np.full(n, True)
    for reason, at_fault in faults.items():
        left_out[reason] = int((usable & at_fault).sum())
        usable &= ~at_fault
    unscored = usable & ~_has_score(metric, challenger)
    left_out["no usable score of the challenger"] = int(unscored.sum())
    dated = times[labelled & (times <= end)].astype("datetime64[us]")
    newest = dated.max().astype(datetime).replace(tzinfo=UTC) if len(dated) else None
    return UsableRows(
        usable & ~unscored, {k: count for k, count in left_out.items() if count}, int(unscored.sum()), newest
    )


def _has_label(metric: str, rows: Scored) -> Mask:
    return np.isin(rows.label, (0.0, 1.0)) if metric in BINARY else np.isfinite(rows.label)


def _has_score(metric: str, rows: Scored) -> Mask:
    """Whether a row has what the metric needs; a decision made from a score that is no number is none either."""
    usable: NDArray[Any] = np.isfinite(rows.score) if metric in BINARY else np.isfinite(rows.prediction)
    if metric == "accuracy":
        usable &= np.isfinite(rows.prediction)
    if metric in OF_PROBABILITIES:
        usable &= (rows.score >= 0) & (rows.score <= 1)
    return usable
