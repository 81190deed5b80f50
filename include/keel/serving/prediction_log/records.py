"""Spool records: blocks of predictions and of labels, which are stored before a request is answered.

A record is one request's rows as MessagePack, after two bytes for its kind and the version of its format. Numbers are
stored as in memory, so that many records are joined without reading single values. A record of an unknown kind or
format is rejected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Sized
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from keel.errors import SchemaError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import ArrayLike

    from keel.config import FeatureKind

FORMAT = 1
PREDICTIONS, LABELS = b"P"[0], b"L"[0]
_FLOAT = np.dtype("<f8")


class PredictionBlock(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The answered rows of one request, by column; every list has the length of ``ids``.

    times: microseconds since the epoch, UTC. A column that is None is null in all rows. Numbers are `packed`, one per
    row, NaN where missing. numeric: names of the numeric features. numbers: their values, row after row. texts: the
    categorical features by name, None where missing.
    """

    model: str
    ids: list[str]
    times: list[int]
    versions: list[int]
    scores: bytes | None
    predictions: bytes
    numeric: list[str] = []
    numbers: bytes = b""
    texts: dict[str, list[str | None]] = {}
    entities: list[str | None] | None = None
    experiment: str | None = None
    arms: list[str | None] | None = None
    allocations: bytes | None = None
    shadow_version: int | None = None
    shadow_scores: bytes | None = None
    shadow_predictions: bytes | None = None

    @property
    def shape(self) -> tuple[object, ...]:
        """A key that is equal for blocks that can be one table."""
        return self.model, *self.numeric, None, *self.texts

    @property
    def kinds(self) -> dict[str, FeatureKind]:
        """The features and their kinds."""
        return {**dict.fromkeys(self.numeric, "numeric"), **dict.fromkeys(self.texts, "categorical")}


class LabelBlock(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Labels submitted by one request; times in microseconds since the epoch, UTC."""

    model: str
    ids: list[str]
    labels: list[float]
    observed_at: list[int]


Block = PredictionBlock | LabelBlock
_encoder = msgspec.msgpack.Encoder()
_decoders: dict[int, msgspec.msgpack.Decoder[Block]] = {
    PREDICTIONS: msgspec.msgpack.Decoder(PredictionBlock),
    LABELS: msgspec.msgpack.Decoder(LabelBlock),
}
_HEADERS = {PredictionBlock: bytes((PREDICTIONS, FORMAT)), LabelBlock: bytes((LABELS, FORMAT))}


def encode(block: Block) -> bytes:
    """Return the block as one spool record.

    >>> decode(encode(LabelBlock("toy", ["a"], [1.0], [0]))).ids
    ['a']
    """
    return _HEADERS[type(block)] + _encoder.encode(block)


def decode(record: bytes) -> Block:
    """Return the block that `encode` wrote.

    Raises SchemaError for an unknown kind or format, malformed bytes, or columns of unequal length.
    """
    decoder = _decoders.get(record[0]) if record else None
    if decoder is None or len(record) < 2 or record[1] != FORMAT:
        raise SchemaError(
            f"a record that starts with {record[:2]!r} has a kind or format that this Keel does not know "
            f"(format {FORMAT}); a newer Keel may have written it"
        )
    try:
        block = decoder.decode(memoryview(record)[2:])
    except msgspec.DecodeError as error:
        raise SchemaError(f"cannot decode a record: {error}") from None
    _require_equal_lengths(block)
    return block


def packed(values: ArrayLike | Sequence[float | None]) -> bytes:
    """Return numbers as the bytes of a block: float64, NaN for None; a matrix row after row.

    >>> packed([1.0, None]) == packed((1, float("nan")))
    True
    """
    return np.asarray(values, _FLOAT).tobytes()


def _require_equal_lengths(block: Block) -> None:
    size = len(block.ids)
    columns: tuple[Sized | None, ...]
    numbers: tuple[bytes | None, ...] = ()
    fits = True
    if isinstance(block, LabelBlock):
        columns = (block.labels, block.observed_at)
    else:
        columns = (block.times, block.versions, block.entities, block.arms, *block.texts.values())
        numbers = (block.scores, block.predictions, block.allocations, block.shadow_scores, block.shadow_predictions)
        fits = len(block.numbers) == size * len(block.numeric) * _FLOAT.itemsize
    lengths = {len(column) for column in columns if column is not None}
    widths = {len(column) for column in numbers if column is not None}
    if not (fits and lengths <= {size} and widths <= {size * _FLOAT.itemsize}):
        raise SchemaError(f"{block.model}: a record has {size} ids but a column of another length")


def predictions_table(blocks: list[PredictionBlock]) -> pa.Table:
    """Return blocks of one shape as one table for `PredictionLog.append`."""
    import pyarrow as pa

    sizes = [len(block.ids) for block in blocks]
    rows, numeric = sum(sizes), blocks[0].numeric

    def numbers(name: str) -> pa.Array:
        parts = [getattr(block, name) for block in blocks]
        if not any(parts):
            return pa.nulls(rows, pa.float64())
        filled = [packed([math.nan] * size) if part is None else part for part, size in zip(parts, sizes, strict=True)]
        return pa.array(np.frombuffer(b"".join(filled), _FLOAT), from_pandas=True)

    def listed(name: str, kind: pa.DataType) -> pa.Array:
        return _joined([getattr(block, name) for block in blocks], sizes, kind)

    def repeated(name: str, kind: pa.DataType) -> pa.Array:
        return pa.array(np.repeat(np.array([getattr(block, name) for block in blocks], object), sizes), kind)

    columns = {
        "id": listed("ids", pa.string()),
        "time": listed("times", pa.int64()).cast(pa.timestamp("us", "UTC")),
        "version": listed("versions", pa.int64()),
        "score": numbers("scores"),
        "prediction": numbers("predictions"),
        "arm": listed("arms", pa.string()),
        "allocation": numbers("allocations"),
        "entity": listed("entities", pa.string()),
        "experiment": repeated("experiment", pa.string()),
        "shadow_version": repeated("shadow_version", pa.float64()),
        "shadow_score": numbers("shadow_scores"),
        "shadow_prediction": numbers("shadow_predictions"),
    }
    matrix = np.frombuffer(b"".join([block.numbers for block in blocks]), _FLOAT).reshape(rows, len(numeric))
    columns |= {name: pa.array(matrix[:, i], from_pandas=True) for i, name in enumerate(numeric)}
    columns |= {name: _joined([b.texts[name] for b in blocks], sizes, pa.string()) for name in blocks[0].texts}
    return pa.table(columns)


def _joined(parts: Sequence[list[Any] | None], sizes: Sequence[int], kind: pa.DataType) -> pa.Array:
    """Return the concatenated lists; None stands for a list of nulls."""
    import pyarrow as pa

    if not any(parts):
        return pa.nulls(sum(sizes), kind)
    joined: list[Any] = []
    for part, size in zip(parts, sizes, strict=True):
        joined.extend([None] * size if part is None else part)
    return pa.array(joined, kind)


def labels_table(blocks: list[LabelBlock]) -> pa.Table:
    """Return blocks of one model as one table for `PredictionLog.add_labels`, in their order."""
    import pyarrow as pa

    times = [time for block in blocks for time in block.observed_at]
    return pa.table(
        {
            "id": pa.array([i for block in blocks for i in block.ids], pa.string()),
            "label": pa.array([label for block in blocks for label in block.labels], pa.float64()),
            "observed_at": pa.array(times, pa.int64()).cast(pa.timestamp("us", "UTC")),
        }
    )


def label_block(model: str, table: pa.Table) -> LabelBlock:
    """Return a table of labels (``id, label, observed_at``) as a block."""
    import pyarrow as pa

    return LabelBlock(
        model,
        table["id"].to_pylist(),
        table["label"].cast(pa.float64()).to_pylist(),
        table["observed_at"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist(),
    )
