"""Read tables that others wrote, in parts, and choose their columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from keel.errors import ConfigError, suggestion
from keel.values.names import as_configured

if TYPE_CHECKING:
    import pyarrow as pa

PART_ROWS = 50_000
"""Rows in memory at once, and in one transaction of the store."""


@dataclass(frozen=True)
class Source:
    """An open file or table.

    name: for messages, without secrets. read: yields the chosen columns under their own names, in parts.
    has_only_texts: whether its format knows no other values, as CSV, where an empty text is a missing value.
    """

    name: str
    columns: tuple[str, ...]
    read: Callable[[Sequence[str]], Iterator[pa.Table]]
    has_only_texts: bool = False


@dataclass(frozen=True)
class Names:
    """The names of Keel's columns in a source. None: Keel's own name, if the source has such a column."""

    id: str | None = None
    entity: str | None = None
    time: str | None = None
    label: str | None = None
    observed_at: str | None = None

    def __post_init__(self) -> None:
        if self.id and (self.entity or self.time):
            raise ConfigError("id: stands beside entity or time: name the predictions by one or the other")

    def among(self, source: Source) -> dict[str, str]:
        """Return the columns to read: Keel's name → the source's name.

        Raises
        ------
        ConfigError
            The source lacks a column or has it twice. The message lists its columns.

        """
        wanted = {each.name: getattr(self, each.name) or each.name for each in fields(self)}
        same = {ours: own for own, ours in as_configured(source.columns, wanted.values()).items()}
        wanted = {name: same.get(column, column) for name, column in wanted.items()}
        said = {name for name in wanted if getattr(self, name)}
        by_entity = bool(said & {"entity", "time"}) or ("id" not in said and "id" not in source.columns)
        if by_entity and not said & {"id", "entity", "time"} and not {"entity", "time"} & set(source.columns):
            raise _missing(source, "id", " (nor 'entity' and 'time')", "name it with --id, or --entity and --time")
        needed = ["entity", "time", "label"] if by_entity else ["id", "label"]
        if "observed_at" in said or "observed_at" in source.columns:
            needed.append("observed_at")
        for name in needed:
            if source.columns.count(wanted[name]) == 0:
                raise _missing(source, wanted[name], "", f"name the right one with --{name.replace('_', '-')}")
            if source.columns.count(wanted[name]) > 1:
                raise ConfigError(f"{source.name}: has the column {wanted[name]!r} twice")
        return {name: wanted[name] for name in needed}


def _missing(source: Source, column: str, more: str, way_out: str) -> ConfigError:
    there = ", ".join(source.columns[:30]) + (", …" if len(source.columns) > 30 else "")
    return ConfigError(
        f"{source.name}: has no column {column!r}{more}{suggestion(column, source.columns)}; it has {there}; {way_out}"
    )
