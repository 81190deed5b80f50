"""The stream behind the live monitors' triggers: one poll of the store for all models of a triggerer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer

if TYPE_CHECKING:
    from keel.monitoring.live.poll import Poll
    from keel.monitoring.live.rings import Ring

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class Bell:
    """A ring on its way to Airflow's database."""

    ring: Ring
    heard: bool = False
    """Whether the model's own trigger has made an event of it."""


class LiveStream(SharedStreamProducer):
    """Polls the store for the models that ``models`` names at the time, and yields a `Bell` for each ring.

    All work is done in one thread of its own, the imports included: the triggerer is one event loop. When the stream is
    closed in the middle of a pass, the thread ends with the model at hand, and the next stream starts from what the
    store says.
    """

    def __init__(self, models: Callable[[], set[str]]) -> None:
        self._models = models
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keel-live")
        self._poll: Poll | None = None

    async def open_stream(self) -> AsyncIterator[tuple[Bell, Bell]]:
        """Yield the bells of each pass, for ever. A pass raises nothing: failures are the poll's business."""
        poll, seconds = await self._made()
        self._poll = poll
        while True:
            started = time.monotonic()
            passed = await self._in_thread(partial(poll.run, self._models(), now=datetime.now(UTC)))
            for ring in passed.rings:
                bell = Bell(ring)
                yield bell, bell
            elapsed = time.monotonic() - started
            await asyncio.sleep(0 if passed.behind else max(0.0, seconds - elapsed))

    async def _made(self) -> tuple[Poll, float]:
        """Return a poll, and the time between its passes. Airflow would start a stream that raises every 2 s."""
        wait = 10.0
        while True:
            try:
                return await self._in_thread(_new_poll)
            except Exception:
                log.exception("the live monitors could not be started; next try in %.0f s", wait)
            await asyncio.sleep(wait)
            wait = min(2 * wait, 600.0)

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Note which rings are in Airflow's database. The others are rung again."""
        for item in batch:
            self.rung(item.broker_payload, persisted=item.outcome.is_clean)

    def rung(self, bell: Bell, *, persisted: bool) -> None:
        """Note whether the event that a bell became is in Airflow's database."""
        if self._poll is not None:
            self._poll.told(bell.ring, heard=bell.heard and persisted)

    def get_advance_lane(self, broker_payload: Any) -> str:
        """Return the model: one that is slow does not delay the others."""
        return str(broker_payload.ring.model)

    async def aclose(self) -> None:
        """Stop after the model at hand, and close the store.

        Airflow cancels a trigger again every second until it has ended. That ends the wait, and not what is waited for.
        """
        waited = None
        if self._poll is not None:
            self._poll.stop()
            closing = self._thread.submit(self._poll.close)
            waited = asyncio.get_running_loop().run_in_executor(self._thread, closing.result)
        self._thread.shutdown(wait=False)
        if waited is not None:
            await waited

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _new_poll() -> tuple[Poll, float]:
    """Return a poll, and the time between its passes. An invalid setting is logged, and stops no monitor."""
    from keel.errors import ConfigError
    from keel.monitoring.live.poll import POLL_SECONDS, Poll, poll_seconds
    from keel_airflow.hooks import KeelHook

    poll = Poll(KeelHook().get_conn)
    try:
        return poll, poll_seconds()
    except ConfigError as error:
        log.error("%s. Until then it is %g s", error, POLL_SECONDS)
        return poll, POLL_SECONDS
