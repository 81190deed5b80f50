"""The proof that a ledger is what was written, from its rows alone: no database and no other service is asked.

A row here is what the table holds, and exactly what is hashed: a mapping of `COLUMNS`, the time as microseconds since
the epoch, the body as its JSON text. Two things are recomputed from the first row on: every hash, and what the rows of
a model say must follow from one another. What this cannot show, because the remaining rows are whole, is an end that
was cut off and a chain that was written anew from some row on: see `keel.ledger.checkpoints`.
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
"""What a row's hash covers; its number is its place in the chain."""
COLUMNS = ("seq", *COVERED, "hash")
NUMBERS = frozenset({"seq", "at", "generation_from", "generation_to"})
ALIASES = ("production", "staging", "previous")


@dataclass(frozen=True)
class Verification:
    """Whether a ledger holds, and if not, the number of the first row that breaks it."""

    entries: int
    broken_at: int | None
    reason: str
    checkpoints: int = 0
    """How many signed checkpoints were checked."""
    covered: int = 0
    """How many rows the last of them covers."""


@dataclass
class _Reached:
    """Where a model's rows have brought it."""

    generation: int = 0
    aliases: Mapping[str, int | None] = field(default_factory=lambda: dict.fromkeys(ALIASES))


def digest(row: Row) -> str:
    """SHA-256 over a row's content and the hash before it."""
    return hashlib.sha256(json.dumps([row[name] for name in COVERED]).encode()).hexdigest()


def verify(rows: Sequence[Row]) -> Verification:
    """Recompute every hash from the first row on, and what the rows of each model say must follow."""
    previous, reached = GENESIS, dict[str, _Reached]()
    for number, row in enumerate(rows, 1):
        reason = _broken_link(row, number, previous)
        if not reason:
            reason = _contradiction(reached.setdefault(row["model"], _Reached()), row)
        if reason:
            return Verification(len(rows), number, reason)
        previous = row["hash"]
    return Verification(len(rows), None, "the chain holds")


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write one row a line, as JSON in ASCII, replacing the file as a whole."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.write_bytes(b"".join(_line(row) + b"\n" for row in rows))
        unfinished.replace(path)
    except OSError as error:
        raise ConfigError(f"the ledger cannot be written to {path}: {error.strerror}") from None


def read_rows(path: Path) -> list[Row]:
    """Return the rows that `write_rows` wrote; a line of any other form becomes a row that `verify` names."""
    try:
        lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    return [] if lines == [b""] else [_parsed(line) for line in lines]


def _broken_link(row: Row, number: int, previous: str) -> str:
    """Return why a row is not the one that follows, or an empty string."""
    if not _is_row(row):
        return "it is not a row as Keel writes them"
    if row["seq"] != number:
        return f"row {row['seq']} stands in its place: a row was removed, moved or given another number"
    if digest(row) != row["hash"]:
        return "its content does not match its hash"
    if row["previous_hash"] != previous:
        return "it does not follow the row before it: a row was changed, removed or moved"
    return ""


def _is_row(row: Row) -> bool:
    return set(row) == set(COLUMNS) and all(
        type(value) is (int if name in NUMBERS else str) for name, value in row.items()
    )


def _contradiction(reached: _Reached, row: Row) -> str:
    """Return what a row says against the model's rows before it, or an empty string, and go on to where it leads."""
    try:
        body = json.loads(row["body"])
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        return "its body is not a JSON object"
    steps, at = (row["generation_from"], row["generation_to"]), reached.generation
    if "to" not in body and "from" not in body:
        # The generation may be one that was read just before somebody else's change.
        if steps[0] == steps[1] and 0 <= steps[0] <= at:
            return ""
        return f"it goes from generation {steps[0]} to {steps[1]} of {at}, and does not say what changed"
    if steps != (at, at + 1):
        return f"it goes from generation {steps[0]} to {steps[1]}, and {row['model']} was at {at}"
    if body.get("from") != reached.aliases:
        return f"it changes {placed(body.get('from'))}, and {row['model']} was at {placed(reached.aliases)}"
    if not _are_aliases(body.get("to")):
        return "it changes the deployment to what none can be"
    reached.generation, reached.aliases = at + 1, body["to"]
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
    """Return a line's row; an empty one, which is no row, where the line is not to the byte what Keel writes."""
    try:
        row = json.loads(line)
        return row if _is_row(row) and _line(row) == line else {}
    except (ValueError, TypeError, RecursionError):
        return {}


def placed(aliases: object) -> str:
    """Say which version is where."""
    if not _are_aliases(aliases):
        return "nothing that a deployment can be"
    return ", ".join(f"{name} {aliases[name] or 'none'}" for name in ALIASES)
