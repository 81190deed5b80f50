"""Names that release 0.2 replaced.

Release 0.2 refuses an old name with an error that names the new one. Empty the tables of renames in 0.3.
"""

from __future__ import annotations

RENAMED_IN = "0.2"

KEYS = {
    "drift.max_share": "drift.drift_share",
    "performance.max_increase": "performance.max_degradation",
    "performance.also": "performance.extra_metrics",
    "promotion.watch": "promotion.monitor_schedule",
    "retention.orphans": "retention.unmatched_labels",
    "serving.entity": "serving.entity_column",
}
"""Dotted keys of ``model.yaml``, of the environment and of a run's ``overrides``."""

REMOVED = {
    "alerts.cooldown": "removed in 0.2: an alert is told once for as long as it lasts; see alerts.remind",
}
"""Dotted keys that nothing replaces, with what to know instead."""

PARAMETERS = {"max_n": "max_outcomes", "least": "min_duration", "most": "max_duration", "at": "start_at"}
"""Parameters of a run of ``<model>.experiment``."""

OPTIONS = {"--max-n": "--max-outcomes", "--least": "--min-duration", "--most": "--max-duration"}
"""Options of ``keel experiment start``."""

COMMANDS = {
    "maintain": "maintenance",
    "versions release": "versions reinstate",
    "versions confirm": "versions end-probation",
}
"""Commands, without the leading ``keel``."""


def renamed(old: str, new: str) -> str:
    """Return the sentence that refuses ``old`` and names ``new``.

    >>> renamed("drift.max_share", "drift.drift_share")
    'drift.max_share: renamed to drift.drift_share in 0.2'
    """
    return f"{old}: renamed to {new} in {RENAMED_IN}"


def refused(key: str) -> str | None:
    """Return why a dotted configuration key is refused by name, or None for any other key.

    >>> refused("drift.max_share"), refused("drift.alpha")
    ('drift.max_share: renamed to drift.drift_share in 0.2', None)
    """
    if key in REMOVED:
        return f"{key}: {REMOVED[key]}"
    return renamed(key, KEYS[key]) if key in KEYS else None
