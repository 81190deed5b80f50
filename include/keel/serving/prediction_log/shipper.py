"""The spool shipper: a thread that moves records from the spool to the store in batches.

A batch is shipped again until the store has it, and only then leaves the spool. The store keeps the first row of an id,
so a batch that arrives twice is stored once. If the store rejects a record for its content, the shipper finds it by
bisecting the batch and moves it to the dead letters; the other records are stored.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from keel.errors import KeelError
from keel.serving.prediction_log.spool.dead_letters import FOLDER
from keel.serving.prediction_log.store_writer import BatchWriter, model_of
from keel.store.undelivered import REPORT_KIND, UNDELIVERED

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.serving.metrics import Metrics
    from keel.serving.prediction_log.spool import Damage, Spool
    from keel.workspace import Workspace

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""Between batches, the longest wait of a row while all is well. A batch costs one transaction whatever its size, which
requests wait for under load."""
LONGEST_PAUSE = 5.0
"""Between attempts while the store does not answer."""
ADOPT_SECONDS = 5.0
"""Between searches for the spools of ended processes."""
REFRESH_SECONDS = 1.0
"""Between refreshes of the metrics that are costly."""
STOP_PAUSE = 0.02
"""Between attempts while stopping."""
BATCH_RECORDS = 2_000
BATCH_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Shipment:
    """Counts of one batch: its records, those rejected, and the labels in it."""

    records: int
    rejected: int
    labels: int


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
    pause_seconds, adopt_seconds, batch_records, batch_bytes
        See the module's constants.

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
        batch_records: int = BATCH_RECORDS,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        super().__init__(name="keel-shipper", daemon=True)
        self.error: str | None = None
        self._ws, self._configs, self._spool, self._metrics = ws, configs, spool, metrics
        self._folder, self._after_batch = folder, after_batch
        self._pause_seconds, self._adopt_seconds = pause_seconds, adopt_seconds
        self._batch_records, self._batch_bytes = batch_records, batch_bytes
        self._stopping = threading.Event()
        self._give_up_at = float("inf")
        self._pause = pause_seconds
        self._reported_damage: set[Damage] = set()
        self._adopted_at = self._refreshed_at = float("-inf")

    def run(self) -> None:
        """Ship batches until stopped, and then until the spool is empty or the time for that is over."""
        while time.monotonic() < self._give_up_at:
            appended_before = self._spool.stats.appended
            shipment = self._attempt()
            self._refresh_metrics()
            stats = self._spool.stats
            if shipment is not None and stats.records > stats.appended - appended_before:
                continue  # records from before this batch still wait
            if self._stopping.is_set() and self.error is None and not stats.records:
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
        batch = self._spool.next_batch(self._batch_records, self._batch_bytes)
        self._report_damage()
        if batch is None:
            return None
        writer = BatchWriter(self._ws, self._configs, self._metrics)
        writer.write(batch.records)
        for index, reason in sorted(writer.rejected.items()):
            log.error("a record of the spool is rejected: %s", reason)
            record = batch.records[index]
            model = model_of(record)
            self._report(
                sha256(record).hexdigest(), [model] if model else list(self._configs), "could not be stored", reason
            )
            self._spool.reject(batch, index, reason)
        self._reported_damage |= set(self._spool.stats.damage)
        self._spool.acknowledge(batch)
        return Shipment(len(batch.records), len(writer.rejected), writer.labels)

    def _attempt(self) -> Shipment | None:
        """Ship one batch. None: no record waits, or the store did not take the batch and it stays in the spool."""
        try:
            self._adopt()
            shipment = self.ship()
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
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

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
        """Report what the spool could not read. The model of such a record is unknown."""
        for damage in set(self._spool.stats.damage) - self._reported_damage:
            identity = sha256(f"{damage.place} {damage.length} {damage.found_at}".encode()).hexdigest()
            self._report(identity, list(self._configs), "cannot be read", f"{damage.place}: {damage.reason}")
            self._reported_damage.add(damage)

    def _report(self, identity: str, models: Sequence[str], what: str, reason: str) -> None:
        """Store a report for `keel.store.undelivered`, from which people are notified."""
        now = datetime.now(UTC)
        for model in models:
            owner = f"of {model}" if len(models) == 1 else f"of one of {', '.join(models)}"
            sentence = f"An answered request or label {owner} {what} and is in {self._folder / FOLDER}: {reason}"
            body = {"sentence": sentence, "reason": reason}
            self._ws.store.reports.put(
                f"spool-{model}-{identity[:16]}", model, None, REPORT_KIND, None, None, UNDELIVERED, body, now
            )
