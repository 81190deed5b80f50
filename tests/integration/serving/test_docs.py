"""Every ``curl`` that the documentation shows against the scoring service succeeds, as it is written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.demo_home import copy_home
from tests.support.docs import worked_example
from tests.support.docs.curls import MONITOR, PAGES, SERVICE, curls
from tests.support.paths import PROJECT
from tests.support.serving.process import Serving

pytestmark = [pytest.mark.integration, pytest.mark.slow]

COMMANDS = [(page.relative_to(PROJECT), command) for page in PAGES for command in curls(page) if SERVICE in command]
HEARTBEATS = [command for page in PAGES for command in curls(page) if MONITOR in command]


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A service on what the demo has left."""
    home = copy_home(tmp_path_factory.mktemp("flights") / "home")
    with Serving(home, KEEL_MODELS_FOLDER=str(PROJECT / "include" / "models")) as serving:
        yield serving


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A service on what the example of docs/adding-a-model.md has trained."""
    folder = tmp_path_factory.mktemp("churn")
    done = worked_example.run(folder)
    assert done.returncode == 0, done.stderr[-2_000:]
    with Serving(folder / "home", "--model", "churn", KEEL_MODELS_FOLDER=str(folder / "models")) as serving:
        yield serving


def sh(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    # a failed request fails the command
    script = f'curl() {{ command curl --fail -sS "$@"; }}\n{command}'
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": path, "NO_PROXY": "*", **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_documentation_has_commands() -> None:
    assert {str(page) for page, _ in COMMANDS} >= {"README.md", "docs/adding-a-model.md", "docs/feedback.md"}
    assert len(HEARTBEATS) == 1


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}-{n}" for n, (page, _) in enumerate(COMMANDS)])
def test_every_curl_succeeds(page: Path, command: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    model = "churn" if "churn" in command else "flights"
    serving: Serving = request.getfixturevalue(model)
    bodies = re.findall(r"^```json label\n(.*?)^```$", (PROJECT / page).read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "label.json").write_text(bodies[0] if bodies else "")
    done = sh(command.replace(SERVICE, serving.url), tmp_path)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    answer = json.loads(done.stdout)
    if "invocations" in command:
        assert len(answer["predictions"]) == 1
        assert answer["keel"]["version"] >= 1
    else:
        assert answer["accepted"] >= 1, answer


def test_the_heartbeat_calls_its_monitor_where_all_is_well(flights: Serving, tmp_path: Path) -> None:
    [command] = HEARTBEATS
    models = tmp_path / "models"
    models.mkdir()
    environment = {"KEEL_HOME": str(tmp_path / "home"), "KEEL_MODELS_FOLDER": str(models)}
    done = sh(command.replace(MONITOR, f"{flights.url}/health"), tmp_path, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])
