"""The two lines with which a notebook checks a model, as the package's own docstring shows them."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml

import keel
from keel.errors import ConfigError
from keel.store.database.tables import counts, decisions, ledger, reports
from keel.workspace import Workspace
from tests.support.loop_steps import CONFIG, NOW, first_version, live
from tests.support.paths import PROJECT
from tests.support.toy import DAY, toy_rows

END = NOW + 8 * DAY


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with version 1 of the toy model in production, and eight days in which the relation was turned round."""
    home = tmp_path_factory.mktemp("home")
    with Workspace.open(home=home, environment={}) as ws:
        first_version(ws)
        live(ws, toy_rows(NOW, days=8, flip=True), days=8)
    return home


def rows(ws: Workspace, table: sa.Table) -> int:
    with ws.store.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def test_check_returns_reports_and_decision_and_does_not_act(home: Path) -> None:
    with keel.open(home=home, environment={}) as ws:
        before = {table.name: rows(ws, table) for table in (decisions, ledger)}
        found = keel.check(ws, CONFIG, end=END, now=END)
        assert (found.action, found.quality.status, found.performance.status) == ("retrain", "ok", "degraded")
        assert (found.labels.status, found.labels.findings) == ("ok", ())
        assert "brier" in found.sentence
        assert (found.window.start, found.window.end) == (END - 7 * DAY, END)
        assert found.drift.n == found.quality.n == 7 * 24 * 20
        assert {table.name: rows(ws, table) for table in (decisions, ledger)} == before
        assert len(ws.registry.versions("toy")) == 1
        assert keel.check(ws, CONFIG, end=END.isoformat(), now=END) == found, "its own retrain starts no cooldown"
        assert rows(ws, reports) == 4 + 1
        shown = found.page()
        assert shown.headline == "Predictions are worse than on the holdout, and a new version would be trained."
        assert set(found.data.charts) == {"x", "z", "colour", "score", "prediction"}
        assert {history.ends for history in found.data.columns.values()} == {(END,)}
        assert found.data.measured is not None
        assert found.data.measured.n == found.performance.n
        for text in (found.to_html(), found.to_markdown(), str(found), found._repr_html_()):
            assert shown.headline in " ".join(text.split())
        assert rows(ws, counts) == 8 * 24


def test_the_lines_of_the_docstring_run(home: Path, tmp_path: Path) -> None:
    """With the toy model in place of the project's own, and its present eight days after the promotion."""
    code = textwrap.dedent(str(keel.__doc__).partition("::\n")[2].partition("\n\nThe public names")[0])
    assert "keel.open()" in code
    (tmp_path / "toy").mkdir()
    file = {
        "model": "toy",
        "target": {"name": "bought", "label_delay": "24h"},
        "features": dict(CONFIG.features),
        "retrain": {"pipeline": "tests.support.pipelines.toy"},
    }
    (tmp_path / "toy" / "model.yaml").write_text(yaml.safe_dump(file))
    code = code.replace('"flight_delay"', '"toy"').replace('["toy"])', f'["toy"], end="{END.isoformat()}")')
    environment = {
        **os.environ, "KEEL_HOME": str(home), "KEEL_MODELS_FOLDER": str(tmp_path),
        "PYTHONPATH": os.pathsep.join((str(PROJECT / "include"), str(PROJECT))),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("retrain ")


def test_public_names_are_documented_where_they_are_defined() -> None:
    for name in keel.__all__:
        assert getattr(keel, name).__doc__, name
    assert not doctest.testmod(keel).failed


def test_workspace_in_a_home_that_is_a_file_names_it(tmp_path):
    (tmp_path / "home").write_text("")
    with pytest.raises(ConfigError, match=r"KEEL_HOME: .*home cannot be used as a folder: File exists"):
        Workspace.open(home=tmp_path / "home", environment={})
