"""What a spool reports: its durability levels, its statistics and the damage that it found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Durability(StrEnum):
    """How far a record must have come before its append is done."""

    FSYNC = "fsync"
    """On the disk. The record survives a power loss."""
    WRITE = "write"
    """With the operating system. The record survives the end of the process, SIGKILL included, but no power loss."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A part of a spool that differs from what was written, or a record that no store accepts.

    found_at : datetime
        When it was found, UTC.
    place : str
        File and byte offset, relative to the spool's folder.
    length : int
        Bytes; 0 if records are missing altogether.
    reason : str
        What is wrong with it.
    file : str or None
        The file in ``dead-letters`` that holds the bytes; None if there are none, or if writing that file failed.
    """

    found_at: datetime
    place: str
    length: int
    reason: str
    file: str | None


@dataclass(frozen=True, slots=True)
class Stats:
    """The state of a spool at one moment. Reading it costs the same however much the spool holds.

    records, bytes : int
        Durable and not yet acknowledged, own and adopted; bytes include headers. Damaged records count until the reader
        has passed them.
    oldest_at : datetime or None
        When the oldest of them was appended, UTC.
    full : bool
        True when ``max_bytes`` is reached, or when the last group failed because the disk was full.
    dead_letters : int
        Damaged parts and rejected records: the files in ``dead-letters`` when the spool was opened, plus those that
        this process has found since.
    torn : int
        Unfinished ends that a crash left behind, none of which was ever confirmed, as far as this process has read.
    damage : tuple of Damage
        The latest dead letters of this process, at most 100.
    appended, acknowledged, failed : int
        Records since the spool was opened.
    durable_writes : int
        Groups written (and synced, unless durability is ``write``) since the spool was opened.
    adopted : int
        Folders of ended processes taken over since the spool was opened.
    deferred : int
        Those of ``records`` that wait aside, see `Spool.defer`.
    """

    records: int
    bytes: int
    oldest_at: datetime | None
    full: bool
    dead_letters: int
    torn: int
    damage: tuple[Damage, ...]
    appended: int
    acknowledged: int
    failed: int
    durable_writes: int
    adopted: int
    deferred: int = 0
