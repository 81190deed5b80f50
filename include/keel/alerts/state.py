"""The life of an alert: what an observation changes about the open ones, and what of that people are to be told.

Everything here is pure. The door reads the open alerts, calls `advance`, and stores the step in one transaction.

    (not seen) ─▶ pending ─▶ firing ◀─▶ acknowledged ─▶ resolved

What chance alone can raise takes ``fire_after`` windows in a row to fire and ``resolve_after`` to resolve. So it does
not flap: a feature that drifts in every other window opens no alert, or keeps the one that it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from keel.alerts.records import (
    CHECK,
    EPISODE,
    OWED,
    PARTS,
    Alert,
    AlertEvent,
    Change,
    Examined,
    Finding,
    News,
    Observation,
    Silence,
    State,
    duration,
    fingerprint,
)
from keel.alerts.silences import covered
from keel.config import AlertsConfig, Kind
from keel.monitoring.storage import derived_id

BY_CLOCK = frozenset(
    {
        Kind.APPROVAL,
        Kind.LOST_RECORDS,
        Kind.LEDGER_BROKEN,
        Kind.PIPELINE_FAILURE,
        Kind.CHECK_OVERDUE,
        Kind.CHANNEL,
    }
)
"""Kinds of facts at which no check of data looks."""


@dataclass(frozen=True)
class Step:
    """What one observation changes."""

    alerts: tuple[Alert, ...] = ()
    """Rows to insert or update, by ``alert_id``. No two of them that are open have the same fingerprint."""
    dropped: tuple[str, ...] = ()
    """Ids of pending alerts to delete. They have no events."""
    events: tuple[AlertEvent, ...] = ()
    news: tuple[News, ...] = ()
    """What people are to be told: the worst first, within a severity the costliest, and at the end what is over."""


def advance(
    open_alerts: Sequence[Alert], observation: Observation, config: AlertsConfig, silences: Sequence[Silence]
) -> Step:
    """Return what an observation changes about a model's alerts. It is applied once, and after all older ones.

    open_alerts
        Every open alert of the observation's model. Those of other models are left alone.
    silences
        Those of the model that have not been ended. What `Silence.until` has passed is left out here.

    What is over is told also while a silence covers it, if its beginning was told: whoever knows that something fires
    can rely on being told its end. What else people are `owed` is told by the next observation that shows the alert. A
    fact, which no chance raises, holds until it is seen to be over: it is told without being shown anew, by the next
    check, or by an observation of the source `OWED` where no check looks at it. Others have no words for it.
    """
    before = {each.fingerprint: each for each in open_alerts if each.is_open and each.model == observation.model}
    found = _merged(observation)
    lived = _live(before, found, observation, config)
    alerts, events, news = [], [], []
    for each in lived:
        was, alert = before.get(each.fingerprint), covered(each, lived, silences, observation.at)
        new = _news(alert, found, observation, config)
        alerts += [alert] if alert != was else []
        events += _events(was, alert, new, observation)
        news += [new] if new else []
    dropped = {each.alert_id for each in before.values()} - {each.alert_id for each in lived}
    return Step(tuple(alerts), tuple(sorted(dropped)), tuple(events), tuple(sorted(news, key=_order)))


def owed(alert: Alert, config: AlertsConfig, at: datetime) -> Change | None:
    """Return what people are to be told of an alert, whichever observation comes first; None for nothing.

    alert: with what covers it at the time ``at`` (`keel.alerts.silences.covered`).
    """
    if alert.kind.lasts and not alert.is_open:
        return Change.RESOLVED if alert.told_at is not None else None
    if alert.inhibited_by or alert.silenced_by:
        return None
    if not alert.kind.lasts:
        return Change.EVENT
    if alert.state is not State.FIRING:
        return None
    if _is_worse(alert) and alert.message_id is not None:
        return Change.ESCALATED
    if alert.told_at is None or _is_worse(alert):  # what still waits for a digest has been read by nobody
        return Change.FIRING
    began_anew = alert.evidence.get(EPISODE) not in (None, alert.told_episode)
    is_due = config.remind is not None and alert.told_at + config.remind <= at
    return Change.REMINDER if began_anew or (is_due and alert.severity.is_trouble) else None


def told(alert: Alert, message_id: str | None, at: datetime) -> Alert:
    """Return an alert of which people have been told.

    message_id: of the message; None for one that waits in a digest.
    at: the observation's time.
    """
    known = max(alert.severity, alert.told_severity or alert.severity, key=lambda each: each.level)
    first = alert.message_id or message_id
    about = {"told_at": at, "told_severity": known, "told_episode": alert.evidence.get(EPISODE), "message_id": first}
    return alert.model_copy(update=about)


def is_prompt(news: News, config: AlertsConfig) -> bool:
    """Return whether people are told at once. All else waits for the digest, or for a message that is sent anyway."""
    alert = news.alert
    if alert.kind is Kind.RETRAINED:  # that nothing changed is no reason to write
        return False
    if config.digest is None or news.change is Change.EVENT or alert.kind is Kind.APPROVAL:
        return True
    severity = alert.told_severity if news.change is Change.RESOLVED else alert.severity
    return severity is not None and severity.is_trouble


def _live(
    before: Mapping[str, Alert], found: Mapping[str, Finding], observation: Observation, config: AlertsConfig
) -> list[Alert]:
    """Return every alert after the observation: open, resolved by it, or an event. A pending one may be missing."""
    lived = [
        _see(before[identity], finding, observation, config)
        if identity in before
        else _begin(identity, finding, observation, config)
        for identity, finding in found.items()
    ]
    missed = (_miss(each, observation, config) for each in before.values() if each.fingerprint not in found)
    lived += [each for each in missed if each is not None]
    if not observation.version_changed:
        return lived
    # What was found of the version before is over, also what the same observation has found.
    ended = (_end(each, observation) if each.is_open and each.kind.is_statistical else each for each in lived)
    return [each for each in ended if each is not None]


def _merged(observation: Observation) -> dict[str, Finding]:
    """Return the findings by fingerprint: of those with the same the worst, then the costliest."""
    found: dict[str, Finding] = {}
    for finding in observation.findings:
        identity = fingerprint(observation.model, finding.kind, finding.subject)
        other = found.get(identity)
        if other is None or (finding.severity.level, finding.rank) > (other.severity.level, other.rank):
            found[identity] = finding
    return found


def _begin(identity: str, finding: Finding, observation: Observation, config: AlertsConfig) -> Alert:
    fires = _fires(finding, 1, config)
    lasts = finding.kind.lasts
    return Alert(
        alert_id=derived_id("alert row", identity, observation.observation_id),
        fingerprint=identity,
        model=observation.model,
        kind=finding.kind,
        subject=finding.subject,
        severity=finding.severity,
        state=State.RESOLVED if not lasts else State.FIRING if fires else State.PENDING,
        sentence=finding.sentence,
        evidence=finding.evidence,
        rank=finding.rank,
        first_seen=observation.at,
        last_seen=observation.at,
        fired_at=observation.at if fires else None,
        resolved_at=None if lasts else observation.at,
    )


def _see(alert: Alert, finding: Finding, observation: Observation, config: AlertsConfig) -> Alert:
    # A window that is checked twice, as after an alarm, is one window.
    seen = alert.seen + (observation.at > alert.last_seen)
    changes: dict[str, object] = {
        "severity": finding.severity,
        "sentence": finding.sentence,
        "evidence": _with_parts(alert, finding.evidence),
        "rank": finding.rank,
        "seen": seen,
        "clear": 0,
        "cleared_at": None,
        "last_seen": max(observation.at, alert.last_seen),
    }
    if alert.state is State.PENDING and _fires(finding, seen, config):
        changes |= {"state": State.FIRING, "fired_at": observation.at}
    known = alert.told_severity or alert.severity
    is_worse = finding.severity.level > known.level
    began_anew = finding.evidence.get(EPISODE) not in (None, alert.evidence.get(EPISODE))
    if alert.state is State.ACKNOWLEDGED and (is_worse or began_anew):
        changes |= {"state": State.FIRING, "acknowledged_by": None}
    return alert.model_copy(update=changes)


def _with_parts(alert: Alert, evidence: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return evidence with the parts that failed before, in the same episode."""
    if PARTS not in evidence or evidence.get(EPISODE) != alert.evidence.get(EPISODE):
        return evidence
    return {**evidence, PARTS: sorted({*alert.evidence.get(PARTS, ()), *evidence[PARTS]})}


def _miss(alert: Alert, observation: Observation, config: AlertsConfig) -> Alert | None:
    """Return an alert that is not among the findings; None for a pending one that is over."""
    judged = [each for each in observation.examined if _covers(each, alert)]
    if not judged:
        return _wait(alert, observation, config)
    left = [part for part in alert.evidence.get(PARTS, ()) if not any(each.covers_part(part) for each in judged)]
    if left:
        return alert.model_copy(update={"evidence": {**alert.evidence, PARTS: left}})
    missed = _clear(alert, observation).model_copy(update={"seen": 0})
    enough = not alert.kind.is_statistical or missed.clear >= config.resolve_after
    is_over = alert.state is State.PENDING or enough or any(each.is_over for each in judged)
    why = next((each.resolution for each in judged if each.resolution), "")
    return _end(missed, observation, why) if is_over else missed


def _wait(alert: Alert, observation: Observation, config: AlertsConfig) -> Alert | None:
    """Return an alert that nothing is known of now. A pending one does not wait for ever: what is seen again after
    many windows is not seen in a row.
    """
    if alert.state is not State.PENDING or observation.source != CHECK:
        return alert
    waited = _clear(alert, observation)
    return None if waited.clear >= config.resolve_after else waited


def _clear(alert: Alert, observation: Observation) -> Alert:
    """Count a window. One that is checked again, as after an alarm, is one window."""
    if observation.at <= (alert.cleared_at or alert.last_seen):
        return alert
    return alert.model_copy(update={"clear": alert.clear + 1, "cleared_at": observation.at})


def _end(alert: Alert, observation: Observation, why: str = "") -> Alert | None:
    if alert.state is State.PENDING:
        return None
    return alert.model_copy(
        update={
            "state": State.RESOLVED,
            # where an older version's data brought the end about, it showed until the last window that was checked
            "resolved_at": max(observation.at, alert.last_seen),
            "resolution": why or _why(alert, observation),
        }
    )


def _why(alert: Alert, observation: Observation) -> str:
    """Return why an alert is over: what its source says, or else the rule that ends its kind."""
    if observation.resolution and (alert.kind.is_statistical or not observation.version_changed):
        return observation.resolution
    if observation.source != "check":
        return "it is not seen any more"
    return f"{alert.clear} checks in a row were clear" if alert.clear > 1 else "the latest check was clear"


def _news(alert: Alert, found: Mapping[str, Finding], observation: Observation, config: AlertsConfig) -> News | None:
    """Return what an observation tells of an alert: what people are owed of it, if it is about it."""
    change = owed(alert, config, observation.at)
    if change is Change.RESOLVED:
        return News(alert=alert, change=change, lasted=duration(alert.first_seen, alert.resolved_at or alert.last_seen))
    is_about = alert.fingerprint in found or _has_words(observation, alert)
    return News(alert=alert, change=change) if change and is_about else None


def _has_words(observation: Observation, alert: Alert) -> bool:
    """Return whether an observation tells of an alert that it does not show."""
    if alert.kind.is_statistical:
        return False
    if alert.kind in BY_CLOCK:
        return observation.source == OWED
    return observation.source == CHECK and observation.at >= alert.last_seen


def _events(was: Alert | None, alert: Alert, news: News | None, observation: Observation) -> list[AlertEvent]:
    """Return the steps of an alert's life. Those of a pending one are written once it fires, so that one which never
    does leaves none.
    """
    steps: list[tuple[str, str]] = []
    if alert.fired_at is not None and (was is None or was.fired_at is None):
        if alert.first_seen < alert.fired_at:
            steps.append(("pending", ""))
        steps.append(("firing" if alert.kind.lasts else "happened", str(alert.severity)))
    if alert.inhibited_by and alert.inhibited_by != (was and was.inhibited_by):
        steps.append(("inhibited", alert.inhibited_by))
    if alert.silenced_by and alert.silenced_by != (was and was.silenced_by):
        steps.append(("silenced", alert.silenced_by))
    if news is not None and alert.is_open and _is_worse(alert):
        steps.append(("escalated", f"{alert.told_severity} to {alert.severity}"))
    if not alert.is_open and alert.kind.lasts:
        steps.append(("resolved", alert.resolution or ""))
    return [
        AlertEvent(
            alert_id=alert.alert_id,
            at=alert.first_seen if name == "pending" else observation.at,
            event=name,
            actor=observation.actor,
            detail=detail,
        )
        for name, detail in steps
    ]


def _fires(finding: Finding, seen: int, config: AlertsConfig) -> bool:
    return not finding.kind.is_statistical or finding.severity.is_trouble or seen >= config.fire_after


def _covers(examined: Examined, alert: Alert) -> bool:
    return examined.kind is alert.kind and examined.subject in (None, alert.subject)


def _is_worse(alert: Alert) -> bool:
    return alert.told_severity is not None and alert.severity.level > alert.told_severity.level


def _order(news: News) -> tuple[bool, int, float, str, str]:
    alert = news.alert
    return news.change is Change.RESOLVED, -alert.severity.level, -alert.rank, str(alert.kind), alert.subject
