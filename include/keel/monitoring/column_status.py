"""Turn a column's measures into its status and severity.

A column has drifted only when the change is both significant (its q-value) and material (its size).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from keel.ledger.wording import format_probability
from keel.monitoring.column_measures import BEYOND, DISTRIBUTION, OFF_ATOMS, ColumnMeasures, Rate
from keel.stats.drift.psi import psi, psi_excess

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keel.config import DriftConfig
    from keel.grid.counts import ColumnCounts

ABSENT_SHARE = 0.05
"""Below it, one client that omits a column is only a warning. From one row in twenty on, the schema has changed."""
OFF_ATOMS_SHARE = 0.02
"""Below it, a change of the rows off the frequent values only warns. From one row in fifty on, it is as severe as the
same change of all rows: about there the PSI of all rows would reach the warning threshold, if its bins were fine."""
TYPE_CHANGED_SHARE = 0.5
"""Above it the column has another type, rather than some broken rows."""


class Severity(StrEnum):
    """How much a column weighs in the window's status."""

    OK = "ok"
    INSUFFICIENT = "insufficient"
    WARN = "warn"
    DRIFT = "drift"


class ColumnStatus(StrEnum):
    """The status of a column. Of several findings with the same severity, the one listed first here is its status."""

    MISSING_COLUMN = "missing_column"
    """Some rows come from tables without the column."""
    ALL_MISSING = "all_missing"
    """No row has a value."""
    NO_REFERENCE = "no_reference"
    """The reference had no value: nothing to compare with."""
    TYPE_CHANGED = "type_changed"
    """Most values are of another type."""
    NEW_CATEGORIES = "new_categories"
    """Categories that the reference does not have are frequent."""
    INFINITE = "infinite"
    """Infinite values."""
    INVALID_VALUES = "invalid_values"
    """Some values are of another type."""
    MISSING_INCREASED = "missing_increased"
    """More rows without a value than in the reference."""
    MISSING_DECREASED = "missing_decreased"
    """Fewer rows without a usable value than in the reference: the version sees values where it used to see none."""
    DRIFT = "drift"
    """The distribution changed significantly, and by the alert threshold."""
    WARN = "warn"
    """The distribution changed significantly, and by the warning threshold."""
    OUT_OF_RANGE = "out_of_range"
    """More values are outside the reference's range than chance explains."""
    CONSTANT = "constant"
    """The reference has a single value, and the window has not left it."""
    INSUFFICIENT = "insufficient"
    """Fewer rows than `min_rows`."""
    OK = "ok"


_WEIGHT = {severity: i for i, severity in enumerate(Severity)}
_ORDER = {status: i for i, status in enumerate(ColumnStatus)}


@dataclass(frozen=True)
class ColumnResult:
    """A column's status and severity, with the reasons in sentences."""

    status: ColumnStatus
    severity: Severity
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """One observation about a column."""

    status: ColumnStatus
    severity: Severity
    reason: str


def evaluate_column(
    measured: ColumnMeasures, q_values: Mapping[str, float], config: DriftConfig, *, enough: bool
) -> ColumnResult:
    """Return the status and severity of a column.

    Parameters
    ----------
    measured
        The column's measures.
    q_values
        By test name, adjusted over all columns.
    config
        The thresholds.
    enough
        Whether the window has ``min_rows`` rows. Without them only findings that need no test are reported, and none of
        them has weight.

    """
    findings = _structural(measured, q_values, config)
    if enough:
        findings += [f for f in _rates(measured, q_values, config) if f]
        findings += _distribution(measured, q_values, config)
        findings += _off_atoms(measured, q_values, config)
        findings += _beyond(measured, q_values, config)
    else:
        n = measured.current.n if measured.current.n < max(config.min_rows, 1) else measured.reference.n
        reason = f"{n:,} rows, fewer than the {config.min_rows:,} a check needs."
        findings.append(Finding(ColumnStatus.INSUFFICIENT, Severity.INSUFFICIENT, reason))
    if not findings:
        return ColumnResult(ColumnStatus.OK, Severity.OK, ())
    if not enough:
        findings = [Finding(f.status, Severity.INSUFFICIENT, f.reason) for f in findings]
    findings.sort(key=lambda f: (-_WEIGHT[f.severity], _ORDER[f.status]))
    return ColumnResult(findings[0].status, findings[0].severity, tuple(f.reason for f in findings))


def _structural(measured: ColumnMeasures, q_values: Mapping[str, float], config: DriftConfig) -> list[Finding]:
    """Return the findings that need no minimum number of rows."""
    r, c = measured.reference, measured.current
    if c.absent:
        share = f"{c.absent:,} of {c.n:,} rows" if c.absent < c.n else f"all {c.n:,} rows"
        severity = Severity.DRIFT if c.absent >= ABSENT_SHARE * c.n else Severity.WARN
        return [Finding(ColumnStatus.MISSING_COLUMN, severity, f"The column is absent from {share}.")]
    if c.n and c.missing == c.n:
        expected = measured.rates["missing"].reference if "missing" in measured.rates else 1.0
        sudden = q_values.get("missing", 1.0) <= config.alpha
        reason = f"All {c.n:,} values are missing; in the reference {_percent(expected)} are."
        return [Finding(ColumnStatus.ALL_MISSING, Severity.DRIFT if sudden else Severity.OK, reason)]
    if not r.n_counted:
        return [_without_reference(measured, q_values, config)]
    return []


def _without_reference(measured: ColumnMeasures, q_values: Mapping[str, float], config: DriftConfig) -> Finding:
    """Report a column that the version has never had a value of: that it has some now is news."""
    fallen = [
        name for name, rate in measured.rates.items() if rate.increase < 0 and q_values.get(name, 1.0) <= config.alpha
    ]
    if not (fallen and measured.current.n_counted):
        return Finding(ColumnStatus.NO_REFERENCE, Severity.OK, "The reference has no value: nothing to compare with.")
    severity = max((_severity_of(name, measured.rates[name], config) for name in fallen), key=_WEIGHT.__getitem__)
    share = _percent(measured.current.n_counted / measured.current.n)
    q_value = format_probability(q_values[fallen[0]], "q")
    reason = f"{share} of {measured.current.n:,} rows have a value; the reference has none ({q_value})."
    return Finding(ColumnStatus.NO_REFERENCE, severity, reason)


def _rates(measured: ColumnMeasures, q_values: Mapping[str, float], config: DriftConfig) -> list[Finding | None]:
    rates = measured.rates
    named = {
        "missing": (ColumnStatus.MISSING_INCREASED, config.max_missing_increase, "values are missing"),
        "new_categories": (
            ColumnStatus.NEW_CATEGORIES,
            config.max_new_category_rate,
            "values are categories never seen",
        ),
        "out_of_range": (
            ColumnStatus.OUT_OF_RANGE,
            config.max_new_category_rate,
            "values lie outside the reference's range",
        ),
        "infinite": (ColumnStatus.INFINITE, 0.0, "values are infinite"),
        "invalid": (ColumnStatus.INVALID_VALUES, 0.0, "values are of another type"),
    }
    findings: list[Finding | None] = []
    all_missing = measured.current.missing == measured.current.n
    for name, rate in rates.items():
        status, material, words = named[name]
        significant = q_values[name] <= config.alpha
        if name == "missing" and all_missing:
            continue
        if name == "out_of_range" and rate.reference:  # an accepted window: a reference of its own has none
            words = "values lie outside the range of training"
        if name == "invalid" and significant and rate.current > TYPE_CHANGED_SHARE:
            status = ColumnStatus.TYPE_CHANGED
        reason = (
            f"{_percent(rate.current)} of {rate.n:,} {words}, {_percent(rate.reference)} in the reference "
            f"({format_probability(q_values[name], 'q')})."
        )
        if significant and rate.increase > 0 and rate.increase >= material and is_material(rate, config):
            findings.append(Finding(status, _severity_of(name, rate, config), reason))
        elif significant and measured.reference.n_counted and -rate.increase >= config.max_missing_increase:
            findings.append(Finding(ColumnStatus.MISSING_DECREASED, _severity_of(name, rate, config), reason))
        elif name in {"infinite", "invalid"} and rate.events and not rate.reference:
            # The reference has none, so they are named even where chance may explain them.
            findings.append(Finding(status, Severity.OK, reason))
    return findings


def _severity_of(name: str, rate: Rate, config: DriftConfig) -> Severity:
    """Return the severity of a changed rate, by the PSI of its two cells and the thresholds of any distribution."""
    if name == "out_of_range":  # the test of the distribution has these rows too
        return Severity.WARN
    return Severity.DRIFT if _excess(rate) >= config.psi_alert else Severity.WARN


def is_material(rate: Rate, config: DriftConfig) -> bool:
    """Return whether the change of a share that is common in the reference is large; that of a rare one is."""
    return not rate.is_common or _excess(rate) >= config.psi_warn


def _excess(rate: Rate) -> float:
    """Return the PSI, above chance, of the two cells that a rate divides the rows into."""
    before = round(rate.reference * rate.n_reference)
    reference = np.array([before, rate.n_reference - before])
    current = np.array([rate.events, rate.n - rate.events])
    return psi_excess(psi(reference, current), reference, current)


def _distribution(measured: ColumnMeasures, q_values: Mapping[str, float], config: DriftConfig) -> list[Finding]:
    findings = []
    constant = _is_constant(measured.reference)
    if measured.p_value is not None:
        q_value, excess = q_values[DISTRIBUTION], measured.excess
        changed = q_value <= config.alpha and excess >= config.psi_warn
        if changed:
            status, severity, threshold = ColumnStatus.WARN, Severity.WARN, config.psi_warn
            if excess >= config.psi_alert:
                status, severity, threshold = ColumnStatus.DRIFT, Severity.DRIFT, config.psi_alert
            reason = (
                f"The distribution has changed: PSI {measured.measures['psi']['value']:.3g}, {excess:.3g} above chance "
                f"(threshold {threshold:g}), {_test_words(measured)} ({format_probability(q_value, 'q')})."
            )
            findings.append(Finding(status, severity, reason))
        if constant:
            word = "has left" if changed else "keeps"
            findings.append(
                Finding(ColumnStatus.CONSTANT, Severity.OK, f"The reference is constant; the window {word} its value.")
            )
    return findings


def _is_constant(reference: ColumnCounts) -> bool:
    """Return whether the reference has a single value. A window as the reference may share a cell of many values."""
    occupied = np.flatnonzero(reference.cells)
    if len(occupied) != 1:
        return False
    return bool(occupied[0] % 2) if reference.kind == "numeric" else occupied[0] < len(reference.cells) - 1


def _off_atoms(measured: ColumnMeasures, q_values: Mapping[str, float], config: DriftConfig) -> list[Finding]:
    beside = measured.measures.get(OFF_ATOMS)
    if beside is None:
        return []
    excess, q_value = beside["excess"] or 0.0, q_values[OFF_ATOMS]
    if q_value > config.alpha or excess < config.psi_warn:
        return []
    shares = [beside["share_reference"] or 0.0, beside["share"] or 0.0]
    severe = excess >= config.psi_alert and max(shares) >= OFF_ATOMS_SHARE
    reason = (
        f"The distribution off the frequent values, of {_percent(shares[1])} of the rows, has changed: PSI "
        f"{beside['psi']:.3g}, {excess:.3g} above chance, KS {beside['statistic']:.3g} "
        f"({format_probability(q_value, 'q')})."
    )
    if severe:
        return [Finding(ColumnStatus.DRIFT, Severity.DRIFT, reason)]
    return [Finding(ColumnStatus.WARN, Severity.WARN, reason)]


def _beyond(measured: ColumnMeasures, q_values: Mapping[str, float], config: DriftConfig) -> list[Finding]:
    found = measured.measures.get(BEYOND)
    if found is None:
        return []
    psi_of_move, q_value = found["psi"] or 0.0, q_values[BEYOND]
    if q_value > config.alpha or psi_of_move < config.psi_warn:
        return []
    reason = (
        f"The values beyond the range of training have moved by {found['shift']:+.3g} times the width of training's "
        f"middle half, on average: as much as a PSI of {psi_of_move:.3g} ({format_probability(q_value, 'q')})."
    )
    if psi_of_move >= config.psi_alert:
        return [Finding(ColumnStatus.DRIFT, Severity.DRIFT, reason)]
    return [Finding(ColumnStatus.WARN, Severity.WARN, reason)]


def _test_words(measured: ColumnMeasures) -> str:
    if "ks" in measured.measures:
        return f"KS {measured.measures['ks']['statistic']:.3g}"
    return f"χ² {measured.measures['chi_square']['statistic']:.3g}"


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g}%"
