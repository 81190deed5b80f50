"""Findings of a drift report: one for each column that has moved, one for what the inputs' change costs together.

A report measures at its own level, as the decision does. An alert needs more: over a month of checks, chance alone may
cause a few messages at most (`keel.alerts.budget`). A column that has moved by its report, and not by that level, is
neither found nor judged, so that it neither opens an alert nor ends one. The same holds for a distribution that is near
its threshold, on whichever side chance has put it in this window: an alert ends once it is clearly below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.alerts.findings.judged import NOTHING, Judged, each_of
from keel.alerts.inhibition import AGAINST_PREVIOUS
from keel.alerts.records import Examined, Finding
from keel.config import Kind, Severity
from keel.monitoring.column_measures import OFF_ATOMS
from keel.monitoring.column_status import ColumnStatus
from keel.values.texts import NAME, shown

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from keel.monitoring.records import JsonObject, StoredColumn, StoredDriftReport

MOVED = ("drift", "warn")
ENDS_BELOW = 0.5
"""Of the PSI's threshold: an alert opens at the threshold and ends below this part of it. A column that wavers about
the threshold for months else fires and resolves every other week; its alert has one beginning and one end."""
ERROR = ("feature", "drift")
"""Role and severity of the columns that a window's drift consists of."""


def judge_columns(
    drift: StoredDriftReport | None,
    *,
    level: float,
    harm_is_unknown: bool,
    outputs_are_judged: bool = True,
    alarmed: Collection[str] = (),
    urgent: Collection[str] = (),
) -> Judged:
    """Judge each column of a drift report.

    Parameters
    ----------
    level
        The adjusted p-value that a finding must reach.
    harm_is_unknown
        Whether no labels say what the drift of a window does. Each drifted feature is then an error.
    outputs_are_judged
        Whether score and prediction are judged. On broken data their drift says nothing of the model.
    alarmed
        Columns of which a live alarm is confirmed. Its own promise stands behind it.
    urgent
        Those of them that are errors, as no labels of the time since have matured.

    """
    if drift is None or drift.status == "insufficient":
        return NOTHING
    window = judge_impact(drift, level=level, alarmed=alarmed)
    findings, examined = list(window.findings), list(window.examined)
    for name, column in drift.features.items():
        if column.severity == "insufficient" or (column.role == "output" and not outputs_are_judged):
            continue
        kind = kind_of(column)
        moved = column.severity in MOVED
        if moved and not (name in alarmed or is_certain(column, level)):
            continue
        if not moved and is_near(column, drift.psi_warn):
            continue
        examined += each_of(kind, [name])
        if moved:
            unknown = harm_is_unknown and drift.status == "drift" and (column.role, column.severity) == ERROR
            severity = Severity.ERROR if unknown or name in urgent else Severity.WARNING
            findings.append(_finding(kind, name, column, drift, severity))
    return Judged(tuple(findings), tuple(examined))


def judge_impact(drift: StoredDriftReport, *, level: float, alarmed: Collection[str]) -> Judged:
    """Judge what the change of all inputs costs together, where ``drift.max_impact`` limits it."""
    reached, total, q_value = drift.impact_limit, drift.impact_total, drift.impact_q_value
    examined = each_of(Kind.DATA_DRIFT, [""])
    if reached is None or total is None:
        return Judged((), examined)
    columns = {name: column for name, column in drift.features.items() if column.severity in MOVED}
    certain = any(name in alarmed or is_certain(column, level) for name, column in columns.items())
    if not certain and (q_value is None or q_value > level):
        return NOTHING
    sentence = f"The change of the inputs costs {total:.4f} of the loss, limit {reached:g}"
    numbers: JsonObject = {"impact": total, "limit": reached, "q_value": q_value, "n": drift.n}
    found = Finding(kind=Kind.DATA_DRIFT, severity=Severity.ERROR, sentence=sentence, rank=abs(total), evidence=numbers)
    return Judged((found,), examined)


def judge_previous(
    consecutive: StoredDriftReport | None,
    *,
    level: float,
    configured: bool,
    columns: Mapping[str, StoredColumn] | None = None,
    outputs_are_judged: bool = True,
) -> Judged:
    """Judge a window against the one before it.

    Parameters
    ----------
    level
        The adjusted p-value that a finding must reach.
    configured
        Whether the model asks for this comparison. Where it does not any more, what it found before is over.
    columns
        Of the version, by name, whose alerts are over then.
    outputs_are_judged
        As of `judge_columns`.

    """
    if not configured:
        named = (columns or {}).items()
        return Judged((), tuple(_against_previous(kind_of(column), name) for name, column in named))
    if consecutive is None or consecutive.status == "insufficient":
        return NOTHING
    findings, examined = list[Finding](), list[Examined]()
    for name, column in consecutive.features.items():
        moved = column.severity == "drift"
        if column.severity == "insufficient" or (column.role == "output" and not outputs_are_judged):
            continue
        if (moved and not is_certain(column, level)) or (not moved and is_near(column, consecutive.psi_alert)):
            continue
        about = _against_previous(kind_of(column), name)
        examined.append(about)
        if moved:
            found = _finding(about.kind, name, column, consecutive, Severity.WARNING)
            sentence = f"{shown(name, NAME)} has changed since the window before{_size(column, consecutive)}"
            findings.append(found.model_copy(update={"subject": about.subject, "sentence": sentence}))
    return Judged(tuple(findings), tuple(examined))


def _against_previous(kind: Kind, name: str) -> Examined:
    return Examined(kind=kind, subject=f"{name}{AGAINST_PREVIOUS}")


def kind_of(column: StoredColumn) -> Kind:
    """Return what the drift of a column is: of the data, or of what the model answers."""
    return Kind.DATA_DRIFT if column.role == "feature" else Kind.PREDICTION_DRIFT


def is_certain(column: StoredColumn, level: float) -> bool:
    """Return whether a test of the column reaches a level. That a column is absent needs no test."""
    return column.status == ColumnStatus.MISSING_COLUMN or any(q <= level for q in q_values(column))


def is_near(column: StoredColumn, threshold: float | None) -> bool:
    """Return whether a distribution is too near its threshold to say that nothing has changed."""
    found = [column.measure(name, "excess") for name in ("psi", OFF_ATOMS)]
    return threshold is not None and any(psi is not None and psi >= ENDS_BELOW * threshold > 0 for psi in found)


def q_values(column: StoredColumn) -> list[float]:
    """Return the adjusted p-values of all tests of a column."""
    found = [
        column.q_value,
        *(numbers.get("q_value") for numbers in (*column.measures.values(), *column.rates.values())),
    ]
    return [q for q in found if q is not None]


def _finding(kind: Kind, name: str, column: StoredColumn, report: StoredDriftReport, severity: Severity) -> Finding:
    return Finding(
        kind=kind,
        subject=name,
        severity=severity,
        sentence=sentence_of(name, column, report),
        rank=abs(column.impact or 0.0),
        evidence=evidence_of(column, report),
    )


def sentence_of(name: str, column: StoredColumn, report: StoredDriftReport) -> str:
    """Return what has happened to a column, in a few words; where its form has changed, the report's own reason."""
    about = shown(name, NAME)
    if column.status == ColumnStatus.DRIFT:
        return f"{about} has drifted{_size(column, report)}"
    if column.status == ColumnStatus.WARN:
        return f"{about} has moved{_size(column, report)}"
    return f"{about}: {shown(column.reasons[0].rstrip('.')) if column.reasons else column.status.replace('_', ' ')}"


def _size(column: StoredColumn, report: StoredDriftReport) -> str:
    """Return how far a distribution has moved, beside the threshold that it has passed."""
    psi = column.measure("psi", "excess")
    limit = report.psi_alert if column.severity == "drift" else report.psi_warn
    if psi is None or limit is None or psi < limit:  # what has moved is beside the frequent values, or no distribution
        return ""
    return f" (PSI {psi:.2f} above chance, limit {limit:g})"


def evidence_of(column: StoredColumn, report: StoredDriftReport) -> JsonObject:
    """Return a column's numbers, as channels and pages show them."""
    numbers: JsonObject = {
        "status": column.status,
        "psi": column.measure("psi"),
        "ks": column.measure("ks", "statistic"),
        "chi_square": column.measure("chi_square", "statistic"),
        "shift": column.measure("wasserstein"),
        "missing_rate": column.missing_rate or None,
        "impact": column.impact,
        "q_value": min(q_values(column), default=None),
        "n": report.n,
    }
    return {name: value for name, value in numbers.items() if value is not None}
