"""The steps of a rollout are killed at each boundary: the task that runs again completes them, once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sklearn.compose  # noqa: F401
import sklearn.linear_model  # noqa: F401
import skops.io  # noqa: F401  a child must not import for seconds what every child needs

from keel import deployments, loop, rollout
from keel.deployments import experiments
from keel.evaluation.experiment.plan import Stage
from keel.ledger import entries as ledger
from keel.workspace import Workspace
from tests.support.chaos.kills import FULL_SIZE, World, require_consistent, run
from tests.support.experiment_rows import serve
from tests.support.loop_steps import BY, CONFIG, NOW, first_version, live
from tests.support.toy import DAY, toy_rows

TURNED = NOW + 36 * DAY
Home = tuple[Path, str]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with a champion, and a challenger that has been shown to be better and is not promoted yet."""
    home = tmp_path_factory.mktemp("compared")

    def prepare() -> str:
        with Workspace.open(home=home, environment={}) as ws:
            first_version(ws)
            live(ws, toy_rows(NOW, days=36, flip=True), days=36)
            window = loop.resolve_window(CONFIG, end=TURNED, now=TURNED)
            decision = loop.request_retrain(ws, CONFIG, window=window, reason="it has turned", run_id="run-1")
            comparison = rollout.compare(ws, CONFIG, loop.retrain(ws, CONFIG, decision, **BY))
            assert comparison.next == "promote", comparison.sentence
            return comparison.report_id

    # in a child: what trains has threads, and this process must not have any when it forks
    return home, run(prepare).result


@pytest.fixture
def fresh(compared: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Returns copies of the home, each in another folder."""
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    number = iter(range(10_000))
    return lambda: Path(shutil.copytree(compared[0], tmp_path / str(next(number))))


def promotion(home: Path, report_id: str) -> Callable[[], str]:
    def promote() -> str:
        with Workspace.open(home=home, environment={}) as ws:
            return rollout.promote(ws, CONFIG, report_id, **BY).outcome

    return promote


def rolling_back(home: Path) -> Callable[[], str]:
    def roll_back() -> str:
        with Workspace.open(home=home, environment={}) as ws:
            decision = rollout.request_rollback(
                ws, CONFIG, reason="chaos", version=None, end=TURNED, actor="tests", run_id="run-2"
            )
            return rollout.rollback(ws, CONFIG, decision.decision_id, actor="tests", run_id="run-2").outcome

    return roll_back


def world_of(home: Path) -> World:
    return World(f"sqlite:///{home / 'keel.db'}", f"sqlite:///{home / 'mlflow.db'}")


def some_of(boundaries: tuple[str, ...]) -> list[int]:
    """Return the boundaries to kill at: at full size all, else each commit's two sides and a few between."""
    if FULL_SIZE:
        return list(range(len(boundaries)))
    few = range(0, len(boundaries), max(1, len(boundaries) // 5))
    return sorted({*few, *(number for number, name in enumerate(boundaries) if name.endswith(" COMMIT"))})


def state(home: Path) -> tuple[int | None, int, int]:
    """The version in production, and how many rows of the ledger say promoted and rolled back."""
    with world_of(home).open() as (store, _):
        rows = [entry.action for entry in ledger.entries(store, "toy")]
        return deployments.read(store, "toy").production, rows.count("promote"), rows.count("rollback")


def test_promotion_killed_anywhere_is_all_or_nothing_and_completed_by_its_retry(compared, fresh) -> None:
    _, report_id = compared
    boundaries = run(promotion(fresh(), report_id)).boundaries
    assert "after COMMIT" in boundaries
    for number in some_of(boundaries):
        home = fresh()
        assert run(promotion(home, report_id), kill_at=number).killed
        require_consistent(world_of(home))
        assert state(home) in ((1, 1, 0), (2, 2, 0)), boundaries[number]
        assert run(promotion(home, report_id)).result == "promoted"
        require_consistent(world_of(home))
        assert state(home) == (2, 2, 0), boundaries[number]
        shutil.rmtree(home)


def test_rollback_killed_anywhere_is_all_or_nothing_and_completed_by_its_retry(compared, fresh) -> None:
    _, report_id = compared
    promoted = fresh()
    run(promotion(promoted, report_id))
    boundaries = run(rolling_back(Path(shutil.copytree(promoted, promoted.parent / "once")))).boundaries
    for number in some_of(boundaries):
        home = promoted.parent / f"rollback-{number}"
        shutil.copytree(promoted, home)
        assert run(rolling_back(home), kill_at=number).killed
        require_consistent(world_of(home))
        assert state(home) in ((2, 2, 0), (1, 2, 1)), boundaries[number]
        assert run(rolling_back(home)).result == "rolled_back"
        require_consistent(world_of(home))
        assert state(home) == (1, 2, 1), boundaries[number]
        shutil.rmtree(home)


def trying(home: Path) -> None:
    """Try the challenger until there is enough to see, with nobody having looked yet."""
    with Workspace.open(home=home, environment={}) as ws:
        rollout.start_experiment(
            ws, CONFIG, challenger=2, stages=(Stage(0.5),), actor="ada", run_id="try-1", reason="chaos", now=TURNED
        )
        rows = toy_rows(TURNED, days=9, seed=3, flip=True)
        serve(ws, CONFIG, experiments.running(ws.store, "toy"), rows)


def concluding(home: Path) -> Callable[[], str]:
    def conclude() -> str:
        """Do what a run of ``watch_deployment`` does, all of it, as when it is cleared."""
        with Workspace.open(home=home, environment={}) as ws:
            watched = rollout.watch_experiment(ws, CONFIG, end=TURNED + 10 * DAY, run_id="watch-1")
            return rollout.conclude_experiment(ws, CONFIG, watched.decision_id, actor="keel", run_id="watch-1").outcome

    return conclude


def ended(home: Path) -> int:
    """How many rows say that an experiment has ended, if the table says the same."""
    with world_of(home).open() as (store, _):
        assert experiments.rebuild(store) == []
        return len(list(ledger.entries(store, "toy", "experiment_end")))


def test_verdict_killed_anywhere_is_carried_out_once_by_its_retry(fresh) -> None:
    tried = fresh()
    run(lambda: trying(tried))
    boundaries = run(concluding(Path(shutil.copytree(tried, tried.parent / "once")))).boundaries
    for number in some_of(boundaries):
        home = tried.parent / f"verdict-{number}"
        shutil.copytree(tried, home)
        assert run(concluding(home), kill_at=number).killed
        require_consistent(world_of(home))
        assert (state(home), ended(home)) in (((1, 1, 0), 0), ((1, 1, 0), 1), ((2, 2, 0), 1)), boundaries[number]
        assert run(concluding(home)).result == "promoted"
        require_consistent(world_of(home))
        assert (state(home), ended(home)) == ((2, 2, 0), 1), boundaries[number]
        shutil.rmtree(home)
