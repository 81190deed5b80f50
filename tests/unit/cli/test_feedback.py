"""``keel feedback``: labels from files and tables, all of them or none, with the result of each."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from pyarrow import parquet
from typer.testing import CliRunner, Result

from keel import sources
from keel.cli import main as command_line
from keel.cli.feedback import show
from keel.config import get_model
from keel.errors import BadRequest, ConfigError, KeelError, SchemaError, StoreUnavailable, UnknownModel
from keel.feedback import bulk as handing
from keel.feedback import correct_labels, prediction_id, submit_labels
from keel.feedback.bulk import SubmittedSource
from keel.ledger.entries import entries
from keel.sources import sql as tables
from keel.store import Store
from keel.store.database.adbc import connect_sqlite
from keel.store.database.tables import label_corrections
from keel.workspace import Workspace
from tests.support.store_fixtures import EVER, MICROSECONDS

HOURS = [datetime(2026, 3, 1, hour, tzinfo=UTC) for hour in range(24)]
IDS = [f"p{i}" for i in range(24)]
MODEL = "flight_delay"


@pytest.fixture
def home(store_url: str, migrated_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of each kind with a day of predictions: every other by entity, the rest by id."""
    if store_url.startswith("sqlite"):
        path = Path(store_url.removeprefix("sqlite:///"))
        path.parent.mkdir()
        shutil.copy(migrated_sqlite, path)
    monkeypatch.setenv("KEEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KEEL_STORE_URL", store_url)
    monkeypatch.chdir(tmp_path)
    with Store.open(store_url) as store:
        ids = [prediction_id(MODEL, f"N{i}", HOURS[i]) if i % 2 else IDS[i] for i in range(24)]
        columns = {"id": ids, "time": pa.array(HOURS, MICROSECONDS), "version": [1] * 24, "score": [0.5] * 24}
        log_of(store).append(pa.table(columns))
        yield store


def log_of(store: Store) -> Any:
    return store.predictions(MODEL, dict(get_model(MODEL).features))


def labels_in(store: Store) -> dict[str, float]:
    table = log_of(store).labelled(*EVER, features=False)
    return dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))


def write(name: str, rows: list[list[Any]], delimiter: str = ",") -> str:
    with Path(name).open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return name


def keel(*arguments: str) -> Result:
    return CliRunner().invoke(command_line.app, ["feedback", MODEL, *arguments])


def handed(*arguments: str) -> dict[str, Any]:
    done = keel(*arguments, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    found = json.loads(done.stdout)
    return {key: found[key] for key in ("rows", "without_label", "stored", "duplicates", "conflicts", "unmatched")}


def refused(*arguments: str) -> KeelError:
    error = keel(*arguments).exception
    assert isinstance(error, KeelError), error
    return error


def outcome(
    rows: int, *, without_label: int = 0, stored: int = 0, duplicates: int = 0, conflicts: int = 0, unmatched: int = 0
):
    return locals()


def test_feedback_of_the_same_file_twice_stores_it_once(home: Store) -> None:
    file = write("labels.csv", [["id", "label", "note"], *([IDS[i], i % 4 // 2, "x"] for i in range(0, 24, 2))])
    assert handed(file) == outcome(12, stored=12)
    assert labels_in(home) == {IDS[i]: i % 4 / 2 for i in range(0, 24, 2)}
    before = labels_in(home)
    assert handed(file) == outcome(12, duplicates=12)
    assert labels_in(home) == before


def test_feedback_prints_each_outcome_and_lists_conflicts(home: Store) -> None:
    assert keel("--conflicts").output == f"no label of {MODEL} contradicts another\n"
    rows = [["id", "label"], ["p0", 1], ["p0", 1], ["p0", 0], ["nobody", 1], ["p2", ""]]
    file = write("labels.csv", rows)
    done = keel(file, "--skip-missing")
    assert done.stdout.splitlines() == [
        f"5 rows of {file}: 2 stored, 1 duplicates, 1 conflicts, 1 of the stored without a prediction yet, "
        "1 rows without a label",
        "to list the labels that contradict earlier ones: keel feedback flight_delay --conflicts",
    ]
    head, line = keel("--conflicts").output.splitlines()
    assert head.split() == ["id", "label", "observed", "other", "label", "observed"]
    assert line.split()[::2] == ["p0", line.split()[2], line.split()[4]]
    [found] = json.loads(keel("--conflicts", "--json").output)
    assert (found["id"], found["label"], found["other_label"]) == ("p0", 1.0, 0.0)


def test_feedback_of_another_models_labels_prints_a_hint(home: Store) -> None:
    file = write("labels.csv", [["id", "label"], ["x", 1], ["y", 1]])
    assert "none of the new labels has a prediction" in keel(file).output
    assert "none of the new labels" not in keel(file).output


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet", "url", "semicolons"])
def test_feedback_reads_each_file_format_with_its_own_column_names(home: Store, kind: str) -> None:
    rows = [["tail", "left", "late", "seen"]]
    rows += [[f"N{i}", HOURS[i].isoformat(), str(i % 3 == 0), "2026-04-01 10:00"] for i in range(1, 24, 2)]
    plain = write("labels.csv", rows, ";" if kind == "semicolons" else ",")
    names = ["--entity", "tail", "--time", "left", "--label", "late", "--observed-at", "seen", "--zone", "Asia/Tokyo"]
    if kind == "csv.gz":
        Path("labels.csv.gz").write_bytes(gzip.compress(Path(plain).read_bytes()))
        plain = "labels.csv.gz"
    if kind == "parquet":
        columns = dict(zip(rows[0], map(list, zip(*rows[1:], strict=True)), strict=True))
        columns["left"] = pa.array([HOURS[i] for i in range(1, 24, 2)], pa.timestamp("ns", "Asia/Tokyo"))
        columns["late"] = [i % 3 == 0 for i in range(1, 24, 2)]
        parquet.write_table(pa.table(columns), "labels.parquet", row_group_size=5)
        plain = "labels.parquet"
    if kind == "url":
        plain = f"file://{Path(plain).absolute()}"
    more = ["--delimiter", ";"] if kind == "semicolons" else []
    assert handed(plain, *names, *more) == outcome(12, stored=12)
    assert labels_in(home) == {prediction_id(MODEL, f"N{i}", HOURS[i]): float(i % 3 == 0) for i in range(1, 24, 2)}
    observed = log_of(home).labelled(*EVER, by_arrival=timedelta(0), features=False)["observed_at"].to_pylist()
    assert set(observed) == {datetime(2026, 4, 1, 1, tzinfo=UTC)}


@pytest.fixture
def in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (handing, sources, tables):
        monkeypatch.setattr(module, "PART_ROWS", 7)
    monkeypatch.setattr("keel.sources.files.PART_ROWS", 7)
    monkeypatch.setattr("keel.sources.files.BLOCK", 200)


@pytest.mark.usefixtures("in_small_parts")
@pytest.mark.parametrize("kind", ["csv", "parquet", "table"])
def test_feedback_with_one_invalid_row_stores_nothing(home: Store, kind: str) -> None:
    columns = {"request_id": [f"r{i}" for i in range(100)], "label": [str(i % 2) for i in range(100)]}
    columns["label"][99] = "2"
    options = ["--id", "request_id"]
    if kind == "csv":
        source = write("labels.csv", [list(columns), *map(list, zip(*columns.values(), strict=True))])
    elif kind == "parquet":
        parquet.write_table(pa.table(columns), "labels.parquet")
        source = "labels.parquet"
    else:
        create(home, "truth", "request_id TEXT, label TEXT", zip(*columns.values(), strict=True))
        source, options = "truth", [*options, "--table"]
    error = refused(source, *options)
    assert isinstance(error, BadRequest)
    assert str(error).startswith(source)
    assert "row 100, column 'label': must be 0 or 1" in str(error)
    assert "(got '2'); nothing was stored" in str(error)
    with home.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM labels")).scalar_one() == 0


@pytest.mark.usefixtures("in_small_parts")
def test_feedback_of_many_batches_stores_them_in_turn_and_shows_progress(home: Store) -> None:
    file = write("labels.csv", [["id", "label"], *([f"r{i}", i % 2] for i in range(100))])
    done = keel(file)
    assert done.exit_code == 0
    assert "100 rows read" in done.stderr
    assert "100 of 100 labels stored" in done.stderr
    stored = [int(line.split()[0]) for line in done.stderr.splitlines() if line.endswith("labels stored")]
    assert all(later - earlier < 2 * 7 for earlier, later in pairwise([0, *stored]))
    assert handed(file) == outcome(100, duplicates=100)


def create(store: Store, name: str, columns: str, rows: Any) -> None:
    """Make a table in the store's own database."""
    with store.begin() as connection:
        connection.execute(sa.text(f"CREATE TABLE {name} ({columns})"))
        for row in rows:
            keys = {f"v{i}": value for i, value in enumerate(row)}
            connection.execute(sa.text(f"INSERT INTO {name} VALUES ({', '.join(':' + key for key in keys)})"), keys)


def test_feedback_reads_a_table_of_the_stores_database_with_the_stores_library(home: Store) -> None:
    rows = [(HOURS[i].isoformat(), f"N{i}", late, 0.5) for i, late in ((1, 1), (3, 0), (5, None))]
    create(home, "truth", '"when" TEXT, tail TEXT, late INTEGER, km DOUBLE PRECISION', rows)
    create(home, "other", "a TEXT", [])
    options = ["--table", "--entity", "tail", "--time", "when", "--label", "late"]
    assert handed("truth", *options, "--skip-missing") == outcome(3, without_label=1, stored=2)
    assert set(labels_in(home).values()) == {0.0, 1.0}
    error = refused("truth", *options)
    assert "row 3, column 'late': is missing" in str(error)
    assert "there is no such table; did you mean 'truth'?" in str(refused("truht", *options))
    assert "has no column 'late_'; did you mean 'late'?; it has when, tail, late, km" in str(
        refused("truth", "--table", "--entity", "tail", "--time", "when", "--label", "late_")
    )


@pytest.mark.postgres
def test_feedback_reads_a_view_in_a_schema_of_another_database(
    home: Store, new_postgres_schema: Any, monkeypatch
) -> None:
    url = new_postgres_schema()
    schema = url.rpartition("%3D")[2]
    with Store.open(url) as elsewhere:  # any database will do
        create(
            elsewhere,
            "raw",
            "id UUID, label BOOLEAN, price NUMERIC, seen TIMESTAMPTZ, local TIMESTAMP",
            [
                ("00000000-0000-0000-0000-000000000001", True, "1.50", HOURS[9], HOURS[9].replace(tzinfo=None)),
                ("00000000-0000-0000-0000-000000000002", False, None, None, HOURS[9].replace(tzinfo=None)),
            ],
        )
        with elsewhere.begin() as connection:
            connection.execute(sa.text("CREATE VIEW truth AS SELECT * FROM raw"))
    monkeypatch.setenv("KEEL_FEEDBACK_DATABASE", url)
    bare = url.partition("&options")[0]
    for source, options in ((f"{schema}.truth", ["--database", bare]), ("truth", [])):
        expected = outcome(2, stored=2, unmatched=2) if options else outcome(2, duplicates=2)
        assert handed(source, "--table", "--observed-at", "seen", *options) == expected
    with home.connect() as connection:
        found = connection.execute(sa.text("SELECT id, label, observed_at FROM labels ORDER BY id")).all()
    assert found[0] == ("00000000-0000-0000-0000-000000000001", 1.0, int(HOURS[9].timestamp()) * 10**6)
    assert found[1][1] == 0.0
    assert "has no time zone" in str(refused("truth", "--table", "--observed-at", "local"))
    assert "row 1, column 'price': must be 0 or 1" in str(
        refused("truth", "--table", "--label", "price", "--skip-missing")
    )
    assert "there is no schema 'nowhere'" in str(refused("nowhere.truth", "--table"))


def test_feedback_reads_numbers_and_mixed_types_of_another_sqlite_file(
    home: Store, tmp_path: Path, monkeypatch
) -> None:
    path = tmp_path / "own.db"
    with closing(connect_sqlite(str(path), 1)) as connection:
        connection.execute("CREATE TABLE truth (id, label, seen)")
        rows = "(1, 0.30000000000000004, NULL), ('two', '7', ''), ('three', 5, '2026-03-01T00:00:00Z')"
        connection.execute(f"INSERT INTO truth VALUES {rows}")
    # two copies of the library in one process may damage a file that both have open
    monkeypatch.setattr("sqlite3.dbapi2.connect", None)
    monkeypatch.setattr("sqlite3.connect", None)
    with sources_in(path) as read:
        found = pa.concat_tables(read(["id", "label", "seen"])).to_pylist()
    assert [float(row["label"]) for row in found] == [0.1 + 0.2, 7.0, 5.0]
    assert [(row["id"], row["seen"]) for row in found] == [("1", ""), ("two", ""), ("three", "2026-03-01T00:00:00Z")]
    error = refused("truth", "--table", "--database", f"sqlite:///{path}")
    assert "row 1, column 'label': must be 0 or 1" in str(error)


def sources_in(path: Path) -> Any:
    from contextlib import contextmanager
    from types import SimpleNamespace

    @contextmanager
    def opened() -> Iterator[Any]:
        with tables.open_table(SimpleNamespace(), "truth", f"sqlite:///{path}") as source:  # type: ignore[arg-type]
            yield source.read

    return opened()


def test_feedback_from_a_missing_source_or_column_names_the_existing_ones(home: Store, tmp_path: Path) -> None:
    write("labels_may.csv", [["id", "label"], ["p0", 1]])
    for arguments, kind, says in (
        (["label_may.csv"], ConfigError, "label_may.csv: there is no such file; did you mean 'labels_may.csv'?"),
        (["none/x.csv"], ConfigError, "none/x.csv: there is no such file, nor a folder"),
        (["."], ConfigError, ".: is a folder: submit its files one by one"),
        (["gopher://x/y.csv"], ConfigError, "gopher://x/y.csv: cannot be read"),
        (["labels_may.csv", "--label", "lable"], ConfigError, "has no column 'lable'; did you mean 'label'?"),
        (["labels_may.csv", "--time", "label"], ConfigError, "has no column 'entity'"),
        (["labels_may.csv", "--id", "id", "--entity", "id"], ConfigError, "stands beside entity or time"),
        (["labels_may.csv", "--zone", "Europe/Berlim"], ConfigError, "did you mean 'Europe/Berlin'?"),
        (["labels_may.csv", "--delimiter", "ab"], ConfigError, "--delimiter: must be one character"),
        ([], ConfigError, "name a file or table of labels"),
        (["labels_may.csv", "--conflicts"], ConfigError, "name a file or table of labels"),
        (["t", "--table", "--database", "sqlite:////nowhere/at.db"], ConfigError, "there is no file /nowhere/at.db"),
        (["t", "--table", "--database", "no url"], ConfigError, "--database: cannot be read"),
        (["t", "--table", "--database", "cobol://u:secret@h/d"], ConfigError, "no driver for 'cobol' is installed"),
        (["t", "--table", "--database", "mysql+pymysql://u:secret@h/d"], ConfigError, "no driver for 'mysql+pymysql'"),
        (["t", "--table", "--database", "postgresql://u:secret@127.0.0.1:1/d"], StoreUnavailable, "does not answer"),
        (["t", "--table", "--database", "postgresql://u@127.0.0.1:1/d?password=secret"], StoreUnavailable, ":1/d "),
    ):
        error = refused(*arguments)
        assert isinstance(error, kind), arguments
        assert says in str(error)
        assert "secret" not in str(error)
    assert labels_in(home) == {}
    nobody = CliRunner().invoke(command_line.app, ["feedback", "flight_dela", "labels_may.csv"]).exception
    assert isinstance(nobody, UnknownModel)
    assert not Path("/nowhere").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty; a CSV file begins with a line that names its columns"),
        (b"id,label\np0,1,2\n", "cannot be read: CSV parse error: "),
        (b"id,label\n\xff\xfe,1\n", "cannot be read: .*utf-8"),
        (b"id,label,label\np0,1,1\n", "has the column 'label' twice"),
        (b"PAR1 and no more", "cannot be read: "),
        (b"who,what\np0,1\n", "has no column 'id' .nor 'entity' and 'time'.; it has who, what; name it with --id"),
    ],
)
def test_feedback_of_an_invalid_file_is_refused(home: Store, content: bytes, says: str) -> None:
    Path("labels.csv").write_bytes(content)
    error = refused("labels.csv")
    assert isinstance(error, ConfigError)
    assert re.search(says, str(error)), error
    assert str(error).startswith("labels.csv: ")


def test_feedback_of_a_file_without_rows_stores_nothing(home: Store) -> None:
    Path("labels.csv").write_bytes(b"\xef\xbb\xbfid,label\r\n")
    assert handed("labels.csv") == outcome(0)


def test_feedback_reads_csv_with_quoted_lines_and_a_byte_order_mark(home: Store) -> None:
    Path("labels.csv").write_bytes(b'\xef\xbb\xbf"id",note,label\r\np0,"two\nlines, and ""quotes""",1\r\np2,,0\r\n')
    assert handed("labels.csv") == outcome(2, stored=2)
    assert labels_in(home) == {"p0": 1.0, "p2": 0.0}


def test_a_url_is_shown_without_login_and_signature() -> None:
    from keel.sources.files import open_file

    with pytest.raises(ConfigError) as caught, open_file("http://ann:secret@127.0.0.1:1/x.csv?sig=secret"):
        pass
    assert str(caught.value).startswith("http://127.0.0.1:1/x.csv: ")
    assert "secret" not in str(caught.value)


def test_show_counts_labels_that_arrive_too_late(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = {"stored": 3, "duplicates": 0, "conflicts": 0, "unmatched": 1, "expired": 2}
    show(SubmittedSource("arrivals.csv", rows=3, without_label=0, **outcome), "m")
    assert "1 of the stored without a prediction yet, 2 of the stored too late" in capsys.readouterr().out


def test_correction_replaces_labels_and_records_both_values(home: Store) -> None:
    handed(write("first.csv", [["id", "label"], ["p0", 1], ["p2", 0], ["p4", 1]]))
    handed(write("second.csv", [["id", "label"], ["p0", 0]]))  # a conflict: the first counts
    home.performance.put_hours(MODEL, 1, [(HOURS[0], 1, "{}", 1), (HOURS[2], 1, "{}", 1)])
    wrong = write("right.csv", [["id", "label"], ["p0", 0], ["p2", 0], ["p4", 0]])
    done = json.loads(keel(wrong, "--correct", "--reason", "swapped by the airline", "--json").stdout)
    assert done == {"model": MODEL, "corrected": 2, "unchanged": 1}
    assert labels_in(home) == {"p0": 0.0, "p2": 0.0, "p4": 0.0}
    with home.connect() as connection:
        found = connection.execute(sa.select(label_corrections).order_by(label_corrections.c.id)).all()
    assert [(row.id, row.old_label, row.label, row.reason) for row in found] == [
        ("p0", 1.0, 0.0, "swapped by the airline"), ("p4", 1.0, 0.0, "swapped by the airline"),
    ]  # fmt: skip
    assert {hour for _, hour, _ in home.performance.stale(MODEL)} >= {HOURS[0], HOURS[4]}
    [row] = entries(home, MODEL, "correct_labels")
    assert (row.body["reason"], row.body["evidence"]["labels"]) == ("swapped by the airline", 2)
    assert "no label" in keel("--conflicts").stdout  # the contradiction is gone
    again = json.loads(keel(wrong, "--correct", "--reason", "again", "--json").stdout)
    assert (again["corrected"], again["unchanged"]) == (0, 3)
    assert len(list(entries(home, MODEL, "correct_labels"))) == 1


@pytest.mark.parametrize(
    ("rows", "reason", "says"),
    [
        ([["id", "label"], ["p0", 0], ["p1", 1]], "why", "1 of 2 ids have no label to correct, the first is 'p1'"),
        ([["id", "label"], ["p0", 0]], " ", "a correction needs a reason"),
        ([["id", "label"], ["p0", 2]], "why", "row 1, column 'label': must be 0 or 1"),
        ([["id", "label"]], "why", "has no label; nothing was corrected"),
    ],
)
def test_correction_that_cannot_be_made_changes_nothing(
    home: Store, rows: list[list[Any]], reason: str, says: str
) -> None:
    handed(write("first.csv", [["id", "label"], ["p0", 1]]))
    error = refused(write("right.csv", rows), "--correct", "--reason", reason)
    assert says in str(error)
    assert labels_in(home) == {"p0": 1.0}
    assert list(entries(home, MODEL, "correct_labels")) == []


@pytest.mark.parametrize(
    "submit",
    [submit_labels, partial(correct_labels, reason="why", actor="ann", now=datetime(2026, 4, 1, tzinfo=UTC))],
)
def test_python_takes_no_label_that_the_target_cannot_have(home: Store, submit: Any) -> None:
    config = get_model(MODEL)
    now = datetime.now(UTC)
    with Workspace.open() as ws:
        log = ws.predictions(config)
        good = pa.table({"id": ["p0", "p2"], "label": [1.0, 0.0], "observed_at": pa.array([now, now], MICROSECONDS)})
        bad = good.set_column(1, "label", pa.array([0.0, 2.0]))
        log.add_labels(good)
        with pytest.raises(SchemaError, match=r"has 2 in row 1 \(id 'p2'\), and must be 0 or 1 for a binary target"):
            submit(ws, config, bad)
    assert labels_in(home) == {"p0": 1.0, "p2": 0.0}
