"""The spool on a real disk: order, limits, adoption, failures, forks."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

import pytest

from keel.errors import SpoolFailed, SpoolFull
from keel.serving.prediction_log.spool import Durability, Spool
from keel.serving.prediction_log.spool.files import LocalFiles
from keel.serving.prediction_log.spool.flusher import Flusher
from keel.serving.prediction_log.spool.frames import FRAME_BYTES, MARKER, frame
from keel.serving.prediction_log.spool.segments import HEAD_BYTES, VERSION

EVERYTHING = (10**6, 10**9)


class FaultyFiles(LocalFiles):
    """The real disk, with chosen operations that fail. failing: error numbers by operation."""

    def __init__(self) -> None:
        self.failing: dict[str, int] = {}
        self.calls: list[str] = []
        self.interrupt = False

    def write(self, handle: int, content: bytes, offset: int) -> None:
        if "write" in self.failing:
            super().write(handle, content[: len(content) // 2], offset)
        self._note("write")
        super().write(handle, content, offset)

    def sync(self, handle: int) -> None:
        self._note("sync")
        super().sync(handle)

    def sync_folder(self, path: Path) -> None:
        self._note("sync_folder")
        super().sync_folder(path)

    def open(self, path: Path) -> int:
        self._note("open")
        return super().open(path)

    def _note(self, name: str) -> None:
        self.calls.append(name)
        if self.interrupt:
            self.interrupt = False
            raise KeyboardInterrupt
        if name in self.failing:
            raise OSError(self.failing[name], os.strerror(self.failing[name]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "var" / "spool"


@pytest.fixture
def spool(root: Path) -> Iterator[Spool]:
    opened = Spool.open(root)
    yield opened
    opened.close()


def put(spool: Spool, *records: bytes) -> None:
    for record in records:
        spool.append([record]).result()


def taken(spool: Spool, *, most: int = 10**6) -> list[bytes]:
    found: list[bytes] = []
    while batch := spool.next_batch(most, 10**9):
        found += batch.records
        spool.acknowledge(batch)
    return found


def closed_with(root: Path, *records: bytes) -> Path:
    """Append and close; return the segment file."""
    spool = Spool.open(root)
    put(spool, *records)
    spool.close()
    (segment,) = root.rglob("*.seg")
    return segment


def append_and_die(root: Path, *records: bytes, acknowledge: int = 0) -> None:
    """Append in another process, which then kills itself."""
    code = (
        "import os, sys; from pathlib import Path; from keel.serving.prediction_log.spool import Spool\n"
        "spool = Spool.open(Path(sys.argv[1]))\n"
        "[spool.append([record.encode()]).result() for record in sys.argv[3:]]\n"
        "acknowledge = int(sys.argv[2])\n"
        "acknowledge and spool.acknowledge(spool.next_batch(acknowledge, 10**6))\n"
        "os.kill(os.getpid(), 9)"
    )
    texts = [os.fsdecode(record) for record in records]
    ended = subprocess.run([sys.executable, "-c", code, str(root), str(acknowledge), *texts], check=False)
    assert ended.returncode == -9


def test_next_batch_repeats_records_in_order_until_they_are_acknowledged(spool: Spool) -> None:
    spool.append([b"a", b"b"]).result()
    put(spool, b"c", b"d")
    first = spool.next_batch(3, 10**6)
    again = spool.next_batch(3, 10**6)
    assert first is not None
    assert again is not None
    assert first.records == again.records == (b"a", b"b", b"c")
    spool.acknowledge(first)
    spool.acknowledge(again)
    assert taken(spool) == [b"d"]
    assert spool.next_batch(*EVERYTHING) is None
    assert spool.stats.acknowledged == 4


def test_append_inline_is_done_or_failed_at_once(root: Path) -> None:
    files = FaultyFiles()
    spool = Spool.open(root, files=files)
    assert spool.append([b"one", b"two"], inline=True).done()
    files.failing = {"write": errno.EIO}
    assert isinstance(spool.append([b"lost"], inline=True).exception(timeout=0), SpoolFailed)
    files.failing = {}
    put(spool, b"three")
    assert taken(spool) == [b"one", b"two", b"three"]
    spool.close()
    assert isinstance(spool.append([b"late"], inline=True).exception(timeout=0), SpoolFailed)


def test_append_inline_keeps_the_order_behind_a_group_not_written_yet(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken_by_flusher, go_on = threading.Event(), threading.Event()
    next_group = Flusher.next_group

    def slowly(flusher: Flusher) -> object:
        found = next_group(flusher)
        taken_by_flusher.set()
        go_on.wait(10)
        return found

    monkeypatch.setattr(Flusher, "next_group", slowly)
    put(spool, b"zero")  # the flusher waits in the original function
    first = spool.append([b"one"])
    assert taken_by_flusher.wait(10)
    second = spool.append([b"two"], inline=True)
    go_on.set()
    first.result(10)
    second.result(10)
    assert taken(spool) == [b"zero", b"one", b"two"]


def test_append_inline_that_is_interrupted_leaves_the_spool_usable(root: Path) -> None:
    files = FaultyFiles()
    with contextlib.closing(Spool.open(root, files=files, max_bytes=1000)) as spool:
        put(spool, b"one")
        for _ in range(20):
            files.interrupt = True
            with pytest.raises(KeyboardInterrupt):
                spool.append([b"x" * 100], inline=True)
        assert spool.append([b"two"], inline=True).done()
        put(spool, b"three")
        assert taken(spool) == [b"one", b"two", b"three"]


def test_append_from_many_threads_loses_nothing_when_the_spool_is_closed(root: Path) -> None:
    spool = Spool.open(root, durability=Durability.WRITE)
    confirmed: list[list[bytes]] = [[] for _ in range(8)]

    def append(number: int) -> None:
        for i in range(10_000):
            record = f"{number}/{i}".encode()
            if spool.append([record], inline=number % 2 == 0).exception(timeout=30) is not None:
                return
            confirmed[number].append(record)

    threads = [threading.Thread(target=append, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while min(map(len, confirmed)) < 50:
        threads[0].join(0.01)
    spool.close()
    for thread in threads:
        thread.join()
    adopted = Spool.open(root)
    found = taken(adopted)
    adopted.close()
    assert sorted(found) == sorted(record for own in confirmed for record in own)


def test_next_batch_is_limited_but_never_empty(spool: Spool) -> None:
    put(spool, b"x" * 50, b"y" * 50, b"z" * 50)
    for most, size, count in [(1, 10**6, 1), (10, 99, 1), (10, 100, 2), (10, 1, 1), (10, 150, 3)]:
        batch = spool.next_batch(most, size)
        assert batch is not None
        assert len(batch.records) == count


def test_stats_count_waiting_records_and_their_age(root: Path) -> None:
    now = [1_000.0]
    spool = Spool.open(root, clock=lambda: now[0])
    assert (spool.stats.records, spool.stats.bytes, spool.stats.oldest_at) == (0, 0, None)
    put(spool, b"abc")
    now[0] = 2_000.5
    put(spool, b"defg")
    stats = spool.stats
    assert (stats.records, stats.bytes) == (2, 7 + 2 * FRAME_BYTES)
    assert stats.oldest_at == datetime.fromtimestamp(1_000, UTC)
    batch = spool.next_batch(1, 1)
    assert batch is not None
    spool.acknowledge(batch)
    stats = spool.stats
    assert (stats.records, stats.bytes) == (1, 4 + FRAME_BYTES)
    assert stats.oldest_at == datetime.fromtimestamp(2_000.5, UTC)
    taken(spool)
    assert (spool.stats.records, spool.stats.bytes, spool.stats.oldest_at) == (0, 0, None)
    assert (spool.stats.appended, spool.stats.durable_writes, spool.stats.acknowledged) == (2, 2, 2)
    spool.close()


def test_segments_are_started_by_size_and_deleted_after_reading(root: Path) -> None:
    spool = Spool.open(root, segment_bytes=1000)
    records = [b"%d" % i + bytes(i % 300) for i in range(100)]
    put(spool, *records)
    assert len(list(root.rglob("*.seg"))) >= 10
    assert taken(spool, most=7) == records
    assert len(list(root.rglob("*.seg"))) == 1
    assert spool.stats.bytes == 0
    spool.close()
    assert not list(root.iterdir())


def test_append_accepts_a_record_longer_than_a_segment(root: Path) -> None:
    spool = Spool.open(root, segment_bytes=1000)
    put(spool, b"small", b"x" * 300_000, b"small again")
    assert [len(record) for record in taken(spool)] == [5, 300_000, 11]
    spool.close()


@pytest.mark.parametrize("record", [b"", "text", bytearray(b"x"), None])
def test_append_of_an_invalid_record_raises_value_error(spool: Spool, record: object) -> None:
    with pytest.raises(ValueError, match="record"):
        spool.append([b"fine", record])  # type: ignore[list-item]
    assert taken(spool) == []


def test_append_of_no_records_is_done(spool: Spool) -> None:
    spool.append([]).result()
    assert spool.stats.records == 0


def test_open_adopts_the_records_of_a_killed_process(root: Path) -> None:
    append_and_die(root, b"a", b"b", b"c", acknowledge=1)
    spool = Spool.open(root)
    put(spool, b"d")
    assert (spool.stats.adopted, spool.stats.records) == (1, 3)
    assert taken(spool) == [b"b", b"c", b"d"]
    assert len(list(root.iterdir())) == 1
    spool.close()
    assert not list(root.iterdir())


def test_adopt_leaves_the_folder_of_a_running_process(root: Path) -> None:
    first, second = Spool.open(root), Spool.open(root)
    put(first, b"first's")
    assert second.adopt() == 0
    assert taken(second) == []
    first.close()
    assert second.adopt() == 1
    assert taken(second) == [b"first's"]
    second.close()


def test_next_batch_delivers_adopted_records_first_oldest_folder_first(root: Path) -> None:
    for number, now in enumerate([3e9, 1e9, 2e9]):
        left = Spool.open(root, clock=lambda now=now: now)
        put(left, b"%d" % number)
        left.close()
    spool = Spool.open(root)
    put(spool, b"own")
    assert spool.stats.oldest_at == datetime.fromtimestamp(1e9, UTC)
    assert taken(spool) == [b"1", b"2", b"0", b"own"]
    spool.close()


def test_reject_moves_a_record_to_the_dead_letters_and_delivers_the_rest(root: Path, spool: Spool) -> None:
    put(spool, b"good", b"poison", b"better")
    for _ in range(2):
        batch = spool.next_batch(*EVERYTHING)
        assert batch is not None
        spool.reject(batch, 1, "no number in column x")
    spool.acknowledge(batch)
    assert spool.next_batch(*EVERYTHING) is None
    (file,) = (root / "dead-letters").iterdir()
    assert file.suffix == ".rejected"
    head, _, content = file.read_bytes().partition(b"\n")
    assert b"no number in column x" in head
    assert content == b"poison"
    assert spool.stats.dead_letters == 1
    assert Spool.open(root).stats.dead_letters == 1


class DiesWhileMoving(LocalFiles):
    """A disk whose process ends after it has moved one file."""

    moved = 0

    def rename(self, path: Path, to: Path) -> None:
        if self.moved:
            raise KeyboardInterrupt
        self.moved += 1
        super().rename(path, to)


def test_open_moves_the_dead_letters_of_an_older_keel(root: Path) -> None:
    former = root / "set-aside"
    former.mkdir(parents=True)
    contents = {"a.damaged": b"1", "b.rejected": b"2", "c.torn": b"3"}
    for name, content in contents.items():
        (former / name).write_bytes(content)
    with pytest.raises(KeyboardInterrupt):
        Spool.open(root, files=DiesWhileMoving())
    with contextlib.closing(Spool.open(root)) as spool:
        assert spool.stats.dead_letters == 2, "a torn end was never confirmed, so it is not damage"
    assert not former.exists()
    assert {path.name: path.read_bytes() for path in (root / "dead-letters").iterdir()} == contents


def test_append_beyond_the_limit_fails_at_once_until_records_are_acknowledged(root: Path) -> None:
    spool = Spool.open(root, max_bytes=3 * (100 + FRAME_BYTES))
    put(spool, *[b"x" * 100] * 3)
    assert spool.stats.full
    refused = spool.append([b"y"])
    assert refused.done()
    with pytest.raises(SpoolFull, match=r"\d+ of the \d+ bytes.*KEEL_SPOOL_MAX_BYTES"):
        refused.result()
    assert len(taken(spool)) == 3
    put(spool, b"z" * 100)
    assert not spool.stats.full
    assert taken(spool) == [b"z" * 100]
    spool.close()


@pytest.mark.parametrize("operation", ["write", "sync", "open", "sync_folder"])
@pytest.mark.parametrize(("number", "named"), [(errno.ENOSPC, SpoolFull), (errno.EIO, SpoolFailed)])
def test_append_fails_with_the_disk_and_later_records_are_intact(
    root: Path, operation: str, number: int, named: type[Exception]
) -> None:
    files = FaultyFiles()
    spool = Spool.open(root, files=files)
    if operation in ("write", "sync"):
        put(spool, b"before")
    files.failing = {operation: number}
    for _ in range(2):
        with pytest.raises(named):
            spool.append([b"failed", b"as a whole"]).result()
    assert spool.stats.full is (named is SpoolFull)
    files.failing = {}
    put(spool, b"after")
    assert spool.stats.failed == 4
    assert not spool.stats.full
    before = [b"before"] if operation in ("write", "sync") else []
    batch = spool.next_batch(1, 1)
    assert batch is not None
    assert batch.records == ((before + [b"after"])[0],)
    spool.close()
    adopted = Spool.open(root)
    assert taken(adopted) == [*before, b"after"]
    assert adopted.stats.dead_letters == 0
    adopted.close()


def test_append_beyond_the_systems_file_limit_fails_as_full(root: Path) -> None:
    """The kernel refuses a write midway because of its limit on the length of files."""
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from keel.serving.prediction_log.spool import Spool; from keel.errors import SpoolFull\n"
        "spool = Spool.open(Path(sys.argv[1]))\n"
        "spool.append([b'first']).result()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**18 + 1000, resource.RLIM_INFINITY))\n"
        "failed = isinstance(spool.append([b'x' * 2**19]).exception(), SpoolFull)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "spool.append([b'second']).result()\n"
        "print(failed, spool.next_batch(9, 9**9).records)"
    )
    output = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True).stdout
    assert output.split(maxsplit=1) == ["True", "(b'first',)\n"]
    spool = Spool.open(root)
    assert taken(spool) == [b"first", b"second"]
    spool.close()


def test_damage_without_room_for_a_dead_letter_preserves_the_segment(root: Path) -> None:
    class Full(LocalFiles):
        def open(self, path: Path) -> int:
            if path.parent.name == "dead-letters":
                raise OSError(errno.ENOSPC, "no room")
            return super().open(path)

    segment = closed_with(root, b"a", b"bb", b"c")
    damaged = segment.read_bytes().replace(b"bb", b"bB")
    segment.write_bytes(damaged)
    spool = Spool.open(root, files=Full())
    assert taken(spool) == [b"a", b"c"]
    assert spool.stats.dead_letters == 1
    (file,) = (root / "dead-letters").iterdir()
    assert file.read_bytes() == damaged
    spool.close()


def test_segment_with_an_unreadable_block_delivers_the_other_records(root: Path) -> None:
    class BadBlock(LocalFiles):
        def read(self, path: Path, offset: int, size: int) -> bytes:
            if path.suffix == ".seg" and offset < 12_288 and offset + size > 8_192:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().read(path, offset, size)

    records = [b"%d." % i + b"x" * 1000 for i in range(30)]
    content = closed_with(root, *records).read_bytes()
    spool = Spool.open(root, files=BadBlock())
    whole = [r for r in records if not 8_192 - len(r) < content.index(r) < 12_288 + FRAME_BYTES]
    assert taken(spool) == whole
    assert 24 <= len(whole) < 28
    assert spool.stats.dead_letters >= 1
    (file,) = (root / "dead-letters").glob("*.seg.damaged")
    assert file.read_bytes() == content
    spool.close()


def test_segment_of_a_later_format_is_preserved(root: Path) -> None:
    segment = closed_with(root, b"a", b"b")
    head = bytearray(segment.read_bytes()[: HEAD_BYTES - 4])
    head[7] = VERSION + 1
    content = bytes(head) + crc32(head).to_bytes(4, "little") + segment.read_bytes()[HEAD_BYTES:]
    segment.write_bytes(content)
    spool = Spool.open(root)
    assert taken(spool) == []
    (damage,) = spool.stats.damage
    assert f"format {VERSION + 1}" in damage.reason
    assert [path.read_bytes() for path in (root / "dead-letters").iterdir()] == [content]
    spool.close()


def test_content_that_imitates_a_frame_is_not_delivered(root: Path) -> None:
    """A client can send such content, and the record that holds it can be damaged."""
    forged = frame(b"forged", sequence=2, group=2, at=0, salt=0)
    segment = closed_with(root, b"a", b"<" + forged + MARKER + b">", b"c")
    content = bytearray(segment.read_bytes())
    content[content.index(b"<" + MARKER)] ^= 1
    segment.write_bytes(content)
    spool = Spool.open(root)
    assert taken(spool) == [b"a", b"c"]
    assert spool.stats.dead_letters == 1
    spool.close()


def test_durability_decides_which_writes_are_synced(root: Path) -> None:
    calls: dict[Durability, list[str]] = {}
    for durability in Durability:
        files = FaultyFiles()
        spool = Spool.open(root / durability, durability=durability, files=files)
        files.calls.clear()
        put(spool, b"a", b"b")
        calls[durability] = list(files.calls)
        spool.close()
    assert calls[Durability.FSYNC] == ["open", "write", "sync", "sync_folder", "write", "sync"]
    assert calls[Durability.WRITE] == ["open", "write", "write"]


def test_appends_that_wait_share_one_sync(root: Path) -> None:
    entered, going = threading.Event(), threading.Event()

    class Slow(LocalFiles):
        def sync(self, handle: int) -> None:
            entered.set()
            going.wait(10)
            super().sync(handle)

    spool = Spool.open(root, files=Slow())
    futures: list[Future[None]] = [spool.append([b"first"])]
    assert entered.wait(10)
    futures += [spool.append([b"%d" % i]) for i in range(100)]
    assert not any(future.done() for future in futures)
    assert spool.next_batch(*EVERYTHING) is None
    going.set()
    for future in futures:
        future.result()
    assert spool.stats.durable_writes == 2
    assert taken(spool) == [b"first"] + [b"%d" % i for i in range(100)]
    spool.close()


def test_append_returns_a_future_that_cannot_be_cancelled(spool: Spool) -> None:
    future = spool.append([b"a"])
    assert not future.cancel()
    future.result()


def test_close_writes_what_waits_and_refuses_later_records(root: Path) -> None:
    spool = Spool.open(root)
    futures = [spool.append([b"%d" % i]) for i in range(200)]
    spool.close()
    spool.close()
    assert all(future.result() is None for future in futures)
    with pytest.raises(SpoolFailed, match="closed"):
        spool.append([b"late"]).result()
    with pytest.raises(SpoolFailed, match="closed"):
        spool.next_batch(*EVERYTHING)
    spool = Spool.open(root)
    assert taken(spool) == [b"%d" % i for i in range(200)]
    spool.close()


FORK = """
import os, sys
from pathlib import Path
from keel.errors import SpoolFailed
from keel.serving.prediction_log.spool import Spool

spool = Spool.open(Path(sys.argv[1]))
spool.append([b"parent's"]).result()
child = os.fork()
if child == 0:
    failure = spool.append([b"child's"]).exception()
    try:
        spool.next_batch(10**6, 10**9)
    except SpoolFailed as error:
        os._exit(0 if "fork" in str(error) and "fork" in str(failure) else 1)
    os._exit(1)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(code, spool.next_batch(10**6, 10**9).records)
spool.close()
"""


def test_spool_in_a_fork_raises_and_holds_no_lock(root: Path) -> None:
    # in a process of its own: a system refuses to fork a test worker that has grown large
    done = subprocess.run([sys.executable, "-c", FORK, str(root)], capture_output=True, text=True, timeout=60)
    assert done.stdout == '0 (b"parent\'s",)\n', done.stderr


def test_open_with_an_unusable_folder_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolFailed, match="file/spool"):
        Spool.open(tmp_path / "file" / "spool")


def test_spool_leaves_other_folders_alone(root: Path) -> None:
    (root / "notes").mkdir(parents=True)
    (root / "notes" / "a.txt").write_text("mine")
    spool = Spool.open(root)
    spool.close()
    assert [path.name for path in (root / "notes").iterdir()] == ["a.txt"]


def test_damage_is_logged_once_with_place_and_reason(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    segment = closed_with(root, b"a", b"bb", b"c")
    segment.write_bytes(segment.read_bytes().replace(b"bb", b"bB"))
    with caplog.at_level(logging.ERROR, "keel.serving.prediction_log.spool"):
        spool = Spool.open(root)
        for _ in range(3):
            spool.next_batch(*EVERYTHING)
        assert taken(spool) == [b"a", b"c"]
    (message,) = caplog.messages
    assert segment.name in message
    assert "content of record 2" in message
    spool.close()
