"""Tests of the rates of missing, infinite, invalid and out-of-range values, and of new categories."""

from __future__ import annotations

import numpy as np

_TAIL_WIDTH = 40.0
"""Standard deviations that are summed beyond the observed count; the rest is below 1e-300 of the sum."""


def rate_increase_p_value(events_reference: int, n_reference: int, events: int, n: int) -> float:
    """Return P(at least ``events`` in the window, given all events) for equal rates, in [0, 1].

    It is the exact one-sided test of two proportions. Given the events among all n_r + n rows, the window's number is
    hypergeometric. The test is valid at any size and any rate, also 0.
    Source: Fisher 1935; Agresti, Categorical Data Analysis, 3.5.

    >>> round(rate_increase_p_value(1, 10, 9, 10), 6)
    0.000547
    >>> rate_increase_p_value(0, 10, 0, 10)
    1.0
    """
    total, successes = n_reference + n, events_reference + events
    if events <= max(0, successes - n_reference):
        return 1.0
    mean = n * successes / total
    spread = np.sqrt(mean * (1 - successes / total) * (n_reference / total) * total / max(total - 1, 1))
    reach = int(_TAIL_WIDTH * (spread + 1)) + 50
    if events > mean:
        counts = np.arange(events, min(successes, n, events + reach) + 1)
        return min(1.0, float(np.sum(np.exp(_log_hypergeometric(counts, total, successes, n)))))
    counts = np.arange(max(0, successes - n_reference, events - reach), events)
    return max(0.0, 1.0 - float(np.sum(np.exp(_log_hypergeometric(counts, total, successes, n)))))


def rate_change_p_value(events_reference: int, n_reference: int, events: int, n: int) -> float:
    """Return the two-sided p-value of two proportions, in [0, 1]: twice the smaller of the two one-sided ones.

    A rate that falls is a change like one that rises: a feature that is filled where it used to be missing is news to
    the version. Valid at any size and rate, like `rate_increase_p_value`, of which it doubles the exact tail.
    Source: Fisher 1935; Agresti, Categorical Data Analysis, 3.5.

    >>> round(rate_change_p_value(9, 10, 1, 10), 6) == round(rate_change_p_value(1, 10, 9, 10), 6) == 0.001093
    True
    >>> rate_change_p_value(5, 10, 5, 10)
    1.0
    """
    rise = rate_increase_p_value(events_reference, n_reference, events, n)
    fall = rate_increase_p_value(n_reference - events_reference, n_reference, n - events, n)
    return min(1.0, 2 * min(rise, fall))


def _log_hypergeometric(
    counts: np.ndarray[tuple[int], np.dtype[np.int64]], total: int, successes: int, draws: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return (
        _log_choose(successes, counts)
        + _log_choose(total - successes, draws - counts)
        - _log_choose(total, np.asarray(draws))
    )


def _log_choose(
    n: int, k: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    from scipy.special import gammaln  # slow to import, and not needed to read what is stored

    return gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)


def beyond_range_p_value(n_reference: int, beyond: int, n: int) -> float:
    """Return P(at least ``beyond`` of n new values outside the range of n_r old ones) in one sample, in [0, 1].

    The range is the reference's own, which therefore has no value outside. So the comparison of 0 of n_r with
    ``beyond`` of n would raise false alarms. The window's values outside, on both sides together, are distributed as
    the values before the second reference value in a random order of all. There are ``beyond`` or more if the first
    ``beyond`` + 1 hold at most one value of the reference. Ties make the result an upper bound.
    Source: Wilks 1941 (law of exceedances).

    >>> round(beyond_range_p_value(2, 1, 3), 4)
    0.9
    >>> beyond_range_p_value(1000, 20, 100) < 1e-15
    True
    """
    if beyond < 1:
        return 1.0
    log_ratio = _log_choose(n, np.asarray(beyond)) - _log_choose(n + n_reference, np.asarray(beyond + 1))
    return min(1.0, float(np.exp(log_ratio)) * (n_reference + (n - beyond) / (beyond + 1)))
