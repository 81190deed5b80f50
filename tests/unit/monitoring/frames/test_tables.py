"""Tables of different forms are read as the same values."""

from __future__ import annotations

import pandas as pd
import pytest

import keel
from keel.errors import ConfigError
from keel.monitoring.frames.tables import read_frame

TEXTS = pd.DataFrame({"a": ["", "x", "y", None] * 25, "b": ["p", "q"] * 50})


def test_read_frame_of_a_parquet_file_of_texts_keeps_empty_ones(tmp_path):
    TEXTS.to_parquet(tmp_path / "a.parquet")
    TEXTS.to_csv(tmp_path / "a.csv", index=False)
    in_memory, parquet, csv = (read_frame(data, "a") for data in (TEXTS, tmp_path / "a.parquet", tmp_path / "a.csv"))
    assert parquet.column("a").to_pylist() == in_memory.column("a").to_pylist() == ["", "x", "y", None] * 25
    assert csv.column("a").to_pylist() == [None, "x", "y", None] * 25, "a CSV file cannot tell them apart"


def test_read_frame_of_a_csv_file_of_thousands_of_columns_reads_every_one(tmp_path):
    TEXTS.to_csv(tmp_path / "a.csv", index=False)
    assert read_frame(tmp_path / "a.csv", "a").names == ("a", "b")
    header, row = ",".join(f"c{i}" for i in range(3000)), "," * 2999
    (tmp_path / "wide.csv").write_text(f"{header}\n{row}\n", encoding="utf-8")
    assert read_frame(tmp_path / "wide.csv", "wide").column("c2999").to_pylist() == [None]


def test_detect_of_names_that_are_no_texts_takes_them_in_every_argument():
    table = pd.DataFrame({0: [1, 2] * 30, 1: [0, 1] * 30, 2: [0.5, 0.6] * 30})
    report = keel.detect(table, table, columns=[0], target=1, score=2, kinds={0: "categorical"})
    assert report.kinds == {"0": "categorical", "1": "categorical", "2": "numeric"}
    with pytest.raises(ConfigError, match="columns: takes a list of names, not 5"):
        keel.detect(table, table, columns=5)
