"""Whose folder is whose: each process writes to one of its own and holds its lock; one without is anybody's."""

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
    """A writer's folder that this process holds; nobody else reads, writes or deletes in it."""

    folder: Path
    lock: int
    files: Files

    def release(self) -> None:
        """Let whoever comes next have it."""
        self.files.close(self.lock)

    def delete(self) -> None:
        """Delete the folder, if there is only its lock in it, and release it."""
        with contextlib.suppress(OSError):
            self.files.remove(self.folder / LOCK)
            self.files.remove_folder(self.folder)
        self.release()


def create(root: Path, files: Files, now: float) -> Claim:
    """Create and claim a folder of a name that no other has; names are in the order of their time."""
    make_lasting(root, files)
    while True:
        name = f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{secrets.token_hex(4)}"
        files.make_folder(root / name)
        # one who looks for what others left may see it before it is locked, and take it: then it is theirs to delete
        lock = files.lock(root / name / LOCK)
        if lock is not None:
            files.sync_folder(root)
            return Claim(root / name, lock, files)


def left_behind(root: Path, files: Files, besides: set[str]) -> list[Claim]:
    """Claim every folder whose process has ended, the oldest first; ``besides`` are names not to look at."""
    claims = []
    for name in sorted(set(filter(_NAME.fullmatch, files.names(root))) - besides):
        lock = files.lock(root / name / LOCK)
        if lock is not None:
            claims.append(Claim(root / name, lock, files))
    return claims


def make_lasting(folder: Path, files: Files) -> None:
    """Create a folder with its parents, so that it is still there after a power loss."""
    if not files.exists(folder):
        make_lasting(folder.parent, files)
        files.make_folder(folder)
        files.sync_folder(folder.parent)
        return
    # somebody may have just created it, and the installation's folder around it, without waiting for the disk
    for parent in list(folder.parents)[:2]:
        with contextlib.suppress(OSError):
            files.sync_folder(parent)
