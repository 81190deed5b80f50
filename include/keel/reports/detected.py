"""Compare two tables in one call: `keel.detect`, and its result, which shows itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from keel.config import DriftConfig
from keel.config.loading import validated
from keel.errors import ConfigError
from keel.grid.counts import Counts
from keel.grid.reference import ReferenceGrid
from keel.monitoring import drift
from keel.monitoring.drift import DriftReport
from keel.monitoring.frames.comparison import FrameComparison, Roles, compare_frames
from keel.monitoring.frames.tables import MIN_ROWS, name_of, read_frame
from keel.reports.rendered import Rendered
from keel.values.scalars import shown

if TYPE_CHECKING:
    from keel.reports.page import Page


@dataclass(frozen=True, repr=False)
class Detection(Rendered, DriftReport):
    """The drift of one table against another, with all attributes of a `DriftReport`.

    It is readable in a terminal and a page in a notebook. ``to_html``, ``to_markdown`` and ``to_dict`` give it as a
    file, a text and JSON values.
    """

    grid: ReferenceGrid | None = field(default=None, compare=False)
    counts: Counts | None = field(default=None, compare=False)
    frames: FrameComparison | None = field(default=None, compare=False)
    """How the tables were read and what they show beyond drift; None for a grid and counts."""

    @property
    def degraded(self) -> bool:
        """Whether predictions are shown to be worse; False where no target and score are named."""
        measured = self.frames.performance if self.frames is not None else None
        return measured is not None and measured.status == "degraded"

    @property
    def kinds(self) -> dict[str, str]:
        """How each column was read: ``numeric``, ``categorical`` or ``ignore``."""
        if self.frames is not None:
            return {kind.name: kind.kind for kind in self.frames.kinds}
        return {} if self.grid is None else self.grid.kinds

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values, without NaN or infinities; of two tables also how they were read."""
        values = super().to_dict()
        frames = self.frames
        if frames is None:
            return values
        return {
            **values,
            "reference": frames.reference.to_dict(),
            "current": frames.current.to_dict(),
            "kinds": {k.name: {"kind": k.kind, "reason": k.reason, "given": k.given} for k in frames.kinds},
            "notes": list(frames.notes),
            "performance": None if frames.performance is None else frames.performance.to_dict(),
        }

    def page(self) -> Page:
        """Return the report as the blocks of a page."""
        return self._page

    @cached_property
    def _page(self) -> Page:
        from keel.reports.detection import DetectionData, detection_page
        from keel.reports.distributions import distributions
        from keel.reports.html.columns import MAX_DRAWN

        assert self.grid is not None, "made by detect"
        assert self.counts is not None, "made by detect"
        drawn = [column.name for column in self.columns[:MAX_DRAWN]]
        data = DetectionData(
            drift=self,
            config=self.config,
            n_reference=self.grid.n_reference or self.grid.reference.n,
            frames=self.frames,
            charts=distributions(self.grid, self.counts, names=drawn),
            release=_release(),
        )
        return detection_page(data)


def _release() -> str:
    try:
        return version("keel")
    except PackageNotFoundError:
        return ""


def detect(
    reference: Any,
    current: Any,
    config: DriftConfig | None = None,
    *,
    target: str | None = None,
    score: str | None = None,
    prediction: str | None = None,
    time: str | None = None,
    kinds: Mapping[str, str] | None = None,
    columns: Iterable[str] | None = None,
    metric: str | None = None,
    max_degradation: float | None = None,
    **settings: Any,
) -> Detection:
    """Compare a table with a reference: which columns have drifted, and whether it hurts.

    Parameters
    ----------
    reference, current
        Each a pandas or polars DataFrame, an Arrow table, batch or stream (any object with ``__arrow_c_stream__``), a
        mapping of columns, or a path to a Parquet or CSV file. Or a `ReferenceGrid`, and `Counts` on it or a table.
    config
        The thresholds. Without one, 30 rows are enough for two tables.
    target, score, prediction
        Columns of the label and of what a model says of it. A score is a probability, or the value of a regression; a
        prediction is the decision or the value. A target together with one of them gives the performance of both
        tables, and the impact of each column in units of its loss. A target alone is compared like a column.
    time
        The column of the rows' times. Errors are then clustered by day, and a report has a course over time.
    kinds
        Column → ``"numeric"``, ``"categorical"`` or ``"ignore"``, where the inferred kind is wrong. ``report.kinds``
        shows all.
    columns
        The columns to compare beside those named above; all by default.
    metric
        Of the performance, one of `keel.stats.metrics.losses.ROW_LOSSES`. By default the Brier score for labels of 0
        and 1 with probabilities, the area under the ROC curve for other scores of them, the accuracy for decisions, and
        the mean absolute error for other numbers. Rows that it is not defined on do not count, and a note tells how
        many: a label that is neither 0 nor 1, or for ``brier`` and ``log_loss`` a score outside [0, 1].
    max_degradation
        How much worse the performance may be, in units of the metric: 0.01 by default; for a regression 5% of the
        reference's error, and at least a thousandth of the standard deviation of its labels.
    settings
        Keys of `DriftConfig`, such as ``alpha=0.01`` or ``min_rows=100``.

    Raises
    ------
    ConfigError
        The tables have no column in common, a named column is missing or holds other values than its role needs, a file
        cannot be read, or a setting is wrong.
    InsufficientData
        The reference has no row.
    GridMismatch
        The counts are of another grid.

    >>> import keel
    >>> report = keel.detect({"x": range(100)}, {"x": range(50, 150)}, kinds={"x": "numeric"})
    >>> report.status.value, report.column("x").status.value
    ('drift', 'drift')

    """
    limits = thresholds(config, settings, tables=not isinstance(reference, ReferenceGrid))
    roles = Roles(*(None if name is None else name_of(name) for name in (target, score, prediction, time)))
    kinds = {name_of(name): kind for name, kind in (kinds or {}).items()}
    if isinstance(reference, ReferenceGrid):
        if kinds or columns is not None or metric or max_degradation is not None or any(vars(roles).values()):
            raise ConfigError(
                "a ReferenceGrid has its columns and kinds already: target, score, prediction, time, kinds, columns, "
                "metric and max_degradation are for two tables"
            )
        counts = current if isinstance(current, Counts) else reference.count(read_frame(current, "current").table)
        return _result(drift.detect(reference, counts, limits), reference, counts)
    if isinstance(current, Counts):
        raise ConfigError("counts are compared with the ReferenceGrid that they were counted on, not with a table")
    named = [name for name in vars(roles).values() if name is not None]
    wanted = None if columns is None else [*_names(columns), *named]
    before, after = read_frame(reference, "reference", wanted), read_frame(current, "current", wanted)
    if before.label == after.label:
        before, after = replace(before, label="reference"), replace(after, label="current")
    found = compare_frames(before, after, limits, roles, kinds=kinds, metric=metric, max_degradation=max_degradation)
    return _result(found.drift, found.grid, found.counts, found)


def _names(columns: Iterable[object]) -> list[object]:
    if isinstance(columns, str | os.PathLike) or not isinstance(columns, Iterable):
        raise ConfigError(f"columns: takes a list of names, not {shown(columns)}")
    return list(columns)


def thresholds(config: DriftConfig | None, settings: Mapping[str, Any], *, tables: bool = True) -> DriftConfig:
    """Return the configuration with single settings; ConfigError for an unknown key or a wrong value.

    tables: whether two tables are compared, for which `MIN_ROWS` are enough where no configuration says otherwise.
    """
    values = config.model_dump() if config is not None else {"min_rows": MIN_ROWS} if tables else {}
    return validated(DriftConfig, {**values, **settings}, origin="settings")


def _result(
    report: DriftReport,
    grid: ReferenceGrid,
    counts: Counts,
    frames: FrameComparison | None = None,
) -> Detection:
    return Detection(**vars(report), grid=grid, counts=counts, frames=frames)
