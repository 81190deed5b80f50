"""Labels as they lie in files and tables, column by column, checked and made a table of labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from keel.errors import BadRequest
from keel.feedback.identity import LONGEST, as_identity, prediction_ids
from keel.feedback.parse_json import FIRST_TIME, TOLERANCE
from keel.store.database.times import to_micros
from keel.store.predictions import casting

if TYPE_CHECKING:
    from keel.config import ModelConfig

_TRUTHS = {"true": "1", "false": "0"}


@dataclass(frozen=True)
class Reading:
    """How columns are to be understood.

    spoken: Keel's name of a column → the source's own. zone: of times that say none; without it they are refused.
    skip_missing: leave rows out whose label is null or empty, in place of refusing them.
    """

    config: ModelConfig
    now: datetime
    spoken: Mapping[str, str] = field(default_factory=dict)
    zone: ZoneInfo | None = None
    skip_missing: bool = False


def labels_of(columns: pa.Table, how: Reading, first_row: int) -> pa.Table:
    """Return ``id``, ``label``, ``observed_at`` as `keel.feedback.label_table` does, of a part of a source.

    columns: ``label``, ``id`` or ``entity`` and ``time``, and perhaps ``observed_at``, of whatever type: an empty text
    is a null. first_row: the number that people give the first row.

    Raises
    ------
    BadRequest
        Naming row and column of the first value that cannot be used.

    """
    part = _Part({name: casting.take(columns, name) for name in columns.column_names}, how, first_row)
    if how.skip_missing:
        part = part.without_missing()
    ids = part.texts("id") if "id" in part.columns else part.ids_by_entity()
    micros = part.times("observed_at", default=to_micros(how.now)) if "observed_at" in part.columns else None
    observed = pa.repeat(pa.scalar(to_micros(how.now), pa.int64()), len(ids)) if micros is None else micros
    labels = {"id": ids, "label": part.labels(), "observed_at": observed.cast(casting.UTC_MICROSECONDS)}
    return pa.table(labels)


@dataclass(frozen=True)
class _Part:
    """Some rows of a source."""

    columns: dict[str, pa.Array]
    how: Reading
    first_row: int
    rows: pa.Array | None = None
    """Which rows are left, from 0; none: all."""

    def without_missing(self) -> _Part:
        there = pc.invert(_missing(self.columns["label"]))
        left = {name: column.filter(there) for name, column in self.columns.items()}
        return _Part(left, self.how, self.first_row, pc.indices_nonzero(there))

    def texts(self, name: str) -> pa.Array:
        """Return ids or entities as texts."""
        column = self.columns[name]
        if not (casting.is_text(column.type) or pa.types.is_integer(column.type) or pa.types.is_null(column.type)):
            raise BadRequest(f"column {self.spoken(name)!r}: must be text or whole numbers, not {column.type}")
        texts = column.cast(pa.string())
        sizes = pc.fill_null(pc.binary_length(texts), 0)
        unfit = pc.or_(pc.or_(pc.equal(sizes, 0), pc.greater(sizes, LONGEST)), pc.match_substring(texts, "\x00"))
        self.refuse(name, pc.fill_null(unfit, True), lambda value: _said(as_identity, value, name))
        return texts

    def ids_by_entity(self) -> pa.Array:
        entities, times = self.texts("entity"), self.times("time")
        return pa.array(prediction_ids(self.how.config.model, entities.to_pylist(), times.to_pylist()), pa.string())

    def labels(self) -> pa.Array:
        """Return the labels as float64."""
        column = self.columns["label"]
        binary = self.how.config.target.kind == "binary"
        self.refuse("label", _missing(column), lambda _: "is missing; hand it in when it is known")
        if pa.types.is_boolean(column.type) and not binary:
            raise BadRequest(f"column {self.spoken('label')!r}: is true or false, and the target a number")
        values = casting.to_numeric(_truths(column) if binary and casting.is_text(column.type) else column).values
        wanted = "must be 0 or 1 (or true, false) for a binary target" if binary else "must be a finite number"
        sane = pc.is_in(values, pa.array([0.0, 1.0])) if binary else pc.is_finite(values)
        self.refuse("label", pc.invert(pc.fill_null(sane, False)), lambda value: f"{wanted} (got {value!r})")
        return values

    def times(self, name: str, default: int | None = None) -> pa.Array:
        """Return times as microseconds; nulls and empty texts as ``default``, where there is one."""
        column = self.columns[name]
        missing = _missing(column)
        if default is None:
            self.refuse(name, missing, lambda _: "is missing")
        if casting.is_text(column.type):
            micros = self._parsed(name, column, missing)
        elif pa.types.is_timestamp(column.type):
            micros = self._stamps(name, column)
        elif missing.true_count == len(column):
            micros = pa.nulls(len(column), pa.int64())
        else:
            raise BadRequest(
                f"column {self.spoken(name)!r}: must be times with a zone, as ISO 8601 texts or timestamps, "
                f"not {column.type}"
            )
        latest = to_micros(self.how.now + TOLERANCE)
        future = pc.fill_null(pc.greater(micros, latest), False)
        self.refuse(name, future, lambda value: f"{value} lies in the future: no feedback for the future")
        early = pc.fill_null(pc.less(micros, FIRST_TIME), False)
        self.refuse(name, early, lambda _: "lies before the year 1")
        return micros if default is None else pc.fill_null(micros, default)

    def _stamps(self, name: str, column: pa.Array) -> pa.Array:
        if column.type.tz is None:
            if self.how.zone is None:
                raise BadRequest(f"column {self.spoken(name)!r}: has no time zone; name it with --zone")
            before, column = (
                pc.assume_timezone(column, str(self.how.zone), ambiguous="earliest", nonexistent=side)
                for side in ("earliest", "latest")
            )
            self.refuse(name, pc.not_equal(before, column), lambda value: _skipped(value, self.how.zone))
        try:
            column = column.cast(
                pa.timestamp(column.type.unit, "UTC")
            )  # a floor in a zone fails where an hour is twice
            exact = pc.floor_temporal(column, unit="microsecond") if column.type.unit == "ns" else column
            return exact.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        except pa.ArrowInvalid:
            raise BadRequest(f"column {self.spoken(name)!r}: has times that no clock shows") from None

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
            if self.how.zone is None:
                raise BadRequest(f"{text!r} has no time zone; name it with --zone")
            naive, time = time, time.replace(tzinfo=self.how.zone)
            offsets = time.utcoffset(), time.replace(fold=1).utcoffset()
            if offsets[0] < offsets[1]:  # type: ignore[operator]  # only where clocks are put forward (PEP 495)
                raise BadRequest(_skipped(naive, self.how.zone))
        return to_micros(time)

    def refuse(self, name: str, wrong: pa.BooleanArray, says: Callable[[Any], str]) -> None:
        """Raise BadRequest for the first row that is wrong; ``says`` tells what is wrong with its value."""
        place = pc.index(wrong, True).as_py()
        if place >= 0:
            self.fail(name, place, says(_value(self.columns[name][place])))

    def fail(self, name: str, place: int, says: str) -> NoReturn:
        """Raise BadRequest naming a row and a column."""
        row = place if self.rows is None else self.rows[place].as_py()
        raise BadRequest(f"row {self.first_row + row}, column {self.spoken(name)!r}: {says}")

    def spoken(self, name: str) -> str:
        """What the source calls a column."""
        return self.how.spoken.get(name, name)


def _value(scalar: pa.Scalar) -> Any:
    """Return a value for a message; what Python cannot hold, such as a time before the year 1, as it was stored."""
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        return scalar.value


def _skipped(value: object, zone: ZoneInfo | None) -> str:
    return f"{value} is no time in {zone}, where clocks were put forward over it; write it with its offset"


def _missing(column: pa.Array) -> pa.BooleanArray:
    if casting.is_text(column.type):
        return pc.fill_null(pc.equal(pc.binary_length(column), 0), True)
    return pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))


def _truths(column: pa.Array) -> pa.Array:
    """Return texts with true and false, however they are capitalised, as 1 and 0."""
    encoded = column.cast(pa.string()).dictionary_encode()
    texts = [_TRUTHS.get(text.strip().lower(), text) for text in encoded.dictionary.to_pylist()]
    return pa.array(texts, pa.string()).take(encoded.indices)


def _said(check: Callable[[object, str], str], value: object, name: str) -> str:
    """Return what ``check`` has against a value."""
    try:
        check(value if value is not None else "", name)
    except BadRequest as error:
        return str(error).removeprefix(f"{name}: ")
    return "cannot be used"
