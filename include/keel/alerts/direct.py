"""Tell people without the outbox: where the store itself has failed, nothing can be written, and people must know.

What is told so is not recorded: an alert of it has no row, so nobody is told when it is over. A small file in the home
folder keeps it from being told more than once an hour.
"""

from __future__ import annotations

import fcntl
import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING

from keel.alerts.channel_trouble import way
from keel.alerts.delivery import Silent, failed, started, within_deadline
from keel.alerts.records import Answer, Delivery, Message, Notice, message_identity
from keel.alerts.routing import new_delivery, recipients
from keel.alerts.state import advance
from keel.config import AlertsConfig
from keel.errors import NoConnection

if TYPE_CHECKING:
    from keel.alerts.delivery import Sender
    from keel.alerts.records import News, Observation
    from keel.alerts.routing import Recipient
    from keel.config import ModelConfig

log = logging.getLogger(__name__)

PAUSE = timedelta(hours=1)
"""Within it, the same trouble is told once: a DAG that runs every minute would else write every minute."""
TOLD = "told-without-store.json"
"""The file, in the home folder: when people were told, by fingerprint."""
UNRECORDED = (
    "Keel's store could not be read or written, so this message was sent without it. It is repeated once an hour at "
    "most, and no message follows when it is over."
)


def tell_directly(
    configs: Sequence[ModelConfig],
    observation: Observation,
    compose: Callable[[Notice], Message | None],
    senders: Mapping[str, Sender],
    fallback: Sender,
    *,
    home: Path,
    now: datetime,
) -> tuple[Delivery, ...]:
    """Send a message about what an observation has found, and return what became of it. It reads and writes no store.

    Parameters
    ----------
    configs
        Of the models whose people are told.
    observation
        Its findings are told as if nothing had been known before; what it finds to be over is not told.
    compose
        Makes the message.
    senders, fallback
        By channel; and what takes a message that its channel does not take.
    home
        Folder of the installation, for the file that remembers what was told within `PAUSE`.
    now
        By the clock.

    """
    news = tuple(advance((), observation, AlertsConfig(), ()).news)
    fresh = _claim(home, news, now)
    told = [each for each in news if each.alert.fingerprint in fresh]
    if not told:
        return ()
    notice = Notice(
        message_id=message_identity("direct", observation.observation_id, now.isoformat()), news=tuple(told)
    )
    message = compose(notice)
    if message is None:
        return ()
    message = message.model_copy(update={"done": (*message.done, UNRECORDED)})
    to = recipients(configs, told, message.severity)
    running = [
        started(
            f"keel-sends-{channel}",
            partial(_send_by, channel, message, tuple(to.items()), senders.get(channel), fallback, now),
        )
        for channel in dict.fromkeys(channel for channel, _ in to)
    ]
    sent = tuple(chain.from_iterable(each.result() for each in running))
    if not any(each.state == "sent" or each.reference for each in sent):
        _release(home, fresh)
    return sent


def _send_by(
    channel: str,
    message: Message,
    to: Sequence[tuple[Recipient, Collection[str]]],
    sender: Sender | None,
    fallback: Sender,
    now: datetime,
) -> list[Delivery]:
    """Send to the recipients of a channel. A receiver that does not answer is asked once; the rest for it are files."""
    sent: list[Delivery] = []
    silent: dict[str, Sender] = {}
    for delivery in [new_delivery(message, who, now, tells) for who, tells in to if who[0] == channel]:
        by = way(delivery)
        answer = _answer(silent.get(by, sender), message, delivery)
        sent.append(_sent(message, delivery, answer, fallback, now))
        if answer.is_silent:
            silent[by] = Silent(f"{channel} does not answer", now)
    return sent


def _sent(message: Message, delivery: Delivery, answer: Answer, fallback: Sender, now: datetime) -> Delivery:
    """Return a delivery after its channel's answer. What that does not take goes to the fallback."""
    if answer.accepted:
        return _after(delivery, "sent", answer, now)
    log.warning("%s by %s was not accepted: %s", message.message_id, delivery.channel, answer.detail)
    written = _answer(fallback, message, delivery)
    both = Answer(accepted=False, detail=f"{answer.detail}; {written.detail}", reference=written.reference)
    return _after(delivery, "failed", both, now)


def _after(delivery: Delivery, state: str, answer: Answer, now: datetime) -> Delivery:
    known = {"state": state, "tries": 1, "answer": answer.detail, "reference": answer.reference, "finished_at": now}
    return delivery.model_copy(update=known)


def _answer(sender: Sender | None, message: Message, delivery: Delivery) -> Answer:
    """Return what a sender answered; an exception is an answer, because another channel may work."""
    try:
        if sender is None:
            raise NoConnection(f"{delivery.channel} has no connection")
        return within_deadline(sender, message, delivery, ())
    except Exception as error:
        return failed(error)


def _claim(home: Path, news: Sequence[News], now: datetime) -> set[str]:
    """Return the fingerprints of which nobody was told within `PAUSE`, and remember that people are told now.

    Where the folder cannot be written, all of them: to be told twice is better than not at all.
    """
    wanted = {each.alert.fingerprint for each in news}
    try:
        home.mkdir(parents=True, exist_ok=True)
        with (home / TOLD).open("a+") as file:
            moment, pause = now.timestamp(), PAUSE.total_seconds()
            known = {name: at for name, at in _read(file).items() if 0 <= moment - at < pause}
            fresh = wanted - known.keys()
            _write(file, known | dict.fromkeys(fresh, moment))
    except OSError as error:
        log.warning("what people are told cannot be remembered in %s: %s", home, error.strerror)
        return wanted
    return fresh


def _release(home: Path, fingerprints: Collection[str]) -> None:
    """Forget what could not be told after all."""
    try:
        with (home / TOLD).open("a+") as file:
            _write(file, {name: at for name, at in _read(file).items() if name not in fingerprints})
    except OSError:
        log.warning("the file %s cannot be written", TOLD, exc_info=True)


def _read(file: IO[str]) -> dict[str, float]:
    """Return what a file says, once no other process writes it. A file that is damaged says nothing."""
    fcntl.flock(file, fcntl.LOCK_EX)
    file.seek(0)
    try:
        return {str(name): float(at) for name, at in json.load(file).items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def _write(file: IO[str], told: Mapping[str, float]) -> None:
    file.seek(0)
    file.truncate()
    json.dump(told, file)
