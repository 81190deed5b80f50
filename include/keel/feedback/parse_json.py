"""Parse and check labels from JSON, one object each. Errors name the item and the key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from keel.errors import BadRequest, suggestion
from keel.feedback.identity import as_identity, prediction_ids
from keel.store.database.times import to_micros
from keel.store.predictions.casting import UTC_MICROSECONDS
from keel.values.scalars import LONGEST_IDENTITY, label_of, shown

if TYPE_CHECKING:
    from keel.config import ModelConfig

KEYS = ("id", "entity", "time", "label", "observed_at")
TOLERANCE = timedelta(minutes=5)
"""How far clocks may differ. A later time lies in the future."""
FIRST_TIME = to_micros(datetime.min.replace(tzinfo=UTC))
"""In microseconds. A text with an offset can name an earlier time, which datetime cannot hold in UTC."""
_NEITHER = "missing: name the prediction by its id, or by entity and time"


def label_table(records: Sequence[Any], config: ModelConfig, *, now: datetime) -> pa.Table:
    """Return labels as columns ``id``, ``label`` (float64) and ``observed_at`` (microseconds, UTC), in their order.

    records: objects with

    - ``id``, or ``entity`` and ``time``, from which the id follows (`prediction_id`);
    - ``label``: a finite number; for a binary target 0, 1, true or false;
    - optionally ``observed_at``: when the label was known. Default: ``now``.

    Times are ISO 8601 texts with a zone, or aware datetimes. A null counts as a missing key.

    Raises
    ------
    BadRequest
        An item is invalid, so that none is used. The message names the first such item (from 0) and its key. The status
        is 413 for more items than `serving.max_rows`, else 422.

    """
    if not isinstance(records, list | tuple):
        raise BadRequest("labels must be a list of objects with id (or entity and time) and label")
    if not records:
        raise BadRequest("there is no label in the list")
    if len(records) > config.serving.max_rows:
        most = config.serving.max_rows
        raise BadRequest(f"{len(records):,} labels at once; send at most {most:,} (serving.max_rows)", status=413)
    table = parse_uniform(records, config, now)
    return parse_each(records, config, now) if table is None else table


@dataclass(frozen=True)
class _Checked:
    """A valid label."""

    id: str
    label: float
    observed_at: int


def parse_each(records: Sequence[Any], config: ModelConfig, now: datetime) -> pa.Table:
    """Return the table of any records, one by one; BadRequest for the first invalid one."""
    rows = []
    for place, record in enumerate(records):
        try:
            rows.append(_checked(record, config, now))
        except BadRequest as error:
            raise BadRequest(f"item {place}: {error}", status=error.status) from None
    return _table([r.id for r in rows], [r.label for r in rows], [r.observed_at for r in rows])


def _checked(record: Any, config: ModelConfig, now: datetime) -> _Checked:
    if not isinstance(record, dict):
        raise BadRequest("must be an object with id (or entity and time) and label")
    for key in record:
        if key not in KEYS:
            raise BadRequest(f"{str(key)[:60]}: unknown key{suggestion(str(key), KEYS)}; valid: {', '.join(KEYS)}")
    given = {key: value for key, value in record.items() if value is not None}
    identity = _identity(given, config.model, now)
    label = as_label(given.get("label"), binary=config.target.kind == "binary")
    observed = as_time(given["observed_at"], "observed_at", now) if "observed_at" in given else to_micros(now)
    return _Checked(identity, label, observed)


def _identity(given: dict[str, Any], model: str, now: datetime) -> str:
    by_id, by_entity = "id" in given, "entity" in given or "time" in given
    if by_id and by_entity:
        raise BadRequest("id: stands beside entity or time: name the prediction by one or the other")
    if by_id:
        return as_identity(given["id"], "id")
    if not by_entity:
        raise BadRequest(f"id: {_NEITHER}")
    for key, other in (("entity", "time"), ("time", "entity")):
        if key not in given:
            raise BadRequest(f"{key}: missing: {other} alone does not name a prediction")
    entity = as_identity(given["entity"], "entity")
    [identity] = prediction_ids(model, [entity], [as_time(given["time"], "time", now)])
    return identity


def as_label(value: object, *, binary: bool) -> float:
    """Return a label as a number; BadRequest for a value that the target cannot have."""
    if value is None:
        raise BadRequest("label: missing: submit the label when it is known")
    try:
        return label_of(value, binary=binary)
    except ValueError as error:
        raise BadRequest(f"label: {error}") from None


def as_time(value: object, key: str, now: datetime) -> int:
    """Return a time in microseconds; BadRequest for an invalid time and one in the future."""
    time = value
    if isinstance(value, str):
        try:
            time = datetime.fromisoformat(value.strip())
        except ValueError:
            time = None
    if not isinstance(time, datetime):
        raise BadRequest(
            f"{key}: must be an ISO 8601 time with a zone, such as 2026-05-01T00:00:00Z (got {shown(value)})"
        )
    if time.tzinfo is None or time.utcoffset() is None:
        raise BadRequest(f"{key}: has no time zone (got {shown(value)}); write Z for UTC, or an offset such as +02:00")
    if time > now + TOLERANCE:
        raise BadRequest(f"{key}: lies in the future (got {shown(value)}; it is {now.astimezone(UTC).isoformat()})")
    if (micros := to_micros(time)) < FIRST_TIME:
        raise BadRequest(f"{key}: lies before the year 1 (got {shown(value)})")
    return micros


def parse_uniform(records: Sequence[Any], config: ModelConfig, now: datetime) -> pa.Table | None:
    """Return the table of records that all have the same simple shape; None if they must be parsed one by one."""
    shape = records[0].keys() if type(records[0]) is dict else None
    known = ({"id", "label"}, {"id", "label", "observed_at"}, {"entity", "time", "label"}, set(KEYS) - {"id"})
    if shape not in known or not all(type(record) is dict and record.keys() == shape for record in records):
        return None
    names = [record["id" if "id" in shape else "entity"] for record in records]
    labels = [record["label"] for record in records]
    try:
        if not (_plain_texts(names) and _plain_labels(labels, binary=config.target.kind == "binary")):
            return None
        times = {key: _plain_times([record[key] for record in records], now) for key in shape & {"time", "observed_at"}}
    except (AttributeError, TypeError, ValueError, OverflowError):
        return None
    ids = prediction_ids(config.model, names, times["time"]) if "time" in times else names
    return _table(ids, [float(label) + 0.0 for label in labels], times.get("observed_at", [to_micros(now)] * len(ids)))


def _plain_texts(names: list[Any]) -> bool:
    """Return whether all are short ASCII texts that are identities as they stand."""
    if set(map(type, names)) != {str} or not all(names) or max(map(len, names)) > LONGEST_IDENTITY:
        return False
    together = "\n".join(names)
    return together.isascii() and not any(part in together for part in ("\x00", ".0", "+"))


def _plain_labels(labels: list[Any], *, binary: bool) -> bool:
    if binary:
        return set(map(type, labels)) <= {int, float, bool} and set(labels) <= {0, 1}
    return set(map(type, labels)) <= {int, float} and all(map(isfinite, labels))


def _plain_times(values: list[str], now: datetime) -> list[int]:
    """Return microseconds; ValueError or TypeError for a time without a zone, in the future or not in ISO 8601."""
    times = [datetime.fromisoformat(value.strip()) for value in values]
    if max(times) > now + TOLERANCE:  # TypeError for a naive time
        raise ValueError("in the future")
    if min(micros := [to_micros(time) for time in times]) < FIRST_TIME:
        raise ValueError("before the year 1")
    return micros


def _table(ids: list[str], labels: list[float], observed_at: list[int]) -> pa.Table:
    columns = {
        "id": pa.array(ids, pa.string()),
        "label": pa.array(labels, pa.float64()),
        "observed_at": pa.array(observed_at, pa.int64()).cast(UTC_MICROSECONDS),
    }
    return pa.table(columns)
