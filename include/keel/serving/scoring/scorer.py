"""The scorer: one thread that scores the rows of all waiting requests with one call per version.

No request waits for others to arrive: the free thread takes those that are there. Under load several requests wait by
then, and one call for all their rows costs little more than one for a single row. Rows scored together are stored with
one write. While the disk writes, the thread scores the next requests.
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
from keel.serving.models.loaded_version import limit_to_one_thread
from keel.serving.prediction_log.records import encode
from keel.serving.scoring.answers import Answer
from keel.serving.scoring.micro_batches import answer_all

if TYPE_CHECKING:
    from keel.errors import ScoringFailed
    from keel.serving.models.input_schema import Rows
    from keel.serving.models.loaded_version import ServedVersion
    from keel.serving.models.loader import Served

log = logging.getLogger(__name__)

Append = Callable[[list[bytes], bool], Future[None]]

BATCH_ROWS = 5_000
"""Rows at which no more requests join a call. Otherwise the first request would wait for all of them."""
STUCK_SECONDS = 120.0
"""A call that lasts longer is not expected to return, and all requests wait behind it."""


@dataclass(eq=False)
class _Request:
    """A waiting request and its result."""

    rows: Rows
    served: Served
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Answer]
    result: Answer | BaseException | None = None


class Scorer:
    """Answers requests of event loops.

    Parameters
    ----------
    append
        Stores records, all or none, and returns a future that is done when they are durable. Answers are sent only
        then. Its second argument allows it to write in the scoring thread, which is so while no request waits. None:
        nothing is stored.
    max_waiting
        How many rows may wait; further requests are refused.
    stuck_seconds
        See `STUCK_SECONDS`.

    Attributes
    ----------
    challenger_failures
        Requests on which a challenger or shadow failed. Clients do not notice these.

    """

    def __init__(
        self, *, append: Append | None = None, max_waiting: int = 50_000, stuck_seconds: float = STUCK_SECONDS
    ) -> None:
        self.max_waiting, self.stuck_seconds = max_waiting, stuck_seconds
        self.challenger_failures = 0
        self._append = append
        self._last_failure: str | None = None
        self._waiting = 0
        self._call_started_at: float | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._limited: WeakSet[ServedVersion] = WeakSet()
        self._queue: SimpleQueue[_Request | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="keel-scorer", daemon=True)
        self._thread.start()

    async def answer(self, rows: Rows, served: Served) -> Answer:
        """Return the answer to one request's rows by the versions of ``served``, once it is stored.

        Raises
        ------
        Overloaded
            Too many rows wait (503, retry).
        SpoolFull, SpoolFailed
            The answer cannot be stored.
        ScoringFailed
            The version in production raised for these rows, or did not return one output per row (500).

        """
        loop = asyncio.get_running_loop()
        request = _Request(rows, served, loop, loop.create_future())
        with self._lock:
            if self._closed:
                raise Overloaded("the service is stopping")
            if self._waiting and self._waiting + len(rows) > self.max_waiting:
                raise Overloaded(f"{self._waiting:,} rows wait to be scored; retry soon")
            self._waiting += len(rows)
            self._queue.put(request)
        return await request.future

    @property
    def waiting(self) -> int:
        """How many rows wait or are being scored."""
        return self._waiting

    @property
    def is_stuck(self) -> bool:
        """Whether a version was called more than ``stuck_seconds`` ago and has neither returned nor failed."""
        started_at = self._call_started_at
        return started_at is not None and time.monotonic() - started_at > self.stuck_seconds

    def close(self) -> None:
        """End the thread when all waiting requests are answered; safe to repeat."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def record_challenger_failure(self, error: ScoringFailed) -> None:
        """Count a request on which a challenger or shadow failed, and log it unless it repeats the last failure."""
        self.challenger_failures += 1
        if error.without_values != self._last_failure:  # otherwise each request would log a line
            log.error("a challenger or shadow failed; the champion answers: %s", error.without_values)
            self._last_failure = error.without_values

    def _run(self) -> None:
        closed = False
        while not closed:
            batch, closed = self._take()
            self._call_started_at = time.monotonic()
            try:
                self._limit_threads(batch)
                requests = [(request.rows, request.served) for request in batch]
                results = answer_all(requests, on_challenger_failure=self.record_challenger_failure)
                for request, result in zip(batch, results, strict=True):
                    request.result = result
            except BaseException as error:  # a defect here must not leave requests waiting for ever
                log.exception("scoring failed unexpectedly")
                for request in batch:
                    request.result = error
            self._call_started_at = None
            answered = [request for request in batch if isinstance(request.result, Answer)]
            self._resolve([request for request in batch if not isinstance(request.result, Answer)])
            self._store(answered)

    def _take(self) -> tuple[list[_Request], bool]:
        """Return the waiting requests, at least one unless the scorer is closed, and whether it is closed."""
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
        """Limit numerical libraries to this thread; a new version may have loaded a new library."""
        for served in {id(request.served): request.served for request in batch}.values():
            for version in served.loaded:
                if version not in self._limited:
                    limit_to_one_thread()
                    self._limited.add(version)

    def _store(self, requests: Sequence[_Request]) -> None:
        """Store answers together, and resolve their requests when they are stored."""
        if self._append is None or not requests:
            self._resolve(requests)
            return
        try:
            records = [encode(request.result.block) for request in requests if isinstance(request.result, Answer)]
            stored = self._append(records, self._queue.empty())
        except Exception as error:
            self._not_stored(requests, error)
        else:
            stored.add_done_callback(lambda done: self._stored(requests, done))

    def _stored(self, requests: Sequence[_Request], done: Future[None]) -> None:
        error = done.exception()
        if error is None:
            self._resolve(requests)
        else:
            self._not_stored(requests, error)

    def _not_stored(self, requests: Sequence[_Request], error: BaseException) -> None:
        """Fail requests that cannot be stored. If the spool is full, a smaller one of several may still fit."""
        if len(requests) > 1 and not isinstance(error, SpoolFailed):
            for request in requests:
                self._store([request])
            return
        for request in requests:
            request.result = error
        self._resolve(requests)

    def _resolve(self, batch: Sequence[_Request]) -> None:
        by_loop: defaultdict[asyncio.AbstractEventLoop, list[_Request]] = defaultdict(list)
        for request in batch:
            by_loop[request.loop].append(request)
        with self._lock:
            self._waiting -= sum(len(request.rows) for request in batch)
        for loop, requests in by_loop.items():
            try:
                loop.call_soon_threadsafe(_set_results, requests)
            except RuntimeError:  # the loop is closed, and no client waits any more
                log.warning("%d answers came after their event loop was closed", len(requests))


def _set_results(requests: Sequence[_Request]) -> None:
    for request in requests:
        if request.future.done():  # the client has disconnected
            continue
        if isinstance(request.result, BaseException):
            request.future.set_exception(request.result)
        else:
            assert request.result is not None
            request.future.set_result(request.result)
