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
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from keel.errors import KeelError, SchemaError, StoreUnavailable
from keel.serving.journal import Block, LabelBlock, PredictionBlock, decode, labels_table, predictions_table

if TYPE_CHECKING:
    from keel.config import FeatureKind, ModelConfig
    from keel.serving.metrics import Metrics
    from keel.spool import Batch, Spool
    from keel.store import PredictionLog
    from keel.workspace import Workspace

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.2
"""Between looks at an empty spool: how long a row waits at most for the store where all is well."""
LONGEST_PAUSE = 5.0
"""Between tries of a store that does not answer."""
ADOPT_SECONDS = 5.0
"""Between looks for spools of processes that have ended."""
SHOW_SECONDS = 1.0
"""Between updates of the metrics that cost something."""
BATCH_RECORDS = 2_000
BATCH_BYTES = 8 * 2**20
REPORT_KIND = "spool"

B = TypeVar("B", PredictionBlock, LabelBlock)


@dataclass(frozen=True)
class Moved:
    """What one batch came to."""

    records: int
    rejected: int
    labels: int


class Drain(threading.Thread):
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
        self._adopted_at = self._shown_at = float("-inf")
        self.error: str | None = None
        """Why the last try failed, while the store does not take what it is brought."""

    def run(self) -> None:
        """Move batches until stopped, and then until the spool is empty or the time for that is over."""
        while time.monotonic() < self._give_up_at:
            moved = self._try()
            self._show()
            if moved is not None and moved.records >= BATCH_RECORDS // 2:
                continue  # more are waiting
            if self._stopping.is_set() and self.error is None and not self._spool.stats.records:
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
            if self.error is not None and moved is not None:
                log.info("the store takes predictions again")
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
        if batch is None:
            return None
        bring = _Bringing(self._ws, self._configs, self._metrics)
        bring.records(batch.records)
        for index, reason in sorted(bring.refused.items()):
            log.error("a record of the spool is set aside: %s", reason)
            self._spool.reject(batch, index, reason)
        if bring.refused:
            self._report(batch, bring.refused)
        self._spool.acknowledge(batch)
        return Moved(len(batch.records), len(bring.refused), bring.labels)

    def _report(self, batch: Batch, refused: Mapping[int, str]) -> None:
        """Leave word in the store, where people and tasks on other machines can see it."""
        now = datetime.now(UTC)
        by_model: dict[str, list[str]] = {}
        for index, reason in refused.items():
            by_model.setdefault(_model_of(batch.records[index]), []).append(reason)
        for model, reasons in by_model.items():
            body = {
                "sentence": f"{len(reasons)} answered requests of {model or 'an unknown model'} could not be stored "
                f"and lie in {self._folder}: {reasons[0]}",
                "reasons": reasons[:10],
            }
            self._ws.store.reports.put(
                f"spool-{model}-{now:%Y%m%dT%H%M%S%f}", model, None, REPORT_KIND, None, None, "set_aside", body, now
            )


class _Bringing:
    """One batch on its way: what the store refused for its content, by place in the batch."""

    def __init__(self, ws: Workspace, configs: Mapping[str, ModelConfig], metrics: Metrics) -> None:
        self._ws, self._configs, self._metrics = ws, configs, metrics
        self.refused: dict[int, str] = {}
        self.labels = 0

    def records(self, records: Sequence[bytes]) -> None:
        blocks: dict[int, Block] = {}
        for index, record in enumerate(records):
            try:
                blocks[index] = decode(record)
            except SchemaError as error:
                self.refused[index] = str(error)
        predictions: dict[tuple[object, ...], list[tuple[int, PredictionBlock]]] = {}
        labels: dict[str, list[tuple[int, LabelBlock]]] = {}
        for index, block in blocks.items():
            if isinstance(block, PredictionBlock):
                # The store remembers which features a whole table lacks.
                predictions.setdefault((block.model, *block.features), []).append((index, block))
            else:
                labels.setdefault(block.model, []).append((index, block))
        # Labels behind the predictions of the same batch: then fewer of them look early.
        for group in predictions.values():
            self._halving(group, self._append)
        for answers in labels.values():
            self._halving(answers, self._add_labels)

    def _halving(self, group: list[tuple[int, B]], bring: Callable[[list[B]], None]) -> None:
        """Bring all of a group, or, if its content is refused, each half of it; refuse what is refused alone."""
        try:
            bring([block for _, block in group])
        except StoreUnavailable:
            raise
        except Exception as error:
            if not _of_content(error):
                raise
            if len(group) == 1:
                self.refused[group[0][0]] = f"{type(error).__name__}: {error}"
                return
            middle = len(group) // 2
            self._halving(group[:middle], bring)
            self._halving(group[middle:], bring)

    def _append(self, blocks: list[PredictionBlock]) -> None:
        table = predictions_table(blocks)
        result = self._log(blocks[0].model, blocks[0].features).append(table)
        self._metrics.stored(blocks[0].model, result.stored, result.duplicates)

    def _add_labels(self, blocks: list[LabelBlock]) -> None:
        model = blocks[0].model
        table = labels_table(blocks)
        self._metrics.labelled(model, self._log(model, {}).add_labels(table))
        self.labels += table.num_rows

    def _log(self, model: str, features: Mapping[str, list[Any]]) -> PredictionLog:
        """Return the model's log; that of one no longer configured has the features that the rows have."""
        config = self._configs.get(model)
        return self._ws.store.predictions(model, config.features if config else _kinds(features))


def _kinds(features: Mapping[str, list[Any]]) -> dict[str, FeatureKind]:
    return {
        name: "categorical" if any(isinstance(value, str) for value in values) else "numeric"
        for name, values in features.items()
        if any(value is not None for value in values)
    }


def _of_content(error: Exception) -> bool:
    """Whether ``error`` is about what was brought and would come again from any store.

    Everything else, such as a bug or a right that is missing, keeps the batch in the spool.
    """
    import pyarrow as pa

    return isinstance(error, KeelError | ValueError | TypeError | OverflowError | pa.ArrowException)


def _model_of(record: bytes) -> str:
    try:
        return decode(record).model
    except SchemaError:
        return ""
