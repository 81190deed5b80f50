"""Check the form of a window's data against the reference: columns, types, missing values, categories, ranges.

Broken data is quarantined, so that no version is trained on it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from keel.config import DriftConfig
from keel.errors import GridMismatch
from keel.ledger.wording import format_probability
from keel.monitoring.column_measures import ColumnMeasures, Rate, measure_column_rates
from keel.monitoring.column_status import ABSENT_SHARE, is_material
from keel.monitoring.drift import adjust_p_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keel.grid.counts import Counts
    from keel.grid.reference import ReferenceGrid

MAX_INVALID_INCREASE = 0.05
"""A typed source has no text among its numbers. One row in twenty is more than a few hand-made exceptions."""
MAX_INFINITE_INCREASE = 0.05
"""A division by zero in the pipeline makes infinities of whole slices. A few are outliers, one in twenty is a fault."""
MAX_UNSEEN_INCREASE = 0.5
"""New shops and carriers appear one at a time. When more than half of the rows have unknown categories, the codes have
changed (``AA`` to ``aa``, names to numbers)."""
MAX_MISSING_INCREASE = 0.5
"""When more than half of the rows lose a value, a join or a source has failed."""


NAMED_CATEGORIES = 3
"""Unseen categories that a sentence names, the most frequent first."""
NAME_LENGTH = 40
"""Characters of a name that a sentence shows: the data chose it, and it goes into mails."""

NameUnseen = Callable[[Sequence[str]], "Mapping[str, Mapping[str, int]]"]
"""Returns, for some columns, the categories that the reference does not have, with the window's rows of each."""


class QualityStatus(StrEnum):
    """What a window's data can be used for."""

    OK = "ok"
    WARN = "warn"
    """A fault has become significantly and materially more frequent. The data can be used."""
    BROKEN = "broken"
    """The schema or the pipeline has broken. The data must be quarantined and never be trained on."""
    EMPTY = "empty"
    """The window has no rows."""


@dataclass(frozen=True)
class QualityFinding:
    """One fault of one column."""

    column: str
    status: QualityStatus
    kind: str
    """``missing_column``, ``all_missing`` or the name of a rate in `keel.monitoring.column_measures.RATES`."""
    share: float
    """Of the window's rows that have the fault."""
    sentence: str
    q_value: float | None = None
    """Adjusted p-value of its test; None where none is needed."""

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return {
            "column": self.column,
            "status": self.status.value,
            "kind": self.kind,
            "share": self.share,
            "sentence": self.sentence,
            "q_value": self.q_value,
        }


@dataclass(frozen=True)
class QualityReport:
    """A window's data quality."""

    status: QualityStatus
    n: int
    """Rows of the window."""
    findings: tuple[QualityFinding, ...]
    """The worst first."""

    @property
    def sentence(self) -> str:
        """The report in one sentence."""
        if self.status is QualityStatus.EMPTY:
            return "The window has no rows."
        if not self.findings:
            return f"{self.n:,} rows without a fault in their form."
        more = f" And {len(self.findings) - 1} more." if len(self.findings) > 1 else ""
        return f"{self.findings[0].column}: {self.findings[0].sentence}{more}"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "status": self.status.value,
            "n": self.n,
            "sentence": self.sentence,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def check_quality(
    grid: ReferenceGrid, counts: Counts, *, config: DriftConfig | None = None, name_unseen: NameUnseen | None = None
) -> QualityReport:
    """Check the form of a window's data.

    The rates of all columns are tested as one family (Benjamini–Hochberg at ``config.alpha``). A rate that is not
    significant is not reported, whatever its size, so that three rows cannot stop a pipeline. Absent columns need no
    test.

    Counts know how many rows have an unseen category, and not which. ``name_unseen`` is asked for their names, where
    there is a finding about them.

    Raises
    ------
    GridMismatch
        The counts are of another grid.

    """
    config = config or DriftConfig()
    if counts.grid_id != grid.grid_id:
        raise GridMismatch(f"these counts are of grid {counts.grid_id[:12]}, not of {grid.grid_id[:12]}")
    if counts.n == 0:
        return QualityReport(QualityStatus.EMPTY, 0, ())
    measured = measure_column_rates(grid, counts)
    findings = [
        finding for m, q in zip(measured, adjust_p_values(measured), strict=True) for finding in _findings(m, q, config)
    ]
    if name_unseen and (columns := [f.column for f in findings if f.kind == "new_categories"]):
        names = name_unseen(columns)
        findings = [
            replace(f, sentence=_with_names(f.sentence, names.get(f.column, {}))) if f.kind == "new_categories" else f
            for f in findings
        ]
    order = [QualityStatus.BROKEN, QualityStatus.WARN]
    findings.sort(key=lambda f: (order.index(f.status), -f.share, f.column))
    return QualityReport(findings[0].status if findings else QualityStatus.OK, counts.n, tuple(findings))


def _findings(measured: ColumnMeasures, q_values: Mapping[str, float], config: DriftConfig) -> list[QualityFinding]:
    c, name = measured.current, measured.name
    findings = []
    if c.absent:
        share = c.absent / c.n
        status = QualityStatus.BROKEN if share >= ABSENT_SHARE else QualityStatus.WARN
        sentence = f"the column is absent from {c.absent:,} of {c.n:,} rows."
        findings.append(QualityFinding(name, status, "missing_column", share, sentence))
    for kind, rate in measured.rates.items():
        warn, broken, words = _limits(kind, config)
        if q_values[kind] > config.alpha or rate.increase <= 0 or rate.increase < warn:
            continue
        if not is_material(rate, config):
            continue
        gone = kind == "missing" and c.missing == c.n
        status = QualityStatus.BROKEN if gone or rate.increase >= broken else QualityStatus.WARN
        word = "all_missing" if gone else kind
        sentence = _sentence(rate, words, q_values[kind])
        findings.append(QualityFinding(name, status, word, rate.current, sentence, q_values[kind]))
    return findings


def _limits(kind: str, config: DriftConfig) -> tuple[float, float, str]:
    """Return the increase of a rate that is reported, the increase that is a break, and the words for it."""
    never = 2.0  # above any rate: values outside the range are no break
    return {
        "missing": (config.max_missing_increase, MAX_MISSING_INCREASE, "values are missing"),
        "new_categories": (config.max_new_category_rate, MAX_UNSEEN_INCREASE, "rows have an unknown category"),
        "out_of_range": (config.max_new_category_rate, never, "values lie outside the reference's range"),
        "infinite": (0.0, MAX_INFINITE_INCREASE, "values are infinite"),
        "invalid": (0.0, MAX_INVALID_INCREASE, "values are of another type"),
    }[kind]


def _sentence(rate: Rate, words: str, q_value: float) -> str:
    if rate.is_common:  # in an accepted window, as the reference
        words = words.replace("the reference's range", "the range of training")
    before, now = f"{100 * rate.reference:.3g}%", f"{100 * rate.current:.3g}%"
    return f"{now} of {rate.n:,} {words}, {before} in the reference ({format_probability(q_value, 'q')})."


def _with_names(sentence: str, rows: Mapping[str, int]) -> str:
    """Add the most frequent unseen categories to a sentence, quoted and cut."""
    ranked = sorted(rows, key=lambda name: (-rows[name], name))
    if not ranked:
        return sentence
    shown = [f"{_quoted(name)} ({rows[name]:,} rows)" for name in ranked[:NAMED_CATEGORIES]]
    more = len(ranked) - len(shown)
    return f"{sentence.rstrip('.')}: {', '.join(shown)}{f' and {more} more' if more > 0 else ''}."


def _quoted(name: str) -> str:
    """Quote a name so that no character of it breaks a line or a terminal."""
    cut = name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"
    return json.dumps("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in cut), ensure_ascii=False)
