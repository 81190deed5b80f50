"""The few operations on files that a spool needs, so that a test can put a disk that forgets in their place."""

# ruff: noqa: D102 - what LocalFiles does, Files says

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """A file system as a spool uses it; every operation raises OSError when it fails.

    What is written lasts once ``sync`` of the file has returned; that a file is there, or no longer there, or has
    another name, lasts once ``sync_folder`` of its folder has.
    """

    def exists(self, path: Path) -> bool:
        """Say whether there is a file or folder of that name."""

    def make_folder(self, path: Path) -> None:
        """Create a folder in one that is there; there is no harm in its being there already."""

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder, in no order; none if there is no such folder."""

    def size(self, path: Path) -> int:
        """Return a file's length in bytes."""

    def read(self, path: Path, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset`` on; fewer only where the file ends."""

    def open(self, path: Path) -> int:
        """Open a file to write to, creating it if need be, and return its handle."""

    def write(self, handle: int, content: bytes, offset: int) -> None:
        """Write all of it, or raise; some of it may be written then."""

    def truncate(self, handle: int, size: int) -> None:
        """Cut a file off at ``size`` bytes."""

    def sync(self, handle: int) -> None:
        """Make durable what was written to a file, and its length."""

    def close(self, handle: int) -> None:
        """Give a handle back, and with it the lock that it may hold."""

    def sync_folder(self, path: Path) -> None:
        """Make durable which files a folder holds."""

    def rename(self, path: Path, to: Path) -> None:
        """Give a file another place on the same disk."""

    def remove(self, path: Path) -> None:
        """Delete a file; there is no harm in its being gone."""

    def remove_folder(self, path: Path) -> None:
        """Delete an empty folder."""

    def lock(self, path: Path) -> int | None:
        """Lock a file, created if need be, until its handle is closed or the process ends; None if another has it."""


class LocalFiles:
    """The real thing; locks are ``flock``'s, so the folder must be on a local disk."""

    def exists(self, path: Path) -> bool:
        return path.exists()

    def make_folder(self, path: Path) -> None:
        path.mkdir(exist_ok=True)

    def names(self, folder: Path) -> list[str]:
        try:
            return os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def read(self, path: Path, offset: int, size: int) -> bytes:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts: list[bytes] = []
            while size > 0 and (part := os.pread(handle, size, offset)):
                parts.append(part)
                offset, size = offset + len(part), size - len(part)
            return b"".join(parts)
        finally:
            os.close(handle)

    def open(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, handle: int, content: bytes, offset: int) -> None:
        rest = memoryview(content)
        while rest:
            written = os.pwrite(handle, rest, offset)
            offset, rest = offset + written, rest[written:]

    def truncate(self, handle: int, size: int) -> None:
        os.ftruncate(handle, size)

    def sync(self, handle: int) -> None:
        getattr(os, "fdatasync", os.fsync)(handle)

    def close(self, handle: int) -> None:
        os.close(handle)

    def sync_folder(self, path: Path) -> None:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, path: Path, to: Path) -> None:
        path.rename(to)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        path.rmdir()

    def lock(self, path: Path) -> int | None:
        try:
            handle = self.open(path)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # whoever had it may have deleted it in the meantime: that lock would keep nobody out
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        return None
