"""Power losses, kills, full disks and failing syncs on a disk that forgets: the spool keeps what it promised.

``KEEL_FULL_SIZE=1`` or ``KEEL_SPOOL_RUNS`` makes it larger. Each run is its seed: ``Run(17).play()`` repeats one.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from keel.errors import SpoolFailed
from keel.serving.prediction_log.spool import Durability, Spool, writer
from tests.support.chaos.forgetful_disk import Disk, PowerLossError, Process
from tests.support.chaos.kills import FULL_SIZE

RUNS = int(os.environ.get("KEEL_SPOOL_RUNS", "5000" if FULL_SIZE else "1000"))
ROOT = Path("/spool")
STEPS = 40
SEGMENT = 4096


@dataclass
class User:
    """A process that uses the spool, and what it was told."""

    process: Process
    spool: Spool
    unsettled: set[bytes] = field(default_factory=set)
    """Failed appends with nothing appended after them."""


@dataclass
class Run:
    """Random use of a spool by up to two processes, with up to three power losses, and what must hold at the end."""

    seed: int
    durability: Durability = Durability.FSYNC
    faults: float = 0.0
    losses: int = 3
    file_syncs: bool = True
    folder_syncs: bool = True

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.disk = Disk(self.seed, faults=self.faults, file_syncs=self.file_syncs, folder_syncs=self.folder_syncs)
        self.users: list[User] = []
        self.submitted: set[bytes] = set()
        self.promised: set[bytes] = set()
        self.void: set[bytes] = set()
        self.stored: list[bytes] = []
        self.rejected: set[bytes] = set()
        self.set_aside = 0
        self.numbers = itertools.count()

    def play(self) -> Self:
        for _ in range(self.chance.randint(0, self.losses)):
            self.disk.crash_at = self.disk.operations + self.chance.randint(1, 400)
            with contextlib.suppress(PowerLossError):
                for _ in range(STEPS):
                    self.step()
            self.disk.lose_power()
            self.end_all()
        self.disk.faults = 0.0
        for _ in range(self.chance.randint(0, STEPS)):
            self.step()
        for user in self.users:
            user.process.kill()
        self.end_all()
        self.drain()
        return self

    def step(self) -> None:
        try:
            if not self.users or (len(self.users) < 2 and self.chance.random() < 0.1):
                process = Process(self.disk)
                self.users.append(User(process, self.opened(process)))
            user = self.chance.choice(self.users)
            what = self.chance.choices(
                [self.append, self.deliver, self.look, self.adopt, self.close, self.kill], [60, 20, 5, 5, 2, 3]
            )[0]
            what(user)
        except SpoolFailed:
            # a fault of the disk that the reader was told of; it tries again later
            assert self.faults or self.disk.crashed
        if self.disk.crashed:
            raise PowerLossError

    def opened(self, process: Process) -> Spool:
        return Spool.open(
            ROOT, files=process, durability=self.durability, segment_bytes=SEGMENT, max_bytes=2**40, clock=lambda: 1e9
        )

    def append(self, user: User) -> None:
        records = [self.record() for _ in range(self.chance.choice([1, 1, 1, 2, 5]))]
        self.submitted.update(records)
        failure = user.spool.append(records, inline=self.chance.random() < 0.5).exception()
        if failure is None:
            self.promised.update(records)
            self.void |= user.unsettled
            user.unsettled.clear()
        elif not self.disk.crashed:
            assert self.faults, failure
            user.unsettled.update(records)

    def record(self) -> bytes:
        name = b"%d." % next(self.numbers)
        return name + self.chance.randbytes(self.chance.choice([1, 20, 300, 1500]))

    def deliver(self, user: User) -> None:
        batch = user.spool.next_batch(self.chance.choice([1, 3, 100]), self.chance.choice([1, 1000, 10**6]))
        if batch is None:
            return
        if self.chance.random() < 0.05:
            user.spool.reject(batch, 0, "not for any store")
            self.rejected.add(batch.records[0])
        self.stored += [record for record in batch.records if record not in self.rejected]
        user.spool.acknowledge(batch)

    def look(self, user: User) -> None:
        first, again = user.spool.next_batch(5, 1000), user.spool.next_batch(5, 1000)
        assert (first and first.records) == (again and again.records)

    def adopt(self, user: User) -> None:
        user.spool.adopt()

    def close(self, user: User) -> None:
        self.note_findings(user)
        self.users.remove(user)
        with contextlib.suppress(PowerLossError):
            user.spool.close()
        user.process.kill()

    def kill(self, user: User) -> None:
        self.note_findings(user)
        self.users.remove(user)
        user.process.kill()
        self.end(user)

    def end_all(self) -> None:
        for user in self.users:
            self.note_findings(user)
            user.process.kill()
            self.end(user)
        self.users.clear()

    def end(self, user: User) -> None:
        """Let the threads of a process that is no more end."""
        with contextlib.suppress(PowerLossError):
            user.spool.close()

    def note_findings(self, user: User) -> None:
        self.set_aside += damaged(user.spool)

    def drain(self) -> None:
        process = Process(self.disk)
        spool = self.opened(process)
        while batch := spool.next_batch(100, 10**6):
            self.stored += [record for record in batch.records if record not in self.rejected]
            spool.acknowledge(batch)
        stats = spool.stats
        assert (stats.records, stats.bytes, stats.oldest_at) == (0, 0, None)
        self.set_aside += damaged(spool)
        spool.close()
        assert set(process.names(ROOT)) <= {"dead-letters"}

    @property
    def lost(self) -> set[bytes]:
        return self.promised - set(self.stored) - self.rejected

    def require_kept(self) -> None:
        """Nothing lost, nothing altered or invented, nothing that was refused, and no crash taken for damage."""
        assert not self.lost
        assert set(self.stored) <= self.submitted
        assert not self.void & set(self.stored)
        assert not self.set_aside


def damaged(spool: Spool) -> int:
    """Count what was found damaged; the places of rejected records are sequence numbers."""
    return sum(not damage.place.split("/")[1].isdecimal() for damage in spool.stats.damage)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is written ahead in small steps, so that crashes meet it in every state."""
    monkeypatch.setattr(writer, "PREALLOCATION", 1024)


def test_no_promised_record_is_lost_to_power_losses() -> None:
    promised = 0
    for seed in range(RUNS):
        run = Run(seed).play()
        run.require_kept()
        promised += len(run.promised)
    assert promised > 50 * RUNS


def test_nor_to_a_disk_that_is_full_or_fails_now_and_then() -> None:
    void = 0
    for seed in range(RUNS // 4):
        run = Run(seed, faults=0.05).play()
        run.require_kept()
        void += len(run.void)
    assert void > RUNS // 4


def test_without_syncs_kills_lose_nothing() -> None:
    promised = 0
    for seed in range(RUNS // 10):
        run = Run(seed, durability=Durability.WRITE, losses=0).play()
        run.require_kept()
        promised += len(run.promised)
    assert promised > RUNS


@pytest.mark.parametrize(
    "mutation",
    [{"durability": Durability.WRITE}, {"file_syncs": False}, {"folder_syncs": False}],
    ids=["durability write", "no fdatasync", "no fsync of folders"],
)
def test_the_model_sees_what_is_not_synced_get_lost(mutation: dict[str, Any]) -> None:
    runs = [Run(seed, **mutation).play() for seed in range(30)]
    assert sum(bool(run.lost) for run in runs) >= 10
    # what is left is still what was written
    assert all(set(run.stored) <= run.submitted for run in runs)


def test_the_model_sees_a_writer_that_goes_on_in_a_file_whose_sync_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer.Writer, "abandon_segment", lambda self: None)
    runs = [Run(seed, faults=0.05).play() for seed in range(150)]
    assert any(run.lost or run.void & set(run.stored) or run.set_aside for run in runs)


def test_appends_of_many_threads_survive_a_power_loss_together() -> None:
    for seed in range(RUNS // 50):
        disk = Disk(seed)
        spool = Spool.open(ROOT, files=Process(disk), segment_bytes=SEGMENT)
        disk.crash_at = disk.operations + disk.chance.randint(1, 100)
        records = [b"%d" % i + bytes(i % 700) for i in range(1, 200)]
        with ThreadPoolExecutor(8) as threads:
            futures = list(threads.map(spool.append, [[record] for record in records]))
        promised = {record for record, future in zip(records, futures, strict=True) if future.exception() is None}
        with contextlib.suppress(PowerLossError):
            spool.close()
        disk.lose_power()
        survivor = Spool.open(ROOT, files=Process(disk), segment_bytes=SEGMENT)
        found: list[bytes] = []
        while batch := survivor.next_batch(1000, 10**6):
            found += batch.records
            survivor.acknowledge(batch)
        assert promised <= set(found) <= set(records)
        assert len(found) == len(set(found))
        assert survivor.stats.dead_letters == 0
        survivor.close()
