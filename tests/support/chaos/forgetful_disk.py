"""A simulated disk in memory that may lose unsynced data in a power loss, in whole or in part.

It implements the protocol ``Files`` of a spool. Of the writes since a file's last sync, any subset may survive, each as
a whole, up to any byte, or in any of its sectors. Of the names added, removed or changed since a folder's last sync,
any subset may survive. After a failed sync, pages read well but never reach the disk, as on Linux.
"""

from __future__ import annotations

import errno
import itertools
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path, PurePosixPath
from typing import Any

SECTOR = 512


class PowerLossError(Exception):
    """The process has ended. It is not an OSError, as no code may catch and handle it."""


@dataclass
class Inode:
    number: int
    content: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Offset and bytes of a write, or size and None of a truncation."""


@dataclass
class Folder:
    names: dict[str, int] = field(default_factory=dict)
    durable: dict[str, int] = field(default_factory=dict)
    pending: list[tuple[str, int | None]] = field(default_factory=list)

    def change(self, name: str, number: int | None) -> None:
        put(self.names, name, number)
        self.pending.append((name, number))


def put(names: dict[str, int], name: str, number: int | None) -> None:
    if number is None:
        names.pop(name, None)
    else:
        names[name] = number


class Disk:
    """The disk that processes share. ``crash_at`` is the number of the operation in which the power fails."""

    def __init__(self, seed: int, *, faults: float = 0.0, file_syncs: bool = True, folder_syncs: bool = True) -> None:
        self.chance = random.Random(seed)
        self.faults = faults
        self.file_syncs = file_syncs
        self.folder_syncs = folder_syncs
        self.numbers = itertools.count(1)
        self.inodes: dict[int, Inode | Folder] = {0: Folder()}
        self.locks: dict[int, Process] = {}
        self.operations = 0
        self.crash_at: int | None = None
        self.crashed = False
        self.guard = threading.RLock()

    def lose_power(self) -> None:
        """Lose unsynced data at random; the rest is what a machine finds after a restart."""
        self.crashed, self.crash_at = False, None
        self.locks.clear()
        survival = self.chance.choice([0.0, 0.1, 0.5, 0.9, 1.0])
        for inode in self.inodes.values():
            if isinstance(inode, Folder):
                for name, number in inode.pending:
                    if self.chance.random() < survival:
                        put(inode.durable, name, number)
                inode.names, inode.pending = dict(inode.durable), []
            else:
                for at, written in inode.pending:
                    if self.chance.random() < survival:
                        self._survive(inode.durable, at, written)
                inode.content, inode.pending = bytearray(inode.durable), []

    def _survive(self, content: bytearray, at: int, written: bytes | None) -> None:
        if written is None:
            del content[at:]
            return
        survival = self.chance.choice(["whole", "cut", "sectors"])
        if survival == "cut":
            written = written[: self.chance.randrange(len(written) + 1)]
        if survival == "sectors":
            # the new length may be durable when the bytes are not
            if len(content) < at + len(written) and self.chance.random() < 0.5:
                content.extend(bytes(at + len(written) - len(content)))
            first = at // SECTOR * SECTOR
            for sector in range(first, at + len(written), SECTOR):
                if self.chance.random() < 0.5:
                    begin, end = max(sector, at), min(sector + SECTOR, at + len(written))
                    overwrite(content, begin, written[begin - at : end - at])
            return
        overwrite(content, at, written)


def overwrite(content: bytearray, at: int, written: bytes) -> None:
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    content[at : at + len(written)] = written


def operation(call: Callable[..., Any]) -> Callable[..., Any]:
    """Count an operation. The one in which the power fails may be done or not."""

    @wraps(call)
    def counted(self: Process, *args: Any) -> Any:
        disk = self.disk
        with disk.guard:
            if disk.crashed or self.killed:
                raise PowerLossError
            disk.operations += 1
            if disk.operations == disk.crash_at:
                disk.crashed = True
                if disk.chance.random() < 0.5:
                    call(self, *args)
                raise PowerLossError
            return call(self, *args)

    return counted


class Process:
    """The disk as one process sees it: keel.serving.prediction_log.spool.files.Files."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.handles: dict[int, int] = {}
        self.killed = False

    def kill(self) -> None:
        """End like SIGKILL: written data stays with the operating system, and locks are released."""
        with self.disk.guard:
            self.killed = True
            self.disk.locks = {number: owner for number, owner in self.disk.locks.items() if owner is not self}

    @operation
    def exists(self, path: Path) -> bool:
        return self._find(path) is not None

    @operation
    def make_folder(self, path: Path) -> None:
        if self._find(path) is None:
            self._folder(path.parent).change(path.name, self._new(Folder()))

    @operation
    def names(self, folder: Path) -> list[str]:
        found = self._find(folder)
        return list(found.names) if isinstance(found, Folder) else []

    @operation
    def size(self, path: Path) -> int:
        return len(self._file(path).content)

    @operation
    def read(self, path: Path, offset: int, size: int) -> bytes:
        return bytes(self._file(path).content[offset : offset + size])

    @operation
    def open(self, path: Path) -> int:
        if self._fails():
            raise OSError(errno.ENOSPC, "no space for another file")
        return self._open(path)

    @operation
    def write(self, handle: int, content: bytes, offset: int) -> None:
        inode = self._inode(handle)
        fails = self._fails()
        if fails:
            content = content[: self.disk.chance.randrange(len(content))]
        overwrite(inode.content, offset, content)
        inode.pending.append((offset, content))
        if fails:
            raise OSError(errno.ENOSPC, "no space")

    @operation
    def truncate(self, handle: int, size: int) -> None:
        if self._fails():
            raise OSError(errno.EIO, "not truncated")
        inode = self._inode(handle)
        del inode.content[size:]
        inode.pending.append((size, None))

    @operation
    def sync(self, handle: int) -> None:
        inode = self._inode(handle)
        if self._fails():
            # from now on the pages count as clean: no later sync writes them
            inode.pending.clear()
            raise OSError(errno.EIO, "not synced")
        if self.disk.file_syncs:
            inode.durable, inode.pending = self._synced(inode), []

    @operation
    def close(self, handle: int) -> None:
        number = self.handles.pop(handle)
        if self.disk.locks.get(number) is self and number not in self.handles.values():
            del self.disk.locks[number]

    @operation
    def sync_folder(self, path: Path) -> None:
        folder = self._folder(path)
        if self._fails():
            raise OSError(errno.EIO, "not synced")
        if self.disk.folder_syncs:
            for name, number in folder.pending:
                put(folder.durable, name, number)
            folder.pending.clear()

    @operation
    def rename(self, path: Path, to: Path) -> None:
        number = self._folder(path.parent).names.get(path.name)
        if number is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        self._folder(to.parent).change(to.name, number)
        self._folder(path.parent).change(path.name, None)

    @operation
    def remove(self, path: Path) -> None:
        folder = self._folder(path.parent)
        if path.name in folder.names:
            folder.change(path.name, None)

    @operation
    def remove_folder(self, path: Path) -> None:
        if self._folder(path).names:
            raise OSError(errno.ENOTEMPTY, "not empty")
        self._folder(path.parent).change(path.name, None)

    @operation
    def lock(self, path: Path) -> int | None:
        if not isinstance(self._find(path.parent), Folder):
            return None
        handle = self._open(path)
        if self.handles[handle] in self.disk.locks:
            del self.handles[handle]
            return None
        self.disk.locks[self.handles[handle]] = self
        return handle

    def _synced(self, inode: Inode) -> bytearray:
        durable = bytearray(inode.durable)
        for at, written in inode.pending:
            if written is None:
                del durable[at:]
            else:
                overwrite(durable, at, written)
        return durable

    def _fails(self) -> bool:
        return self.disk.chance.random() < self.disk.faults

    def _new(self, inode: Folder | None = None) -> int:
        number = next(self.disk.numbers)
        self.disk.inodes[number] = inode or Inode(number)
        return number

    def _open(self, path: Path) -> int:
        folder = self._folder(path.parent)
        if path.name not in folder.names:
            folder.change(path.name, self._new())
        handle = next(self.disk.numbers)
        self.handles[handle] = folder.names[path.name]
        return handle

    def _inode(self, handle: int) -> Inode:
        inode = self.disk.inodes[self.handles[handle]]
        assert isinstance(inode, Inode)
        return inode

    def _find(self, path: Path) -> Inode | Folder | None:
        found: Inode | Folder | None = self.disk.inodes[0]
        for part in PurePosixPath(path).parts[1:]:
            if not isinstance(found, Folder) or part not in found.names:
                return None
            found = self.disk.inodes[found.names[part]]
        return found

    def _folder(self, path: Path) -> Folder:
        found = self._find(path)
        if not isinstance(found, Folder):
            raise FileNotFoundError(errno.ENOENT, "no such folder", str(path))
        return found

    def _file(self, path: Path) -> Inode:
        found = self._find(path)
        if not isinstance(found, Inode):
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return found
