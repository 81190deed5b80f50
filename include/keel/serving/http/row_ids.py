"""Ids, times and entities of a request's rows: the client's, or generated ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from keel.config.loading import shown_duration
from keel.errors import BadRequest, suggestion
from keel.feedback import as_identity, prediction_ids
from keel.store.database.times import from_micros, to_micros
from keel.values.scalars import shown

if TYPE_CHECKING:
    from keel.serving.models.input_schema import Inputs

Clock = Callable[[int], int]
"""Returns the first of so many consecutive microseconds since the epoch, UTC, none of them returned before."""

KEYS = ("ids", "times", "entities")
TOLERANCE = timedelta(minutes=5)
"""How far a client's clock may be ahead of this machine's, as for feedback."""
MICROSECOND = timedelta(microseconds=1)


def identify(
    keel: Any, columns: Mapping[str, Sequence[Any]], size: int, inputs: Inputs, clock: Clock
) -> tuple[list[str], list[int], list[str | None] | None]:
    """Return ids, times and entities of a request's rows.

    keel: the value of the request's key ``keel``. An entity is the one given there, else the one in the model's entity
    column. A row without a time gets the clock's. Its id is the client's, else it is derived from entity and time, else
    it is random.

    Raises
    ------
    BadRequest
        For invalid or repeated values, and times outside the accepted range; names key and row.

    """
    given = _given(keel, size)
    entities = _entities(given.get("entities"), columns, inputs)
    first = clock(size)
    times = list(range(first, first + size))
    if (given_times := given.get("times")) is not None:
        times = _times(given_times, times, first, inputs)
    ids = _new_ids(inputs.model, entities, times, first)
    if (given_ids := given.get("ids")) is not None:
        ids = [
            new if identity is None else as_identity(identity, f"keel.ids[{row}]")
            for row, (identity, new) in enumerate(zip(given_ids, ids, strict=True))
        ]
    if len(set(ids)) < size:
        raise BadRequest(_duplicate(ids, given_ids, entities))
    return ids, times, entities


def _given(keel: Any, size: int) -> Mapping[str, list[Any] | None]:
    if keel is None:
        return {}
    if not isinstance(keel, dict):
        raise BadRequest(f"keel: must be an object with {', '.join(KEYS)}, not {shown(keel)}")
    for key, values in keel.items():
        if key not in KEYS:
            raise BadRequest(f"keel.{key[:60]}: unknown key{suggestion(key, KEYS)}; valid: {', '.join(KEYS)}")
        if values is not None and not (isinstance(values, list) and len(values) == size):
            found = f"a list of {len(values)}" if isinstance(values, list) else shown(values)
            raise BadRequest(f"keel.{key}: must be a list of {size}, one for each row, not {found}")
    return keel


def _entities(given: list[Any] | None, columns: Mapping[str, Sequence[Any]], inputs: Inputs) -> list[str | None] | None:
    if given is not None:
        return [None if e is None else as_identity(e, f"keel.entities[{row}]") for row, e in enumerate(given)]
    if inputs.entity_column is None or inputs.entity_column not in columns:
        return None
    return [
        None if _is_missing(e) else as_identity(e, f"column {inputs.entity_column!r}, row {row}")
        for row, e in enumerate(columns[inputs.entity_column])
    ]


def _is_missing(value: Any) -> bool:
    return value is None or value != value


def _times(given: list[Any], now: list[int], first: int, inputs: Inputs) -> list[int]:
    latest, earliest = first + TOLERANCE // MICROSECOND, first - inputs.max_age // MICROSECOND
    times = []
    for row, (value, default) in enumerate(zip(given, now, strict=True)):
        time = default if value is None else _micros(value, f"keel.times[{row}]")
        if not earliest <= time <= latest:
            raise BadRequest(f"keel.times[{row}]: {shown(value)} {_outside(time > latest, inputs, first)}")
        times.append(time)
    return times


def _outside(ahead: bool, inputs: Inputs, first: int) -> str:
    now = f"it is {from_micros(first).isoformat()}"
    if ahead:
        return f"is in the future ({now})"
    oldest = shown_duration(inputs.max_age)
    return f"is older than serving.max_age ({oldest}; {now}); omit it to use the present time"


def _micros(value: Any, what: str) -> int:
    try:
        time = datetime.fromisoformat(value.strip())
        if time.utcoffset() is None:
            raise BadRequest(f"{what}: {shown(value)} has no time zone; add Z for UTC, or an offset such as +02:00")
        return to_micros(time.astimezone(UTC))
    except (AttributeError, TypeError, ValueError, OverflowError):
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
    """Return ids of the milliseconds of ``now`` and 80 random bits, as in UUIDs of version 7.

    Fully random ids would be scattered over the store's index, and storing them would take twice as long.
    """
    digits, prefix = os.urandom(10 * count).hex(), f"{now // 1000:012x}"
    return [prefix + digits[start : start + 20] for start in range(0, 20 * count, 20)]


def _duplicate(ids: list[str], given: list[Any] | None, entities: list[str | None] | None) -> str:
    seen: dict[str, int] = {}
    for row, identity in enumerate(ids):
        if identity in seen:
            first = seen[identity]
            break
        seen[identity] = row
    if given is not None and given[row] is not None:
        return f"keel.ids[{row}]: {shown(identity)} is also the id of row {first}; give each row its own id"
    assert entities is not None
    return (
        f"keel.times[{row}]: the same entity {shown(entities[row])} at the same time as row {first}; give one of them "
        "another time, or give both an id"
    )
