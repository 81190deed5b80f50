"""Dead letters: bytes that cannot be delivered, a file each, with the reason and the place before them."""

from __future__ import annotations

import contextlib
import json
import logging
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from keel.serving.prediction_log.spool.state import Damage

if TYPE_CHECKING:
    from keel.serving.prediction_log.spool.files import Files

log = logging.getLogger(__name__)

FOLDER = "dead-letters"
FORMER_FOLDER = "set-aside"
"""The folder's name in Keel 0.1.0. Its files are moved when a spool is opened."""
Kind = Literal["damaged", "rejected", "torn"]
LATEST = 100
"""How many damages a process remembers. The files themselves all stay."""


class DeadLetters:
    """The folder ``dead-letters`` of a spool, shared by all processes.

    A file's name states kind and place, so that what is found again after a crash is stored once. Its first line is
    JSON (found_at, place, length, reason); the bytes follow. Keel never deletes these files.

    count : int
        Damaged parts and rejected records: the files when the spool was opened, plus those added since.
    torn : int
        Unfinished ends of crashed processes. They were never confirmed, so they are not damage.
    latest : deque of Damage
        The newest ones that this process added.
    """

    def __init__(self, root: Path, files: Files, clock: Callable[[], float]) -> None:
        self.folder = root / FOLDER
        self._files = files
        self._clock = clock
        self._move_former(root / FORMER_FOLDER)
        self.count = sum(not name.endswith(".torn") for name in files.names(self.folder))
        self.torn = 0
        self.latest: deque[Damage] = deque(maxlen=LATEST)

    def add(self, kind: Kind, place: str, content: bytes, reason: str) -> Damage:
        """Write bytes durably to a file of their own; ``file`` is None if there are none, or if writing failed."""
        name = f"{place.replace('/', '-').replace(':', '-')}.{kind}"
        damage = Damage(self._now(), place, len(content), reason, name if content else None)
        known = bool(content) and self._files.exists(self.folder / name)
        if content:
            # an existing file is written again: a crash may have left half of it
            try:
                self._write(name, damage, content)
            except OSError as error:
                log.error(
                    "cannot write %d bytes at %s to the dead letters: %s; the whole segment file is preserved instead",
                    len(content),
                    place,
                    error,
                )
                damage = Damage(damage.found_at, place, len(content), reason, None)
        self._count(kind, damage, known)
        return damage

    def add_file(self, path: Path, place: str) -> None:
        """Move a whole file into the folder."""
        self._create_folder()
        self._files.rename(path, self.folder / f"{place.replace('/', '-')}.damaged")
        with contextlib.suppress(OSError):
            self._files.sync_folder(self.folder)

    def _move_former(self, former: Path) -> None:
        """Move the files of an older Keel. Other processes may do the same at the same time."""
        names = self._files.names(former)
        if not names:
            return
        self._create_folder()
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                self._files.rename(former / name, self.folder / name)
        self._files.sync_folder(self.folder)
        with contextlib.suppress(OSError):
            self._files.sync_folder(former)
            self._files.remove_folder(former)
        log.info("moved %d files from %s to %s", len(names), former, self.folder)

    def _count(self, kind: Kind, damage: Damage, known: bool) -> None:
        if kind == "torn":
            self.torn += 1
            log.info(
                "skipped %d bytes at %s that a crash left unfinished: %s", damage.length, damage.place, damage.reason
            )
            return
        self.count += not known
        self.latest.append(damage)
        log.error("dead letter (%s): %d bytes at %s: %s", kind, damage.length, damage.place, damage.reason)

    def _write(self, name: str, damage: Damage, content: bytes) -> None:
        self._create_folder()
        header = {
            "found_at": damage.found_at.isoformat(),
            "place": damage.place,
            "length": damage.length,
            "reason": damage.reason,
        }
        handle = self._files.open(self.folder / name)
        try:
            self._files.truncate(handle, 0)
            self._files.write(handle, json.dumps(header).encode() + b"\n" + content, 0)
            self._files.sync(handle)
        except OSError:
            self._files.remove(self.folder / name)
            raise
        finally:
            self._files.close(handle)
        self._files.sync_folder(self.folder)

    def _create_folder(self) -> None:
        if not self._files.exists(self.folder):
            self._files.make_folder(self.folder)
            self._files.sync_folder(self.folder.parent)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)
