"""Derive the id of a prediction from its entity and time, for labels without an id."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256

from keel.errors import BadRequest
from keel.store.database.times import to_micros
from keel.values.scalars import identity_of

DIGITS = 32
"""128 bits, as in a random id. Two of a billion predictions share an id with a probability of 1 in 10²⁰."""


def prediction_id(model: str, entity: str, time: datetime) -> str:
    r"""Return the id of the prediction that a model made about ``entity`` at ``time``: 32 hexadecimal digits.

    The id is the beginning of the SHA-256 of ``model``, a line feed, the time as microseconds since 1970-01-01 UTC, a
    line feed and ``entity``, in UTF-8. Model names and numbers have no line feed, so different inputs give different
    texts. A client can compute it in any language: ``printf 'toy\n1767225600000000\nann' | sha256sum | cut -c1-32``.

    time: aware, with microseconds. entity: as `as_identity` returns it. ValueError for a naive time,
    UnicodeEncodeError for half a surrogate pair.

    >>> from datetime import UTC
    >>> prediction_id("toy", "ann", datetime(2026, 1, 1, tzinfo=UTC))
    '3fa911e94b463f0c0fb105cd4b2f956c'
    """
    return _digest(model, to_micros(time), entity)


def prediction_ids(model: str, entities: Iterable[str], times: Iterable[int]) -> list[str]:
    """Return the `prediction_id` of each entity and time, in microseconds since 1970-01-01 UTC."""
    return [_digest(model, micros, entity) for entity, micros in zip(entities, times, strict=True)]


def as_identity(value: object, what: str) -> str:
    """Return an id or entity as the text that is stored, as `keel.values.scalars.identity_of` reads it.

    Raises
    ------
    BadRequest
        It is no identity. The message begins with ``what``.

    >>> as_identity(42, "entity"), as_identity("42.0", "entity")
    ('42', '42')
    """
    try:
        return identity_of(value)
    except ValueError as error:
        raise BadRequest(f"{what}: {error}") from None


def _digest(model: str, micros: int, entity: str) -> str:
    return sha256(f"{model}\n{micros}\n{entity}".encode()).hexdigest()[:DIGITS]
