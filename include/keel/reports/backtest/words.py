"""What a backtest comes to, in words: its headline, what a difference means, and the table of all policies."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from keel.ledger.wording import METRICS
from keel.reports import numbers

if TYPE_CHECKING:
    from keel.reports.backtest.records import BacktestCounts, BacktestDifference, BacktestPolicy, BacktestResult


def headline(result: BacktestResult) -> str:
    """Return what the first policy would have done, and what that would have been worth, in one sentence.

    It is compared with never retraining, else with always retraining, where that is among the policies.
    """
    policy = result.policies[0]
    counts = policy.counts
    done = f"The {policy.name} policy would {_deeds(counts)}"
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
    others = baselines(result)
    against = [f"better than {name}" for name in others]
    head = ["policy", metric_name(result), *against, "alerts", "trained", "promoted", "rolled back"]
    values = numbers.alike(*(policy.metrics[result.metric].value for policy in result.policies))
    rows = []
    for policy, value in zip(result.policies, values, strict=True):
        found = {each.against: each for each in policy.differences}
        differences = [_difference(found[name]) if name in found else "–" for name in others]
        counts = policy.counts
        done = (counts.alerts, counts.trainings, counts.promotions, counts.rollbacks)
        rows.append([policy.name, value, *differences, *(numbers.count(each) for each in done)])
    return head, rows


def metric_name(result: BacktestResult) -> str:
    """Return the metric's name as in the middle of a sentence, such as ``Brier score``."""
    return METRICS.get(result.metric, result.metric).partition(" (")[0]


def command(result: BacktestResult) -> str:
    """Return the command that runs the same backtest."""
    span = ("--start", _short(result.start.isoformat()), "--end", _short(result.end.isoformat()))
    policies = [part for policy in result.policies for part in ("--policy", policy.option)]
    options = (*span, "--every", result.every, "--source", result.source_option, *policies)
    return shlex.join(("keel", "backtest", result.model, *options))


def lead(result: BacktestResult) -> str:
    """Return which policy is best, and how certain and how large the first one's difference is."""
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
    return f"Of the {len(known)} policies, {listed(names)} {verb} the {word} {metric_name(result)}."


def baselines(result: BacktestResult) -> list[str]:
    """Return the policies that the others are compared with."""
    return list(dict.fromkeys(found.against for policy in result.policies for found in policy.differences))


def _difference(found: BacktestDifference) -> str:
    return f"{numbers.signed(found.value)} ({numbers.interval(found.lower, found.upper)})"


def counted(policy: BacktestPolicy) -> str:
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


def _deeds(counts: BacktestCounts) -> str:
    """Return what a policy would have done, from the auxiliary verb on."""
    if not counts.trainings:
        done = "never have retrained"
    else:
        promoted = _times(counts.promotions) if counts.promotions else "nothing"
        done = f"have retrained {_times(counts.trainings)} and promoted {promoted}"
    return f"{done} and rolled back {_times(counts.rollbacks)}" if counts.rollbacks else done


def _times(count: int) -> str:
    """Return how often something happened.

    >>> _times(1), _times(2), _times(35)
    ('once', 'twice', '35 times')
    """
    return {1: "once", 2: "twice"}.get(count, f"{numbers.count(count)} times")


def listed(names: list[str]) -> str:
    """Return names as a list in a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _short(time: str) -> str:
    """Return a time as short as a command line needs it.

    >>> _short("2013-04-01T00:00:00+00:00"), _short("2013-04-01T06:00:00+00:00")
    ('2013-04-01', '2013-04-01T06:00')
    """
    return time.removesuffix("+00:00").removesuffix(":00").removesuffix("T00:00")
