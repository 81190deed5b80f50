"""A channel that does not take messages is an alert itself, which the other channels tell, and tell the end of.

A channel without a connection is in trouble at once; so is one that refuses for good and has taken nothing for days,
and one that answers nobody after some tries. Where a channel works, a single recipient of it is in trouble when a
message to it has finally failed. Channels whose recipients are connections are in trouble one recipient at a time.

A way that no valid configuration names any more is no trouble: nothing could be sent by it that ends the alert. So the
alert is over with the configuration.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from keel.alerts.door import observe_in
from keel.alerts.messages.alerts import compose_alerts
from keel.alerts.records import ALL_MODELS, Answer, Delivery, Examined, Finding, Observation
from keel.alerts.routing import OUTBOX
from keel.config import Kind, Severity, read_models
from keel.errors import StoreUnavailable
from keel.monitoring.storage import derived_id
from keel.store import alerts

if TYPE_CHECKING:
    from keel.alerts.records import Message, Notice
    from keel.config import ModelConfig
    from keel.store import Store

log = logging.getLogger(__name__)

SOURCE = "delivery"
TRIES = 5
"""Tries of one message, about half an hour, after which a channel that has taken nothing since then is in trouble."""
LATELY = timedelta(days=7)
"""A channel that has taken a message within that time works: what it refuses is the recipient's trouble."""
OF_RECIPIENTS = ("teams", "pagerduty", "apprise")
"""Channels whose recipients are connections, of which each works or does not."""


class Tried(NamedTuple):
    """A delivery after a try. is_connected: whether there is a connection for it."""

    delivery: Delivery
    answer: Answer
    is_connected: bool = True


def way(delivery: Delivery) -> str:
    """Return what takes a delivery or does not: a channel, or a connection where each recipient is one."""
    return _subject(delivery.channel, delivery.recipient if delivery.channel in OF_RECIPIENTS else "")


def report(store: Store, tried: Iterable[Tried], *, now: datetime) -> None:
    """Apply what some tries say about their channels, and end the alerts about ways that are not used any more.

    An error here is logged: the messages have been tried.

    What was taken counts first, so that one refused address among others does not put the whole channel in doubt.

    Raises
    ------
    StoreUnavailable
        The store does not answer.

    """
    for each in sorted(tried, key=lambda each: each.delivery.state != "sent"):
        try:
            _report(store, each, now)
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("what became of delivery %s could not be told", each.delivery.delivery_id)
    try:
        _end_unused(store, now)
    except StoreUnavailable:
        raise
    except Exception:
        log.exception("alerts about ways that are not used any more could not be ended")


def _end_unused(store: Store, now: datetime) -> None:
    """End the alerts about channels and recipients that no configuration names. An invalid one may name any."""
    with store.connect() as connection:
        rows = [row for row in alerts.open_alerts(connection, None) if row["kind"] == Kind.CHANNEL]
    if not rows:
        return
    configs, invalid = read_models()
    if invalid or not configs:
        return
    for row in rows:
        mine = [each for name, each in configs.items() if row["model"] in (ALL_MODELS, name)]
        if row["subject"] not in {subject for config in mine for subject in _subjects_of(config)}:
            observation = Observation(
                observation_id=f"{SOURCE}-{derived_id(row['alert_id'], 'unused')}",
                model=row["model"],
                source=SOURCE,
                at=now,
                examined=(Examined(kind=Kind.CHANNEL, subject=row["subject"]),),
                resolution=f"nobody is told by {row['subject']} any more",
            )
            _observe(store, observation, now)


def _subjects_of(config: ModelConfig) -> Iterator[str]:
    """Yield what an alert about a way of a model can be about: its channel, and each of its recipients."""
    yield OUTBOX
    for route in config.alerts.all_routes():
        yield route.channel
        yield from (_subject(route.channel, recipient) for recipient in route.to)


def _report(store: Store, tried: Tried, now: datetime) -> None:
    delivery = tried.delivery
    if delivery.state == "sent":
        _is_well(store, delivery, now)
        return
    whole = (ALL_MODELS, delivery.channel)
    single = (delivery.model, _subject(delivery.channel, delivery.recipient))
    if delivery.channel in OF_RECIPIENTS:
        whole = single = (_users_of(single[1], delivery.model), single[1])
    if not tried.is_connected:
        _is_in_trouble(store, *whole, tried, now)
    elif delivery.state == "failed":
        # said of the channel, it need not be said of each recipient
        if not _open(store, ALL_MODELS, {delivery.channel}):
            works = store.outbox.accepted_since(delivery.channel, now - LATELY)
            _is_in_trouble(store, *(single if works else whole), tried, now)
    elif delivery.tries == TRIES:
        recipient = delivery.recipient if whole is single else None
        if not store.outbox.accepted_since(delivery.channel, delivery.created_at, recipient=recipient):
            _is_in_trouble(store, *whole, tried, now)


def _users_of(subject: str, model: str) -> str:
    """Return whom the trouble of a connection concerns: all models, as one alert, where a configuration names it."""
    configs = read_models()[0].values()
    is_named = not configs or any(subject in _subjects_of(config) for config in configs)
    return ALL_MODELS if is_named else model


def _is_well(store: Store, delivery: Delivery, now: datetime) -> None:
    """Resolve the alerts about the channel and about this recipient, where there are any."""
    subjects = {delivery.channel, _subject(delivery.channel, delivery.recipient)}
    for model in {ALL_MODELS, delivery.model}:
        over = _open(store, model, subjects)
        if over:
            examined = tuple(Examined(kind=Kind.CHANNEL, subject=each) for each in over)
            observation = _observation(model, delivery, now).model_copy(
                update={
                    "examined": examined,
                    "resolution": f"{_subject(delivery.channel, delivery.recipient)} took a message",
                }
            )
            _observe(store, observation, now)


def _open(store: Store, model: str, subjects: set[str]) -> list[str]:
    """Return of which of these channels and recipients an alert is open."""
    with store.connect() as connection:
        rows = alerts.open_alerts(connection, model)
    return sorted(subjects & {row["subject"] for row in rows if row["kind"] == Kind.CHANNEL})


def _is_in_trouble(store: Store, model: str, subject: str, tried: Tried, now: datetime) -> None:
    delivery = tried.delivery
    finding = Finding(
        kind=Kind.CHANNEL,
        subject=subject,
        severity=Severity.ERROR,
        sentence=f"Messages by {subject} do not arrive: {tried.answer.detail}.",
        evidence={"channel": delivery.channel, "recipient": delivery.recipient, "answer": tried.answer.detail},
    )
    _observe(store, _observation(model, delivery, now).model_copy(update={"findings": (finding,)}), now)


def _observation(model: str, delivery: Delivery, now: datetime) -> Observation:
    identity = derived_id(SOURCE, model, delivery.delivery_id, str(delivery.tries), delivery.state)
    return Observation(observation_id=f"{SOURCE}-{identity}", model=model, source=SOURCE, at=now)


def _observe(store: Store, observation: Observation, now: datetime) -> None:
    """Apply an observation. Of a model whose configuration is gone or invalid nobody else is told."""
    configs = read_models()[0]
    config = configs.get(observation.model)
    is_foreign = observation.model != ALL_MODELS and config is None and bool(configs)
    if is_foreign and observation.findings:
        log.error("%s: %s It has no valid configuration.", observation.model, observation.findings[0].sentence)
        return

    def compose(notice: Notice) -> Message | None:
        return None if is_foreign else compose_alerts(config, notice, now=now)

    observe_in(store, config, observation, compose, now=now)


def _subject(channel: str, recipient: str) -> str:
    return f"{channel}: {recipient}" if recipient else channel
