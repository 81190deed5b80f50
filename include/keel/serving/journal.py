"""What is written down of a request before it is answered: blocks of predictions and of labels, as spool records.

A record is one request's rows by column, as MessagePack behind two bytes: what it is, and the version of its format.
Whoever reads a record of a kind or format it does not know sets it aside instead of guessing.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING

import msgspec

from keel.errors import SchemaError

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
PREDICTIONS, LABELS = b"P"[0], b"L"[0]


class PredictionBlock(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The answered rows of one request, by column; every list is as long as ``ids``.

    times: microseconds since the epoch, UTC. A column that is None is null in all rows. features: by name, numbers
    (NaN is missing) or text, None where missing.
    """

    model: str
    ids: list[str]
    times: list[int]
    versions: list[int]
    scores: list[float | None] | None
    predictions: list[float | None]
    features: dict[str, list[float | str | None]]
    entities: list[str | None] | None = None
    experiment: str | None = None
    arms: list[str | None] | None = None
    allocations: list[float | None] | None = None
    shadow_version: int | None = None
    shadow_scores: list[float | None] | None = None
    shadow_predictions: list[float | None] | None = None


class LabelBlock(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Labels handed in by one request; times in microseconds since the epoch, UTC."""

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
    """Return what `encode` was given.

    Raises SchemaError for anything else: another kind or format, bytes that do not fit, columns of unequal length.
    """
    decoder = _decoders.get(record[0]) if record else None
    if decoder is None or len(record) < 2 or record[1] != FORMAT:
        raise SchemaError(
            f"a record that begins with {record[:2]!r} is of no kind and format this Keel knows (format {FORMAT}); "
            "was it written by a newer one?"
        )
    try:
        block = decoder.decode(memoryview(record)[2:])
    except msgspec.DecodeError as error:
        raise SchemaError(f"a record that cannot be read: {error}") from None
    _require_equal_lengths(block)
    return block


def _require_equal_lengths(block: Block) -> None:
    size = len(block.ids)
    lists: dict[str, Sized | None]
    if isinstance(block, LabelBlock):
        lists = {"labels": block.labels, "observed_at": block.observed_at}
    else:
        names = ("times", "versions", "scores", "predictions", "entities", "arms", "allocations", "shadow_scores",
                 "shadow_predictions")  # fmt: skip
        lists = {**{name: getattr(block, name) for name in names}, **block.features}
    for name, values in lists.items():
        if values is not None and len(values) != size:
            raise SchemaError(f"{block.model}: {name} has {len(values)} values for {size} ids")


def predictions_table(blocks: list[PredictionBlock]) -> pa.Table:
    """Return blocks of one model with the same features as one table for `PredictionLog.append`."""
    import pyarrow as pa

    sizes = [len(block.ids) for block in blocks]
    n = sum(sizes)

    def column(name: str) -> list[float | str | None]:
        joined: list[float | str | None] = []
        for block, size in zip(blocks, sizes, strict=True):
            values = getattr(block, name)
            joined.extend([None] * size if values is None else values)
        return joined

    def repeated(name: str) -> list[float | str | None]:
        return [value for b, size in zip(blocks, sizes, strict=True) for value in [getattr(b, name)] * size]

    columns = {
        "id": pa.array(column("ids"), pa.string()),
        "time": pa.array(column("times"), pa.int64()).cast(pa.timestamp("us", "UTC")),
        "version": pa.array(column("versions"), pa.int64()),
        "score": pa.array(column("scores"), pa.float64()),
        "prediction": pa.array(column("predictions"), pa.float64()),
        "arm": pa.array(column("arms"), pa.string()),
        "allocation": pa.array(column("allocations"), pa.float64()),
        "entity": pa.array(column("entities"), pa.string()),
        "experiment": pa.array(repeated("experiment"), pa.string()),
        "shadow_version": pa.array(repeated("shadow_version"), pa.float64()),
        "shadow_score": pa.array(column("shadow_scores"), pa.float64()),
        "shadow_prediction": pa.array(column("shadow_predictions"), pa.float64()),
    }
    for name in blocks[0].features:
        values = [value for block in blocks for value in block.features[name]]
        kind = pa.string() if any(isinstance(value, str) for value in values) else pa.float64()
        columns[name] = pa.array(values, kind)
    assert all(len(values) == n for values in columns.values())
    return pa.table(columns)


def labels_table(blocks: list[LabelBlock]) -> pa.Table:
    """Return blocks of one model as one table for `PredictionLog.add_labels`, in the order they came in."""
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
