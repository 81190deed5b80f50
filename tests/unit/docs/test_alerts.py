"""What the page on alerts shows runs, and prints what it says, on a store that was filled through the door."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from keel.cli import main as command_line
from keel.config import AlertsConfig, DriftConfig, Kind, get_model
from keel.workspace import Workspace
from tests.support.alerts.story import tell
from tests.support.paths import PROJECT

PAGE = PROJECT / "docs" / "alerts.md"
UNTIL = datetime(2026, 3, 4, 12, tzinfo=UTC)
"""A Wednesday, so that the week's digest is not due."""
SHOWN = re.compile(
    r"^```sh run\n(?P<command>.*?)^```\n\n^```text output\n(?P<output>.*?)^```$", re.DOTALL | re.MULTILINE
)


@pytest.fixture
def home(tmp_path: Path, new_home: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = new_home(tmp_path / "home")
    for name in ("KEEL_STORE_URL", "MLFLOW_TRACKING_URI", "KEEL_MODELS_FOLDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KEEL_HOME", str(folder))
    monkeypatch.setattr("keel.window.now_utc", lambda: UNTIL)
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    with Workspace.open(home=folder, environment={}) as ws:
        tell(ws, get_model("flight_delay"), until=UNTIL)
    return folder


def test_commands_print_what_it_says(home: Path) -> None:
    shown = list(SHOWN.finditer(PAGE.read_text(encoding="utf-8")))
    assert len(shown) == PAGE.read_text(encoding="utf-8").count("```sh run")
    for block in shown:
        keel, *arguments = shlex.split(block["command"])
        assert keel == "keel"
        done = CliRunner().invoke(command_line.app, arguments)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert done.output == block["output"], block["command"]


def test_sections_are_configurations() -> None:
    sections = [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.S | re.M)]
    alerts = next(each["alerts"] for each in sections if "alerts" in each)
    assert len(AlertsConfig.model_validate(alerts).all_routes()) == 5
    drift = next(each["drift"] for each in sections if "drift" in each)
    assert DriftConfig.model_validate(drift).against == ("training", "previous")


def test_every_kind_is_listed_once_and_as_what_it_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    lasting, _, events = text.partition("## Kinds\n")[2].partition("\n## ")[0].partition("**events**")
    for part, kinds in ((lasting, [k for k in Kind if k.lasts]), (events, [k for k in Kind if not k.lasts])):
        assert re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE) == sorted(map(str, kinds), key=part.index)


def test_what_explains_what_is_what_the_code_does() -> None:
    from keel.alerts.inhibition import RULES

    section = PAGE.read_text(encoding="utf-8").partition("## What explains what\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)`[^|]* \| (.*) \|$", section, re.MULTILINE)
    said = {source: set(re.findall(r"`(\w+)`", targets)) - {"warning"} for source, targets in rows}
    assert said == {str(rule.source): set(map(str, rule.targets)) for rule in RULES}
