"""Records of the steps that check a window: what was counted, and what the three checks report."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import AliasChoices, Field

from keel.monitoring.records.base import JsonObject, Record, Time, WindowField
from keel.monitoring.records.live import LiveAlarm

Number = int | float | None


class CountedWindow(Record):
    """The window that a run checks, and the version in production whose predictions were counted."""

    model: str
    version: int
    window: WindowField
    rows: int
    """Predictions of the version in the window."""
    counted_hours: int
    """Hours of the version that were counted in this run."""
    counted_rows: int
    """Rows in these hours."""
    alarms: tuple[str, ...] = ()
    """Ids of the live alarms that the run is to judge."""
    since_alarms: bool = False
    """Whether an alarm started the run, so that its window begins where the change probably began."""


class ReportRecord(Record):
    """A reference to a stored report: its id, its status and the sentence that explains it."""

    report_id: str
    kind: str
    status: str
    sentence: str = ""


class DriftReportRecord(ReportRecord):
    """A reference to a stored drift report, with the features that drifted."""

    share_drifted: float
    """Of the features."""
    drifted: tuple[str, ...] = ()


class HoursAndRows(Record):
    """The size of some of a window's hours."""

    hours: int = 0
    rows: int = 0


class StoredFinding(Record):
    """One fault of one column, as `keel.monitoring.quality.QualityFinding` found it."""

    column: str
    status: Literal["warn", "broken"]
    kind: str
    share: float
    sentence: str
    q_value: float | None = None
    """None where no test is needed, or an earlier release made the check."""


class StoredQualityReport(Record):
    """A report of `keel.monitoring.quality` as it is stored, with the hours it did not or did not fully check."""

    CHECK: ClassVar = "quality"

    status: Literal["ok", "warn", "broken", "empty"]
    n: int
    sentence: str = ""
    findings: tuple[StoredFinding, ...] = ()
    quarantined: HoursAndRows = Field(HoursAndRows(), validation_alias=AliasChoices("quarantined", "set_aside"))
    """Hours that were excluded because an earlier window found them broken."""
    released: HoursAndRows = HoursAndRows()
    """Hours that a person released from quarantine. Their form is not checked again."""
    spans: tuple[WindowField, ...] = ()
    """Stretches with broken data that are not quarantined yet."""


class AcceptedReference(Record):
    """A drift of one column that a person accepted: from then on the version's reference of it is that window."""

    model: str
    version: int
    column: str
    window: WindowField
    rows: int
    """Of the window, which the column is compared with."""
    accepted_by: str
    reason: str
    accepted_at: Time
    limits: tuple[str, ...] = ()
    """Further moves that the counts of this window cannot show, in sentences."""


class StoredColumn(Record):
    """One column of a stored drift report (`keel.monitoring.drift.ColumnDrift`)."""

    kind: Literal["numeric", "categorical"]
    role: Literal["feature", "output"]
    status: str
    severity: Literal["ok", "insufficient", "warn", "drift"]
    missing_rate: float = 0.0
    impact: float | None = None
    p_value: float | None = None
    q_value: float | None = None
    measures: dict[str, dict[str, Number]] = {}
    """By measure (``ks``, ``psi``, ``chi_square``, ``jensen_shannon``, ``wasserstein``), its numbers by name."""
    rates: dict[str, dict[str, Number]] = {}
    minimum: float | None = None
    maximum: float | None = None
    reasons: tuple[str, ...] = ()
    accepted: AcceptedReference | None = None
    """The accepted drift that the column was compared with; None: with the version's own reference."""

    def measure(self, name: str, number: str = "value") -> Number:
        """Return one number of a measure; None where it was not measured or not defined."""
        return self.measures.get(name, {}).get(number)


class StoredDriftReport(Record):
    """A report of `keel.monitoring.drift` as it is stored."""

    CHECK: ClassVar = "drift"

    status: Literal["ok", "warn", "drift", "insufficient"]
    n: int
    grid_id: str = ""
    alpha: float | None = None
    share_drifted: float
    impact_total: float | None = None
    impact_q_value: float | None = None
    impact_limit: float | None = None
    """``drift.max_impact``, where the summed impact has reached it."""
    min_rows: int | None = None
    """As configured for the check, like the next three; None where an earlier release made it."""
    psi_warn: float | None = None
    psi_alert: float | None = None
    drift_share: float | None = None
    sentence: str = ""
    features: dict[str, StoredColumn]
    """By column name, outputs included, the largest impact first."""
    quarantined: HoursAndRows = Field(HoursAndRows(), validation_alias=AliasChoices("quarantined", "set_aside"))

    @property
    def count(self) -> str:
        """How many of the features have drifted, in the words of every message."""
        n_features = sum(column.role == "feature" for column in self.features.values())
        return count_drifted(len(self.names("drift")), n_features)

    def names(self, *severities: str, role: str = "feature") -> list[str]:
        """Return the columns of a role with one of these severities, the largest impact first."""
        columns = self.features.items()
        return [name for name, column in columns if column.role == role and column.severity in severities]


def count_drifted(n_drifted: int, n_features: int) -> str:
    """Return how many features have drifted, in words. Every report, decision and message counts in this way.

    Outputs are named where they have drifted, and never counted: the window's status is about its features.

    >>> count_drifted(5, 13), count_drifted(1, 13)
    ('5 of 13 features have drifted', '1 of 13 features has drifted')
    """
    return f"{n_drifted} of {n_features} features {'has' if n_drifted == 1 else 'have'} drifted"


class StoredConsecutiveReport(StoredDriftReport):
    """A window compared with the one of the same length before it, as `drift.against: previous` asks for."""

    CHECK: ClassVar = "consecutive"

    previous: WindowField
    n_previous: int
    """Rows of the window before."""


class StoredEstimate(Record):
    """A metric's estimate, its standard error and the rows it rests on; None for what is not defined."""

    value: float | None
    standard_error: float | None = None
    n: int = 0

    @property
    def defined(self) -> bool:
        """Whether the metric is defined on these rows."""
        return self.value is not None and self.standard_error is not None


class StoredLongRun(Record):
    """All labels of a version since its first prediction (`keel.monitoring.performance.LongRun`)."""

    since: Time
    until: Time
    n: int
    value: float
    increase: float
    standard_error: float
    lower_bound: float
    level: float
    unit: str
    clusters: int


class StoredPerformanceReport(Record):
    """A report of `keel.monitoring.performance` as it is stored."""

    CHECK: ClassVar = "performance"

    status: Literal["ok", "degraded", "undefined", "insufficient", "no_labels"]
    metric: str
    n: int
    """Labelled rows that could be used."""
    unusable: int = 0
    due: int = 0
    """Predictions whose label delay has passed."""
    label_rate: float | None = None
    labels_missing: bool = False
    current: dict[str, StoredEstimate] = {}
    reference: dict[str, StoredEstimate] = {}
    increase: float | None = None
    standard_error: float | None = None
    p_value: float | None = None
    loss_change: float | None = None
    explained: float | None = None
    unexplained: float | None = None
    max_degradation: float | None = None
    alpha: float | None = None
    """The level of the test; None where an earlier release made the check."""
    long_run: StoredLongRun | None = None
    """None where an earlier release made the check, or the version has too few labels."""
    alarms: tuple[LiveAlarm, ...] = ()
    """The open live alarms that show harm, the one with most evidence first."""
    explained_alarms: tuple[str, ...] = ()
    """Ids of the open live alarms that rest on broken or quarantined labels or data, and so show no harm."""
    window: WindowField | None = None
    quarantined: HoursAndRows = Field(HoursAndRows(), validation_alias=AliasChoices("quarantined", "set_aside"))


class StoredLabelFinding(Record):
    """One fault of a stretch of labels, as `keel.monitoring.labels.LabelFinding` found it."""

    kind: str
    status: Literal["warn", "broken"]
    start: Time
    end: Time
    n: int
    sentence: str
    p_value: float | None = None


class StoredLabelsReport(Record):
    """A report of `keel.monitoring.labels` as it is stored: the labels of a window themselves."""

    CHECK: ClassVar = "labels"

    status: Literal["ok", "warn", "broken", "quarantined", "insufficient"]
    n: int
    """Labels of all versions in the window."""
    due: int = 0
    """Predictions whose label delay has passed."""
    coverage: float | None = None
    """Share of these that have a label."""
    mean: float | None = None
    """Mean label; of a binary target the base rate."""
    deviation: float | None = None
    late_share: float | None = None
    """Share of the labels that were observed after the label delay."""
    mean_delay_hours: float | None = None
    """Mean time from a prediction to its label."""
    reference: dict[str, Number] | None = None
    """The labels that the version was trained and measured on (`keel.stats.label_profile.LabelBaseline`)."""
    findings: tuple[StoredLabelFinding, ...] = ()
    """The faults, those that break a stretch first."""
    spans: tuple[WindowField, ...] = ()
    """Stretches with broken labels that are not quarantined yet."""
    quarantined: HoursAndRows = HoursAndRows()
    """Hours whose labels an earlier check quarantined, and the labels in them."""
    window: WindowField | None = None


class StoredProbationReport(Record):
    """A report of `keel.evaluation.probation` as it is stored: what the labels show of a version on probation."""

    verdict: str
    """``harm``, ``broken_promise``, ``watching``, ``survived``, ``inconclusive``; ``none`` without a probation."""
    sentence: str
    n: int = 0
    over: bool = False
    """Whether the probation has ended."""
    extended_until: Time | None = Field(default=None, validation_alias=AliasChoices("extended_until", "goes_on_until"))
    """Set where the probation showed nothing in its own time and was extended."""
    version: int | None = None
    previous: int | None = None
    metric: str | None = None
    loss: str | None = None
    n_unusable: int = Field(default=0, validation_alias=AliasChoices("n_unusable", "n_left_out"))
    current_loss: float | None = None
    previous_loss: float | None = None
    baseline_limit: float | None = Field(default=None, validation_alias=AliasChoices("baseline_limit", "promised_loss"))
    pairs_lost: float | None = None
    harm: JsonObject | None = None
    baseline: JsonObject | None = Field(default=None, validation_alias=AliasChoices("baseline", "promise"))
    missing: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """The verdict, which is the status of the stored report."""
        return self.verdict
