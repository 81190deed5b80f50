"""Digests: what asks for nothing at once is told together, once a day or a week.

A day and an ISO week begin at midnight UTC. What waits is written when a later one has begun: by the clock for all
models together, one message a recipient; or in the data's time, where a past year is replayed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from keel.alerts import routing
from keel.alerts.messages.digest import compose_digest
from keel.alerts.records import (
    Alert,
    AlertEvent,
    Change,
    News,
    Notice,
    Observation,
    duration,
    message_identity,
)
from keel.alerts.routing import Posted
from keel.alerts.silences import covered, silences
from keel.alerts.state import told
from keel.config import Kind
from keel.monitoring.storage import derived_id
from keel.store import alerts

if TYPE_CHECKING:
    import sqlalchemy as sa

    from keel.config import AlertsConfig, ModelConfig
    from keel.workspace import Workspace

PERIODS = {"daily": timedelta(days=1), "weekly": timedelta(weeks=1)}
"""For how long at most something waits."""


@dataclass(frozen=True)
class _Due:
    """The digest of one model."""

    config: ModelConfig
    notice: Notice
    needless: tuple[str, ...]
    """Ids of the alerts of which nobody needs to be told any more."""


def flush_digests(ws: Workspace, configs: Iterable[ModelConfig], *, now: datetime) -> list[Posted]:
    """Write the digests that are due by the clock, and return what was posted: one message for all who get the same.

    Asked again in the same day or week, nothing is due.

    Raises
    ------
    StoreUnavailable
        Nothing was written.

    """
    with ws.store.begin() as connection:
        alerts.lock(connection)
        due = (_due(connection, config, now, by="recorded_at") for config in configs)
        return _write(connection, [each for each in due if each is not None], at=now, now=now)


def due_models(ws: Workspace, configs: Iterable[ModelConfig], *, now: datetime) -> list[str]:
    """Return the models whose digest is due by the clock. Nothing is written."""
    with ws.store.connect() as connection:
        return [config.model for config in configs if _due(connection, config, now, by="recorded_at")]


def flush_by_data(connection: sa.Connection, config: ModelConfig, *, at: datetime, now: datetime) -> str | None:
    """Write the digest of a model that is due at a time of its data, in the caller's transaction. Returns its id."""
    due = _due(connection, config, at, by="at")
    posted = _write(connection, [due], at=at, now=now) if due else []
    return posted[0].message_id if posted else None


def is_replayed(settings: AlertsConfig, at: datetime, now: datetime) -> bool:
    """Return whether an observation is of a past that is replayed, where no digest would be due by the clock."""
    return settings.digest is not None and now - at > PERIODS[settings.digest]


def wait(connection: sa.Connection, news: Iterable[News], observation: Observation, *, now: datetime) -> None:
    """Let changes wait for the next digest, in the caller's transaction."""
    for each in news:
        alerts.add_entry(
            connection,
            derived_id("digest entry", each.alert.alert_id, str(each.change), observation.observation_id),
            model=each.alert.model,
            alert_id=each.alert.alert_id,
            at=observation.at,
            body={"change": str(each.change)},
            now=now,
        )


def _due(
    connection: sa.Connection, config: ModelConfig, moment: datetime, *, by: Literal["at", "recorded_at"]
) -> _Due | None:
    """Return what a model's digest tells, if it is due at a time; by: of which time of the entries."""
    entries = alerts.waiting_entries(connection, config.model)
    if not entries:
        return None
    rows = alerts.alerts_by_id(connection, {each["alert_id"] for each in entries})
    lasting = silences(connection, config.model, moment)
    still_open = tuple(Alert.from_dict(row) for row in alerts.open_alerts(connection, config.model))
    # again: a person may have made or ended a silence since the last check
    found = {name: covered(Alert.from_dict(row), still_open, lasting, moment) for name, row in rows.items()}
    free = {name: alert for name, alert in found.items() if not _is_covered(alert)}
    # a retraining that changed nothing is told with what is told anyway
    reasons = {name for name, alert in free.items() if alert.kind is not Kind.RETRAINED}
    counting = [each[by] for each in entries if each["alert_id"] in reasons]
    if not counting or not _is_over(config.alerts, min(counting), moment):
        return None
    changes: dict[str, list[Change]] = {}
    for each in entries:
        changes.setdefault(each["alert_id"], []).append(Change(each["body"]["change"]))
    news = tuple(_news(free[name], changes[name]) for name in changes if name in free)
    # gone, or over before anybody heard of it
    needless = tuple(name for name in changes if name not in found or (name not in free and not found[name].is_open))
    references = alerts.told_in(connection, [each.alert.alert_id for each in news])
    identity = message_identity("digest", config.model, *sorted(each["entry_id"] for each in entries))
    notice = Notice(message_id=identity, news=news, references=tuple(references), open_alerts=still_open)
    return _Due(config, notice, needless)


def _is_covered(alert: Alert) -> bool:
    """Return whether nobody is told. Who was told that it began is told that it is over, whatever covered it last."""
    return bool(alert.silenced_by or alert.inhibited_by) and (alert.is_open or alert.message_id is None)


def _news(alert: Alert, changes: Sequence[Change]) -> News:
    """Return the changes of one alert as one: what has begun and ended meanwhile is over."""
    if not alert.kind.lasts:
        return News(alert=alert, change=Change.EVENT)
    if alert.resolved_at is not None:
        return News(alert=alert, change=Change.RESOLVED, lasted=duration(alert.first_seen, alert.resolved_at))
    return News(alert=alert, change=Change.FIRING if Change.FIRING in changes else changes[-1])


def _is_over(settings: AlertsConfig, oldest: datetime, moment: datetime) -> bool:
    """Return whether the day or week of the oldest entry is over."""
    return settings.digest is None or _period(settings, moment) > _period(settings, oldest)


def _period(settings: AlertsConfig, moment: datetime) -> Any:
    day = moment.astimezone(UTC).date()
    return day.isocalendar()[:2] if settings.digest == "weekly" else day


def _write(connection: sa.Connection, due: Sequence[_Due], *, at: datetime, now: datetime) -> list[Posted]:
    """Write a message for each group of recipients who get the digests of the same models."""
    groups: dict[tuple[int, ...], dict[routing.Recipient, Collection[str]]] = {}
    for recipient, wanted in _wanted(connection, due).items():
        group = groups.setdefault(tuple(wanted), {})
        group[recipient] = tuple(chain.from_iterable(wanted.values()))
    posted = [_post(connection, [due[place] for place in places], to, now) for places, to in groups.items()]
    for place, each in enumerate(due):
        messages = [one.message_id for one, places in zip(posted, groups, strict=True) if place in places]
        _mark(connection, each, [name for name in messages if name], at=at, now=now)
    return posted


def _wanted(connection: sa.Connection, due: Sequence[_Due]) -> dict[routing.Recipient, dict[int, Collection[str]]]:
    """Return the places in ``due`` of what each recipient gets, with the alerts whose changes it takes."""
    wanted: dict[routing.Recipient, dict[int, Collection[str]]] = {}
    for place, each in enumerate(due):
        news = each.notice.news
        before = routing.sent_before(connection, [one.alert for one in news if one.change is Change.RESOLVED])
        for recipient, tells in routing.recipients([each.config], news, None, before=before).items():
            wanted.setdefault(recipient, {})[place] = tells
    return wanted


def _post(connection: sa.Connection, due: Sequence[_Due], to: routing.Recipients, now: datetime) -> Posted:
    ids = [each.notice.message_id for each in due]
    message = compose_digest(
        {each.config.model: each.notice for each in due},
        configs={each.config.model: each.config for each in due},
        message_id=ids[0] if len(ids) == 1 else message_identity("digest", *ids),
        now=now,
    )
    references = tuple(dict.fromkeys(name for each in due for name in each.notice.references))
    deliveries = routing.put(connection, message, to, now=now, after=references)
    return Posted(message.message_id, deliveries, tuple(news for each in due for news in each.notice.news))


def _mark(connection: sa.Connection, due: _Due, messages: Sequence[str], *, at: datetime, now: datetime) -> None:
    """Note in which messages a model's alerts were told. In none: nobody of the model wants to know of them."""
    first = messages[0] if messages else None
    rows = [told(each.alert, first, at) for each in due.notice.news]
    # every message, so that later ones find the thread of each recipient
    events = [AlertEvent(alert_id=row.alert_id, at=at, event="told", detail=name) for row in rows for name in messages]
    alerts.put_alerts(connection, [each.to_dict() for each in rows], now=now)
    alerts.add_events(connection, [each.to_dict() for each in events])
    alerts.close_entries(connection, [each.alert_id for each in rows], first or "")
    alerts.close_entries(connection, due.needless, "")
