"""Claims: one owner per folder while several processes look for folders, and delivery after a takeover."""

from __future__ import annotations

import fcntl
import os
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from keel.serving.prediction_log.spool import Spool, claims
from keel.serving.prediction_log.spool.files import LocalFiles
from keel.serving.prediction_log.spool.flusher import Flusher

if TYPE_CHECKING:
    import pytest


class AnotherIsFaster(LocalFiles):
    """A disk on which another process locks the first new folder before its creator does."""

    taken: Path | None = None

    def lock(self, path: Path) -> int | None:
        if self.taken is None:
            self.taken, self.lock_of_another = path.parent, super().lock(path)
        return super().lock(path)


def test_create_leaves_a_folder_to_the_process_that_locked_it_first(tmp_path: Path) -> None:
    files = AnotherIsFaster()
    claim = claims.create(tmp_path, files, 0.0)
    assert files.taken is not None
    assert claim.folder != files.taken
    assert claims.claim_abandoned(tmp_path, LocalFiles(), set()) == []  # both are locked
    claim.release()
    assert [each.folder for each in claims.claim_abandoned(tmp_path, LocalFiles(), set())] == [claim.folder]


def test_lock_on_a_file_deleted_meanwhile_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, flock = tmp_path / "lock", fcntl.flock

    def delete_then_lock(handle: int, how: int) -> None:
        path.unlink(missing_ok=True)
        flock(handle, how)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", delete_then_lock)
        before = len(os.listdir("/proc/self/fd"))
        assert LocalFiles().lock(path) is None
        assert len(os.listdir("/proc/self/fd")) == before
    assert LocalFiles().lock(path) is not None


def test_spool_that_takes_over_does_not_deliver_acknowledged_records(tmp_path: Path) -> None:
    first = Spool.open(tmp_path)
    for record in (b"one", b"two", b"three"):
        first.append([record]).result(10)
    batch = first.next_batch(1, 10**6)
    assert batch is not None
    assert list(batch.records) == [b"one"]
    first.acknowledge(batch)
    first.close()
    second = Spool.open(tmp_path)
    try:
        left = second.next_batch(10, 10**6)
        assert left is not None
        assert list(left.records) == [b"two", b"three"]
        assert second.stats.records == 2
    finally:
        second.close()


def test_flusher_gives_no_claim_while_records_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda _: None)  # so that added records wait
    flusher = Flusher(writer=None, root=tmp_path)  # type: ignore[arg-type]
    flusher.add([b"first"], 5, Future())
    assert not flusher.try_claim(6)
