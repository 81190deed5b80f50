"""Scoring what waits: one thread takes the rows of all requests that have come, and asks each version once.

Nothing waits for company: the thread takes what there is when it is free. Under load several requests are there by
then, and one call for all their rows costs little more than one for a single row. What was scored together is written
down together, and while the disk is busy with it the next ones are scored.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING
from weakref import WeakSet

from keel.errors import Overloaded, SpoolFailed
from keel.serving.models.loaded_version import one_thread
from keel.serving.prediction_log.records import encode
from keel.serving.scoring.answers import Answer
from keel.serving.scoring.micro_batches import answer_all

if TYPE_CHECKING:
    from keel.errors import ScoringFailed
    from keel.serving.models.input_schema import Rows
    from keel.serving.models.loaded_version import ServedVersion
    from keel.serving.models.loader import Served

log = logging.getLogger(__name__)

Keep = Callable[[list[bytes], bool], Future[None]]

BATCH_ROWS = 5_000
"""Rows from which no more requests are taken into one call: whoever came first would wait for all of them."""
HUNG_SECONDS = 120.0
"""A call that lasts longer is not expected to return, and all requests wait behind it."""


@dataclass(eq=False)
class _Request:
    """A request that waits, and what came of it."""

    rows: Rows
    served: Served
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Answer]
    result: Answer | BaseException | None = None


class Scorer:
    """Answers requests of event loops.

    keep: writes records down, all or none; its future is done when they are as durable as promised, and only then are
    the answers given. It is told whether it may do so in this thread, which it may while nothing waits to be scored.
    None: nothing is written down. max_waiting: how many rows may wait; more are refused. trial_failures: requests that
    a version on trial has failed on, which nobody but the log was told of.
    """

    def __init__(self, *, keep: Keep | None = None, max_waiting: int = 50_000) -> None:
        self.max_waiting = max_waiting
        self._keep = keep
        self.trial_failures = 0
        self._said: str | None = None
        self._waiting = 0
        self._asked_at: float | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._limited: WeakSet[ServedVersion] = WeakSet()
        self._queue: SimpleQueue[_Request | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="keel-scorer", daemon=True)
        self._thread.start()

    async def answer(self, rows: Rows, served: Served) -> Answer:
        """Return the answer to the rows of one request by the versions of ``served``, when it is written down.

        Raises
        ------
        Overloaded
            Too many rows wait (503, try again).
        SpoolFull, SpoolFailed
            It cannot be written down.
        ScoringFailed
            A version raised for these rows, or gave back what is no answer to them (500).

        """
        loop = asyncio.get_running_loop()
        request = _Request(rows, served, loop, loop.create_future())
        with self._lock:
            if self._closed:
                raise Overloaded("the service is stopping")
            if self._waiting and self._waiting + len(rows) > self.max_waiting:
                raise Overloaded(f"{self._waiting:,} rows wait to be scored; try again soon")
            self._waiting += len(rows)
            self._queue.put(request)
        return await request.future

    @property
    def waiting(self) -> int:
        """How many rows wait or are being scored."""
        return self._waiting

    @property
    def hangs(self) -> bool:
        """Whether a version has been asked long ago and has neither answered nor failed."""
        asked_at = self._asked_at
        return asked_at is not None and time.monotonic() - asked_at > HUNG_SECONDS

    def close(self) -> None:
        """End the thread when all that waits is answered; harmless when repeated."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        ends = False
        while not ends:
            batch, ends = self._take()
            self._asked_at = time.monotonic()
            try:
                self._limit_threads(batch)
                asked = [(request.rows, request.served) for request in batch]
                for request, result in zip(batch, answer_all(asked, trial_failed=self._note_trial), strict=True):
                    request.result = result
            except BaseException as error:  # a mistake in here must not leave anybody waiting for ever
                log.exception("scoring failed for a reason nobody has foreseen")
                for request in batch:
                    request.result = error
            self._asked_at = None
            answered = [request for request in batch if isinstance(request.result, Answer)]
            self._hand_out([request for request in batch if not isinstance(request.result, Answer)])
            self._write(answered)

    def _take(self) -> tuple[list[_Request], bool]:
        """Return what waits, at least one request unless the end has come, and whether it has."""
        batch: list[_Request] = []
        rows = 0
        while rows < BATCH_ROWS:
            try:
                request = self._queue.get(block=not batch)
            except Empty:
                break
            if request is None:
                return batch, True
            batch.append(request)
            rows += len(request.rows)
        return batch, False

    def _limit_threads(self, batch: Sequence[_Request]) -> None:
        """Compute in this thread alone; a library comes with the first version that needs it."""
        for served in {id(request.served): request.served for request in batch}.values():
            for version in served.loaded:
                if version not in self._limited:
                    one_thread()
                    self._limited.add(version)

    def _write(self, requests: Sequence[_Request]) -> None:
        """Write answers down together, and hand them out when they are kept."""
        if self._keep is None or not requests:
            self._hand_out(requests)
            return
        try:
            records = [encode(request.result.block) for request in requests if isinstance(request.result, Answer)]
            kept = self._keep(records, self._queue.empty())
        except Exception as error:
            self._not_kept(requests, error)
        else:
            kept.add_done_callback(lambda done: self._written(requests, done))

    def _written(self, requests: Sequence[_Request], done: Future[None]) -> None:
        error = done.exception()
        if error is None:
            self._hand_out(requests)
        else:
            self._not_kept(requests, error)

    def _not_kept(self, requests: Sequence[_Request], error: BaseException) -> None:
        """Refuse what cannot be written down; of several, some may be too large where others have room."""
        if len(requests) > 1 and not isinstance(error, SpoolFailed):
            for request in requests:
                self._write([request])
            return
        for request in requests:
            request.result = error
        self._hand_out(requests)

    def _hand_out(self, batch: Sequence[_Request]) -> None:
        by_loop: defaultdict[asyncio.AbstractEventLoop, list[_Request]] = defaultdict(list)
        for request in batch:
            by_loop[request.loop].append(request)
        with self._lock:
            self._waiting -= sum(len(request.rows) for request in batch)
        for loop, requests in by_loop.items():
            try:
                loop.call_soon_threadsafe(_resolve, requests)
            except RuntimeError:  # the loop is closed, and nobody waits any more
                log.warning("%d answers came after their event loop was closed", len(requests))

    def _note_trial(self, error: ScoringFailed) -> None:
        self.trial_failures += 1
        if error.without_values != self._said:  # or each request would leave a line
            log.error("a version on trial failed, and the champion answers: %s", error.without_values)
            self._said = error.without_values


def _resolve(requests: Sequence[_Request]) -> None:
    for request in requests:
        if request.future.done():  # whoever asked is gone
            continue
        if isinstance(request.result, BaseException):
            request.future.set_exception(request.result)
        else:
            assert request.result is not None
            request.future.set_result(request.result)
