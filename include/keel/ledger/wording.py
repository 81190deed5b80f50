"""The words that ledger rows are told in: versions, times, numbers with their bounds.

Each takes whatever lies in a row, and gives an empty answer for what is missing or of another form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

METRICS = {
    "roc_auc": "area under the ROC curve (higher is better)",
    "accuracy": "share of right answers (higher is better)",
    "brier": "Brier score (lower is better)",
    "log_loss": "log loss (lower is better)",
    "mae": "mean absolute error (lower is better)",
    "rmse": "root mean squared error (lower is better)",
}
SHOWN = 5
"""As many stretches of time as one reads in a sentence."""


def mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def number(value: object) -> float | None:
    """Return a finite number, or None."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if usable else None  # type: ignore[return-value]


def text(value: object) -> str:
    """Return a text, or an empty one."""
    return value.strip() if isinstance(value, str) else ""


def ended(said: str) -> str:
    """Return a sentence with its full stop.

    >>> ended("labels show harm"), ended("Is it served?"), ended("")
    ('labels show harm.', 'Is it served?', '')
    """
    return said if not said or said[-1] in ".!?…" else f"{said}."


def version(value: object) -> str:
    """Name a version."""
    return "no version" if value is None else f"version {value}"


def moment(value: object) -> datetime | None:
    """Return a time in UTC from its ISO form."""
    try:
        read = datetime.fromisoformat(text(value))
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def day(value: object) -> str:
    """Say a time as its day, with the time of day where it is not midnight.

    >>> day("2013-05-01T00:00:00+00:00"), day("2013-05-01T16:30:00Z")
    ('1 May 2013', '1 May 2013 16:30')
    """
    at = moment(value)
    if at is None:
        return ""
    return f"{at.day} {at:%B} {at.year}" + (f" {at:%H:%M}" if (at.hour, at.minute) != (0, 0) else "")


def span(start: object, end: object) -> str:
    """Say a stretch of time, what both ends share only once; empty where an end is missing.

    >>> span("2013-04-09T00:00:00Z", "2013-04-30T00:00:00Z")
    '9 to 30 April 2013'
    >>> span("2013-05-01T03:00:00Z", "2013-05-01T06:00:00Z")
    '1 May 2013 03:00 to 06:00'
    >>> span("2013-04-09T00:00:00Z", "2013-06-30T00:00:00Z"), span(None, "2013-06-30T00:00:00Z")
    ('9 April to 30 June 2013', '')
    """
    since, until = moment(start), moment(end)
    if since is None or until is None:
        return ""
    if since.date() == until.date():
        return f"{day(start)} to {until:%H:%M}"
    first, last = day(start), day(end)
    if ":" not in first + last and since.year == until.year:
        first = f"{since.day} {since:%B}" if since.month != until.month else str(since.day)
    return f"{first} to {last}"


def stretches(value: object) -> str:
    """Say stretches of time that were set aside or given back."""
    listed = value if isinstance(value, Sequence) and not isinstance(value, str) else []
    spans = [span(mapping(each).get("start"), mapping(each).get("end")) for each in listed]
    said = [each for each in spans if each]
    more = f" and {len(said) - SHOWN} more" if len(said) > SHOWN else ""
    return f"{', '.join(said[:SHOWN])}{more}{' (UTC)' * bool(said)}" or "the row does not say which"


def shares(value: object) -> str:
    """Say an allocation, and for how long each of its stages lasts.

    >>> shares([{"share": 0.05, "seconds": 86400.0}, {"share": 0.5, "seconds": None}]), shares(None)
    ('5 % of them for 24 hours, then 50 %', 'the row does not say whom')
    """
    listed = value if isinstance(value, Sequence) and not isinstance(value, str) else []
    told = list[str]()
    for stage in map(mapping, listed):
        share, seconds = number(stage.get("share")), number(stage.get("seconds"))
        if share is not None:
            lasts = f" for {seconds / 3600:.3g} hours" if seconds else ""
            told.append(f"{100 * share:.3g} %{' of them' if not told else ''}{lasts}")
    return ", then ".join(told) or "the row does not say whom"


def rules(plan: Mapping[str, Any]) -> str:
    """Say what an experiment has to show, and when it ends."""
    metric, margin = text(plan.get("metric")), required(number(plan.get("margin")) or 0.0)
    alpha, most, lasts = (number(plan.get(name)) for name in ("alpha", "max_n", "most"))
    wrong = f", with a chance of at most {100 * alpha:.3g} % to be wrong" if alpha else ""
    ends = [f"{most:,.0f} outcomes"] if most else []
    ends += [f"{lasts / 86_400:.3g} days"] if lasts else []
    end = f"; without an answer it ends after {' or '.join(ends)}" if ends else ""
    return f"By its {METRICS.get(metric, metric or 'metric')} it has to be shown to be {margin}{wrong}{end}."


def values_of(found: Mapping[str, Any]) -> str:
    """Say what a comparison measured, and on which data; empty where it measured nothing."""
    champion, challenger = number(found.get("champion_value")), number(found.get("challenger_value"))
    if champion is None or challenger is None:
        return ""
    rows, held = number(found.get("n")), mapping(found.get("holdout"))
    when = span(held.get("start"), held.get("end"))
    if found.get("basis") == "experiment":
        data = f"{f' from {when}' if when else ''}{f', on {rows:,.0f} outcomes' if rows else ''}"
        return (
            f"In an experiment in production{data}, "
            f"its mean {text(found.get('loss')) or 'loss'} was {challenger:.4f}, against {champion:.4f} of "
            f"{version(found.get('champion'))} (lower is better)."
        )
    where = f"{f'{rows:,.0f} ' if rows else ''}labelled rows{f' of {when}' if when else ''}"
    name = text(found.get("metric"))
    return (
        f"On {where}, which neither version had seen, its {METRICS.get(name, name or 'metric')} was "
        f"{challenger:.4f}, against {champion:.4f} of {version(found.get('champion'))}."
    )


def chance(found: Mapping[str, Any]) -> str:
    """Say the difference that a comparison found, what chance leaves of it, and what was required."""
    gain, bound = number(found.get("improvement")), number(found.get("lower_bound"))
    if gain is None or bound is None:
        return ""
    level = number(found.get("level")) or number(found.get("alpha"))
    sure = f" ({100 * (1 - level):.4g} % confidence)" if level else ""
    if bound >= 0:
        least = f"still by at least {bound:.4f}"
    elif gain >= 0:
        least = f"it may as well be worse by {-bound:.4f}"
    else:
        least = f"by up to {-bound:.4f}"
    met = "it was" if is_met(found) else "it was not"
    return (
        f"That is {'better' if gain >= 0 else 'worse'} by {abs(gain):.4f}; allowing for chance, {least}{sure}. "
        f"It had to be shown to be {required(number(found.get('margin')) or 0.0)}, and {met}."
    )


def is_met(found: Mapping[str, Any]) -> bool:
    """Whether a comparison's lower bound is above the margin."""
    bound = number(found.get("lower_bound"))
    return bound is not None and bound > (number(found.get("margin")) or 0.0)


def required(margin: float) -> str:
    """Say what the lower bound must be above.

    >>> required(0.0), required(0.01), required(-0.005)
    ('better', 'better by more than 0.01', 'worse by less than 0.005')
    """
    if margin == 0:
        return "better"
    return f"better by more than {margin:g}" if margin > 0 else f"worse by less than {-margin:g}"
