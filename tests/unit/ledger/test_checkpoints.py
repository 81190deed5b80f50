"""Signed checkpoints find what the chain cannot show: an end cut off, rows written anew; on both databases."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as other_kind
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keel.deployments.consistency import find_disagreements
from keel.errors import ConfigError, LedgerBroken, StoreUnavailable
from keel.ledger import entries as ledger
from keel.ledger import verification as proof
from keel.ledger.checkpoints import Checkpoint, CheckpointFolder, CheckpointsUnavailable, check, write
from keel.ledger.signing_keys import key_id, keygen, private_key, public_keys
from keel.store import Store
from keel.store.database.tables import ledger as ledger_table
from tests.support.ledger.rows import add, history, owned, put, rewritten, sentence_in

NOW = datetime(2026, 3, 2, 20, tzinfo=UTC)
KEY, ANOTHER = (Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32) for seed in (1, 2))
PUBLIC = [KEY.public_key()]


@pytest.fixture
def place(tmp_path):
    return tmp_path / "elsewhere"


def signed_twice(store, place):
    """Seven rows, signed after the fifth and after the seventh, and one more that nobody has signed."""
    history(store)
    rows = ledger.stored_rows(store)
    with owned(store) as connection:
        put(connection, rows[:5])
    write(store, place, KEY, NOW)
    with owned(store) as connection:
        put(connection, rows)
    write(store, place, KEY, NOW + timedelta(hours=1))
    add(store, 8, generation_from=2, generation_to=2)
    return ledger.stored_rows(store)


def names(place):
    return sorted(path.name for path in place.iterdir())


def test_a_checkpoint_holds_the_size_and_head_of_the_ledger_and_the_signing_key(store, place):
    entries = history(store)
    written = write(store, place, KEY, NOW)
    assert written == Checkpoint(
        7, 7, entries[-1].hash, NOW, ledger.GENESIS, key_id(KEY.public_key()), written.signature
    )
    assert names(place) == ["checkpoint-000000000007.json"]
    content = (place / written.name).read_bytes()
    assert json.loads(content) == written.to_dict()
    assert Checkpoint.from_bytes(content) == written
    assert check(store, place, PUBLIC) == proof.Verification(7, None, "the chain holds", checkpoints=1, covered=7)


def test_each_checkpoint_holds_the_hash_of_the_one_before_and_none_is_written_without_new_rows(store, place):
    assert write(store, place, KEY, NOW) is None  # an empty ledger has nothing to sign
    assert not place.exists()
    history(store)
    first = write(store, place, KEY, NOW)
    assert write(store, place, KEY, NOW + timedelta(days=1)) is None
    add(store, 8, generation_from=2, generation_to=2)
    second = write(store, place, KEY, NOW + timedelta(days=2))
    assert second.previous == hashlib.sha256((place / first.name).read_bytes()).hexdigest()
    assert names(place) == [first.name, second.name]
    add(store, 9, generation_from=2, generation_to=2)
    assert check(store, place, PUBLIC) == proof.Verification(9, None, "the chain holds", checkpoints=2, covered=8)


def test_rows_cut_off_at_the_end_are_found(store, place):
    signed_twice(store, place)
    with owned(store) as connection:
        connection.execute(sa.delete(ledger_table).where(ledger_table.c.seq > 6))
    assert ledger.verify(store).broken_at is None
    found = check(store, place, PUBLIC)
    assert (found.broken_at, found.covered) == (7, 5)
    assert found.reason == (
        "checkpoint-000000000007.json: 7 rows were signed on 2026-03-02 21:00 UTC, but the ledger has 6: "
        "rows were cut off at the end"
    )
    with owned(store) as connection:
        put(connection, [])
    assert "checkpoint-000000000005.json: 5 rows" in check(store, place, PUBLIC).reason


@pytest.mark.parametrize(("row", "name", "since"), [(2, 5, 1), (5, 5, 1), (6, 7, 6), (7, 7, 6)])
def test_a_rewritten_chain_is_found(store, place, row, name, since):
    rows = signed_twice(store, place)
    with owned(store) as connection:
        put(connection, rewritten(rows, row, body=sentence_in(rows[row - 1], "All was well."), actor="grace"))
    assert ledger.verify(store).broken_at is None
    found = check(store, place, PUBLIC)
    assert found.broken_at == name
    assert f"checkpoint-{name:012d}.json: rows {since} to {name} differ from those that were signed" in found.reason


def test_rows_moved_in_a_rewritten_chain_are_found(store, place):
    rows = signed_twice(store, place)
    places = {3: 4, 4: 3}
    moved = sorted(({**row, "seq": places.get(row["seq"], row["seq"])} for row in rows), key=lambda row: row["seq"])
    with owned(store) as connection:
        put(connection, rewritten(moved, 1))
    assert ledger.verify(store).broken_at is None
    assert "checkpoint-000000000005.json: rows 1 to 5 differ from those" in check(store, place, PUBLIC).reason


def test_rows_after_the_last_checkpoint_can_be_rewritten(store, place):
    """Why checkpoints are written often."""
    rows = signed_twice(store, place)
    with owned(store) as connection:
        put(connection, rewritten(rows, 8, actor="eve"))
    assert check(store, place, PUBLIC) == proof.Verification(8, None, "the chain holds", checkpoints=2, covered=7)


def test_a_broken_chain_after_checkpoints_is_reported_by_its_row(store, place):
    signed_twice(store, place)
    with owned(store) as connection:
        connection.execute(sa.update(ledger_table).where(ledger_table.c.seq == 6).values(actor="eve"))
    found = check(store, place, PUBLIC)
    assert (found.broken_at, found.reason) == (6, "its content does not match its hash")


def test_write_refuses_a_ledger_that_does_not_verify(store, place):
    rows = signed_twice(store, place)
    before = names(place)
    with owned(store) as connection:
        connection.execute(sa.update(ledger_table).where(ledger_table.c.seq == 8).values(actor="eve"))
    with pytest.raises(LedgerBroken, match="nothing was signed: row 8 of the ledger: its content"):
        write(store, place, KEY, NOW)
    with owned(store) as connection:
        put(connection, rewritten(rows, 3, actor="eve"))
    with pytest.raises(LedgerBroken, match="nothing was signed: row 5 .*rows 1 to 5 differ from those"):
        write(store, place, KEY, NOW)
    assert names(place) == before


@pytest.fixture
def signed(migrated_sqlite, tmp_path):
    """Return rows and a place with two checkpoints; what follows needs no database."""
    shutil.copy(migrated_sqlite, tmp_path / "keel.db")
    with Store.open(f"sqlite:///{tmp_path / 'keel.db'}") as opened:
        rows = signed_twice(opened, tmp_path / "elsewhere")
        add(opened, 9, generation_from=2, generation_to=2)
        write(opened, tmp_path / "elsewhere", KEY, NOW + timedelta(hours=2))
        yield ledger.stored_rows(opened), tmp_path / "elsewhere"
    assert len(rows) == 8


@pytest.mark.slow
def test_any_changed_byte_of_any_checkpoint_is_found(signed):
    rows, place = signed
    for path in sorted(place.iterdir()):
        content = path.read_bytes()
        for at in range(len(content)):
            for bit in (1, 32):  # 32 makes a hexadecimal digit's letter a capital one
                path.write_bytes(content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :])
                found = check(rows, place, PUBLIC)
                assert found.broken_at is not None, (at, bit)
                assert path.name in found.reason, (at, bit)
        path.write_bytes(content)
    assert check(rows, place, PUBLIC).checkpoints == 3


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{}", b"\xff", b'{"at": 1}', b"[" * 100_000])
def test_a_file_that_is_no_checkpoint_is_reported(signed, content):
    rows, place = signed
    (place / "checkpoint-000000000007.json").write_bytes(content)
    found = check(rows, place, PUBLIC)
    assert (found.broken_at, found.checkpoints) == (6, 1)
    assert found.reason.startswith("checkpoint-000000000007.json: it does not have the form of a checkpoint")


def test_a_checkpoint_missing_between_others_is_found(signed):
    rows, place = signed
    for gone, next_one in ((5, 7), (7, 9)):
        path = place / f"checkpoint-{gone:012d}.json"
        content = path.read_bytes()
        path.unlink()
        found = check(rows, place, PUBLIC)
        assert found.reason.startswith(f"checkpoint-{next_one:012d}.json: it does not follow the checkpoint before it")
        path.write_bytes(content)


def test_a_checkpoint_under_the_name_of_another_is_found(signed):
    rows, place = signed
    shutil.copy(place / "checkpoint-000000000005.json", place / "checkpoint-000000000006.json")
    assert "it has the name of another: it is the checkpoint of 5 rows" in check(rows, place, PUBLIC).reason


def forged(checkpoint, key, **changes):
    unsigned = replace(checkpoint, **changes)
    return replace(unsigned, signature=key.sign(unsigned.signed))


def test_a_checkpoint_forged_without_the_key_is_found(signed):
    """A ledger written anew, with checkpoints to fit, by somebody with a key of their own."""
    rows, place = signed
    path = place / "checkpoint-000000000009.json"
    true = Checkpoint.from_bytes(path.read_bytes())
    new = rewritten(rows, 8, actor="eve")
    for false, reason in (
        (forged(true, ANOTHER, head=new[-1]["hash"]), "its signature does not match its content"),
        (forged(true, ANOTHER, head=new[-1]["hash"], key_id=key_id(ANOTHER.public_key())), "which is not trusted"),
        (replace(true, head=new[-1]["hash"]), "its signature does not match its content"),
        (replace(true, signature=b""), "its signature does not match its content"),
    ):
        path.write_bytes(false.to_bytes())
        found = check(new, place, PUBLIC)
        assert (found.broken_at, found.checkpoints, found.covered) == (8, 2, 7)
        assert reason in found.reason


def test_a_signature_for_another_purpose_is_not_valid(signed):
    rows, place = signed
    path = place / "checkpoint-000000000009.json"
    true = Checkpoint.from_bytes(path.read_bytes())
    elsewhere = KEY.sign(true.signed.partition(b"\n")[2])
    path.write_bytes(replace(true, signature=elsewhere).to_bytes())
    assert "its signature does not match its content" in check(rows, place, PUBLIC).reason


def test_checkpoints_of_another_ledger_are_found(signed):
    rows, place = signed
    assert check(rewritten(rows, 1, model="another"), place, PUBLIC).broken_at == 5


def test_a_new_key_continues_the_checkpoints_of_the_old_one(store, place, tmp_path):
    history(store)
    write(store, place, KEY, NOW)
    add(store, 8, generation_from=2, generation_to=2)
    with pytest.raises(LedgerBroken, match="which is not trusted"):
        write(store, place, ANOTHER, NOW)
    written = write(store, place, ANOTHER, NOW, trusted=PUBLIC)
    assert written.key_id == key_id(ANOTHER.public_key())
    pem = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    both = tmp_path / "both.pub"
    both.write_bytes(b"".join(key.public_key().public_bytes(*pem) for key in (KEY, ANOTHER)))
    assert check(store, place, public_keys(both)).checkpoints == 2
    assert check(store, place, PUBLIC).broken_at == 8


def test_concurrent_writers_make_one_chain_of_checkpoints(store, place):
    history(store)
    done = threading.Event()

    def append():
        for number in range(8, 40):
            add(store, number, generation_from=2, generation_to=2)
        done.set()

    def sign():
        while not done.is_set():
            write(store, place, KEY, NOW)

    with ThreadPoolExecutor(5) as pool:
        for future in [pool.submit(append), *(pool.submit(sign) for _ in range(4))]:
            future.result()
    write(store, place, KEY, NOW)
    found = check(store, place, PUBLIC)
    assert (found.broken_at, found.covered) == (None, 39)
    assert found.checkpoints > 3


def test_the_location_may_be_a_url(store, tmp_path):
    url = f"memory://{tmp_path.name}/ledger"
    history(store)
    first = write(store, url, KEY, NOW)
    assert check(store, url, PUBLIC).checkpoints == 1
    with pytest.raises(CheckpointsUnavailable, match="is not overwritten"):
        CheckpointFolder(url).add(first.name, b"")
    write(store, f"file://{tmp_path}/copy", KEY, NOW)
    assert names(tmp_path / "copy") == [first.name]


@pytest.mark.postgres
def test_signing_needs_read_permission_only(new_postgres_schema, place):
    url = sa.make_url(new_postgres_schema())
    schema = url.query["options"].rpartition("=")[2]
    with Store.open(url.render_as_string(hide_password=False)) as owner:
        history(owner)
        with owner.begin() as connection:
            connection.exec_driver_sql("CREATE ROLE auditor LOGIN")
            connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {schema} TO auditor")
            connection.exec_driver_sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO auditor")
        with Store.open(url.set(username="auditor").render_as_string(hide_password=False)) as auditor:
            assert find_disagreements(auditor) == []
            assert write(auditor, place, KEY, NOW).size == 7
            assert check(auditor, place, PUBLIC).broken_at is None
            with pytest.raises(StoreUnavailable, match="permission denied"):
                add(auditor, 8)
        with owner.begin() as connection:
            connection.exec_driver_sql("DROP OWNED BY auditor")
            connection.exec_driver_sql("DROP ROLE auditor")


def test_a_file_is_never_overwritten_and_a_crash_leaves_no_checkpoint(signed):
    rows, place = signed
    before = names(place)
    content = (place / before[0]).read_bytes()
    with pytest.raises(CheckpointsUnavailable, match="is in .* already, and is not overwritten"):
        CheckpointFolder(place).add(before[0], b"{}")
    assert names(place) == before
    assert (place / before[0]).read_bytes() == content
    (place / ".0123.unfinished").write_bytes(b"{")
    (place / "README").write_text("Do not delete.")
    assert check(rows, place, PUBLIC).checkpoints == 3


def test_check_without_a_checkpoint_raises(tmp_path):
    for place in (tmp_path, tmp_path / "gone", "memory://nowhere"):
        with pytest.raises(ConfigError, match="there is no checkpoint in .*: keel ledger checkpoint"):
            check([], place, PUBLIC)


def test_an_unreachable_location_is_reported_without_its_password(store, tmp_path):
    history(store)
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointsUnavailable, match="within cannot be reached: Not a directory"):
        write(store, tmp_path / "file" / "within", KEY, NOW)
    with pytest.raises(ConfigError, match="cannot be stored in nosuch://example.com/x: Protocol not known"):
        check([], "nosuch://me:secret@example.com/x", PUBLIC)
    with pytest.raises(CheckpointsUnavailable, match="ftp://127.0.0.1:1/x cannot be reached") as refused:
        check([], "ftp://me:secret@127.0.0.1:1/x", PUBLIC)
    assert "secret" not in str(refused.value)
    assert refused.value.exit_code == 3


def test_keygen_writes_a_private_key_for_its_owner_only_and_never_overwrites(tmp_path, store, place):
    path = tmp_path / "signing.pem"
    made = keygen(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key, [public] = private_key(path), public_keys(tmp_path / "signing.pem.pub")
    assert made == key_id(public) == key_id(key.public_key())
    history(store)
    write(store, place, key, NOW)
    assert check(store, place, [public]).checkpoints == 1
    content = path.read_bytes()
    with pytest.raises(ConfigError, match="would be overwritten"):
        keygen(path)
    path.unlink()
    with pytest.raises(ConfigError, match="signing.pem.pub would be overwritten"):
        keygen(path)
    assert not path.exists()
    assert b"PRIVATE" in content
    with pytest.raises(ConfigError, match="cannot be written to .*: No such file"):
        keygen(tmp_path / "gone" / "key")


def test_a_file_that_is_no_key_is_refused_without_its_content(tmp_path):
    path = tmp_path / "key"
    keygen(path)
    of_another_kind = tmp_path / "ec"
    encoding = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    ec = other_kind(SECP256R1())
    of_another_kind.write_bytes(ec.private_bytes(*encoding, serialization.NoEncryption()))
    locked = tmp_path / "locked"
    locked.write_bytes(KEY.private_bytes(*encoding, serialization.BestAvailableEncryption(b"x")))
    (tmp_path / "text").write_text("topsecret")
    for wrong in (tmp_path / "key.pub", of_another_kind, locked, tmp_path / "text"):
        with pytest.raises(ConfigError, match="holds no private Ed25519 key") as refused:
            private_key(wrong)
        assert "topsecret" not in str(refused.value)
    pem = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "ec.pub").write_bytes((tmp_path / "key.pub").read_bytes() + ec.public_key().public_bytes(*pem))
    for wrong in (path, tmp_path / "ec.pub", tmp_path / "text"):
        with pytest.raises(ConfigError, match="is not a public key that keel ledger keygen writes"):
            public_keys(wrong)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        public_keys(tmp_path / "gone")
