"""The SQL in which PostgreSQL and SQLite differ: times, and what is in the JSON of a body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

_READ_JSON = r"""
CREATE OR REPLACE FUNCTION keel_json(body text) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF strpos(body, '\u0000') > 0 OR strpos(body, '\ud') > 0 THEN
    body := regexp_replace(body, '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g');
    body := regexp_replace(body, '(?<!\\)((?:\\\\)*)\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])', '\1\\ufffd', 'g');
    body := regexp_replace(
      body, '(?<!\\ud[89ab][0-9a-f]{2})(?<!\\)((?:\\\\)*)\\ud[c-f][0-9a-f]{2}', '\1\\ufffd', 'g');
  END IF;
  RETURN body::jsonb;
END $$
"""
"""PostgreSQL's jsonb refuses the character 0 and half surrogates, which JSON allows: one such text in one body would
fail every query over all of them. They become the replacement character."""


@dataclass(frozen=True)
class View:
    """A view: its columns by name, each an expression, and where they come from."""

    columns: Mapping[str, str]
    source: str
    """From ``FROM`` to the end."""

    def sql(self) -> str:
        """Return the SELECT statement."""
        listed = ", ".join(f"{expression} AS {name}" for name, expression in self.columns.items())
        return f"SELECT {listed} {self.source}"


class Dialect(Protocol):
    """Expressions of one database. json: an expression; path: the keys down to a value, the outermost first."""

    prepare: tuple[str, ...]
    """Statements to run before the views are created."""

    def time(self, micros: str) -> str:
        """Return microseconds since the epoch as a time."""

    def moment(self, json: str, *path: str) -> str:
        """Return an ISO 8601 text of the JSON as a time."""

    def number(self, json: str, *path: str) -> str:
        """Return a double."""

    def whole(self, json: str, *path: str) -> str:
        """Return a whole number of 8 bytes."""

    def flag(self, json: str, *path: str) -> str:
        """Return a boolean."""

    def text(self, json: str, *path: str) -> str:
        """Return a text."""

    def body(self, column: str, alias: str) -> tuple[str, str]:
        """Return what reads a column's JSON once a row, for after ``FROM``, and its expression."""

    def each(self, json: str, *path: str, alias: str) -> str:
        """Return a join with the members of an object, as ``alias.key`` and ``alias.value``; none where it is none."""

    def same(self, json: str, *path: str, alias: str, key: str) -> str:
        """Return a join with the one member of an object that has a key, or with nothing."""

    def items(self, json: str, *path: str, alias: str) -> str:
        """Return a join with the items of an array, as ``alias.value``; none where it is none."""

    def before(self, text: str, mark: str) -> str:
        """Return what stands before the first mark in a text."""

    def after(self, text: str, mark: str) -> str:
        """Return what stands after the first mark in a text."""


class _Postgresql:
    prepare: tuple[str, ...] = (_READ_JSON,)

    def time(self, micros: str) -> str:
        return f"to_timestamp({micros}::double precision / 1000000)"

    def moment(self, json: str, *path: str) -> str:
        return f"{self.text(json, *path)}::timestamptz"

    def number(self, json: str, *path: str) -> str:
        return f"{self.text(json, *path)}::double precision"

    def whole(self, json: str, *path: str) -> str:
        return f"{self.text(json, *path)}::bigint"

    def flag(self, json: str, *path: str) -> str:
        return f"{self.text(json, *path)}::boolean"

    def text(self, json: str, *path: str) -> str:
        return f"({json} #>> '{{{','.join(path)}}}')"

    def body(self, column: str, alias: str) -> tuple[str, str]:
        # OFFSET 0: otherwise the planner reads the JSON again for each expression
        return f"LEFT JOIN LATERAL (SELECT keel_json({column}) AS body OFFSET 0) {alias} ON true", f"{alias}.body"

    def each(self, json: str, *path: str, alias: str) -> str:
        return f"CROSS JOIN LATERAL {self._members(json, path)} {alias}"

    def same(self, json: str, *path: str, alias: str, key: str) -> str:
        return f"LEFT JOIN LATERAL {self._members(json, path)} {alias} ON {alias}.key = {key}"

    def items(self, json: str, *path: str, alias: str) -> str:
        return f"CROSS JOIN LATERAL jsonb_array_elements({_of_type('array', json, path)}) {alias}"

    def _members(self, json: str, path: Sequence[str]) -> str:
        return f"jsonb_each({_of_type('object', json, path)})"

    def before(self, text: str, mark: str) -> str:
        return f"split_part({text}, '{mark}', 1)"

    def after(self, text: str, mark: str) -> str:
        return f"substr({text}, strpos({text}, '{mark}') + 1)"


class _Sqlite:
    prepare: tuple[str, ...] = ()

    def time(self, micros: str) -> str:
        return f"strftime('%Y-%m-%dT%H:%M:%fZ', {micros} / 1000000.0, 'unixepoch')"

    def moment(self, json: str, *path: str) -> str:
        return f"strftime('%Y-%m-%dT%H:%M:%fZ', {self.text(json, *path)})"

    def number(self, json: str, *path: str) -> str:
        return f"CAST({self.text(json, *path)} AS REAL)"

    def whole(self, json: str, *path: str) -> str:
        return f"CAST({self.text(json, *path)} AS INTEGER)"

    def flag(self, json: str, *path: str) -> str:
        return self.text(json, *path)

    def text(self, json: str, *path: str) -> str:
        return f"json_extract({json}, '$.{'.'.join(path)}')" if path else json

    def body(self, column: str, alias: str) -> tuple[str, str]:
        return "", column

    def each(self, json: str, *path: str, alias: str) -> str:
        # what is no object or array is one row without a key
        return f"JOIN json_each({json}, '{'.'.join(('$', *path))}') {alias} ON {alias}.key IS NOT NULL"

    def same(self, json: str, *path: str, alias: str, key: str) -> str:
        return f"LEFT JOIN json_each({json}, '{'.'.join(('$', *path))}') {alias} ON {alias}.key = {key}"

    def items(self, json: str, *path: str, alias: str) -> str:
        return self.each(json, *path, alias=alias)

    def before(self, text: str, mark: str) -> str:
        return f"substr({text}, 1, instr({text} || '{mark}', '{mark}') - 1)"

    def after(self, text: str, mark: str) -> str:
        return f"substr({text}, instr({text}, '{mark}') + 1)"


def _of_type(kind: str, json: str, path: Sequence[str]) -> str:
    member = f"{json} #> '{{{','.join(path)}}}'"
    return f"CASE WHEN jsonb_typeof({member}) = '{kind}' THEN {member} END"


POSTGRESQL: Dialect = _Postgresql()
SQLITE: Dialect = _Sqlite()
