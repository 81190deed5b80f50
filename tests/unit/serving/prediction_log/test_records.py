"""Records: encoding and decoding of blocks, and their tables for the store."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import msgspec
import pyarrow as pa
import pytest

from keel.errors import SchemaError
from keel.serving.prediction_log.records import (
    FORMAT,
    LabelBlock,
    PredictionBlock,
    decode,
    encode,
    label_block,
    labels_table,
    packed,
    predictions_table,
)

PLAIN = PredictionBlock(
    "toy",
    ["a", "b"],
    [1, 2],
    [3, 3],
    packed([0.25, 0.75]),
    packed([0.0, 1.0]),
    ["x", "z"],
    packed([[1.5, None], [math.inf, math.pi]]),
    {"colour": ["rød", None]},
)
RICH = PredictionBlock(
    "toy",
    ["c"],
    [3],
    [4],
    packed([0.5]),
    packed([1.0]),
    ["x", "z"],
    packed([1.0, 2.0]),
    {"colour": ["red"]},
    ["ann"],
    "exp-1",
    ["challenger"],
    packed([0.05]),
    3,
    packed([0.4]),
    packed([0.0]),
)
LABELS = LabelBlock("toy", ["a", "b"], [0.0, 1.0], [10, 20])


@pytest.mark.parametrize("block", [PLAIN, RICH, LABELS])
def test_decode_of_an_encoded_block_returns_the_block(block):
    assert decode(encode(block)) == block


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"P",
        b"X\x01\x90",
        bytes((b"P"[0], FORMAT + 1)) + encode(PLAIN)[2:],
        encode(PLAIN)[:-1],
        encode(PLAIN) + b"\x00",
        b"L" + encode(PLAIN)[1:],
        b"P" + encode(LABELS)[1:],
        encode(msgspec.structs.replace(PLAIN, times=[1])),
        encode(msgspec.structs.replace(PLAIN, texts={"colour": ["red"]})),
        encode(msgspec.structs.replace(PLAIN, numeric=["x"])),
        encode(msgspec.structs.replace(PLAIN, numbers=PLAIN.numbers[:-1])),
        encode(msgspec.structs.replace(PLAIN, scores=packed([0.25]))),
        encode(msgspec.structs.replace(PLAIN, predictions=b"")),
        encode(msgspec.structs.replace(PLAIN, arms=["champion"])),
        encode(msgspec.structs.replace(LABELS, labels=[1.0])),
    ],
)
def test_decode_of_anything_else_raises_schema_error(record):
    with pytest.raises(SchemaError):
        decode(record)


def test_predictions_table_joins_blocks_of_one_shape():
    table = predictions_table([PLAIN, RICH])
    assert table.column_names[:3] == ["id", "time", "version"]
    assert table["id"].to_pylist() == ["a", "b", "c"]
    assert table["time"].to_pylist()[2] == datetime(1970, 1, 1, 0, 0, 0, 3, UTC)
    assert table["version"].to_pylist() == [3, 3, 4]
    assert table["entity"].to_pylist() == [None, None, "ann"]
    assert table["experiment"].to_pylist() == [None, None, "exp-1"]
    assert table["arm"].to_pylist() == [None, None, "challenger"]
    assert table["shadow_version"].to_pylist() == [None, None, 3]
    assert table["shadow_score"].to_pylist() == [None, None, 0.4]
    assert table["colour"].to_pylist() == ["rød", None, "red"]
    assert table["score"].to_pylist() == [0.25, 0.75, 0.5]
    assert table["allocation"].to_pylist() == [None, None, 0.05]
    assert table["x"].to_pylist() == [1.5, math.inf, 1.0]
    assert table["z"].to_pylist() == [None, math.pi, 2.0]
    assert table.schema.field("colour").type == pa.string()


def test_predictions_table_without_features_or_scores_has_null_scores():
    bare = PredictionBlock("toy", ["a", "b"], [1, 2], [3, 3], None, packed([0.0, math.nan]))
    table = predictions_table([bare])
    assert table["score"].to_pylist() == [None, None]
    assert table["prediction"].to_pylist() == [0.0, None]
    assert table.column_names[-1] == "shadow_prediction"


def test_labels_table_and_label_block_are_inverse():
    table = labels_table([LABELS, LabelBlock("toy", ["c"], [1.0], [30])])
    assert table["id"].to_pylist() == ["a", "b", "c"]
    assert label_block("toy", table.slice(0, 2)) == LABELS
