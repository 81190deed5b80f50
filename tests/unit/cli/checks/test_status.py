"""``keel status``: a line a model, the worst first, whatever is wrong with the others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from keel import deployments
from keel.cli import main as command_line
from keel.config import read_models
from keel.deployments.history import Deployment
from keel.errors import ConfigError, KeelError, StoreUnavailable
from keel.reports.status import collect
from keel.store.database.tables import reports
from keel.window import now_utc
from keel.workspace import Workspace
from tests.support.checks.cases import WINDOW
from tests.support.checks.stored import store_case
from tests.support.toy import DAY

LONG_AGO = datetime(2026, 1, 21, tzinfo=UTC)
FILE = """
model: {model}
owner: {owner}
target: {{name: bought, label_delay: 24h}}
features: {{x: numeric, z: numeric, colour: categorical}}
check: {{schedule: {schedule}}}
"""


def configure(home: Path, model: str, schedule: str = '"0 */6 * * *"') -> None:
    folder = home / "models" / model
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.yaml").write_text(FILE.format(model=model, owner=f"team of {model}", schedule=schedule))


def deploy(ws: Workspace, model: str, version: int = 1) -> None:
    before, after = Deployment(model), Deployment(model, production=version)
    probation = {
        "version": version,
        "previous": None,
        "since": LONG_AGO.isoformat(),
        "until": (LONG_AGO + 7 * DAY).isoformat(),
    }
    body = {"evidence": {"sentence": "Promoted."}, "probation": probation}
    deployments.transitions.swap(
        ws.store, before, after, actor="tests", action="promote", body=body, now=now_utc(), statuses={}
    )


@pytest.fixture
def ws(tmp_path: Path, new_home: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A home with a model that is fine, one that does harm, one without a version, and one that is not valid."""
    home = new_home(tmp_path / "home")
    for model in ("fine", "harmful", "new"):
        configure(home, model)
    configure(home, "invalid", schedule='"now and then"')
    for name in ("KEEL_STORE_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KEEL_HOME", str(home))
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(home / "models"))
    with Workspace.open(home=home, environment={}) as opened:
        store_case(opened, "all_clear", model="fine", later=DAY)
        store_case(opened, "harm_staged", model="fine")
        store_case(opened, "harm_staged", model="harmful")
        for model in ("fine", "harmful"):
            deploy(opened, model)
        yield opened


def status(*arguments: str) -> Result:
    return CliRunner().invoke(command_line.app, ["status", *arguments])


def test_status_prints_a_line_a_model_the_worst_first(ws: Workspace) -> None:
    shown = status()
    lines = shown.output.splitlines()
    assert shown.exit_code == 2, "a file that is not valid"
    assert [line.split()[0] for line in lines[1:5]] == ["invalid", "harmful", "fine", "new"]
    assert re.search(r"harmful +1 since 2026-01-21 +2026-02-26 00:00 waits for approval", lines[2])
    assert re.search(r"Brier score 0.243 \(holdout 0.166\)", lines[2])
    assert re.search(r"fine +1 since 2026-01-21 +2026-02-27 00:00 all clear", lines[3])
    assert "never" in lines[4]
    assert "check.schedule: must be a cron expression" in shown.output
    assert "  No version is in production; train one: airflow dags trigger new.retrain" in lines


def test_status_of_models_that_are_fine_exits_with_0(ws: Workspace) -> None:
    assert status("fine").exit_code == 0
    assert status("fine", "harmful").exit_code == 1
    assert status("fine", "invalid").exit_code == 2
    error = status("fnie").exception
    assert isinstance(error, ConfigError)
    assert "did you mean 'fine'" in str(error)


def test_status_as_json_has_every_field(ws: Workspace) -> None:
    shown = status("harmful", "--json")
    assert shown.exit_code == 1
    [found] = json.loads(shown.output)["models"]
    assert (found["version"], found["since"]) == (1, LONG_AGO.isoformat())
    assert found["last_check"]["window"] == WINDOW.to_dict()
    assert found["last_check"]["to_do"] == "Approve or decline"
    assert found["performance"] == {
        "metric": "brier", "value": 0.243, "baseline": 0.166, "status": "degraded", "n": 1410,
    }  # fmt: skip
    assert found["labels"] == {"coverage": 0.946, "newest": None, "status": "ok"}
    assert found["needs_attention"] is True
    assert found["overdue"] is False
    assert found["next_check"] > now_utc().isoformat()


def test_status_of_a_check_that_has_not_come_is_overdue(ws: Workspace) -> None:
    configs, _ = read_models()
    [found] = collect(ws, {"fine": configs["fine"]}, now_utc() + 8 * DAY / 24)
    assert found.overdue
    assert found.needs_attention
    assert "overdue" in found.findings[0]
    on_request = configs["fine"].with_overrides({"check.schedule": None})
    [found] = collect(ws, {"fine": on_request}, now_utc() + 30 * DAY)
    assert (found.overdue, found.next_check) == (False, None)


def test_status_of_a_report_that_cannot_be_read_does_not_hide_the_others(ws: Workspace) -> None:
    with ws.store.begin() as connection:
        connection.execute(sa.update(reports).where(reports.c.model == "harmful").values(body='{"status": "new"}'))
    shown = status("harmful", "fine")
    assert shown.exit_code == 2
    assert "cannot be read" in shown.output
    assert "StoredQualityReport" in shown.output
    assert "all clear" in shown.output


def test_status_takes_few_queries_a_model(ws: Workspace) -> None:
    configs, _ = read_models()
    seen: list[str] = []
    with ws.store.connect() as connection:
        engine = connection.engine

    def count(*arguments: object) -> None:
        seen.append(str(arguments[2]))

    sa.event.listen(engine, "before_cursor_execute", count)
    collect(ws, {"harmful": configs["harmful"]}, now_utc())
    sa.event.remove(engine, "before_cursor_execute", count)
    assert 0 < len([each for each in seen if each.startswith("SELECT")]) <= 9


def test_status_of_a_store_that_does_not_answer_exits_with_3(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STORE_URL", "postgresql://nobody@127.0.0.1:1/keel")
    error = status().exception
    assert isinstance(error, StoreUnavailable)
    assert isinstance(error, KeelError)
