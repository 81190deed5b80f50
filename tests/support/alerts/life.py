"""The life of alerts in memory: observations go in, what people are told comes out, as the door would store it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from keel.alerts.records import Alert, Change, Examined, Finding, News, Observation, Silence, fingerprint
from keel.alerts.state import Step, advance, told
from keel.config import AlertsConfig, Kind, Severity

START = datetime(2026, 3, 2, tzinfo=UTC)
STEP = timedelta(hours=6)
MODEL = "toy"


def finding(kind: Kind, subject: str = "", severity: Severity = Severity.WARNING, rank: float = 0.0) -> Finding:
    return Finding(kind=kind, subject=subject, severity=severity, sentence=f"{subject or kind} moved", rank=rank)


def silence_of(
    *,
    model: str = MODEL,
    kind: Kind | None = None,
    subject: str | None = None,
    start: datetime | None = None,
    until: datetime = START + timedelta(days=365),
) -> Silence:
    about = {"model": model, "kind": kind, "subject": subject, "start": start, "until": until}
    return Silence.from_dict({**about, "silence_id": str(about), "actor": "ada", "reason": "known"})


@dataclass
class Life:
    """One model's alerts, from window to window."""

    config: AlertsConfig = field(default_factory=lambda: AlertsConfig(fire_after=2, resolve_after=3))
    silences: Sequence[Silence] = ()
    at: datetime = START
    alerts: dict[str, Alert] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    number: int = 0

    def see(
        self,
        *findings: Finding,
        examined: Iterable[Kind | Examined] = (Kind.DATA_DRIFT, Kind.PERFORMANCE),
        version_changed: bool = False,
        resolution: str = "",
        after: timedelta = STEP,
        source: str = "check",
    ) -> list[News]:
        """Apply what the next window shows, and return what people are told of it."""
        self.at += after
        self.number += 1
        parts = tuple(each if isinstance(each, Examined) else Examined(kind=each) for each in examined)
        observation = Observation(
            observation_id=f"window {self.number}",
            model=MODEL,
            source=source,
            at=self.at,
            findings=findings,
            examined=parts,
            version_changed=version_changed,
            resolution=resolution,
        )
        step = advance(self.open, observation, self.config, self.silences)
        self.steps.append(step)
        for each in step.dropped:
            del self.alerts[each]
        self.alerts |= {each.alert_id: each for each in step.alerts}
        for news in step.news:
            stored = self.alerts[news.alert.alert_id]
            self.alerts[stored.alert_id] = told(stored, f"message {self.number}", self.at)
        return list(step.news)

    @property
    def open(self) -> list[Alert]:
        return [each for each in self.alerts.values() if each.is_open]

    def of(self, kind: Kind, subject: str = "") -> Alert:
        """Return the latest alert about something."""
        identity = fingerprint(MODEL, kind, subject)
        return [each for each in self.alerts.values() if each.fingerprint == identity][-1]

    def events(self, kind: Kind, subject: str = "") -> list[str]:
        """Return the names of what happened to that alert, in order."""
        alert_id = self.of(kind, subject).alert_id
        return [event.event for step in self.steps for event in step.events if event.alert_id == alert_id]


def changes(news: Iterable[News]) -> list[tuple[Kind, str, Change]]:
    return [(each.alert.kind, each.alert.subject, each.change) for each in news]
