"""The acknowledgement mark: how far a chain's records are in the store, a number in a file beside its segments."""

from __future__ import annotations

import logging
import struct
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from keel.serving.prediction_log.spool.files import Files

log = logging.getLogger(__name__)

NAME = "acknowledged"
_MARK = struct.Struct("<QI")


class AckMark:
    """The mark's file. It is written without a sync: if it is lost, records are only delivered again."""

    def __init__(self, folder: Path, files: Files) -> None:
        self.path = folder / NAME
        self._files = files
        self._handle: int | None = None

    def read(self) -> int | bytes:
        """Return the number of the first record not acknowledged, 0 if unknown, or the bytes if they are damaged."""
        if not self._files.exists(self.path):
            return 0
        try:
            content = self._files.read(self.path, 0, _MARK.size)
        except OSError as error:
            log.warning("cannot read the acknowledgement mark in %s: %s", self.path.parent, error)
            return 0
        if len(content) == _MARK.size:
            number, checksum = _MARK.unpack(content)
            if checksum == crc32(content[:8]):
                return int(number)
        return content if content.strip(b"\0") else 0

    def write(self, sequence: int) -> None:
        """Store the number of the first record not acknowledged; a failure is logged."""
        number = sequence.to_bytes(8, "little")
        try:
            if self._handle is None:
                self._handle = self._files.open(self.path)
            self._files.write(self._handle, _MARK.pack(sequence, crc32(number)), 0)
        except OSError as error:
            log.warning("cannot write the acknowledgement mark in %s: %s", self.path.parent, error)

    def close(self, *, remove: bool) -> None:
        """Close the file, and delete it if ``remove``."""
        if self._handle is not None:
            self._files.close(self._handle)
            self._handle = None
        if remove:
            self._files.remove(self.path)
