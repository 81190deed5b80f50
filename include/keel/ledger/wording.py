"""Put the parts of a ledger row into words: versions, times, allocations, numbers with their bounds.

Every function takes any value that a row may hold, and returns an empty result for a value that is missing or has
another form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

METRICS = {
    "roc_auc": "area under the ROC curve (higher is better)",
    "accuracy": "accuracy (higher is better)",
    "brier": "Brier score (lower is better)",
    "log_loss": "log loss (lower is better)",
    "mae": "mean absolute error (lower is better)",
    "rmse": "root mean squared error (lower is better)",
}
MAX_LISTED = 5
"""Intervals that a sentence lists."""
LEAST_PROBABILITY = 0.0001
"""One below it is written as less than it: the difference to zero has no use for a reader."""


def as_mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def as_number(value: object) -> float | None:
    """Return a finite number, or None."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if usable else None  # type: ignore[return-value]


def as_text(value: object) -> str:
    """Return a text without surrounding spaces, or an empty one."""
    return value.strip() if isinstance(value, str) else ""


def with_full_stop(sentence: str) -> str:
    """Return a sentence with its full stop.

    >>> with_full_stop("labels show harm"), with_full_stop("Is it served?"), with_full_stop("")
    ('labels show harm.', 'Is it served?', '')
    """
    return sentence if not sentence or sentence[-1] in ".!?…" else f"{sentence}."


def name_version(value: object) -> str:
    """Return the name of a version."""
    return "no version" if value is None else f"version {value}"


def parse_utc(value: object) -> datetime | None:
    """Return a time in UTC from its ISO form; without a zone it is UTC."""
    try:
        read = datetime.fromisoformat(as_text(value))
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def format_time(value: object) -> str:
    """Return the day of a time, with the time of day unless that is midnight.

    >>> format_time("2013-05-01T00:00:00+00:00"), format_time("2013-05-01T16:30:00Z")
    ('1 May 2013', '1 May 2013 16:30')
    """
    at = parse_utc(value)
    if at is None:
        return ""
    return f"{at.day} {at:%B} {at.year}" + (f" {at:%H:%M}" if (at.hour, at.minute) != (0, 0) else "")


def format_interval(start: object, end: object) -> str:
    """Return an interval as text, without repeating what both ends share; empty if an end is missing.

    >>> format_interval("2013-04-09T00:00:00Z", "2013-04-30T00:00:00Z")
    '9 to 30 April 2013'
    >>> format_interval("2013-05-01T03:00:00Z", "2013-05-01T06:00:00Z")
    '1 May 2013 03:00 to 06:00'
    >>> format_interval("2013-04-09T00:00:00Z", "2013-06-30T00:00:00Z"), format_interval(None, "2013-06-30T00:00:00Z")
    ('9 April to 30 June 2013', '')
    """
    since, until = parse_utc(start), parse_utc(end)
    if since is None or until is None:
        return ""
    if since.date() == until.date():
        return f"{format_time(start)} to {until:%H:%M}"
    first, last = format_time(start), format_time(end)
    if ":" not in first + last and since.year == until.year:
        first = f"{since.day} {since:%B}" if since.month != until.month else str(since.day)
    return f"{first} to {last}"


def format_intervals(value: object) -> str:
    """Return quarantined or released intervals as text."""
    listed = value if isinstance(value, Sequence) and not isinstance(value, str) else []
    found = [format_interval(as_mapping(each).get("start"), as_mapping(each).get("end")) for each in listed]
    names = [each for each in found if each]
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return f"{', '.join(names[:MAX_LISTED])}{more}{' (UTC)' * bool(names)}" or "the row has no interval"


def format_allocation(value: object) -> str:
    """Return an allocation as text, with the duration of its stages.

    >>> format_allocation([{"share": 0.05, "seconds": 86400.0}, {"share": 0.5, "seconds": None}])
    '5 % of the entities for 24 hours, then 50 %'
    >>> format_allocation(None)
    'an unknown share of the entities'
    """
    stages = value if isinstance(value, Sequence) and not isinstance(value, str) else []
    parts = list[str]()
    for stage in map(as_mapping, stages):
        share, seconds = as_number(stage.get("share")), as_number(stage.get("seconds"))
        if share is not None:
            lasts = f" for {seconds / 3600:.3g} hours" if seconds else ""
            parts.append(f"{100 * share:.3g} %{' of the entities' if not parts else ''}{lasts}")
    return ", then ".join(parts) or "an unknown share of the entities"


def describe_rules(plan: Mapping[str, Any]) -> str:
    """Return what an experiment must show, and when it ends. Plans of 0.1.0 have other names."""
    metric, margin = as_text(plan.get("metric")), describe_margin(as_number(plan.get("margin")) or 0.0)
    alpha = as_number(plan.get("alpha"))
    max_outcomes = as_number(plan.get("max_outcomes", plan.get("max_n")))
    max_duration = as_number(plan.get("max_duration", plan.get("most")))
    error = f", with an error rate of at most {100 * alpha:.3g} %" if alpha else ""
    ends = [f"{max_outcomes:,.0f} outcomes"] if max_outcomes else []
    ends += [f"{max_duration / 86_400:.3g} days"] if max_duration else []
    end = f" Without a result, the experiment ends after {' or '.join(ends)}." if ends else ""
    return f"By its {METRICS.get(metric, metric or 'metric')} it must be {margin}{error}.{end}"


def describe_values(comparison: Mapping[str, Any]) -> str:
    """Return the metric of both versions and the data; empty without values."""
    champion, challenger = as_number(comparison.get("champion_value")), as_number(comparison.get("challenger_value"))
    if champion is None or challenger is None:
        return ""
    rows, holdout = as_number(comparison.get("n")), as_mapping(comparison.get("holdout"))
    when = format_interval(holdout.get("start"), holdout.get("end"))
    other = name_version(comparison.get("champion"))
    if comparison.get("basis") == "experiment":
        data = f"{f' from {when}' if when else ''}{f', on {rows:,.0f} outcomes' if rows else ''}"
        loss = as_text(comparison.get("loss")) or "loss"
        return (
            f"In an experiment in production{data}, its mean {loss} was {challenger:.4f}, against {champion:.4f} of "
            f"{other} (lower is better)."
        )
    data = f"{f'{rows:,.0f} ' if rows else ''}labelled rows{f' of {when}' if when else ''}"
    name = as_text(comparison.get("metric"))
    return (
        f"On {data}, which neither version had seen, its {METRICS.get(name, name or 'metric')} was "
        f"{challenger:.4f}, against {champion:.4f} of {other}."
    )


def describe_difference(comparison: Mapping[str, Any]) -> str:
    """Return the difference of a comparison, its confidence bound and the required margin; empty without them."""
    gain, bound = as_number(comparison.get("improvement")), as_number(comparison.get("lower_bound"))
    if gain is None or bound is None:
        return ""
    level = as_number(comparison.get("level")) or as_number(comparison.get("alpha"))
    confidence = f" with {100 * (1 - level):.{2 + max(2, _confidence_decimals(level))}g} % confidence" if level else ""
    if bound >= 0:
        limit = f"by at least {bound:.4f}{confidence}"
    elif gain >= 0:
        limit = f"but{confidence} it may be worse by up to {-bound:.4f}"
    else:
        limit = f"by up to {-bound:.4f}{confidence}"
    shown = "was shown" if exceeds_margin(comparison) else "was not shown"
    return (
        f"That is {'better' if gain >= 0 else 'worse'} by {abs(gain):.4f}, {limit}. "
        f"It had to be {describe_margin(as_number(comparison.get('margin')) or 0.0)}, and that {shown}."
    )


def format_confidence(level: float) -> str:
    """Return the confidence of a bound in percent, with the decimals that tell it from 100%.

    level: the probability that the bound does not hold, above 0 and below 1.

    >>> format_confidence(0.03), format_confidence(0.005), format_confidence(0.00018), format_confidence(2e-7)
    ('97.0%', '99.5%', '99.98%', '99.99998%')
    """
    return f"{100 * (1 - level):.{_confidence_decimals(level)}f}%"


def format_probability(value: float | None, symbol: str = "p") -> str:
    """Return a p-value or, with ``symbol="q"``, an adjusted one.

    >>> format_probability(0.0317), format_probability(1e-30, "q"), format_probability(None)
    ('p = 0.032', 'q < 0.0001', 'p unknown')
    """
    known = as_number(value)
    if known is None:
        return f"{symbol} unknown"
    return f"{symbol} < {LEAST_PROBABILITY:g}" if known < LEAST_PROBABILITY else f"{symbol} = {known:.2g}"


def _confidence_decimals(level: float) -> int:
    return max(1, -math.floor(math.log10(100 * level))) if 0 < level < 1 else 1


def exceeds_margin(comparison: Mapping[str, Any]) -> bool:
    """Whether a comparison's lower bound is above the margin."""
    bound = as_number(comparison.get("lower_bound"))
    return bound is not None and bound > (as_number(comparison.get("margin")) or 0.0)


def describe_margin(margin: float) -> str:
    """Return in words what the lower bound must exceed.

    >>> describe_margin(0.0), describe_margin(0.01), describe_margin(-0.005)
    ('better', 'better by more than 0.01', 'worse by less than 0.005')
    """
    if margin == 0:
        return "better"
    return f"better by more than {margin:g}" if margin > 0 else f"worse by less than {-margin:g}"
