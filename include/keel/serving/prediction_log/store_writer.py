"""One batch of the spool's records on its way into the store, and which of them the store refuses for their content."""

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

B = TypeVar("B", PredictionBlock, LabelBlock)


class BatchWriter:
    """One batch. refused: what the store will not take, by place in the batch; labels: how many it was brought."""

    def __init__(self, ws: Workspace, configs: Mapping[str, ModelConfig], metrics: Metrics) -> None:
        self._ws, self._configs, self._metrics = ws, configs, metrics
        self.refused: dict[int, str] = {}
        self.labels = 0
        self._suspects: list[tuple[Exception, int, Callable[[], None]]] = []
        self._brought = 0

    def records(self, records: Sequence[bytes]) -> None:
        """Store all records but those that are refused. Any other error means that none is known to be stored."""
        predictions: dict[tuple[object, ...], list[tuple[int, PredictionBlock]]] = {}
        labels: dict[str, list[tuple[int, LabelBlock]]] = {}
        for index, block in self._decoded(records):
            if isinstance(block, PredictionBlock):
                # The store remembers which features a whole table lacks.
                predictions.setdefault(block.shape, []).append((index, block))
            else:
                labels.setdefault(block.model, []).append((index, block))
        # Labels behind the predictions of the same batch: then fewer of them look early.
        for group in predictions.values():
            self._halving(group, self._append)
        for answers in labels.values():
            self._halving(answers, self._add_labels)
        self._try_suspects_again()

    def _decoded(self, records: Sequence[bytes]) -> list[tuple[int, Block]]:
        found: list[tuple[int, Block]] = []
        for index, record in enumerate(records):
            try:
                found.append((index, decode(record)))
            except SchemaError as error:
                self.refused[index] = str(error)
        return found

    def _halving(self, group: list[tuple[int, B]], bring: Callable[[list[B]], None]) -> None:
        """Bring all of a group, or, if that fails, each half of it, down to what fails alone."""
        try:
            bring([block for _, block in group])
            self._brought += 1
            return
        except StoreUnavailable:
            raise
        except Exception as error:
            if len(group) == 1:
                index, block = group[0]
                if of_content(error):
                    self.refused[index] = f"{type(error).__name__}: {error}"
                else:
                    self._suspects.append((error, index, lambda: bring([block])))
                return
        middle = len(group) // 2
        self._halving(group[:middle], bring)
        self._halving(group[middle:], bring)

    def _try_suspects_again(self) -> None:
        """Refuse what fails twice for an unforeseen reason while the store takes others; else it is not the record."""
        for error, index, bring in self._suspects:
            if not self._brought:
                raise error
            try:
                bring()
            except StoreUnavailable:
                raise
            except Exception as again:
                self.refused[index] = f"{type(again).__name__}: {again}"

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
        """Return the model's log, with the features that the rows have where the configuration does not suit the store.

        So it is with a model that is no longer configured, or whose feature became another kind since the rows came.
        """
        config = self._configs.get(model)
        if config is not None:
            try:
                return self._ws.store.predictions(model, config.features)
            except ConfigError:
                pass
        return self._ws.store.predictions(model, kinds)


def of_content(error: Exception) -> bool:
    """Whether ``error`` says that what was brought is wrong, and would come again from any store."""
    import pyarrow as pa

    return isinstance(error, SchemaError | ConfigError | OverflowError | pa.ArrowInvalid | pa.ArrowTypeError)


def model_of(record: bytes) -> str:
    """Return whose record it is; empty where it cannot be read."""
    try:
        return decode(record).model
    except SchemaError:
        return ""
