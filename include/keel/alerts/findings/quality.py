"""Findings about the data and the labels themselves: faults of their form, and predictions that did not come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from keel.alerts.findings.judged import NOTHING, Judged, each_of
from keel.alerts.records import EPISODE, Examined, Finding
from keel.config import Kind, Severity
from keel.monitoring.performance_words import capitalised
from keel.store.quarantines import DATA, LABELS
from keel.values.texts import NAME, shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from keel.monitoring.records import StoredFinding, StoredLabelFinding, StoredLabelsReport, StoredQualityReport

LABEL_FAULTS = ("invalid", "single_value", "base_rate", "mean", "spread", "coverage", "late")
"""The kinds of faults of labels (`keel.monitoring.labels.LabelFinding`)."""
MISSING_COLUMN = "missing_column"
"""The kind of a fault that no test is needed for."""
LABEL_TESTS = 3
"""Tests that may warn of a window's labels in one check: of mean, of spread, and whether the metric is defined.
P-values are multiplied by it."""
SETTLED = timedelta(hours=24)
"""Time without quarantined data after which a fault of the data is over: a break is found again when its rows are one
in twenty of a week's window, so in less than nine hours of steady traffic. And time in which nothing is added to the
quarantined labels, after which people are told how far they reach: while they grow, that would be every check."""


@dataclass(frozen=True)
class Quarantine:
    """A stretch of time that is or was quarantined, as `keel.store.quarantines` has it."""

    about: str
    start: datetime
    end: datetime
    decided_until: datetime
    """The end of the window that decided so."""
    is_released: bool = False


def is_settled(quarantines: Iterable[Quarantine], end: datetime) -> bool:
    """Return whether no earlier check has quarantined data of a window's last hours."""
    held = (each for each in quarantines if each.about == DATA and not each.is_released and each.decided_until < end)
    return not any(each.start < end and each.end > end - SETTLED for each in held)


def judge_quality(
    quality: StoredQualityReport | None, *, columns: Collection[str], level: float, is_settled: bool
) -> Judged:
    """Judge the form of a window's data, by column.

    Parameters
    ----------
    columns
        Those that were checked.
    level
        The adjusted p-value that a smaller fault must reach. A break is told whatever its p-value, as its data is
        quarantined.
    is_settled
        Whether the last hours of the window hold no quarantined data. Else a fault that lasts would be over, and new,
        every few checks: what is quarantined is not checked again, and what follows is too little to be a break yet.

    """
    if quality is None or quality.status == "empty":
        return NOTHING
    by_column: dict[str, list[StoredFinding]] = {}
    for found in quality.findings:
        by_column.setdefault(found.column, []).append(found)
    certain = {name: faults for name, faults in by_column.items() if _is_certain(faults, level)}
    findings = tuple(_of_column(name, faults) for name, faults in certain.items())
    if not is_settled:
        return Judged(findings)
    if len(certain) == len(by_column):
        return Judged(findings, (Examined(kind=Kind.DATA_QUALITY),))
    return Judged(findings, each_of(Kind.DATA_QUALITY, ["", *(set(columns) - (by_column.keys() - certain.keys()))]))


def _is_certain(faults: list[StoredFinding], level: float) -> bool:
    return any(
        fault.status == "broken"
        or fault.kind == MISSING_COLUMN
        or (fault.q_value is not None and fault.q_value <= level)
        for fault in faults
    )


def _of_column(name: str, faults: list[StoredFinding]) -> Finding:
    """Return the faults of one column, which a report lists the worst first, as one finding."""
    worst = faults[0]
    return Finding(
        kind=Kind.DATA_QUALITY,
        subject=name,
        severity=Severity.ERROR if worst.status == "broken" else Severity.WARNING,
        sentence=f"{shown(name, NAME)}: {worst.sentence.rstrip('.')}",
        rank=worst.share,
        evidence={fault.kind: fault.share for fault in faults},
    )


def judge_arrival(
    quality: StoredQualityReport | None, *, is_new: bool, chance: float | None = None, level: float = 1.0
) -> Judged:
    """Judge whether predictions arrived.

    Parameters
    ----------
    is_new
        Whether the version went into production so late that no full hour of the window is its own.
    chance
        The probability that the version has had no row for so long (`keel.loop.arrivals`); None if it is not known.
    level
        What it must reach. Where few rows are usual, one window without any says nothing, and ends nothing.

    """
    if quality is None:
        return NOTHING
    examined = each_of(Kind.NO_PREDICTIONS, [""])
    if quality.status != "empty":
        return Judged((), examined)
    if rows := quality.quarantined.rows:
        sentence = f"Nothing was checked: all {rows:,} predictions of the window are in quarantined hours"
        found = Finding(kind=Kind.DATA_QUALITY, severity=Severity.WARNING, sentence=sentence, evidence={"rows": rows})
        return Judged((found,), examined)
    if is_new or (chance is not None and chance > level):
        return NOTHING
    sentence = "Nothing was checked: no prediction of the production version arrived in the window"
    return Judged((Finding(kind=Kind.NO_PREDICTIONS, severity=Severity.ERROR, sentence=sentence),), examined)


def judge_labels(
    labels: StoredLabelsReport | None,
    *,
    labels_missing: bool,
    level: float,
    quarantines: Iterable[Quarantine] = (),
    end: datetime,
) -> Judged:
    """Judge the labels of a window, by kind of fault. Labels that are missing are told already, and not as late.

    Parameters
    ----------
    level
        The adjusted p-value that a smaller fault must reach. Labels that break are told whatever it is.
    quarantines
        Of the model, released or not. Labels wait for a person to release them, so people are told of more of them.
    end
        Of the check's window.

    """
    if labels is None or labels.status == "insufficient":
        return NOTHING
    by_kind: dict[str, list[StoredLabelFinding]] = {}
    for found in labels.findings:
        if not (found.kind == "late" and labels_missing):
            by_kind.setdefault(found.kind, []).append(found)
    certain = {kind: faults for kind, faults in by_kind.items() if any(_is_sure(fault, level) for fault in faults)}
    held = _reach(labels, quarantines, end)
    findings = tuple(_of_labels(kind, faults, held) for kind, faults in certain.items())
    judged = [kind for kind in LABEL_FAULTS if kind in certain or kind not in by_kind]
    return Judged(findings, each_of(Kind.LABEL_QUALITY, judged))


def _reach(labels: StoredLabelsReport, quarantines: Iterable[Quarantine], end: datetime) -> str | None:
    """Return until when labels are quarantined; None while that grows, and where none are."""
    mine = [each for each in quarantines if each.about == LABELS]
    if any(end - SETTLED < each.decided_until < end for each in mine):
        return None
    ends = [*(each.end for each in labels.spans), *(each.end for each in mine)]
    return max(ends).isoformat() if ends else None


def _is_sure(fault: StoredLabelFinding, level: float) -> bool:
    return fault.status == "broken" or fault.p_value is None or fault.p_value * LABEL_TESTS <= level


def _of_labels(kind: str, faults: list[StoredLabelFinding], held: str | None) -> Finding:
    """Return the faults of one kind, which a report lists the worst first, as one finding."""
    worst, more = faults[0], len(faults) - 1
    is_broken = worst.status == "broken"
    return Finding(
        kind=Kind.LABEL_QUALITY,
        subject=kind,
        severity=Severity.ERROR if is_broken else Severity.WARNING,
        sentence=f"{capitalised(worst.sentence.rstrip('.'))}{f'; and {more} more' if more else ''}",
        rank=float(max(fault.n for fault in faults)),
        evidence={
            "start": min(fault.start for fault in faults).isoformat(),
            "end": max(fault.end for fault in faults).isoformat(),
            "n": worst.n,
            **({"p_value": worst.p_value} if worst.p_value is not None else {}),
            **({EPISODE: held} if held and is_broken else {}),
        },
    )
