"""From a column's evidence to its status: significant *and* material, and named."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from keel.monitoring.column_measures import DISTRIBUTION, Evidence, Rate
from keel.stats.drift.psi import psi, psi_excess

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keel.config import DriftConfig

ABSENT_SHARE = 0.05
"""One client that forgets a column is news and must not stop the loop; one row in twenty without it is a schema."""
TYPE_CHANGED_SHARE = 0.5
"""More than half of the values are of another type: no longer a few broken rows, but another column."""


class Severity(StrEnum):
    """How much a column weighs in the window's status."""

    OK = "ok"
    INSUFFICIENT = "insufficient"
    WARN = "warn"
    DRIFT = "drift"


class Status(StrEnum):
    """What is to be said of a column; ordered, of several equally severe the first is its status."""

    MISSING_COLUMN = "missing_column"
    """Rows of tables that do not have the column."""
    ALL_MISSING = "all_missing"
    """No row has a value."""
    NO_REFERENCE = "no_reference"
    """The reference had no value: nothing to compare with."""
    TYPE_CHANGED = "type_changed"
    """Most values are of another type."""
    NEW_CATEGORIES = "new_categories"
    """Categories the reference does not know have become frequent."""
    INFINITE = "infinite"
    """Infinite values."""
    INVALID_VALUES = "invalid_values"
    """Some values are of another type."""
    MISSING_INCREASED = "missing_increased"
    """More rows without a value than in the reference."""
    DRIFT = "drift"
    """The distribution has changed, significantly and by the alert threshold."""
    WARN = "warn"
    """The distribution has changed, significantly and by the warning threshold."""
    OUT_OF_RANGE = "out_of_range"
    """More values outside the reference's range than chance brings."""
    CONSTANT = "constant"
    """The reference has a single value, and the window has not left it."""
    INSUFFICIENT = "insufficient"
    """Fewer rows than `min_rows`."""
    OK = "ok"


_WEIGHT = {severity: i for i, severity in enumerate(Severity)}
_ORDER = {status: i for i, status in enumerate(Status)}


@dataclass(frozen=True)
class Verdict:
    """A column's status, how much it weighs, and why, in sentences."""

    status: Status
    severity: Severity
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """One thing to be said of a column."""

    status: Status
    severity: Severity
    reason: str


def judge_column(evidence: Evidence, q_values: Mapping[str, float], config: DriftConfig, *, enough: bool) -> Verdict:
    """Judge one column.

    q_values: by test name, adjusted over all columns. enough: whether the window has `min_rows`; without, only what
    needs no statistics is said, and nothing weighs.
    """
    findings = _structural(evidence, q_values, config)
    if enough:
        findings += [f for f in _rates(evidence, q_values, config) if f]
        findings += _distribution(evidence, q_values, config)
    else:
        reason = f"{evidence.current.n} rows, fewer than the {config.min_rows} a check needs."
        findings.append(Finding(Status.INSUFFICIENT, Severity.INSUFFICIENT, reason))
    if not findings:
        return Verdict(Status.OK, Severity.OK, ())
    if not enough:
        findings = [Finding(f.status, Severity.INSUFFICIENT, f.reason) for f in findings]
    findings.sort(key=lambda f: (-_WEIGHT[f.severity], _ORDER[f.status]))
    return Verdict(findings[0].status, findings[0].severity, tuple(f.reason for f in findings))


def _structural(evidence: Evidence, q_values: Mapping[str, float], config: DriftConfig) -> list[Finding]:
    """What is said of a column whatever the number of rows."""
    r, c = evidence.reference, evidence.current
    if c.absent:
        share = f"{c.absent} of {c.n} rows" if c.absent < c.n else f"all {c.n} rows"
        severity = Severity.DRIFT if c.absent >= ABSENT_SHARE * c.n else Severity.WARN
        return [Finding(Status.MISSING_COLUMN, severity, f"The column is absent from {share}.")]
    if c.n and c.missing == c.n:
        expected = evidence.rates["missing"].reference if "missing" in evidence.rates else 1.0
        sudden = q_values.get("missing", 1.0) <= config.alpha
        reason = f"All {c.n} values are missing; in the reference {_percent(expected)} are."
        return [Finding(Status.ALL_MISSING, Severity.DRIFT if sudden else Severity.OK, reason)]
    if not r.n_counted:
        return [Finding(Status.NO_REFERENCE, Severity.OK, "The reference has no value: nothing to compare with.")]
    return []


def _rates(evidence: Evidence, q_values: Mapping[str, float], config: DriftConfig) -> list[Finding | None]:
    rates = evidence.rates
    named = {
        "missing": (Status.MISSING_INCREASED, config.max_missing_increase, "values are missing"),
        "new_categories": (Status.NEW_CATEGORIES, config.max_new_category_rate, "values are categories never seen"),
        "out_of_range": (Status.OUT_OF_RANGE, config.max_new_category_rate, "values lie outside the reference's range"),
        "infinite": (Status.INFINITE, 0.0, "values are infinite"),
        "invalid": (Status.INVALID_VALUES, 0.0, "values are of another type"),
    }
    findings: list[Finding | None] = []
    all_missing = evidence.current.missing == evidence.current.n
    for name, rate in rates.items():
        status, material, words = named[name]
        significant = q_values[name] <= config.alpha
        if name == "missing" and all_missing:
            continue
        if name == "invalid" and significant and rate.current > TYPE_CHANGED_SHARE:
            status = Status.TYPE_CHANGED
        reason = (
            f"{_percent(rate.current)} of {rate.n} {words}, {_percent(rate.reference)} in the reference "
            f"({q_words(q_values[name])})."
        )
        if significant and rate.increase > 0 and rate.increase >= material:
            findings.append(Finding(status, _severity_of(name, rate, config), reason))
        elif name in {"infinite", "invalid"} and rate.events and not rate.reference:
            # The reference has none at all: named, though so few that chance may have brought them.
            findings.append(Finding(status, Severity.OK, reason))
    return findings


def _severity_of(name: str, rate: Rate, config: DriftConfig) -> Severity:
    """Weigh a rate as the two-cell distribution it is, by the same thresholds as any other."""
    if name == "out_of_range":  # the distribution's own test sees these rows too
        return Severity.WARN
    before = round(rate.reference * rate.n_reference)
    reference = np.array([before, rate.n_reference - before])
    current = np.array([rate.events, rate.n - rate.events])
    excess = psi_excess(psi(reference, current), reference, current)
    return Severity.DRIFT if excess >= config.psi_alert else Severity.WARN


def _distribution(evidence: Evidence, q_values: Mapping[str, float], config: DriftConfig) -> list[Finding]:
    findings = []
    constant = np.count_nonzero(evidence.reference.cells) == 1
    if evidence.p_value is not None:
        q_value, excess = q_values[DISTRIBUTION], evidence.excess
        changed = q_value <= config.alpha and excess >= config.psi_warn
        if changed:
            status, severity, threshold = Status.WARN, Severity.WARN, config.psi_warn
            if excess >= config.psi_alert:
                status, severity, threshold = Status.DRIFT, Severity.DRIFT, config.psi_alert
            reason = (
                f"The distribution has changed: PSI {evidence.measures['psi']['value']:.3g}, {excess:.3g} above chance "
                f"(threshold {threshold:g}), {_test_words(evidence)} ({q_words(q_value)})."
            )
            findings.append(Finding(status, severity, reason))
        if constant:
            word = "has left" if changed else "keeps"
            findings.append(
                Finding(Status.CONSTANT, Severity.OK, f"The reference is constant; the window {word} its value.")
            )
    return findings


def _test_words(evidence: Evidence) -> str:
    if "ks" in evidence.measures:
        return f"KS {evidence.measures['ks']['statistic']:.3g}"
    return f"χ² {evidence.measures['chi_square']['statistic']:.3g}"


def q_words(q_value: float) -> str:
    """An adjusted p-value in words; one too small for a float is not 0."""
    return f"q = {q_value:.2g}" if q_value >= 1e-300 else "q < 1e-300"


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g}%"
