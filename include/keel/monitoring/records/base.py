"""The base class of all records, and the types of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, PlainValidator, ValidationError

from keel.errors import SchemaError
from keel.window import Window


class Record(BaseModel):
    """Frozen, typed data that one step hands to the next and the store keeps.

    `to_dict` and `from_dict` are the border to XCom, to JSON in the store and to HTTP. A field that was stored under
    another name by an earlier release has that name as an alias, so that old rows can still be read.
    """

    # Built on first use: DAG files import the records of all steps when they are parsed, and use none.
    model_config = ConfigDict(
        frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True, defer_build=True
    )

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON values, by field name."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the record that `to_dict` described. Unknown keys are ignored.

        Raises
        ------
        SchemaError
            A field is missing or has a value of the wrong type; the message names the field.

        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
            raise SchemaError(f"{cls.__name__}: {'; '.join(faults)}") from None


def _read_time(value: Any) -> Any:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _read_window(value: Any) -> Window:
    if isinstance(value, Window):
        return value
    try:
        return Window.from_dict(value)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{value!r} has no start and end") from error


Time = Annotated[datetime, BeforeValidator(_read_time), PlainSerializer(datetime.isoformat, return_type=str)]
"""A time that is stored as `datetime.isoformat` writes it. The ids of reports are hashes of such text."""

WindowField = Annotated[
    Window, PlainValidator(_read_window), PlainSerializer(Window.to_dict, return_type=dict[str, str])
]
"""A window of full hours, stored as its two times."""


def renamed(old_names: Mapping[str, str]) -> BeforeValidator:
    """Return a validator that reads the values that earlier releases stored under the new names."""
    return BeforeValidator(lambda value: old_names.get(value, value) if isinstance(value, str) else value)


JsonObject = dict[str, Any]
"""Details that are stored and shown as they are, and that no later step reads."""


class Span(Record):
    """The time from start to end of a holdout or an experiment. Neither need be a full hour."""

    start: Time
    end: Time


class DataSlice(Span):
    """The labelled rows of a span, with their checksum."""

    rows: int
    sha256: str
