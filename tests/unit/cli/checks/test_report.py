"""``keel report``: the page of a stored check, in every form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from keel.cli import main as command_line
from keel.errors import ConfigError, KeelError, StoreUnavailable, UnknownModel, UnknownWindow
from keel.workspace import Workspace
from tests.support.checks.cases import WINDOW
from tests.support.checks.stored import store_case
from tests.support.toy import DAY

FILE = """
model: toy
target: {name: bought, label_delay: 24h}
features: {x: numeric, z: numeric, colour: categorical}
drift: {min_rows: 200}
retrain: {pipeline: tests.support.pipelines.toy}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path]) -> Path:
    """A home with two checks: one that is all clear, and a week later one whose retrained version waits."""
    home = new_home(tmp_path_factory.mktemp("made"))
    (home / "models" / "toy").mkdir(parents=True)
    (home / "models" / "toy" / "model.yaml").write_text(FILE)
    with Workspace.open(home=home, environment={}) as ws:
        store_case(ws, "all_clear")
        store_case(ws, "harm_staged", later=7 * DAY)
    return home


@pytest.fixture
def home(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("KEEL_STORE_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KEEL_HOME", str(made))
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(made / "models"))
    return made


def report(*arguments: str) -> Result:
    return CliRunner().invoke(command_line.app, ["report", *arguments])


def refused(*arguments: str) -> KeelError:
    error = report(*arguments).exception
    assert isinstance(error, KeelError), error
    return error


def test_report_prints_the_newest_check_and_exits_with_1_where_it_needs_attention(home: Path) -> None:
    shown = report("toy")
    assert shown.exit_code == 1
    assert "Predictions are worse than on the holdout" in shown.output
    assert "Approve or decline" in shown.output
    assert "26 February to 5 March 2026" in shown.output
    assert "the version's reference is not available" in " ".join(shown.output.split())


@pytest.mark.parametrize("window", ["2026-02-26", "2026-02-26T00:00Z", "2026-02-19/2026-02-26"])
def test_report_of_a_window_that_is_all_clear_exits_with_0(home: Path, window: str) -> None:
    shown = report("toy", "--window", window)
    assert shown.exit_code == 0, shown.output
    assert "Nothing has changed, and predictions are not shown to be worse." in shown.output


@pytest.mark.parametrize("window", ["2026-03-01", "2026-02-20/2026-02-26", "2013-01-01"])
def test_report_of_a_window_without_a_check_names_the_nearest(home: Path, window: str) -> None:
    error = refused("toy", "--window", window)
    assert isinstance(error, UnknownWindow)
    assert error.exit_code == 2
    assert window in str(error)
    assert "2026-02-19T00:00Z/2026-02-26T00:00Z, 2026-02-26T00:00Z/2026-03-05T00:00Z" in str(error)


def test_report_of_what_is_not_known_says_what_is(home: Path) -> None:
    assert isinstance(refused("tyo"), UnknownModel)
    assert isinstance(refused("toy", "--window", "next week"), ConfigError)
    assert isinstance(refused("toy", "--window", "2026-02-19/"), UnknownWindow)
    assert "versions that were: 1" in str(refused("toy", "--version", "7"))
    assert report("toy", "--version", "1", "--window", "2026-02-26").exit_code == 0


def test_report_of_a_model_that_was_never_checked_says_how(home: Path) -> None:
    other = home / "models" / "quiet"
    other.mkdir(exist_ok=True)
    (other / "model.yaml").write_text(FILE.replace("model: toy", "model: quiet"))
    error = refused("quiet")
    assert str(error) == "quiet was never checked; check it: airflow dags trigger quiet.drift_check"


def test_report_of_a_store_that_does_not_answer_exits_with_3(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STORE_URL", "postgresql://nobody@127.0.0.1:1/keel")
    error = refused("toy")
    assert isinstance(error, StoreUnavailable)
    assert error.exit_code == 3


def test_report_as_json_has_the_stored_records(home: Path) -> None:
    shown = report("toy", "--json")
    found = json.loads(shown.output)
    assert shown.exit_code == 1
    assert (found["model"], found["version"], found["window"]["end"]) == ("toy", 1, "2026-03-05T00:00:00+00:00")
    assert (found["needs_attention"], found["to_do"]["what"]) == (True, "Approve or decline")
    assert found["performance"]["status"] == "degraded"
    assert found["outcome"]["lower_bound"] == 0.0104
    assert report("toy", "--json", "--window", f"{WINDOW.end.isoformat()}").exit_code == 0


def test_report_as_html_is_one_whole_file(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / "week.html"
    shown = report("toy", "--html", str(file))
    page = file.read_text()
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert shown.stderr == f"wrote {file}, {len(page.encode()):,} bytes\n"
    assert page.startswith("<!doctype html>")
    assert "Predictions are worse than on the holdout" in page
    addresses = set(re.findall(r"(?:src|href)=\"([^\"]*)\"", page))
    assert not {each for each in addresses if not each.startswith("#")}, "nothing to fetch"
    assert [path.name for path in file.parent.iterdir()] == ["week.html"]


def test_report_that_cannot_be_written_names_the_file(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    shown = report("toy", "--html", str(tmp_path / "file" / "week.html"))
    assert isinstance(shown.exception, OSError)
    assert shown.exception.filename == str(tmp_path / "file")


def test_report_as_markdown(home: Path) -> None:
    shown = report("toy", "--markdown")
    assert shown.exit_code == 1
    assert shown.output.count("\n## ") >= 6


def test_report_that_is_opened_is_a_file_of_the_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def launch(url: str) -> int:
        opened.append(url)
        return 0

    monkeypatch.setattr(typer, "launch", launch)
    shown = report("toy", "--open")
    file = home / "reports" / "toy-20260305T0000-version-1.html"
    assert opened == [file.as_uri()]
    assert file.read_text().startswith("<!doctype html>")
    assert shown.stderr.startswith(f"wrote {file}, ")
