"""From the spool to the store: what was answered reaches it in batches, and leaves the spool only when it is there.

A batch is brought again until the store has it; the store keeps the first row of an id, so what arrives twice is there
once. A record whose content no store will take is found by halving the batch and set aside; it does not hold up the
others.
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
from keel.serving.prediction_log.store_writer import BatchWriter, model_of
from keel.store.undelivered import REPORT_KIND, UNDELIVERED

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.serving.metrics import Metrics
    from keel.serving.prediction_log.spool import Damage, Spool
    from keel.workspace import Workspace

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""Between looks at the spool: how long a row waits at most for the store where all is well. A batch costs the same
transaction whatever is in it, time that requests wait for under load."""
LONGEST_PAUSE = 5.0
"""Between tries of a store that does not answer."""
ADOPT_SECONDS = 5.0
"""Between looks for spools of processes that have ended."""
SHOW_SECONDS = 1.0
"""Between updates of the metrics that cost something."""
BATCH_RECORDS = 2_000
BATCH_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Moved:
    """What one batch came to."""

    records: int
    rejected: int
    labels: int


class SpoolShipper(threading.Thread):
    """The thread that moves records; one for each process of the service.

    configs: of all configured models, since a spool may hold what another process has answered for one not served here.
    folder: of the spool, to say where what is set aside lies.
    afterwards: called about every second, for what is to be looked at now and then.
    """

    def __init__(
        self,
        ws: Workspace,
        configs: Mapping[str, ModelConfig],
        spool: Spool,
        metrics: Metrics,
        *,
        folder: Path,
        afterwards: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name="keel-drain", daemon=True)
        self._ws, self._configs, self._spool, self._metrics = ws, configs, spool, metrics
        self._folder, self._afterwards = folder, afterwards
        self._stopping = threading.Event()
        self._give_up_at = float("inf")
        self._pause = PAUSE_SECONDS
        self._known_damage: set[Damage] = set()
        self._adopted_at = self._shown_at = float("-inf")
        self.error: str | None = None
        """Why the last try failed, while the store does not take what it is brought."""

    def run(self) -> None:
        """Move batches until stopped, and then until the spool is empty or the time for that is over."""
        while time.monotonic() < self._give_up_at:
            begun = self._spool.stats.appended
            moved = self._try()
            self._show()
            stats = self._spool.stats
            if moved is not None and stats.records > stats.appended - begun:
                continue  # some were there before this batch was read, and not in it
            if self._stopping.is_set() and self.error is None and not stats.records:
                return
            self._stopping.wait(self._pause) if not self._stopping.is_set() else time.sleep(0.02)

    def stop(self, seconds: float) -> bool:
        """Empty the spool within ``seconds`` and end; return whether it is empty."""
        self._give_up_at = time.monotonic() + seconds
        self._stopping.set()
        self.join(seconds + 1.0)
        return not self._spool.stats.records

    def _try(self) -> Moved | None:
        """Move one batch. None: there was none, or the store did not take it and it stays where it is."""
        try:
            self._adopt()
            moved = self.move()
            if self.error is not None:
                log.info("nothing waits in the spool" if moved is None else "the store takes predictions again")
                self.error = None
            self._pause = PAUSE_SECONDS
            return moved
        except Exception as error:  # a thread that ended would leave everything in the spool, silently
            self._failed(error)
            return None

    def _failed(self, error: Exception) -> None:
        self._metrics.not_drained(type(error).__name__)
        if self.error is None:
            trace = None if isinstance(error, KeelError) else error
            log.error("what is answered stays in the spool until the store takes it: %s", error, exc_info=trace)
        self.error = str(error)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _adopt(self) -> None:
        if time.monotonic() - self._adopted_at < ADOPT_SECONDS:
            return
        self._adopted_at = time.monotonic()
        if adopted := self._spool.adopt():
            log.info("took over the spools of %d ended processes", adopted)

    def _show(self) -> None:
        self._metrics.spooled(self._spool.stats, now=datetime.now(UTC))
        if time.monotonic() - self._shown_at < SHOW_SECONDS:
            return
        self._shown_at = time.monotonic()
        try:
            self._afterwards()
        except Exception:  # numbers for people to look at are no reason to stop
            log.exception("metrics are not up to date")

    def move(self) -> Moved | None:
        """Bring the oldest batch to the store and let the spool forget it; None if nothing waits.

        Raises StoreUnavailable, with nothing forgotten, where the store does not answer.
        """
        batch = self._spool.next_batch(BATCH_RECORDS, BATCH_BYTES)
        self._report_damage()
        if batch is None:
            return None
        bring = BatchWriter(self._ws, self._configs, self._metrics)
        bring.records(batch.records)
        for index, reason in sorted(bring.refused.items()):
            log.error("a record of the spool is set aside: %s", reason)
            record = batch.records[index]
            model = model_of(record)
            self._report(
                sha256(record).hexdigest(), [model] if model else list(self._configs), "could not be stored", reason
            )
            self._spool.reject(batch, index, reason)
        self._known_damage |= set(self._spool.stats.damage)
        self._spool.acknowledge(batch)
        return Moved(len(batch.records), len(bring.refused), bring.labels)

    def _report_damage(self) -> None:
        """Leave word of what the spool could not read; whose it was nobody knows."""
        for damage in set(self._spool.stats.damage) - self._known_damage:
            identity = sha256(f"{damage.place} {damage.length} {damage.found_at}".encode()).hexdigest()
            self._report(identity, list(self._configs), "cannot be read any more", f"{damage.place}: {damage.reason}")
            self._known_damage.add(damage)

    def _report(self, identity: str, models: Sequence[str], what: str, reason: str) -> None:
        """Leave word in the store, where those who tell people look: `keel.store.undelivered`."""
        now = datetime.now(UTC)
        for model in models:
            whose = f"of {model}" if len(models) == 1 else f"of one of {', '.join(models)}"
            sentence = f"An answered request or label {whose} {what} and lies in {self._folder / 'set-aside'}: {reason}"
            body = {"sentence": sentence, "reason": reason}
            self._ws.store.reports.put(
                f"spool-{model}-{identity[:16]}", model, None, REPORT_KIND, None, None, UNDELIVERED, body, now
            )
