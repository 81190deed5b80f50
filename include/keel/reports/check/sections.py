"""The sections of a check's page about its columns, data quality, labels, decision and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.monitoring.accepted import accepted_columns, accepted_words
from keel.monitoring.performance_words import capitalised
from keel.reports import numbers
from keel.reports.charts.specs import Interval, Intervals
from keel.reports.check.performance import metric_of, with_metric_names
from keel.reports.check.remedies import to_do
from keel.reports.columns import column_cards
from keel.reports.metric_words import metric_name, row_loss_name
from keel.reports.page import Command, Fact, Figure, Link, Paragraph, Section, Table, Tag, Tone

if TYPE_CHECKING:
    from keel.monitoring.records import StoredDriftReport, StoredLabelsReport, StoredQualityReport
    from keel.reports.check.data import CheckData
    from keel.reports.page import Block

SEVERITY = {
    "broken": Tag("broken", Tone.BAD),
    "warn": Tag("warning", Tone.WARN),
}
FINDINGS = {
    "invalid": "impossible values",
    "single_value": "a single value",
    "base_rate": "base rate",
    "mean": "mean",
    "spread": "spread",
    "coverage": "coverage",
    "late": "late",
}
"""Each kind of fault of labels as a reader sees it."""

ENDED = {"declined": "Declined", "kept_champion": "Champion kept", "released": "Released"}
"""Outcomes without a comparison's bound, in a word or two."""
TOP_CAUSES = 3
"""Causes that a fact names."""
MAX_ACCEPTED = 5
"""Accepted columns that the section says more of than their cards."""
HARDLY = 1e-4
"""Below it an impact on the loss is not worth its digits."""


def columns_fact(data: CheckData) -> Fact:
    """Return how many columns have drifted, and from which share the window drifts."""
    drift = data.drift
    if drift is None:
        return Fact("Not checked", ("no report of drift is stored",))
    features = [column for column in drift.features.values() if column.role == "feature"]
    drifted = drift.names("drift")
    if drift.status == "insufficient":
        needed = (f"{numbers.count(drift.min_rows, 'prediction')} are needed",) if drift.min_rows is not None else ()
        return Fact("Not compared", (f"{numbers.count(drift.n, 'prediction')} are too few", *needed))
    lines = ["inputs have drifted" if len(drifted) != 1 else "input has drifted"]
    if drift.drift_share is not None:
        lines.append(f"{numbers.share(drift.drift_share)} or more is a drifted window")
    if outputs := drift.names("drift", role="output"):
        lines.append(f"and what it answers: {', '.join(outputs)}")
    tone = {"drift": Tone.BAD, "warn": Tone.WARN, "ok": Tone.GOOD}.get(drift.status, Tone.NEUTRAL)
    return Fact(f"{len(drifted)} of {len(features)}", tuple(lines), tone)


def decision_fact(data: CheckData) -> Fact:
    """Return the bound of the comparison that followed, or what was decided."""
    outcome, decision = data.outcome, data.decision
    if outcome is not None and outcome.lower_bound is not None and outcome.improvement is not None:
        what = "outcomes" if outcome.basis == "experiment" else "unseen rows"
        shown = outcome.lower_bound > (outcome.margin or 0.0)
        level = f" ({numbers.share(1 - outcome.level)})" if outcome.level is not None else ""
        improvement, least = numbers.signs(outcome.improvement, outcome.lower_bound)
        compared = (
            f"version {outcome.challenger} against {outcome.champion}",
            f"on {numbers.count(outcome.n)} {what}",
            f"at least {least}{level}; must exceed {numbers.number(outcome.margin)}",
        )
        return Fact(improvement, compared, Tone.GOOD if shown else Tone.WARN)
    if decision is None:
        return Fact("No decision", ("none is stored for this window",))
    if outcome is not None and outcome.outcome in ENDED:
        return Fact(ENDED[outcome.outcome], tuple(capitalised(cause) for cause in decision.about[:TOP_CAUSES]))
    words = {"all_clear": "All clear", "raise_alert": "Alert", "retrain": "Retrain", "quarantine": "Quarantine"}
    lines = tuple(capitalised(cause) for cause in decision.about[:TOP_CAUSES])
    more = len(decision.about) - len(lines)
    return Fact(
        words.get(decision.action, str(decision.action).replace("_", " ")),
        (*lines, f"and {more} more causes") if more > 0 else lines or ("nothing needs attention",),
    )


def to_do_fact(data: CheckData) -> Fact:
    """Return what a person has to do."""
    what = to_do(data)
    return Fact(what.value, what.lines, Tone.WARN if what.needed else Tone.GOOD)


def columns(data: CheckData) -> Section:
    """Return the section about the columns, ranked by what their drift costs."""
    drift = data.drift
    if drift is None:
        return Section("Columns", (Paragraph("No report of drift is stored for this window."),))
    unit = row_loss_name(metric_of(data)) if drift.impact_total is not None else ""
    title = "Columns, by what their drift costs" if unit else "Columns, the most changed first"
    blocks: list[Block] = [Paragraph(_about_columns(data, drift))]
    accepted = [f"{name}: {accepted_words(found)}" for name, found in accepted_columns(drift).items()]
    blocks += [Paragraph(words) for words in accepted[:MAX_ACCEPTED]]
    if len(accepted) > MAX_ACCEPTED:
        blocks.append(Paragraph(f"And {len(accepted) - MAX_ACCEPTED} more accepted columns, each named on its card."))
    if data.without_charts:
        blocks.append(Paragraph(data.without_charts, quiet=True))
    blocks.append(
        column_cards(
            drift,
            data.charts,
            histories={name: history.excess for name, history in data.columns.items()},
            impact_unit=unit,
        )
    )
    if note := _history_note(data):
        blocks.append(Paragraph(note, quiet=True))
    return Section(title, tuple(blocks))


def _about_columns(data: CheckData, drift: StoredDriftReport) -> str:
    if drift.status == "insufficient":
        text = drift.sentence or f"{numbers.count(drift.n, 'row')} are too few."
    else:
        text = f"{drift.count} in {numbers.count(drift.n, 'row')}."
        if outputs := drift.names("drift", "warn", role="output"):
            text += f" What the model answers has changed too: {', '.join(outputs)}."
    if drift.impact_total is not None:
        limit = f", and {numbers.number(drift.impact_limit)} is allowed" if drift.impact_limit is not None else ""
        loss = row_loss_name(metric_of(data))
        much = "hardly anything" if abs(drift.impact_total) < HARDLY else numbers.signed(drift.impact_total)
        since = "since the training, or the accepted window," if accepted_columns(drift) else "since the training"
        text += f" By the losses on the holdout, what has changed {since} costs {much} in the {loss}{limit}."
        if data.performance is not None and data.performance.explained is not None:
            text += " (The part that inputs explain, above, is counted from the holdout, which is later.)"
    if drift.quarantined.hours:
        text += (
            f" {numbers.count(drift.quarantined.rows, 'row')} of {numbers.count(drift.quarantined.hours, 'hour')} are "
            "quarantined and left out."
        )
    return text


def _history_note(data: CheckData) -> str:
    """Say what the sparklines of the columns are made of."""
    history = max(data.columns.values(), key=lambda each: len(each.ends), default=None)
    if history is None or len(history.ends) < 2:
        return "This is the first check of such a window, so the columns have no history yet." if data.columns else ""
    versions = list(dict.fromkeys(str(version) for version in history.versions if version is not None))
    of = f"version {versions[0]}" if len(versions) == 1 else f"versions {', '.join(versions[:-1])} and {versions[-1]}"
    return (
        f"The histories are of the checks of {len(history.ends)} windows that ended from "
        f"{numbers.time(history.ends[0])} to {numbers.time(history.ends[-1])}, of {of}, each against its own reference."
    )


def quality(data: CheckData) -> Section:
    """Return the section about the form of the data."""
    found = data.quality
    if found is None:
        return Section("Data quality", (Paragraph("No report of data quality is stored for this window."),))
    blocks: list[Block] = []
    if found.findings:
        rows = tuple(
            (
                finding.column,
                SEVERITY.get(finding.status, Tag(finding.status)),
                numbers.share(finding.share),
                capitalised(finding.sentence),
            )
            for finding in found.findings
        )
        blocks.append(
            Table("Faults in the form of the data", ("column", "status", "rows", "finding"), rows, (2,), True)
        )
    elif found.status == "empty":
        blocks.append(Paragraph("The window has no rows that can be checked."))
    else:
        blocks.append(
            Paragraph(f"The form of {numbers.count(found.n, 'row')} is as the version was trained on.", quiet=True)
        )
    blocks += _excluded(found)
    return Section("Data quality", tuple(blocks))


def _excluded(found: StoredQualityReport) -> list[Block]:
    parts = []
    for what, size in (
        ("quarantined and left out", found.quarantined),
        ("released by a person and used", found.released),
    ):
        if size.hours:
            parts.append(f"{numbers.count(size.rows, 'row')} of {numbers.count(size.hours, 'hour')} are {what}.")
    return [Paragraph(" ".join(parts), quiet=True)] if parts else []


def labels(data: CheckData) -> Section:
    """Return the section about the labels themselves."""
    found = data.labels
    if found is None:
        text = "The labels themselves were not checked: an earlier release of Keel made this check."
        if data.performance is None:
            text = "No report of the labels is stored for this window."
        return Section("Labels", (Paragraph(text, quiet=True),))
    blocks: list[Block] = [Paragraph(_label_sentence(data, found), quiet=not found.findings)]
    if found.findings:
        rows = tuple(
            (
                FINDINGS.get(finding.kind, finding.kind.replace("_", " ")),
                SEVERITY.get(finding.status, Tag(finding.status)),
                numbers.span(finding.start, finding.end),
                capitalised(finding.sentence),
            )
            for finding in found.findings
        )
        blocks.append(Table("Faults of the labels", ("kind", "status", "time", "finding"), rows, (), True))
    if facts := _label_facts(data, found):
        blocks.append(Table("The labels beside those of the reference", ("", "window", "reference"), facts, (1, 2)))
    return Section("Labels", tuple(blocks))


def _label_sentence(data: CheckData, found: StoredLabelsReport) -> str:
    texts = {
        "ok": f"{numbers.count(found.n, 'label')} without a fault.",
        "insufficient": f"{numbers.count(found.n, 'label')} are too few to be compared with the reference.",
        "quarantined": "The faults below were found and quarantined by an earlier check.",
        "broken": "Nothing was concluded from these labels.",
        "warn": "The labels differ from those that the version was trained on.",
    }
    text = texts.get(found.status, found.status)
    if found.reference is None:
        text += " The version has no labels registered to compare them with."
    if found.quarantined.hours:
        text += (
            f" {numbers.count(found.quarantined.rows, 'label')} of {numbers.count(found.quarantined.hours, 'hour')} "
            "are quarantined."
        )
    return text


def _label_facts(data: CheckData, found: StoredLabelsReport) -> tuple[tuple[str, str, str], ...]:
    """Return base rate, coverage and delay beside what is expected; what is not known is left out."""
    reference = found.reference or {}
    binary = data.config.target.kind == "binary"
    show = numbers.share if binary else numbers.number
    mean_name = f"base rate of {data.config.target.name}" if binary else f"mean {data.config.target.name}"
    delay = data.config.target.label_delay
    rows = [
        (mean_name, found.mean, show(found.mean), show(reference["mean"]) if reference.get("mean") is not None else ""),
        (
            "standard deviation",
            None if binary else found.deviation,
            numbers.number(found.deviation),
            numbers.number(reference["deviation"]) if reference.get("deviation") is not None else "",
        ),
        (
            "labelled predictions",
            found.coverage,
            f"{numbers.share(found.coverage)} of {numbers.count(found.due)}",
            f"{numbers.share(data.config.performance.min_label_rate)} are needed by today's model.yaml",
        ),
        (
            "mean time to a label",
            found.mean_delay_hours,
            numbers.duration((found.mean_delay_hours or 0.0) * 3600),
            f"due after {numbers.duration(delay)} by today's model.yaml",
        ),
        ("labels after they were due", found.late_share, numbers.share(found.late_share), ""),
    ]
    return tuple((name, now, then) for name, value, now, then in rows if value is not None)


def decided(data: CheckData) -> Section:
    """Return the section about the decision, its outcome and what it rests on."""
    decision, outcome = data.decision, data.outcome
    if decision is None:
        text = "No decision is stored for this window: it was checked without one, or its run has not ended."
        return Section("What was decided", (Paragraph(text, quiet=True),))
    why = with_metric_names(decision.sentence, metric_of(data))
    blocks: list[Block] = [Paragraph(f"{capitalised(why)}")]
    if not data.acted:
        blocks.append(Paragraph("Nothing was done: this check only says what would be.", quiet=True))
    blocks += [Paragraph(finding) for finding in decision.findings]
    if outcome is not None and outcome.sentence and not outcome.sentence.endswith(decision.sentence):
        blocks.append(Paragraph(outcome.sentence))
    blocks += _comparison(data)
    if data.ledger:
        rows = tuple((str(row.seq), row.sentence) for row in data.ledger)
        blocks.append(Table("Rows of the ledger about it", ("ledger row", "what it records"), rows, (0,), True))
    if outcome is not None and outcome.notified:
        blocks.append(Paragraph(f"People were notified by {', '.join(outcome.notified)}.", quiet=True))
    return Section("What was decided", tuple(blocks))


def _comparison(data: CheckData) -> list[Block]:
    outcome = data.outcome
    if outcome is None or outcome.lower_bound is None or outcome.improvement is None:
        return []
    row = Interval(
        f"version {outcome.challenger} over {outcome.champion}",
        outcome.improvement,
        outcome.lower_bound,
        outcome.upper_bound,
        "{}, at least {}".format(*numbers.signs(outcome.improvement, outcome.lower_bound)),
    )
    metric = outcome.loss or metric_name(outcome.metric or "")
    name = f"Improvement of {metric}"
    chart = Intervals(name, (row,), outcome.margin or 0.0, "must exceed", metric)
    what = "outcomes of the experiment" if outcome.basis == "experiment" else "labelled rows neither version has seen"
    when = f" of {numbers.span(outcome.holdout.start, outcome.holdout.end)}" if outcome.holdout else ""
    ours, theirs = numbers.alike(outcome.champion_value, outcome.challenger_value)
    sentence = (
        f"On {numbers.count(outcome.n)} {what}{when}, {metric} is {ours} for version {outcome.champion} and {theirs} "
        f"for version {outcome.challenger}. The bound must exceed {numbers.number(outcome.margin)}."
    )
    blocks: list[Block] = [Figure(chart, sentence)]
    if data.links.comparison:
        blocks.append(Paragraph("", (Link("The comparison", data.links.comparison),)))
    return blocks


def next_steps(data: CheckData) -> Section:
    """Return the section about what to do."""
    what = to_do(data)
    alerts = (Paragraph(data.open_alerts),) if data.open_alerts else ()
    if not what.steps:
        text = f"{what.value}: {'; '.join(what.lines)}." if what.lines else what.value
        return Section("What to do", (Paragraph(text), *alerts))
    blocks: list[Block] = []
    for step in what.steps:
        blocks.append(Paragraph(step.text))
        if step.command:
            blocks.append(Command(step.command))
    if data.config.alerts.runbook:
        blocks.append(Paragraph("", (Link("The model's runbook", data.config.alerts.runbook),)))
    return Section("What to do", (*blocks, *alerts))
