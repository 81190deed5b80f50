"""Evaluate an experiment: which version is better, and is the result valid?

An experiment can be evaluated at any time and any number of times. The verdict is the first result in the order in
which rows became known. So neither more evaluations nor later ones make a verdict more likely or change it. A report
holds what was known at the time of the verdict.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from keel.evaluation.experiment.evidence import (
    MISMATCH_EVIDENCE,
    RowTest,
    assignment_evidence,
    bounds,
    evaluate_rows,
    first_result,
    has_ended,
    label_evidence,
    mean_losses,
    most_outcomes,
)
from keel.evaluation.experiment.outcomes import Assigned, Outcomes, read_rows
from keel.evaluation.experiment.plan import CHALLENGER, CHAMPION, Arm, Plan, in_utc, version_of
from keel.evaluation.experiment.report import HARM, TIME, ArmReport, ExperimentEvaluation, ExperimentVerdict
from keel.evaluation.probation.sequential_tests import LARGEST_LOG, MAX_UNUSABLE_SHARE

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.stats.metrics.losses import Floats

__all__ = ["ExperimentEvaluation", "ExperimentVerdict", "decide", "evaluate", "usable_outcomes"]


@dataclass(frozen=True)
class Event:
    """The event that ends an experiment."""

    moment: np.datetime64
    verdict: ExperimentVerdict
    n: int
    """Number of usable outcomes until then."""
    cause: str | None = None


def evaluate(plan: Plan, outcomes: pa.Table, assigned: pa.Table, *, now: datetime) -> ExperimentEvaluation:
    """Evaluate an experiment on what was known at ``now``.

    - *promote*: the challenger's mean loss is shown to be lower than the champion's by more than the margin. Both error
      rates are at most `Plan.alpha`, for any number of evaluations.
    - *roll_back*: it is shown to be higher (with a negative margin, higher by more than that). Before
      `Plan.min_duration` it must be shown to be beyond `Plan.early_harm_bound`; the cause is then `HARM`.
    - *no_difference*: neither is shown on `Plan.max_outcomes` outcomes and after `Plan.min_duration`, or by
      `Plan.ends_at`; the cause of the latter is `TIME`.
    - *mismatch*: the rows are not split as planned, or one arm gets fewer labels (each has an error rate of at most
      1/`MISMATCH_EVIDENCE`), or more than `MAX_UNUSABLE_SHARE` of an arm's labelled rows are unusable at the time of a
      verdict above. The arms' losses are then not comparable.
    - *running*: none of these yet.

    Later evaluations must only add rows: a label stored with an ``observed_at`` before an earlier evaluation changes
    the past.

    Parameters
    ----------
    outcomes, assigned
        The tables that `PredictionLog.experiment_rows` returns (see `read_rows`).
    now
        Aware, in the data's time.

    """
    labelled, rows = read_rows(plan, outcomes, assigned, now=now)
    end = np.datetime64(in_utc(now), "us")
    usable = usable_outcomes(plan, labelled)
    row_test = evaluate_rows(plan, usable, end)
    event = decide(plan, labelled, usable, row_test, rows, end=end)
    moment = end if event is None else event.moment
    evaluated = usable if event is None else usable.take(slice(0, event.n))
    return _report(plan, event, moment, labelled.until(moment), evaluated, row_test, rows.until(moment))


def usable_outcomes(plan: Plan, labelled: Outcomes) -> Outcomes:
    """Return the usable outcomes up to the plan's maximum number and end."""
    usable = labelled.take(labelled.usable).until(np.datetime64(in_utc(plan.ends_at), "us"))
    return usable.take(slice(0, most_outcomes(plan, usable)))


def decide(
    plan: Plan, labelled: Outcomes, usable: Outcomes, row_test: RowTest, rows: Assigned, *, end: np.datetime64
) -> Event | None:
    """Return the first event that ends an experiment by ``end``; None while it runs. See `evaluate`."""
    event = _first_event(plan, usable, row_test, rows, end)
    if event is None or event.verdict is ExperimentVerdict.MISMATCH:
        return event
    return _unless_unusable(plan, labelled, event)


def _first_event(plan: Plan, usable: Outcomes, row_test: RowTest, rows: Assigned, end: np.datetime64) -> Event | None:
    events = [] if plan.mode == "shadow" else list(_mismatches(plan, usable, rows, end))
    if (result := first_result(plan, usable, row_test)) is not None:
        verdict = ExperimentVerdict.PROMOTE if result.better else ExperimentVerdict.ROLL_BACK
        events.append(Event(usable.known_at[result.n - 1], verdict, result.n, HARM if result.early else None))
    elif len(usable) == most_outcomes(plan, usable):
        events.append(Event(usable.known_at[-1], ExperimentVerdict.NO_DIFFERENCE, len(usable)))
    if has_ended(plan, end):
        ends_at = np.datetime64(in_utc(plan.ends_at), "us")
        events.append(Event(ends_at, ExperimentVerdict.NO_DIFFERENCE, len(usable), TIME))
    return min(events, key=lambda event: event.moment, default=None)


def _mismatches(plan: Plan, usable: Outcomes, rows: Assigned, end: np.datetime64) -> Iterator[Event]:
    delay = np.timedelta64(plan.label_delay)
    matured = rows.until(end - delay)
    for cause, path, time in (
        ("assignment", assignment_evidence(rows), rows.time),
        ("labels", label_evidence(matured), matured.time + delay),
    ):
        above = np.flatnonzero(path >= math.log(MISMATCH_EVIDENCE))
        if len(above):
            moment = time[above[0]]
            n = int(np.searchsorted(usable.known_at, moment, side="right"))
            yield Event(moment, ExperimentVerdict.MISMATCH, n, cause)


def _unless_unusable(plan: Plan, labelled: Outcomes, event: Event) -> Event:
    """Return a mismatch if an arm has too many unusable rows: its outputs would select the rows of the verdict."""
    known = labelled.until(event.moment)
    for own in (~known.challenger, known.challenger):
        if int((own & ~known.usable).sum()) > MAX_UNUSABLE_SHARE * int(own.sum()):
            return Event(event.moment, ExperimentVerdict.MISMATCH, event.n, "outputs")
    return event


def _report(
    plan: Plan,
    event: Event | None,
    moment: np.datetime64,
    labelled: Outcomes,
    evaluated: Outcomes,
    row_test: RowTest,
    rows: Assigned,
) -> ExperimentEvaluation:
    cap, matured_until = plan.loss.cap, moment - np.timedelta64(plan.label_delay)
    found = bounds(plan, evaluated)
    losses = zip((CHAMPION, CHALLENGER), mean_losses(plan, evaluated), strict=True)
    better, worse = _evidence(row_test, len(evaluated))
    matured = rows.until(matured_until)
    champion, challenger = (_arm(plan, arm, labelled, evaluated, rows, matured, loss * cap) for arm, loss in losses)
    return ExperimentEvaluation(
        plan=plan,
        verdict=ExperimentVerdict.RUNNING if event is None else event.verdict,
        cause=None if event is None else event.cause,
        decided_at=None if event is None else _datetime(event.moment),
        matured_until=_datetime(matured_until),
        champion=champion,
        challenger=challenger,
        n=len(evaluated),
        improvement=found.improvement * cap,
        lower_bound=found.lower * cap,
        upper_bound=found.upper * cap,
        unit=found.unit,
        clusters=found.clusters,
        evidence_better=better,
        evidence_worse=worse,
        assignment_evidence=_highest(assignment_evidence(rows)) if plan.mode == "ab" else 1.0,
        label_evidence=_highest(label_evidence(matured)) if plan.mode == "ab" else 1.0,
        expected_challenger=float(rows.share.sum()),
    )


def _arm(
    plan: Plan, arm: Arm, labelled: Outcomes, evaluated: Outcomes, rows: Assigned, matured: Assigned, loss: float
) -> ArmReport:
    tables = (labelled, rows, matured)
    if plan.mode == "shadow":  # every row belongs to both versions
        of_labelled, of_rows, of_matured = [np.full(len(each), True) for each in tables]
        n = len(evaluated)
    else:
        of_labelled, of_rows, of_matured = [each.challenger == (arm == CHALLENGER) for each in tables]
        n = int((evaluated.challenger == (arm == CHALLENGER)).sum())
    return ArmReport(
        version=version_of(plan, arm),
        n=n,
        unusable=int((of_labelled & ~labelled.usable).sum()),
        mean_loss=loss,
        assigned=int(of_rows.sum()),
        matured=int(of_matured.sum()),
        labelled=int((of_matured & matured.labelled).sum()),
    )


def _evidence(row_test: RowTest, n: int) -> tuple[float | None, float | None]:
    if row_test.log_wealth is None:
        return None, None
    last = int(np.searchsorted(row_test.moments, n, side="right"))
    better, worse = (_highest(path[:last]) for path in row_test.log_wealth)
    return better, worse


def _highest(path: Floats) -> float:
    """Return the highest evidence so far, at least 1."""
    return math.exp(min(LARGEST_LOG, max(0.0, float(path.max())))) if len(path) else 1.0


def _datetime(moment: np.datetime64) -> datetime:
    found: datetime = moment.astype("datetime64[us]").item()
    return found.replace(tzinfo=UTC)
