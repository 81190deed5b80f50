"""``keel ledger``: show, verify with and without the database, sign, export and rebuild."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from keel import deployments
from keel.cli import ledger as commands
from keel.cli import main as command_line
from keel.errors import ConfigError, KeelError, LedgerBroken, StoreUnavailable, UnknownModel
from keel.ledger import entries as ledger
from keel.store import Store
from keel.store.database.migrations import metric_views
from keel.store.database.tables import deployments as deployments_table
from keel.store.database.tables import ledger as ledger_table
from tests.support.ledger.rows import add, history, owned, put, rewritten
from tests.support.ledger.story import STORY
from tests.support.paths import PROJECT


@pytest.fixture
def url(migrated_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    shutil.copy(migrated_sqlite, tmp_path / "keel.db")
    url = f"sqlite:///{tmp_path / 'keel.db'}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEEL_HOME", str(tmp_path))
    monkeypatch.setenv("KEEL_STORE_URL", url)
    for name in ("KEEL_SIGNING_KEY", "KEEL_VERIFY_KEY", "KEEL_CHECKPOINTS"):
        monkeypatch.delenv(name, raising=False)
    with Store.open(url) as store:
        history(store)
    return url


@pytest.fixture
def signing(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert keel("keygen", "key").exit_code == 0
    for name, value in (("SIGNING_KEY", "key"), ("VERIFY_KEY", "key.pub"), ("CHECKPOINTS", "elsewhere")):
        monkeypatch.setenv(f"KEEL_{name}", value)


def keel(*arguments: str) -> Result:
    return CliRunner().invoke(command_line.app, ["ledger", *arguments])


def refused(*arguments: str) -> KeelError:
    error = keel(*arguments).exception
    assert isinstance(error, KeelError), error
    return error


def test_show_prints_the_rows_by_day_one_line_each(url: str) -> None:
    with Store.open(url) as store:
        for number in (8, 40):
            add(
                store,
                number,
                model="flight_delay",
                action="quarantine",
                actor="airflow",
                body={
                    "evidence": {
                        "quarantined": [{"start": "2013-05-01T03:00:00+00:00", "end": "2013-05-01T06:00:00+00:00"}],
                    }
                },
            )
    told = (
        "Data was quarantined as broken: 1 May 2013 03:00 to 06:00 (UTC). Training and later checks exclude it until "
        "a person releases it."
    )
    assert keel("show", "flight_delay").output.splitlines() == [
        "Monday, 2 March 2026 (UTC)",
        f"  17:15  row 8: {told}",
        "Wednesday, 4 March 2026 (UTC)",
        f"  01:15  row 9: {told}",
    ]
    first, second = json.loads(keel("show", "flight_delay", "--json").output)
    assert (first["seq"], second["seq"], first["sentence"], first["action"]) == (8, 9, told, "quarantine")


def test_show_of_a_model_without_rows_says_so_and_of_an_unknown_one_is_refused(url: str) -> None:
    assert keel("show", "flight_delay").output == "flight_delay has no ledger rows\n"
    assert json.loads(keel("show", "flight_delay", "--json").output) == []
    assert isinstance(refused("show", "flight_dealy"), UnknownModel)


def test_show_on_a_terminal_wraps_and_colours_the_rows(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    commands.print_history(STORY)
    shown = capsys.readouterr().out
    assert "\x1b[1;31mVersion 5 was rolled back; version 3 is in production again. " in shown
    plain = " ".join(shown.split())
    assert "row 20" in plain


def test_verify_prints_the_result_and_its_limits(url: str) -> None:
    assert keel("verify").output.splitlines() == [
        "7 rows: the chain holds",
        "no checkpoint was verified; without one, rows cut off at the end or a rewritten chain go undetected",
    ]
    assert json.loads(keel("verify", "--json").output) == {
        "entries": 7,
        "broken_at": None,
        "reason": "the chain holds",
        "checkpoints": 0,
        "covered": 0,
        "disagreements": [],
        "holds": True,
    }


def test_verify_of_a_changed_row_fails_and_names_it(url: str) -> None:
    with Store.open(url) as store, owned(store) as connection:
        connection.execute(sa.update(ledger_table).where(ledger_table.c.seq == 4).values(actor="eve"))
    error = refused("verify")
    assert isinstance(error, LedgerBroken)
    assert (str(error), error.exit_code) == ("row 4 of the ledger: its content does not match its hash", 1)
    done = keel("verify", "--json")
    assert done.exit_code == 1
    assert json.loads(done.output)["broken_at"] == 4
    assert "nothing was rebuilt: row 4 of the ledger" in str(refused("rebuild"))


def test_verify_with_different_deployments_fails_until_rebuild(url: str) -> None:
    with Store.open(url) as store, store.begin() as connection:
        connection.execute(sa.update(deployments_table).where(deployments_table.c.model == "toy").values(production=7))
    assert re.match("toy: .*production 7.*production 2", str(refused("verify")))
    done = keel("verify", "--json")
    assert (done.exit_code, len(json.loads(done.output)["disagreements"])) == (1, 1)
    assert keel("rebuild").output == "toy: production 2, staging none, previous 1 (generation 2)\n"
    with Store.open(url) as store:
        assert deployments.read(store, "toy").production == 2
    assert keel("verify").exit_code == 0
    assert keel("rebuild").output == "deployments and experiments already agree with the ledger\n"
    assert json.loads(keel("rebuild", "flight_delay", "--json").output) == []
    assert isinstance(refused("rebuild", "flight_dealy"), UnknownModel)


@pytest.mark.parametrize("table", ["deployments", "experiments", "ledger"])
def test_verify_without_a_table_names_it_and_what_to_do(
    store_url: str, monkeypatch, tmp_path: Path, table: str
) -> None:
    monkeypatch.setenv("KEEL_HOME", str(tmp_path))
    monkeypatch.setenv("KEEL_STORE_URL", store_url)
    with Store.open(store_url) as store:
        history(store)
        with store.begin() as connection:
            cascade = "CASCADE" if store.engine.dialect.name == "postgresql" else ""
            connection.execute(sa.text(f"DROP TABLE {table} {cascade}"))
    error = refused("verify")
    assert isinstance(error, StoreUnavailable)
    assert re.search(f'lost a part of its schema .*"?{table}"?.*keel ledger rebuild.*backup', str(error))
    assert "SELECT" not in str(error)
    if table == "ledger":
        assert isinstance(refused("rebuild"), StoreUnavailable)
    else:
        assert keel("rebuild").exit_code == 0
        assert keel("verify").exit_code == 0
        with Store.open(store_url) as store, store.connect() as connection:
            for view in metric_views.names():
                connection.execute(sa.text(f"SELECT * FROM {view} LIMIT 1"))


def test_verify_of_an_export_needs_no_database_mlflow_or_airflow(url: str, tmp_path: Path, signing: None) -> None:
    assert keel("checkpoint").exit_code == 0
    done = keel("export", "ledger.jsonl")
    assert done.output.startswith("wrote 7 rows to ledger.jsonl; to verify them anywhere: keel ledger verify --file")
    exported = json.loads(keel("export", "ledger.jsonl", "--json").output)
    assert exported["entries"] == 7
    (tmp_path / "keel.db").unlink()
    code = """
import sys
from keel.cli.main import app
try:
    app(["ledger", "verify", "--file", "ledger.jsonl"])
finally:
    print(sorted({"mlflow", "airflow", "sqlalchemy", "pyarrow"} & set(sys.modules)))
"""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "include"), "KEEL_STORE_URL": "postgresql://nowhere:1/x"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert ran.stdout.splitlines() == [
        "7 rows: the chain holds",
        "1 checkpoint is valid; the last covers 7 rows, 0 came after it",
        "[]",
    ]
    assert not (tmp_path / "keel.db").exists()
    lines = (tmp_path / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "ledger.jsonl").write_bytes(b"".join(lines[:6]))
    assert "7 rows were signed" in str(refused("verify", "--file", "ledger.jsonl"))
    (tmp_path / "ledger.jsonl").write_bytes(b"".join(lines).replace(b'"ada"', b'"eve"', 1))
    assert "row 1 of the ledger: its content" in str(refused("verify", "--file", "ledger.jsonl"))
    done = keel("verify", "--file", "ledger.jsonl", "--json")
    assert (done.exit_code, json.loads(done.output)["holds"]) == (1, False)


def test_the_documented_check_without_keel_finds_a_change(url: str, tmp_path: Path) -> None:
    assert keel("export", "ledger.jsonl").exit_code == 0
    [code] = re.findall(r"```python\n(.+?)```", (PROJECT / "docs" / "ledger.md").read_text(), re.DOTALL)
    run = [sys.executable, "-I", "-c", code]
    assert subprocess.run(run, cwd=tmp_path).returncode == 0
    content = (tmp_path / "ledger.jsonl").read_bytes()
    (tmp_path / "ledger.jsonl").write_bytes(content.replace(b'"ada"', b'"eve"', 1))
    assert b"AssertionError" in subprocess.run(run, cwd=tmp_path, capture_output=True).stderr


def test_checkpoint_is_written_once_and_finds_a_rewritten_chain(url: str, tmp_path: Path, signing: None) -> None:
    assert keel("checkpoint").output.startswith("elsewhere: checkpoint-000000000007.json covers 7 rows, signed by key ")
    assert keel("checkpoint").output == "the ledger has no new rows; no checkpoint was written\n"
    assert json.loads(keel("checkpoint", "--json").output) is None
    with Store.open(url) as store:
        add(store, 8, model="toy", generation_from=2, generation_to=2)
        written = json.loads(keel("checkpoint", "--json").output)
        assert (written["size"], written["seq"]) == (8, 8)
        add(store, 9, model="toy", generation_from=2, generation_to=2)
        assert (
            keel("verify").output.splitlines()[1] == "2 checkpoints are valid; the last covers 8 rows, 1 came after it"
        )
        with owned(store) as connection:
            put(connection, rewritten(ledger.stored_rows(store), 2, actor="eve"))
    assert "rows 1 to 7" in str(refused("verify"))
    assert "nothing was signed" in str(refused("checkpoint"))
    assert len(list((tmp_path / "elsewhere").iterdir())) == 2


def test_a_missing_key_or_place_is_named(url: str, tmp_path: Path) -> None:
    assert "KEEL_CHECKPOINTS, and the private key with --key or KEEL_SIGNING_KEY" in str(refused("checkpoint"))
    assert "KEEL_VERIFY_KEY" in str(refused("verify", "--checkpoints", "x"))
    assert "KEEL_CHECKPOINTS" in str(refused("verify", "--public-key", "x"))
    made = json.loads(keel("keygen", "key", "--json").output)
    assert (made["private_key"], made["public_key"]) == ("key", "key.pub")
    error = refused("verify", "--checkpoints", "x", "--public-key", "key.pub")
    assert isinstance(error, ConfigError)
    assert (error.exit_code, "there is no checkpoint in x" in str(error)) == (2, True)
    assert isinstance(refused("keygen", "key"), ConfigError)
    assert isinstance(refused("checkpoint", "--checkpoints", "x", "--key", "key.pub"), ConfigError)
    assert isinstance(refused("verify", "--file", "gone"), ConfigError)
    assert not (tmp_path / "x").exists()


def test_an_error_with_json_is_one_document(url: str) -> None:
    ran = subprocess.run(
        [str(Path(sys.executable).parent / "keel"), "ledger", "verify", "--checkpoints", "x", "--json"],
        capture_output=True,
        text=True,
        cwd=PROJECT,
    )
    assert (ran.returncode, json.loads(ran.stdout)["kind"]) == (2, "ConfigError")
