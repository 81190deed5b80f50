"""The page of an experiment: the result and its bounds over time, the arms, whether it is valid, and what follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from keel.evaluation.experiment.report import HARM, with_current_names
from keel.ledger.wording import describe_rules, format_allocation, format_confidence, parse_utc, with_full_stop
from keel.reports import numbers
from keel.reports.charts.specs import Interval, Intervals, Level, Point, Trend
from keel.reports.page import Block, Command, Fact, Figure, Page, Paragraph, Section, Table, Tag, Tone

Report = Mapping[str, Any]

WHO = ("champion", "challenger")
TAGS = {
    "running": Tag("running"),
    "promote": Tag("better", Tone.GOOD),
    "roll_back": Tag("worse", Tone.BAD),
    "no_difference": Tag("no difference", Tone.WARN),
    "mismatch": Tag("not valid", Tone.BAD),
    "void": Tag("void", Tone.WARN),
    "stopped": Tag("stopped", Tone.WARN),
}
FAULTS = {
    "assignment": "the rows are not split as planned",
    "labels": "the arms get labels at different rates",
    "outputs": "too many outputs of one version cannot be used",
}
"""What makes a result invalid, by the cause of a mismatch."""


def page(evaluation: Report, outcome: Report | None = None) -> Page:
    """Return the page of an experiment.

    evaluation: `ExperimentEvaluation.to_dict`, as it is stored or as it is now; of this release or of 0.1.0.
    outcome: how it ended, by the ledger (`Experiment.outcome`); None while it runs.
    """
    report = with_current_names(evaluation)
    ended = str((outcome or {}).get("outcome") or report["verdict"])
    plan = report["plan"]
    lead = str((outcome or {}).get("sentence") or report.get("sentence") or "")
    return Page(
        title=f"{plan['model']}: {plan['experiment_id']}",
        eyebrow=" · ".join(_about(report)),
        headline=headline(report, ended),
        tag=TAGS.get(ended, Tag(ended.replace("_", " "))),
        lead=with_full_stop(lead.removeprefix(f"{plan['experiment_id']}: ")),
        facts=(improvement(report), _losses(report), outcomes(report), _next(report, ended)),
        sections=(
            difference(report),
            _arms(report),
            *_validity(report),
            Section("What it must show, and when it ends", tuple(_rules(report))),
            Section("What follows", tuple(_follows(report, ended))),
        ),
        footer=(
            f"Experiment {plan['experiment_id']}. Method: {str(report['method']).replace('_', ' ')}, as "
            f"{report['method_reason']}.",
            "Losses are means over outcomes, one of each entity. Times are in UTC.",
        ),
    )


def _about(report: Report) -> Iterator[str]:
    plan = report["plan"]
    yield plan["model"]
    relation = "as a shadow of" if plan["mode"] == "shadow" else "against"
    yield f"version {plan['challenger']} {relation} version {plan['champion']}"
    yield numbers.count(report["n"], "outcome")
    yield numbers.span(plan["started_at"], report.get("decided_at") or report["matured_until"])


def headline(report: Report, ended: str) -> str:
    """Return the result in one sentence. ended: the outcome; ``running`` without one."""
    plan = report["plan"]
    new, old = f"Version {plan['challenger']}", f"version {plan['champion']}"
    match ended:
        case "promote":
            return f"{new} is better than {old}."
        case "roll_back" if report.get("cause") == HARM:
            return f"{new} does harm, so the experiment was stopped early."
        case "roll_back":
            return f"{new} is worse than {old}."
        case "no_difference":
            return f"No difference between {new.lower()} and {old} is shown."
        case "mismatch":
            return (
                f"The experiment is not valid: {FAULTS.get(str(report.get('cause')), 'the arms are not comparable')}."
            )
        case "stopped":
            return "A person stopped the experiment before it had a result."
        case "void":
            return "The experiment ended without a result, because the deployment changed."
        case "running":
            return "The experiment runs, and has no result yet."
    return with_full_stop(f"The experiment ended: {ended.replace('_', ' ')}")


def improvement(report: Report) -> Fact:
    """Return the improvement between its bounds."""
    gain, lower, upper = (report.get(name) for name in ("improvement", "lower_bound", "upper_bound"))
    value, least, most = numbers.signs(gain, lower, upper)
    if lower is None or gain is None:
        return Fact(value, (f"improvement in {report['loss']}", "too few outcomes for its bounds"))
    tone = Tone.GOOD if lower > report["margin"] else Tone.BAD if (upper or 0) < 0 else Tone.NEUTRAL
    lines = (f"improvement in {report['loss']}", f"between {least} and {most}", f"must exceed {_margin(report)}")
    return Fact(value, lines, tone)


def _margin(report: Report) -> str:
    return numbers.number(report["margin"])


def _losses(report: Report) -> Fact:
    was, now = numbers.alike(*(report[who]["mean_loss"] for who in WHO))
    plan = report["plan"]
    return Fact(now, (f"mean {report['loss']} of version {plan['challenger']}", f"version {plan['champion']}: {was}"))


def outcomes(report: Report) -> Fact:
    """Return how many outcomes were evaluated, of how many."""
    plan = report["plan"]
    most = plan.get("max_outcomes", plan.get("max_n"))
    lines = ("outcomes evaluated",) if most is None else ("outcomes evaluated", f"of at most {most:,}")
    return Fact(numbers.count(report["n"]), lines)


def _next(report: Report, ended: str) -> Fact:
    plan = report["plan"]
    match ended:
        case "running":
            return Fact("Nothing to do", (f"it ends by itself, by {numbers.time(report['ends_at'])} at the latest",))
        case "promote":
            return Fact("Nothing to do", (f"version {plan['challenger']} is promoted, or waits for approval",))
        case "mismatch":
            return Fact("Find the cause", ("no version was chosen",), Tone.WARN)
    return Fact(f"Version {plan['champion']} stays", ("nothing to do",))


def difference(report: Report) -> Section:
    """Return the section with the difference, its bounds, and both over time."""
    gain, lower, upper = (report.get(name) for name in ("improvement", "lower_bound", "upper_bound"))
    plan, margin = report["plan"], report["margin"]
    name = f"improvement of version {plan['challenger']} over version {plan['champion']}"
    row = Interval("all outcomes", gain, lower, upper, numbers.count(report["n"], "outcome"))
    chart = Intervals(name, (row,), margin, f"must exceed {_margin(report)}", report["loss"])
    value, least, most = numbers.signs(gain, lower, upper)
    if lower is None:
        said = f"The improvement is {value}. There are too few outcomes, hours or days for its bounds."
    else:
        unit = f"{report['clusters']:,} {report['unit']}s" if report.get("clusters") else "too few days"
        said = (
            f"The improvement of the {report['loss']} is {value}, between {least} and {most}. Each bound holds with "
            f"{format_confidence(plan['alpha'])} confidence at any time, by rows and by {unit}."
        )
    return Section("Is one version better?", (Figure(chart, said), *_path(report)))


def _path(report: Report) -> Iterator[Block]:
    """Yield the bounds over time, where several evaluations were stored."""
    path = [point for point in report.get("path") or () if parse_utc(point.get("at"))]
    if len(path) < 2:
        return
    points = tuple(
        Point(parse_utc(each["at"]), each["improvement"], each["lower"], each["upper"], each["n"])  # type: ignore[arg-type]
        for each in path
    )
    level = Level(report["margin"], f"must exceed {_margin(report)}")
    chart = Trend("improvement over time", points, (level,), unit=report["loss"], label="improvement")
    yield Figure(
        chart,
        f"The improvement and its bounds at {len(path):,} evaluations. The bounds hold at all times together, so that "
        "looking often makes no wrong result more likely.",
    )


def _arms(report: Report) -> Section:
    plan = report["plan"]
    measures = (
        ("Rows assigned", "assigned", numbers.count),
        ("Labels matured", "matured", numbers.count),
        ("Labels received", "labelled", numbers.count),
        ("Share of the matured rows with a label", "coverage", numbers.share),
        ("Rows excluded", "unusable", numbers.count),
        ("Outcomes evaluated", "n", numbers.count),
        (f"Mean {report['loss']}", "mean_loss", numbers.number),
    )
    rows = tuple((text, *(write(report[who].get(key)) for who in WHO)) for text, key, write in measures)
    head = ("", f"Version {plan['champion']}, champion", f"Version {plan['challenger']}, challenger")
    return Section("The two arms", (Table("What each version answered", head, rows, (1, 2)),))


def _validity(report: Report) -> Iterator[Section]:
    """Yield the section about the split; in shadow mode every row is of both versions."""
    if report["plan"]["mode"] == "shadow":
        return
    limit, new, old = report["mismatch_threshold"], report["challenger"], report["champion"]
    split, labels = report["assignment_evidence"], report["label_evidence"]
    yield Section(
        "Is it valid?",
        (
            Paragraph(
                f"The challenger answered {new['assigned']:,} of {new['assigned'] + old['assigned']:,} rows; "
                f"{report['expected_challenger']:,.0f} were expected. The evidence that the rows are not split as "
                f"planned was at no time more than {numbers.number(split)} to 1; {numbers.number(limit)} to 1 ends the "
                "experiment."
            ),
            Paragraph(
                f"{numbers.share(new.get('coverage'))} of the challenger's matured rows have a label, "
                f"{numbers.share(old.get('coverage'))} of the champion's. The evidence that one arm gets fewer labels "
                f"was at no time more than {numbers.number(labels)} to 1."
            ),
        ),
    )


def _rules(report: Report) -> Iterator[Block]:
    plan = report["plan"]
    if plan["mode"] == "shadow":
        yield Paragraph(
            f"Version {plan['challenger']} scores every request in shadow mode; version {plan['champion']} answers all."
        )
    else:
        share = format_allocation(plan.get("stages"))
        yield Paragraph(f"Version {plan['challenger']} answers {share}, assigned at random.")
    yield Paragraph(describe_rules(plan))
    least, harm = plan.get("min_duration", plan.get("least")), report.get("early_harm_bound")
    if least:
        text = f"There is no result before the rows span {numbers.duration(least)}."
        if harm is not None and plan["mode"] != "shadow":
            text += f" A challenger that is worse by more than {numbers.number(-harm)} is stopped earlier."
        yield Paragraph(text)


def _follows(report: Report, ended: str) -> Iterator[Block]:
    plan = report["plan"]
    model, new, old = plan["model"], f"version {plan['challenger']}", f"version {plan['champion']}"
    match ended:
        case "running":
            yield Paragraph(f"The DAG {model}.watch_deployment evaluates it hourly. To end it without a result:")
            yield Command(f"keel experiment stop {model} --reason …")
        case "promote":
            yield Paragraph(
                f"The result is a comparison that {new} has passed: it is promoted, or a person approves it."
            )
        case "roll_back":
            yield Paragraph(f"{new.capitalize()} is rejected, and {old} answers every request again.")
        case "mismatch":
            yield Paragraph(
                f"{old.capitalize()} answers every request again. Find out why the arms differ in more than their "
                "versions, such as requests that only one of them refuses, and start another experiment."
            )
        case "no_difference":
            yield Paragraph(
                f"{old.capitalize()} answers every request again, and {new} stays a candidate. A smaller difference "
                "needs more outcomes:"
            )
            yield Command(
                f"keel experiment start {model} --challenger {plan['challenger']} --max-outcomes … --reason …"
            )
        case _:
            yield Paragraph(f"{old.capitalize()} answers every request.")
