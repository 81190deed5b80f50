"""How both versions' scores relate to the labels: calibration and ROC, or residuals."""

from __future__ import annotations

from collections.abc import Iterator

from keel.reports import numbers
from keel.reports.charts.specs import Curve, Curves
from keel.reports.comparison.words import WHO, Report, at_start, name_of, names
from keel.reports.page import Block, Details, Figure, Paragraph, Section, Table


def section(report: Report) -> Section | None:
    """Return the section about scores; None for a comparison without them."""
    found = report.get("score_curves")
    if not found:
        return None
    if fault := found.get("fault"):
        return Section("Scores", (Paragraph(f"The curves of both versions could not be computed: {fault}."),))
    if residuals := found.get("residuals"):
        return Section("How far off they are", tuple(_residuals(report, residuals)))
    blocks = (*_calibration(report, found), *_roc(report, found))
    return Section("Calibration and ranking", blocks) if blocks else None


def _calibration(report: Report, found: Report) -> Iterator[Block]:
    curves = {who: (found.get(who) or {}).get("calibration") for who in WHO}
    if not all(curves.values()):
        return
    old, new = names(report)
    gaps = {who: _mean_gap(curve) for who, curve in curves.items() if curve}
    was, now = numbers.alike(gaps["champion"], gaps["challenger"])
    chart = Curves(
        "calibration",
        tuple(Curve(name_of(report, who), tuple(c["score"]), tuple(c["rate"])) for who, c in curves.items() if c),
        "predicted probability",
        "observed share of positives",
        diagonal=True,
    )
    yield Figure(
        chart,
        f"Are the probabilities right? On the diagonal they are. Those of {new} differ from what happened by {now} on "
        f"average, those of {old} by {was}. Each point is a group of rows with similar predictions: at most ten groups "
        "a version.",
    )
    yield Details("The points as a table", tuple(_calibration_table(report, who, c) for who, c in curves.items() if c))


def _mean_gap(curve: Report) -> float:
    """Return the mean distance of scores and rates, by rows: the expected calibration error."""
    gaps = [n * abs(s - r) for s, r, n in zip(curve["score"], curve["rate"], curve["n"], strict=True)]
    return float(sum(gaps) / sum(curve["n"]))


def _calibration_table(report: Report, who: str, curve: Report) -> Table:
    name = name_of(report, who)
    return Table(
        f"Calibration of {name}",
        (f"{at_start(name)}: predicted", "Observed", "Rows"),
        tuple(
            (numbers.share(score), numbers.share(rate), numbers.count(n))
            for score, rate, n in zip(curve["score"], curve["rate"], curve["n"], strict=True)
        ),
        numeric=(0, 1, 2),
    )


def _roc(report: Report, found: Report) -> Iterator[Block]:
    curves = {who: (found.get(who) or {}).get("roc") for who in WHO}
    if not all(curves.values()):
        return
    old, new = names(report)
    chart = Curves(
        "ROC",
        tuple(
            Curve(name_of(report, who), tuple(c["false_positive_rate"]), tuple(c["true_positive_rate"]))
            for who, c in curves.items()
            if c
        ),
        "negatives that are called positive",
        "positives that are found",
        diagonal=True,
    )
    areas = [_area(report, who) for who in WHO]
    sentence = "Does it rank positives above negatives? The further a curve is above the diagonal, the better."
    if None not in areas:
        was, now = (numbers.share(area) for area in areas)
        sentence += f" Of a positive and a negative row, {new} ranks {now} of the pairs correctly, {old} {was}."
    yield Figure(chart, sentence)


def _area(report: Report, who: str) -> float | None:
    """Return a version's area under the ROC curve, as it was measured on all rows."""
    if report.get("metric") == "roc_auc":
        return report.get(f"{who}_value")
    both = (report.get("extra_metrics") or {}).get("roc_auc") or {}
    return (both.get(who) or {}).get("value")


def _residuals(report: Report, found: Report) -> Iterator[Block]:
    edges = found["edges"]
    middles = tuple((a + b) / 2 for a, b in zip(edges, edges[1:], strict=False))
    old, new = names(report)
    chart = Curves(
        "residuals",
        tuple(Curve(name_of(report, who), middles, tuple(found[who])) for who in WHO),
        "prediction less label",
        "share of the rows",
    )
    levels = found["quantiles"]["level"]
    of = {who: dict(zip(levels, found["quantiles"][who], strict=True)) for who in WHO}
    now, was = (numbers.interval(of[who][0.05], of[who][0.95]) for who in reversed(WHO))
    yield Figure(
        chart,
        f"How far are the predictions from the labels? The narrower around 0, the better. For 90% of the rows, {new} "
        f"is off by {now}, {old} by {was}; the medians are {numbers.signed(of['challenger'][0.5])} and "
        f"{numbers.signed(of['champion'][0.5])}. The first and last point hold all residuals beyond them.",
    )
