"""``keel maintenance``: the nightly maintenance run now, for one model or for all."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from keel import deployments
from keel.cli import main as command_line
from keel.config import MODELS_FOLDER, get_model
from keel.errors import LedgerBroken, UnknownModel
from keel.ledger import entries as ledger
from keel.store import Store
from tests.support.ledger.rows import owned
from tests.support.store_fixtures import EVER, MICROSECONDS

NOW = datetime.now(UTC)
MODEL = "flight_delay"


@pytest.fixture
def url(new_home: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with a row of 200 days ago and one of now."""
    new_home(tmp_path)
    url = f"sqlite:///{tmp_path / 'keel.db'}"
    monkeypatch.setenv("KEEL_HOME", str(tmp_path))
    monkeypatch.setenv("KEEL_STORE_URL", url)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("KEEL__FLIGHT_DELAY__RETENTION__ROWS", "190d")
    with Store.open(url) as store:
        times = pa.array([NOW - timedelta(days=200), NOW], MICROSECONDS)
        log_of(store).append(pa.table({"id": ["old", "new"], "time": times}))
        deployments.append(store, MODEL, actor="tests", action=ledger.Action.CONFIRM, body={"evidence": {}}, now=NOW)
    return url


def log_of(store: Store):
    return store.predictions(MODEL, dict(get_model(MODEL).features))


def maintenance(*arguments: str) -> Result:
    return CliRunner().invoke(command_line.app, ["maintenance", *arguments])


def test_maintenance_runs_every_step_and_prints_the_results(url: str) -> None:
    done = maintenance()
    assert done.exit_code == 0, (done.output, done.exception)
    first, expired, last = done.stdout.splitlines()
    assert first == "The ledger's 1 rows are verified."
    assert expired.startswith("Deleted 1 rows of flight_delay from before ")
    assert last.startswith("The store is consistent. Its size is ")
    with Store.open(url) as store:
        assert log_of(store).count(*EVER) == 1
    again = json.loads(maintenance(MODEL, "--json").stdout)
    assert again["models"][MODEL]["expired"]["deleted"] == 0
    assert set(again["models"][MODEL]) == {"reconciled", "pruned", "expired", "reports"}
    assert again["store"]["faults"] == 0


def test_maintenance_with_a_failing_step_runs_the_others_and_exits_with_its_code(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = maintenance("--json")
    assert done.exit_code == 3
    steps = json.loads(done.stdout)["models"][MODEL]
    assert steps["reconciled"]["kind"] == "RegistryUnavailable"
    assert steps["expired"]["deleted"] == 1


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model and another team's model.yaml with a mistake."""
    folder = tmp_path / "models"
    for name, text in ((MODEL, (MODELS_FOLDER / MODEL / "model.yaml").read_text()), ("mast", "model: mast\n")):
        (folder / name).mkdir(parents=True)
        (folder / name / "model.yaml").write_text(text)
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(folder))
    return folder


def test_maintenance_with_another_teams_invalid_model_maintains_the_valid_ones_and_names_it(
    url: str, models: Path
) -> None:
    done = maintenance("--json")
    assert done.exit_code == 2
    found = json.loads(done.stdout)
    assert found["models"][MODEL]["expired"]["deleted"] == 1
    assert found["store"]["faults"] == 0
    assert found["invalid"][0].startswith(f"{models / 'mast' / 'model.yaml'}: target: required key is missing")
    said = maintenance()
    assert said.exit_code == 2
    assert f"Not maintained: {models / 'mast' / 'model.yaml'}: target" in said.stdout
    assert maintenance(MODEL).exit_code == 0


def test_maintenance_with_a_broken_ledger_deletes_nothing(url: str) -> None:
    with Store.open(url) as store, owned(store) as connection:
        connection.execute(sa.text("UPDATE ledger SET actor = 'mallory'"))
    assert isinstance(maintenance().exception, LedgerBroken)
    with Store.open(url) as store:
        assert log_of(store).count(*EVER) == 2


def test_maintenance_of_an_unknown_model_is_refused(url: str) -> None:
    assert isinstance(maintenance("flight_delays").exception, UnknownModel)
