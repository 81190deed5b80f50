"""How every model is, a line each: version, last check, performance, labels, what is open, next check.

    collect(ws, configs, now)       typed records, the worst model first; a few queries a model, none of the registry

A model that cannot be read is a line that says why. It does not hide the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel.deployments.history import History, fold, production_since
from keel.errors import KeelError
from keel.ledger import entries as ledger
from keel.monitoring import storage
from keel.monitoring.alarm_words import names_of
from keel.monitoring.check_times import CheckTimes, check_times
from keel.monitoring.records import LiveAlarm
from keel.reports import numbers
from keel.reports.check.data import CheckData, decided, stored_check
from keel.reports.check.remedies import to_do
from keel.reports.check.words import headline, status_tag
from keel.reports.open_alerts import open_alerts_sentence
from keel.store.quarantines import DATA, LABELS
from keel.window import Window

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.records import StoredPerformanceReport
    from keel.store.records import ReportKey
    from keel.workspace import Workspace


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
    for config in configs.values():
        try:
            found.append(model_status(ws, config, now))
        except KeelError as error:
            found.append(ModelStatus(config.model, str(error), error.exit_code, owner=config.owner))
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


def model_of(error: KeelError) -> str:
    """Return the model that an error of a configuration is about, from its file's folder; else where the error is."""
    place = str(error).partition(": ")[0].replace("\\", "/").split("/")
    return place[-2] if len(place) > 1 and place[-1] == "model.yaml" else place[0]


def model_status(ws: Workspace, config: ModelConfig, now: datetime) -> ModelStatus:
    """Return the status of one model."""
    rows = list(ledger.entries(ws.store, config.model))
    state = fold(config.model, rows)
    keys = ws.store.reports.keys(config.model, storage.CHECKS, limit=1)
    data = _stored_check(ws, config, keys[0]) if keys else None
    times = check_times(ws, config, rows)
    overdue = times.is_overdue(now)
    return ModelStatus(
        model=config.model,
        owner=config.owner,
        version=state.deployment.production,
        since=production_since(rows),
        last_check=_last_check(data, keys[0]) if data else None,
        performance=_performance(data.performance) if data else None,
        labels=_labels(ws, config, data),
        findings=tuple(_findings(ws, config, state, data, overdue=overdue)),
        next_check=_next_check(config, times, now),
        overdue=overdue,
    )


def _stored_check(ws: Workspace, config: ModelConfig, key: ReportKey) -> CheckData:
    """Return the stored records of a check, without history and distributions."""
    assert key.version is not None, "checks are of a version"
    stored = stored_check(ws, config, key.version, Window(key.start, key.end))
    decision, outcome = decided(ws, config.model, key.version, stored.window)
    return replace(stored, decision=decision, outcome=outcome)


def _last_check(data: CheckData, key: ReportKey) -> LastCheck:
    what = to_do(data)
    return LastCheck(
        version=data.version,
        window=data.window,
        checked_at=key.created_at,
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


def _labels(ws: Workspace, config: ModelConfig, data: CheckData | None) -> Labels:
    coverage = None
    if data is not None:
        coverage = data.labels.coverage if data.labels else None
        if coverage is None and data.performance is not None:
            coverage = data.performance.label_rate
    status = data.labels.status if data and data.labels else ""
    return Labels(coverage, ws.store.performance.newest_hour(config.model), status)


def _findings(
    ws: Workspace, config: ModelConfig, state: History, data: CheckData | None, *, overdue: bool
) -> Iterable[str]:
    """Yield what is open, the most pressing first."""
    if data is not None and (what := to_do(data)).needed:
        yield f"{what.value}: {headline(data)}"
    if alerts := open_alerts_sentence(ws.store, config.model):
        yield alerts
    yield from _live_alarms(ws, config)
    if overdue:
        yield "The check is overdue: see whether the scheduler runs, and whether the DAG is paused."
    held = [row["about"] for row in ws.store.quarantines(config.model)]
    for about in (DATA, LABELS):
        if number := held.count(about):
            plural = numbers.count(number, f"quarantine of {about}", f"quarantines of {about}")
            yield f"{plural}, until a person releases them: keel quarantine list {config.model}"
    if (staged := state.deployment.staging) is not None:
        yield f"Version {staged} waits for approval."
    if state.probation is not None:
        yield f"Version {state.probation.version} is on probation until {numbers.time(state.probation.until)}."
    if state.experiment is not None:
        yield f"An experiment of version {state.experiment.challenger} is running."
    if state.deployment.production is None:
        yield f"No version is in production; train one: airflow dags trigger {config.model}.retrain"


def _live_alarms(ws: Workspace, config: ModelConfig) -> Iterable[str]:
    """Yield what the live monitors have open, which a check judges: nobody has to do anything yet."""
    alarms = [LiveAlarm.from_dict(each) for each in ws.store.live.open_alarms(config.model)]
    if alarms:
        opened = numbers.count(len(alarms), "live alarm")
        since = numbers.time(min(each.since for each in alarms))
        yield f"{opened} open since {since} ({names_of(alarms)}): keel live {config.model}"


def _next_check(config: ModelConfig, times: CheckTimes, now: datetime) -> datetime | None:
    """Return when the schedule starts the next check; None where it starts none."""
    from croniter import croniter

    if times.due is None or config.check.schedule is None:
        return None
    upcoming: datetime = croniter(config.check.schedule, now).get_next(datetime)
    return upcoming


def _iso(time: datetime | None) -> str | None:
    return time.isoformat() if time else None
