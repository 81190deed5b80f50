"""What the page on feedback shows runs, and prints what it says."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet
from typer.testing import CliRunner

from keel.cli import main as command_line
from keel.config import get_model
from keel.config.sections import RetentionConfig
from keel.feedback import label_table
from keel.serving.http.app import labels_in
from keel.store.database.adbc import connect_sqlite
from tests.support.paths import PROJECT

PAGE = (PROJECT / "docs" / "feedback.md").read_text(encoding="utf-8")
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def blocks(info: str) -> list[str]:
    found = re.findall(rf"^```{info}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found, info
    return found


@pytest.fixture
def home(migrated_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(migrated_sqlite, tmp_path / "keel.db")
    monkeypatch.setenv("KEEL_HOME", str(tmp_path))
    monkeypatch.delenv("KEEL_STORE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_prints_what_it_says(home: Path) -> None:
    script = "\n".join(blocks("python run"))
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "include")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(blocks("text output"))


def test_a_shell_says_the_same_id() -> None:
    [command] = blocks("sh run")
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout == blocks("text output")[0]


def test_bodies_are_labels() -> None:
    for body in blocks("json label"):
        model, labels = labels_in(json.loads(body), None)
        assert label_table(labels, get_model(str(model)), now=NOW).num_rows == len(labels)


def test_commands_submit_labels(home: Path) -> None:
    """Of the same files and tables, but that none lies with somebody else."""
    rows = [
        ["id", "tail", "departed", "late", "label"],
        ["a", "N1", "2026-05-01 10:15", 1, 1],
        ["b", "N2", "2026-05-02 10:15", 0, 0],
    ]
    for name in ("labels.csv", "arrivals.csv"):
        with (home / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    parquet.write_table(pa.table({"id": ["a", "b"], "label": [1, 0]}), home / "2026-05.parquet")
    for file, late in (("keel.db", "NULL"), ("warehouse.db", "1")):
        with closing(connect_sqlite(str(home / file), 5)) as connection:
            connection.execute("CREATE TABLE arrivals (prediction TEXT, late INTEGER, label INTEGER)")
            connection.execute(f"INSERT INTO arrivals VALUES ('c', 1, 1), ('d', {late}, 0)")
    elsewhere = {
        "s3://bucket/": f"file://{home}/", "ops.arrivals": "main.arrivals",
        "postgresql://reader@localhost/warehouse": f"sqlite:///{home}/warehouse.db",
    }  # fmt: skip
    [commands] = blocks("sh labels")
    stored = []
    for line in commands.splitlines():
        for place, here in elsewhere.items():
            line = line.replace(place, here)
        keel, *arguments = shlex.split(line)
        assert keel == "keel"
        done = CliRunner().invoke(command_line.app, [*arguments, "--json"])
        assert done.exit_code == 0, (line, done.exception)
        stored.append(json.loads(done.stdout)["stored"])
    assert stored == [2, 0, 2, 1, 1]


def test_correction_replaces_a_label(home: Path) -> None:
    for name, label in (("labels.csv", 1), ("right.csv", 0)):
        with (home / name).open("w", newline="") as file:
            csv.writer(file).writerows([["id", "label"], ["a", label]])
    assert CliRunner().invoke(command_line.app, ["feedback", "flight_delay", "labels.csv"]).exit_code == 0
    [command] = blocks("sh correct")
    done = CliRunner().invoke(command_line.app, shlex.split(command)[1:])
    assert done.stdout == "1 labels of flight_delay replaced, 0 were right already\n", done.output


def test_the_configuration_is_one() -> None:
    [section] = blocks("yaml")
    assert RetentionConfig.model_validate(yaml.safe_load(section)["retention"]).rows.days == 180
