"""What a report says of a column: its status in a word, its measures and their meaning, its charts in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.monitoring.column_status import ColumnStatus, Severity
from keel.monitoring.performance_words import capitalised
from keel.reports.charts.specs import Bar, Categories, Histogram
from keel.reports.numbers import number, share
from keel.reports.page import Measure, Tag, Tone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keel.monitoring.records import StoredColumn
    from keel.reports.charts.specs import Chart

WORDS = {
    ColumnStatus.MISSING_COLUMN: "column missing",
    ColumnStatus.ALL_MISSING: "all values missing",
    ColumnStatus.NO_REFERENCE: "no reference",
    ColumnStatus.TYPE_CHANGED: "type changed",
    ColumnStatus.NEW_CATEGORIES: "new categories",
    ColumnStatus.INFINITE: "infinite values",
    ColumnStatus.INVALID_VALUES: "invalid values",
    ColumnStatus.MISSING_INCREASED: "more missing",
    ColumnStatus.MISSING_DECREASED: "fewer missing",
    ColumnStatus.DRIFT: "drift",
    ColumnStatus.WARN: "changed",
    ColumnStatus.OUT_OF_RANGE: "out of range",
    ColumnStatus.CONSTANT: "constant",
    ColumnStatus.INSUFFICIENT: "too few rows",
    ColumnStatus.OK: "ok",
}
"""Each status as a reader sees it."""

_TONES = {Severity.DRIFT: Tone.BAD, Severity.WARN: Tone.WARN, Severity.OK: Tone.NEUTRAL}
_RATES = {
    "missing": ("missing", "Rows without a value."),
    "new_categories": ("new categories", "Values that are categories which the reference does not have."),
    "out_of_range": ("out of range", "Values below the least or above the greatest of the reference."),
    "infinite": ("infinite", "Values that are infinite."),
    "invalid": ("of another type", "Values that cannot be read as the column's kind, such as text among numbers."),
}
_RATES_OF_TRAINING = {
    "new_categories": "Values that are categories which training did not have.",
    "out_of_range": "Values below the least or above the greatest of training.",
}
"""What a rate means where the reference is an accepted window, which may have such values too."""
_MANY_OUTSIDE = 0.1
"""Share of the rows beyond the reference's range that is worth a sentence beside the medians."""
_MATERIAL_SHARE = 0.005
"""A change of a category's share below half a percentage point is not worth a sentence."""


def status_tag(column: StoredColumn) -> Tag:
    """Return a column's status as a tag. A status that this release does not know is shown as it is stored."""
    status = column.status
    text = WORDS.get(ColumnStatus(status)) if status in set(ColumnStatus) else None
    tone = Tone.GOOD if status == ColumnStatus.OK else _TONES.get(Severity(column.severity), Tone.NEUTRAL)
    return Tag(text or status.replace("_", " "), tone)


def summary(column: StoredColumn) -> str:
    """Return a column's measures in a line, or the reason for its status where nothing was measured."""
    measured = (
        ("PSI {}", column.measure("psi")),
        ("KS {}", column.measure("ks", "statistic")),
        ("χ² {}", column.measure("chi_square", "statistic")),
        ("PSI {} off the frequent values", beside_atoms(column)),
        ("moved by {} IQR beyond the range", beyond_range(column)),
    )
    parts = [words.format(number(value)) for words, value in measured if value is not None]
    parts += [
        f"{share(rate.get('current') or 0.0)} {_RATES[name][0]}" for name, rate in _rates(column) if _is_notable(rate)
    ]
    return " · ".join(parts) or " ".join(column.reasons)


def beside_atoms(column: StoredColumn) -> float | None:
    """Return the PSI off the frequent values where it shows more than the PSI of all rows."""
    beside = column.measure("off_atoms", "psi")
    return beside if beside is not None and beside > (column.measure("psi") or 0.0) else None


def beyond_range(column: StoredColumn) -> float | None:
    """Return the move of the values beyond the range of training where it shows more than the PSI of all rows."""
    psi = column.measure("beyond_range", "psi")
    return column.measure("beyond_range", "shift") if psi and psi > (column.measure("psi") or 0.0) else None


def _rates(column: StoredColumn) -> list[tuple[str, Mapping[str, float | None]]]:
    return [(name, column.rates[name]) for name in _RATES if name in column.rates]


def _is_notable(rate: Mapping[str, float | None]) -> bool:
    """Whether a rate is worth a place in the summary: it is not negligible now, or has changed."""
    now, then = rate.get("current") or 0.0, rate.get("reference") or 0.0
    return max(now, abs(now - then)) >= _MATERIAL_SHARE


def measures(
    column: StoredColumn,
    alpha: float | None = None,
    thresholds: tuple[float | None, float | None] = (None, None),
) -> list[Measure]:
    """Return a column's measures, each with a sentence about what it means.

    alpha, thresholds: of the report, ``psi_warn`` and ``psi_alert``; None where it does not have them.
    """
    found: list[Measure] = []
    _add_psi(found, column, thresholds)
    _add_test(found, column, alpha)
    _add_distances(found, column)
    _add_off_atoms(found, column)
    _add_beyond(found, column)
    for name, rate in _rates(column):
        title, meaning = _RATES[name]
        meaning = _RATES_OF_TRAINING.get(name, meaning) if column.accepted else meaning
        now, then = rate.get("current") or 0.0, rate.get("reference") or 0.0
        q = rate.get("q_value")
        words = "" if q is None else f" {_chance(q, alpha)}"
        found.append(Measure(title, f"{share(now)}, reference {share(then)}", f"{meaning}{words}"))
    if column.minimum is not None and column.maximum is not None:
        found.append(
            Measure(
                "range",
                f"{number(column.minimum, 6)} to {number(column.maximum, 6)}",
                "Least and greatest value in the window.",
            )
        )
    return found


def _add_psi(found: list[Measure], column: StoredColumn, thresholds: tuple[float | None, float | None]) -> None:
    value, excess = column.measure("psi"), column.measure("psi", "excess")
    if value is None:
        return
    over = "the reference's deciles" if column.kind == "numeric" else "the categories"
    meaning = f"How differently the rows are spread over {over}: 0 is not at all."
    if excess is not None:
        meaning += f" It is {number(excess)} above what chance gives in this many rows; that part decides."
        warn, alert = thresholds
        if warn is not None and alert is not None:
            meaning = f"{meaning[:-1]}: a significant one from {number(warn)} is a change, from {number(alert)} drift."
    found.append(Measure("PSI", number(value), meaning))


def _add_test(found: list[Measure], column: StoredColumn, alpha: float | None) -> None:
    if (gap := column.measure("ks", "statistic")) is not None:
        meaning = f"The largest gap between the shares of values below a point is {share(gap)}. 0 is equal, 1 apart."
        found.append(Measure("KS", number(gap), meaning))
    if (statistic := column.measure("chi_square", "statistic")) is not None:
        cells = column.measure("chi_square", "cells")
        cells_words = f" of {int(cells)} categories" if cells else ""
        meaning = f"How far the counts{cells_words} are from equal shares on both sides. It grows with the rows."
        found.append(Measure("χ²", number(statistic, 4), meaning))
    if column.q_value is not None:
        found.append(Measure("q", number(column.q_value, 2), _chance(column.q_value, alpha)))


def _chance(q_value: float, alpha: float | None) -> str:
    """Return what a q-value says by the level of its report, or what it is where that is not known."""
    if alpha is None:
        return "The lower, the less chance explains the change, with all tests of the report considered."
    if q_value <= alpha:
        return f"Chance hardly explains the change, with all tests of the report considered: q is at most {alpha:g}."
    return f"Chance may explain the change, with all tests of the report considered: q is above {alpha:g}."


def _add_distances(found: list[Measure], column: StoredColumn) -> None:
    if (distance := column.measure("jensen_shannon")) is not None:
        meaning = "The distance of the two distributions: 0 is equal, 1 is nothing in common."
        found.append(Measure("Jensen–Shannon", number(distance), meaning))
    if (shift := column.measure("wasserstein")) is not None:
        meaning = f"A value has moved by {number(shift, 2)} times the width of the reference's middle half, on average."
        found.append(Measure("Wasserstein", f"{number(shift)} IQR", meaning))


def _add_off_atoms(found: list[Measure], column: StoredColumn) -> None:
    psi = column.measure("off_atoms", "psi")
    if psi is None:
        return
    now, then = column.measure("off_atoms", "share") or 0.0, column.measure("off_atoms", "share_reference") or 0.0
    meaning = (
        f"The PSI of the rows off the frequent values alone, {share(now)} of the rows and {share(then)} in the "
        "reference. The frequent values would hide a change among them."
    )
    found.append(Measure("PSI off the frequent values", number(psi), meaning))


def _add_beyond(found: list[Measure], column: StoredColumn) -> None:
    shift, psi = column.measure("beyond_range", "shift"), column.measure("beyond_range", "psi")
    if shift is None or psi is None:
        return
    meaning = (
        "How far the values beyond the range of training have moved, in widths of training's middle half, on average. "
        f"It is worth a PSI of {number(psi)}: the cells of the grid end there, and hide the move."
    )
    found.append(Measure("beyond the range", f"{number(shift)} IQR", meaning))


def history_sentence(history: Sequence[float | None], threshold: float | None, period: str = "checks") -> str:
    """Return a column's history in a sentence. At least one value is known. period: what each is of, in the plural."""
    known = [value for value in history if value is not None]
    limit = "" if threshold is None else f"; drift from {number(threshold)}"
    if len(known) == 1:
        return f"PSI above chance: {number(known[0], 2)}, measured once{limit}."
    first, last = (number(value, 2) for value in (known[0], known[-1]))
    return f"PSI above chance over {len(history)} {period}: {first} to {last}{limit}."


def figure_sentence(chart: Chart, reference_label: str = "reference", current_label: str = "window") -> str:
    """Return what the chart of a column shows, in a sentence: where its middle lies, or which share changed most."""
    if isinstance(chart, Histogram) and not chart.labels:
        said = _middle_words(chart, reference_label, current_label)
        change = _largest_change(chart.tails)
        return f"{said} {change}." if change else said
    if isinstance(chart, Histogram | Categories):
        change = _largest_change(_bars(chart))
        return f"{change or 'No share has changed by more than half a percentage point'}."
    raise TypeError(f"a column has no chart of type {type(chart).__name__}")


def _bars(chart: Histogram | Categories) -> Sequence[Bar]:
    """Return every named share of a chart; a histogram has named its bins where each is a value."""
    if isinstance(chart, Categories):
        return (*chart.bars, *chart.tails)
    before = chart.reference or (None,) * len(chart.current)
    values = [Bar(*each) for each in zip(chart.labels, before, chart.current, strict=True)]
    return [*values, *(bar for bar in (chart.below, chart.above, *chart.tails) if bar is not None)]


def _middle_words(chart: Histogram, reference_label: str, current_label: str) -> str:
    then, now = chart.medians
    words = [
        f"{share(part)} of {current_label} lie {side} {number(end, 4)}, the {extreme} value of {reference_label}."
        for part, end, side, extreme in zip(
            chart.outside, chart.shape or (0.0, 0.0), ("below", "above"), ("least", "greatest"), strict=True
        )
        if part > 0 and (now is None or part >= _MANY_OUTSIDE)
    ]
    known = [
        f"{number(median, 4)} ({label})"
        for median, label in ((then, reference_label), (now, current_label))
        if median is not None
    ]
    if known:
        words.insert(0, f"The median is {' and '.join(known)}.")
    if now is None and not words[1 if then is not None else 0 :]:
        is_beyond = any(bar is not None and bar.current for bar in (chart.below, chart.above))
        where = "lies beyond the range of training, as its reference does" if is_beyond else "has no number"
        words.append(f"{capitalised(current_label)} {where}.")
    return " ".join(words)


def _largest_change(bars: Sequence[Bar]) -> str:
    """Return the bar whose share changed most, in words; empty without a change worth a sentence."""
    known = [(bar, bar.reference, bar.current) for bar in bars if bar.reference is not None and bar.current is not None]
    if not known:
        return ""
    bar, then, now = max(known, key=lambda item: abs(item[2] - item[1]))
    if abs(now - then) < _MATERIAL_SHARE:
        return ""
    verb = "rose" if now > then else "fell"
    return f"The share of {bar.label} {verb} from {share(then)} to {share(now)}"
