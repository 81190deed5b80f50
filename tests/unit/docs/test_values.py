"""docs/values.md against the code: every cell of its table is what the value is read as."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from keel.values.scalars import category_of, identity_of, label_of, number_of
from tests.support.paths import PROJECT

PAGE = (PROJECT / "docs" / "values.md").read_text()
NOW = datetime(2026, 5, 1, tzinfo=UTC)
ROWS: dict[str, list[Any]] = {
    "null, NaN": [None, math.nan],
    "`true`, `false`": [True, False],
    "text `true`, `True`, `TRUE`, and the same of false": ["true", "True", "TRUE", "false", "False", "FALSE"],
    "whole number: 17, 17.0, decimal 17.00": [17, 17.0, Decimal("17.00")],
    "text `17`, `17.0`, `17.00`": ["17", "17.0", "17.00"],
    "fraction: 0.5": [0.5],
    'text `1e3`, `" 2.5 "`': ["1e3", " 2.5 "],
    "text `007`, `1.10`": ["007", "1.10"],
    "whole number above 2⁵³ as a float, text `1e+16`": [1e16, "1e+16"],
    "text `1_000`": ["1_000"],
    "text `NA`, `N/A`, `None`, `null`": ["NA", "N/A", "None", "null"],
    "text `nan`, `NaN`": ["nan", "NaN"],
    "empty text": [""],
    "infinity": [math.inf, -math.inf],
    "timestamp, date, time of day in an Arrow table": [NOW, NOW.date(), NOW.time()],
    "list, object": [[1], {"a": 1}],
}
READERS: list[Callable[[Any], Any]] = [
    number_of,
    category_of,
    identity_of,
    partial(label_of, binary=True),
    partial(label_of, binary=False),
]


def table() -> dict[str, list[str]]:
    section = PAGE.partition("\n## One value\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def outcome(read: Callable[[Any], Any], value: Any) -> Any:
    try:
        found = read(value)
    except ValueError:
        return "refused"
    return "refused" if found is None and read is number_of else found


def agrees(cell: str, value: Any, found: Any) -> bool:
    """Return whether a cell says what a value is read as."""
    plain = cell.split(";")[0].split(":")[0].replace("`", "")
    if plain in ("refused", "no entity") or (plain == "only 0 and 1" and value not in (0, 1)):
        return bool(found == "refused") or (isinstance(found, float) and math.isinf(found))  # refused by the request
    if plain == "missing":
        return found is None or math.isnan(found)
    if plain in ("the text", "the empty text"):
        return bool(found == value)
    if plain in ("its digits", "the number"):
        return bool(found == (str(int(float(value))) if plain == "its digits" else float(value)))
    if plain in ("seconds", "ISO text"):
        return True  # only columns have such values: tests/unit/values/test_arrow_types.py
    said = plain.split(", ")
    return str(found) in {*said, *(f"{each}.0" for each in said)}


def test_table_has_a_row_for_each_kind_of_value() -> None:
    assert list(table()) == list(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_every_cell_is_what_the_value_is_read_as(row: str) -> None:
    for column, (read, cell) in enumerate(zip(READERS, table()[row], strict=True)):
        for value in ROWS[row]:
            found = outcome(read, value)
            assert agrees(cell, value, found), (column, cell, value, found)
