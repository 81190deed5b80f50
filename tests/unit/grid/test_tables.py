"""Small batches become larger tables, and nothing but their cut changes."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest

from keel.grid.tables import PORTION_ROWS, batches_of, gather


def table_of(rows: int, name: str = "x") -> pa.Table:
    return pa.table({name: pa.array(range(rows), pa.int64())})


def test_gather_joins_batches_of_one_schema_up_to_a_portion() -> None:
    window = table_of(2 * PORTION_ROWS + 10)
    gathered = list(gather(window.to_batches(max_chunksize=1_000)))
    assert pa.concat_tables(gathered) == window
    assert len(gathered) == 3
    assert all(PORTION_ROWS - 1_000 < table.num_rows <= PORTION_ROWS for table in gathered[:2])


def test_gather_leaves_a_table_larger_than_a_portion_whole() -> None:
    sizes = [5, PORTION_ROWS + 1, 5, 5]
    assert [table.num_rows for table in gather(map(table_of, sizes))] == [5, PORTION_ROWS + 1, 10]


def test_gather_keeps_schemas_and_frames_apart_and_in_order() -> None:
    frame = pd.DataFrame({"x": [1]})
    batches = [table_of(1), table_of(2), table_of(3, "y"), frame, table_of(4), table_of(5)]
    gathered = list(gather(batches))
    assert [len(table) for table in gathered] == [3, 3, 1, 9]
    assert gathered[2] is frame
    assert gathered[1].column_names == ["y"]


def test_gather_of_nothing_is_nothing() -> None:
    assert list(gather([])) == []


@pytest.mark.parametrize("data", [3, "table", {"x": [1]}, [{"x": 1}]])
def test_batches_of_what_is_no_table_raises(data: object) -> None:
    with pytest.raises(TypeError, match="expected"):
        list(batches_of(data))
