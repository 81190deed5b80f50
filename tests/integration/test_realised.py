"""Realised performance of a real version, beside what its registry says of its holdout."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keel import loop
from keel.monitoring import performance_history as realised
from keel.registry.registry import Registry
from keel.window import Window
from tests.support.loop_steps import CONFIG, NOW, live, open_copy
from tests.support.toy import DAY, toy_rows


@pytest.fixture(scope="module")
def ws(tmp_path_factory, toy_home):
    with open_copy(toy_home, tmp_path_factory.mktemp("realised") / "home") as opened:
        yield opened


def test_a_version_that_does_what_it_promised_and_its_history_without_rows(ws):
    live(ws, toy_rows(NOW, days=10, seed=5), days=10)
    [found] = realised.series(ws, CONFIG, NOW, NOW + 7 * DAY, bucket="week", version=1)[:1]
    brier = found["metrics"]["brier"]
    assert brier["holdout"]["n"] == 7 * 24 * 20
    assert brier["lower"] < brier["holdout"]["upper"]
    assert brier["holdout"]["lower"] < brier["upper"]
    assert found["coverage"] == 1.0

    window = Window(NOW, NOW + 7 * DAY)
    loop.count_window(ws, CONFIG, window)
    before = realised.series(ws, CONFIG, NOW, NOW + 7 * DAY)
    assert ws.predictions(CONFIG).expire(NOW + 7 * DAY) >= 7 * 24 * 20
    assert realised.series(ws, CONFIG, NOW, NOW + 7 * DAY) == before
    assert ws.store.verify() == []


def test_a_registry_that_does_not_answer_takes_the_holdout_away_and_nothing_else(ws, monkeypatch):
    live(ws, toy_rows(NOW, days=10, seed=5), days=10)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    [known] = realised.series(ws, CONFIG, NOW + 8 * DAY, NOW + 9 * DAY)
    cut_off = replace(ws, registry=Registry("http://127.0.0.1:9"))
    [found] = realised.series(cut_off, CONFIG, NOW + 8 * DAY, NOW + 9 * DAY)
    for metrics, there in ((known["metrics"], True), (found["metrics"], False)):
        assert (metrics["brier"].pop("holdout") is not None) == there
    assert found["metrics"]["brier"] == known["metrics"]["brier"]
