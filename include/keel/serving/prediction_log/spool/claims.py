"""Ownership of spool folders: each process writes to a folder of its own and holds its lock."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keel.serving.prediction_log.spool.files import Files

LOCK = "lock"
_NAME = re.compile(r"\d{8}T\d{6}-\d+-[0-9a-f]{8}")


@dataclass(slots=True)
class Claim:
    """A folder that this process owns. No other process reads, writes or deletes in it."""

    folder: Path
    lock: int
    files: Files

    def release(self) -> None:
        """Give up the lock, so that another process can claim the folder."""
        self.files.close(self.lock)

    def delete(self) -> None:
        """Delete the folder if only its lock is left in it, and release it."""
        with contextlib.suppress(OSError):
            self.files.remove(self.folder / LOCK)
            self.files.remove_folder(self.folder)
        self.release()


def create(root: Path, files: Files, now: float) -> Claim:
    """Create and claim a folder with a unique name; names sort by their time."""
    create_durable_folder(root, files)
    while True:
        name = f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{secrets.token_hex(4)}"
        files.make_folder(root / name)
        # a process that looks for abandoned folders may lock this one first; then that process owns and deletes it
        lock = files.lock(root / name / LOCK)
        if lock is not None:
            files.sync_folder(root)
            return Claim(root / name, lock, files)


def claim_abandoned(root: Path, files: Files, exclude: set[str]) -> list[Claim]:
    """Claim every folder whose process has ended, the oldest first, except those named in ``exclude``."""
    claims = []
    for name in sorted(set(filter(_NAME.fullmatch, files.names(root))) - exclude):
        lock = files.lock(root / name / LOCK)
        if lock is not None:
            claims.append(Claim(root / name, lock, files))
    return claims


def create_durable_folder(folder: Path, files: Files) -> None:
    """Create a folder with its parents, so that it still exists after a power loss."""
    if not files.exists(folder):
        create_durable_folder(folder.parent, files)
        files.make_folder(folder)
        files.sync_folder(folder.parent)
        return
    # another process may have just created it and its parent, without waiting for the disk
    for parent in list(folder.parents)[:2]:
        with contextlib.suppress(OSError):
            files.sync_folder(parent)
