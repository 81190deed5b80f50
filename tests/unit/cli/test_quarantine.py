"""``keel quarantine``: quarantined data is listed, and released with a ledger row."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from keel.cli import main as command_line
from keel.errors import ConfigError, KeelError, UnknownModel, UnknownQuarantine
from keel.ledger import entries as ledger
from keel.store import Store

MAY = datetime(2013, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
WITHIN = ["--start", "2013-05-01", "--end", "2013-05-02T00:00:00+00:00"]


@pytest.fixture
def url(migrated_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "keel.db").write_bytes(migrated_sqlite.read_bytes())
    url = f"sqlite:///{tmp_path / 'keel.db'}"
    monkeypatch.setenv("KEEL_HOME", str(tmp_path))
    monkeypatch.setenv("KEEL_STORE_URL", url)
    monkeypatch.setenv("LOGNAME", "ada")
    with Store.open(url) as store:
        for start in (3, 9, 30):
            store.quarantine("flight_delay", MAY + start * HOUR, MAY + (start + 3) * HOUR, f"break {start}", MAY)
        store.quarantine("flight_delay", MAY + 50 * HOUR, MAY + 53 * HOUR, "all are 0", MAY, about="labels")
    return url


def keel(*arguments: str) -> Result:
    return CliRunner().invoke(command_line.app, ["quarantine", *arguments])


def refused(*arguments: str) -> KeelError:
    error = keel(*arguments).exception
    assert isinstance(error, KeelError)
    return error


def test_list_prints_the_quarantined_intervals_in_order(url: str) -> None:
    lines = keel("list", "flight_delay").output.splitlines()
    assert lines[0] == "2013-05-01T03:00:00Z to 2013-05-01T06:00:00Z  break 3"
    assert lines[-1].endswith("  labels: all are 0")
    assert len(lines) == 4
    [first, *_] = json.loads(keel("list", "flight_delay", "--json").output)
    assert first == {
        "start": "2013-05-01T03:00:00+00:00",
        "end": "2013-05-01T06:00:00+00:00",
        "reason": "break 3",
        "decided_until": "2013-05-01T06:00:00+00:00",
        "released": False,
        "created_at": "2013-05-01T00:00:00+00:00",
        "about": "data",
    }


def test_release_frees_the_intervals_within_the_range_and_records_the_user(url: str) -> None:
    done = keel("release", "flight_delay", *WITHIN)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[1] == "released 2013-05-01T09:00:00Z to 2013-05-01T12:00:00Z of flight_delay"
    with Store.open(url) as store:
        assert [q["reason"] for q in store.quarantines("flight_delay")] == ["break 30", "all are 0"]
        [row] = ledger.entries(store, "flight_delay", "release_quarantine")
        assert ledger.verify(store).broken_at is None
    assert row.actor == "ada"
    assert len(row.body["evidence"]["released"]) == 2
    told = CliRunner().invoke(command_line.app, ["ledger", "show", "flight_delay"]).output
    assert "was released by ada: 1 May 2013 03:00 to 06:00, 1 May 2013 09:00 to 12:00 (UTC)." in told


def test_release_as_json_lists_the_released_intervals(url: str) -> None:
    found = json.loads(keel("release", "flight_delay", *WITHIN, "--json").output)
    assert [(interval["reason"], interval["released"]) for interval in found] == [("break 3", True), ("break 9", True)]
    keel("release", "flight_delay", "--start", "2013-05-01", "--end", "2013-05-09")
    assert keel("list", "flight_delay").output == "flight_delay has no quarantined data\n"
    assert json.loads(keel("list", "flight_delay", "--json").output) == []


def test_release_that_cannot_be_done_names_what_exists_and_changes_nothing(url: str) -> None:
    part = ["--start", "2013-05-01T04:00:00Z", "--end", "2013-05-01T06:00:00Z"]
    error = refused("release", "flight_delay", *part)
    assert isinstance(error, UnknownQuarantine)
    assert "quarantined: 2013-05-01T03:00:00Z to 2013-05-01T06:00:00Z, 2013-05-01T09" in str(error)
    assert error.exit_code == 2
    with Store.open(url) as store:
        assert len(store.quarantines("flight_delay")) == 4
        assert list(ledger.entries(store)) == []
    assert isinstance(refused("list", "flight_dealy"), UnknownModel)
    assert isinstance(refused("release", "flight_delay", "--start", "May", "--end", "2013-05-02"), ConfigError)
    assert isinstance(refused("release", "flight_delay", "--start", "2013-05-02", "--end", "2013-05-01"), ConfigError)
    assert keel("release", "flight_delay", "--start", "", "--end", "2013-05-01").exit_code == 2
    assert keel("release", "flight_delay").exit_code == 2
