"""The section ``alerts`` of a ``model.yaml``: who is told of what, by which channel, and how seldom."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from keel.config.loading import Duration, Section

Channel = Literal["email", "slack", "teams", "pagerduty", "apprise"]


class Severity(StrEnum):
    """How much an alert matters. The order is that of the definition."""

    INFO = "info"
    """News that asks for nothing."""
    WARNING = "warning"
    """Something moved, without harm that is shown."""
    ERROR = "error"
    """Harm, or a part of the loop that does not work."""
    CRITICAL = "critical"
    """Nothing can be trusted until a person has looked."""

    @property
    def level(self) -> int:
        """The place in the order, 0 for ``info``."""
        return list(Severity).index(self)

    @property
    def is_trouble(self) -> bool:
        """Whether it is at least an error: people are told at once."""
        return self.level >= Severity.ERROR.level


class Kind(StrEnum):
    """What an alert is about. The last ones are events: they happen, and do not last."""

    DATA_DRIFT = "data_drift"
    PREDICTION_DRIFT = "prediction_drift"
    PERFORMANCE = "performance"
    DATA_QUALITY = "data_quality"
    LABEL_QUALITY = "label_quality"
    NO_PREDICTIONS = "no_predictions"
    LABELS_MISSING = "labels_missing"
    LIVE_ALARM = "live_alarm"
    APPROVAL = "approval"
    LOST_RECORDS = "lost_records"
    LEDGER_BROKEN = "ledger_broken"
    PIPELINE_FAILURE = "pipeline_failure"
    CHECK_OVERDUE = "check_overdue"
    CHANNEL = "channel"
    """A channel that has no connection, or does not accept messages."""
    RETRAINED = "retrained"
    """A retraining after which the champion was kept."""
    PROMOTION = "promotion"
    PROBATION = "probation"
    """A probation ended: passed, or without enough evidence."""
    ROLLBACK = "rollback"
    OUT_OF_BAND = "out_of_band"
    EXPERIMENT = "experiment"

    @property
    def lasts(self) -> bool:
        """Whether an alert of this kind has a life; an event is told once, and is over."""
        return self not in _EVENTS

    @property
    def is_statistical(self) -> bool:
        """Whether chance alone can raise and end it, so that it takes several windows to fire and to resolve."""
        return self in _STATISTICAL


_EVENTS = frozenset({Kind.RETRAINED, Kind.PROMOTION, Kind.PROBATION, Kind.ROLLBACK, Kind.OUT_OF_BAND, Kind.EXPERIMENT})
_STATISTICAL = frozenset({Kind.DATA_DRIFT, Kind.PREDICTION_DRIFT, Kind.PERFORMANCE, Kind.LIVE_ALARM})


class RouteConfig(Section):
    """One way to one group of people."""

    channel: Channel
    to: tuple[str, ...] = Field(min_length=1)
    """Addresses, Slack channels, or, for Teams, PagerDuty and Apprise, ids of Airflow connections: their addresses are
    secrets."""
    severity: Severity = Severity.WARNING
    """The least severity."""
    kinds: tuple[Kind, ...] = ()
    """Only these kinds; empty: all."""

    @field_validator("to", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("to")
    @classmethod
    def _one_spelling(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        # Ann@example.com and ann@example.com are one person, with one mail and one budget
        return tuple(name.lower() for name in value) if info.data.get("channel") == "email" else value

    @model_validator(mode="after")
    def _plausible(self) -> Self:
        for name in self.to:
            if not name.strip() or not name.isprintable():
                raise ValueError(f"to: {name!r} must be one line of text")
            if self.channel == "email" and ("@" not in name or "," in name or name != name.strip()):
                raise ValueError(f"to: {name!r} must be one mail address")
            if self.channel in ("teams", "pagerduty", "apprise") and ("://" in name or " " in name):
                raise ValueError(f"to: {name!r} must be the id of an Airflow connection, which holds the address")
        return self


class AlertsConfig(Section):
    """Who is told of what, by which channel, and how seldom."""

    email: tuple[str, ...] = ()
    """Mail addresses, for everything that is told."""
    slack: str | None = None
    """A Slack channel, for everything that is told."""
    routes: tuple[RouteConfig, ...] = ()
    """Further ways."""
    fire_after: int = Field(default=2, ge=1)
    """Windows in a row that show a warning before it is told; errors are told at once."""
    resolve_after: int = Field(default=12, ge=1)
    """Windows in a row that do not show what a test found, before it is over."""
    digest: Literal["daily", "weekly"] | None = "weekly"
    """How often warnings are told, together; none: at once."""
    remind: Duration | None = None
    """Time after which an error that nobody has acknowledged is told again; none: never."""
    budget: float = Field(default=2.0, gt=0)
    """Messages a month and person that chance alone may cause."""
    runbook: str | None = None

    @model_validator(mode="after")
    def _valid_recipients(self) -> Self:
        self.all_routes()
        return self

    def all_routes(self) -> tuple[RouteConfig, ...]:
        """Return every way, those of ``email`` and ``slack`` included."""
        short = [RouteConfig(channel="email", to=self.email, severity=Severity.INFO)] if self.email else []
        short += [RouteConfig(channel="slack", to=(self.slack,), severity=Severity.INFO)] if self.slack else []
        return (*short, *self.routes)
