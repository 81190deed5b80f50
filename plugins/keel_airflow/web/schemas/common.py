"""Values that many requests and answers have: times, names, ids."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from keel.errors import ConfigError
from keel.window import parse_time

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Times beyond these have no rows, and some databases have no number for them."""


class Body(BaseModel):
    """Base class of what a request's body holds: no unknown keys, no NaN."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Answer(BaseModel):
    """Base class of what an answer holds."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


def _read_time(value: Any) -> datetime:
    if not isinstance(value, str | datetime):
        raise ValueError("a time is a text of ISO 8601 such as 2013-05-01T00:00:00Z")
    try:
        time = parse_time(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    if time is None:
        raise ValueError("a time is a text of ISO 8601 such as 2013-05-01T00:00:00Z")
    return time


def _in_range(time: datetime) -> datetime:
    if not EARLIEST <= time < LATEST:
        raise ValueError(f"a time lies between {EARLIEST:%Y} and {LATEST:%Y}")
    return time


def iso(time: datetime) -> str:
    """Return a time as answers have it: ISO 8601 in UTC, with a Z."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


Time = Annotated[
    datetime,
    BeforeValidator(_read_time),
    AfterValidator(_in_range),
    PlainSerializer(iso, return_type=str, when_used="json"),
    Field(examples=["2013-05-01T00:00:00Z"]),
]
"""An aware time in UTC. A text without a zone is in UTC."""

AnswerTime = Annotated[datetime, PlainSerializer(iso, return_type=str, when_used="json")]
"""A time that Keel stored."""

ModelName = Annotated[str, Field(max_length=200, description="name of a configured model", examples=["flight_delay"])]
"""A model's name as a client gives it. `security.require_read` refuses what can be none."""

StoredId = Annotated[str, Field(pattern=r"^[\x21-\x7e]+$", max_length=200)]
"""An id of a stored record: printable ASCII, so that every database takes it."""

VersionNumber = Annotated[int, Field(ge=1, le=2**31 - 1, description="number of a version")]

VersionName = Annotated[
    str, Field(min_length=1, max_length=20, pattern=r"^[a-z0-9]+$", description="number or alias of a version")
]
"""Such as ``3``, ``production``, ``staging`` or ``previous``."""
