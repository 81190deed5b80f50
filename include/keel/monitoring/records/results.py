"""Records of what follows a decision: a trained version, a comparison, the outcome."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field

from keel.monitoring.records.base import DataSlice, JsonObject, Record, Span, Time, WindowField, renamed


class TrainedVersion(Record):
    """A version that a retrain registered, and the rows it was trained and measured on."""

    decision_id: str
    model: str
    challenger: int
    champion: int | None
    """In production when the challenger was trained."""
    mlflow_run_id: str
    until: Time
    """The end of the window that the retrain was decided on."""
    requested_by: str
    training: DataSlice
    holdout: DataSlice
    metrics: dict[str, float | None]
    """On the holdout; None where a metric is not defined."""
    sentence: str


class Evidence(Record):
    """The numbers of a comparison that decisions and messages repeat, and what they are about."""

    decision_id: str | None = None
    model: str = ""
    champion: int | None = None
    challenger: int | None = None
    mlflow_run_id: str | None = None
    report_id: str | None = None
    """Of the report that holds all of the evidence."""
    experiment_id: str | None = None
    basis: str | None = None
    """``experiment`` where the evidence is one; None for a holdout."""
    forced_by: str | None = None
    until: Time | None = None
    verdict: str | None = None
    metric: str | None = None
    loss: str | None = None
    """The loss that an experiment measured, in words."""
    n: int | None = None
    champion_value: float | None = None
    challenger_value: float | None = None
    improvement: float | None = None
    """Of the challenger over the champion, in units of the metric; positive is better."""
    lower_bound: float | None = None
    upper_bound: float | None = None
    margin: float | None = None
    """The lower bound must exceed it."""
    level: float | None = None
    """The error allowed in this comparison."""
    holdout: Span | None = None
    """The span of the rows compared."""
    prior_comparisons: int | None = Field(None, validation_alias=AliasChoices("prior_comparisons", "earlier_looks"))
    """How often rows of the holdout were used before."""


class ComparisonRecord(Evidence):
    """A comparison of challenger and champion as it is stored, on a holdout or in an experiment."""

    decision_id: str | None
    champion: int | None
    challenger: int
    report_id: str
    verdict: Literal["pass", "fail", "inconclusive"]
    n: int
    holdout: Span
    prior_comparisons: int = Field(0, validation_alias=AliasChoices("prior_comparisons", "earlier_looks"))
    reason: str
    sentence: str
    requested_by: str | None = None
    next: str | None = None
    """The task that follows. It is derived from the policy and not stored."""
    alpha: float | None = None
    champion_standard_error: float | None = None
    challenger_standard_error: float | None = None
    standard_error: float | None = None
    row_standard_error: float | None = None
    effective_rows: float | None = None
    segment_margin: float | None = None
    method: str | None = None
    """Of an experiment's analysis."""
    decided_at: Time | None = None
    """When an experiment reached its verdict."""
    n_excluded: dict[str, int] | None = Field(None, validation_alias=AliasChoices("n_excluded", "n_left_out"))
    """Rows that could not be used: their ``total``, and how many by reason."""
    clusters: JsonObject | None = None
    segments: JsonObject | None = None
    speed: JsonObject | None = None
    labels: JsonObject | None = None
    extra_metrics: JsonObject | None = Field(None, validation_alias=AliasChoices("extra_metrics", "also"))
    """Other metrics of both versions."""
    mcnemar: JsonObject | None = None
    policy: JsonObject | None = None
    """The keys of the promotion policy that the verdict rests on."""
    experiment: JsonObject | None = None
    """The experiment's plan and the id of its report."""
    score_curves: JsonObject | None = None
    """Calibration and ROC, or residuals, of both versions (`keel.evaluation.holdout.score_curves`)."""
    flips: JsonObject | None = None
    """Recent live predictions that the challenger makes otherwise (`keel.evaluation.holdout.flips`)."""

    def to_ledger(self) -> dict[str, Any]:
        """Return what the verdict rests on. What is only for a page stays in the stored comparison."""
        return self.model_dump(mode="json", exclude={"score_curves", "flips"})

    @property
    def n_rows(self) -> int:
        """Labelled rows of the holdout, those included that could not be used."""
        return self.n + (self.n_excluded or {}).get("total", 0)


class Outcome(Evidence):
    """The result of a decision, stored with it when its run ends."""

    outcome: Annotated[str, renamed({"offered": "staged"})]
    sentence: str
    version: int | None = None
    """In production, or staged, afterwards."""
    generation: int | None = None
    """Of the deployment, after the change."""
    rolled_back_version: int | None = Field(None, validation_alias=AliasChoices("rolled_back_version", "taken_back"))
    quarantined: tuple[WindowField, ...] = ()
    notified: tuple[str, ...] = Field((), validation_alias=AliasChoices("notified", "told"))
    """The channels that took the message."""

    @classmethod
    def of(cls, outcome: str, about: Record, sentence: str, **more: object) -> Outcome:
        """Return the outcome of a decision or comparison, with the evidence that ``about`` holds."""
        shared = Evidence.model_fields.keys() & type(about).model_fields.keys()
        evidence = {name: getattr(about, name) for name in shared}
        return cls.model_validate({**evidence, **more, "outcome": outcome, "sentence": sentence})


class ReconcileRecord(Record):
    """What `keel.rollout.reconcile` completed and found."""

    model: str
    sentence: str = ""
    completed: bool = False
    """Whether an interrupted change was completed."""
    findings: tuple[str, ...] = ()
    """Sentences about changes outside Keel and about predictions that could not be stored."""
    out_of_band: tuple[JsonObject, ...] = ()
    undelivered: tuple[str, ...] = Field((), validation_alias=AliasChoices("undelivered", "set_aside"))
    """Those of the findings that are about predictions which could not be stored."""
