"""Parse and check labels from the columns of a file or table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from keel.errors import BadRequest
from keel.feedback.identity import prediction_ids
from keel.feedback.parse_json import FIRST_TIME, TOLERANCE
from keel.store.database.times import to_micros
from keel.store.predictions import casting
from keel.store.predictions.target_values import are_possible
from keel.values.columns import identities, is_text
from keel.values.scalars import identity_of, label_of
from keel.values.times import to_micros as to_microseconds

if TYPE_CHECKING:
    from keel.config import ModelConfig


@dataclass(frozen=True)
class ReadOptions:
    """How to read the columns of a source.

    source_names: Keel's name of a column → its name in the source, for messages. zone: of times without one; None
    rejects them. skip_missing: skip rows without a label instead of rejecting them.
    """

    config: ModelConfig
    now: datetime
    source_names: Mapping[str, str] = field(default_factory=dict)
    zone: ZoneInfo | None = None
    skip_missing: bool = False


def parse_labels(columns: pa.Table, options: ReadOptions, first_row: int) -> pa.Table:
    """Return ``id``, ``label`` and ``observed_at`` of a part of a source, as `keel.feedback.label_table` does.

    columns: ``label``, and ``id`` or ``entity`` and ``time``, and optionally ``observed_at``, of any type. An empty
    text is a null. first_row: number of the first row, for messages.

    Raises
    ------
    BadRequest
        A value is invalid. The message names its row and column.

    """
    part = _Part({name: casting.take(columns, name) for name in columns.column_names}, options, first_row)
    if options.skip_missing:
        part = part.without_missing()
    ids = part.texts("id") if "id" in part.columns else part.ids_by_entity()
    micros = part.times("observed_at", default=to_micros(options.now)) if "observed_at" in part.columns else None
    observed = pa.repeat(pa.scalar(to_micros(options.now), pa.int64()), len(ids)) if micros is None else micros
    labels = {"id": ids, "label": part.labels(), "observed_at": observed.cast(casting.UTC_MICROSECONDS)}
    return pa.table(labels)


@dataclass(frozen=True)
class _Part:
    """Some rows of a source."""

    columns: dict[str, pa.Array]
    options: ReadOptions
    first_row: int
    rows: pa.Array | None = None
    """The numbers of the rows that were not skipped, from 0; None: all."""

    def without_missing(self) -> _Part:
        present = pc.invert(_missing(self.columns["label"]))
        columns = {name: column.filter(present) for name, column in self.columns.items()}
        return _Part(columns, self.options, self.first_row, pc.indices_nonzero(present))

    def texts(self, name: str) -> pa.Array:
        """Return ids or entities as texts."""
        column = self.columns[name]
        texts, wrong = identities(column)
        if wrong is not None:
            row = int(wrong.argmax())
            self.fail(name, row, _reason(_value(column[row])))
        self.reject(name, pc.is_null(texts), lambda _: _reason(""))
        return texts

    def ids_by_entity(self) -> pa.Array:
        entities, times = self.texts("entity"), self.times("time")
        return pa.array(prediction_ids(self.options.config.model, entities.to_pylist(), times.to_pylist()), pa.string())

    def labels(self) -> pa.Array:
        """Return the labels as float64."""
        column = self.columns["label"]
        binary = self.options.config.target.kind == "binary"
        self.reject("label", _missing(column), lambda _: "is missing: submit the label when it is known")
        if pa.types.is_boolean(column.type) and not binary:
            raise BadRequest(f"column {self.source_name('label')!r}: is true or false, and the target a number")
        if pa.types.is_temporal(column.type) and not _missing(column).true_count == len(column):
            raise BadRequest(f"column {self.source_name('label')!r}: must be numbers, not {column.type}")
        values = pc.add(casting.to_numeric(column).values, 0.0)  # turns -0.0 into 0.0
        sane = are_possible(values, self.options.config.target.kind)
        if not binary and is_text(column.type):
            sane = pc.and_(sane, pc.invert(_truths(column)))
        self.reject("label", pc.invert(sane), lambda value: _why_no_label(value, binary))
        return values

    def times(self, name: str, default: int | None = None) -> pa.Array:
        """Return times as microseconds; nulls and empty texts as ``default`` if there is one."""
        column = self.columns[name]
        missing = _missing(column)
        if default is None:
            self.reject(name, missing, lambda _: "is missing")
        if is_text(column.type):
            micros = self._parsed(name, column, missing)
        elif pa.types.is_timestamp(column.type):
            micros = self._stamps(name, column)
        elif missing.true_count == len(column):
            micros = pa.nulls(len(column), pa.int64())
        else:
            raise BadRequest(
                f"column {self.source_name(name)!r}: must be times with a zone, as ISO 8601 texts or timestamps, "
                f"not {column.type}"
            )
        latest = to_micros(self.options.now + TOLERANCE)
        future = pc.fill_null(pc.greater(micros, latest), False)
        self.reject(name, future, lambda value: f"{value} lies in the future")
        early = pc.fill_null(pc.less(micros, FIRST_TIME), False)
        self.reject(name, early, lambda _: "lies before the year 1")
        return micros if default is None else pc.fill_null(micros, default)

    def _stamps(self, name: str, column: pa.Array) -> pa.Array:
        if column.type.tz is None:
            if self.options.zone is None:
                raise BadRequest(f"column {self.source_name(name)!r}: has no time zone; name it with --zone")
            before, column = (
                pc.assume_timezone(column, str(self.options.zone), ambiguous="earliest", nonexistent=side)
                for side in ("earliest", "latest")
            )
            self.reject(name, pc.not_equal(before, column), lambda value: _skipped(value, self.options.zone))
        try:
            return to_microseconds(column)
        except pa.ArrowInvalid:
            raise BadRequest(f"column {self.source_name(name)!r}: has times outside the years 1 to 9999") from None

    def _parsed(self, name: str, column: pa.Array, missing: pa.BooleanArray) -> pa.Array:
        found: list[int | None] = []
        for place, (text, nothing) in enumerate(zip(column.to_pylist(), missing.to_pylist(), strict=True)):
            try:
                found.append(None if nothing else self._micros(text))
            except BadRequest as error:
                self.fail(name, place, str(error))
        return pa.array(found, pa.int64())

    def _micros(self, text: str) -> int:
        try:
            time = datetime.fromisoformat(text.strip())
        except ValueError:
            raise BadRequest(
                f"must be an ISO 8601 time with a zone, such as 2026-05-01T00:00:00Z (got {text!r})"
            ) from None
        if time.tzinfo is None:
            if self.options.zone is None:
                raise BadRequest(f"{text!r} has no time zone; name it with --zone")
            naive, time = time, time.replace(tzinfo=self.options.zone)
            offsets = time.utcoffset(), time.replace(fold=1).utcoffset()
            if offsets[0] < offsets[1]:  # type: ignore[operator]  # only where clocks are put forward (PEP 495)
                raise BadRequest(_skipped(naive, self.options.zone))
        return to_micros(time)

    def reject(self, name: str, wrong: pa.BooleanArray, reason: Callable[[Any], str]) -> None:
        """Raise BadRequest for the first wrong row. ``reason`` returns what is wrong with its value."""
        place = pc.index(wrong, True).as_py()
        if place >= 0:
            self.fail(name, place, reason(_value(self.columns[name][place])))

    def fail(self, name: str, place: int, reason: str) -> NoReturn:
        """Raise BadRequest with the row and the column."""
        row = place if self.rows is None else self.rows[place].as_py()
        raise BadRequest(f"row {self.first_row + row}, column {self.source_name(name)!r}: {reason}")

    def source_name(self, name: str) -> str:
        """Return the name of a column in the source."""
        return self.options.source_names.get(name, name)


def _value(scalar: pa.Scalar) -> Any:
    """Return a value for a message. A value that Python cannot hold, such as a time before year 1, stays raw."""
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        return scalar.value


def _skipped(value: object, zone: ZoneInfo | None) -> str:
    return f"{value} is no time in {zone}, where clocks were put forward over it: write it with its offset"


def _missing(column: pa.Array) -> pa.BooleanArray:
    if is_text(column.type):
        return pc.fill_null(pc.equal(pc.binary_length(column), 0), True)
    return pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))


def _truths(column: pa.Array) -> pa.BooleanArray:
    """Return which texts are true or false, in any case."""
    words = pc.utf8_lower(pc.utf8_trim_whitespace(column))
    return pc.is_in(words, value_set=pa.array(["true", "false"], words.type))


def _reason(value: object) -> str:
    """Return why a value is no id or entity."""
    try:
        return f"holds {identity_of(value)!r}, which cannot be used"
    except ValueError as error:
        return str(error)


def _why_no_label(value: object, binary: bool) -> str:
    try:
        return f"cannot be {label_of(value, binary=binary)}"
    except ValueError as error:
        return str(error)
