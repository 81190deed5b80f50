"""A look at an experiment: which version is shown to be better, if any, and whether that can be trusted.

May be taken as often as one likes: the verdict is that of what was shown *first* in the order in which rows came to be
known, so looking more often, or later, neither makes a verdict more likely nor changes one. What is told with a verdict
is what was known when it fell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from keel.evaluation.experiment.evidence import (
    MISMATCH,
    ByRows,
    assignment_evidence,
    bounds,
    by_rows,
    first_shown,
    label_evidence,
    mean_losses,
    most_outcomes,
    over,
)
from keel.evaluation.experiment.outcomes import Assigned, Outcomes, read_rows
from keel.evaluation.experiment.plan import CHALLENGER, CHAMPION, Arm, Plan, in_utc, version_of
from keel.evaluation.experiment.report import HARM, TIME, ArmReport, ExperimentEvaluation, ExperimentVerdict
from keel.evaluation.probation.sequential_tests import LARGEST_LOG, MOST_LEFT_OUT

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.stats.metrics.losses import Floats

__all__ = ["ExperimentEvaluation", "ExperimentVerdict", "countable", "decide", "evaluate"]


@dataclass(frozen=True)
class Event:
    """What ends an experiment."""

    moment: np.datetime64
    verdict: ExperimentVerdict
    n: int
    """Usable outcomes until then."""
    cause: str | None = None


def evaluate(plan: Plan, outcomes: pa.Table, assigned: pa.Table, *, now: datetime) -> ExperimentEvaluation:
    """Judge an experiment by what was known at ``now``, aware, in the data's time.

    outcomes, assigned: what `PredictionLog.experiment_rows` returns of the experiment (`read_rows`).

    - *promote*: the challenger's mean loss is shown to be lower than the champion's by more than the margin. Each of
      the two wrong verdicts has a chance of at most `Plan.alpha`, however often one looks.
    - *roll_back*: it is shown to be higher (with a negative margin, by more than that allows). Before `Plan.least` by
      more than is borne meanwhile (`Plan.early_harm_bound`): the cause is `HARM` then.
    - *no_difference*: neither, on `Plan.max_n` outcomes and after `Plan.least`, or by `Plan.ends_at`, with whatever was
      known by then: the cause is `TIME` then.
    - *mismatch*: the rows are not split as the plan says, or one arm gets its labels more seldom (each with a chance of
      at most 1/`MISMATCH` if nothing is wrong), or more than `MOST_LEFT_OUT` of an arm's labelled rows cannot be used
      when one of the former would fall. Whatever the versions' losses are, they are not those of like rows.
    - *running*: none of these yet.

    That holds provided that later looks only add rows: a label stored with an ``observed_at`` before an earlier look
    takes its place in the past.
    """
    labelled, rows = read_rows(plan, outcomes, assigned, now=now)
    end = np.datetime64(in_utc(now), "us")
    usable = countable(plan, labelled)
    followed = by_rows(plan, usable, end)
    event = decide(plan, labelled, usable, followed, rows, end=end)
    moment = end if event is None else event.moment
    judged = usable if event is None else usable.take(slice(0, event.n))
    return _report(plan, event, moment, labelled.until(moment), judged, followed, rows.until(moment))


def countable(plan: Plan, labelled: Outcomes) -> Outcomes:
    """Return the outcomes that the plan judges: those that are usable, until no more count."""
    usable = labelled.take(labelled.usable).until(np.datetime64(in_utc(plan.ends_at), "us"))
    return usable.take(slice(0, most_outcomes(plan, usable)))


def decide(
    plan: Plan, labelled: Outcomes, usable: Outcomes, followed: ByRows, rows: Assigned, *, end: np.datetime64
) -> Event | None:
    """Return what ended an experiment first, of what was known by ``end``; None while it runs. See `evaluate`."""
    event = _first_event(plan, usable, followed, rows, end)
    if event is None or event.verdict is ExperimentVerdict.MISMATCH:
        return event
    return _unless_spoilt(plan, labelled, event)


def _first_event(plan: Plan, usable: Outcomes, followed: ByRows, rows: Assigned, end: np.datetime64) -> Event | None:
    found = [] if plan.mode == "shadow" else list(_mismatches(plan, usable, rows, end))
    if (shown := first_shown(plan, usable, followed)) is not None:
        verdict = ExperimentVerdict.PROMOTE if shown.better else ExperimentVerdict.ROLL_BACK
        found.append(Event(usable.known_at[shown.n - 1], verdict, shown.n, HARM if shown.early else None))
    elif len(usable) == most_outcomes(plan, usable):
        found.append(Event(usable.known_at[-1], ExperimentVerdict.NO_DIFFERENCE, len(usable)))
    if over(plan, end):
        ends_at = np.datetime64(in_utc(plan.ends_at), "us")
        found.append(Event(ends_at, ExperimentVerdict.NO_DIFFERENCE, len(usable), TIME))
    return min(found, key=lambda event: event.moment, default=None)


def _mismatches(plan: Plan, usable: Outcomes, rows: Assigned, end: np.datetime64) -> Iterator[Event]:
    delay = np.timedelta64(plan.label_delay)
    due = rows.until(end - delay)
    for cause, path, time in (
        ("assignment", assignment_evidence(rows), rows.time),
        ("labels", label_evidence(due), due.time + delay),
    ):
        above = np.flatnonzero(path >= math.log(MISMATCH))
        if len(above):
            moment = time[above[0]]
            n = int(np.searchsorted(usable.known_at, moment, side="right"))
            yield Event(moment, ExperimentVerdict.MISMATCH, n, cause)


def _unless_spoilt(plan: Plan, labelled: Outcomes, event: Event) -> Event:
    """Return a mismatch where the verdict would rest on rows that an arm's outputs have chosen."""
    known = labelled.until(event.moment)
    for own in (~known.challenger, known.challenger):
        if int((own & ~known.usable).sum()) > MOST_LEFT_OUT * int(own.sum()):
            return Event(event.moment, ExperimentVerdict.MISMATCH, event.n, "outputs")
    return event


def _report(
    plan: Plan,
    event: Event | None,
    moment: np.datetime64,
    labelled: Outcomes,
    judged: Outcomes,
    followed: ByRows,
    rows: Assigned,
) -> ExperimentEvaluation:
    cap, mature = plan.loss.cap, moment - np.timedelta64(plan.label_delay)
    found = bounds(plan, judged)
    before, new = mean_losses(plan, judged)
    better, worse = _capitals(followed, len(judged))
    due = rows.until(mature)
    arms = [
        _arm(plan, arm, labelled, judged, rows, due, loss * cap)
        for arm, loss in ((CHAMPION, before), (CHALLENGER, new))
    ]
    return ExperimentEvaluation(
        plan=plan,
        verdict=ExperimentVerdict.RUNNING if event is None else event.verdict,
        cause=None if event is None else event.cause,
        decided_at=None if event is None else _datetime(event.moment),
        mature_until=_datetime(mature),
        champion=arms[0],
        challenger=arms[1],
        n=len(judged),
        improvement=found.improvement * cap,
        lower_bound=found.lower * cap,
        upper_bound=found.upper * cap,
        unit=found.unit,
        clusters=found.clusters,
        evidence_better=better,
        evidence_worse=worse,
        assignment_evidence=_highest(assignment_evidence(rows)) if plan.mode == "ab" else 1.0,
        label_evidence=_highest(label_evidence(due)) if plan.mode == "ab" else 1.0,
        expected=float(rows.share.sum()),
    )


def _arm(
    plan: Plan, arm: Arm, labelled: Outcomes, judged: Outcomes, rows: Assigned, due: Assigned, loss: float
) -> ArmReport:
    if plan.mode == "shadow":  # every row is of both
        own, of_rows, of_due = [np.full(len(each), True) for each in (labelled, rows, due)]
        n = len(judged)
    else:
        is_own = [each.challenger == (arm == CHALLENGER) for each in (labelled, rows, due)]
        own, of_rows, of_due = is_own
        n = int((judged.challenger == (arm == CHALLENGER)).sum())
    return ArmReport(
        version=version_of(plan, arm),
        n=n,
        left_out=int((own & ~labelled.usable).sum()),
        mean_loss=loss,
        assigned=int(of_rows.sum()),
        due=int(of_due.sum()),
        labelled=int((of_due & due.labelled).sum()),
    )


def _capitals(followed: ByRows, n: int) -> tuple[float | None, float | None]:
    if followed.log_capitals is None:
        return None, None
    last = int(np.searchsorted(followed.moments, n, side="right"))
    better, worse = (_highest(path[:last]) for path in followed.log_capitals)
    return better, worse


def _highest(path: Floats) -> float:
    """Return the most that the evidence has come to, from 1."""
    return math.exp(min(LARGEST_LOG, max(0.0, float(path.max())))) if len(path) else 1.0


def _datetime(moment: np.datetime64) -> datetime:
    found: datetime = moment.astype("datetime64[us]").item()
    return found.replace(tzinfo=UTC)
