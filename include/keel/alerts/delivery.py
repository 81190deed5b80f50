"""Send what is due: lease a delivery, give it to its channel's sender, record the try, and come back for what failed.

At least once: a sender that is killed loses its lease after a while, and the next sends again what it may have sent.
Nothing is lost: what a channel does not take becomes a file in the outbox, and an alert says so.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Protocol, TypeVar

from keel.alerts import channel_trouble
from keel.alerts.channel_trouble import Tried
from keel.alerts.records import Answer, Delivery, Message
from keel.alerts.routing import OUTBOX
from keel.errors import NoConnection, SchemaError, UnknownDelivery
from keel.window import now_utc

if TYPE_CHECKING:
    from keel.store import Store

log = logging.getLogger(__name__)

T = TypeVar("T")

LEASE = timedelta(minutes=2)
"""For how long a delivery is one sender's."""
DEADLINE = 110.0
"""Seconds for one try, less than `LEASE`, so that no other sender has begun by then. A receiver may keep each of its
own time limits, such as that for one answer of a mail server, and take for ever."""
PAUSES = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 5, 15, 30, 60))
"""Between tries; the last one from then on."""
GIVE_UP_AFTER = timedelta(days=3)
"""From when a message was written. The last try is then, even if a receiver asks to wait longer."""
WITHOUT_SERVER = ("email", OUTBOX)
"""Channels that write into the outbox until they have a server: that is what is wanted, and no failure. Once mail has
left by a server, its loss is one."""


class Sender(Protocol):
    """Sends by one channel."""

    def send(self, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
        """Send a message to one recipient, within `DEADLINE`, and return what the receiver answered.

        earlier: the finished deliveries to the same recipient of ``message.references``, and of the messages that
        told of the same alerts between them and this one, the first first.

        Raises
        ------
        NoConnection
            The channel has no connection. Any other exception is a try that failed.

        """
        ...


def send_due(
    store: Store,
    senders: Mapping[str, Sender],
    fallback: Sender,
    *,
    now: datetime,
    clock: Callable[[], datetime] = now_utc,
    message_id: str | None = None,
    channel: str | None = None,
    limit: int = 200,
) -> tuple[Delivery, ...]:
    """Send what is due at ``now``, all channels side by side, and return what became of each delivery.

    senders: by channel. A channel that has none has no connection. fallback: writes what no channel takes.
    clock: for the times of tries. message_id, channel: only deliveries of these. limit: of deliveries by each channel.

    A receiver that does not answer in time is asked once: twenty mails to a server that hangs would take as many
    deadlines. What else is due to it counts as tried with that, and waits.

    Raises
    ------
    StoreUnavailable
        The store does not answer. No error of a sender raises.

    """

    def ticks() -> datetime:
        # never before `now`: what has just failed would be due again
        return max(now, clock())

    this = _Round(store, senders, fallback, now, ticks, message_id, limit)
    channels = list(store.outbox.undelivered()) if channel is None else [channel]
    running = [started(f"keel-sends-{each}", partial(this.send_by, each)) for each in channels]
    wait(running)
    tried = list(chain.from_iterable(each.result() for each in running))
    channel_trouble.report(store, tried, now=ticks())
    return tuple(each.delivery for each in tried)


def retry(store: Store, delivery_id: str, *, now: datetime) -> None:
    """Let a delivery that failed, or waits for its next try, be due at once.

    Raises
    ------
    UnknownDelivery
        There is none, or it has arrived.

    """
    if not store.outbox.retry(delivery_id, now=now):
        raise UnknownDelivery(f"no delivery with the id {delivery_id!r} waits or has failed: see keel alerts send")


@dataclass(frozen=True)
class Silent:
    """Takes the place of a sender whose receiver has let another message wait in vain, since some time."""

    detail: str
    since: datetime

    def send(self, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
        """Answer what the receiver has not."""
        return Answer(accepted=False, detail=f"{self.detail} (asked with another message)")

    def clock(self) -> datetime:
        """Return since when."""
        return self.since


@dataclass(frozen=True)
class _Round:
    """What is due at one time."""

    store: Store
    senders: Mapping[str, Sender]
    fallback: Sender
    now: datetime
    clock: Callable[[], datetime]
    message_id: str | None
    limit: int

    def send_by(self, channel: str) -> list[Tried]:
        """Send what is due by a channel, one after the other, so that what follows something comes behind it."""
        tried: list[Tried] = []
        silent: dict[str, Silent] = {}
        name, only = uuid.uuid4().hex, {"message_id": self.message_id, "channel": channel}
        while len(tried) < self.limit:
            row = self.store.outbox.lease(name, now=self.now, until=self.clock() + LEASE, **only)
            if row is None:
                break
            delivery, started = Delivery.from_dict(row), self.clock()
            way = channel_trouble.way(delivery)
            each = self._send(delivery, silent.get(way))
            if each.answer.is_silent:
                silent[way] = Silent(each.answer.detail, started)
            tried.append(each)
        return tried

    def _send(self, delivery: Delivery, silent: Silent | None) -> Tried:
        # since then, so that the next round asks with another message: it may be this one that is not answered
        clock = (silent or self).clock
        started, began = clock(), time.monotonic()
        try:
            message, earlier = _read(self.store, delivery)
            tried = self._try(message, delivery, earlier, silent or self.senders.get(delivery.channel), clock)
        except SchemaError as error:  # as another release wrote it: it must not hold up the others
            log.error("the message of delivery %s cannot be read: %s", delivery.delivery_id, error)  # noqa: TRY400
            answer = Answer(accepted=False, detail=f"the stored message cannot be read: {error}", is_final=True)
            tried = Tried(_finished(delivery, "failed", answer, clock()), answer)
        attempt = {
            "at": started,
            "accepted": tried.answer.accepted,
            "answer": tried.answer.detail,
            "milliseconds": round((time.monotonic() - began) * 1000),
        }
        self.store.outbox.finish_try(tried.delivery.to_dict(), attempt)
        return tried

    def _try(
        self,
        message: Message,
        delivery: Delivery,
        earlier: Sequence[Delivery],
        sender: Sender | None,
        clock: Callable[[], datetime],
    ) -> Tried:
        """Send once, and return what the delivery is then."""
        is_connected = True
        try:
            if sender is None:
                raise NoConnection(f"{delivery.channel} has no connection")
            answer = _answer(sender, message, delivery, earlier)
        except NoConnection as error:
            is_mail = delivery.channel in WITHOUT_SERVER
            if is_mail and not self.store.outbox.accepted_since(delivery.channel, None):
                answer = _answer(self.fallback, message, delivery, earlier)
            else:
                answer = Answer(accepted=False, detail=str(error))
                is_connected = False
        now = clock()
        is_over = answer.is_final or now >= delivery.created_at + GIVE_UP_AFTER
        if answer.accepted:
            after = _finished(delivery, "sent", answer, now)
        elif is_over or not is_connected:
            # a connection may be there tomorrow: the message waits for it, and can be read meanwhile
            after = _fall_back(self.store, message, delivery, answer, self.fallback, now, is_over=is_over)
        else:
            after = _later(delivery, answer, now)
        return Tried(after, answer, is_connected)


def _read(store: Store, delivery: Delivery) -> tuple[Message, tuple[Delivery, ...]]:
    message = Message.from_dict(store.outbox.message(delivery.message_id) or {})
    before = {*message.references, *store.alerts.threads(message.references)} - {message.message_id}
    rows = store.outbox.deliveries(message_ids=before, channel=delivery.channel, recipient=delivery.recipient)
    return message, tuple(Delivery.from_dict(row) for row in rows if row["finished_at"] is not None)


def _answer(sender: Sender, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
    """Return what a sender answered. An exception is an answer, too: one message must not hold up the others."""
    try:
        answer = within_deadline(sender, message, delivery, earlier)
    except NoConnection:
        raise
    except Exception as error:
        # not its traceback: frames of a library may hold credentials
        answer = failed(error)
        log.warning("delivery %s by %s failed: %s", delivery.delivery_id, delivery.channel, answer.detail)
    return answer


def failed(error: Exception) -> Answer:
    """Return what an exception of a sender says."""
    return Answer(accepted=False, detail=f"{type(error).__name__}: {error}", is_silent=isinstance(error, TimeoutError))


def within_deadline(sender: Sender, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
    """Return what a sender answers within `DEADLINE`, else that it took longer. Raises what the sender raises.

    A sender that takes longer is left to itself, as nothing can stop it: what it sends after all comes twice.
    """
    found = started(f"keel-{delivery.channel}", partial(sender.send, message, delivery, earlier))
    try:
        return found.result(DEADLINE)
    except TimeoutError:
        if found.done():
            raise
        return Answer(accepted=False, detail=f"{delivery.channel} took longer than {DEADLINE:.0f} s", is_silent=True)


def started(name: str, work: Callable[[], T]) -> Future[T]:
    """Return what will come of some work, which is done in a thread of its own."""
    found: Future[T] = Future()
    context = copy_context()

    def do() -> None:
        try:
            found.set_result(context.run(work))
        except BaseException as error:  # noqa: BLE001  # raised where the result is read
            found.set_exception(error)

    # not of a pool, whose threads the end of the process waits for
    threading.Thread(target=do, name=name, daemon=True).start()
    return found


def _finished(delivery: Delivery, state: str, answer: Answer, now: datetime) -> Delivery:
    changed = {"state": state, "answer": answer.detail, "finished_at": now, "next_try_at": None}
    return delivery.model_copy(
        update={**changed, "tries": delivery.tries + 1, "reference": answer.reference or delivery.reference}
    )


def _later(delivery: Delivery, answer: Answer, now: datetime) -> Delivery:
    """Return a delivery that waits for its next try: the later of Keel's pause and what the receiver asks for."""
    pause = PAUSES[min(delivery.tries, len(PAUSES) - 1)]
    asked = timedelta(seconds=min(answer.retry_after or 0.0, GIVE_UP_AFTER.total_seconds()))
    last = delivery.created_at + GIVE_UP_AFTER
    next_try = min(now + max(pause, asked), last) if now < last else now + pause
    changed = {"answer": answer.detail, "next_try_at": next_try, "tries": delivery.tries + 1}
    return delivery.model_copy(update=changed)


def _fall_back(
    store: Store,
    message: Message,
    delivery: Delivery,
    answer: Answer,
    fallback: Sender,
    now: datetime,
    *,
    is_over: bool,
) -> Delivery:
    """Let the fallback take what the channel does not. Where that fails too, or it is not over, the delivery waits.

    A message is one file of the outbox, for however many recipients: that of its first mail, which is there already
    where no mail server is configured, else that of its first delivery.
    """
    rows = store.outbox.deliveries(message_ids=[message.message_id])
    first = min(rows, key=lambda row: (row["channel"] != "email", row["delivery_id"]))
    try:
        written = _answer(fallback, message, Delivery.from_dict(first), ())
    except NoConnection as error:
        written = Answer(accepted=False, detail=str(error))
    both = Answer(accepted=False, detail=f"{answer.detail}; {written.detail}", reference=written.reference)
    if not (written.accepted and is_over):
        return _later(delivery, both, now)
    return _finished(delivery, "failed", both, now)
