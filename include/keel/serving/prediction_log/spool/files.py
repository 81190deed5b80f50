"""The file operations that a spool needs, as a protocol, so that tests can replace the disk."""

# ruff: noqa: D102 - LocalFiles does what Files documents

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """A file system as a spool uses it. Every operation raises OSError when it fails.

    Written bytes are durable once ``sync`` of the file has returned. A created, deleted or renamed name is durable once
    ``sync_folder`` of its folder has returned.
    """

    def exists(self, path: Path) -> bool:
        """Return whether there is a file or folder of that name."""

    def make_folder(self, path: Path) -> None:
        """Create a folder in an existing one; an existing folder is no error."""

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder, in no order; none if there is no such folder."""

    def size(self, path: Path) -> int:
        """Return a file's length in bytes."""

    def read(self, path: Path, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset`` on; fewer only where the file ends."""

    def open(self, path: Path) -> int:
        """Open a file for writing, create it if needed, and return its handle."""

    def write(self, handle: int, content: bytes, offset: int) -> None:
        """Write all bytes, or raise; a part of them may be written then."""

    def truncate(self, handle: int, size: int) -> None:
        """Cut a file off at ``size`` bytes."""

    def sync(self, handle: int) -> None:
        """Make a file's bytes and its length durable."""

    def close(self, handle: int) -> None:
        """Close a handle, and release the lock that it may hold."""

    def sync_folder(self, path: Path) -> None:
        """Make the names in a folder durable."""

    def rename(self, path: Path, to: Path) -> None:
        """Move a file to another name on the same disk."""

    def remove(self, path: Path) -> None:
        """Delete a file; a missing file is no error."""

    def remove_folder(self, path: Path) -> None:
        """Delete an empty folder."""

    def lock(self, path: Path) -> int | None:
        """Lock a file, created if needed, until its handle is closed or the process ends; None if it is locked."""


class LocalFiles:
    """The local disk. Locks are ``flock``'s, so the folder must not be on a network file system."""

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
            # the previous owner may have deleted the file meanwhile; a lock on it would exclude no other process
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        return None
