"""Where bytes go that cannot be delivered: a file each, with the reason and the place before them."""

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

FOLDER = "set-aside"
Kind = Literal["damaged", "rejected", "torn"]
LATEST = 100
"""How many damages a process remembers; the files are all there."""


class DeadLetters:
    """The folder ``set-aside`` of a spool, shared by all processes, and how often this one has used it.

    A file's name says kind and place, so what is found again after a crash is kept once. Its first line is JSON
    (found_at, place, length, reason); the bytes follow. Nobody deletes it but a person.
    """

    def __init__(self, root: Path, files: Files, clock: Callable[[], float]) -> None:
        self.folder = root / FOLDER
        self._files = files
        self._clock = clock
        self.count = sum(not name.endswith(".torn") for name in files.names(self.folder))
        self.torn = 0
        self.latest: deque[Damage] = deque(maxlen=LATEST)

    def keep(self, kind: Kind, place: str, content: bytes, reason: str) -> Damage:
        """Put bytes into a file of their own, durably; ``kept`` is None if there are none, or if that failed."""
        name = f"{place.replace('/', '-').replace(':', '-')}.{kind}"
        damage = Damage(self._now(), place, len(content), reason, name if content else None)
        known = bool(content) and self._files.exists(self.folder / name)
        if content:
            # also if it is there: a crash may have left half of it
            try:
                self._write(name, damage, content)
            except OSError as error:
                log.error(
                    "cannot set aside %d bytes at %s: %s; the whole file will be kept", len(content), place, error
                )
                damage = Damage(damage.found_at, place, len(content), reason, None)
        self._note(kind, damage, known)
        return damage

    def keep_file(self, path: Path, place: str) -> None:
        """Move a whole file here."""
        self._make()
        self._files.rename(path, self.folder / f"{place.replace('/', '-')}.damaged")
        with contextlib.suppress(OSError):
            self._files.sync_folder(self.folder)

    def _note(self, kind: Kind, damage: Damage, known: bool) -> None:
        if kind == "torn":
            self.torn += 1
            log.info(
                "passed over %d bytes at %s that a crash left unfinished: %s",
                damage.length,
                damage.place,
                damage.reason,
            )
            return
        self.count += not known
        self.latest.append(damage)
        log.error("set aside %d bytes at %s as %s: %s", damage.length, damage.place, kind, damage.reason)

    def _write(self, name: str, damage: Damage, content: bytes) -> None:
        self._make()
        said = {
            "found_at": damage.found_at.isoformat(),
            "place": damage.place,
            "length": damage.length,
            "reason": damage.reason,
        }
        handle = self._files.open(self.folder / name)
        try:
            self._files.truncate(handle, 0)
            self._files.write(handle, json.dumps(said).encode() + b"\n" + content, 0)
            self._files.sync(handle)
        except OSError:
            self._files.remove(self.folder / name)
            raise
        finally:
            self._files.close(handle)
        self._files.sync_folder(self.folder)

    def _make(self) -> None:
        if not self._files.exists(self.folder):
            self._files.make_folder(self.folder)
            self._files.sync_folder(self.folder.parent)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)
