"""What a spool gives back: batches, what it holds, and what it found damaged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Durability(StrEnum):
    """What must have happened to a record before its append is done."""

    FSYNC = "fsync"
    """It is on the disk: it survives power loss."""
    WRITE = "write"
    """It is with the operating system: it survives the end of the process, SIGKILL included, and not power loss."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of a spool that is not what was written, or a record that no store will take.

    found_at : datetime
        When it was found, UTC.
    place : str
        File and byte offset, relative to the spool's folder.
    length : int
        Bytes; 0 if records are missing altogether.
    reason : str
        What is wrong with it.
    kept : str or None
        The file in ``set-aside`` that has the bytes; None if there is nothing to keep.
    """

    found_at: datetime
    place: str
    length: int
    reason: str
    kept: str | None


@dataclass(frozen=True, slots=True)
class Stats:
    """What a spool holds and has done, as of one moment; reading it costs the same however much it holds.

    records, bytes : int
        Durable and not yet acknowledged, own and adopted; bytes with their headers. What is damaged counts until the
        reading has passed it.
    oldest_at : datetime or None
        When the oldest of them was appended, UTC.
    full : bool
        True when there is no room under ``max_bytes``, or the last group failed because the disk was full.
    set_aside : int
        Damaged stretches and rejected records: those whose files lay in ``set-aside`` when the spool was opened, and
        those that this process has found since.
    torn : int
        Ends that a crash left behind before what they would have been was acknowledged, in this process's reading.
    damage : tuple of Damage
        The latest ones that this process set aside, at most 100.
    appended, acknowledged, failed : int
        Records since the spool was opened.
    durable_writes : int
        Groups written (and synced, unless durability is ``write``) since the spool was opened.
    adopted : int
        Folders of ended processes taken over since the spool was opened.
    """

    records: int
    bytes: int
    oldest_at: datetime | None
    full: bool
    set_aside: int
    torn: int
    damage: tuple[Damage, ...]
    appended: int
    acknowledged: int
    failed: int
    durable_writes: int
    adopted: int
