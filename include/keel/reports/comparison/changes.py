"""What would lead to another verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator

from keel.ledger.wording import with_full_stop
from keel.reports import numbers
from keel.reports.comparison.words import Report, at_start, name_of, of_experiment, segment_name, segments_of

MAX_SEGMENTS = 20
"""Segments that are named."""


def changes(report: Report) -> Iterator[str]:
    """Yield what would lead to another verdict, a sentence each. Nothing changes that of an experiment any more."""
    if of_experiment(report):
        return
    yield from _of_the_difference(report)
    yield from _within_segments(report)
    if report.get("verdict") == "inconclusive":
        why = str(report.get("reason") or "").removeprefix("inconclusive: ")
        yield f"Nothing was decided: {with_full_stop(why)}"


def _of_the_difference(report: Report) -> Iterator[str]:
    bound, gain, margin = (report.get(name) for name in ("lower_bound", "improvement", "margin"))
    if bound is None or gain is None or margin is None:
        return
    if report["verdict"] == "pass":
        yield f"It would have failed with a margin of {numbers.signed(bound)} or more."
    elif gain <= margin:
        new = name_of(report, "challenger")
        yield (
            f"{at_start(new)} itself must be better: its improvement of {numbers.signed(gain)} is not above "
            f"{numbers.number(margin)}."
        )
    elif bound <= margin:
        times = math.ceil(10 * ((gain - bound) / (gain - margin)) ** 2) / 10
        yield (
            f"The lower bound must rise by more than {numbers.number(margin - bound)}. An improvement of this size "
            f"would be shown by {'about' if report.get('names') else 'a holdout about'} {times:g} times as "
            f"{'many rows' if report.get('names') else 'long'}, with as many earlier comparisons."
        )


def _within_segments(report: Report) -> Iterator[str]:
    gain, margin = report.get("improvement"), report.get("margin")
    if gain is None or margin is None or gain <= margin:
        return
    for segment in segments_of(report, "inferior", "not_shown")[:MAX_SEGMENTS]:
        need = -report["segment_margin"] - segment["lower_bound"]
        yield f"Within {segment_name(segment)} the lower bound must rise by more than {numbers.number(need)}."
