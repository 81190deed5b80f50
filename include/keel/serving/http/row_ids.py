"""Ids, times and entities of a request's rows: what the client says of them, and what they get if it does not."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from keel.config.loading import shown_duration
from keel.errors import BadRequest, suggestion
from keel.feedback import as_identity, prediction_ids
from keel.serving.models.input_schema import shown
from keel.store.database.times import from_micros, to_micros

if TYPE_CHECKING:
    from keel.serving.models.input_schema import Inputs

Clock = Callable[[int], int]
"""Gives the first of so many consecutive microseconds since the epoch, UTC, none of which it has given before."""

KEYS = ("ids", "times", "entities")
TOLERANCE = timedelta(minutes=5)
"""How far a client's clock may be ahead of this one, as for feedback."""
MICROSECOND = timedelta(microseconds=1)


def identify(
    own: Any, columns: Mapping[str, Sequence[Any]], size: int, inputs: Inputs, clock: Clock
) -> tuple[list[str], list[int], list[str | None] | None]:
    """Return ids, times and entities of a request's rows.

    own: what stands under the request's ``keel`` key. An entity is what stands there, else in the model's entity
    column. A row without a time gets the clock's. Its id is the client's, else it follows from entity and time, else it
    is random.

    Raises
    ------
    BadRequest
        For what is none of these, is said twice, or lies outside the times that are taken; names key and row.

    """
    said = _said(own, size)
    entities = _entities(said.get("entities"), columns, inputs)
    first = clock(size)
    times = list(range(first, first + size))
    if (stated := said.get("times")) is not None:
        times = _times(stated, times, first, inputs)
    ids = _new_ids(inputs.model, entities, times, first)
    if (given := said.get("ids")) is not None:
        ids = [
            new if identity is None else as_identity(identity, f"keel.ids[{row}]")
            for row, (identity, new) in enumerate(zip(given, ids, strict=True))
        ]
    if len(set(ids)) < size:
        raise BadRequest(_twice(ids, given, entities))
    return ids, times, entities


def _said(own: Any, size: int) -> Mapping[str, list[Any] | None]:
    if own is None:
        return {}
    if not isinstance(own, dict):
        raise BadRequest(f"keel: must be an object with {', '.join(KEYS)}, not {shown(own)}")
    for key, values in own.items():
        if key not in KEYS:
            raise BadRequest(f"keel.{key[:60]}: unknown key{suggestion(key, KEYS)}; valid: {', '.join(KEYS)}")
        if values is not None and not (isinstance(values, list) and len(values) == size):
            found = f"a list of {len(values)}" if isinstance(values, list) else shown(values)
            raise BadRequest(f"keel.{key}: must be a list of {size}, one for each row, not {found}")
    return own


def _entities(
    stated: list[Any] | None, columns: Mapping[str, Sequence[Any]], inputs: Inputs
) -> list[str | None] | None:
    if stated is not None:
        return [None if e is None else as_identity(e, f"keel.entities[{row}]") for row, e in enumerate(stated)]
    if inputs.entity is None or inputs.entity not in columns:
        return None
    return [
        None if _is_missing(e) else as_identity(_whole(e), f"column {inputs.entity!r}, row {row}")
        for row, e in enumerate(columns[inputs.entity])
    ]


def _is_missing(value: Any) -> bool:
    return value is None or value != value


def _whole(value: Any) -> Any:
    """Return 12 for 12.0: what CSV, or a column with missing values, makes of a whole number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _times(stated: list[Any], now: list[int], first: int, inputs: Inputs) -> list[int]:
    latest, earliest = first + TOLERANCE // MICROSECOND, first - inputs.max_age // MICROSECOND
    times = []
    for row, (value, default) in enumerate(zip(stated, now, strict=True)):
        time = default if value is None else _micros(value, f"keel.times[{row}]")
        if not earliest <= time <= latest:
            raise BadRequest(f"keel.times[{row}]: {shown(value)} {_outside(time > latest, inputs, first)}")
        times.append(time)
    return times


def _outside(ahead: bool, inputs: Inputs, first: int) -> str:
    now = f"it is {from_micros(first).isoformat()}"
    if ahead:
        return f"lies in the future ({now})"
    oldest = shown_duration(inputs.max_age)
    return f"lies more than serving.max_age ({oldest}) in the past ({now}); leave it out for the present"


def _micros(value: Any, what: str) -> int:
    try:
        time = datetime.fromisoformat(value)
        if time.utcoffset() is None:
            raise BadRequest(f"{what}: {shown(value)} has no time zone; write Z for UTC, or an offset such as +02:00")
        return to_micros(time.astimezone(UTC))
    except (TypeError, ValueError, OverflowError):
        raise BadRequest(
            f"{what}: {shown(value)} is not an ISO 8601 time with a zone, such as 2026-05-01T00:00:00Z"
        ) from None


def _new_ids(model: str, entities: list[str | None] | None, times: list[int], now: int) -> list[str]:
    if entities is None:
        return _random_ids(len(times), now)
    ids = iter(_random_ids(entities.count(None), now))
    known = [(entity, time) for entity, time in zip(entities, times, strict=True) if entity is not None]
    derived = iter(prediction_ids(model, [e for e, _ in known], [t for _, t in known]))
    return [next(ids) if entity is None else next(derived) for entity in entities]


def _random_ids(count: int, now: int) -> list[str]:
    """Return ids of 80 random bits behind the milliseconds of ``now``, as in UUIDs of version 7.

    Random from the first bit on, each would lie elsewhere in the store's index, and storing it take twice as long.
    """
    digits, begin = os.urandom(10 * count).hex(), f"{now // 1000:012x}"
    return [begin + digits[start : start + 20] for start in range(0, 20 * count, 20)]


def _twice(ids: list[str], given: list[Any] | None, entities: list[str | None] | None) -> str:
    seen: dict[str, int] = {}
    for row, identity in enumerate(ids):
        if identity in seen:
            first = seen[identity]
            break
        seen[identity] = row
    if given is not None and given[row] is not None:
        return f"keel.ids[{row}]: {shown(identity)} is also the id of row {first}; a prediction has an id of its own"
    assert entities is not None
    return (
        f"keel.times[{row}]: the same entity {shown(entities[row])} at the same time as row {first}; give one of them "
        "another time, or an id of its own"
    )
