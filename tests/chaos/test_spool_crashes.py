"""Power losses, kills, full disks and failing syncs on a simulated disk: the spool loses no confirmed record.

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
from keel.serving.prediction_log.spool import Durability, Spool
from keel.serving.prediction_log.spool.writer import Writer
from tests.support.chaos.forgetful_disk import Disk, PowerLossError, Process
from tests.support.chaos.kills import FULL_SIZE

RUNS = int(os.environ.get("KEEL_SPOOL_RUNS", "5000" if FULL_SIZE else "1000"))
ROOT = Path("/spool")
STEPS = 40
SEGMENT = 4096
PREALLOCATION = 1024
"""Small, so that crashes hit it in every state."""


@dataclass
class User:
    """A process that uses the spool, and its failed appends."""

    process: Process
    spool: Spool
    unsettled: set[bytes] = field(default_factory=set)
    """Records of failed appends without a successful append after them."""


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
        self.confirmed: set[bytes] = set()
        self.void: set[bytes] = set()
        self.stored: list[bytes] = []
        self.rejected: set[bytes] = set()
        self.damaged = 0
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
        self.deliver_rest()
        return self

    def step(self) -> None:
        try:
            if not self.users or (len(self.users) < 2 and self.chance.random() < 0.1):
                process = Process(self.disk)
                self.users.append(User(process, self.opened(process)))
            user = self.chance.choice(self.users)
            what = self.chance.choices(
                [self.append, self.deliver, self.read_twice, self.adopt, self.close, self.kill], [60, 20, 5, 5, 2, 3]
            )[0]
            what(user)
        except SpoolFailed:
            # the reader got an error of the disk and retries later
            assert self.faults or self.disk.crashed
        if self.disk.crashed:
            raise PowerLossError

    def opened(self, process: Process) -> Spool:
        return Spool.open(
            ROOT,
            files=process,
            durability=self.durability,
            segment_bytes=SEGMENT,
            preallocation=PREALLOCATION,
            max_bytes=2**40,
            clock=lambda: 1e9,
        )

    def append(self, user: User) -> None:
        records = [self.record() for _ in range(self.chance.choice([1, 1, 1, 2, 5]))]
        self.submitted.update(records)
        failure = user.spool.append(records, inline=self.chance.random() < 0.5).exception()
        if failure is None:
            self.confirmed.update(records)
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

    def read_twice(self, user: User) -> None:
        first, again = user.spool.next_batch(5, 1000), user.spool.next_batch(5, 1000)
        assert (first and first.records) == (again and again.records)

    def adopt(self, user: User) -> None:
        user.spool.adopt()

    def close(self, user: User) -> None:
        self.count_damage(user)
        self.users.remove(user)
        with contextlib.suppress(PowerLossError):
            user.spool.close()
        user.process.kill()

    def kill(self, user: User) -> None:
        self.count_damage(user)
        self.users.remove(user)
        user.process.kill()
        self.end(user)

    def end_all(self) -> None:
        for user in self.users:
            self.count_damage(user)
            user.process.kill()
            self.end(user)
        self.users.clear()

    def end(self, user: User) -> None:
        """End the threads of a process that was killed."""
        with contextlib.suppress(PowerLossError):
            user.spool.close()

    def count_damage(self, user: User) -> None:
        self.damaged += damage_in(user.spool)

    def deliver_rest(self) -> None:
        process = Process(self.disk)
        spool = self.opened(process)
        while batch := spool.next_batch(100, 10**6):
            self.stored += [record for record in batch.records if record not in self.rejected]
            spool.acknowledge(batch)
        stats = spool.stats
        assert (stats.records, stats.bytes, stats.oldest_at) == (0, 0, None)
        self.damaged += damage_in(spool)
        spool.close()
        assert set(process.names(ROOT)) <= {"dead-letters"}

    @property
    def lost(self) -> set[bytes]:
        return self.confirmed - set(self.stored) - self.rejected

    def require_kept(self) -> None:
        """Require that no record is lost, altered, invented or delivered after a failure, and no crash is damage."""
        assert not self.lost
        assert set(self.stored) <= self.submitted
        assert not self.void & set(self.stored)
        assert not self.damaged


def damage_in(spool: Spool) -> int:
    """Return how many damaged parts were found; the places of rejected records are sequence numbers."""
    return sum(not damage.place.split("/")[1].isdecimal() for damage in spool.stats.damage)


def test_power_losses_lose_no_confirmed_record() -> None:
    confirmed = 0
    for seed in range(RUNS):
        run = Run(seed).play()
        run.require_kept()
        confirmed += len(run.confirmed)
    assert confirmed > 50 * RUNS


def test_full_or_failing_disk_loses_no_confirmed_record() -> None:
    void = 0
    for seed in range(RUNS // 4):
        run = Run(seed, faults=0.05).play()
        run.require_kept()
        void += len(run.void)
    assert void > RUNS // 4


def test_kills_without_syncs_lose_no_confirmed_record() -> None:
    confirmed = 0
    for seed in range(RUNS // 10):
        run = Run(seed, durability=Durability.WRITE, losses=0).play()
        run.require_kept()
        confirmed += len(run.confirmed)
    assert confirmed > RUNS


@pytest.mark.parametrize(
    "mutation",
    [{"durability": Durability.WRITE}, {"file_syncs": False}, {"folder_syncs": False}],
    ids=["durability write", "no fdatasync", "no fsync of folders"],
)
def test_simulation_loses_records_that_are_not_synced(mutation: dict[str, Any]) -> None:
    runs = [Run(seed, **mutation).play() for seed in range(30)]
    assert sum(bool(run.lost) for run in runs) >= 10
    # the remaining records are still those that were written
    assert all(set(run.stored) <= run.submitted for run in runs)


def test_simulation_detects_a_writer_that_continues_a_file_after_a_failed_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Writer, "abandon_segment", lambda self: None)
    runs = [Run(seed, faults=0.05).play() for seed in range(150)]
    assert any(run.lost or run.void & set(run.stored) or run.damaged for run in runs)


def test_appends_of_many_threads_survive_a_power_loss() -> None:
    for seed in range(RUNS // 50):
        disk = Disk(seed)
        spool = Spool.open(ROOT, files=Process(disk), segment_bytes=SEGMENT, preallocation=PREALLOCATION)
        disk.crash_at = disk.operations + disk.chance.randint(1, 100)
        records = [b"%d" % i + bytes(i % 700) for i in range(1, 200)]
        with ThreadPoolExecutor(8) as threads:
            futures = list(threads.map(spool.append, [[record] for record in records]))
        confirmed = {record for record, future in zip(records, futures, strict=True) if future.exception() is None}
        with contextlib.suppress(PowerLossError):
            spool.close()
        disk.lose_power()
        survivor = Spool.open(ROOT, files=Process(disk), segment_bytes=SEGMENT, preallocation=PREALLOCATION)
        found: list[bytes] = []
        while batch := survivor.next_batch(1000, 10**6):
            found += batch.records
            survivor.acknowledge(batch)
        assert confirmed <= set(found) <= set(records)
        assert len(found) == len(set(found))
        assert survivor.stats.dead_letters == 0
        survivor.close()
