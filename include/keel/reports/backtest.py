"""The page of a backtest: what each policy would have done, and what that would have been worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.ledger.wording import METRICS
from keel.reports import numbers
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
    from keel.reports.backtest_records import (
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
        lead=_lead(result),
        facts=_facts(result),
        sections=(
            Section("Policies side by side", _side_by_side(result)),
            Section("Performance over time", (_trend(result),)),
            *(Section(f"Decisions of {policy.name}", _decisions(result, policy)) for policy in result.policies),
            Section("What a backtest assumes", (Items((result.first_version, *result.notes)),)),
            Section("Run it again", (Command(command(result)),)),
        ),
        footer=(
            f"Backtest {result.backtest_id}. The past was read from {result.source}. Times are in UTC.",
            f"Keel {result.release}. The same command with --json gives the same numbers as JSON.",
        ),
    )


def headline(result: BacktestResult) -> str:
    """Return what the first policy would have done, and what that would have been worth, in one sentence.

    It is compared with never retraining, else with always retraining, where that is among the policies.
    """
    policy = result.policies[0]
    counts = policy.counts
    done = f"The {policy.name} policy would have retrained {_times(counts.trainings)}"
    if counts.trainings:
        done += f" and promoted {_times(counts.promotions)}"
    if counts.rollbacks:
        done += f" and rolled back {_times(counts.rollbacks)}"
    found = policy.differences[0] if policy.differences else None
    if found is None or found.value is None:
        value = numbers.number(policy.metrics[result.metric].value)
        return f"{done}; its {metric_name(result)} over the whole span is {value}."
    against = {"never": "never retraining", "always": "retraining at every step"}[found.against]
    if found.value == 0:
        return f"{done}, which gives the same {metric_name(result)} as {against}."
    size = numbers.number(abs(found.value))
    if not _is_clear(found):
        word = "higher" if result.higher_is_better is (found.value > 0) else "lower"
        return f"{done}; its {metric_name(result)} is {word} by {size} than with {against}, which may be chance."
    verb = "raised" if result.higher_is_better is (found.value > 0) else "lowered"
    return f"{done}, and {verb} the {metric_name(result)} by {size} against {against}."


def summary(result: BacktestResult) -> tuple[list[str], list[list[str]]]:
    """Return the table of all policies as plain texts: its head, and a row for each policy."""
    baselines = _baselines(result)
    against = [f"better than {name}" for name in baselines]
    head = ["policy", metric_name(result), *against, "alerts", "trained", "promoted", "rolled back"]
    values = numbers.alike(*(policy.metrics[result.metric].value for policy in result.policies))
    rows = []
    for policy, value in zip(result.policies, values, strict=True):
        found = {each.against: each for each in policy.differences}
        differences = [_difference(found[name]) if name in found else "–" for name in baselines]
        counts = policy.counts
        done = (counts.alerts, counts.trainings, counts.promotions, counts.rollbacks)
        rows.append([policy.name, value, *differences, *(numbers.count(each) for each in done)])
    return head, rows


def metric_name(result: BacktestResult) -> str:
    """Return the metric's name as in the middle of a sentence, such as ``Brier score``."""
    return METRICS.get(result.metric, result.metric).partition(" (")[0]


def command(result: BacktestResult) -> str:
    """Return the command that runs the same backtest."""
    policies = " ".join(f"--policy {policy.option}" for policy in result.policies)
    span = f"--start {_short(result.start.isoformat())} --end {_short(result.end.isoformat())}"
    return f"keel backtest {result.model} {span} --every {result.every} {policies}"


def _lead(result: BacktestResult) -> str:
    policy = result.policies[0]
    found = policy.differences[0] if policy.differences else None
    if found is None or found.value is None:
        return policy.description
    total = ""
    if found.value and result.metric in ("brier", "log_loss", "mae"):
        size, word = numbers.number(abs(found.value * found.n)), "smaller" if found.value > 0 else "larger"
        total = f" Summed over {numbers.count(found.n, 'labelled prediction')}, its loss is {size} {word}."
    return f"{_best(result)} {_certainty(found)}{total}"


def _certainty(found: BacktestDifference) -> str:
    """Return what the interval of a difference means."""
    if found.lower is None or found.upper is None:
        return "How certain this is cannot be said from so few rows."
    span = numbers.interval(found.lower, found.upper)
    clear = "so it is more than chance" if _is_clear(found) else "so it may be chance"
    return f"With 95% confidence the improvement per prediction is {span}, {clear}."


def _is_clear(found: BacktestDifference) -> bool:
    """Whether the interval of a difference does not contain zero."""
    return (found.lower is not None and found.lower > 0) or (found.upper is not None and found.upper < 0)


def _best(result: BacktestResult) -> str:
    """Return which policy has the best metric."""
    known = [(policy.metrics[result.metric].value, policy.name) for policy in result.policies]
    values = [(value, name) for value, name in known if value is not None]
    if len(values) < 2:
        return ""
    choose, word = (max, "highest") if result.higher_is_better else (min, "lowest")
    best, _ = choose(values)
    names = [name for value, name in values if value == best]
    verb = "has" if len(names) == 1 else "have"
    return f"Of the {len(known)} policies, {_listed(names)} {verb} the {word} {metric_name(result)}."


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
    if rows_of and (baseline := _baselines(result)[0]):
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
        sentence += f" Vertical lines are promotions and rollbacks of {_listed([policy.name for policy in marked])}."
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
    blocks: list[Block] = [Paragraph(f"{policy.description} {_counted(policy)}")]
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


def _baselines(result: BacktestResult) -> list[str]:
    return list(dict.fromkeys(found.against for policy in result.policies for found in policy.differences))


def _difference(found: BacktestDifference) -> str:
    return f"{numbers.signed(found.value)} ({numbers.interval(found.lower, found.upper)})"


def _estimate(found: BacktestEstimate) -> str:
    return f"{numbers.number(found.value)} ({numbers.interval(found.lower, found.upper)})"


def _tone(found: BacktestDifference) -> Tone:
    if found.lower is not None and found.lower > 0:
        return Tone.GOOD
    return Tone.BAD if found.upper is not None and found.upper < 0 else Tone.NEUTRAL


def _counted(policy: BacktestPolicy) -> str:
    """Return how often a policy did what, in a sentence."""
    counts = policy.counts
    parts = [
        f"{numbers.count(counts.alerts)} of {numbers.count(counts.steps, 'check')} raised an alert",
        numbers.count(counts.messages, "notification"),
        numbers.count(counts.trainings, "training"),
        *([f"{numbers.count(counts.failed_trainings)} more failed"] if counts.failed_trainings else []),
        numbers.count(counts.promotions, "promotion"),
        *([f"{numbers.count(counts.unproven)} of them not shown to be better"] if counts.unproven else []),
        *([numbers.count(counts.rollbacks, "rollback")] if counts.rollbacks else []),
    ]
    return f"{', '.join(parts)}."


def _times(count: int) -> str:
    """Return how often something happened.

    >>> _times(0), _times(1), _times(2), _times(35)
    ('never', 'once', 'twice', '35 times')
    """
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{numbers.count(count)} times")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _short(time: str) -> str:
    """Return a time as short as a command line needs it.

    >>> _short("2013-04-01T00:00:00+00:00"), _short("2013-04-01T06:00:00+00:00")
    ('2013-04-01', '2013-04-01T06:00')
    """
    return time.removesuffix("+00:00").removesuffix(":00").removesuffix("T00:00")
