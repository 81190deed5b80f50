"""The batch writer: stores one batch of spool records and collects those that the store rejects for their content."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from keel.errors import ConfigError, SchemaError, StoreUnavailable
from keel.serving.prediction_log.records import (
    Block,
    LabelBlock,
    PredictionBlock,
    decode,
    labels_table,
    predictions_table,
)

if TYPE_CHECKING:
    from keel.config import FeatureKind, ModelConfig
    from keel.serving.metrics import Metrics
    from keel.store import PredictionLog
    from keel.workspace import Workspace

LONGEST_REASON = 600
"""Characters of a reason, which is logged, shown and reported."""

B = TypeVar("B", PredictionBlock, LabelBlock)


class BatchWriter:
    """Writes one batch.

    isolate: whether the store is known to accept writes. Then a record that fails with any error is refused; otherwise
    the error is raised if no record is written.

    Attributes
    ----------
    rejected
        Reasons by position in the batch, for records that any store would reject again because of their content.
    refused
        The same for records that this store refuses now, for another reason, while it accepts others.
    unavailable
        The refused ones for which the store did not answer, or a table is locked. That says nothing about the records.
    labels
        How many labels were written.

    """

    def __init__(
        self, ws: Workspace, configs: Mapping[str, ModelConfig], metrics: Metrics, *, isolate: bool = False
    ) -> None:
        self._ws, self._configs, self._metrics, self._isolate = ws, configs, metrics, isolate
        self.rejected: dict[int, str] = {}
        self.refused: dict[int, str] = {}
        self.unavailable: set[int] = set()
        self.labels = 0
        self._suspects: list[tuple[Exception, int, Callable[[], None]]] = []
        self._writes = 0

    def write(self, records: Sequence[bytes]) -> None:
        """Store all records except the rejected and refused ones. After an error, no record counts as stored."""
        predictions: dict[tuple[object, ...], list[tuple[int, PredictionBlock]]] = {}
        labels: dict[str, list[tuple[int, LabelBlock]]] = {}
        for index, block in self._decoded(records):
            if isinstance(block, PredictionBlock):
                # one table per set of features: the store records which features a whole table lacks
                predictions.setdefault(block.shape, []).append((index, block))
            else:
                labels.setdefault(block.model, []).append((index, block))
        # predictions first, so that a label in the same batch finds its prediction
        for prediction_group in predictions.values():
            self._bisect(prediction_group, self._append)
        for label_group in labels.values():
            self._bisect(label_group, self._add_labels)
        self._retry_suspects()

    def _decoded(self, records: Sequence[bytes]) -> list[tuple[int, Block]]:
        found: list[tuple[int, Block]] = []
        for index, record in enumerate(records):
            try:
                found.append((index, decode(record)))
            except SchemaError as error:
                self.rejected[index] = str(error)
            except Exception as error:  # no store is involved, so the next try fails, too
                self.rejected[index] = reason_of(error)
        return found

    def _bisect(self, group: list[tuple[int, B]], write: Callable[[list[B]], None]) -> None:
        """Write a group; if that fails, write each half of it, down to the single records that fail."""
        try:
            write([block for _, block in group])
            self._writes += 1
            return
        except StoreUnavailable as error:
            if not self._isolate:
                raise
            # not one by one: a lock that is not given may have taken half a minute
            self.refused.update({index: str(error) for index, _ in group})
            self.unavailable.update(index for index, _ in group)
            return
        except Exception as error:
            if len(group) == 1:
                index, block = group[0]
                if is_content_error(error):
                    self.rejected[index] = reason_of(error)
                else:
                    self._suspects.append((error, index, lambda: write([block])))
                return
        middle = len(group) // 2
        self._bisect(group[:middle], write)
        self._bisect(group[middle:], write)

    def _retry_suspects(self) -> None:
        """Refuse a record that fails twice for an unexpected reason while the store accepts others.

        If the store accepted no record, the cause may be the store, and the error is raised.
        """
        for error, index, write in self._suspects:
            if not self._writes and not self._isolate:
                raise error
            try:
                write()
            except StoreUnavailable as again:
                if not self._isolate:
                    raise
                self.refused[index] = str(again)
                self.unavailable.add(index)
            except Exception as again:
                self.refused[index] = reason_of(again)

    def _append(self, blocks: list[PredictionBlock]) -> None:
        table = predictions_table(blocks)
        result = self._log(blocks[0].model, blocks[0].kinds).append(table)
        self._metrics.stored(blocks[0].model, result.stored, result.duplicates)

    def _add_labels(self, blocks: list[LabelBlock]) -> None:
        model = blocks[0].model
        table = labels_table(blocks)
        self._metrics.labelled(model, self._log(model, {}).add_labels(table))
        self.labels += table.num_rows

    def _log(self, model: str, kinds: Mapping[str, FeatureKind]) -> PredictionLog:
        """Return the model's log, with the rows' own features if the configured ones do not fit the store.

        That is the case for a model that is no longer configured, or whose feature changed its kind after the answer.
        """
        config = self._configs.get(model)
        if config is not None:
            try:
                return self._ws.predictions(config)
            except ConfigError:
                pass
        return self._ws.store.predictions(model, kinds, target=config.target.kind if config else None)


def reason_of(error: Exception) -> str:
    """Return an error in one line of limited length. A driver repeats the statement, and says the cause after it."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON // 3]} … {text[-LONGEST_REASON // 2 :]}"


def is_content_error(error: Exception) -> bool:
    """Return whether ``error`` is about the rows' content, so that any store would reject them again."""
    import pyarrow as pa

    return isinstance(error, SchemaError | ConfigError | OverflowError | pa.ArrowInvalid | pa.ArrowTypeError)


def model_of(record: bytes) -> str:
    """Return the model of a record; empty if the record cannot be read."""
    try:
        return decode(record).model
    except SchemaError:
        return ""
