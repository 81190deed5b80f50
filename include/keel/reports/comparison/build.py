"""Put the page of a comparison together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keel.monitoring.performance_words import capitalised
from keel.reports import numbers
from keel.reports.comparison import evidence, flips, scores
from keel.reports.comparison.changes import changes
from keel.reports.comparison.words import (
    Report,
    at_start,
    confidence,
    has_numbers,
    headline,
    loss_name,
    lower_is_better,
    names,
    of_experiment,
    sentence,
    tag,
    with_current_names,
)
from keel.reports.page import Fact, Items, Page, Section, Tone

if TYPE_CHECKING:
    from keel.monitoring.records import ComparisonRecord


def page(record: ComparisonRecord | Mapping[str, Any]) -> Page:
    """Return the page of a comparison as it is stored. The same record gives the same page.

    Parts that an earlier release did not store are omitted.
    """
    report = with_current_names(record if isinstance(record, Mapping) else record.to_dict())
    first, lead = headline(report), sentence(report)
    return Page(
        title=_title(report),
        eyebrow=_eyebrow(report),
        headline=first,
        tag=tag(report),
        lead="" if lead == first else lead,
        facts=tuple(_facts(report)),
        sections=tuple(
            section
            for section in (
                evidence.difference(report),
                evidence.segments(report),
                flips.section(report),
                evidence.metrics(report),
                scores.section(report),
                _what_would_change(report),
                evidence.certainty(report),
                evidence.speed(report),
            )
            if section is not None
        ),
        footer=tuple(_footer(report)),
    )


def _title(report: Report) -> str:
    old, new = names(report)
    model = f"{report['model']}: " if report.get("model") else ""
    return f"{model}{new}" if old == new else f"{model}{new} against {old}"


def _eyebrow(report: Report) -> str:
    old, new = names(report)
    parts = [str(report["model"])] if report.get("model") else []
    parts.append(f"{new} against {old}" if report.get("champion") is not None or report.get("names") else new)
    if n := report.get("n"):
        parts.append(numbers.count(n, "outcome" if of_experiment(report) else "labelled row"))
    if (holdout := report.get("holdout")) and n:
        parts.append(numbers.span(holdout["start"], holdout["end"]))
    return " · ".join(parts)


def _facts(report: Report) -> list[Fact]:
    found = []
    if has_numbers(report):
        found += [_difference(report), _values(report)]
    if fact := flips.fact(report):
        found.append(fact)
    if fact := _next(report):
        found.append(fact)
    return found


def _difference(report: Report) -> Fact:
    gain, bound, margin = report["improvement"], report.get("lower_bound"), report.get("margin") or 0
    shown = bound is not None and bound > margin
    value, least = numbers.signs(gain, bound)
    lines = [
        f"improvement in {loss_name(report)}",
        f"at least {least} ({confidence(report)} confidence)" if bound is not None else "no bound",
        f"must exceed {numbers.number(margin)}",
    ]
    return Fact(value, tuple(lines), Tone.GOOD if shown else Tone.BAD if gain <= margin else Tone.WARN)


def _values(report: Report) -> Fact:
    old, new = names(report)
    was, now = numbers.alike(report["champion_value"], report["challenger_value"])
    better = f", {lower_is_better(report)}" if lower_is_better(report) else ""
    return Fact(now, (f"{loss_name(report)} of {new}{better}", f"{old}: {was}"))


def _next(report: Report) -> Fact | None:
    """Return what follows, as far as the record has it."""
    if report.get("names"):  # no versions of a model, so nothing follows
        return None
    old, new = names(report)
    match report.get("next"), report.get("verdict"):
        case "stage", _:
            return Fact("Approve or decline", (f"{new} waits for a person",), Tone.WARN)
        case "promote", _:
            return Fact("Nothing to do", (f"Keel promotes {new}, on probation",))
        case _, "pass":
            return Fact("Passed the gate", ("a promotion needs the policy's approval",))
    if report.get("forced_by"):
        return Fact("Forced", (f"by {report['forced_by']}",), Tone.WARN)
    stays = f"{at_start(old)} stays"
    if report.get("verdict") == "inconclusive":
        return Fact(stays, (f"{new} stays a candidate", "and may be compared again"))
    return Fact(stays, ("nothing to do",))


def _what_would_change(report: Report) -> Section | None:
    found = tuple(changes(report))
    return Section("What would change the verdict", (Items(found),)) if found else None


def _footer(report: Report) -> list[str]:
    policy = {} if report.get("names") else report.get("policy") or {}
    named = (
        ("Comparison", report.get("report_id")),
        ("decision", report.get("decision_id")),
        ("experiment", report.get("experiment_id")),
        ("MLflow run", report.get("mlflow_run_id")),
        ("requested by", report.get("requested_by")),
    )
    ids = ", ".join(f"{name} {value}" for name, value in named if value)
    rules = ", ".join(f"{name} {value}" for name, value in policy.items() if value not in (None, [], ()))
    lines = [f"{capitalised(ids)}."] if ids else []
    if rules:
        lines.append(f"Policy: {rules}.")
    if of_experiment(report):
        lines.append("Which predictions would change, and curves of the scores, are not computed for an experiment.")
    lines.append("Times are in UTC. The verdict rests on the lower bound, the segments and the limits alone.")
    return lines
