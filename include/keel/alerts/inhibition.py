"""Which alert explains another, so that people are told of the cause and not of its consequences.

Where predictions stop, drift and performance measure what is left. Where a column's values are broken, the drift of
that column is the same trouble. Where performance is shown to be degraded, a warning that something drifted adds
nothing: it stands in the message about the performance. A check that has failed is known not to have come.

An alert explains nothing that is worse than itself: a column that warns of a few missing values is no reason to be
silent about a drift that is an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from keel.alerts.records import Alert, State
from keel.config import Kind, Severity

AGAINST_PREVIOUS = " against the window before"
"""End of the subject of a drift against the window before; a column's name stands before it."""


@dataclass(frozen=True)
class Rule:
    """An open alert of the kind ``source`` explains alerts of the kinds ``targets``."""

    source: Kind
    targets: frozenset[Kind]
    same_column: bool = False
    """Only of the same column; a source without a column explains every one."""
    up_to: Severity = Severity.CRITICAL
    """The worst severity that is explained, by a source that is as bad itself."""
    of: str = ""
    """End of the subjects that explain, such as that of a DAG."""

    def applies(self, source: Alert, target: Alert) -> bool:
        """Return whether one alert explains another."""
        return (
            source.kind is self.source
            and target.kind in self.targets
            and source.model == target.model
            and target.severity.level <= min(source.severity.level, self.up_to.level)
            and source.subject.endswith(self.of)
            and (not self.same_column or source.subject in ("", column_of(target.subject)))
        )


RULES = (
    Rule(Kind.NO_PREDICTIONS, frozenset({Kind.DATA_DRIFT, Kind.PREDICTION_DRIFT, Kind.PERFORMANCE})),
    Rule(Kind.DATA_QUALITY, frozenset({Kind.DATA_DRIFT}), same_column=True),
    Rule(Kind.PERFORMANCE, frozenset({Kind.DATA_DRIFT, Kind.PREDICTION_DRIFT}), up_to=Severity.WARNING),
    Rule(Kind.PIPELINE_FAILURE, frozenset({Kind.CHECK_OVERDUE}), of=".drift_check"),
)
"""In the order in which they are asked. No kind is both above and below another, so that nothing explains itself."""


def column_of(subject: str) -> str:
    """Return the column that a finding is about.

    >>> column_of("temp"), column_of("temp against the window before")
    ('temp', 'temp')
    """
    return subject.removesuffix(AGAINST_PREVIOUS)


def inhibitor(alert: Alert, others: Iterable[Alert]) -> Alert | None:
    """Return the open alert that explains this one; None where nothing does.

    A pending alert explains nothing: chance alone may have raised it. A silenced one does: whoever silenced the cause
    does not want to hear of its consequences.
    """
    sources = [each for each in others if each.is_open and each.state is not State.PENDING]
    return next((each for rule in RULES for each in sources if rule.applies(each, alert)), None)
