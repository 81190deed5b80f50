"""Faults around a comparison promote nothing, whatever the metric, and the error names the cause."""

from __future__ import annotations

import shutil
import socket
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import sqlalchemy as sa

from keel import deployments, loop, rollout
from keel.cli.standalone.replay import replay
from keel.errors import KeelError, RegistryUnavailable, StoreUnavailable
from keel.evaluation.holdout.comparison import NotShownBetter
from keel.ledger import entries as ledger
from keel.registry.registry import Registry
from keel.rollout import gate as judging
from keel.stats.metrics.losses import Scored
from keel.workspace import Workspace
from tests.support.loop_steps import BY, NOW
from tests.support.toy import DAY, START, toy_config, toy_rows

pytestmark = pytest.mark.slow

METRICS = ["brier", "log_loss", "roc_auc", "accuracy", "mae", "rmse"]
TURNED = NOW + 36 * DAY


def config_for(metric):
    if metric not in {"mae", "rmse"}:
        return toy_config(performance={"metric": metric, "min_rows": 200})
    return toy_config(
        target={"name": "bought", "kind": "regression", "label_delay": "24h"},
        performance={"metric": metric, "min_rows": 200},
        retrain={"pipeline": "tests.support.pipelines.regression", "window": "30d", "holdout": "7d", "min_rows": 200},
    )


@pytest.fixture(scope="module", params=METRICS)
def judged(request, tmp_path_factory):
    """A home with a champion in a world that has turned round, and a challenger that is trained and not compared."""
    config, home = config_for(request.param), tmp_path_factory.mktemp(request.param)
    with Workspace.open(home=home, environment={}) as ws:
        replay(ws, config, toy_rows(days=40), start=START, end=NOW)
        first = retrained(ws, config, NOW, "run-0")
        rollout.promote(ws, config, rollout.compare(ws, config, first).report_id, **BY)
        replay(ws, config, toy_rows(NOW, days=36, flip=True), start=NOW, end=TURNED)
        training = retrained(ws, config, TURNED, "run-1")
    return config, home, training


def retrained(ws, config, end, run_id):
    window = loop.resolve_window(config, end=end, now=end)
    decision = loop.request_retrain(ws, config, window=window, reason="a test", run_id=run_id)
    return loop.retrain(ws, config, decision, actor="tests", run_id=run_id)


@pytest.fixture
def world(judged, tmp_path):
    config, trained, training = judged
    home = tmp_path / "home"
    shutil.copytree(trained, home)
    with Workspace.open(home=home, environment={}) as ws:
        yield ws, config, training


def test_comparison_without_a_fault_promotes_the_challenger(world):
    """The other tests of this module would be worth nothing if it were not."""
    ws, config, training = world
    comparison = rollout.compare(ws, config, training)
    assert comparison.verdict == "pass", comparison.reason
    assert rollout.promote(ws, config, comparison.report_id, **BY).outcome == "promoted"


def scores_of(value, patch, *, share=1.0):
    """Have the challenger score some rows with a value that is no number."""
    honest = judging.score_version

    def score(ws, config, version, rows):
        found = honest(ws, config, version, rows)
        if version == 1:
            return found
        spoilt = np.arange(len(found)) < share * len(found)
        return Scored(found.label, np.where(spoilt, value, found.score), np.where(spoilt, value, found.prediction))

    patch.setattr(judging, "score_version", score)


def without_labels(ws, since, until=TURNED):
    """Take back the labels of a stretch, as if they had never come."""
    with ws.store.begin() as connection:
        statement = "DELETE FROM labels WHERE observed_at >= :since AND observed_at < :until"
        micros = [int((t + DAY).timestamp() * 1e6) for t in (since, until)]
        connection.execute(sa.text(statement), {"since": micros[0], "until": micros[1]})


def missing(ws, config, patch):
    without_labels(ws, TURNED - 9 * DAY)
    return ws, config


def not_a_number(ws, config, patch):
    scores_of(np.nan, patch)
    return ws, config


def infinite(ws, config, patch):
    scores_of(np.inf, patch)
    return ws, config


def stale(ws, config, patch):
    without_labels(ws, TURNED - 3 * DAY)
    return ws, config.with_overrides({"promotion.max_label_age": "24h"})


def too_few(ws, config, patch):
    without_labels(ws, TURNED - 8 * DAY + timedelta(hours=9))
    return ws, config


def query_error(ws, config, patch):
    with ws.store.begin() as connection:
        connection.execute(sa.text("ALTER TABLE labels RENAME TO gone"))
    return ws, config


def timeout(ws, config, patch):
    """A registry that takes the call and never answers."""
    silent = socket.create_server(("127.0.0.1", 0))
    patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = Registry(f"http://127.0.0.1:{silent.getsockname()[1]}")
    patch.setattr(registry, "keeps_it_open", silent, raising=False)
    return replace(ws, registry=registry), config


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (missing, None),
        (not_a_number, None),
        (infinite, None),
        (stale, None),
        (too_few, None),
        (query_error, StoreUnavailable),
        (timeout, RegistryUnavailable),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_comparison_with_a_fault_promotes_nothing(world, monkeypatch, fault, raised):
    ws, config, training = world
    rows = len(list(ledger.entries(ws.store)))
    broken, policy = fault(ws, config, monkeypatch)
    if raised:
        with pytest.raises(raised):
            rollout.compare(broken, policy, training)
    else:
        comparison = rollout.compare(broken, policy, training)
        assert (comparison.verdict, comparison.next) == ("inconclusive", "keep_champion")
        assert comparison.reason.startswith("inconclusive")
        with pytest.raises(NotShownBetter, match="(?i)inconclusive"):
            rollout.promote(broken, policy, comparison.report_id, **BY)
        with pytest.raises(NotShownBetter):
            rollout.stage(broken, policy, comparison.report_id, **BY)
    assert deployments.read(ws.store, config.model).production == 1
    assert len(list(ledger.entries(ws.store))) == rows


@pytest.mark.parametrize("share", [0.001, 0.5])
def test_rows_that_only_one_version_can_score_do_not_count(world, monkeypatch, share):
    """A challenger must not win by failing on the rows it would lose."""
    ws, config, training = world
    scores_of(np.nan, monkeypatch, share=share)
    comparison = rollout.compare(ws, config, training)
    assert comparison.verdict == "inconclusive", comparison.reason
    with pytest.raises(KeelError):
        rollout.promote(ws, config, comparison.report_id, **BY)
