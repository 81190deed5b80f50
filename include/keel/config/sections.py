"""The sections of a ``model.yaml``, with their defaults."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from keel.config.loading import Duration, Section

FeatureKind = Literal["numeric", "categorical"]
Metric = Literal["brier", "log_loss", "roc_auc", "accuracy", "mae", "rmse"]
METRICS_OF_KIND: dict[str, frozenset[str]] = {
    "binary": frozenset({"brier", "log_loss", "roc_auc", "accuracy"}),
    "regression": frozenset({"mae", "rmse"}),
}


class TargetConfig(Section):
    """What the model predicts, and the time until its labels arrive."""

    name: str
    kind: Literal["binary", "regression"] = "binary"
    label_delay: Duration = timedelta(hours=24)


class PredictionsConfig(Section):
    """Where Keel reads predictions from: its own prediction log."""

    source: Literal["keel"] = "keel"

    @model_validator(mode="before")
    @classmethod
    def _refuse_other_sources(cls, value: Any) -> Any:
        if isinstance(value, dict) and (value.get("source") in ("sql", "files") or {"conn", "url"} & value.keys()):
            raise ValueError(
                "tables and files are not available yet as sources; "
                "write predictions into Keel's own log and set predictions.source to 'keel'"
            )
        return value


def five_fields(value: str | None) -> str | None:
    """Return a cron expression unchanged; `ValueError` for one that Airflow cannot use."""
    from croniter import croniter  # as Airflow does, where an error would remove the DAGs of every model

    if value is not None and not (len(value.split()) == 5 and croniter.is_valid(value)):
        raise ValueError("must be a cron expression of five fields, such as '0 */6 * * *', or null")
    return value


def a_day_at_least(value: timedelta | None) -> timedelta | None:
    """Return a retention unchanged; `ValueError` for one that the nightly maintenance cannot keep."""
    if value is not None and value < timedelta(days=1):
        raise ValueError("must be at least a day, or null")
    return value


class CheckConfig(Section):
    """When the model is checked, and the length of the window."""

    schedule: str | None = "0 */6 * * *"
    """Five-field cron expression in UTC; null: checked only on request, or when the alarm asset is updated."""
    lookback: Duration = timedelta(days=7)

    _cron = field_validator("schedule")(five_fields)


class DriftConfig(Section):
    """Thresholds of the drift check. A feature drifts when its change is significant *and* material."""

    alpha: float = Field(default=0.05, gt=0, lt=1)
    """False discovery rate over the model's columns in one check."""
    against: tuple[Literal["training", "previous"], ...] = ("training",)
    """What a window is compared with: the version's training rows, and the window before it as well."""
    min_rows: int = Field(default=500, ge=1)
    """A window with fewer rows is ``insufficient``."""
    psi_warn: float = Field(default=0.1, ge=0)
    psi_alert: float = Field(default=0.25, ge=0)
    """The usual thresholds of the PSI, .1 moderate and .25 major (Siddiqi 2006), on its excess over chance."""
    drift_share: float = Field(default=0.3, gt=0, le=1)
    """A window drifts when at least this share of its features drifts."""
    max_impact: float | None = Field(default=None, ge=0)
    """A window drifts from this summed impact, in units of the loss; none: the share alone decides."""
    max_missing_increase: float = Field(default=0.05, ge=0, le=1)
    max_new_category_rate: float = Field(default=0.01, ge=0, le=1)
    seed: int = 0

    @model_validator(mode="after")
    def _ordered(self) -> DriftConfig:
        if self.psi_alert < self.psi_warn:
            raise ValueError(f"psi_alert ({self.psi_alert}) must not be below psi_warn ({self.psi_warn})")
        return self


class PerformanceConfig(Section):
    """How the performance check evaluates labelled predictions."""

    metric: Metric = "brier"
    max_degradation: float = Field(default=0.01, ge=0)
    """Largest tolerated degradation against the holdout, in units of the metric."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    min_rows: int = Field(default=500, ge=2)
    min_label_rate: float = Field(default=0.5, ge=0, le=1)
    """Labels are missing below this share of matured predictions; 0 for a model without labels."""
    extra_metrics: tuple[Metric, ...] = ()
    """Further metrics to report."""


class LiveConfig(Section):
    """How predictions and labels are monitored as they arrive, between the checks."""

    block_size: int = Field(default=100, ge=10, le=10_000)
    """Rows between two evaluations."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Probability of any false alarm of the model's monitors in a year of expected traffic."""
    average_run_length: int | None = Field(default=None, ge=100)
    """In place of ``alpha``: least expected number of blocks before a false alarm."""
    expected_traffic: float | None = Field(default=None, gt=0)
    """Predictions a day; none: as many as in the days before the monitor starts."""
    context: tuple[str, ...] = ("hour",)
    """Categorical or discrete features, or ``hour`` and ``weekday`` of the prediction's time in UTC. Rows are compared
    with rows of the same context only. Empty: with all rows."""
    columns: tuple[str, ...] | None = None
    """Features, ``score`` and ``prediction`` to monitor; none: all."""
    thinning: int = Field(default=1, ge=1, le=1000)
    """Only every n-th prediction is monitored, where neighbours depend on each other."""
    harm: bool = True
    """Whether the mean loss of labelled predictions is monitored."""

    @field_validator("context", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else () if value is None else value

    @model_validator(mode="after")
    def _one_promise(self) -> LiveConfig:
        if self.average_run_length is not None and {"alpha", "expected_traffic"} & self.model_fields_set:
            raise ValueError("average_run_length replaces alpha and expected_traffic; keep one of the two promises")
        return self


class LabelsConfig(Section):
    """Labels that arrive early for a random share of predictions."""

    audit_share: float | None = Field(default=None, gt=0, lt=1)
    """Share of predictions, chosen at random by Keel, whose labels somebody finds out early; none: no audit."""
    audit_delay: Duration = timedelta(hours=1)
    """Time until the labels of audited predictions have arrived. It is shorter than ``target.label_delay``."""


class RetrainConfig(Section):
    """How a challenger is trained."""

    pipeline: str
    window: Duration = timedelta(days=90)
    holdout: Duration = timedelta(days=14)
    cooldown: Duration = timedelta(hours=24)
    min_rows: int = Field(default=1000, ge=10)
    seed: int = 0


class PromotionConfig(Section):
    """The conditions of a promotion, its approval, and the probation after it."""

    approval: Literal["auto", "required", "second_person"] = "auto"
    """``required``: a person approves; ``second_person``: a person other than the one who requested it."""
    approvers: tuple[str, ...] = ()
    """User names of the approvers; empty: every user whom Airflow permits to respond."""
    approval_timeout: Duration = timedelta(hours=24)
    """Without a response within this time the promotion is declined."""
    margin: float = 0.0
    """The lower bound of the improvement must exceed this; 0: the challenger must be better."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Probability that one holdout ever promotes a challenger no better than the margin, however many it compares."""
    min_rows: int = Field(default=200, ge=2)
    max_label_age: Duration = timedelta(days=7)
    """A holdout is stale if its newest label lies further before its end."""
    segments: tuple[str, ...] = ()
    """Categorical features; the challenger must not be inferior for any of their values."""
    segment_margin: float = Field(default=0.02, ge=0)
    """Largest tolerated degradation of a segment, in units of the metric."""
    segment_min_rows: int = Field(default=500, ge=2)
    """A segment with fewer rows is reported and not tested."""
    max_slowdown: float | None = Field(default=None, ge=1)
    """Largest ratio of the challenger's median latency of one row to the champion's; none: not measured."""
    max_latency_ms: float | None = Field(default=None, gt=0)
    """Limit of the 95th percentile of the latency of one row; none: no limit."""
    max_size_mb: float | None = Field(default=None, gt=0)
    """Limit of the size of the version's model on disk; none: no limit."""
    probation: Duration = timedelta(days=7)
    probation_extension: Duration = timedelta(days=21)
    """Longest extension of a probation without enough evidence; then it ends and the version stays."""
    rollback_alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """Probability that a version no worse than the previous one is rolled back during its probation."""
    monitor_schedule: str | None = "15 * * * *"
    """Five-field cron expression in UTC of the checks of a probation or experiment; null: only on request."""
    keep_versions: Duration = timedelta(days=180)
    """Shortest time before a version that is not deployed is deleted."""

    _cron = field_validator("monitor_schedule")(five_fields)

    @model_validator(mode="after")
    def _approvers_need_approval(self) -> PromotionConfig:
        if self.approvers and self.approval == "auto":
            raise ValueError("approvers: promotion.approval 'auto' asks for no approval; use 'required'")
        return self

    @property
    def measures_speed(self) -> bool:
        """Whether a comparison measures latency and size."""
        return any(limit is not None for limit in (self.max_slowdown, self.max_latency_ms, self.max_size_mb))


class ServingConfig(Section):
    """How the scoring service handles the model's requests."""

    entity_column: str | None = None
    """Column of a request with the entity of a row, feature or not; none: each row is its own entity."""
    max_rows: int = Field(default=10_000, ge=1)
    """Largest number of rows or labels of one request."""
    max_age: Duration = timedelta(hours=1)
    """Largest age of a time that a request states for a row; 0s: no time in the past."""


class RetentionConfig(Section):
    """When single rows are deleted, and alerts that are over; counts, reports and decisions are never deleted."""

    rows: Duration | None = None
    """Age at which predictions and their labels are deleted; none: never."""
    unmatched_labels: Duration | None = timedelta(days=365)
    """Age at which labels without a prediction are deleted; none: with the rows."""
    alerts: Duration | None = timedelta(days=730)
    """Age at which alerts that are over, and messages, are deleted; none: never."""

    _ages = field_validator("rows", "unmatched_labels", "alerts")(a_day_at_least)


class ReportsConfig(Section):
    """Whether the page of each check is published in MLflow, and how long it stays there."""

    publish: bool = True
    """Whether each check writes its report as an artifact into the model's MLflow experiment."""
    retention: Duration | None = timedelta(days=90)
    """Age at which a published report is deleted; none: never. The records behind it are never deleted."""

    _retention = field_validator("retention")(a_day_at_least)
