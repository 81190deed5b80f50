"""Decide how each column of two frames is read: as numbers, as categories, or not at all, and say why."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from keel.errors import ConfigError, suggestion
from keel.grid.reference import KINDS
from keel.values.columns import is_text, read_numbers
from keel.values.scalars import is_truth, number_in, shown

if TYPE_CHECKING:
    from keel.monitoring.frames.tables import Frame

IGNORE = "ignore"
"""The kind of a column that is not compared."""

FEW_NUMBERS = 10
"""Whole numbers of at most so many values are codes or small counts. Categories show each value by itself."""
ROWS_A_NUMBER = 10
"""Rows that each of them needs on average; in a few rows any column has few values."""
DISTINCT_SHARE = 0.5
"""A text column with more different values a row is an identifier or free text: no category would be seen twice."""
MIN_IDENTIFIERS = 50
"""Rows below which nothing is taken for an identifier."""
NUMBER_SHARE = 0.9
"""A text column is numbers when at least this share of its different values are; the others are then invalid."""
FLOATS_APART = 2.0**-40
"""Whole numbers are told apart as floats where they differ by more than this share of their size."""
SAMPLED = 1_000
"""Different texts that are looked at to decide whether they are numbers."""

_IDENTIFIER = re.compile(r"(?:^|[_ .-])(?:id|uuid|guid|key|index)$|[a-z]I[dD]$", re.IGNORECASE)
_LEADING_ZERO = re.compile(r"[+-]?0[0-9]")


@dataclass(frozen=True)
class ColumnKind:
    """How a column is read, and why."""

    name: str
    kind: str
    """``numeric``, ``categorical`` or ``ignore``."""
    reason: str
    given: bool = False
    """Whether the caller said so."""


def decide_kinds(
    reference: Frame, current: Frame, corrections: Mapping[str, str], *, time: str | None = None
) -> dict[str, ColumnKind]:
    """Decide the kind of every column of the reference, by its values there; by the current ones where it has none.

    corrections: name → ``numeric``, ``categorical`` or ``ignore``. time: the column of times, which has no kind.

    Raises
    ------
    ConfigError
        A correction names a column that neither frame has, or another kind.

    """
    known = {*reference.names, *current.names}
    for name, kind in corrections.items():
        if kind not in (*KINDS, IGNORE):
            near = suggestion(str(kind), (*KINDS, IGNORE))
            raise ConfigError(f"kinds: {name}: unknown kind {kind!r}{near}; valid: {', '.join((*KINDS, IGNORE))}")
        if name not in known:
            raise ConfigError(f"kinds: neither frame has a column {name!r}{suggestion(name, known)}")
    return {
        name: ColumnKind(name, corrections[name], "As you said.", given=True)
        if name in corrections
        else _infer(name, reference, current)
        for name in reference.names
        if name != time
    }


def _infer(name: str, reference: Frame, current: Frame) -> ColumnKind:
    column, frame = reference.column(name), reference
    if column.null_count == len(column) and name in current.name_set:
        column, frame = current.column(name), current
    kind, reason = _of_values(name, column)
    if name in frame.mixed and kind != IGNORE:
        reason = f"Values of several types. {reason}"
    return ColumnKind(name, kind, reason)


def _of_values(name: str, column: Any) -> tuple[str, str]:
    kind = column.type
    if column.null_count == len(column):
        return "numeric", "No value."
    if pa.types.is_dictionary(kind):
        return _of_categories(column)
    if pa.types.is_integer(kind):
        return _of_whole_numbers(name, column.drop_null().to_numpy(zero_copy_only=False))
    if pa.types.is_floating(kind):
        return _of_floats(name, column.drop_null().to_numpy(zero_copy_only=False))
    if is_text(kind):
        return _of_texts(name, column)
    return _by_type(kind)


def _by_type(kind: Any) -> tuple[str, str]:
    """Return the kind of a column whose type says enough."""
    if pa.types.is_boolean(kind):
        return "categorical", "True and false."
    if pa.types.is_decimal(kind):
        return "numeric", "Numbers."
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return IGNORE, "Dates and times always move on. Name it as the time of the rows, or read it as a number."
    if pa.types.is_time(kind) or pa.types.is_duration(kind):
        return "numeric", "Times of day and durations, in seconds."
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return IGNORE, "Bytes. Read it as categories if they are texts in UTF-8."
    return IGNORE, f"Its values are of type {str(kind)[:60]}, which has neither an order nor names."


def _of_floats(name: str, values: Any) -> tuple[str, str]:
    values = values[np.isfinite(values)].astype(np.float64, copy=False)
    # A gap turns whole numbers into floats. Most columns are told from the first rows.
    if len(values) and _are_whole(values[:1000]) and _are_whole(values):
        return _of_whole_numbers(name, values)
    return "numeric", "Numbers." if len(values) else "No value."


def _are_whole(values: Any) -> bool:
    return bool((values == np.floor(values)).all())


def _of_whole_numbers(name: str, values: Any) -> tuple[str, str]:
    n = len(values)
    if n >= MIN_IDENTIFIERS and _counts_rows(values):
        return IGNORE, "A number for each row, in order."
    if _are_alike_as_floats(values):
        return IGNORE, "Whole numbers so large and so near to each other that floats do not tell them apart."
    distinct = np.unique(values)
    if 1 < len(distinct) <= FEW_NUMBERS and len(distinct) * ROWS_A_NUMBER <= n:
        listed = ", ".join(f"{value:.0f}" for value in distinct)
        return "categorical", f"Whole numbers of {len(distinct)} values only ({listed}): codes or small counts."
    if n >= MIN_IDENTIFIERS and len(distinct) >= NUMBER_SHARE * n and _IDENTIFIER.search(name):
        return IGNORE, f"An identifier by its name: {len(distinct):,} different numbers in {n:,} rows."
    return "numeric", "Whole numbers."


def _are_alike_as_floats(values: Any) -> bool:
    """Whether different whole numbers become the same float, in which all numbers are compared."""
    low, high = (int(values.min()), int(values.max())) if len(values) and values.dtype.kind in "iu" else (0, 0)
    return high != low and high - low < max(abs(low), abs(high)) * FLOATS_APART


def _counts_rows(values: Any) -> bool:
    """Whether the values are those from the least to the greatest, each once."""
    low, high = values.min(), values.max()
    if float(high) - float(low) != len(values) - 1:
        return False
    return len(np.unique(values)) == len(values)


def _of_categories(column: Any) -> tuple[str, str]:
    values = column.type.value_type
    if pa.types.is_nested(values) or isinstance(values, pa.BaseExtensionType):
        return IGNORE, f"Its categories are of type {str(values)[:60]}, which have no names. Turn them into texts."
    n, distinct = len(column) - column.null_count, len(pc.unique(column.indices.drop_null()))
    return _unless_identifiers(n, distinct, f"A type of categories, {distinct:,} of them.")


def _of_texts(name: str, column: Any) -> tuple[str, str]:
    texts = pc.unique(column.drop_null())
    n, distinct = len(column) - column.null_count, len(texts)
    sample = texts.slice(0, SAMPLED).to_pylist()
    if all(map(is_truth, sample)):
        return "categorical", "True and false, as texts."
    numbers = [number for number in map(number_in, sample) if number is not None]
    if len(numbers) >= NUMBER_SHARE * len(sample) and not any(map(_LEADING_ZERO.match, sample)):
        return _of_number_texts(name, column, sample)
    return _unless_identifiers(n, distinct, f"Texts, {distinct:,} different.")


def _of_number_texts(name: str, column: Any, sample: list[str]) -> tuple[str, str]:
    values, invalid = _numbers_in(column)
    kind, reason = _of_floats(name, values[np.isfinite(values)])
    if invalid is None or not invalid.any() or kind == IGNORE:
        return kind, reason
    example = next((text for text in sample if number_in(text) is None), None)
    such = "" if example is None else f", such as {shown(example)}"
    return kind, f"{reason} {int(invalid.sum()):,} of {len(values):,} texts are no numbers{such}."


def _unless_identifiers(n: int, distinct: int, reason: str) -> tuple[str, str]:
    if n >= MIN_IDENTIFIERS and distinct > DISTINCT_SHARE * n:
        return IGNORE, f"An identifier or free text: {distinct:,} different values in {n:,} rows."
    return "categorical", reason


def as_numbers(column: Any) -> Any:
    """Return a text column that is read as numbers with its values parsed at once, if every text is a number.

    Counting reads text by text, which takes much longer. A column with other texts stays, so that they are counted.
    """
    if not is_text(column.type):
        return column
    values, invalid = _numbers_in(column)
    return column if invalid is not None and invalid.any() else pa.array(values)


def _numbers_in(column: Any) -> tuple[Any, Any]:
    """Return what `read_numbers` returns. Arrow reads most texts, and in a tenth of the time."""
    try:
        numbers = column.cast(pa.float64())
    except pa.ArrowInvalid:
        return read_numbers(column)
    if pc.any(pc.is_nan(numbers)).as_py():  # Arrow takes more texts for NaN
        return read_numbers(column)
    return read_numbers(numbers)
