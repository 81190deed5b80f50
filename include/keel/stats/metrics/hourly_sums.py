"""Sums of an hour's labelled predictions, from which metrics and their errors follow for any interval of time.

They are exact sums of losses and of squared losses, and histograms of the scores of both classes. The sums of two hours
add up (`keel.stats.metrics.hourly_table`) to those of the rows of both, to the last digit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from keel.stats.metrics.exact_sums import exact_sums, to_float, to_text
from keel.stats.metrics.losses import finite_rows, row_loss

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.stats.metrics.losses import Floats, Scored

    Integers = NDArray[np.int64]

FORMAT = 1
COLUMNS = ("label", "score", "prediction")
"""Columns with a mean beside the losses: base rate, mean score, mean prediction."""
BINS_PER_LOGIT, LARGEST_LOGIT = 64, 32
"""Bins have a width of 1/64 on the scale of the logit. At 0.5 that is the width of 256 equal bins (0.004). Bins are
narrower towards 0 and 1, where the scores of rare events lie. Scores beyond ±32 (1.3e-14 from 0 or 1) share a bin."""
BINS = 2 * LARGEST_LOGIT * BINS_PER_LOGIT + 2


def bins_of(score: Floats) -> Integers:
    """Return the bin of each score, in [0, `BINS`); a higher score is never in a lower bin. No NaN.

    >>> bins_of(np.array([-3.0, 0.0, 0.5, 0.503, 0.505, 1.0])).tolist()
    [0, 0, 2049, 2049, 2050, 4097]
    """
    with np.errstate(divide="ignore"):
        p = np.clip(score, 0.0, 1.0)
        logit = np.log(p) - np.log1p(-p)
    scaled = np.floor(np.clip(logit, -LARGEST_LOGIT - 1, LARGEST_LOGIT) * BINS_PER_LOGIT)
    return np.clip(scaled + LARGEST_LOGIT * BINS_PER_LOGIT + 1, 0, BINS - 1).astype(np.int64)


@dataclass(frozen=True)
class Moments:
    """The number of finite values, their sum, and the sum of their squares."""

    n: int = 0
    total: Fraction = Fraction(0)
    squares: Fraction = Fraction(0)

    @classmethod
    def of(cls, values: Floats) -> Moments:
        """Return the moments of values, shape (n,), without NaN and infinities."""
        usable = np.isfinite(values)
        return cls(int(usable.sum()), *exact_sums(values[usable]))

    @property
    def mean(self) -> float:
        """The mean; NaN without values."""
        return to_float(self.total / self.n) if self.n else math.nan

    @property
    def error(self) -> float:
        """Standard error of the mean of independent rows; NaN below two values."""
        if self.n < 2:
            return math.nan
        variance = (self.squares - self.total**2 / self.n) / (self.n - 1)
        return math.sqrt(to_float(variance / self.n))


@dataclass(frozen=True, eq=False)
class Histogram:
    """Scores by class: the bins with rows, ascending, and the number of positives and of negatives in each."""

    bins: Integers
    positive: Integers
    negative: Integers

    @classmethod
    def of(cls, score: Floats, label: Floats) -> Histogram:
        """Count scores. A label above 0 is a positive."""
        bins, cell = np.unique(bins_of(score), return_inverse=True)
        positive, negative = (np.bincount(cell[of_class], minlength=len(bins)) for of_class in (label > 0, label <= 0))
        return cls(bins, positive, negative)

    @classmethod
    def empty(cls) -> Histogram:
        """Return the histogram of no rows."""
        return cls(*(np.empty(0, np.int64) for _ in range(3)))


@dataclass(frozen=True, eq=False)
class Sums:
    """The sums of an hour's labelled predictions of one version."""

    n: int
    moments: Mapping[str, Moments]
    """Of each metric's loss per row, on the rows with that loss, and of each of `COLUMNS`."""
    histogram: Histogram
    """Of the rows with the values that ``roc_auc`` needs; empty for a model without scores."""

    @classmethod
    def measure(cls, rows: Scored, metrics: Iterable[str]) -> Sums:
        """Sum labelled predictions.

        A row without a finite value that a metric needs is in none of that metric's sums; it counts in ``n``.
        """
        moments = {name: Moments.of(getattr(rows, name)) for name in COLUMNS}
        histogram = Histogram.empty()
        for metric in metrics:
            usable = rows.take(finite_rows(metric, rows))
            if metric == "roc_auc":
                histogram = Histogram.of(usable.score, usable.label)
            else:
                with np.errstate(over="ignore"):
                    moments[metric] = Moments.of(row_loss(metric, usable))
        return cls(len(rows), moments, histogram)

    def to_json(self) -> str:
        """Return exact JSON with the number of its format."""
        moments = {name: [m.n, to_text(m.total), to_text(m.squares)] for name, m in self.moments.items()}
        h = self.histogram
        histogram = [h.bins.tolist(), h.positive.tolist(), h.negative.tolist()]
        body = {"format": FORMAT, "n": self.n, "moments": moments, "histogram": histogram}
        return json.dumps(body, separators=(",", ":"))
