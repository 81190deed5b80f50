"""What the page of a model is made of: the records of one model, as far as a page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.deployments.experiments import Experiment
    from keel.deployments.history import History, Status
    from keel.monitoring.records import LiveStatus, StoredPerformanceReport
    from keel.reports.check.data import CheckData
    from keel.reports.check.history import Deployed, Measured
    from keel.window import Window


@dataclass(frozen=True)
class DriftCell:
    """What a check said of a column."""

    severity: str
    status: str
    excess: float | None
    """PSI above chance."""
    impact: float | None


@dataclass(frozen=True)
class DriftColumn:
    """A column in the checks of a time, the newest last; None where a check did not have it."""

    name: str
    role: str
    cells: tuple[DriftCell | None, ...]


@dataclass(frozen=True)
class DriftHistory:
    """The columns in the checks of a time."""

    windows: tuple[Window, ...] = ()
    versions: tuple[int | None, ...] = ()
    thresholds: tuple[float, float] = (0.1, 0.25)
    """PSI above chance from which a column has changed, and has drifted."""
    columns: tuple[DriftColumn, ...] = ()
    checks: int = 0
    """Checks in that time, of which ``windows`` are those that are shown."""
    group: str = ""
    """Of which the worst check is shown, such as ``week``; empty: every check is."""


@dataclass(frozen=True)
class CheckedPerformance:
    """The performance that a check found."""

    window: Window
    """Of the labels."""
    version: int
    expected: float | None
    """What the holdout's losses say of these inputs, were the relation to the target as it was."""


@dataclass(frozen=True)
class VersionLine:
    """A version beside the others."""

    version: int
    status: Status
    since: datetime
    trained_on: tuple[datetime | None, datetime | None] = (None, None)
    performance: StoredPerformanceReport | None = None
    """The newest of its checks."""
    comparison: Mapping[str, Any] = field(default_factory=dict)
    """The newest in which it was the challenger."""
    speed: Mapping[str, Any] = field(default_factory=dict)
    """Its latency and size, where a comparison or a benchmark measured them."""


@dataclass(frozen=True)
class OpenSilence:
    """Alerts of which nobody is told for a time."""

    silence_id: str
    all_models: bool
    sentence: str
    until: datetime
    actor: str
    reason: str


@dataclass(frozen=True)
class TimelineRow:
    """A ledger row, and where its evidence is."""

    seq: int
    at: datetime
    actor: str
    sentence: str
    """All that the row records; its first sentence says what happened."""
    evidence: str = ""
    """What its evidence is called; empty without any."""
    path: str = ""
    """Of the page of it."""


@dataclass(frozen=True)
class ModelView:
    """What is known of a model. Every part but the first three may be missing."""

    config: ModelConfig
    now: datetime
    state: History
    """As the ledger has it: what is deployed, on probation, in an experiment."""
    since: datetime | None = None
    """When the version in production went there."""
    check: CheckData | None = None
    """The stored records of the newest check."""
    checked_at: datetime | None = None
    next_check: datetime | None = None
    overdue: bool = False
    span: tuple[datetime, datetime] | None = None
    """The time that histories are of, in the data's time; None where there is no data."""
    drift: DriftHistory = DriftHistory()
    realised: tuple[Measured, ...] = ()
    """Performance by version and bucket of time, as far as it is summed."""
    checked: tuple[CheckedPerformance, ...] = ()
    """What the checks found of it, the oldest first."""
    deployed: tuple[Deployed, ...] = ()
    live: LiveStatus | None = None
    """None where the configuration turns the monitors off."""
    alerts: tuple[Mapping[str, Any], ...] = ()
    """Those that fire, the worst first."""
    silences: tuple[OpenSilence, ...] = ()
    experiment: Experiment | None = None
    """The one that runs, else the newest."""
    evidence: Mapping[str, Any] | None = None
    """The newest stored evaluation of it."""
    versions: tuple[VersionLine, ...] = ()
    ledger: tuple[TimelineRow, ...] = ()
    """The newest first."""
    ledger_rows: int = 0

    @property
    def model(self) -> str:
        """The model's name."""
        return self.config.model
