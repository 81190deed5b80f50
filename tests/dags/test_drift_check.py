"""Each branch of the drift check, run on a real store and a real registry."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from email import message_from_string, policy
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from airflow.utils.types import DagRunType

from keel import deployments
from keel.ledger import entries as ledger
from tests.dags.conftest import made_after
from tests.support.airflow.dag_bag import parse_dag
from tests.support.airflow.dag_run import run
from tests.support.airflow.mails import text_of
from tests.support.airflow.runs import runs_of
from tests.support.airflow.tide import DAY, LAUNCH, decision_of, happen, live, reverse_relation

pytestmark = pytest.mark.usefixtures("airflow_db")

END = LAUNCH + DAY
WINDOW = {"start": LAUNCH.isoformat(), "end": END.isoformat()}
CHECKED = {"count_window", "check_data_quality", "check_data_drift", "check_performance", "decide"}
STAGED = {"retrain", "compare", "stage", "start_promotion"}
NOTIFIED = {"compose_message", "send_email", "record"}


def mails(workspace):
    files = sorted(workspace.outbox.glob("*.eml")) if workspace.outbox.exists() else []
    return [message_from_string(file.read_text(), policy=policy.default) for file in files]


def test_drift_check_on_calm_data_records_all_clear_and_sends_nothing(tide):
    live(tide, happen(LAUNCH, END), LAUNCH, END)

    done = run("tide.drift_check", **WINDOW)

    assert (done.state, done.path) == ("success", {*CHECKED, "all_clear", "compose_message", "record"})
    assert set(done.states) == done.path
    decision = decision_of(tide)
    assert decision["action"] == "all_clear"
    assert decision["outcome"]["notified"] == []
    assert decision["run_id"] == done.run_id
    assert mails(tide) == []


def test_drift_check_on_drift_without_harm_raises_an_alert(tide):
    live(tide, happen(LAUNCH, END, wind=1.5), LAUNCH, END)

    done = run("tide.drift_check", **WINDOW)

    assert (done.state, done.path) == ("success", {*CHECKED, "raise_alert", *NOTIFIED})
    assert "wind" in decision_of(tide)["sentence"]
    [mail] = mails(tide)
    assert mail["To"] == "harbour@example.com"
    assert "The input wind has changed" in text_of(mail)
    assert f"/dags/tide.drift_check/runs/{done.run_id}" in text_of(mail)
    assert decision_of(tide)["outcome"]["notified"] == ["email"]


def test_drift_check_on_broken_data_quarantines_it(tide):
    live(tide, happen(LAUNCH, END).drop_columns(["level"]), LAUNCH, END)

    done = run("tide.drift_check", **WINDOW)

    assert (done.state, done.path) == ("success", {*CHECKED, "quarantine", *NOTIFIED})
    [row] = tide.store.quarantines("tide")
    assert (row["start"], row["end"]) == (LAUNCH, END)
    assert decision_of(tide)["outcome"]["outcome"] == "quarantined"
    assert deployments.read(tide.store, "tide").production == 1


@pytest.fixture(scope="session")
def tide_with_reversed_relation(tide_in_production, tmp_path_factory):
    """Four days in which the level acts in the opposite direction."""
    return made_after(tmp_path_factory, "reversed", tide_in_production, reverse_relation)


@pytest.fixture
def harmed(tide_with_reversed_relation, open_copy):
    return open_copy(tide_with_reversed_relation)


LAST_DAY = {"start": (LAUNCH + 3 * DAY).isoformat(), "end": (LAUNCH + 4 * DAY).isoformat()}


def test_drift_check_on_harm_promotes_a_better_challenger(harmed):
    done = run("tide.drift_check", **LAST_DAY)

    assert (done.state, done.path) == ("success", {*CHECKED, "retrain", "compare", "promote", *NOTIFIED})
    assert deployments.read(harmed.store, "tide").production == 2
    assert deployments.read(harmed.store, "tide").previous == 1
    assert harmed.registry.aliases("tide") == {"production": 2, "previous": 1}
    assert done.xcoms["compare/return_value"]["lower_bound"] > 0
    assert decision_of(harmed)["outcome"]["outcome"] == "promoted"
    [mail] = mails(harmed)
    assert mail["Subject"] == "[Keel] tide: version 2 was promoted"


def test_drift_check_with_a_challenger_within_the_margin_keeps_the_champion(harmed, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__MARGIN", "0.9")

    done = run("tide.drift_check", **LAST_DAY)

    assert (done.state, done.path) == ("success", {*CHECKED, "retrain", "compare", "keep_champion", *NOTIFIED})
    assert deployments.read(harmed.store, "tide").production == 1
    assert decision_of(harmed)["outcome"]["outcome"] == "kept_champion"
    assert harmed.registry.resolve("tide", version=2).tags["keel.status"] == "rejected"


def test_drift_check_with_required_approval_stages_and_starts_a_promotion(harmed, monkeypatch):
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "required")

    done = run("tide.drift_check", logical_date=LAUNCH + 4 * DAY, **LAST_DAY, overrides={"drift.alpha": 0.04})

    assert (done.state, done.path) == ("success", {*CHECKED, *STAGED, *NOTIFIED})
    assert deployments.read(harmed.store, "tide").production == 1
    assert deployments.read(harmed.store, "tide").staging == 2
    assert decision_of(harmed)["outcome"]["outcome"] == "staged"
    [mail] = mails(harmed)
    assert "version 2 waits for approval" in mail["Subject"]
    [started] = runs_of("tide.promote", f"retrain__{done.run_id}")
    assert started.run_type == "operator_triggered"
    assert started.conf["version"] == 2
    assert started.conf["end"] == LAST_DAY["end"]
    assert started.conf["overrides"] == {"drift.alpha": 0.04}
    assert started.conf["reason"] == done.xcoms["compare/return_value"]["sentence"][:500]

    again = run("tide.drift_check", logical_date=LAUNCH + 4 * DAY, **LAST_DAY, overrides={"drift.alpha": 0.04})

    assert (again.state, again.path) == ("success", {*CHECKED, *STAGED, *NOTIFIED} - {"start_promotion"})
    assert len(runs_of("tide.promote", f"retrain__{done.run_id}")) == 1
    assert len(mails(harmed)) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [("promotion.margin", 0), ("promotion.approval", "auto"), ("promotion", {}), ("performance.metric", "accuracy")],
)
def test_drift_check_that_overrides_the_policy_fails(tide, key, value):
    done = run("tide.drift_check", **WINDOW, overrides={key: value})

    assert (done.state, done.states["count_window"]) == ("failed", "failed")
    said = done.xcoms["count_window/error"]
    assert said == (
        f"InvalidParameter: params.overrides: {key}: {key if 'metric' in key else 'promotion'} is the model's policy: "
        "change model.yaml or the environment"
    )


def test_drift_check_run_again_leaves_the_same_rows(harmed, monkeypatch):
    def rows():
        entries = [entry.hash for entry in ledger.entries(harmed.store, "tide")]
        decisions = harmed.store.decisions.list("tide")
        return entries, decisions, harmed.registry.versions("tide"), [mail.as_string() for mail in mails(harmed)]

    monkeypatch.setenv("KEEL__TIDE__PROMOTION__MARGIN", "0.9")
    first = run("tide.drift_check", logical_date=LAUNCH + 4 * DAY, **LAST_DAY)
    after_first = rows()

    second = run("tide.drift_check", logical_date=LAUNCH + 4 * DAY, **LAST_DAY)

    assert (second.run_id, second.path) == (first.run_id, first.path)
    assert rows() == after_first


def test_drift_check_by_schedule_checks_the_lookback_before_its_interval_ends(tide):
    live(tide, happen(LAUNCH, END), LAUNCH, END)

    done = run("tide.drift_check", logical_date=LAUNCH + timedelta(hours=20), run_type=DagRunType.SCHEDULED)

    assert done.state == "success"
    interval_end = LAUNCH + timedelta(hours=18)
    assert done.xcoms["count_window/return_value"]["window"] == {
        "start": (interval_end - DAY).isoformat(),
        "end": interval_end.isoformat(),
    }


def test_drift_check_xcoms_are_small_json(harmed):
    done = run("tide.drift_check", **LAST_DAY)

    assert {f"{task}/return_value" for task in done.path} <= set(done.xcoms)
    for name, value in done.xcoms.items():
        assert len(json.dumps(value, allow_nan=False)) < 8_192, name


def test_drift_check_without_predictions_raises_an_alert(tide):
    done = run("tide.drift_check", **WINDOW)

    assert done.state == "success"
    assert decision_of(tide)["action"] == "raise_alert"


def test_drift_check_with_a_misspelt_override_fails_and_suggests_the_key(tide):
    done = run("tide.drift_check", **WINDOW, overrides={"drift.alhpa": 0.01})

    assert done.state == "failed"
    assert done.states["count_window"] == "failed"
    assert "did you mean 'alpha'" in done.xcoms["count_window/error"]


@pytest.mark.parametrize("check", ["check_data_quality", "check_data_drift", "check_performance"])
def test_drift_check_with_a_failed_check_fails_without_a_decision(tide, monkeypatch, check):
    from keel import loop
    from keel.errors import StoreUnavailable

    def unavailable(*_):
        raise StoreUnavailable("db:5432 does not answer")

    monkeypatch.setattr(loop, check, unavailable)
    live(tide, happen(LAUNCH, END), LAUNCH, END)

    done = run("tide.drift_check", **WINDOW)

    assert done.state == "failed"
    assert done.states[check] == "failed"
    assert done.states["decide"] == done.states["all_clear"] == done.states["record"] == "upstream_failed"
    assert tide.store.decisions.latest("tide", action="all_clear") is None


def test_drift_check_without_a_store_fails_and_is_no_all_clear(tide, monkeypatch):
    live(tide, happen(LAUNCH, END), LAUNCH, END)
    monkeypatch.setenv("AIRFLOW_CONN_KEEL_STORE", "postgres://keel:s3cret@127.0.0.1:1/keel")

    done = run("tide.drift_check", **WINDOW)

    assert done.state == "failed"
    assert done.path == set()
    assert "127.0.0.1" in done.xcoms["count_window/error"]
    assert "s3cret" not in json.dumps(done.xcoms)
    assert tide.store.decisions.list("tide")[0]["action"] != "all_clear"
    [mail] = mails(tide)
    assert "not an all clear" in text_of(mail)
    assert "StoreUnavailable: the store at" in text_of(mail)
    assert "s3cret" not in text_of(mail)


def test_drift_check_error_with_a_secret_is_masked(tide, new_keel_home, monkeypatch):
    from keel import loop

    def refuse(*_, **__):
        raise ValueError("refused the password open-sesame-1")

    monkeypatch.setattr(loop, "count_window", refuse)
    store = {"conn_type": "sqlite", "host": str(new_keel_home / "keel.db"), "password": "open-sesame-1"}
    monkeypatch.setenv("AIRFLOW_CONN_KEEL_STORE", json.dumps(store))

    done = run("tide.drift_check", **WINDOW)

    assert done.xcoms["count_window/error"] == "ValueError: refused the password ***"
    [mail] = mails(tide)
    assert "ValueError: refused the password ***" in text_of(mail)


@pytest.mark.parametrize("run_type", [DagRunType.SCHEDULED, DagRunType.ASSET_TRIGGERED])
def test_drift_check_before_the_first_version_is_skipped_and_notifies_no_one(home, run_type):
    done = run("tide.drift_check", run_type=run_type)

    assert (done.state, done.states) == ("success", {})
    assert not (home / "outbox").exists()


def test_count_window_before_the_first_version_names_the_reason_of_the_skip(home):
    dag = parse_dag("tide.drift_check")
    task = dag.get_task("count_window")
    task.overrides, task.start, task.end, task.interval_end, task.now = {}, None, None, None, END

    with pytest.raises(AirflowSkipException, match=r"no production version yet; .* airflow dags trigger tide\.retrain"):
        task.execute({"dag_run": SimpleNamespace(run_type="scheduled"), "run_id": "scheduled__1"})
    assert "Until tide has a first version, every task is skipped" in dag.doc_md


def test_drift_check_by_hand_before_the_first_version_fails_and_notifies_no_one(home):
    done = run("tide.drift_check", **WINDOW)

    assert done.state == "failed"
    assert "airflow dags trigger tide.retrain" in done.xcoms["count_window/error"]
    assert not (home / "outbox").exists()


def test_drift_check_after_production_was_lost_fails_and_notifies_people(tide):
    current = deployments.read(tide.store, "tide")
    deployments.swap(
        tide.store, current, replace(current, production=None), actor="test", action="out_of_band", body={}, now=END
    )

    done = run("tide.drift_check", run_type=DagRunType.SCHEDULED)

    assert (done.state, done.states["count_window"]) == ("failed", "failed")
    [mail] = mails(tide)
    assert "NoProductionVersion: tide has no production version any more" in text_of(mail)
