"""The same loop on PostgreSQL and a real ``mlflow server``: what laptops and clusters share is all of it."""

from __future__ import annotations

import pytest

from keel import deployments, loop
from keel.ledger import entries as ledger
from keel.workspace import Workspace
from tests.support.loop_steps import CONFIG, NOW, act, check, first_version, live
from tests.support.toy import DAY, toy_rows

pytestmark = [pytest.mark.integration, pytest.mark.postgres, pytest.mark.slow]


@pytest.fixture
def ws(mlflow_url, new_postgres_database, tmp_path):
    with Workspace.open(
        home=tmp_path, store_url=new_postgres_database(), tracking_uri=mlflow_url, environment={}
    ) as opened:
        yield opened


def test_loop_runs_on_postgres_and_an_mlflow_server(ws):
    assert first_version(ws).version == 1
    live(ws, toy_rows(NOW, days=8), days=8)
    assert check(ws, NOW + 8 * DAY)[0].action == "all_clear"
    live(ws, toy_rows(NOW + 8 * DAY, days=36, flip=True), days=36, start=NOW + 8 * DAY)
    decision, _ = check(ws, NOW + 44 * DAY)
    assert decision.action == "retrain"
    outcome = act(ws, decision)
    assert outcome.outcome == "promoted"
    loop.record(ws, CONFIG, decision, outcome, channels=["outbox"])
    assert ws.registry.aliases("toy") == {"production": outcome.version, "previous": 1}
    assert deployments.read(ws.store, "toy").generation == 2
    assert ledger.verify(ws.store).broken_at is None
    assert ws.store.decisions.get(decision.decision_id)["outcome"]["outcome"] == "promoted"
