"""The records of one writer in their order: segment after segment, read from a cursor on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Position:
    """Where a batch ends: a chain, a segment of it, the offset and the sequence number of what follows."""
