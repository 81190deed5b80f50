"""The words of a comparison: its versions, its metric, its verdict in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keel.ledger.wording import format_confidence, with_full_stop
from keel.monitoring.performance_words import capitalised
from keel.reports import numbers
from keel.reports.metric_words import better, metric_name
from keel.reports.page import Tag, Tone

Report = Mapping[str, Any]

RENAMED = {"earlier_looks": "prior_comparisons", "n_left_out": "n_excluded", "also": "extra_metrics"}
"""Keys of comparisons that 0.1.0 stored."""
TAGS = {
    "pass": Tag("passed", Tone.GOOD),
    "fail": Tag("failed", Tone.BAD),
    "inconclusive": Tag("inconclusive", Tone.WARN),
}
WHO = ("champion", "challenger")


def with_current_names(record: Report) -> dict[str, Any]:
    """Return a stored comparison under the keys of this release."""
    return {RENAMED.get(name, name): value for name, value in record.items()}


def name_of(report: Report, who: str) -> str:
    """Return what the champion or the challenger is called: a version, or the name that a caller gave it."""
    if name := (report.get("names") or {}).get(who):
        return str(name)
    return f"version {report[who]}" if report.get(who) is not None else f"the {who}"


def names(report: Report) -> tuple[str, str]:
    """Return the names of the champion and of the challenger."""
    return name_of(report, "champion"), name_of(report, "challenger")


def loss_name(report: Report) -> str:
    """Return the name of what is compared: the metric, or the loss whose means an experiment compares."""
    return str(report.get("loss") or metric_name(str(report.get("metric") or "")))


def lower_is_better(report: Report) -> str:
    """Return which values are better, in words; empty where that is not known."""
    return "lower is better" if report.get("loss") else better(str(report.get("metric") or ""))


def of_experiment(report: Report) -> bool:
    """Whether it is the comparison of an experiment in production."""
    return report.get("basis") == "experiment"


def has_numbers(report: Report) -> bool:
    """Whether both versions were measured on common rows."""
    return all(report.get(name) is not None for name in ("champion_value", "challenger_value", "improvement"))


def confidence(report: Report) -> str:
    """Return the confidence level of the lower bound."""
    level = report.get("level") or report.get("alpha")
    return "unknown" if level is None else format_confidence(level)


def segment_name(segment: Report) -> str:
    """Return a segment as ``column = value``."""
    return f"{segment['column']} = {segment['value']}"


def segments_of(report: Report, *statuses: str) -> list[Report]:
    """Return the segments with one of these statuses, the lowest bound first."""
    found = (report.get("segments") or {}).get("found") or ()
    return [segment for segment in found if segment["status"] in statuses]


def tag(report: Report) -> Tag:
    """Return the verdict in a word."""
    return TAGS.get(str(report.get("verdict")), Tag(str(report.get("verdict"))))


def sentence(report: Report) -> str:
    """Return the sentence that was stored with a comparison."""
    text = str(report.get("sentence") or report.get("reason") or "").removeprefix(f"{report.get('experiment_id')}: ")
    return with_full_stop(text if report.get("names") else capitalised(text))


def at_start(name: str) -> str:
    """Return a version's name as a sentence begins with it. A name that a person gave keeps its case."""
    return capitalised(name) if name.startswith("version ") else name


def headline(report: Report) -> str:
    """Return the verdict in one sentence that needs no statistics."""
    if not report.get("n"):  # there was nothing to compare, so the stored sentence is about one version
        return sentence(report)
    old, new = names(report)
    verdict = report.get("verdict")
    New = at_start(new)
    if report.get("forced_by") and verdict != "pass":
        return f"{report['forced_by']} forces the promotion: {new} was not shown to be better than {old}."
    if verdict == "pass":
        if report.get("improvement") is not None and (report.get("lower_bound") or 0) > 0:
            return f"{New} is better than {old}."
        return f"{New} is not worse than {old} by more than is tolerated."
    if verdict == "inconclusive" or not has_numbers(report):
        if of_experiment(report):
            return f"The experiment shows no difference between {new} and {old}."
        return f"Whether {new} is better than {old} could not be decided."
    return f"{New} {_why_failed(report, old)}."


def _why_failed(report: Report, old: str) -> str:
    gain, bound, margin = report["improvement"], report.get("lower_bound"), report.get("margin") or 0
    if gain <= margin:
        is_worse = bound is not None and gain + (gain - bound) < min(margin, 0)
        return f"is worse than {old}" if is_worse else f"is not better than {old}"
    if bound is None or bound <= margin:
        return f"may be better than {old}, but that is not shown"
    if worse := segments_of(report, "inferior"):
        return f"is better than {old} on the whole, but worse within {_named(worse)}"
    if unclear := segments_of(report, "not_shown"):
        return f"is better than {old} on the whole, but may be worse within {_named(unclear)}"
    return f"is better than {old}, but does not meet the policy's other limits"


def _named(segments: list[Report]) -> str:
    rest = len(segments) - 1
    return segment_name(segments[0]) + (f" and {numbers.count(rest, 'more segment')}" if rest else "")
