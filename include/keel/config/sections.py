"""The sections of a ``model.yaml``, each with its defaults and the reasons for them."""

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
    """What the model predicts, and how long its truth takes to arrive."""

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
    """Return a cron expression as it is, or raise `ValueError` for one that Airflow could not use."""
    from croniter import croniter  # what Airflow reads it with; an error there would take every model's DAGs away

    if value is not None and not (len(value.split()) == 5 and croniter.is_valid(value)):
        raise ValueError("must be a cron expression of five fields, such as '0 */6 * * *', or null")
    return value


class CheckConfig(Section):
    """When the model is checked, and on what window."""

    schedule: str | None = "0 */6 * * *"
    """Five-field cron in UTC; null: checked only when asked, or when the live monitor alarms."""
    lookback: Duration = timedelta(days=7)

    _cron = field_validator("schedule")(five_fields)


class DriftConfig(Section):
    """Thresholds of the drift check; a feature has drifted when it is significant *and* material."""

    alpha: float = Field(default=0.05, gt=0, lt=1)
    """False discovery rate over the model's columns, per check."""
    min_rows: int = Field(default=500, ge=1)
    """Below this many rows a window is ``insufficient``."""
    psi_warn: float = Field(default=0.1, ge=0)
    psi_alert: float = Field(default=0.25, ge=0)
    """The usual reading of the index: .1 moderate, .25 major (Siddiqi 2006); applied to its excess over chance."""
    drift_share: float = Field(default=0.3, gt=0, le=1)
    """A window drifts when at least this share of its features drifts."""
    max_impact: float | None = Field(default=None, ge=0)
    """Summed impact (units of the loss) from which the window has drifted; none: share alone decides."""
    max_missing_increase: float = Field(default=0.05, ge=0, le=1)
    max_new_category_rate: float = Field(default=0.01, ge=0, le=1)
    seed: int = 0

    @model_validator(mode="after")
    def _ordered(self) -> DriftConfig:
        if self.psi_alert < self.psi_warn:
            raise ValueError(f"psi_alert ({self.psi_alert}) must not be below psi_warn ({self.psi_warn})")
        return self


class PerformanceConfig(Section):
    """How realised performance is judged once labels are there."""

    metric: Metric = "brier"
    max_degradation: float = Field(default=0.01, ge=0)
    """How much worse than on the holdout, in units of the metric, before harm is material."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    min_rows: int = Field(default=500, ge=2)
    min_label_rate: float = Field(default=0.5, ge=0, le=1)
    """Share of the predictions that are due below which labels are missing; 0 for a model that gets none by design."""
    extra_metrics: tuple[Metric, ...] = ()
    """Further metrics to report."""


class RetrainConfig(Section):
    """How a challenger is trained."""

    pipeline: str
    window: Duration = timedelta(days=90)
    holdout: Duration = timedelta(days=14)
    cooldown: Duration = timedelta(hours=24)
    min_rows: int = Field(default=1000, ge=10)
    seed: int = 0


class PromotionConfig(Section):
    """What a version must show to go into production, who must agree, and how it is watched there."""

    approval: Literal["auto", "required", "second_person"] = "auto"
    """``required``: a person approves; ``second_person``: one who has not asked for it."""
    approvers: tuple[str, ...] = ()
    """Names of the users who may approve; empty: whom Airflow permits to answer."""
    approval_timeout: Duration = timedelta(hours=24)
    """No answer in this time is a no."""
    margin: float = 0.0
    """The lower bound of the improvement must exceed this; 0 asks for a challenger shown to be better."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Chance that challengers no better than the margin are ever promoted on one holdout, however many are judged."""
    min_rows: int = Field(default=200, ge=2)
    max_label_age: Duration = timedelta(days=7)
    """A holdout whose newest label lies further than this before its end is stale."""
    segments: tuple[str, ...] = ()
    """Categorical features within each of whose values the challenger must be shown to be not inferior."""
    segment_margin: float = Field(default=0.02, ge=0)
    """How much worse, in units of the metric, a segment may be."""
    segment_min_rows: int = Field(default=500, ge=2)
    """A segment with fewer rows of the holdout is reported and not judged."""
    max_slowdown: float | None = Field(default=None, ge=1)
    """How many times the champion's median latency of one row the challenger's may be; none: not measured."""
    max_latency_ms: float | None = Field(default=None, gt=0)
    """95th percentile of the latency of one row; none: no limit."""
    max_size_mb: float | None = Field(default=None, gt=0)
    """Size of the version's model on disk; none: no limit."""
    probation: Duration = timedelta(days=7)
    probation_extension: Duration = timedelta(days=21)
    """How much longer a version is watched whose probation has shown nothing; then it stays as it is."""
    rollback_alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """Chance that a version no worse than the one before it is taken back during its probation."""
    monitor_schedule: str | None = "15 * * * *"
    """Five-field cron in UTC of the look at a version on probation; null: only when asked."""
    keep_versions: Duration = timedelta(days=180)
    """How long a version that is not deployed is kept at least."""

    _cron = field_validator("monitor_schedule")(five_fields)

    @model_validator(mode="after")
    def _approvers_are_asked(self) -> PromotionConfig:
        if self.approvers and self.approval == "auto":
            raise ValueError("approvers: nobody is asked while promotion.approval is 'auto'; use 'required'")
        return self

    @property
    def measures_speed(self) -> bool:
        """Whether a comparison must measure latency and size."""
        return any(limit is not None for limit in (self.max_slowdown, self.max_latency_ms, self.max_size_mb))


class ServingConfig(Section):
    """How the scoring service answers for the model."""

    entity_column: str | None = None
    """Column of a request, feature or not, that says whom or what a row is about; none: each row is its own."""
    max_rows: int = Field(default=10_000, ge=1)
    """Rows of one request."""
    max_age: Duration = timedelta(hours=1)
    """How far in the past a time may lie that a request states for a row; 0s: only the service's clock counts."""


class RetentionConfig(Section):
    """How long what is stored of single rows is kept; what was counted is kept for ever."""

    rows: Duration | None = None
    """Age from which predictions and their labels are deleted; none: never."""
    unmatched_labels: Duration | None = timedelta(days=365)
    """Age from which labels that have found no prediction are deleted; none: as the rows."""

    @field_validator("rows", "unmatched_labels")
    @classmethod
    def _a_day_at_least(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and value < timedelta(days=1):
            raise ValueError("must be at least a day, or null")
        return value


class AlertsConfig(Section):
    """Whom to tell."""

    email: tuple[str, ...] = ()
    slack: str | None = None
    cooldown: Duration = timedelta(hours=24)
    runbook: str | None = None
