"""Messages of every kind, some with names and values that try to become markup."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from keel.alerts.records import AlertLine, Change, Delivery, Message, Table, fingerprint
from keel.config import Kind, Severity

AT = datetime(2026, 5, 3, 6, tzinfo=UTC)
HOSTILE = "a<b>&c*d*_e_~f~`g`[x](http://evil.example)<!channel><@U1>@here\r\nBcc: evil@example.com\x00\u202e|"
"""HTML, Slack's markup and mentions, Markdown, a second header, a control character, the other direction of writing."""


def line(
    kind: Kind = Kind.DATA_DRIFT,
    subject: str = "temp",
    *,
    change: Change = Change.FIRING,
    severity: Severity = Severity.WARNING,
    sentence: str = "",
) -> AlertLine:
    """One alert's change."""
    return AlertLine(
        fingerprint=fingerprint("bikes", kind, subject),
        kind=kind,
        subject=subject,
        severity=severity,
        change=change,
        sentence=sentence or f"{kind.value} of {subject}",
        first_seen=AT - timedelta(days=2),
        evidence={"distance": 0.21, "q": 1e-9},
    )


def message(
    *lines: AlertLine,
    text: str = "The temperature is higher than it was in training",
    message_id: str = "m1",
    topic: str = "alert",
    severity: Severity = Severity.WARNING,
    references: tuple[str, ...] = (),
    rows: int = 3,
) -> Message:
    """A message with everything that one can have; ``text`` is in every place."""
    table = Table(
        title=f"Features {text}",
        head=("feature", "distance"),
        rows=tuple((f"{text} {i}", f"0.{i}") for i in range(rows)),
        numeric=(1,),
        notes=(f"Note {text}",),
    )
    values = {
        "message_id": message_id,
        "model": "bikes",
        "topic": topic,
        "severity": severity,
        "subject": f"bikes: {text}",
        "at": AT,
        "happened": f"{text}.",
        "hurts": (f"No harm is shown: {text}.", "Performance is as it was."),
        "done": ("Keel did nothing.",),
        "todo": (f"Look at the page: {text}.",),
        "runbook": "https://wiki.example/bikes?a=1&b=2",
        "facts": {"model": "bikes (team <rides>)", "window": "3 May", text[:20]: text},
        "evidence": (table,),
        "verbatim": f"first {text}\n  second",
        "links": {"run": "https://airflow.example/run", "page": "https://mlflow.example/#/a", "evil": "javascript:1"},
        "alerts": lines,
        "references": references,
    }
    return Message.model_validate(values)


def of_kind(kind: Kind, change: Change | None = None, *, text: str = "It is so") -> Message:
    """A message about one alert of a kind: its beginning, or for an event that."""
    change = change or (Change.FIRING if kind.lasts else Change.EVENT)
    topic = "resolved" if change is Change.RESOLVED else "alert" if kind.lasts else "event"
    return message(line(kind, change=change, sentence=text), text=text, topic=topic, message_id=f"{kind}.{change}")


def delivery(about: Message, channel: str, recipient: str, *, reference: dict[str, object] | None = None) -> Delivery:
    """A message on its way to a recipient."""
    return Delivery(
        delivery_id=f"{about.message_id}.{channel}.{recipient}",
        message_id=about.message_id,
        model=about.model,
        channel=channel,
        recipient=recipient,
        state="sent" if reference else "pending",
        reference=reference,
        created_at=AT,
    )
