"""How every model is, a line each: version, last check, performance, labels, what is open, next check.

    collect(ws, configs, now)       records, the worst model first; a fixed number of queries, none of the registry

A model that cannot be read is a line that says why. It does not hide the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel.errors import KeelError
from keel.monitoring.alarm_words import names_of
from keel.reports import numbers
from keel.reports.check.remedies import to_do
from keel.reports.check.words import headline, status_tag
from keel.reports.fleet.data import model_of
from keel.reports.fleet.facts import ModelFacts, read
from keel.reports.open_alerts import sentence_of
from keel.store.quarantines import DATA, LABELS

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.check_times import CheckTimes
    from keel.monitoring.records import StoredPerformanceReport
    from keel.reports.check.data import CheckData
    from keel.window import Window
    from keel.workspace import Workspace

__all__ = ["Labels", "LastCheck", "ModelStatus", "Performance", "collect", "model_of", "model_status"]


@dataclass(frozen=True)
class LastCheck:
    """The check of a model whose window ends last."""

    version: int
    window: Window
    checked_at: datetime
    status: str
    """In a word or two."""
    sentence: str
    needs_attention: bool
    to_do: str


@dataclass(frozen=True)
class Performance:
    """The metric of the last check beside its baseline."""

    metric: str
    value: float | None
    baseline: float | None
    status: str
    n: int


@dataclass(frozen=True)
class Labels:
    """How many labels the last check had, and how new the newest label is."""

    coverage: float | None
    """Share of the due predictions of the last check's window that have a label."""
    newest: datetime | None
    """The hour of the newest prediction that has a label."""
    status: str = ""


@dataclass(frozen=True)
class ModelStatus:
    """How one model is."""

    model: str
    error: str = ""
    """Why nothing more is known: its configuration is not valid, or it cannot be read."""
    exit_code: int = 0
    """Of that error."""
    owner: str = ""
    version: int | None = None
    """In production."""
    since: datetime | None = None
    last_check: LastCheck | None = None
    performance: Performance | None = None
    labels: Labels | None = None
    findings: tuple[str, ...] = ()
    """What is open, a sentence each."""
    next_check: datetime | None = None
    """None without a schedule."""
    overdue: bool = False

    @property
    def needs_attention(self) -> bool:
        """Whether a person has to do something."""
        return bool(self.error) or self.overdue or bool(self.last_check and self.last_check.needs_attention)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        check = self.last_check
        return {
            "model": self.model,
            "error": self.error or None,
            "owner": self.owner,
            "version": self.version,
            "since": _iso(self.since),
            "last_check": None
            if check is None
            else {
                **check.__dict__,
                "window": check.window.to_dict(),
                "checked_at": check.checked_at.isoformat(),
            },
            "performance": self.performance.__dict__ if self.performance else None,
            "labels": {**self.labels.__dict__, "newest": _iso(self.labels.newest)} if self.labels else None,
            "findings": list(self.findings),
            "next_check": _iso(self.next_check),
            "overdue": self.overdue,
            "needs_attention": self.needs_attention,
        }


def collect(
    ws: Workspace, configs: Mapping[str, ModelConfig], now: datetime, *, invalid: Iterable[KeelError] = ()
) -> list[ModelStatus]:
    """Return the status of each model, the worst first.

    invalid: errors of configurations that are not valid; each becomes a line.

    Raises
    ------
    StoreUnavailable
        The store cannot be read for any model.

    """
    found = [ModelStatus(model_of(error), str(error), error.exit_code) for error in invalid]
    labelled = ws.store.fleet.newest_labels([config.model for config in configs.values()])
    for name, facts in read(ws, configs).items():
        config = configs[name]
        if isinstance(facts, KeelError):
            found.append(ModelStatus(config.model, str(facts), facts.exit_code, owner=config.owner))
        else:
            found.append(_status(facts, labelled.get(config.model), now))
    return sorted(found, key=_rank)


def _rank(status: ModelStatus) -> tuple[int, str]:
    order = (
        bool(status.error),
        bool(status.last_check and status.last_check.needs_attention),
        status.overdue,
        bool(status.findings),
        status.version is None,
    )
    return (order.index(True) if True in order else len(order), status.model)


def model_status(ws: Workspace, config: ModelConfig, now: datetime) -> ModelStatus:
    """Return the status of one model; raises the error that keeps it from being read."""
    facts = read(ws, {config.model: config})[config.model]
    if isinstance(facts, KeelError):
        raise facts
    return _status(facts, ws.store.fleet.newest_labels([config.model]).get(config.model), now)


def _status(facts: ModelFacts, labelled: datetime | None, now: datetime) -> ModelStatus:
    """Return the status that facts show. labelled: the hour of the newest prediction that has a label."""
    config, check = facts.config, facts.check
    overdue = facts.times.is_overdue(now)
    return ModelStatus(
        model=config.model,
        owner=config.owner,
        version=facts.deployment.production,
        since=facts.since,
        last_check=_last_check(check, facts.checked_at) if check and facts.checked_at else None,
        performance=_performance(check.performance) if check else None,
        labels=_labels(labelled, check),
        findings=tuple(_findings(facts, overdue=overdue)),
        next_check=_next_check(config, facts.times, now),
        overdue=overdue,
    )


def _last_check(data: CheckData, checked_at: datetime) -> LastCheck:
    what = to_do(data)
    return LastCheck(
        version=data.version,
        window=data.window,
        checked_at=checked_at,
        status=status_tag(data).text,
        sentence=headline(data),
        needs_attention=what.needed,
        to_do=what.value,
    )


def _performance(report: StoredPerformanceReport | None) -> Performance | None:
    if report is None:
        return None
    now, then = report.current.get(report.metric), report.reference.get(report.metric)
    return Performance(
        metric=report.metric,
        value=now.value if now else None,
        baseline=then.value if then else None,
        status=report.status,
        n=report.n,
    )


def _labels(newest: datetime | None, data: CheckData | None) -> Labels:
    coverage = None
    if data is not None:
        coverage = data.labels.coverage if data.labels else None
        if coverage is None and data.performance is not None:
            coverage = data.performance.label_rate
    status = data.labels.status if data and data.labels else ""
    return Labels(coverage, newest, status)


def _findings(facts: ModelFacts, *, overdue: bool) -> Iterable[str]:
    """Yield what is open, the most pressing first."""
    model = facts.config.model
    if facts.check is not None and (what := to_do(facts.check)).needed:
        yield f"{what.value}: {headline(facts.check)}"
    if alerts := sentence_of(facts.alerts, model):
        yield alerts
    if facts.alarms:  # a check judges them: nobody has to do anything yet
        opened = numbers.count(len(facts.alarms), "live alarm")
        since = numbers.time(min(each.since for each in facts.alarms))
        yield f"{opened} open since {since} ({names_of(facts.alarms)}): keel live {model}"
    if overdue:
        yield "The check is overdue: see whether the scheduler runs, and whether the DAG is paused."
    for about in (DATA, LABELS):
        if number := facts.quarantined.count(about):
            plural = numbers.count(number, f"quarantine of {about}", f"quarantines of {about}")
            yield f"{plural}, until a person releases them: keel quarantine list {model}"
    yield from _deployed(facts)


def _deployed(facts: ModelFacts) -> Iterable[str]:
    """Yield what is under way with the model's versions."""
    if (staged := facts.deployment.staging) is not None:
        yield f"Version {staged} waits for approval."
    if facts.probation is not None:
        yield f"Version {facts.probation.version} is on probation until {numbers.time(facts.probation.until)}."
    if facts.experiment is not None:
        yield f"An experiment of version {facts.experiment.plan['challenger']} is running."
    if facts.deployment.production is None:
        yield f"No version is in production; train one: airflow dags trigger {facts.config.model}.retrain"


def _next_check(config: ModelConfig, times: CheckTimes, now: datetime) -> datetime | None:
    """Return when the schedule starts the next check; None where it starts none."""
    from croniter import croniter

    if times.due is None or config.check.schedule is None:
        return None
    upcoming: datetime = croniter(config.check.schedule, now).get_next(datetime)
    return upcoming


def _iso(time: datetime | None) -> str | None:
    return time.isoformat() if time else None
