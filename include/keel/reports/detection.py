"""The page of two compared frames, or of counts on a grid: what `keel.detect` shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from keel.monitoring.performance_words import capitalised
from keel.monitoring.records import StoredDriftReport
from keel.reports import numbers
from keel.reports.column_words import figure_sentence
from keel.reports.columns import column_cards
from keel.reports.detection_performance import performance_fact, performance_section, performance_sentence
from keel.reports.metric_words import better, metric_name, row_loss_name
from keel.reports.page import Details, Fact, Items, Page, Paragraph, Section, Table, Tag, Tone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from keel.config import DriftConfig
    from keel.monitoring.drift import DriftReport
    from keel.monitoring.frames.comparison import FrameComparison, Side
    from keel.reports.charts.specs import Chart
    from keel.reports.page import Block

NAMED = 3
"""Columns that a headline names."""
LISTED = 200
"""Columns in the table of how each was read."""
FAULTS = frozenset({"missing_column", "all_missing", "type_changed", "infinite", "invalid_values", "missing_increased"})
"""Statuses of a column that hint at a fault of its source rather than at a changed world."""
DAY = timedelta(days=1)
TAGS = {
    "drift": Tag("drift", Tone.BAD),
    "warn": Tag("some change", Tone.WARN),
    "ok": Tag("no drift", Tone.GOOD),
    "insufficient": Tag("too few rows", Tone.NEUTRAL),
}


@dataclass(frozen=True)
class DetectionData:
    """What the page is made of.

    frames is None for a grid and counts. charts: by column, of as many as are drawn. release: of Keel.
    """

    drift: DriftReport
    config: DriftConfig
    n_reference: int
    frames: FrameComparison | None = None
    charts: Mapping[str, Chart | None] = field(default_factory=dict)
    release: str = ""

    @property
    def degraded(self) -> bool:
        """Whether the performance is shown to be worse."""
        return self.frames is not None and self.frames.performance is not None and self.harm == "degraded"

    @property
    def harm(self) -> str:
        """The performance's status; empty where it is not known."""
        measured = None if self.frames is None else self.frames.performance
        return "" if measured is None else str(measured.status)

    @property
    def labels(self) -> tuple[str, str]:
        """What a reader calls the two sides."""
        frames = self.frames
        return ("reference", "window") if frames is None else (frames.reference.label, frames.current.label)


def detection_page(data: DetectionData) -> Page:
    """Return the page: one sentence, the facts, whether it hurts, the columns, and how the data was read."""
    stored = StoredDriftReport.from_dict(data.drift.to_dict())
    harm = performance_fact(data.frames)
    return Page(
        title=f"{data.labels[0]} and {data.labels[1]}",
        eyebrow=_eyebrow(data),
        headline=_headline(data, stored),
        tag=Tag("worse predictions", Tone.BAD) if data.degraded else TAGS[stored.status],
        lead=_lead(data, stored),
        facts=(
            _columns_fact(data, stored),
            *([harm] if harm else []),
            _rows_fact(data),
            _to_do(data, stored),
        ),
        sections=(
            *performance_section(data.frames),
            _columns(data, stored),
            *_reading(data.frames),
        ),
        footer=_footer(data),
    )


def _eyebrow(data: DetectionData) -> str:
    if data.frames is None:
        rows = numbers.count(data.drift.n, "row")
        return f"window of {rows} against a reference grid of {numbers.count(data.n_reference, 'row')}"
    reference, current = data.frames.reference, data.frames.current
    return f"{_of_side(current)} against {_of_side(reference)}"


def _of_side(side: Side) -> str:
    parts = [side.label, numbers.count(side.n, "row")]
    if side.span is not None:
        parts.insert(1, numbers.span(*_days(side.span)))
    return ", ".join(parts)


def _days(span: tuple[datetime, datetime]) -> tuple[datetime, datetime]:
    """Return the first and last day of a span that is longer than one; a shorter span as it is."""
    start, end = span
    if end - start < DAY:
        return span
    first, last = (time.replace(hour=0, minute=0, second=0, microsecond=0) for time in span)
    return first, last


def _headline(data: DetectionData, drift: StoredDriftReport) -> str:
    """Return one sentence: whether predictions are worse where that is known, and what has changed."""
    changed = _changed(data, drift)
    if data.degraded:
        return f"Predictions have become worse, and {changed}."
    if data.harm == "ok":
        join = "and" if drift.status == "ok" or ", but " in changed else "but"
        return f"{capitalised(changed)}, {join} predictions are not shown to be worse."
    return f"{capitalised(changed)}."


def _changed(data: DetectionData, drift: StoredDriftReport) -> str:
    features = numbers.count(sum(column.role == "feature" for column in drift.features.values()), "column")
    drifted, warned = drift.names("drift"), drift.names("warn")
    outputs = _changed_outputs(data, drift)
    if drift.status == "insufficient":
        few, side = min((drift.n, data.labels[1]), (data.n_reference, data.labels[0]))
        return (
            f"{numbers.count(few, 'row')} of {side} {_is(few)} too few to tell whether anything has changed; "
            f"{data.config.min_rows:,} are needed"
        )
    if drifted:
        return f"{len(drifted)} of {features} {_has(len(drifted))} drifted{_names(drifted)}"
    if drift.status == "drift":
        return f"the change of the inputs costs more than {numbers.number(drift.impact_limit)}, which is the limit"
    if warned:
        return f"{len(warned)} of {features} {_has(len(warned))} changed a little{_names(warned)}"
    if outputs:
        return f"the inputs have not drifted, but {outputs}"
    return "nothing has drifted"


def _changed_outputs(data: DetectionData, drift: StoredDriftReport) -> str:
    """Return which of the target and the predictions have changed, in words; empty where none has."""
    changed = drift.names("drift", "warn", role="output")
    target = None if data.frames is None else data.frames.roles.target
    outputs = [name for name in changed if name != target]
    parts = [f"the target has changed{_names([target])}"] if target is not None and target in changed else []
    if outputs:
        parts.append(f"the outputs have changed{_names(outputs)}")
    return " and ".join(parts)


def _is(n: int) -> str:
    return "is" if n == 1 else "are"


def _has(n: int) -> str:
    return "has" if n == 1 else "have"


def _names(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return f" ({', '.join(names[:NAMED])}{f' and {more} more' if more > 0 else ''})"


def _lead(data: DetectionData, drift: StoredDriftReport) -> str:
    if drift.status == "insufficient":
        return ""
    if data.frames is not None and (measured := performance_sentence(data.frames)):
        return measured
    changed = drift.names("drift", "warn") or drift.names("drift", "warn", role="output")
    chart = data.charts.get(changed[0]) if changed else None
    return "" if chart is None else f"Most of all {changed[0]}. {figure_sentence(chart, *data.labels)}"


def _rule(data: DetectionData, drift: StoredDriftReport) -> str:
    share, limit = numbers.share(data.config.drift_share), data.config.max_impact
    costs = (
        ""
        if limit is None or drift.impact_total is None
        else (f", or the changes of the inputs together cost {numbers.number(limit)} or more")
    )
    return (
        "A column has drifted when its change is significant, with all columns considered together, and large; or when "
        "it is gone or at fault, such as by many more missing values, infinite ones, or ones of another type. The data "
        f"as a whole has drifted when {share} or more of its columns have{costs}."
    )


def _columns_fact(data: DetectionData, drift: StoredDriftReport) -> Fact:
    features = sum(column.role == "feature" for column in drift.features.values())
    if drift.status == "insufficient":
        return Fact("Not compared", (f"{numbers.count(data.config.min_rows, 'row')} are needed",))
    drifted = drift.names("drift")
    lines = [f"{'column has' if len(drifted) == 1 else 'columns have'} drifted"]
    if warned := drift.names("warn"):
        lines.append(f"{numbers.count(len(warned), 'further column')} changed a little")
    if outputs := _changed_outputs(data, drift):
        lines.append(outputs)
    tone = {"drift": Tone.BAD, "warn": Tone.WARN, "ok": Tone.GOOD}.get(drift.status, Tone.NEUTRAL)
    return Fact(f"{len(drifted)} of {features}", tuple(lines), tone)


def _rows_fact(data: DetectionData) -> Fact:
    reference, current = data.labels
    return Fact(
        numbers.count(data.drift.n),
        (f"{'row' if data.drift.n == 1 else 'rows'} in {current}", f"{numbers.count(data.n_reference)} in {reference}"),
    )


def _to_do(data: DetectionData, drift: StoredDriftReport) -> Fact:
    if drift.status == "insufficient":
        return Fact("Collect rows", (f"or lower min_rows, which is {data.config.min_rows:,}",), Tone.WARN)
    suspects = drift.names("drift", "warn") or drift.names("drift", "warn", role="output")
    first = f"begin with {suspects[0]}" if suspects else "the inputs do not explain it"
    if data.degraded:
        return Fact("Retrain", ("on rows like the current ones", first), Tone.BAD)
    if drift.status == "drift":
        broken = [name for name in suspects if drift.features[name].status in FAULTS]
        if broken:
            return Fact("Check the data", (f"{broken[0]} looks like a fault of its source",), Tone.WARN)
        known = "" if data.harm else "whether it hurts shows with target and score"
        return Fact("Look at the columns", tuple(line for line in (first, known) if line), Tone.WARN)
    if suspects:
        return Fact("Keep an eye on it", (first,), Tone.NEUTRAL)
    return Fact("Nothing to do", ("the data is as it was",), Tone.GOOD)


def _columns(data: DetectionData, drift: StoredDriftReport) -> Section:
    frames, (reference, current) = data.frames, data.labels
    unit = row_loss_name(frames.metric) if frames is not None and frames.metric else ""
    has_impacts = drift.impact_total is not None
    histories: dict[str, tuple[float | None, ...]] = {}
    if frames is not None and sum(bool(period.excess) for period in frames.periods) > 1:
        histories = {name: tuple(p.excess.get(name) for p in frames.periods) for name in drift.features}
    about = _rule(data, drift)
    if has_impacts:
        about += (
            " The impact of a column is what its change alone does to the mean loss; positive is worse. Impacts of "
            "correlated columns overlap."
        )
    blocks: list[Block] = [Paragraph(about, quiet=True)]
    blocks.append(
        column_cards(
            drift,
            data.charts,
            histories=histories,
            period="checks" if frames is None else _periods(frames),
            impact_unit=unit if has_impacts else "",
            reference_label=reference,
            current_label=current,
        )
    )
    title = "Columns, by what their drift costs" if has_impacts else "Columns, the most changed first"
    return Section(title, tuple(blocks))


def _periods(frames: FrameComparison) -> str:
    return f"intervals of {frames.period}" if frames.period.endswith("days") else f"{frames.period}s"


def _reading(frames: FrameComparison | None) -> tuple[Section, ...]:
    """Return how the data was read: kinds and their reasons, what was left out, and how to correct it."""
    if frames is None:
        return ()
    left_out = [kind for kind in frames.kinds if kind.kind == "ignore"]
    blocks: list[Block] = []
    if frames.notes:
        blocks.append(Items(frames.notes))
    if left_out:
        names = ", ".join(kind.name for kind in left_out[:10]) + (", …" if len(left_out) > 10 else "")
        blocks.append(Paragraph(f"{capitalised(numbers.count(len(left_out), 'column'))} left out: {names}."))
    kinds = sorted(frames.kinds, key=lambda kind: kind.kind != "ignore")
    rows = tuple(
        (kind.name, "left out" if kind.kind == "ignore" else kind.kind, kind.reason) for kind in kinds[:LISTED]
    )
    more = "" if len(kinds) <= LISTED else f" The first {LISTED} of {len(kinds):,} columns."
    example = next((kind for kind in kinds if kind.kind != "ignore"), None)
    other = "categorical" if example is not None and example.kind == "numeric" else "numeric"
    way = "" if example is None else f' Correct one with kinds={{"{example.name}": "{other}"}}, or "ignore".'
    table = Table(f"How each column is read.{more}", ("Column", "Read as", "Why"), rows, wide=True)
    blocks.append(
        Details(f"How each of {numbers.count(len(kinds), 'column')} is read", (Paragraph(way.strip()), table))
    )
    return (Section("How the data was read", tuple(blocks)),)


def _footer(data: DetectionData) -> tuple[str, ...]:
    config = data.config
    release = f"Keel {data.release}. " if data.release else ""
    metric = data.frames.metric if data.frames is not None else None
    about = f" {capitalised(metric_name(metric))}: {better(metric)}." if metric else ""
    return (
        f"{release}Grid {data.drift.grid_id[:12]}. False discovery rate over all columns and tests: "
        f"{numbers.share(config.alpha)}. A change counts from a PSI above chance of {numbers.number(config.psi_warn)}, "
        f"and is a drift from {numbers.number(config.psi_alert)}.{about} Times are in UTC.",
    )
