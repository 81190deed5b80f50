"""A store with the alerts of some days, every one through the real door, and the mails that told of them.

python -m tests.support.alerts.story       fills the store that the environment names, for a reader of the documents
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from keel.alerts.delivery import send_due
from keel.alerts.door import Posted, observe
from keel.alerts.messages.alerts import compose_alerts
from keel.alerts.outbox import EmlSender
from keel.alerts.records import Answer, Delivery, Examined, Finding, Message, Observation
from keel.config import Kind, ModelConfig, Severity, get_model
from keel.window import now_utc
from keel.workspace import Workspace

CHECK = timedelta(hours=6)
DRIFT = (Kind.DATA_DRIFT, Kind.PREDICTION_DRIFT)


def drift(column: str, *, rank: float = 0.01, severity: Severity = Severity.WARNING) -> Finding:
    return Finding(
        kind=Kind.DATA_DRIFT,
        subject=column,
        severity=severity,
        sentence=f"{column} has drifted: PSI 0.42, impact {rank:+.4f}.",
        rank=rank,
        evidence={"psi": 0.42, "impact": rank},
    )


HARM = Finding(
    kind=Kind.PERFORMANCE,
    severity=Severity.ERROR,
    sentence="The Brier score is 0.249, 0.092 worse than the holdout's 0.157 on 6,216 labels.",
    rank=0.092,
    evidence={"metric": "brier", "value": 0.249, "baseline": 0.157},
)


@dataclass
class Story:
    """What happens to one model."""

    ws: Workspace
    config: ModelConfig
    now: datetime
    """The time by the clock, to which it has come."""

    def check(self, *findings: Finding, source: str = "check", examined: Iterable[Kind] = (), **more: Any) -> Posted:
        """Let a source see findings, and nothing else of the kinds that it examines, at the present time."""
        kinds = dict.fromkeys([*examined, *(each.kind for each in findings)])
        seen = Observation(
            observation_id=f"{source}-{self.config.model}-{self.now.isoformat()}",
            model=self.config.model,
            source=source,
            at=self.now,
            findings=findings,
            examined=tuple(Examined(kind=kind) for kind in kinds),
            **more,
        )
        return observe(
            self.ws, self.config, seen, lambda notice: compose_alerts(self.config, notice, now=self.now), now=self.now
        )

    def checks(self, times: int, *findings: Finding, examined: Iterable[Kind] = DRIFT) -> list[Posted]:
        """Let several checks in a row, six hours apart, see the same; time passes after each."""
        posted = []
        for _ in range(times):
            posted.append(self.check(*findings, examined=examined))
            self.now += CHECK
        return posted

    def send(self) -> tuple[Delivery, ...]:
        """Send what is due: mails into the outbox, and nothing by other channels, which have no connection."""
        fallback = EmlSender(self.ws.outbox, "keel@localhost")
        return send_due(self.ws.store, {}, fallback, now=self.now, clock=lambda: self.now)


class Receiver:
    """A channel whose receiver answers what it is told to, and remembers what came."""

    def __init__(self, answer: Answer | Exception) -> None:
        self.answer, self.messages = answer, []

    def send(self, message: Message, delivery: Delivery, earlier: Iterable[Delivery]) -> Answer:
        self.messages.append(message)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def tell(ws: Workspace, config: ModelConfig, *, until: datetime) -> Story:
    """Let three days pass: a drift that stays, harm that a promotion ends, labels that are missing, a broken column."""
    story = Story(ws, config, until - 13 * CHECK)
    story.checks(3, drift("temp"))
    story.checks(2, drift("temp"), drift("dewp", rank=0.059))
    story.check(HARM, drift("temp"), drift("dewp", rank=0.059), examined=DRIFT)
    story.send()
    story.now += CHECK
    promoted = Finding(
        kind=Kind.PROMOTION, subject="3", severity=Severity.INFO, sentence="Version 3 was promoted: better by 0.0205."
    )
    story.check(
        promoted, examined=(*DRIFT, Kind.PERFORMANCE), version_changed=True, resolution="version 3 was promoted"
    )
    story.now += CHECK
    story.checks(3, drift("pressure"))
    missing = Finding(
        kind=Kind.LABELS_MISSING, severity=Severity.WARNING, sentence="12% of the matured predictions have a label."
    )
    broken = Finding(
        kind=Kind.DATA_QUALITY, subject="visib", severity=Severity.ERROR, sentence="visib is missing in all rows."
    )
    story.check(drift("pressure"), missing, broken, examined=DRIFT)
    story.send()
    story.now = until
    story.send()
    return story


if __name__ == "__main__":
    with Workspace.open() as opened:
        tell(opened, get_model("flight_delay"), until=now_utc())
