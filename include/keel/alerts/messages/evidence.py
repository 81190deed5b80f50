"""The evidence of a message, as lines of text and as a table of a formatted mail."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from keel.monitoring.alarm_words import evidence_in_words, name_of
from keel.monitoring.records import MessagePart
from keel.reports.column_words import beside_atoms
from keel.values.texts import NAME, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keel.monitoring.alarms import Judgement
    from keel.monitoring.records import Outcome, Span, StoredColumn, StoredDriftReport, StoredPerformanceReport
    from keel.window import Window

TOP_FEATURES = 5
TOP_ALARMS = 8


class Evidence(NamedTuple):
    """The same evidence twice; both empty without any."""

    lines: list[str]
    parts: tuple[MessagePart, ...]


NONE = Evidence([], ())


def comparison(outcome: Outcome | None) -> Evidence:
    """Return the numbers of the comparison that the outcome rests on."""
    if outcome is None or outcome.lower_bound is None or outcome.holdout is None:
        return NONE
    if outcome.basis == "experiment":
        title = f"In the experiment {span(outcome.holdout)} ({outcome.n:,} outcomes), mean {outcome.loss}:"
        metric = ""
    else:
        title = f"On the holdout {span(outcome.holdout)} ({outcome.n:,} labelled rows neither version has seen):"
        metric = f"{outcome.metric} "
    better = (
        f"improvement {outcome.improvement:+.4f}, lower bound {outcome.lower_bound:+.4f}"
        f" (must exceed {outcome.margin:g})"
    )
    champion, challenger = f"{outcome.champion_value:.4f}", f"{outcome.challenger_value:.4f}"
    lines = [
        "",
        title,
        f"  champion   version {outcome.champion}: {metric}{champion}",
        f"  challenger version {outcome.challenger}: {metric}{challenger}",
        f"  {better}",
    ]
    reused = []
    if prior := outcome.prior_comparisons:
        reused = [f"{prior} earlier comparison{'s' if prior > 1 else ''} used rows of it: the bound is stricter"]
    part = MessagePart(
        title=title.rstrip(":"),
        head=("Version", metric.strip() or "mean"),
        rows=(
            (f"champion, version {outcome.champion}", champion),
            (f"challenger, version {outcome.challenger}", challenger),
        ),
        numeric=(1,),
        paragraphs=tuple(f"{line[0].upper()}{line[1:]}." for line in (better, *reused)),
    )
    return Evidence([*lines, *(f"  {line}" for line in reused)], (part,))


def top_features(drift: StoredDriftReport | None) -> Evidence:
    """Return the columns that moved most."""
    if drift is None:
        return NONE
    moved = [(name, column) for name, column in drift.features.items() if column.severity in ("drift", "warn")]
    if not moved:
        sentence = f"Inputs: none has moved beyond its threshold ({drift.n:,} rows)."
        return Evidence(["", sentence], (MessagePart(paragraphs=(sentence,)),))
    rows = tuple((shown(name, NAME), column.status, describe_column(column)) for name, column in moved[:TOP_FEATURES])
    width = max(len(name) for name, *_ in rows)
    title = f"Columns that moved most ({drift.count}, on {drift.n:,} rows)"
    lines = ["", f"{title}:", *(f"  {name:<{width}}  {status:<8} {measures}" for name, status, measures in rows)]
    return Evidence(lines, (MessagePart(title=title, head=("Column", "Status", "Measures"), rows=rows),))


def describe_column(column: StoredColumn) -> str:
    """Return a column's measures in a line, or the reasons for its status where nothing was measured."""
    measures = (
        ("PSI {:.3f}", column.measure("psi")),
        ("KS {:.3f}", column.measure("ks", "statistic")),
        ("PSI {:.3f} off the frequent values", beside_atoms(column)),
        ("χ² {:.1f}", column.measure("chi_square", "statistic")),
        ("shift {:.2f} IQR", column.measure("wasserstein")),
        ("{:.1%} missing", column.missing_rate or None),
        ("impact {:+.4f}", column.impact),
    )
    described = [words.format(number) for words, number in measures if number is not None]
    return ", ".join(described) or "; ".join(column.reasons)


def alarms(judgements: Sequence[Judgement]) -> Evidence:
    """Return the live alarms that were open: what they are about, since when, how sure, and what was made of them."""
    if not judgements:
        return NONE
    rows = [
        (
            name_of(each.alarm),
            f"{each.alarm.since:%Y-%m-%d %H:%M} UTC",
            evidence_in_words(each.alarm) or shown(each.alarm.sentence),
            each.verdict.words,
        )
        for each in judgements
    ]
    first, more = rows[:TOP_ALARMS], len(rows) - TOP_ALARMS
    width = max(len(name) for name, *_ in first)
    lines = ["", "Live alarms, with the estimated start of the change:"]
    lines += [f"  {name:<{width}}  {since}  {verdict}, {evidence}" for name, since, evidence, verdict in first]
    others = [f"and {more} more"] if more > 0 else []
    part = MessagePart(
        title="Live alarms",
        head=("About", "Since about", "Evidence", "Outcome"),
        rows=tuple(first),
        paragraphs=tuple(f"{other[0].upper()}{other[1:]}." for other in others),
    )
    return Evidence([*lines, *(f"  {other}" for other in others)], (part,))


def metrics(performance: StoredPerformanceReport | None) -> Evidence:
    """Return the metrics beside those of the holdout."""
    if performance is None or not performance.current:
        return NONE
    rows = []
    for name, now in performance.current.items():
        then = performance.reference.get(name)
        if now.value is not None and then is not None and then.value is not None:
            rows.append((name, f"{now.value:.4f}", f"{then.value:.4f}"))
    lines = ["", f"Performance on {performance.n:,} labels, holdout in brackets:"]
    lines += [f"  {name:<9} {now} ({then})" for name, now, then in rows]
    title = f"Performance on {performance.n:,} labels"
    part = MessagePart(title=title, head=("Metric", "Now", "Holdout"), rows=tuple(rows), numeric=(1, 2))
    return Evidence(lines, (part,) if rows else ())


def span(window: Window | Span) -> str:
    """Return a span of time as messages write it."""
    return f"{window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC"
