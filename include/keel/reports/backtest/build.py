"""The page of a backtest: what each policy would have done, and what that would have been worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.reports import numbers
from keel.reports.backtest.words import baselines, command, counted, headline, lead, listed, metric_name, summary
from keel.reports.charts.specs import Interval, Intervals, Mark, Point, Trend
from keel.reports.page import (
    Command,
    Details,
    Fact,
    Figure,
    Items,
    Page,
    Paragraph,
    Section,
    Table,
    Tag,
    Tone,
)

if TYPE_CHECKING:
    from keel.reports.backtest.records import (
        BacktestDifference,
        BacktestEstimate,
        BacktestPolicy,
        BacktestResult,
        BacktestStep,
    )
    from keel.reports.page import Block, Cell

MOST_MARKS = 12
"""Promotions of a policy that a chart marks. With more, the marks would hide the lines."""
ACTIONS = {
    "all_clear": Tag("all clear", Tone.GOOD),
    "raise_alert": Tag("alert", Tone.WARN),
    "quarantine": Tag("quarantine", Tone.BAD),
    "retrain": Tag("retrain", Tone.WARN),
}
VERDICTS = {"pass": "shown to be better", "fail": "not shown to be better", "inconclusive": "could not be compared"}


def build_page(result: BacktestResult) -> Page:
    """Return the page of a backtest. The same result gives the same page."""
    return Page(
        title=f"{result.model}: backtest, {numbers.span(result.start, result.end)}",
        eyebrow=" · ".join(
            (
                f"Backtest of {result.model}",
                numbers.span(result.start, result.end),
                f"a step every {result.every}",
                numbers.count(result.predictions, "prediction"),
            )
        ),
        headline=headline(result),
        lead=lead(result),
        facts=_facts(result),
        sections=(
            Section("Policies side by side", _side_by_side(result)),
            Section("Performance over time", (_trend(result),)),
            Section("What a backtest assumes", (Items((result.first_version, *result.notes)),)),
            Section("Run it again", (Command(command(result)),)),
            # last, because a renderer leaves out the end of a very long page
            *(Section(f"Decisions of {policy.name}", _decisions(result, policy)) for policy in result.policies),
        ),
        footer=(
            f"Backtest {result.backtest_id}. The past was read from {result.source}. Times are in UTC.",
            f"Keel {result.release}. The same command with --json gives the same numbers as JSON.",
        ),
    )


def _facts(result: BacktestResult) -> tuple[Fact, ...]:
    policy = result.policies[0]
    counts, value = policy.counts, policy.metrics[result.metric]
    facts = [
        Fact(
            numbers.number(value.value),
            (f"{metric_name(result)} of {policy.name}", f"95% interval {numbers.interval(value.lower, value.upper)}"),
        )
    ]
    for found in policy.differences:
        facts.append(
            Fact(
                numbers.signed(found.value),
                (f"better than {found.against}", f"95% interval {numbers.interval(found.lower, found.upper)}"),
                _tone(found),
            )
        )
    failed = f"{numbers.count(counts.failed_trainings, 'training')} failed" if counts.failed_trainings else ""
    facts.append(
        Fact(
            numbers.count(counts.trainings, "training"),
            (f"{numbers.count(counts.promotions)} promoted, {numbers.count(counts.rollbacks)} rolled back", failed),
        )
    )
    return tuple(facts)


def _side_by_side(result: BacktestResult) -> tuple[Block, ...]:
    head, rows = summary(result)
    better = "higher" if result.higher_is_better else "lower"
    table = Table(
        "Each policy's performance, what it is worth, and what it did",
        tuple(head),
        tuple(map(tuple, rows)),
        numeric=tuple(range(1, len(head))),
        wide=True,
    )
    blocks: list[Block] = [
        table,
        Paragraph(
            f"Of the {metric_name(result)}, {better} is better. A positive difference means that the policy of the row "
            "is better, on the same predictions. Its 95% interval, by day-clustered errors, is in brackets.",
            quiet=True,
        ),
        Items(tuple(f"{policy.name}: {policy.description}" for policy in result.policies)),
    ]
    rows_of = [
        Interval(policy.name, found.value, found.lower, found.upper, numbers.count(found.n, "row"))
        for policy in result.policies
        for found in policy.differences[:1]
    ]
    if rows_of and (baseline := baselines(result)[0]):
        chart = Intervals(
            f"Improvement over {baseline}", tuple(rows_of), 0.0, f"as good as {baseline}", metric_name(result)
        )
        blocks.insert(1, Figure(chart, f"How much better each policy was than {baseline}, with 95% intervals."))
    more = [name for name in result.policies[0].metrics if name != result.metric]
    if more:
        cells = [(policy.name, *(_estimate(policy.metrics[name]) for name in more)) for policy in result.policies]
        shown = Table("Further metrics", ("policy", *more), tuple(cells), numeric=tuple(range(1, len(more) + 1)))
        blocks.append(Details("Further metrics", (shown,)))
    return tuple(blocks)


def _trend(result: BacktestResult) -> Figure:
    marked = [policy for policy in result.policies if 0 < policy.counts.promotions <= MOST_MARKS]
    marks = tuple(
        Mark(step.end, f"{policy.name}: {_mark(step)}")
        for policy in marked
        for step in policy.steps
        if step.promoted is not None or step.rolled_back is not None
    )
    first, *others = result.policies
    chart = Trend(
        metric_name(result),
        _points(first, with_intervals=True),
        marks=marks,
        unit=metric_name(result),
        label=first.name,
        others=tuple((policy.name, _points(policy)) for policy in others),
    )
    better = "higher" if result.higher_is_better else "lower"
    sentence = (
        f"The {metric_name(result)} of each policy's predictions in each step, at its end; {better} is better. The "
        f"intervals are those of {first.name}."
    )
    if marked:
        sentence += f" Vertical lines are promotions and rollbacks of {listed([policy.name for policy in marked])}."
    return Figure(chart, sentence)


def _points(policy: BacktestPolicy, *, with_intervals: bool = False) -> tuple[Point, ...]:
    return tuple(
        Point(step.end, each.value, *((each.lower, each.upper) if with_intervals else (None, None)), n=each.n)
        for step, each in zip(policy.steps, policy.intervals, strict=True)
    )


def _decisions(result: BacktestResult, policy: BacktestPolicy) -> tuple[Block, ...]:
    """Return what a policy decided when: the steps in which something happened, then all of them, folded."""
    pairs = list(zip(policy.steps, policy.intervals, strict=True))
    busy = [pair for pair in pairs if _happened(pair[0])]
    blocks: list[Block] = [Paragraph(f"{policy.description} {counted(policy)}")]
    if busy:
        blocks.append(_timeline(result, f"Versions of {policy.name}", busy))
    else:
        blocks.append(Paragraph(f"Version {policy.steps[0].version} answered all the time.", quiet=True))
    blocks.append(Details(f"All {numbers.count(len(pairs), 'check')}", (_checks(policy),)))
    return tuple(blocks)


def _timeline(result: BacktestResult, caption: str, pairs: list[tuple[BacktestStep, BacktestEstimate]]) -> Table:
    rows = [
        (
            numbers.time(step.end),
            str(step.version),
            numbers.number(estimate.value, 4),
            ACTIONS.get(step.action, Tag(step.action)),
            _outcome(step),
            *_bounds(step),
        )
        for step, estimate in pairs
    ]
    head = ("until", "version", metric_name(result), "check", "what followed", "improvement", "lower bound")
    return Table(caption, head, tuple(rows), numeric=(1, 2, 5, 6), wide=True)


def _checks(policy: BacktestPolicy) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            numbers.time(step.end),
            numbers.count(step.rows),
            numbers.count(step.labels),
            ACTIONS.get(step.action, Tag(step.action)),
            f"{step.quality}, {step.drift}, {step.performance}",
            step.sentence,
        )
        for step in policy.steps
    ]
    head = ("until", "predictions", "labels", "check", "quality, drift, performance", "why")
    return Table(f"All checks of {policy.name}", head, tuple(rows), numeric=(1, 2), wide=True)


def _happened(step: BacktestStep) -> bool:
    return step.comparison is not None or step.rolled_back is not None or bool(step.failure) or bool(step.probation)


def _outcome(step: BacktestStep) -> str:
    parts = []
    if step.rolled_back is not None:
        parts.append(f"Version {step.rolled_back} was rolled back: {step.probation}")
    elif step.probation:
        parts.append(step.probation)
    if step.failure:
        parts.append(f"The training failed: {step.failure}.")
    found = step.comparison
    if found is not None:
        verdict = VERDICTS.get(found.verdict, found.verdict)
        if found.champion == found.challenger:
            parts.append(f"The same rows as before gave version {found.challenger} again.")
        elif step.promoted is not None:
            proven = "" if found.verdict == "pass" else f", though it was {verdict}"
            parts.append(f"Version {found.challenger} was promoted{proven}.")
        else:
            parts.append(f"Version {found.challenger} was {verdict}; version {found.champion} stayed.")
    return " ".join(parts)


def _bounds(step: BacktestStep) -> tuple[str, str]:
    found = step.comparison
    if found is None or found.improvement is None:
        return "", ""
    return numbers.signed(found.improvement), numbers.signed(found.lower_bound)


def _mark(step: BacktestStep) -> str:
    if step.promoted is not None:
        return f"version {step.promoted}"
    return f"version {step.rolled_back} rolled back"


def _estimate(found: BacktestEstimate) -> str:
    return f"{numbers.number(found.value)} ({numbers.interval(found.lower, found.upper)})"


def _tone(found: BacktestDifference) -> Tone:
    if found.lower is not None and found.lower > 0:
        return Tone.GOOD
    return Tone.BAD if found.upper is not None and found.upper < 0 else Tone.NEUTRAL
