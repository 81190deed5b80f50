"""Is the window's data what the pipeline promised? What is broken must never be trained on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from keel.config import DriftConfig
from keel.errors import GridMismatch
from keel.monitoring.column_measures import Evidence, Rate, gather_rates
from keel.monitoring.column_status import ABSENT_SHARE, q_words
from keel.monitoring.drift import adjust

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keel.grid.counts import Counts
    from keel.grid.reference import ReferenceGrid

MAX_INVALID_INCREASE = 0.05
"""A typed source holds no word among its numbers; one row in twenty is more than hand-made exceptions."""
MAX_INFINITE_INCREASE = 0.05
"""A division by zero in the pipeline makes infinities of whole slices; a few are outliers, one in twenty is a
formula.
"""
MAX_UNSEEN_INCREASE = 0.5
"""New shops and carriers come one at a time. When more than half of the rows hold categories never seen, the codes
have changed (``AA`` to ``aa``, names to numbers)."""
MAX_MISSING_INCREASE = 0.5
"""More than half of the rows have lost a value they used to have: a join or a source has failed."""


class QualityStatus(StrEnum):
    """What the data is fit for."""

    OK = "ok"
    WARN = "warn"
    """Something has become significantly and materially more frequent; usable."""
    BROKEN = "broken"
    """Schema or pipeline break: quarantine, never train on it."""
    EMPTY = "empty"
    """No rows at all."""


@dataclass(frozen=True)
class QualityFinding:
    """One thing wrong with one column. kind: what, in a word; share: of the rows concerned."""

    column: str
    status: QualityStatus
    kind: str
    share: float
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "column": self.column,
            "status": self.status.value,
            "kind": self.kind,
            "share": self.share,
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class QualityReport:
    """A window's data quality; findings worst first."""

    status: QualityStatus
    n: int
    findings: tuple[QualityFinding, ...]

    @property
    def sentence(self) -> str:
        """The report in one sentence."""
        if self.status is QualityStatus.EMPTY:
            return "The window has no rows."
        if not self.findings:
            return f"{self.n} rows, nothing wrong with their form."
        more = f" And {len(self.findings) - 1} more." if len(self.findings) > 1 else ""
        return f"{self.findings[0].column}: {self.findings[0].sentence}{more}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "status": self.status.value,
            "n": self.n,
            "sentence": self.sentence,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def check_quality(grid: ReferenceGrid, counts: Counts, *, config: DriftConfig | None = None) -> QualityReport:
    """Judge a window's form: columns, types, missing values, infinities, categories, ranges.

    All rates of all columns are tested as one family (Benjamini–Hochberg at ``config.alpha``); what is not significant
    is not reported, whatever its share, so that three rows cannot condemn a pipeline. Absent columns need no test.
    GridMismatch for counts of another grid.
    """
    config = config or DriftConfig()
    if counts.grid_id != grid.grid_id:
        raise GridMismatch(f"these counts are of grid {counts.grid_id[:12]}, not of {grid.grid_id[:12]}")
    if counts.n == 0:
        return QualityReport(QualityStatus.EMPTY, 0, ())
    evidence = gather_rates(grid, counts)
    findings = [finding for e, q in zip(evidence, adjust(evidence), strict=True) for finding in _judge(e, q, config)]
    order = [QualityStatus.BROKEN, QualityStatus.WARN]
    findings.sort(key=lambda f: (order.index(f.status), -f.share, f.column))
    return QualityReport(findings[0].status if findings else QualityStatus.OK, counts.n, tuple(findings))


def _judge(evidence: Evidence, q_values: Mapping[str, float], config: DriftConfig) -> list[QualityFinding]:
    c, name = evidence.current, evidence.name
    findings = []
    if c.absent:
        share = c.absent / c.n
        status = QualityStatus.BROKEN if share >= ABSENT_SHARE else QualityStatus.WARN
        sentence = f"the column is absent from {c.absent} of {c.n} rows."
        findings.append(QualityFinding(name, status, "missing_column", share, sentence))
    for kind, rate in evidence.rates.items():
        warn, broken, words = _limits(kind, config)
        if q_values[kind] > config.alpha or rate.increase <= 0 or rate.increase < warn:
            continue
        gone = kind == "missing" and c.missing == c.n
        status = QualityStatus.BROKEN if gone or rate.increase >= broken else QualityStatus.WARN
        word = "all_missing" if gone else kind
        findings.append(QualityFinding(name, status, word, rate.current, _sentence(rate, words, q_values[kind])))
    return findings


def _limits(kind: str, config: DriftConfig) -> tuple[float, float, str]:
    """Increase from which a rate is reported, from which it is a break, and its words."""
    never = 2.0  # above any rate: values beyond the range are news, not a break
    return {
        "missing": (config.max_missing_increase, MAX_MISSING_INCREASE, "values are missing"),
        "new_categories": (config.max_new_category_rate, MAX_UNSEEN_INCREASE, "rows hold a category never seen"),
        "out_of_range": (config.max_new_category_rate, never, "values lie outside the reference's range"),
        "infinite": (0.0, MAX_INFINITE_INCREASE, "values are infinite"),
        "invalid": (0.0, MAX_INVALID_INCREASE, "values are of another type"),
    }[kind]


def _sentence(rate: Rate, words: str, q_value: float) -> str:
    before, now = f"{100 * rate.reference:.3g}%", f"{100 * rate.current:.3g}%"
    return f"{now} of {rate.n} {words}, {before} in the reference ({q_words(q_value)})."
