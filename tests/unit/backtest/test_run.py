"""A backtest of the toy model, whose relation turns round: what policies do, and what an interruption changes."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keel import loop, rollout
from keel.backtest import policy_run, run
from keel.backtest.run import MARK, run_backtest
from keel.backtest.scratch import open_workspace
from keel.errors import ConfigError, InsufficientData
from keel.ledger import entries as ledger
from keel.window import parse_time
from tests.support.backtest.late_labels import LATE, log_late_labels
from tests.support.backtest.plans import past_config, plan_of
from tests.support.paths import PROJECT
from tests.support.pipelines import past as pipeline
from tests.support.toy import DAY, toy_rows

THREE = ("default", "never", "always")


@pytest.fixture(scope="module")
def prepared(migrated_sqlite, migrated_mlflow):
    """Let each first workspace begin with empty databases that are there already: MLflow takes seconds to make its."""

    def prepare(folder):
        if not (folder / "mlflow.db").exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(migrated_sqlite, folder / "keel.db")
            shutil.copy(migrated_mlflow, folder / "mlflow.db")
        return open_workspace(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "open_workspace", prepare)
        yield


@pytest.fixture(scope="module")
def finished(prepared, tmp_path_factory):
    """A backtest of three policies, run once."""
    return run_backtest(plan_of(*THREE), home=tmp_path_factory.mktemp("backtests"), store_url=None)


def as_bytes(done):
    return json.dumps(done.result.to_dict(), indent=1).encode()


def expected(finished, *policies):
    """Return the bytes of an uninterrupted backtest of some of the policies."""
    return as_bytes(run_backtest(plan_of(*policies), home=finished.folder.parents[1], store_url=None))


def by_name(done):
    return {policy.name: policy for policy in done.result.policies}


def test_run_backtest_in_a_folder_with_other_contents_is_refused_and_leaves_them(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not a folder of backtests; name another one with --home"):
        run_backtest(plan_of(), home=tmp_path, store_url=None)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(ConfigError, match="is a file"):
        run_backtest(plan_of(), home=tmp_path / "thesis.txt", store_url=None)


def test_run_backtest_while_another_one_runs_is_refused(tmp_path, prepared):
    with pytest.raises(InsufficientData):  # which makes the folder
        run_backtest(plan_of(config=past_config(retrain=NEEDY)), home=tmp_path, store_url=None)
    [place] = [path for path in tmp_path.iterdir() if path.name != MARK]
    with (place / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="is in use by another backtest") as found:
            run_backtest(plan_of(config=past_config(retrain=NEEDY)), home=tmp_path, store_url=None)
    assert found.value.exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([MARK, place.name])


NEEDY = {"pipeline": "tests.support.pipelines.past", "window": "20d", "holdout": "3d", "min_rows": 100_000}


@pytest.mark.slow
def test_never_keeps_the_first_version_and_only_alerts(finished):
    never = by_name(finished)["never"]
    assert {step.version for step in never.steps} == {1}
    assert {step.action for step in never.steps} == {"raise_alert", "all_clear"}
    assert never.counts.trainings == never.counts.promotions == 0
    assert never.counts.messages > 0
    assert "rows of the window from " in finished.result.first_version


@pytest.mark.slow
def test_default_retrains_once_the_turned_relation_hurts_and_promotes_what_is_better(finished):
    default = by_name(finished)["default"]
    first = next(step for step in default.steps if step.action == "retrain")
    assert first.performance == "degraded"
    assert default.counts.promotions >= 1
    promoted = next(step for step in default.steps if step.promoted)
    assert promoted.comparison.verdict == "pass"
    assert promoted.comparison.lower_bound > 0
    assert promoted.production == promoted.promoted
    after = default.steps[default.steps.index(promoted) + 1]
    assert after.version == promoted.promoted
    assert default.differences[0].against == "never"
    assert default.differences[0].value > 0


@pytest.mark.slow
def test_always_promotes_what_it_trains_at_every_step_shown_to_be_better_or_not(finished):
    always = by_name(finished)["always"]
    assert always.counts.trainings == always.counts.promotions == len(always.steps)
    assert always.counts.unproven == sum(step.comparison.verdict != "pass" for step in always.steps) > 0
    assert always.counts.rollbacks == 0
    assert [step.version for step in always.steps] == list(range(1, len(always.steps) + 1))


@pytest.mark.slow
def test_policies_know_only_labels_that_were_observed_by_then(finished):
    plan = plan_of(*THREE)
    for step in by_name(finished)["never"].steps:
        assert step.rows == 5 * 24 * pipeline.PER_HOUR
    # the first check of the turned relation has no label of it yet: the check's labels end a day before
    [home] = finished.folder.glob("never-*/")
    with open_workspace(home) as ws:
        rows = ws.predictions(plan.config).labelled(plan.start, plan.end, features=False)
        observed = rows["time"].to_pylist()[-1]
    assert observed < plan.end - plan.config.target.label_delay


@pytest.mark.slow
def test_labels_that_come_later_than_the_label_delay_count_from_when_they_were_observed(prepared, tmp_path, new_home):
    with open_workspace(new_home(tmp_path / "own")) as own:
        times = [time.as_py() for time in log_late_labels(own.store)["time"]]
    retrain = {"pipeline": "tests.support.pipelines.past", "window": "20d", "holdout": "7d", "min_rows": 100}
    plan = plan_of("always", config=past_config(retrain=retrain, promotion={"min_rows": 100}))
    store_url = f"sqlite:///{tmp_path / 'own' / 'keel.db'}"
    done = run_backtest(plan, home=tmp_path / "backtests", store_url=store_url, source="store")

    def known(start, end, at):
        return sum(start <= time < end and time + LATE < at for time in times)

    steps = by_name(done)["always"].steps
    assert [step.labels for step in steps] == [sum(s.start <= t + LATE < s.end for t in times) for s in steps]
    [home] = done.folder.glob("always-*/")
    with open_workspace(home) as ws:
        for number, at in enumerate([plan.start, *(step.end for step in steps)], start=1):
            reference = ws.registry.reference("toy", number)
            for part in ("training", "holdout"):
                used = reference[part]
                start, end = (parse_time(used[name]) for name in ("start", "end"))
                assert used["rows"] == known(start, end, at), (number, part)
            assert known(start, end, at) < known(start, end, at + 10 * DAY)  # some of them came later


@pytest.mark.slow
def test_each_policy_has_a_ledger_and_versions_of_its_own(finished):
    homes = {path.name.partition("-")[0]: path for path in finished.folder.glob("*-*/")}
    promoted = {}
    for name in THREE:
        with open_workspace(homes[name]) as ws:
            assert ledger.verify(ws.store).broken_at is None
            assert ws.store.verify() == []
            rows = list(ledger.entries(ws.store, "toy", ledger.Action.PROMOTE))
            promoted[name] = len(rows) - 1
            assert len(ws.registry.versions("toy")) == 1 + by_name(finished)[name].counts.trainings
    assert promoted == {name: policy.counts.promotions for name, policy in by_name(finished).items()}


@pytest.mark.slow
def test_run_backtest_again_gives_the_same_bytes_and_does_nothing(finished, monkeypatch):
    monkeypatch.setattr(run, "run_policy", None)
    again = run_backtest(plan_of(*THREE), home=finished.folder.parents[1], store_url=None)
    assert as_bytes(again) == as_bytes(finished)


@pytest.mark.slow
def test_run_backtest_with_another_policy_keeps_those_that_are_done(finished, prepared):
    reports = []
    wider = run_backtest(
        plan_of("never", "monthly"), home=finished.folder.parents[1], store_url=None, report=reports.append
    )
    assert {report.partition(":")[0] for report in reports if "steps" in report} == {"monthly"}
    assert by_name(wider)["never"].steps == by_name(finished)["never"].steps
    months = [step.end for step in by_name(wider)["monthly"].steps if step.comparison]
    assert [f"{end:%m-%d}" for end in months] == ["03-02"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name", "call"), [(rollout, "promote", 2), (loop, "retrain", 2), (policy_run, "write_checkpoint", 2)]
)
def test_run_backtest_that_breaks_off_in_a_step_goes_on_to_the_same_bytes(
    module, name, call, finished, prepared, tmp_path
):
    """It breaks off when a challenger was trained or promoted; the first call is about the first version."""
    real, calls = getattr(module, name), []

    def broken(*arguments, **options):
        result = real(*arguments, **options)
        calls.append(name)
        if len(calls) == call:
            raise KeyboardInterrupt
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, broken)
        with pytest.raises(KeyboardInterrupt):
            run_backtest(plan_of("default"), home=tmp_path / "backtests", store_url=None)
    done = run_backtest(plan_of("default"), home=tmp_path / "backtests", store_url=None)
    assert as_bytes(done) == expected(finished, "default")


@pytest.mark.slow
def test_run_backtest_that_is_killed_in_several_processes_goes_on_to_the_same_bytes(finished, tmp_path):
    home = tmp_path / "backtests"
    code = (
        "import sys\nfrom pathlib import Path\nfrom tests.support.backtest.plans import plan_of\n"
        "from keel.backtest.run import run_backtest\n"
        "if __name__ == '__main__':\n"
        "    run_backtest(plan_of('default', 'never'), home=Path(sys.argv[1]), store_url=None, jobs=2)\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    production = tmp_path / "production.db"
    environment = {
        **os.environ,
        "PYTHONPATH": f"{PROJECT / 'include'}:{PROJECT}",
        "MLFLOW_REGISTRY_URI": f"sqlite:///{production}",
    }

    def checkpoints():
        return [path for path in home.glob("*/*/*-*/checkpoints/*") if not path.suffix]

    with subprocess.Popen([sys.executable, script, home], env=environment, start_new_session=True) as process:
        while len(checkpoints()) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while not all(map(is_free, home.glob("*/*/*.lock"))):  # its processes end with it
        assert time.monotonic() < deadline
        time.sleep(0.1)
    steps = sum(int(path.name) for path in checkpoints())
    assert 2 <= steps < 10
    assert not production.exists()
    done = run_backtest(plan_of("default", "never"), home=home, store_url=None)
    assert as_bytes(done) == expected(finished, "default", "never")


def is_free(lock: Path) -> bool:
    with lock.open("w") as claim:
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


@pytest.mark.slow
def test_fresh_begins_again_and_gives_the_same_bytes(finished, prepared, tmp_path):
    home = tmp_path / "backtests"
    plan = plan_of("never")
    once = run_backtest(plan, home=home, store_url=None)
    again = run_backtest(plan, home=home, store_url=None, fresh=True)
    assert (once.folder.name, again.folder.name) == ("1", "2")
    assert not once.folder.exists()
    assert as_bytes(again) == as_bytes(once) == expected(finished, "never")


def test_run_backtest_without_enough_history_names_what_is_missing_and_a_later_one_begins_again(
    tmp_path, monkeypatch, prepared
):
    monkeypatch.setattr(pipeline, "labelled_history", lambda config: toy_rows(days=60, per_hour=1))
    with pytest.raises(InsufficientData, match="toy: labelled training rows"):
        run_backtest(plan_of(config=past_config(retrain=NEEDY)), home=tmp_path, store_url=None)
    assert not list(tmp_path.glob(".past-*"))
