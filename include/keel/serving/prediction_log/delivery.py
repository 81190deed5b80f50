"""Delivery: one batch of spool records to the store, and what becomes of the records that it does not take."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from keel.errors import SpoolFull
from keel.serving.prediction_log.spool.dead_letters import FOLDER
from keel.serving.prediction_log.store_writer import BatchWriter, model_of
from keel.store.undelivered import REPORT_KIND, UNDELIVERED

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.serving.metrics import Metrics
    from keel.serving.prediction_log.spool import Batch, Damage, Spool
    from keel.workspace import Workspace

log = logging.getLogger(__name__)

TRIES = 20
"""After which a record that the store refuses becomes a dead letter. With the pauses between them about an hour."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0
"""Seconds between two tries of refused records, doubled each time."""


@dataclass(frozen=True)
class Shipment:
    """Counts of one batch: its records, those rejected and those refused, and the labels in it."""

    records: int
    rejected: int
    refused: int
    labels: int


@dataclass
class Delivery:
    """Delivers batches.

    configs: of all configured models: a spool may hold records of a model that this process does not serve. folder: the
    spool's, for messages about dead letters. tries: how often each deferred record was tried, by its hash. refusal: why
    the store refuses the deferred records; None if there are none.
    """

    ws: Workspace
    configs: Mapping[str, ModelConfig]
    metrics: Metrics
    folder: Path
    tries: dict[str, int] = field(default_factory=dict)
    refusal: str | None = None

    def deliver(self, spool: Spool, batch: Batch, *, isolate: bool = False) -> Shipment:
        """Store a batch and acknowledge it; what the store refuses now is deferred, so that it holds up no others.

        isolate: see `BatchWriter`. Raises what it raises; then the batch stays in the spool.
        """
        writer = self._write(batch, isolate)
        self._defer(spool, batch, writer)
        self._reject(spool, batch, writer.rejected)  # after what may fail, as each try would reject them again
        spool.acknowledge(batch)
        return Shipment(len(batch.records), len(writer.rejected), len(writer.refused), writer.labels)

    def deliver_again(self, spool: Spool, deferred: Spool, batch: Batch) -> Shipment:
        """Try a batch of deferred records once more. One that was tried `TRIES` times becomes a dead letter.

        A try is one that the store answered: an outage, or a lock that it does not give, may last as long as it will.
        """
        writer = self._write(batch, isolate=True)
        hashes = [_hash(record) for record in batch.records]
        for index, reason in list(writer.refused.items()):
            if index in writer.unavailable:
                continue
            tries = self.tries.get(hashes[index], 0) + 1
            if tries < TRIES:
                self.tries[hashes[index]] = tries
            else:
                del writer.refused[index]
                writer.rejected[index] = f"refused {tries} times, the last time with: {reason}"
        if writer.refused:
            spool.defer(batch, sorted(writer.refused), again=True)
        self._reject(deferred, batch, writer.rejected)
        deferred.acknowledge(batch)
        self.refusal = next(iter(writer.refused.values()), self.refusal if deferred.stats.records else None)
        for index, name in enumerate(hashes):
            if index not in writer.refused:
                self.tries.pop(name, None)
        return Shipment(len(batch.records), len(writer.rejected), len(writer.refused), writer.labels)

    def report_damage(self, damage: Damage) -> None:
        """Report what the spool could not read. The model of such a record is unknown."""
        identity = _hash(f"{damage.place} {damage.length} {damage.found_at}".encode())
        self._report(identity, list(self.configs), "cannot be read", f"{damage.place}: {damage.reason}")

    def _write(self, batch: Batch, isolate: bool) -> BatchWriter:
        writer = BatchWriter(self.ws, self.configs, self.metrics, isolate=isolate)
        writer.write(batch.records)
        return writer

    def _defer(self, spool: Spool, batch: Batch, writer: BatchWriter) -> None:
        """Defer the refused records of a batch. If there is no space for them, they become dead letters."""
        if not writer.refused:
            return
        try:
            spool.defer(batch, sorted(writer.refused))
        except SpoolFull as error:
            log.error("there is no space to defer records: %s", error)
            for index, reason in writer.refused.items():
                writer.rejected[index] = f"refused, without space to try it again later: {reason}"
            writer.refused.clear()
            return
        self.refusal = next(iter(writer.refused.values()))
        log.error(
            "the store refuses %d records; they are tried again, %d times, and hold up no others: %s",
            *(len(writer.refused), TRIES, self.refusal),
        )

    def _reject(self, spool: Spool, batch: Batch, rejected: Mapping[int, str]) -> None:
        for index, reason in sorted(rejected.items()):
            log.error("a record of the spool is rejected: %s", reason)
            record = batch.records[index]
            model = model_of(record)
            self._report(_hash(record), [model] if model else list(self.configs), "could not be stored", reason)
            spool.reject(batch, index, reason)

    def _report(self, identity: str, models: Sequence[str], what: str, reason: str) -> None:
        """Store a report for `keel.store.undelivered`, from which people are notified."""
        now = datetime.now(UTC)
        for model in models:
            owner = f"of {model}" if len(models) == 1 else f"of one of {', '.join(models)}"
            sentence = f"An answered request or label {owner} {what} and is in {self.folder / FOLDER}: {reason}"
            body = {"sentence": sentence, "reason": reason}
            self.ws.store.reports.put(
                f"spool-{model}-{identity[:16]}", model, None, REPORT_KIND, None, None, UNDELIVERED, body, now
            )


def _hash(content: bytes) -> str:
    return sha256(content).hexdigest()
