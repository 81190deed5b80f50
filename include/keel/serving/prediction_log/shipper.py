"""The spool shipper: a thread that moves records from the spool to the store in batches.

A batch is shipped again until the store has it, and only then leaves the spool. The store keeps the first row of an id,
so a batch that arrives twice is stored once. If the store rejects a record for its content, the shipper finds it by
bisecting the batch and moves it to the dead letters; the other records are stored. Records that the store refuses for
any other reason while it accepts others wait aside, are tried again and become dead letters after stated tries. So
nothing holds up what stands behind it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from keel.errors import KeelError
from keel.serving.prediction_log.delivery import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    Delivery,
    Shipment,
)

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.serving.metrics import Metrics
    from keel.serving.prediction_log.spool import Damage, Spool
    from keel.workspace import Workspace

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""Between batches, the longest wait of a row while all is well. A batch costs one transaction whatever its size, which
requests wait for under load."""
LONGEST_WAIT = 5.0
"""Between attempts while the store does not answer."""
ADOPT_SECONDS = 5.0
"""Between searches for the spools of ended processes."""
REFRESH_SECONDS = 1.0
"""Between refreshes of the metrics that are costly."""
STOP_PAUSE = 0.02
"""Between attempts while stopping."""
PATIENCE = 3
"""Failures of one batch after which the store is asked whether it accepts writes at all."""
BATCH_RECORDS = 2_000
"""Fewer after a failure: over connections that break again and again, a small batch gets through."""
BATCH_BYTES = 8 * 2**20


class SpoolShipper(threading.Thread):
    """The thread that ships records; one per serving process.

    Parameters
    ----------
    configs
        Of all configured models: a spool may hold records of a model that this process does not serve.
    folder
        The spool's folder, for messages about dead letters.
    after_batch
        Called about every second, to refresh metrics.
    pause_seconds, adopt_seconds, retry_seconds, batch_records, batch_bytes
        See the module's constants; ``retry_seconds`` is the first pause between two tries of refused records.

    Attributes
    ----------
    error
        Why the last attempt failed; None while the store accepts batches.

    """

    def __init__(
        self,
        ws: Workspace,
        configs: Mapping[str, ModelConfig],
        spool: Spool,
        metrics: Metrics,
        *,
        folder: Path,
        after_batch: Callable[[], None] = lambda: None,
        pause_seconds: float = PAUSE_SECONDS,
        adopt_seconds: float = ADOPT_SECONDS,
        retry_seconds: float = FIRST_PAUSE,
        batch_records: int = BATCH_RECORDS,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        super().__init__(name="keel-shipper", daemon=True)
        self.error: str | None = None
        self._ws, self._spool, self._metrics, self._after_batch = ws, spool, metrics, after_batch
        self._delivery = Delivery(ws, configs, metrics, folder)
        self._pause_seconds, self._adopt_seconds = pause_seconds, adopt_seconds
        self._batch_records, self._batch_bytes = batch_records, batch_bytes
        self._stopping = threading.Event()
        self._give_up_at = float("inf")
        self._pause = pause_seconds
        self._reported_damage: set[Damage] = set()
        self._adopted_at = self._refreshed_at = float("-inf")
        self._failures = 0
        self._records = batch_records
        self._retry_seconds = self._retry_pause = retry_seconds
        self._retry_at: float | None = None

    @property
    def refusal(self) -> str | None:
        """Why the store refuses the deferred records; None if there are none."""
        return self._delivery.refusal

    def run(self) -> None:
        """Ship batches until stopped, and then until the spool is empty or the time for that is over."""
        while time.monotonic() < self._give_up_at:
            appended_before = self._spool.stats.appended
            shipment = self._attempt()
            self._refresh_metrics()
            stats = self._spool.stats
            waiting = stats.records - stats.deferred
            if shipment is not None and waiting > stats.appended - appended_before:
                continue  # records from before this batch still wait
            if self._stopping.is_set() and self.error is None and not waiting:
                return
            self._stopping.wait(self._pause) if not self._stopping.is_set() else time.sleep(STOP_PAUSE)

    def stop(self, seconds: float) -> bool:
        """Empty the spool within ``seconds`` and end; return whether it is empty."""
        self._give_up_at = time.monotonic() + seconds
        self._stopping.set()
        self.join(seconds + 1.0)
        return not self._spool.stats.records

    def ship(self) -> Shipment | None:
        """Store the oldest batch and acknowledge it in the spool; None if no record waits.

        Raises StoreUnavailable if the store does not answer; then all records stay in the spool.
        """
        batch = self._spool.next_batch(self._records, self._batch_bytes)
        self._report_damage()
        if batch is None:
            return None
        isolate = self._failures >= PATIENCE
        if isolate:
            self._ws.store.require_writable()
        shipment = self._delivery.deliver(self._spool, batch, isolate=isolate)
        if shipment.refused and self._retry_at is None:
            self._retry_at = time.monotonic() + self._retry_pause
        self._reported_damage |= set(self._spool.stats.damage)
        return shipment

    def retry(self) -> None:
        """Try the deferred records once more if it is time for it. Raises StoreUnavailable, which is not a try."""
        deferred = self._spool.deferred
        if deferred is None or self._retry_at is None or time.monotonic() < self._retry_at:
            return
        self._ws.store.require_writable()
        remaining = deferred.stats.records  # not those that are deferred again
        while remaining > 0 and not self._stopping.is_set():
            batch = deferred.next_batch(min(remaining, self._batch_records), self._batch_bytes)
            if batch is None:
                break
            remaining -= len(batch.records)
            self._delivery.deliver_again(self._spool, deferred, batch)
            self._reported_damage |= set(self._spool.stats.damage)
        if deferred.stats.records:
            self._retry_pause = min(2 * self._retry_pause, LONGEST_PAUSE)
            self._retry_at = time.monotonic() + self._retry_pause
        else:
            self._retry_at, self._retry_pause = None, self._retry_seconds

    def _attempt(self) -> Shipment | None:
        """Ship one batch. None: no record waits, or the store did not take the batch and it stays in the spool."""
        try:
            self._adopt()
            shipment = self.ship()
            self._failures = 0
            self._records = min(2 * self._records, self._batch_records)
            self.retry()
            if self.error is not None:
                log.info("the spool is empty" if shipment is None else "the store accepts predictions again")
                self.error = None
            self._pause = self._pause_seconds
            return shipment
        except Exception as error:  # if this thread ended, all records would stay in the spool unnoticed
            self._record_failure(error)
            return None

    def _record_failure(self, error: Exception) -> None:
        self._metrics.shipping_failed(type(error).__name__)
        if self.error is None:
            trace = None if isinstance(error, KeelError) else error
            log.error("answered rows stay in the spool until the store accepts them: %s", error, exc_info=trace)
        self.error = str(error)
        self._failures += 1
        self._records = max(1, self._records // 4)
        self._pause = min(self._pause * 2, LONGEST_WAIT)

    def _adopt(self) -> None:
        if time.monotonic() - self._adopted_at < self._adopt_seconds:
            return
        self._adopted_at = time.monotonic()
        if adopted := self._spool.adopt():
            log.info("took over the spools of %d ended processes", adopted)

    def _refresh_metrics(self) -> None:
        self._metrics.spooled(self._spool.stats, now=datetime.now(UTC))
        if time.monotonic() - self._refreshed_at < REFRESH_SECONDS:
            return
        self._refreshed_at = time.monotonic()
        try:
            self._after_batch()
        except Exception:  # a failed metric is no reason to stop shipping
            log.exception("cannot refresh the metrics")

    def _report_damage(self) -> None:
        for damage in set(self._spool.stats.damage) - self._reported_damage:
            self._delivery.report_damage(damage)
            self._reported_damage.add(damage)
