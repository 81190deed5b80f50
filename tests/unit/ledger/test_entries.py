"""The ledger takes what callers give it, and shows whoever gets around its triggers; on both databases."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from keel import deployments
from keel.deployments.consistency import find_disagreements
from keel.errors import ConfigError, LedgerBroken
from keel.ledger import entries as ledger
from keel.ledger import verification as proof
from keel.store import Store
from keel.store.database.tables import deployments as deployments_table
from keel.store.database.tables import ledger as ledger_table
from tests.support.ledger.rows import NOTHING, START, add, change, history, owned, put, rewritten, sentence_in, undone

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def note(store, evidence, actor="somebody"):
    body = {"run_id": "r", "evidence": evidence}
    deployments.append_once(
        store, "toy", actor=actor, action="keep_champion", identity={"evidence": evidence}, body=body, now=NOW
    )


@pytest.mark.parametrize("actor", ["somebody", "10234", 10234, None])
def test_the_chain_holds_for_any_actor(store, actor):
    note(store, {"n": 1}, actor)
    assert next(ledger.entries(store)).actor == str(actor)
    assert ledger.verify(store).broken_at is None


def test_append_once_records_the_same_act_once(store):
    for n in (1, 2, 1):
        note(store, {"n": n})
    assert [entry.body["evidence"]["n"] for entry in ledger.entries(store, "toy")] == [1, 2]


def test_entries_can_be_of_one_model_and_one_action(store):
    note(store, {"n": 1})
    for model, action in (("other", "keep_champion"), ("toy", ledger.Action.ROLLBACK)):
        deployments.append(store, model, actor="a", action=action, body={"evidence": {}}, now=NOW)
    assert [entry.action for entry in ledger.entries(store, "toy")] == ["keep_champion", "rollback"]
    assert [entry.seq for entry in ledger.entries(store, "toy", ledger.Action.ROLLBACK)] == [3]
    assert len(list(ledger.entries(store))) == 3


def test_append_returns_the_row_as_it_is_read(store):
    body = {"statuses": {3: {"status": "candidate", "reason": "–"}}, "pair": (1, 2)}
    written = [add(store, 1, actor=7, body=body), *history_of_toy(store)]
    assert written == list(ledger.entries(store))
    assert written[0].body == {"statuses": {"3": {"status": "candidate", "reason": "–"}}, "pair": [1, 2]}
    assert written[0].at == START.replace(hour=10)
    assert [entry.previous_hash for entry in written] == [ledger.GENESIS, written[0].hash]


def history_of_toy(store):
    return [change(store, 2, NOTHING, {**NOTHING, "production": 1}, 0)]


def test_a_transaction_that_is_rolled_back_leaves_no_gap_in_the_numbers(store):
    add(store, 1)
    row = {"model": "toy", "at": NOW, "actor": "a", "action": "told", "generation_from": 0, "generation_to": 0}
    with suppress(ZeroDivisionError), store.begin() as connection:
        assert ledger.append(connection, **row, body={}).seq == 2
        raise ZeroDivisionError
    assert add(store, 2).seq == 2
    assert ledger.verify(store) == ledger.Verification(2, None, "the chain holds")


def test_concurrent_appends_make_one_chain(store):
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda number: add(store, number).seq, range(60)))
    assert sorted(written) == list(range(1, 61))
    assert ledger.verify(store) == ledger.Verification(60, None, "the chain holds")


def test_an_unchanged_history_verifies_and_agrees(store):
    history(store)
    assert ledger.verify(store) == ledger.Verification(7, None, "the chain holds")
    assert find_disagreements(store) == []


def other(value):
    """Return a value that differs in as little as possible."""
    if isinstance(value, int):
        return value + 1
    return value[:-3] + chr(ord(value[-3]) ^ 1) + value[-2:]


@pytest.mark.parametrize("column", proof.COLUMNS)
def test_a_changed_byte_of_any_column_of_any_row_is_found_and_its_row_reported(store, column):
    history(store)
    rows = ledger.stored_rows(store)
    for row in rows:
        # a number that another row has is refused by the database itself
        value = other(row[column]) if column != "seq" else row["seq"] + len(rows)
        with undone(store) as connection:
            connection.execute(sa.update(ledger_table).where(ledger_table.c.seq == row["seq"]).values({column: value}))
            found = proof.verify(ledger.table_rows(connection))
        assert (found.broken_at, found.entries) == (row["seq"], 7), (column, row["seq"], found.reason)
        assert found.reason != "the chain holds"
    assert ledger.verify(store).broken_at is None


@pytest.mark.parametrize("removed", range(1, 7))
def test_a_removed_row_is_found(store, removed):
    history(store)
    with owned(store) as connection:
        connection.execute(sa.delete(ledger_table).where(ledger_table.c.seq == removed))
    found = ledger.verify(store)
    assert found.broken_at == removed
    assert f"row {removed + 1} is in its place" in found.reason
    with undone(store) as connection:  # and the later ones moved up, so that no number is missing
        for seq in range(removed + 1, 8):
            connection.execute(sa.update(ledger_table).where(ledger_table.c.seq == seq).values(seq=seq - 1))
        found = proof.verify(ledger.table_rows(connection))
    assert found.broken_at == removed
    assert "does not follow the row before it" in found.reason


@pytest.mark.parametrize(("one", "another"), [(1, 2), (2, 3), (3, 6), (6, 7)])
def test_swapped_rows_are_found(store, one, another):
    history(store)
    rows = ledger.stored_rows(store)
    places = {one: another, another: one}
    swapped = sorted(({**row, "seq": places.get(row["seq"], row["seq"])} for row in rows), key=lambda row: row["seq"])
    with owned(store) as connection:
        put(connection, swapped)
    assert ledger.verify(store).broken_at == one


def test_an_inserted_row_is_found(store):
    history(store)
    rows = ledger.stored_rows(store)
    added = {**rows[3], "actor": "eve", "previous_hash": rows[2]["hash"]}
    added["hash"] = proof.digest(added)
    later = [{**row, "seq": row["seq"] + 1} for row in rows[3:]]
    with pytest.raises(sa.exc.IntegrityError), owned(store) as connection:  # two rows cannot follow the same one
        put(connection, [*rows[:3], added, *later])
    found = proof.verify([*rows[:3], added, *later])
    assert found.broken_at == 5


def test_a_consistently_rewritten_chain_verifies_without_checkpoints(store):
    """An end that was cut off, and a chain that was written anew: see test_checkpoints.py."""
    history(store)
    rows = ledger.stored_rows(store)
    forged = rewritten(rows, 4, actor="eve", body=sentence_in(rows[3], "Nothing to see."))
    for left in (rows[:-1], rows[:2], forged):
        with undone(store) as connection:
            put(connection, left)
            assert proof.verify(ledger.table_rows(connection)).broken_at is None
    assert [row["hash"] for row in forged[:3]] == [row["hash"] for row in rows[:3]]
    assert forged[-1]["hash"] != rows[-1]["hash"]


FIRST, SECOND = {**NOTHING, "production": 1}, {"production": 2, "staging": None, "previous": 1}
STEP = {"generation_from": 2, "generation_to": 3}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**STEP, "body": {}}, "from generation 2 to 3 of 2, but records no change"),
        ({"generation_from": 3, "generation_to": 3}, "from generation 3 to 3 of 2"),
        ({"generation_from": -1, "generation_to": -1}, "from generation -1 to -1 of 2"),
        ({**STEP, "body": {"to": FIRST}}, "it changes an invalid deployment, but toy was at production 2"),
        ({**STEP, "body": {"from": SECOND}}, "changes to is not valid"),
        (
            {**STEP, "body": {"from": FIRST, "to": SECOND}},
            "production 1, staging none, previous none, but toy was at production 2, staging none, previous 1",
        ),
        ({**STEP, "body": {"from": SECOND, "to": {"production": 1}}}, "changes to is not valid"),
        (
            {**STEP, "body": {"from": SECOND, "to": {**FIRST, "production": "1"}}},
            "changes to is not valid",
        ),
        ({"generation_from": 1, "generation_to": 2, "body": {"from": SECOND, "to": FIRST}}, "but toy was at 2"),
        ({"generation_from": 2, "generation_to": 4, "body": {"from": SECOND, "to": FIRST}}, "but toy was at 2"),
        ({"generation_from": 2, "generation_to": 2, "body": {"from": SECOND, "to": FIRST}}, "but toy was at 2"),
        ({"body": [1]}, "its body is not a JSON object"),
    ],
)
def test_a_row_that_contradicts_earlier_rows_is_found_though_its_hash_is_right(store, row, reason):
    history(store)
    add(store, 8, **row)
    found = ledger.verify(store)
    assert found.broken_at == 8
    assert reason in found.reason


def test_a_row_with_the_generation_before_a_concurrent_change_is_no_contradiction(store):
    history(store)
    add(store, 8, generation_from=1, generation_to=1)
    assert ledger.verify(store).broken_at is None


def test_a_deployments_row_that_disagrees_with_the_ledger_is_reported(store):
    history(store)
    with store.begin() as connection:
        mine = deployments_table.c.model == "toy"
        connection.execute(sa.update(deployments_table).where(mine).values(production=9))
        connection.execute(sa.delete(deployments_table).where(deployments_table.c.model == "other"))
        connection.execute(deployments_table.insert().values(model="ghost", production=1, generation=1, updated_at=0))
    ghost, others, toy = find_disagreements(store)
    assert toy == (
        "toy: the deployments row has production 9, staging none, previous 1 (generation 2), "
        "the ledger production 2, staging none, previous 1 (generation 2); "
        "to rebuild the row from the ledger: keel ledger rebuild toy"
    )
    assert others.startswith("other: the deployments row has production none")
    assert ghost.startswith("ghost: the deployments row has production 1")


def test_a_change_cut_off_at_the_end_shows_in_the_deployments_row(store):
    history(store)
    with owned(store) as connection:
        connection.execute(sa.delete(ledger_table).where(ledger_table.c.seq > 5))
    [said] = find_disagreements(store)
    assert said.startswith("other: the deployments row has production 1")


def test_rows_that_cannot_be_read_are_reported_without_raising(store):
    history(store)
    add(store, 8, body={"statuses": {"x": {}}})
    [said] = find_disagreements(store)
    assert said.startswith("toy: its ledger rows cannot be read")


def test_an_unreadable_row_raises_an_error_that_names_it(store):
    history(store)
    with owned(store) as connection:
        connection.execute(sa.update(ledger_table).where(ledger_table.c.seq == 4).values(body="{"))
    with pytest.raises(LedgerBroken, match="row 4 of the ledger cannot be read"):
        list(ledger.entries(store))


@pytest.fixture
def sqlite(migrated_sqlite, tmp_path):
    shutil.copy(migrated_sqlite, tmp_path / "keel.db")
    with Store.open(f"sqlite:///{tmp_path / 'keel.db'}") as opened:
        history(opened)
        yield opened


@pytest.mark.parametrize(
    "change_to",
    [
        "body = CAST(x'7bff7d' AS TEXT)", "body = CAST(body AS BLOB)", "model = CAST(model AS BLOB)", "at = 1.5",
        "at = 'noon'", "at = CAST(at AS BLOB)", "generation_to = 'x'", "body = body || char(0)", "actor = x''",
    ],
)  # fmt: skip
def test_a_value_of_another_type_in_sqlite_is_found(sqlite, change_to):
    with owned(sqlite) as connection:
        connection.exec_driver_sql(f"UPDATE ledger SET {change_to} WHERE seq = 3")
    assert ledger.verify(sqlite).broken_at == 3


def test_a_changed_byte_of_the_database_file_is_found(sqlite, tmp_path):
    """As somebody changes it who has the file and needs no SQL."""
    add(sqlite, 8, body={"evidence": {"sentence": "Version 4 was approved by grace."}})
    sqlite.close()
    content = (tmp_path / "keel.db").read_bytes()
    at = content.index(b"Version 4 was approved by grace.")
    for offset in (0, 8, 31):
        for bit in (1, 128):
            changed = bytearray(content)
            changed[at + offset] ^= bit
            (tmp_path / "changed.db").write_bytes(changed)
            with Store.open(f"sqlite:///{tmp_path / 'changed.db'}") as store:
                assert ledger.verify(store).broken_at == 8
                if bit == 128:
                    with pytest.raises(LedgerBroken, match="to find the row: keel ledger verify"):
                        list(ledger.entries(store))


@pytest.mark.slow
def test_an_export_holds_the_rows_and_any_changed_byte_of_it_is_found(store, tmp_path):
    history(store)
    rows, file = ledger.stored_rows(store), tmp_path / "ledger.jsonl"
    proof.write_rows(file, rows)
    assert proof.read_rows(file) == rows
    assert json.loads(file.read_text().splitlines()[3]) == rows[3]
    assert proof.verify(proof.read_rows(file)) == ledger.verify(store)
    content = file.read_bytes()
    for at in range(len(content)):
        file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert proof.verify(proof.read_rows(file)).broken_at == 1 + content[:at].count(b"\n")
    for other, broken in ((content[:-1], len(rows)), (content + b"\n", len(rows) + 1), (content + b" ", len(rows) + 1)):
        file.write_bytes(other)
        assert proof.verify(proof.read_rows(file)).broken_at == broken
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".unfinished"] == []


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"seq": 1}'])
def test_a_file_that_is_no_export_breaks_at_its_first_line(tmp_path, line):
    (tmp_path / "x").write_bytes(line + b"\n\n")
    found = proof.verify(proof.read_rows(tmp_path / "x"))
    assert (found.broken_at, found.reason) == (1, "it does not have the form of a ledger row")


def test_a_file_that_cannot_be_read_or_written_is_reported(tmp_path):
    with pytest.raises(ConfigError, match="gone cannot be read: No such file"):
        proof.read_rows(tmp_path / "gone")
    with pytest.raises(ConfigError, match="cannot be written to .*: No such file"):
        proof.write_rows(tmp_path / "gone" / "x", [])
    proof.write_rows(tmp_path / "empty", [])
    assert proof.read_rows(tmp_path / "empty") == []


def test_verification_imports_no_database_mlflow_or_airflow():
    code = """
import sys
import keel.ledger.verification, keel.ledger.checkpoints
names = {"mlflow", "airflow", "sqlalchemy", "pyarrow", "numpy", "pandas"} & set(sys.modules)
assert not names, names
"""
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": "include"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
