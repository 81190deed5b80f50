"""``keel live``: what the store knows of a model's live monitors, and what they are told to do."""

from __future__ import annotations

import csv
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from keel.cli import main as command_line
from keel.errors import ConfigError
from keel.store import Store
from keel.window import now_utc
from tests.support.live.models import LiveModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.versions.cloned import Trained

FILE = """
model: trained
owner: tests
target: {{name: bought, label_delay: 24h}}
features: {{x: numeric, z: numeric, colour: categorical}}
check: {{schedule: null}}
{more}
"""
LIVE = {"context": None, "columns": ["x", "z"], "harm": False}


@pytest.fixture
def store(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Store]:
    """On SQLite alone: the tests of the store and of the monitors read both databases."""
    shutil.copy(migrated_sqlite, tmp_path / "keel.db")
    with Store.open(f"sqlite:///{tmp_path / 'keel.db'}") as opened:
        yield opened


@pytest.fixture
def configure(trained: Trained, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Point the command to the store, and give its model's file a section more."""
    folder = tmp_path / "models" / "trained"
    folder.mkdir(parents=True)
    monkeypatch.setenv("KEEL_HOME", str(trained.ws.home))
    monkeypatch.setenv("KEEL_STORE_URL", f"sqlite:///{tmp_path / 'keel.db'}")
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path / "models"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def write(more: str) -> None:
        (folder / "model.yaml").write_text(FILE.format(more=more))

    return write


def live(*arguments: str) -> Result:
    return CliRunner().invoke(command_line.app, ["live", "trained", *arguments])


def document(*arguments: str) -> Any:
    return json.loads(live("--json", *arguments).stdout)


@pytest.fixture
def model(trained: Trained, store: Store, configure: Any) -> LiveModel:
    configure("live: {context: [], columns: [x, z], harm: false}")
    return LiveModel.new(trained, store, live=LIVE)


def test_live_of_a_model_without_a_version_says_how_to_get_one(trained, store, configure):
    configure("")
    shown = live()
    assert shown.exit_code == 0
    assert "No version of trained is in production" in shown.output
    assert "airflow dags trigger trained.retrain" in shown.output


def test_live_of_monitors_that_are_off_says_so(model, configure):
    configure("live: null")
    assert "The live monitors of trained are off." in live().output
    assert document()["state"] == "off"


def test_live_shows_an_alarm_first_and_exits_with_1_until_a_check_has_judged_it(model):
    model.arrive(500)
    model.catch_up(now=now_utc())
    quiet = live()
    assert quiet.exit_code == 0
    assert "No alarm is open after 5 blocks of version 1." in quiet.output
    model.shifted(330, by=1.5)
    model.catch_up(now=now_utc())
    alarmed = live()
    assert alarmed.exit_code == 1
    assert "1 alarm is open: the values of x have changed" in alarmed.output
    lines = [line for line in alarmed.output.splitlines() if "▁" in line]
    assert [line.split()[:2] for line in lines] == [["x", "alarm"], ["z", "ok"]]
    assert "█" in lines[0]
    assert "30 waiting" in alarmed.output
    assert "the probability that any of the 2 monitors alarms" in " ".join(alarmed.output.split())
    model.judge()
    again = live()
    assert again.exit_code == 0
    assert "decision-1" in again.output


def test_live_as_json_has_trajectories_the_worst_first(model):
    model.arrive(500)
    model.shifted(300, by=1.5)
    model.catch_up(now=now_utc())
    found = document()
    assert [each["subject"] for each in found["monitors"]] == ["x", "z"]
    worst = found["monitors"][0]
    assert worst["evidence"] == pytest.approx(worst["trajectory"][-1], abs=0.001)
    assert len(worst["trajectory"]) == len(found["times"]) == 8
    assert (found["alarms"][0]["alarm"]["subject"], found["needs_attention"]) == ("x", True)


def test_live_pause_and_resume_change_what_the_monitors_read(model):
    model.arrive(100)
    paused = live("--pause")
    assert (paused.exit_code, document()["state"]) == (0, "paused")
    assert "keel live trained --resume" in paused.output
    assert model.catch_up().rows == 0
    assert live("--resume").exit_code == 0
    assert model.catch_up().rows == 100


def test_live_writes_a_page_with_a_chart(model, tmp_path):
    model.arrive(300)
    model.catch_up(now=now_utc())
    assert live("--html", str(tmp_path / "live.html")).exit_code == 0
    page = (tmp_path / "live.html").read_text()
    assert "No alarm is open after 3 blocks" in page
    assert 'aria-label="The evidence of 2 monitors' in page


def test_live_audit_writes_what_feedback_reads(trained, store, configure, tmp_path):
    configure("labels: {audit_share: 0.5, audit_delay: 1h}")
    model = LiveModel.new(trained, store, labels={"audit_share": 0.5, "audit_delay": "1h"})
    model.arrive(200)
    file = tmp_path / "audit.csv"
    assert "audited predictions without a label" in live("--audit", str(file)).output
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert 70 < len(rows) < 130
    assert {row["label"] for row in rows} == {""}
    filled = [{**row, "label": "1"} for row in rows]
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(filled)
    done = CliRunner().invoke(command_line.app, ["feedback", "trained", str(file), "--json"])
    assert json.loads(done.stdout)["stored"] == len(rows), done.output
    assert document("--audit", str(file))["rows"] == 0


def test_live_refuses_what_it_cannot_do_in_a_sentence(model, tmp_path):
    for arguments, why in (
        (("--audit", str(tmp_path / "audit.csv")), "Set labels.audit_share in its model.yaml"),
        (("--audit", str(tmp_path / "nowhere" / "audit.csv")), "make it first"),
        (("--pause", "--resume"), "use one of them"),
    ):
        error = live(*arguments).exception
        assert isinstance(error, ConfigError)
        assert why in str(error)


def test_status_mentions_open_live_alarms_and_stays_as_it_is(model):
    model.arrive(300)
    model.shifted(300, by=1.5)
    model.catch_up()
    shown = CliRunner().invoke(command_line.app, ["status", "trained"])
    assert shown.exit_code == 0
    [line] = [line for line in shown.output.splitlines() if "live alarm" in line]
    assert line.strip().startswith("1 live alarm open since 13 January 2026")
    assert line.endswith("(x): keel live trained")
