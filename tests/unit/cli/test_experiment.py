"""``keel experiment``: start, show, stop and list, on a real store and a real MLflow."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from keel import deployments
from keel.cli import main as command_line
from keel.deployments import experiments
from keel.deployments.history import Deployment
from keel.errors import ExperimentRefused, NotPromotable, UnknownExperiment, UnknownModel
from keel.workspace import Workspace
from tests.support.experiment_rows import serve
from tests.support.toy import toy_config, toy_rows
from tests.support.versions.toy import register, toy_candidate

NOW = datetime.now(UTC)
FILE = """
model: toy
target: {name: bought, label_delay: 24h}
features: {x: numeric, z: numeric, colour: categorical}
performance: {metric: brier, extra_metrics: [accuracy]}
retrain: {pipeline: tests.support.pipelines.toy}
"""


STRICT = (
    "--metric",
    "accuracy",
    "--margin",
    "0.01",
    "--alpha",
    "0.01",
    "--max-outcomes",
    "5000",
    "--min-duration",
    "9d",
    "--max-duration",
    "45d",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory, new_home):
    """A home with version 1 in production and version 2 as a candidate."""
    home = new_home(tmp_path_factory.mktemp("made"))
    (home / "models" / "toy").mkdir(parents=True)
    (home / "models" / "toy" / "model.yaml").write_text(FILE)
    candidate = toy_candidate()
    with Workspace.open(home=home, environment={}) as ws:
        for _ in range(2):
            register(ws.store, ws.registry, toy_config(), candidate, now=NOW)
        deployments.change(
            ws.store,
            ws.registry,
            Deployment("toy"),
            Deployment("toy", production=1),
            actor="tests",
            action="promote",
            body={"evidence": {"sentence": "Promoted version 1: it is the first."}},
            now=NOW,
        )
    return home


@pytest.fixture(autouse=True)
def home(made, tmp_path, monkeypatch):
    copy = tmp_path / "home"
    shutil.copytree(made, copy)
    monkeypatch.setenv("KEEL_HOME", str(copy))
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(copy / "models"))
    for name in ("KEEL_STORE_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return copy


def keel(*words):
    return CliRunner().invoke(command_line.app, ["experiment", *words])


def refused(*words):
    done = keel(*words)
    assert done.exit_code == 1, done.output  # the runner's own code; `main` uses the code of the error
    return done.exception


def begin(*words):
    done = keel("start", "toy", "--challenger", "2", "--reason", "why not", *words)
    assert done.exit_code == 0, done.exception
    return done


def test_experiment_is_started_shown_listed_and_stopped(home):
    assert "toy has no experiments" in keel("list", "toy").output
    assert re.search(r"version 2 .*0\.2.* version 1\b.*why not", begin("--allocation", "0.2").output)
    assert "improvement not known yet; it must exceed 0 (" in keel("show", "toy").output
    with Workspace.open(home=home, environment={}) as ws:
        plan = experiments.running(ws.store, "toy")
        serve(ws, toy_config(), plan, toy_rows(plan.started_at, days=2), labels=False)
    later = (plan.started_at + timedelta(days=30)).isoformat()
    shown = keel("show", "toy", "--end", later)
    assert shown.output.startswith(f"{plan.experiment_id} runs. Version 2 against version 1: ")
    assert "champion 1" in shown.output
    assert f"ends at {plan.ends_at:%Y-%m-%d %H:%M} at the latest" in shown.output
    found = json.loads(keel("show", "toy", "--end", later, "--json").output)
    assert (found["status"], found["evidence"]["verdict"]) == ("running", "running")
    assert found["evidence"]["champion"]["assigned"] + found["evidence"]["challenger"]["assigned"] == 960
    assert "2 against 1  20 %" in keel("list", "toy").output
    assert "The experiment runs, and has no result yet." in keel("report", "toy").output
    stopped = keel("stop", "toy", "--reason", "too dear")
    assert re.fullmatch(f"Stopped {plan.experiment_id} .*: too dear\n", stopped.output)
    [listed] = json.loads(keel("list", "toy", "--json").output)
    assert (listed["status"], listed["outcome"]["outcome"]) == ("ended", "stopped")
    shown = keel("show", "toy", plan.experiment_id).output
    assert "too dear" in shown
    assert "at the latest" not in shown
    path = home / "experiment.html"
    assert keel("report", "toy", plan.experiment_id, "--html", str(path)).exit_code == 0
    assert "A person stopped the experiment before it had a result." in path.read_text()
    assert json.loads(keel("report", "toy", "--json").output)["evidence"]["verdict"] == "running"


def test_start_plans_the_requested_parameters():
    for words, shares, mode in (
        ((), [0.5], "ab"),
        (("--ramp", "5:24h,20:24h,50"), [0.05, 0.2, 0.5], "ab"),
        (("--shadow",), [], "shadow"),
    ):
        plan = json.loads(begin(*words, *STRICT, "--json").output)
        assert ([stage["share"] for stage in plan["stages"]], plan["mode"]) == (shares, mode)
        kept = ("metric", "margin", "alpha", "max_n", "least", "most", "champion", "challenger")
        assert [plan[name] for name in kept] == ["accuracy", 0.01, 0.01, 5000, 9 * 86400.0, 45 * 86400.0, 1, 2]
        keel("stop", "toy", "--reason", "the next")


REFUSED = [
    (("--challenger", "1"), ExperimentRefused, "cannot be compared with itself"),
    (("--challenger", "7"), NotPromotable, "version 7 is not known"),
    (("--challenger", "2", "--allocation", "1"), ExperimentRefused, "must lie between 0 and 1"),
    (("--challenger", "2", "--allocation", "nan"), ExperimentRefused, "must lie between 0 and 1"),
    (("--challenger", "2", "--allocation", "0.5", "--ramp", "5:1h,50"), ExperimentRefused, "not both"),
    (("--challenger", "2", "--ramp", "5:1x,50"), ExperimentRefused, "'5:1x' is no percentage with a duration"),
    (("--challenger", "2", "--ramp", "half"), ExperimentRefused, "'half' is no percentage"),
    (("--challenger", "2", "--ramp", "50:24h,5"), ExperimentRefused, "must not fall"),
    (("--challenger", "2", "--ramp", "5:24h"), ExperimentRefused, "duration"),
    (("--challenger", "2", "--min-duration", "soon"), ExperimentRefused, "min_duration: 'soon'"),
    (("--challenger", "2", "--max-duration", "never"), ExperimentRefused, "max_duration: 'never'"),
    (("--challenger", "2", "--max-duration", "8d"), ExperimentRefused, "max_duration (8d) must be longer"),
    (("--challenger", "2", "--margin", "nan"), ExperimentRefused, "margin"),
    (("--challenger", "2", "--alpha", "nan"), ExperimentRefused, "alpha"),
]


def test_start_with_invalid_parameters_is_refused_by_name():
    for words, kind, message in REFUSED:
        error = refused("start", "toy", "--reason", "why not", *words)
        assert isinstance(error, kind), words
        assert message in str(error), words
    assert keel("list", "toy", "--json").output == "[]\n"


def test_start_and_stop_without_a_reason_record_nothing():
    for words in (("start", "toy", "--challenger", "2"), ("stop", "toy")):
        error = refused(*words, "--reason", " ")
        assert isinstance(error, ExperimentRefused), words
        assert "reason" in str(error), words
    assert keel("list", "toy", "--json").output == "[]\n"


def test_a_missing_experiment_or_model_is_named():
    assert isinstance(refused("stop", "toy", "--reason", "none runs"), ExperimentRefused)
    assert isinstance(refused("show", "toy"), UnknownExperiment)
    assert "it has: none" in str(refused("show", "toy", "experiment-1"))
    assert isinstance(refused("list", "toys"), UnknownModel)


def test_a_refused_command_exits_with_the_code_of_its_error(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["keel", "experiment", "stop", "toy", "--reason", "none runs"])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 2
    assert "no experiment" in capsys.readouterr().err
