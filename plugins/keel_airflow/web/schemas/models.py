"""Models, their versions, comparisons and deployments, as answers have them."""

from __future__ import annotations

from typing import Any

from keel_airflow.web.schemas.common import Answer, AnswerTime


class Window(Answer):
    """A window of full hours: start ≤ time < end."""

    start: AnswerTime
    end: AnswerTime


class LastCheck(Answer):
    """The check of a model whose window ends last."""

    version: int
    window: Window
    checked_at: AnswerTime
    status: str
    """In a word or two."""
    sentence: str
    needs_attention: bool
    to_do: str


class Performance(Answer):
    """The metric of the last check beside its baseline."""

    metric: str
    value: float | None
    baseline: float | None
    """On the version's holdout."""
    status: str
    n: int
    """Labelled rows."""


class Labels(Answer):
    """How many labels the last check had, and how new the newest one is."""

    coverage: float | None
    newest: AnswerTime | None
    status: str


class ModelSummary(Answer):
    """How one model is."""

    model: str
    error: str | None
    """Why nothing more is known, such as a configuration that is not valid."""
    owner: str
    version: int | None
    """In production."""
    since: AnswerTime | None
    last_check: LastCheck | None
    performance: Performance | None
    labels: Labels | None
    findings: list[str]
    """What is open, a sentence each, the most pressing first."""
    next_check: AnswerTime | None
    overdue: bool
    needs_attention: bool


class Models(Answer):
    """The models that the caller may read, the worst first."""

    models: list[ModelSummary]
    at: AnswerTime


class Version(Answer):
    """A version as the ledger has it."""

    version: int
    status: str
    """candidate, staging, production, previous, archived, rejected, quarantined or deleted."""
    since: AnswerTime
    reason: str
    alias: str | None
    registered_at: AnswerTime | None
    trained_because: str
    training_start: AnswerTime | None
    training_end: AnswerTime | None
    holdout_end: AnswerTime | None
    parent: int | None
    """The version in production when it was trained."""
    run_id: str | None
    """Of MLflow."""
    holdout: dict[str, float]
    """Each metric on its holdout, from the last check of the version; empty where it was never checked."""


class Versions(Answer):
    """The versions of a model, newest first."""

    model: str
    versions: list[Version]


class Comparison(Answer):
    """A stored comparison of two versions."""

    report_id: str
    model: str
    verdict: str
    """pass, fail or inconclusive; of an experiment how it ended."""
    created_at: AnswerTime
    comparison: dict[str, Any]
    """The evidence as it was stored."""
    others: list[str]
    """Ids of the other stored comparisons of the two, newest first."""


class Probation(Answer):
    """The probation of the version in production, in the data's time."""

    version: int
    previous: int | None
    since: AnswerTime
    until: AnswerTime


class DeploymentChange(Answer):
    """A change of which versions are deployed; a row of the ledger."""

    seq: int
    recorded_at: AnswerTime
    since: AnswerTime
    """From when on, in the data's time where the ledger has it."""
    action: str
    actor: str
    sentence: str
    production: int | None
    staging: int | None
    previous: int | None


class Deployments(Answer):
    """Which versions are deployed, and every change to that, newest first."""

    model: str
    at: AnswerTime | None
    """The time that was asked about; none: now."""
    production: int | None
    staging: int | None
    previous: int | None
    probation: Probation | None
    """Only where no time was asked about."""
    changes: list[DeploymentChange]


class Experiment(Answer):
    """An experiment: its plan, and how it ended."""

    experiment_id: str
    status: str
    """running or ended."""
    champion: int
    challenger: int
    started_at: AnswerTime
    ended_at: AnswerTime | None
    outcome: str | None
    """promote, roll_back, no_difference, mismatch, void or stopped; none while it runs."""
    sentence: str | None
    report_id: str | None
    """Of the report that ended it."""
    plan: dict[str, Any]
    """As the ledger has it."""


class Experiments(Answer):
    """The experiments of a model, newest first."""

    model: str
    experiments: list[Experiment]
