"""Damaged bytes of a spool are noticed, no altered record is delivered, and all others are."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from keel.serving.prediction_log.spool import Spool, Stats
from keel.serving.prediction_log.spool.files import LocalFiles
from keel.serving.prediction_log.spool.frames import FRAME_BYTES
from tests.support.chaos.kills import FULL_SIZE

FLIPS = 5000 if FULL_SIZE else 500
"""In the spool of a killed process, and as many in a closed one."""
RECORDS = 150
SEGMENT = 16_384


class NeverSynced(LocalFiles):
    """Without power losses no sync is needed, and ten thousand would take minutes."""

    def sync(self, handle: int) -> None:
        pass

    def sync_folder(self, path: Path) -> None:
        pass


@dataclass(frozen=True)
class Template:
    """A spool as a process left it: its files, and the place of each record."""

    files: dict[Path, bytes]
    acknowledged: list[bytes]
    records: list[bytes]
    places: dict[Path, list[tuple[int, int, bytes]]]

    def hit(self, path: Path, start: int, end: int) -> set[bytes]:
        return {record for first, last, record in self.places[path] if first < end and start < last}


@pytest.fixture(scope="module", params=["killed", "closed"])
def template(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Template:
    chance = random.Random(1)
    root, left = tmp_path_factory.mktemp("spool") / "a", tmp_path_factory.mktemp("left") / "b"
    spool = Spool.open(root, segment_bytes=SEGMENT, files=NeverSynced())
    records = [b"%d:" % i + chance.randbytes(chance.randint(0, 800)) for i in range(RECORDS)]
    for record in records:
        spool.append([record]).result()
    first = spool.next_batch(3, 10**6)
    assert first is not None
    spool.acknowledge(first)
    if request.param == "closed":
        spool.close()
    shutil.copytree(root, left)
    spool.close()
    files = {
        path.relative_to(left): path.read_bytes() for path in left.rglob("*") if path.stat().st_size and path.is_file()
    }
    places = {path: found_in(content, records) for path, content in files.items()}
    assert sum(map(len, places.values())) == RECORDS
    assert len(files) > 4
    return Template(files, records[:3], records[3:], places)


def found_in(content: bytes, records: list[bytes]) -> list[tuple[int, int, bytes]]:
    """Find each record by its bytes; of the format, only the length of a header is used."""
    found = [(content.find(record), record) for record in records]
    return [(at - FRAME_BYTES, at + len(record), record) for at, record in found if at >= 0]


def delivered(root: Path, template: Template, changed: dict[Path, bytes]) -> tuple[list[bytes], Stats]:
    for path, content in {**template.files, **changed}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    spool = Spool.open(root, files=NeverSynced())
    found: list[bytes] = []
    while batch := spool.next_batch(20, 10**5):
        found += batch.records
        spool.acknowledge(batch)
    stats = spool.stats
    assert stats.records == stats.bytes == 0
    spool.close()
    return found, stats


def require_the_rest(template: Template, found: list[bytes], hit: set[bytes]) -> None:
    """Require each delivered record once and in order, and every record that was not hit."""
    # acknowledged records may be delivered again if the acknowledgement mark was hit
    assert found == [record for record in template.acknowledged + template.records if record in set(found)]
    assert set(template.records) - set(found) <= hit


def test_every_flipped_byte_is_noticed(template: Template, tmp_path: Path) -> None:
    chance = random.Random(2)
    paths = list(template.files)
    sizes = [len(template.files[path]) for path in paths]
    lost = 0
    for number in range(FLIPS):
        path = chance.choices(paths, sizes)[0]
        # half anywhere and half in records, as most of the last file may be preallocated bytes
        places = template.places[path]
        at = chance.randrange(len(template.files[path]))
        if places and number % 2:
            start, end, _ = chance.choice(places)
            at = chance.randrange(start, end)
        content = bytearray(template.files[path])
        content[at] ^= chance.randrange(1, 256)
        root = tmp_path / str(number)
        found, stats = delivered(root, template, {path: bytes(content)})
        assert stats.dead_letters + stats.torn >= 1, (path, at)
        require_the_rest(template, found, template.hit(path, at, at + 1))
        lost += len(template.records) - len(found)
        shutil.rmtree(root)
    assert lost > FLIPS // 2


def zeroed(content: bytearray, start: int, end: int, chance: random.Random) -> None:
    content[start:end] = bytes(end - start)


def garbled(content: bytearray, start: int, end: int, chance: random.Random) -> None:
    content[start:end] = chance.randbytes(end - start)


def cut_off(content: bytearray, start: int, end: int, chance: random.Random) -> None:
    del content[start:]


def cut_out(content: bytearray, start: int, end: int, chance: random.Random) -> None:
    del content[start:end]


def repeated(content: bytearray, start: int, end: int, chance: random.Random) -> None:
    content[start:start] = content[start:end]


@pytest.mark.parametrize("change", [zeroed, garbled, cut_off, cut_out, repeated])
def test_other_damage_is_noticed_where_records_are_missing(
    template: Template, tmp_path: Path, change: Callable[[bytearray, int, int, random.Random], None]
) -> None:
    chance = random.Random(change.__name__)
    segments = sorted(path for path in template.files if path.suffix == ".seg")
    for number in range(60):
        path = chance.choice(segments)
        content = bytearray(template.files[path])
        used = max(end for _, end, _ in template.places[path])
        start = chance.randrange(used)
        end = min(used, start + chance.choice([1, 10, 600, 5000]))
        change(content, start, end, chance)
        root = tmp_path / str(number)
        found, stats = delivered(root, template, {path: bytes(content)})
        hit = template.hit(path, start, len(template.files[path]) if change is cut_off else max(end, start + 1))
        require_the_rest(template, found, hit)
        gone = set(template.records) - set(found)
        # whole records missing at the end of a killed process's last file cannot be detected
        if gone and not (path == segments[-1] and gone == set(template.records[-len(gone) :])):
            assert stats.dead_letters + stats.torn >= 1
            assert stats.dead_letters >= 1 or path == segments[-1]
        shutil.rmtree(root)


def test_flipped_record_is_a_dead_letter_with_place_and_reason(template: Template, tmp_path: Path) -> None:
    path = min(path for path in template.files if path.suffix == ".seg")
    start, end, record = template.places[path][10]
    content = bytearray(template.files[path])
    content[end - 1] ^= 1
    _, stats = delivered(tmp_path, template, {path: bytes(content)})
    (damage,) = stats.damage
    assert damage.file is not None
    header, _, content_kept = (tmp_path / "dead-letters" / damage.file).read_bytes().partition(b"\n")
    assert content_kept == content[start:end]
    assert content_kept[:-1] == content[start : end - len(record)] + record[:-1]
    assert json.loads(header)["place"] == damage.place == f"{path}:{start}"
    assert json.loads(header)["reason"] == damage.reason == "the content of record 11 has changed"
    assert json.loads(header)["length"] == damage.length == end - start
