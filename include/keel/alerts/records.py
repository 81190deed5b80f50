"""Records of alerts: what a source found, an alert with its life, what is new about it, and the message about it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator

from keel.config import Kind, Severity
from keel.monitoring.records.base import JsonObject, Record, Time
from keel.monitoring.records.messages import MessagePicture
from keel.monitoring.storage import derived_id
from keel.values.redaction import without_secrets
from keel.values.texts import CELL, shown

ALL_MODELS = ""
"""The model of what concerns no single one, such as the ledger."""
CHECK = "check"
"""The source of what a check sees."""

CHECK = "check"
"""The source that looks at windows, in the data's time."""
OWED = "owed"
"""The source that looks, by the clock, whether people are owed something of alerts at which no run looks again."""
EPISODE = "episode"
"""Key of evidence that tells one occurrence of the same trouble from another, where no success is seen in between: a
question that is asked again, a run that fails again. Another episode is told again."""
PARTS = "instances"
"""Key of evidence that lists, by number, what has failed of something that fails and works again in parts: the alert is
one, and is over when none is left."""


def one_line(text: str) -> str:
    """Return a text as a mail's header can have it: a line break in one would fail every message about it."""
    return shown(text, CELL)


def fingerprint(model: str, kind: Kind, subject: str) -> str:
    """Return what two reports of the same trouble have in common. Severity and text are no part of it."""
    return derived_id("alert", model, kind, subject)


class State(StrEnum):
    """Where an alert is in its life."""

    PENDING = "pending"
    """Seen in fewer windows than it takes to fire; nobody is told."""
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Change(StrEnum):
    """What is new about an alert."""

    FIRING = "firing"
    ESCALATED = "escalated"
    REMINDER = "reminder"
    ACKNOWLEDGED = "acknowledged"
    """Only for channels that keep an incident of their own, such as PagerDuty."""
    RESOLVED = "resolved"
    EVENT = "event"


class Finding(Record):
    """One thing that a source found."""

    kind: Kind
    subject: str = ""
    """What it is about: a column, a task, an experiment; empty for the model as a whole."""
    severity: Severity
    sentence: str
    """What happened, without the model's name, in plain text."""
    rank: float = 0.0
    """Cost, for the order within a message; the largest first."""
    evidence: JsonObject = {}
    """Numbers and names; `EPISODE` and `PARTS` may be among them."""


class Examined(Record):
    """What a source was able to judge: an alert of it that is not among its findings is over."""

    kind: Kind
    subject: str | None = None
    """None: every subject of the kind."""
    part: int | None = None
    """Only this one of its `PARTS`; None: all of it."""
    parts: int | None = None
    """How many there are: one with a number beyond is no more. None: not known."""
    is_over: bool = False
    """Whether what is not among the findings is over at once, however many windows it takes else: a person said so."""
    resolution: str = ""
    """Why what is over of it is over, where the observation's own reason is about something else."""

    def covers_part(self, number: int) -> bool:
        """Return whether it says that a part does not fail any more."""
        return self.part in (None, number) or (self.parts is not None and number >= self.parts)


class Observation(Record):
    """What one source saw at one time."""

    observation_id: str
    """The same for a task that runs again: an observation is applied once."""
    model: str
    source: str
    """`CHECK`, ``watch``, ``maintenance``, ``pipeline``, ``overdue``, ``approval``, ``delivery``, ``request`` or
    `OWED`."""
    at: Time
    """In the data's own time for a check; else by the clock."""
    findings: tuple[Finding, ...] = ()
    examined: tuple[Examined, ...] = ()
    resolution: str = ""
    """Why what is over is over, where the source knows, such as "version 4 was promoted". A change of version is the
    reason only for what was found of the version before."""
    actor: str = "keel"
    """Who is behind it."""
    version_changed: bool = False
    """Whether another version is in production because of it: what was found of the version before it is over."""

    @property
    def kinds(self) -> frozenset[Kind]:
        """What it found something of, or was able to judge."""
        return frozenset({each.kind for each in self.findings} | {each.kind for each in self.examined})


class Alert(Record):
    """An alert, from the first window that shows it to its end. Times are those of its observations."""

    alert_id: str
    fingerprint: str
    model: str
    kind: Kind
    subject: str
    severity: Severity
    state: State
    sentence: str
    evidence: JsonObject = {}
    rank: float = 0.0
    first_seen: Time
    last_seen: Time
    seen: int = 1
    """Windows in a row that show it, up to the latest."""
    clear: int = 0
    """Windows in a row, up to the latest, that do not; of a pending one those that cannot tell."""
    cleared_at: Time | None = None
    """Of the latest window that ``clear`` counts."""
    fired_at: Time | None = None
    resolved_at: Time | None = None
    resolution: str | None = None
    """Why it is over: the one place that says so; None while it is open, and of an event."""
    acknowledged_by: str | None = None
    inhibited_by: str | None = None
    """Fingerprint of the alert that explains it; nobody is told of it meanwhile."""
    silenced_by: str | None = None
    """Id of the silence that covers it."""
    told_severity: Severity | None = None
    """The severity that people know of; None before they were told."""
    told_episode: str | None = None
    """The `EPISODE` that people know of."""
    told_at: Time | None = None
    message_id: str | None = None
    """Of the message that told of it first, which later ones answer to."""

    @property
    def is_open(self) -> bool:
        """Whether it is not over."""
        return self.resolved_at is None


class AlertEvent(Record):
    """One step in the life of an alert."""

    alert_id: str
    at: Time
    event: str
    """``pending``, ``firing``, ``happened`` (of an event), ``escalated``, ``inhibited``, ``silenced``, ``told``,
    ``acknowledged``, ``resolved``."""
    actor: str = "keel"
    detail: str = ""


class Silence(Record):
    """Alerts of which nobody is told for a time. It is a row of the ledger."""

    silence_id: str
    model: str
    """`ALL_MODELS`: every model, and what concerns no single one."""
    kind: Kind | None = None
    """None: every kind, but for a broken ledger."""
    subject: str | None = None
    """None: every subject. A shell pattern, such as ``wind_*``."""
    start: Time | None = None
    """None: at once."""
    until: Time
    actor: str
    reason: str


class News(Record):
    """One change that people are to be told of."""

    alert: Alert
    change: Change
    lasted: float | None = None
    """Seconds from the first window that showed it to its end; of a change ``resolved``."""


class Notice(Record):
    """What the door asks a message about. The message has this id, and answers to these messages."""

    message_id: str
    news: tuple[News, ...]
    """At least one."""
    references: tuple[str, ...] = ()
    """Ids of the messages that told of the same alerts before, the first first."""
    open_alerts: tuple[Alert, ...] = ()
    """Every alert of the model that is not over, those of the news included."""


class Table(Record):
    """Rows of evidence."""

    title: str = ""
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    numeric: tuple[int, ...] = ()
    """Columns that are aligned to the right."""
    notes: tuple[str, ...] = ()


class AlertLine(Record):
    """One change of an alert, as a message carries it to channels that know of alerts."""

    fingerprint: str
    kind: Kind
    subject: str
    severity: Severity
    change: Change
    sentence: str
    first_seen: Time
    evidence: JsonObject = {}


Topic = Literal["alert", "resolved", "event", "approval", "failure", "digest", "test"]
"""What a message is."""


class Message(Record):
    """A message to people, in the order in which it is read. Every channel renders the same one."""

    message_id: str
    model: str
    topic: Topic
    severity: Severity
    subject: Annotated[str, AfterValidator(one_line)]
    """One line, of whatever names it is made, without a prefix."""
    at: Time
    """When it was composed, by the clock."""
    happened: str
    """What happened, in one sentence."""
    hurts: tuple[str, ...] = ()
    """Whether it does harm: performance, impact, what is explained and what is not."""
    done: tuple[str, ...] = ()
    """What Keel did."""
    todo: tuple[str, ...] = ()
    """What the reader should do."""
    runbook: str | None = None
    facts: dict[str, str] = {}
    """Value by label: model and owner, window, version."""
    evidence: tuple[Table, ...] = ()
    """At most ten rows together."""
    verbatim: str = ""
    """Text with a layout of its own, such as the evidence in a question."""
    links: dict[str, str] = {}
    """Address by name: the run, the page, the version in MLflow."""
    alerts: tuple[AlertLine, ...] = ()
    picture: MessagePicture | None = None
    references: tuple[str, ...] = ()
    """Ids of the messages that it answers to, the first first."""


class Delivery(Record):
    """A message on its way to one recipient."""

    delivery_id: str
    message_id: str
    model: str
    channel: str
    recipient: str
    state: Literal["pending", "sent", "failed"]
    tells: tuple[str, ...] | None = None
    """Of a channel that keeps incidents: fingerprints of the alerts that it is told of; None: the whole message."""
    tries: int = 0
    next_try_at: Time | None = None
    answer: str | None = None
    """What the receiver answered last, without credentials."""
    reference: JsonObject | None = None
    """The receiver's name for the message, such as Slack's ``channel`` and ``ts``."""
    created_at: Time
    finished_at: Time | None = None


class Answer(Record):
    """What became of one try to send."""

    accepted: bool
    detail: Annotated[str, AfterValidator(without_secrets)]
    """What the receiver answered, or what was raised. It is stored without credentials, at most 300 characters."""
    is_final: bool = False
    """Whether a further try cannot succeed, as for an address that does not exist."""
    is_silent: bool = False
    """Whether the receiver did not answer in time. A refusal is an answer, however long it takes."""
    retry_after: float | None = None
    """Seconds that the receiver asks to wait."""
    reference: JsonObject | None = None


def message_identity(*parts: str) -> str:
    """Return the id of a message: the same parts are the same message, also when a task runs again."""
    return derived_id("message", *parts)


def duration(start: datetime, end: datetime) -> float:
    """Return the seconds between two times, never below 0."""
    return max(0.0, (end - start).total_seconds())
