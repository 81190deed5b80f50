"""The door: the one way by which anything in Keel speaks to people.

A source hands in what it saw. In one transaction the alerts of the model advance, and a message about what is new of
them, its deliveries and the entries of a digest are written: all of it, or nothing. `keel.alerts.delivery` sends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts import digest, routing
from keel.alerts.messages.plain import plain
from keel.alerts.records import (
    CHECK,
    Alert,
    AlertEvent,
    Change,
    Delivery,
    Message,
    News,
    Notice,
    Observation,
    message_identity,
)
from keel.alerts.routing import Posted
from keel.alerts.silences import silences
from keel.alerts.state import Step, advance, is_prompt, told
from keel.config import AlertsConfig, Kind, read_models
from keel.errors import KeelError
from keel.monitoring.storage import SAME_MOMENT
from keel.store import alerts, outbox
from keel.window import ceil_hour

if TYPE_CHECKING:
    import sqlalchemy as sa

    from keel.config import ModelConfig
    from keel.store import Store
    from keel.workspace import Workspace

__all__ = ["Compose", "Notice", "Posted", "observe", "observe_in"]

log = logging.getLogger(__name__)

Compose = Callable[[Notice], Message | None]
"""Makes a message of a notice, with its id; None: nobody needs to know. It may read the store, and must not write."""


def observe(
    ws: Workspace, config: ModelConfig | None, observation: Observation, compose: Compose, *, now: datetime
) -> Posted:
    """Apply an observation to the alerts of its model, once, and write the message about what is new.

    config
        Of the observation's model. None for what concerns no single one: the recipients of all valid models are told.
    compose
        Where it fails, a plain message is written in its place.
    now
        The time by the clock.

    An observation that was applied before changes nothing, and its message is returned. Of one that is older than the
    newest of the same model and source, by more than `SAME_MOMENT`, only the events are applied: a backfill tells
    nobody what the past was like, but a version that it promotes is in production now. Of a window that is older by
    less, such as that of a failed check that is cleared, also what no newer window has found or judged is applied.

    Raises
    ------
    StoreUnavailable
        Nothing was applied and nothing is told; the same call can be made again.

    """
    return observe_in(ws.store, config, observation, compose, now=now)


def observe_in(
    store: Store, config: ModelConfig | None, observation: Observation, compose: Compose, *, now: datetime
) -> Posted:
    """Do as `observe`, without a registry."""
    configs = [config] if config else list(read_models()[0].values())
    with store.begin() as connection:
        alerts.lock(connection)
        done = alerts.observation(connection, observation.observation_id)
        if done is not None:
            return _repeated(connection, done["message_id"])
        # a window that ends in the future, by mistake or by another clock, silences nothing until then
        until = max(ceil_hour(now), observation.at)
        current = _current(connection, observation, until)
        if current is None:
            _record(connection, observation, None, now)
            return Posted()
        return _Door(connection, config, configs, current, now).apply(compose)


@dataclass(frozen=True)
class _Door:
    """One observation in its transaction."""

    connection: sa.Connection
    config: ModelConfig | None
    configs: Sequence[ModelConfig]
    observation: Observation
    now: datetime

    @property
    def settings(self) -> AlertsConfig:
        return self.config.alerts if self.config else AlertsConfig()

    def apply(self, compose: Compose) -> Posted:
        digest_id = self.flush_digest()
        step, still_open = self.advance()
        prompt = any(is_prompt(each, self.settings) for each in step.news)
        message = self.compose(compose, step.news, still_open) if prompt else None
        sent = self.put(message, step.news) if message else ()
        posted = message.message_id if message else None
        # nobody needs to know: they stay untold
        news = step.news if message or not prompt else ()
        self.store(step, news, posted)
        if not message:
            digest.wait(self.connection, news, self.observation, now=self.now)
        _record(self.connection, self.observation, posted, self.now)
        return Posted(posted, sent, step.news if message else (), digest_id=digest_id)

    def flush_digest(self) -> str | None:
        """Write the digest that is due in the data's time, where that is not the time by the clock."""
        if self.config is None or not digest.is_replayed(self.settings, self.observation.at, self.now):
            return None
        return digest.flush_by_data(self.connection, self.config, at=self.observation.at, now=self.now)

    def advance(self) -> tuple[Step, tuple[Alert, ...]]:
        """Return the step, and the alerts of the model that are open after it."""
        model = self.observation.model
        before = [Alert.from_dict(row) for row in alerts.open_alerts(self.connection, model)]
        lasting = silences(self.connection, model, self.observation.at)
        step = advance(before, self.observation, self.settings, lasting)
        after = {each.alert_id: each for each in (*before, *step.alerts)}
        return step, tuple(each for each in after.values() if each.is_open and each.alert_id not in step.dropped)

    def compose(self, compose: Compose, news: tuple[News, ...], still_open: tuple[Alert, ...]) -> Message | None:
        references = alerts.told_in(self.connection, [each.alert.alert_id for each in news])
        notice = Notice(
            message_id=message_identity(self.observation.observation_id),
            news=news,
            references=tuple(references),
            open_alerts=still_open,
        )
        try:
            return compose(notice)
        except KeelError:  # such as a store that is away: nothing is lost where all is done again
            raise
        except Exception:
            log.exception("a message about %s could not be composed; a plain one takes its place", notice.message_id)
            return plain(self.config, notice, now=self.now)

    def put(self, message: Message, news: tuple[News, ...]) -> tuple[Delivery, ...]:
        """Write the message and its deliveries."""
        over = [each.alert for each in news if each.change is Change.RESOLVED]
        before = routing.sent_before(self.connection, over)
        to = routing.recipients(self.configs, news, message.severity, before=before)
        return routing.put(self.connection, message, to, now=self.now)

    def store(self, step: Step, news: Iterable[News], message_id: str | None) -> None:
        """Write the rows of the step, with what people were told of."""
        at = self.observation.at
        rows = {each.alert_id: each for each in step.alerts}
        events = list(step.events)
        for each in news:
            rows[each.alert.alert_id] = told(each.alert, message_id, at)
            if message_id:
                events.append(AlertEvent(alert_id=each.alert.alert_id, at=at, event="told", detail=message_id))
        alerts.delete_alerts(self.connection, step.dropped)
        alerts.put_alerts(self.connection, [each.to_dict() for each in rows.values()], now=self.now)
        alerts.add_events(self.connection, [each.to_dict() for each in events])
        if message_id:
            alerts.close_entries(self.connection, [each.alert.alert_id for each in news], message_id)


def _current(connection: sa.Connection, observation: Observation, until: datetime) -> Observation | None:
    """Return what of an observation is about the present; None where nothing is.

    until: observations later than this do not count as newer.

    What has no window goes by the clock, and its source says different things of different runs: two that come at once
    are out of order by seconds, and each counts.
    """
    about = observation.model, observation.source
    newest = alerts.latest_observation(connection, *about, until=until)
    if newest is None or observation.at >= newest:
        return observation
    if observation.at < newest - SAME_MOMENT:
        known = set(Kind)
    elif observation.source == CHECK:
        known = set(map(Kind, alerts.kinds_since(connection, *about, after=observation.at, until=until)))
    else:
        return observation
    left = {
        "findings": tuple(each for each in observation.findings if not each.kind.lasts or each.kind not in known),
        "examined": tuple(each for each in observation.examined if each.kind not in known),
    }
    return observation.model_copy(update=left) if any(left.values()) else None


def _record(connection: sa.Connection, observation: Observation, message_id: str | None, now: datetime) -> None:
    row = {**observation.to_dict(), "kinds": sorted(observation.kinds)}
    alerts.add_observation(connection, row, message_id, now)


def _repeated(connection: sa.Connection, message_id: str | None) -> Posted:
    rows = outbox.deliveries_of(connection, [message_id]) if message_id else []
    return Posted(message_id, tuple(map(Delivery.from_dict, rows)), repeated=True)
