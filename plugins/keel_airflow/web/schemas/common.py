"""Values that many requests and answers have: times, names, ids."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Nothing that is stored is of a time beyond these."""


class Body(BaseModel):
    """Base class of what a request's body holds: no unknown keys, no NaN, and no type in place of another."""

    # true is no version 1, and "yes" is no true
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True, use_attribute_docstrings=True)


class Answer(BaseModel):
    """Base class of what an answer holds."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


def _read_time(value: Any) -> datetime:
    """Return a time in UTC; raises ValueError for one before or after all that can be stored."""
    wrong = ValueError("a time is a text of ISO 8601 such as 2013-05-01T00:00:00Z")
    if not isinstance(value, str | datetime):
        raise wrong
    try:
        time = datetime.fromisoformat(str(value).strip().upper())
    except ValueError:
        raise wrong from None
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    # A comparison of two times with zones never overflows; a conversion does in the years 1 and 9999.
    if not EARLIEST <= time <= LATEST:
        raise ValueError(f"a time is between {EARLIEST:%Y-%m-%d} and {LATEST:%Y-%m-%d}")
    return time.astimezone(UTC)


def iso(time: datetime) -> str:
    """Return a time as the parameters of a run have it: ISO 8601 in UTC, with a Z, as answers."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


Time = Annotated[
    datetime,
    BeforeValidator(_read_time),
    Field(examples=["2013-05-01T00:00:00Z"]),
]
"""An aware time in UTC. A text without a zone is in UTC."""

AnswerTime = Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]
"""A time that Keel stored. Pydantic writes UTC with a Z."""

_MODEL: dict[str, Any] = {
    "description": "name of a configured model",
    "examples": ["flight_delay"],
    "json_schema_extra": {"pattern": "^[a-z][a-z0-9_]*$", "maxLength": 40},
}
ModelName = Annotated[str, Field(**_MODEL)]
"""A model's name as a client gives it. `security.require_read` answers 404 to what can be none."""

ModelPath = Annotated[str, Path(**_MODEL)]
"""The same as a part of the path."""

StoredId = Annotated[str, Field(pattern=r"^[\x21-\x7e]+$", max_length=200)]
"""An id of a stored record: printable ASCII, so that every database takes it."""

VersionNumber = Annotated[int, Field(ge=1, le=2**31 - 1, description="number of a version")]

VersionName = Annotated[
    str, Field(min_length=1, max_length=20, pattern=r"^[a-z0-9]+$", description="number or alias of a version")
]
"""Such as ``3``, ``production``, ``staging`` or ``previous``."""
