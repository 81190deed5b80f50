"""The evidence of a verdict: the difference and its bound, segments, metrics, how sure it is, and speed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keel.ledger.wording import format_confidence, format_probability
from keel.reports import numbers
from keel.reports.charts.specs import Interval, Intervals
from keel.reports.comparison.words import (
    WHO,
    Report,
    at_start,
    confidence,
    has_numbers,
    loss_name,
    names,
    of_experiment,
    segment_name,
    segments_of,
)
from keel.reports.metric_words import metric_name
from keel.reports.page import Block, Details, Figure, Paragraph, Section, Table, Tag, Tone

MAX_SEGMENTS = 20
"""Segments that are drawn and listed; the record has all of them."""
STATUSES = {
    "non_inferior": Tag("not worse", Tone.GOOD),
    "inferior": Tag("worse", Tone.BAD),
    "not_shown": Tag("not shown", Tone.WARN),
    "undefined": Tag("undefined", Tone.WARN),
}
MEASURES = {
    "p50_ms": ("one row, median (ms)", None),
    "p95_ms": ("one row, 95th percentile (ms)", "max_latency_ms"),
    "size_mb": ("size (MB)", "max_size_mb"),
}


def difference(report: Report) -> Section | None:
    """Return the section about the paired difference; None without numbers."""
    if not has_numbers(report):
        return None
    old, new = names(report)
    gain, lower, upper = (report.get(name) for name in ("improvement", "lower_bound", "upper_bound"))
    margin = report.get("margin") or 0
    row = Interval("all rows", gain, lower, upper, numbers.count(report.get("n"), "row"))
    chart = Intervals(
        f"improvement of {new} over {old}", (row,), margin, f"margin {numbers.number(margin)}", loss_name(report)
    )
    value, least, most = numbers.signs(gain, lower, upper)
    bounds = f"{least} and {most}" if upper is not None else least
    holds = "each bound holds at any time" if of_experiment(report) else "the lower bound holds"
    said = "no bound is known" if lower is None else f"{'between' if upper is not None else 'at least'} {bounds}"
    sentence = (
        f"The improvement of the {loss_name(report)} by {new} is {value}, {said} ({holds} with {confidence(report)} "
        f"confidence). The lower bound must exceed {numbers.number(margin)}."
    )
    return Section("Is it better?", (Figure(chart, sentence), *_experiment(report)))


def _experiment(report: Report) -> Iterator[Block]:
    """Yield what an experiment in production measured."""
    if not of_experiment(report):
        return
    plan, interval = report.get("experiment") or {}, report.get("holdout") or {}
    design = "in shadow mode, on the same rows" if plan.get("mode") == "shadow" else "on randomly assigned rows"
    yield Paragraph(
        f"Measured by the experiment {plan.get('experiment_id', '')} in production, {design}, "
        f"{numbers.span(interval.get('start'), interval.get('end'))}: {numbers.count(report.get('n'), 'outcome')}, one "
        f"of each entity.",
        quiet=True,
    )


def segments(report: Report) -> Section | None:
    """Return the section about segments; None without any."""
    stored = report.get("segments") or {}
    if not stored.get("found"):
        return None
    evaluated = segments_of(report, *STATUSES)
    small = len(stored["found"]) - len(evaluated) + (stored.get("not_listed") or 0)
    fewest = (report.get("policy") or {}).get("segment_min_rows")
    margin = report.get("segment_margin")
    text = "What decides is the difference on all rows; segments decide nothing here."
    if margin is not None:
        text = (
            f"Within each segment the lower bound must exceed {numbers.signed(-margin)}. {_counted(report, evaluated)}"
        )
    if small:
        need = f" than {fewest:,}" if fewest is not None else ""
        text += f" {numbers.count(small, 'segment')} {'has' if small == 1 else 'have'} fewer rows{need}, and no bound."
    if not evaluated:
        return Section("Segments", (Paragraph(text),))
    drawn = evaluated[:MAX_SEGMENTS]
    rows = tuple(
        Interval(segment_name(each), each["improvement"], each["lower_bound"], None, numbers.count(each["n"], "row"))
        for each in drawn
    )
    line, label = (0.0, "no difference") if margin is None else (-margin, f"limit {numbers.signed(-margin)}")
    blocks: list[Block] = [
        Figure(Intervals("improvement by segment", rows, line, label, loss_name(report)), text),
        Details("The segments as a table", (_segment_table(drawn, decides=margin is not None),)),
    ]
    if rest := len(evaluated) - len(drawn):
        blocks.append(Paragraph(f"{rest:,} more have higher bounds.", quiet=True))
    return Section("Segments", tuple(blocks))


def _counted(report: Report, evaluated: list[Report]) -> str:
    worse, unclear = segments_of(report, "inferior"), segments_of(report, "not_shown", "undefined")
    if not evaluated:
        return "None has enough rows."
    if not worse and not unclear:
        return f"All {len(evaluated):,} do." if len(evaluated) > 1 else "The one with enough rows does."
    parts = [f"{len(worse):,} are worse"] if worse else []
    parts += [f"{len(unclear):,} are not shown to be no worse"] if unclear else []
    return f"Of {len(evaluated):,}, {' and '.join(parts)}."


def _segment_table(segments: list[Report], *, decides: bool) -> Table:
    return Table(
        "Segments, the lowest bound first",
        ("Segment", "Rows", "Improvement", "Lower bound", ""),
        tuple(
            (
                segment_name(each),
                numbers.count(each["n"]),
                *numbers.signs(each["improvement"], each["lower_bound"]),
                STATUSES[each["status"]] if decides else "",
            )
            for each in segments
        ),
        numeric=(1, 2, 3),
        wide=True,
    )


def metrics(report: Report) -> Section | None:
    """Return the section with all metrics of both versions, the deciding one first."""
    if not has_numbers(report):
        return None
    decisive = {
        who: {"value": report[f"{who}_value"], "standard_error": report.get(f"{who}_standard_error")} for who in WHO
    }
    found: dict[str, Any] = {loss_name(report): decisive}
    found |= {metric_name(name): both for name, both in (report.get("extra_metrics") or {}).items()}
    rows = tuple((f"{name}, which decides" if both is decisive else name, *_pair(both)) for name, both in found.items())
    head = ("Metric", *(at_start(name) for name in names(report)))
    return Section("Metrics of both versions", (Table("Each with its standard error", head, rows, (1, 2)),))


def _pair(both: Report) -> tuple[str, ...]:
    values = numbers.alike(*(both[who].get("value") for who in WHO))
    errors = [both[who].get("standard_error") for who in WHO]
    return tuple(
        value if error is None or value == numbers.UNKNOWN else f"{value} ± {numbers.number(error, 2)}"
        for value, error in zip(values, errors, strict=True)
    )


def certainty(report: Report) -> Section | None:
    """Return the section about the rows, their dependence, and earlier uses of them."""
    blocks = [Paragraph(text) for text in (*_rows(report), *_dependence(report), *_mcnemar(report))]
    return Section("How sure it is", tuple(blocks)) if blocks else None


def _rows(report: Report) -> Iterator[str]:
    excluded = report.get("n_excluded")
    if excluded is None:
        return
    text = f"Compared on {numbers.count(report.get('n'), 'labelled row')}"
    if holdout := report.get("holdout"):
        text += f" of {numbers.span(holdout['start'], holdout['end'])}"
        text += "" if report.get("names") else ", which neither version was trained on"
    text += "."
    labels = report.get("labels") or {}
    if newest := labels.get("newest"):
        text += f" The newest label is of {numbers.time(newest)}."
    if balance := labels.get("balance"):
        text += f" {balance['positive']:,} are positive, {balance['negative']:,} negative."
    if total := excluded.get("total"):
        reasons = ", ".join(f"{count:,} with {reason}" for reason, count in excluded.items() if reason != "total")
        text += f" Excluded: {numbers.count(total, 'row')}{f' ({reasons})' if reasons else ''}."
    yield text
    level, alpha = (report.get(name) for name in ("level", "alpha"))
    if prior := report.get("prior_comparisons"):
        used = "1 earlier comparison" if prior == 1 else f"{prior:,} earlier comparisons"
        yield (
            f"{used} used rows of this holdout. The error level of this one is {numbers.share(level)}; "
            f"that of all together is {numbers.share(alpha)}. The level of the k-th is α·6/(π²k²)."
        )
    elif level is not None and alpha is not None and level < alpha:
        yield (
            f"Confidence is {confidence(report)}, not {format_confidence(alpha)}, because α, {numbers.share(alpha)}, "
            f"is the error level of all comparisons on these rows together: this one, the first, has "
            f"{numbers.share(level)}, and the k-th has α·6/(π²k²)."
        )


def _dependence(report: Report) -> Iterator[str]:
    clusters, error = report.get("clusters"), report.get("standard_error")
    if not clusters or error is None or report.get("lower_bound") is None:
        return
    if clusters["unit"] == "row":
        why = report.get("independence") or "The rows are of too few hours to estimate their correlation."
        yield (
            f"{why} The standard error of the difference, {numbers.number(error)}, treats rows as independent, which "
            "is optimistic if rows of one hour are correlated."
        )
    else:
        effective, neighbours = clusters.get("effective"), clusters.get("neighbours")
        yield (
            f"Rows of one {clusters['unit']} may be correlated. So the standard error of the difference, "
            f"{numbers.number(error)}, is that of {clusters['count']:,} clusters of a "
            f"{clusters['unit']} (UTC), worth {numbers.number(effective)} independent ones, as neighbours correlate by "
            f"{numbers.number(neighbours, 2)}. With independent rows it would be "
            f"{numbers.number(report.get('row_standard_error'))}."
        )
    if (rows := report.get("effective_rows")) is not None:
        yield (
            "A few large differences can decide more than many small ones: the difference rests on as much as "
            f"{numbers.count(rows, 'row')} that all count alike."
        )


def _mcnemar(report: Report) -> Iterator[str]:
    if found := report.get("mcnemar"):
        old, new = names(report)
        yield (
            f"{numbers.count(found['only_challenger_right'], 'row')} are decided correctly by {new} only, "
            f"{found['only_champion_right']:,} by {old} only (McNemar's exact "
            f"{format_probability(found['p_value'])}, for independent rows)."
        )


def speed(report: Report) -> Section | None:
    """Return the section about latency and size; None where they were not measured."""
    found = report.get("speed")
    if not found:
        return None
    limits = found.get("limits") or {}
    rows = [
        (text, *(_measured(found[who].get(name)) for who in WHO), _limit(limits.get(limit or "")))
        for name, (text, limit) in MEASURES.items()
    ]
    slower = ("median, as a multiple of the champion's", "", _measured(found.get("slowdown")))
    rows.append((*slower, _limit(limits.get("max_slowdown"))))
    head = ("", *(at_start(name) for name in names(report)), "Limit")
    return Section("Speed", (Table("Latency and size of both versions", head, tuple(rows), (1, 2, 3), wide=True),))


def _measured(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f}"


def _limit(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
