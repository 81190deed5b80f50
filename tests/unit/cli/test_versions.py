"""``keel versions``: list, reinstate, end a probation and prune, on a real store and a real MLflow."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from keel import deployments
from keel.cli import main as command_line
from keel.deployments.history import Deployment, Status, history
from keel.errors import ConfigError, KeelError, UnknownModel, UnknownVersion
from keel.ledger import entries as ledger
from keel.window import floor_hour
from keel.workspace import Workspace
from tests.support.toy import DAY, toy_config
from tests.support.versions.toy import register, toy_candidate

LONG_AGO = datetime.now(UTC) - 200 * DAY
FILE = """
model: toy
target: {name: bought, label_delay: 24h}
features: {x: numeric, z: numeric, colour: categorical}
performance: {metric: brier, extra_metrics: [roc_auc]}
retrain: {pipeline: tests.support.pipelines.toy}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory, new_home):
    """A home with version 1 in production and 2 rejected long ago, 3 quarantined now, and an unregistered one."""
    home = new_home(tmp_path_factory.mktemp("made"))
    (home / "models" / "toy").mkdir(parents=True)
    (home / "models" / "toy" / "model.yaml").write_text(FILE)
    candidate = toy_candidate()
    with Workspace.open(home=home, environment={}) as ws:
        for _ in range(3):
            register(ws.store, ws.registry, toy_config(), candidate, now=LONG_AGO)
        deployments.change(
            ws.store,
            ws.registry,
            Deployment("toy"),
            Deployment("toy", production=1),
            actor="tests",
            action="promote",
            body={"evidence": {"sentence": "Promoted version 1: it is the first."}},
            now=LONG_AGO,
        )
        for version, status, reason, at in (
            (2, Status.REJECTED, "not shown [bold]to be better", LONG_AGO),
            (3, Status.QUARANTINED, "it did\x1b[2J harm", datetime.now(UTC)),
        ):
            deployments.append(
                ws.store,
                "toy",
                actor="tests",
                action="keep_champion",
                body={},
                now=at,
                statuses={version: (status, reason)},
            )
        deployments.sync_aliases(ws.store, ws.registry, "toy")
        ws.registry.register(toy_config(), candidate, run_name="killed")
    return home


@pytest.fixture
def home(made, tmp_path, monkeypatch):
    """A copy of `made` that a test may change; artifacts stay in `made`, whose absolute paths MLflow records."""
    for name in ("keel.db", "mlflow.db"):
        shutil.copy(made / name, tmp_path / name)
    monkeypatch.setenv("KEEL_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(made / "models"))
    monkeypatch.setenv("LOGNAME", "ada")
    return tmp_path


def keel(*arguments: str):
    done = CliRunner().invoke(command_line.app, ["versions", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def rows_of(home: Path, action: str):
    with Workspace.open(home=home, environment={}) as ws:
        return list(ledger.entries(ws.store, "toy", action))


def test_list_prints_each_version_with_status_training_data_and_reason(home):
    head, *lines = keel("list", "toy").splitlines()
    assert head.split("  ")[0] == "version"
    assert [line.split()[:2] for line in lines] == [
        ["1", "production"],
        ["2", "rejected"],
        ["3", "quarantined"],
        ["4", "not"],
    ]
    first, second, third, leftover = lines
    assert f"{LONG_AGO:%Y-%m-%d}" in first
    assert "2026-01-01 to 2026-01-04" in first
    assert "brier 0." in first
    assert "roc_auc 0." in first
    assert re.search(r"  first  +Promoted version 1: it is the first\.$", first)
    assert second.endswith("not shown [bold]to be better")
    assert third.endswith("it did [2J harm")
    assert leftover.startswith("4        not registered")
    assert leftover.endswith("so Keel never loads it")


def test_show_prints_the_model_card_and_writes_it(home):
    printed = keel("show", "toy", "3")
    assert "Version 3 is quarantined: it did harm in production." in printed
    assert "it did\x1b" not in printed
    keel("show", "toy", "1", "--html", str(home / "cards" / "1.html"))
    assert "Version 1 is in production." in (home / "cards" / "1.html").read_text()
    document = json.loads(keel("show", "toy", "1", "--json"))
    assert (document["status"], document["reference"]["metric"]) == ("production", "brier")
    assert [row["seq"] for row in document["ledger"]] == [1, 4]


def test_compare_prints_the_stored_comparison_of_two_versions(home):
    body = {
        "verdict": "fail", "reason": "not better", "n": 500, "champion": 1, "challenger": 2, "champion_value": 0.2,
        "challenger_value": 0.3, "improvement": -0.1, "lower_bound": -0.12, "margin": 0, "level": 0.03,
        "metric": "brier", "report_id": "comparison-1",
    }  # fmt: skip
    with Workspace.open(home=home, environment={}) as ws:
        for name in ("comparison-0", "comparison-1"):
            day = LONG_AGO + DAY * int(name[-1])
            ws.store.reports.put(
                name, "toy", 2, "comparison", day, day + DAY, "fail", body | {"report_id": name}, LONG_AGO
            )
    assert "Version 2 is worse than version 1." in keel("compare", "toy", "2", "1")
    assert json.loads(keel("compare", "toy", "1", "2", "--json"))["report_id"] == "comparison-1"
    older = keel("compare", "toy", "1", "2", "--report", "comparison-0", "--json")
    assert json.loads(older)["report_id"] == "comparison-0"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show", "toy", "77"), "toy has no version 77; versions: 1, 2, 3, 4"),
        (("compare", "toy", "1", "3"), "no comparison of versions 1 and 3 is stored; to compare .*toy.promote"),
        (("probation", "toy"), "toy: no probation was evaluated; the DAG toy.watch_deployment does so"),
        (("probation", "toy", "3"), "toy version 3: no probation was evaluated"),
    ],
)
def test_pages_of_what_is_not_there_name_it(home, words, message):
    with pytest.raises(UnknownVersion, match=message):
        keel(*words)


def test_probation_prints_its_newest_evaluation(home):
    body = {"verdict": "watching", "sentence": "It is on probation.", "n": 0, "version": 1, "previous": None}
    with Workspace.open(home=home, environment={}) as ws:
        for hours in (1, 2):
            end = LONG_AGO + hours * DAY
            ws.store.reports.put(f"p{hours}", "toy", 1, "probation", LONG_AGO, end, "watching", body, end)
    assert "Version 1 is on probation, and nothing shows harm so far." in keel("probation", "toy")
    assert json.loads(keel("probation", "toy", "1", "--json"))["on_probation"] is False


def test_probation_that_was_evaluated_late_has_its_own_end_by_the_ledger(home):
    hour = floor_hour(LONG_AGO)
    since, until, late = hour + timedelta(minutes=20), hour + 7 * DAY, hour + 31 * DAY
    begun = {"version": 1, "previous": None, "since": since.isoformat(), "until": until.isoformat()}
    before = {**begun, "since": (hour - 30 * DAY).isoformat(), "until": (hour - 20 * DAY).isoformat()}
    body = {"verdict": "survived", "sentence": "It passed.", "n": 5, "version": 1, "previous": None, "over": True}
    with Workspace.open(home=home, environment={}) as ws:
        for probation in (begun, None, before, None):
            what = {"probation": probation}
            deployments.append(ws.store, "toy", actor="tests", action="promote", body=what, now=LONG_AGO)
        ws.store.reports.put("p1", "toy", 1, "probation", hour, late, "survived", body, late)
    assert json.loads(keel("probation", "toy", "--json"))["until"] == until.isoformat()


@pytest.mark.parametrize("reconciled", [False, True])
def test_list_shows_a_production_version_that_was_deleted_and_the_ways_out(home, reconciled):
    with Workspace.open(home=home, environment={}) as ws:
        ws.registry.client.delete_model_version("toy", "1")
        if reconciled:
            now = datetime.now(UTC)
            deployments.reconcile(ws.store, ws.registry, "toy", actor="tests", now=now, adopt=True)
    printed = keel("list", "toy").splitlines()
    assert printed[1].startswith("1        production, deleted from MLflow  ")
    assert re.search(
        r"^the production version is deleted.*toy\.rollback.*toy\.retrain.*toy\.promote.*force", printed[-1]
    )
    assert json.loads(keel("list", "toy", "--json"))[0]["alias"] == "production"


def test_list_on_a_terminal_prints_a_table_and_takes_no_markup_from_a_reason(home, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    printed = keel("list", "toy")
    assert printed.startswith("┏")
    assert "[bold]" in printed
    assert "\x1b[2J" not in printed


def test_list_as_json_holds_every_field(home):
    found = json.loads(keel("list", "toy", "--json"))
    assert [(v["version"], v["status"], v["pinned"]) for v in found] == [
        (1, "production", True),
        (2, "rejected", True),
        (3, "quarantined", True),
        (4, None, False),
    ]
    assert found[0]["trained_on"]["end"] == "2026-01-04T00:00:00+00:00"
    assert 0 < found[0]["metrics"]["brier"] < 1


def test_prune_lists_on_a_dry_run_and_then_deletes(home):
    said = f"version 2 of toy: rejected since {LONG_AGO:%Y-%m-%d}\n"
    assert keel("prune", "toy", "--dry-run") == f"would delete {said}"
    assert rows_of(home, "delete_version") == []
    assert keel("prune", "toy") == f"deleted {said}"
    assert [row.actor for row in rows_of(home, "delete_version")] == ["ada"]
    assert keel("prune", "toy") == "toy has no version to delete\n"
    assert json.loads(keel("prune", "toy", "--json")) == []
    assert [v["version"] for v in json.loads(keel("list", "toy", "--json"))] == [1, 3, 4]
    listed = {v["version"]: v["status"] for v in json.loads(keel("list", "toy", "--all", "--json"))}
    assert listed == {1: "production", 2: "deleted", 3: "quarantined", 4: None}


def test_prune_as_json_lists_the_versions(home):
    assert json.loads(keel("prune", "toy", "--dry-run", "--json")) == [
        {"version": 2, "status": "rejected", "reason": f"rejected since {LONG_AGO:%Y-%m-%d}", "begun": False}
    ]


def test_end_probation_records_the_user_and_the_reason(home):
    with pytest.raises(UnknownVersion, match="version 1 is not on probation; no version is"):
        keel("end-probation", "toy", "1", "--reason", "its labels never come")
    watched = {"version": 1, "previous": None, "since": LONG_AGO.isoformat(), "until": (LONG_AGO + DAY).isoformat()}
    with Workspace.open(home=home, environment={}) as ws:
        deployments.append(ws.store, "toy", actor="tests", action="promote", body={"probation": watched}, now=LONG_AGO)
    with pytest.raises(UnknownVersion, match="version 2 is not on probation; version 1 is"):
        keel("end-probation", "toy", "2", "--reason", "its labels never come")
    with pytest.raises(ConfigError, match="reason"):
        keel("end-probation", "toy", "1", "--reason", " ")
    said = keel("end-probation", "toy", "1", "--reason", "its labels never come")
    assert said == "ended the probation of version 1 of toy; it stays in production\n"
    [row] = rows_of(home, "confirm")
    assert (row.actor, row.body["evidence"]["reason"]) == ("ada", "its labels never come")
    with Workspace.open(home=home, environment={}) as ws:
        state = history(ws.store, "toy")
    assert (state.probation, state.deployment.production, state.deployment.generation) == (None, 1, 2)


def test_reinstate_records_the_user_and_the_reason(home):
    assert keel("reinstate", "toy", "3", "--reason", "it was the sensor") == (
        "reinstated version 3 of toy; its status is now archived\n"
    )
    [row] = rows_of(home, "release_version")
    assert row.actor == "ada"
    assert row.body["evidence"]["sentence"] == "Reinstated version 3, which was quarantined: it was the sensor"
    done = json.loads(keel("reinstate", "toy", "2", "--reason", "another look", "--json"))
    assert (done["version"], done["status"], done["actor"]) == (2, "candidate", "ada")
    with Workspace.open(home=home, environment={}) as ws:
        assert history(ws.store, "toy").status(2) is Status.CANDIDATE
        assert ws.registry.resolve("toy", version=2).tags["keel.status"] == "candidate"


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (
            ["reinstate", "toy", "1", "--reason", "x"],
            UnknownVersion,
            "version 1 is production",
        ),
        (
            ["reinstate", "toy", "9", "--reason", "x"],
            UnknownVersion,
            r"2 \(rejected\), 3 \(quarantined",
        ),
        (["reinstate", "toy", "2", "--reason", " "], ConfigError, "reason"),
        (["list", "tyo"], UnknownModel, "did you mean 'toy'"),
        (["prune", "tyo"], UnknownModel, "did you mean 'toy'"),
    ],
)
def test_a_command_that_cannot_be_done_is_refused_and_changes_nothing(home, arguments, kind, said):
    with pytest.raises(kind, match=said) as refused:
        keel(*arguments)
    assert isinstance(refused.value, KeelError)
    assert refused.value.exit_code == 2
    assert rows_of(home, "release_version") == []


def test_list_of_a_model_without_versions_names_the_way_to_one(home, tmp_path, new_home, monkeypatch):
    empty = new_home(tmp_path / "empty")
    monkeypatch.setenv("KEEL_HOME", str(empty))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{empty / 'mlflow.db'}")
    assert keel("list", "toy") == "toy has no versions; train one: airflow dags trigger toy.retrain\n"
