"""``keel backtest``: what is not valid is one message with exit code 2, and leaves nothing behind."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner

from keel.backtest.run import MARK
from keel.cli import main as command_line
from keel.errors import KeelError

RETRAIN = {"pipeline": "tests.support.pipelines.past", "window": "20d", "holdout": "3d", "min_rows": 200}
CONFIG = {
    "target": {"name": "bought", "label_delay": "24h"},
    "features": {"x": "numeric", "z": "numeric", "colour": "categorical"},
    "check": {"schedule": None, "lookback": "3d"},
    "drift": {"min_rows": 200},
    "performance": {"metric": "brier", "min_rows": 200},
}
SPAN = ("--start", "2026-02-05", "--end", "2026-03-02")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An installation with the toy model, whose folder does not exist yet."""
    for name, more in (("toy", {"retrain": RETRAIN}), ("watched", {})):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "model.yaml").write_text(yaml.safe_dump({"model": name, **CONFIG, **more}))
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path / "models"))
    monkeypatch.setenv("KEEL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KEEL_STORE_URL", raising=False)
    return tmp_path / "home"


def backtest(*arguments):
    return CliRunner().invoke(command_line.app, ["backtest", *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("toy", "--start", "2026-03-02", "--end", "2026-02-05"), "--start 2026-03-02 must be before --end 2026-02-05"),
        (("toy", "--start", "2027-03-02", "--end", "2027-05-02"), "has no rows from 2027-03-02 to 2027-05-02"),
        (("toy", *SPAN, "--every", "60d"), "--every 60d: longer than the span"),
        (("toy", *SPAN, "--every", "often"), "--every 'often'"),
        (("toy", *SPAN, "--set", "drift.psi_alrt=0.2"), "did you mean 'psi_alert'"),
        (("toy", *SPAN, "--policy", "nevr"), "did you mean 'never'"),
        (("toy", *SPAN, "--source", "stroe"), "did you mean 'store'"),
        (("toy", *SPAN, "--source", "store"), "the store has no predictions of this model"),
        (("watched", *SPAN), "watched: retrain: model.yaml has no such section"),
        (("tow", *SPAN), "did you mean 'toy'"),
        (("toy", *SPAN, "--html", "."), "--html .: is a folder; name a file in it"),
        (("toy", *SPAN, "--html", "no/such/folder/page.html"), "--html no/such/folder/page.html: there is no folder"),
    ],
)
def test_backtest_of_what_cannot_be_names_it_and_leaves_nothing_behind(arguments, message, home):
    done = backtest(*arguments)
    assert isinstance(done.exception, KeelError), done.output
    assert done.exception.exit_code == 2
    assert message in str(done.exception)
    left = {path.name for path in home.rglob("*")} if home.exists() else set()
    assert left <= {"backtests", MARK}


def test_backtest_in_a_folder_of_something_else_is_refused(home, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    done = backtest("toy", *SPAN, "--home", str(tmp_path / "other"))
    assert "is not a folder of backtests" in str(done.exception)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.txt"]


@pytest.mark.slow
def test_backtest_prints_a_table_writes_the_page_and_the_same_bytes_again(home, tmp_path):
    arguments = ("toy", *SPAN, "--every", "10d", "--policy", "default", "--policy", "never", "--jobs", "1")
    printed = backtest(*arguments, "--html", str(tmp_path / "a.html"))
    assert printed.exit_code == 0, printed.output
    assert "The default policy would have retrained" in printed.stdout
    assert "better than never" in printed.stdout
    assert "default: 3 of 3 steps" in printed.stderr
    again = backtest(*arguments, "--html", str(tmp_path / "b.html"), "--json")
    document = json.loads(again.stdout)
    assert [policy["name"] for policy in document["policies"]] == ["default", "never"]
    page = (tmp_path / "a.html").read_bytes()
    assert page == (tmp_path / "b.html").read_bytes()
    assert str(tmp_path).encode() not in page
    assert str(tmp_path) not in again.stdout
    assert again.stdout == backtest(*arguments, "--json").stdout
    assert not (home / "keel.db").exists()  # nothing is written to the installation itself
