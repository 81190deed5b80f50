"""Whose spool is whose while several processes look at one folder, and what of a taken one is left to bring."""

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


class OneIsQuicker(LocalFiles):
    """A disk on which somebody takes the first new folder before its maker has locked it."""

    taken: Path | None = None

    def lock(self, path: Path) -> int | None:
        if self.taken is None:
            self.taken, self.theirs = path.parent, super().lock(path)
        return super().lock(path)


def test_a_folder_that_another_has_taken_before_it_was_locked_is_theirs(tmp_path: Path) -> None:
    files = OneIsQuicker()
    claim = claims.create(tmp_path, files, 0.0)
    assert files.taken is not None
    assert claim.folder != files.taken
    assert claims.left_behind(tmp_path, LocalFiles(), set()) == []  # both are held
    claim.release()
    assert [each.folder for each in claims.left_behind(tmp_path, LocalFiles(), set())] == [claim.folder]


def test_a_lock_on_a_file_that_was_deleted_meanwhile_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, really = tmp_path / "lock", fcntl.flock

    def after_it_was_deleted(handle: int, how: int) -> None:
        path.unlink(missing_ok=True)
        really(handle, how)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", after_it_was_deleted)
        before = len(os.listdir("/proc/self/fd"))
        assert LocalFiles().lock(path) is None
        assert len(os.listdir("/proc/self/fd")) == before
    assert LocalFiles().lock(path) is not None


def test_who_takes_over_does_not_bring_again_what_was_acknowledged(tmp_path: Path) -> None:
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


def test_nobody_writes_before_those_who_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda _: None)  # so that what is added waits
    flusher = Flusher(writer=None, root=tmp_path)  # type: ignore[arg-type]
    flusher.add([b"first"], 5, Future())
    assert not flusher.claim(6)
