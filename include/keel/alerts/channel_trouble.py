"""A channel that does not take messages is an alert itself, which the other channels tell, and tell the end of.

What works or does not is a way: a channel, or a connection where the recipients of a channel are connections. A way is
in trouble at once without a connection, when it refuses for good and has taken nothing for days, and when it has taken
nothing since a message that was tried some times. Where it works, a single recipient is in trouble when a message to
it has finally failed.

A way that no valid configuration names is no trouble: nothing could be sent by it that ends the alert. So the alert is
over with the configuration.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
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
    from keel.errors import ConfigError
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
    """Apply what some tries say about their ways, and end the alerts about ways that are not used any more.

    An error here is logged: the messages have been tried.

    What was taken counts first, so that one refused address among others does not put the whole channel in doubt.

    Raises
    ------
    StoreUnavailable
        The store does not answer.

    """
    this = _Report(store, now)
    for each in sorted(tried, key=lambda each: each.delivery.state != "sent"):
        with _logged(f"what became of delivery {each.delivery.delivery_id}"):
            this.tell(each)
    with _logged("the end of ways that are not used any more"):
        this.end_unused()


@contextmanager
def _logged(what: str) -> Iterator[None]:
    try:
        yield
    except StoreUnavailable:
        raise
    except Exception:
        log.exception("%s could not be told", what)


@dataclass(frozen=True)
class _Report:
    """What is said about ways at one time."""

    store: Store
    now: datetime

    @cached_property
    def configured(self) -> tuple[dict[str, ModelConfig], list[ConfigError]]:
        return read_models()

    def tell(self, tried: Tried) -> None:
        """Begin or end the alerts that a try is about."""
        delivery, whole = tried.delivery, way(tried.delivery)
        single = _subject(delivery.channel, delivery.recipient)
        if delivery.state == "sent":
            for model in {ALL_MODELS, delivery.model}:
                if over := self._open(model, {delivery.channel, single}):
                    self._observe(model, *_of_try(delivery), over=over, why=f"{single} took a message")
            return
        recipient = delivery.recipient if whole == single else None
        has_failed = delivery.state == "failed"
        since = self.now - LATELY if has_failed else delivery.created_at
        works = self.store.outbox.accepted_since(delivery.channel, since, recipient=recipient)
        if not tried.is_connected or (not works and (has_failed or delivery.tries == TRIES)):
            self._begin(ALL_MODELS, whole, tried)
        elif has_failed and not self._open(ALL_MODELS, {whole}):
            # said of the whole, it need not be said of each recipient
            self._begin(ALL_MODELS if whole == single else delivery.model, single, tried)

    def end_unused(self) -> None:
        """End the alerts about ways that no configuration names. An invalid one may name any."""
        with self.store.connect() as connection:
            rows = [row for row in alerts.open_alerts(connection, None) if row["kind"] == Kind.CHANNEL]
        if not rows or self.configured[1]:
            return
        for row in rows:
            model, subject = row["model"], row["subject"]
            if not self._is_named(model, subject):
                self._observe(
                    model, row["alert_id"], "unused", over=[subject], why=f"nobody is told by {subject} any more"
                )

    def _is_named(self, model: str, subject: str) -> bool:
        """Return whether a configuration of the model names a way, or there is none that could."""
        configs, _ = self.configured
        mine = (config for name, config in configs.items() if model in (ALL_MODELS, name))
        return not configs or any(subject in _subjects_of(config) for config in mine)

    def _begin(self, model: str, subject: str, tried: Tried) -> None:
        delivery, answer = tried.delivery, tried.answer.detail
        sentence = f"Messages by {subject} do not arrive: {answer}."
        if not self._is_named(model, subject):
            log.error("%s: %s No valid configuration names it.", delivery.model, sentence)
            return
        finding = Finding(
            kind=Kind.CHANNEL,
            subject=subject,
            severity=Severity.ERROR,
            sentence=sentence,
            evidence={
                "channel": delivery.channel,
                "recipient": delivery.recipient,
                "answer": answer,
                "delivery": delivery.delivery_id,
            },
        )
        self._observe(model, *_of_try(delivery), findings=(finding,))

    def _open(self, model: str, subjects: set[str]) -> list[str]:
        """Return of which of these ways and recipients an alert is open."""
        with self.store.connect() as connection:
            rows = alerts.open_alerts(connection, model)
        return sorted(subjects & {row["subject"] for row in rows if row["kind"] == Kind.CHANNEL})

    def _observe(
        self, model: str, *identity: str, findings: tuple[Finding, ...] = (), over: Iterable[str] = (), why: str = ""
    ) -> None:
        """Let ways of a model be in trouble, or no longer. Of one whose configuration is gone nobody else is told."""
        configs, _ = self.configured
        config = configs.get(model)
        is_foreign = model != ALL_MODELS and config is None and bool(configs)

        def compose(notice: Notice) -> Message | None:
            return None if is_foreign else compose_alerts(config, notice, now=self.now)

        observation = Observation(
            observation_id=f"{SOURCE}-{derived_id(SOURCE, model, *identity)}",
            model=model,
            source=SOURCE,
            at=self.now,
            findings=findings,
            examined=tuple(Examined(kind=Kind.CHANNEL, subject=each) for each in over),
            resolution=why,
        )
        observe_in(self.store, config, observation, compose, now=self.now)


def _of_try(delivery: Delivery) -> tuple[str, ...]:
    return delivery.delivery_id, str(delivery.tries), delivery.state


def _subjects_of(config: ModelConfig) -> Iterator[str]:
    """Yield what an alert about a way of a model can be about: its channel, and each of its recipients."""
    yield OUTBOX
    for route in config.alerts.all_routes():
        yield route.channel
        yield from (_subject(route.channel, recipient) for recipient in route.to)


def _subject(channel: str, recipient: str) -> str:
    return f"{channel}: {recipient}" if recipient else channel
