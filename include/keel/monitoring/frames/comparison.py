"""Compare two frames: choose the columns and kinds, lay a grid over the reference, count both, and detect drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from keel.errors import ConfigError, suggestion
from keel.grid.reference import ReferenceGrid
from keel.monitoring.column_measures import measure_excess
from keel.monitoring.drift import DriftReport, detect, explained_change
from keel.monitoring.frames import scores
from keel.monitoring.frames.kinds import IGNORE, ColumnKind, as_numbers, decide_kinds
from keel.monitoring.frames.periods import MIN_ROWS, Period, span_of, split_periods, times_of
from keel.monitoring.frames.scores import Labels, ScoreColumns
from keel.stats.metrics.losses import finite_rows

if TYPE_CHECKING:
    from keel.config import DriftConfig
    from keel.grid.counts import Counts
    from keel.monitoring.frames.scores import Rated
    from keel.monitoring.frames.tables import Frame
    from keel.monitoring.performance import PerformanceReport
    from keel.stats.metrics.losses import Estimate, Floats, Scored

MAX_HISTORIES = 20_000
"""Measures of all columns in all periods together; beyond it the columns have no history."""
SHARE_OF_PERIOD = 0.3
"""Of the rows of a usual period, below which one is not whole, as the first and the last are often: it would look
unlike the others for that alone."""
NAMED = 5
"""Columns named in a note; more are counted."""


@dataclass(frozen=True)
class Roles:
    """What some of the columns are. All others are features."""

    target: str | None = None
    score: str | None = None
    prediction: str | None = None
    time: str | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """The columns that are no inputs of a model, and are compared."""
        return tuple(name for name in (self.target, self.score, self.prediction) if name is not None)

    @property
    def scored(self) -> ScoreColumns | None:
        """The columns that a performance needs; None without both a target and something that predicts it."""
        if self.target is None or (self.score is None and self.prediction is None):
            return None
        return ScoreColumns(self.target, self.score, self.prediction)


@dataclass(frozen=True)
class PeriodResult:
    """One day, week, … of the current rows: its drift and its performance."""

    start: datetime
    end: datetime
    n: int
    excess: Mapping[str, float | None]
    """PSI above chance by column; None where it was not measured."""
    performance: Estimate | None = None


@dataclass(frozen=True)
class Side:
    """What a reader has to know of one frame."""

    label: str
    n: int
    span: tuple[datetime, datetime] | None = None
    labels: Labels | None = None
    clusters: str = ""
    """Rows that the performance lets depend on each other: those of one ``day``, ``6 h`` or ``hour``; ``row`` for
    none, where the times span too little; empty without times or a performance."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        span = None if self.span is None else [time.isoformat() for time in self.span]
        return {
            "label": self.label,
            "n": self.n,
            "span": span,
            "labels": None if self.labels is None else self.labels.to_dict(),
            "clusters": self.clusters or None,
        }


@dataclass(frozen=True)
class FrameComparison:
    """Two frames compared."""

    drift: DriftReport
    grid: ReferenceGrid
    counts: Counts
    reference: Side
    current: Side
    roles: Roles
    kinds: tuple[ColumnKind, ...]
    """Of every column of the reference that is no time, left-out ones included."""
    notes: tuple[str, ...] = ()
    """What else a reader has to know of the data, a sentence each."""
    metric: str | None = None
    """Of the performance and of the impacts; None without a target and a score."""
    performance: PerformanceReport | None = None
    period: str = ""
    """``day``, ``week``, …; empty without times."""
    periods: tuple[PeriodResult, ...] = field(default=())


def compare_frames(
    reference: Frame,
    current: Frame,
    config: DriftConfig,
    roles: Roles,
    *,
    kinds: Mapping[str, str],
    metric: str | None = None,
    max_degradation: float | None = None,
) -> FrameComparison:
    """Compare two frames; see `keel.detect`.

    Raises
    ------
    ConfigError
        The frames have no column in common that can be compared, a named column is missing or holds other values than
        its role needs, or a kind is wrong.
    InsufficientData
        The reference has no row.

    """
    _check_names(reference, current, roles)
    decided = decide_kinds(reference, current, kinds, time=roles.time)
    compared = {name: each.kind for name, each in decided.items() if each.kind != IGNORE}
    features = {name: kind for name, kind in compared.items() if name not in roles.outputs}
    outputs = {name: compared[name] for name in roles.outputs if name in compared}
    _check_common(reference, current, {**features, **outputs}, decided)
    before, after = (_typed(frame, compared) for frame in (reference, current))
    rated = None if roles.scored is None else scores.rate(reference, current, roles.scored, metric)
    grid = _fit(before, features, outputs, None if rated is None else rated.loss)
    times = [None if roles.time is None else times_of(frame, roles.time) for frame in (reference, current)]
    word, periods = ("", []) if times[1] is None else split_periods(times[1])
    counts, by_period = _count(grid, after, periods)
    drift = detect(grid, counts, config, min_reference=config.min_rows)
    performance = None
    if rated is not None and rated.current is not None:
        performance = scores.measure_performance(
            rated,
            config,
            max_degradation=max_degradation,
            explained=explained_change(grid, counts),
            times=(times[0], times[1]),
        )
    return FrameComparison(
        drift=drift,
        grid=grid,
        counts=counts,
        reference=_side(reference, times[0], roles.target, rated, None if rated is None else rated.reference),
        current=_side(current, times[1], roles.target, rated, None if rated is None else rated.current),
        roles=roles,
        kinds=tuple(decided.values()),
        notes=(*_notes(reference, current, roles, times), *(() if rated is None else rated.notes)),
        metric=rated.metric if rated is not None else None,
        performance=performance,
        period=word,
        periods=_measure_periods(grid, periods, by_period, rated, times[1]),
    )


def _check_names(reference: Frame, current: Frame, roles: Roles) -> None:
    known = {*reference.names, *current.names}
    for role, name in vars(roles).items():
        if name is not None and name not in known:
            raise ConfigError(f"{role}: neither frame has a column {name!r}{suggestion(name, known)}")
    named = [name for name in vars(roles).values() if name is not None]
    if len(set(named)) < len(named):
        raise ConfigError(f"one column has two roles: {', '.join(named)}; target, score, prediction and time differ")


def _check_common(
    reference: Frame, current: Frame, compared: Mapping[str, str], decided: Mapping[str, ColumnKind]
) -> None:
    common = set(reference.names) & set(current.names)
    if not common:
        raise ConfigError(
            f"{reference.label} and {current.label} have no column in common: {_listed(reference.names)} and "
            f"{_listed(current.names)}; rename the columns of one of them"
        )
    if not common & set(compared):
        left_out = "; ".join(f"{name}: {decided[name].reason}" for name in sorted(common & set(decided))[:NAMED])
        raise ConfigError(
            f"no column that {reference.label} and {current.label} have in common can be compared: {left_out}; "
            "choose the kind of a column with kinds={...}"
        )


def _listed(names: Sequence[str]) -> str:
    """Return names as a message shows them: a few, shortened, the others counted."""
    shown = ", ".join(repr(name if len(name) <= 60 else f"{name[:57]}...") for name in names[:NAMED])
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{shown}{more}" if names else "no column"


def _typed(frame: Frame, kinds: Mapping[str, str]) -> pa.Table:
    """Return the columns that are compared, numbers that are stored as texts read once."""
    columns = {}
    for name in frame.names:
        if name in kinds:
            column = frame.column(name)
            columns[name] = as_numbers(column) if kinds[name] == "numeric" else column
    return pa.table(columns)


def _fit(
    table: pa.Table, features: Mapping[str, str], outputs: Mapping[str, str], loss: Floats | None
) -> ReferenceGrid:
    if not outputs and loss is None:
        return ReferenceGrid.fit(table, features)
    return ReferenceGrid.fit(table, features, holdout=table, outputs=outputs, loss=loss)


def _count(grid: ReferenceGrid, table: pa.Table, periods: Sequence[Period]) -> tuple[Counts, list[Counts]]:
    """Return the counts of all rows, and those of each period, which are counted once."""
    if not 1 < len(periods) <= MAX_HISTORIES // max(len(grid.columns), 1):
        return grid.count(table), []
    by_period = [grid.count(table.take(pa.array(period.rows))) for period in periods]
    timeless = np.ones(table.num_rows, dtype=np.bool_)
    for period in periods:
        timeless[period.rows] = False
    rest = grid.count(table.filter(pa.array(timeless)))
    return sum(by_period, start=rest), by_period


def _measure_periods(
    grid: ReferenceGrid,
    periods: Sequence[Period],
    by_period: Sequence[Counts],
    rated: Rated | None,
    times: Any | None,
) -> tuple[PeriodResult, ...]:
    found = []
    needed = max(MIN_ROWS, SHARE_OF_PERIOD * np.median([len(period.rows) for period in periods])) if periods else 0
    rows = None if rated is None else rated.current
    for i, period in enumerate(periods):
        enough = len(period.rows) >= needed
        excess = (
            {name: measure_excess(grid, by_period[i], name) for name in grid.layout.names}
            if by_period and enough
            else {}
        )
        estimate = None
        if rated is not None and rows is not None and times is not None and enough:
            its = rows.take(period.rows)
            usable = finite_rows(rated.metric, its)
            estimate = scores.estimate_clustered(rated.metric, its.take(usable), times[period.rows][usable])
        found.append(PeriodResult(period.start, period.end, len(period.rows), excess, estimate))
    return tuple(found)


def _side(frame: Frame, times: Any | None, target: str | None, rated: Rated | None, rows: Scored | None) -> Side:
    labels = None if target is None else scores.measure_labels(frame, target)
    clusters = "" if rated is None else scores.cluster_unit(rated, rows, times)
    return Side(frame.label, frame.n, None if times is None else span_of(times), labels, clusters)


def _notes(reference: Frame, current: Frame, roles: Roles, times: Sequence[Any | None]) -> list[str]:
    notes = []
    for frame, other in ((reference, current), (current, reference)):
        alone = [name for name in frame.names if name not in other.name_set and name != roles.time]
        if alone:
            verb = "is" if len(alone) == 1 else "are"
            way = "and cannot be compared" if frame is current else f"so {other.label} lacks {_them(alone)}"
            notes.append(f"{_listed(alone)} {verb} only in {frame.label}, {way}.")
        if frame.duplicates:
            notes.append(f"{frame.label} has several columns {_listed(frame.duplicates)}; the first is read.")
    for frame, at in zip((reference, current), times, strict=True):
        notes += _time_notes(frame, roles.time, at)
    if reference.n < MIN_ROWS:
        notes.append(f"{reference.label} has {reference.n:,} rows: a comparison with so few shows little.")
    scored = roles.scored
    if scored is not None:
        for frame in (reference, current):
            lacks = [name for name in scored.names if name not in frame.names]
            if lacks:
                notes.append(f"{frame.label} has no column {_listed(lacks)}, so the performance is not known.")
    return notes


def _time_notes(frame: Frame, name: str | None, times: Any | None) -> list[str]:
    if name is None or times is None:
        return []
    missing = int(frame.column(name).null_count)
    beyond = int(np.isnat(times).sum()) - missing
    of = f"of {frame.n:,} rows of {frame.label} have"
    notes = [f"{missing:,} {of} no time."] if missing else []
    if beyond:
        notes.append(f"{beyond:,} {of} a time outside the years 1 to 9999. They count as rows without a time.")
    return notes


def _them(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"
