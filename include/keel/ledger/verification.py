"""Verify the ledger from its rows alone, without a database or any other service.

A row is a mapping of `COLUMNS`, exactly as it is hashed: the time as microseconds since the epoch, the body as JSON
text. Verification recomputes every hash from the first row on, and checks that each change of a model starts from the
state that the row before left. It cannot find rows that were cut off at the end, nor a chain that was rewritten from
some row on, since the remaining rows are consistent: see `keel.ledger.checkpoints`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from keel.errors import ConfigError

Row = Mapping[str, Any]

GENESIS = "0" * 64
COVERED = ("model", "at", "actor", "action", "generation_from", "generation_to", "body", "previous_hash")
"""The columns that a row's hash covers; its number follows from its position in the chain."""
COLUMNS = ("seq", *COVERED, "hash")
NUMBERS = frozenset({"seq", "at", "generation_from", "generation_to"})
ALIASES = ("production", "staging", "previous")


@dataclass(frozen=True)
class Verification:
    """The result of a verification: whether the chain holds, or the first row that breaks it."""

    entries: int
    broken_at: int | None
    reason: str
    checkpoints: int = 0
    """Number of signed checkpoints that were checked."""
    covered: int = 0
    """Number of rows that the last of them covers."""


@dataclass
class _ModelState:
    """The generation and aliases of a model after the rows so far."""

    generation: int = 0
    aliases: Mapping[str, int | None] = field(default_factory=lambda: dict.fromkeys(ALIASES))


def digest(row: Row) -> str:
    """Return the SHA-256 of a row's content and the hash of the row before it."""
    return hashlib.sha256(json.dumps([row[name] for name in COVERED]).encode()).hexdigest()


def verify(rows: Sequence[Row]) -> Verification:
    """Recompute every hash from the first row on, and check that the changes of each model follow from each other."""
    previous, states = GENESIS, dict[str, _ModelState]()
    for number, row in enumerate(rows, 1):
        reason = _broken_link(row, number, previous)
        if not reason:
            reason = _contradiction(states.setdefault(row["model"], _ModelState()), row)
        if reason:
            return Verification(len(rows), number, reason)
        previous = row["hash"]
    return Verification(len(rows), None, "the chain holds")


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write one row a line, as JSON in ASCII; the file is replaced atomically."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.write_bytes(b"".join(_line(row) + b"\n" for row in rows))
        unfinished.replace(path)
    except OSError as error:
        raise ConfigError(f"the ledger cannot be written to {path}: {error.strerror}") from None


def read_rows(path: Path) -> list[Row]:
    """Return the rows that `write_rows` wrote.

    A line of another form, or without its end, becomes a row that `verify` reports.
    """
    try:
        *lines, rest = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    # a last line without its end was cut off
    return [*map(_parsed, lines), *([{}] if rest else [])]


def _broken_link(row: Row, number: int, previous: str) -> str:
    """Return why a row does not continue the chain, or an empty string."""
    if not _is_row(row):
        return "it does not have the form of a ledger row"
    if row["seq"] != number:
        return f"row {row['seq']} is in its place: a row was removed, moved or renumbered"
    if digest(row) != row["hash"]:
        return "its content does not match its hash"
    if row["previous_hash"] != previous:
        return "it does not follow the row before it: a row was changed, removed or moved"
    return ""


def _is_row(row: Row) -> bool:
    return set(row) == set(COLUMNS) and all(
        type(value) is (int if name in NUMBERS else str) for name, value in row.items()
    )


def _contradiction(state: _ModelState, row: Row) -> str:
    """Return how a row contradicts the model's rows before it, or an empty string; update the model's state."""
    try:
        body = json.loads(row["body"])
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        return "its body is not a JSON object"
    steps, at = (row["generation_from"], row["generation_to"]), state.generation
    if "to" not in body and "from" not in body:
        # The generation may have been read just before a change by another process.
        if steps[0] == steps[1] and 0 <= steps[0] <= at:
            return ""
        return f"it goes from generation {steps[0]} to {steps[1]} of {at}, but records no change"
    if steps != (at, at + 1):
        return f"it goes from generation {steps[0]} to {steps[1]}, but {row['model']} was at {at}"
    if body.get("from") != state.aliases:
        return (
            f"it changes {format_aliases(body.get('from'))}, but {row['model']} was at {format_aliases(state.aliases)}"
        )
    if not _are_aliases(body.get("to")):
        return "the deployment that it changes to is not valid"
    state.generation, state.aliases = at + 1, body["to"]
    return ""


def _are_aliases(value: object) -> TypeGuard[Mapping[str, int | None]]:
    return (
        isinstance(value, dict)
        and set(value) == set(ALIASES)
        and all(version is None or type(version) is int for version in value.values())
    )


def _line(row: Row) -> bytes:
    return json.dumps({name: row[name] for name in COLUMNS}).encode("ascii")


def _parsed(line: bytes) -> Row:
    """Return a line's row; an empty mapping unless every byte of the line is as Keel writes it."""
    try:
        row = json.loads(line)
        return row if _is_row(row) and _line(row) == line else {}
    except (ValueError, TypeError, RecursionError):
        return {}


def format_aliases(aliases: object) -> str:
    """Return the version of each alias as text."""
    if not _are_aliases(aliases):
        return "an invalid deployment"
    return ", ".join(f"{name} {aliases[name] or 'none'}" for name in ALIASES)
