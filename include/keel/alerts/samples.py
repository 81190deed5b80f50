"""Test a channel: send a sample past the outbox, and return what the receiver answered."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.delivery import WITHOUT_SERVER
from keel.alerts.messages.sample import compose_test
from keel.alerts.records import Answer, Delivery
from keel.errors import ConfigError, NoConnection
from keel.monitoring.storage import derived_id

if TYPE_CHECKING:
    from keel.alerts.delivery import Sender
    from keel.config import Channel, ModelConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sampled:
    """A sample to one recipient, and what its receiver answered."""

    channel: Channel
    recipient: str
    answer: Answer


def send_samples(
    configs: Iterable[ModelConfig],
    senders: Mapping[str, Sender],
    fallback: Sender,
    *,
    channel: Channel | None = None,
    to: str | None = None,
    now: datetime,
) -> tuple[Sampled, ...]:
    """Send a sample to each recipient of these models, each once, and return the answers.

    It is tried once, and is not stored: it works where the store does not.

    Parameters
    ----------
    fallback
        Writes the mail where there is no mail server, as for any other mail.
    channel
        Only by this one.
    to
        In place of the configured recipients; with a channel.

    Raises
    ------
    ConfigError
        There is no such recipient.

    """
    chosen = list(configs)
    people = _people(chosen, channel, to)
    only = chosen[0] if len(chosen) == 1 else None
    found: list[Sampled] = []
    for name, recipient in people:
        message = compose_test(only, channel=name, now=now)
        delivery = Delivery(
            delivery_id=derived_id("sample", message.message_id, recipient),
            message_id=message.message_id,
            model=message.model,
            channel=name,
            recipient=recipient,
            state="pending",
            created_at=now,
        )
        try:
            if name not in senders:
                raise NoConnection(f"{name} has no connection")
            answer = senders[name].send(message, delivery, ())
        except NoConnection as error:
            answer = Answer(accepted=False, detail=str(error), is_final=True)
            if name in WITHOUT_SERVER:
                written = fallback.send(message, delivery, ())
                answer = written.model_copy(update={"detail": f"{answer.detail}; {written.detail}"})
        except Exception as error:  # of a library, whose traceback may hold credentials
            answer = Answer(accepted=False, detail=f"{type(error).__name__}: {error}")
            log.warning("the sample by %s failed: %s", name, answer.detail)
        found.append(Sampled(name, recipient, answer))
    return tuple(found)


def _people(configs: Iterable[ModelConfig], channel: Channel | None, to: str | None) -> list[tuple[Channel, str]]:
    if to is not None:
        if channel is None:
            raise ConfigError("a recipient needs its channel: name it too, such as --channel email")
        return [(channel, to)]
    routes = [route for config in configs for route in config.alerts.all_routes()]
    people = dict.fromkeys((route.channel, name) for route in routes for name in route.to)
    found = [person for person in people if channel in (None, person[0])]
    if not found:
        by = f" by {channel}" if channel else ""
        raise ConfigError(
            f"nobody is told anything{by}: alerts.email, alerts.slack and alerts.routes name no one. Name a recipient, "
            "such as with --channel email --to ada@example.com"
        )
    return found
