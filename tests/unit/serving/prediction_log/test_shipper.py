"""The spool shipper on a real store: every record is stored once, whatever happens on the way."""

from __future__ import annotations

import threading
import time

import pytest

from keel.errors import StoreUnavailable
from keel.serving.prediction_log.records import LabelBlock, packed
from keel.serving.prediction_log.spool import Spool
from keel.store import PredictionLog
from keel.store.undelivered import undelivered_records
from tests.support.serving.spooled import CONFIG, END, MICROS, NOON, block, put, stored, stored_ids
from tests.support.toy import toy_config
from tests.support.waiting import until


def test_ship_stores_answered_rows_and_empties_the_spool(ws, spool, shipper, metrics):
    arms = {
        "arms": ["champion", "challenger"],
        "allocations": packed([0.9, 0.1]),
        "entities": ["ann", None],
        "experiment": "exp",
    }
    put(spool, block("a", "b", **arms), block("c", version=4))
    assert shipper.ship().records == 2
    assert shipper.ship() is None
    assert spool.stats.records == 0
    assert stored_ids(ws) == ["a", "b", "c"]
    assert stored(ws)["colour"].to_pylist() == ["red"] * 3
    allocations = ws.store.predictions("toy", CONFIG.features).allocations(NOON, END)
    assert allocations.select(["id", "version", "arm", "allocation"]).to_pylist() == [
        {"id": "a", "version": 3, "arm": "champion", "allocation": 0.9},
        {"id": "b", "version": 3, "arm": "challenger", "allocation": 0.1},
    ]
    assert metrics.registry.get_sample_value("keel_stored_total", {"model": "toy", "outcome": "stored"}) == 3


def test_shipper_clears_its_error_after_a_successful_attempt_without_records(spool, shipper_of, monkeypatch):
    shipper, adopt, attempts = shipper_of(adopt_seconds=0.0), spool.adopt, []

    def failing_once():
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("the folder cannot be listed")
        return adopt()

    monkeypatch.setattr(spool, "adopt", failing_once)
    shipper.start()
    until(lambda: len(attempts) > 1 and shipper.error is None)
    started = time.monotonic()
    assert shipper.stop(30)
    assert time.monotonic() - started < 15, "it must not wait as if the store did not answer"


def test_ship_of_a_batch_twice_stores_it_once(ws, spool, shipper, metrics, monkeypatch):
    put(spool, block("a", "b"))
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "acknowledge", lambda *_: pytest.fail("killed here"))
        with pytest.raises(pytest.fail.Exception):
            shipper.ship()
    assert stored_ids(ws) == ["a", "b"], "the process ended after it was stored"
    shipper.ship()
    assert stored_ids(ws) == ["a", "b"]
    assert metrics.registry.get_sample_value("keel_stored_total", {"model": "toy", "outcome": "duplicate"}) == 2
    assert spool.stats.records == 0


@pytest.mark.parametrize(
    "bad",
    [
        b"Pnonsense",
        block("nul\x00"),
        block("", ""),
        block("far", times=[2**63 - 1]),
        LabelBlock("toy", ["a"], [float("nan")], [MICROS]),
        LabelBlock("toy", ["a"], [float("inf")], [MICROS]),
        LabelBlock("toy", ["a\x00"], [1.0], [MICROS]),
    ],
    ids=lambda bad: type(bad).__name__ if isinstance(bad, LabelBlock | bytes) else bad.ids[0][:3],
)
def test_ship_rejects_and_reports_a_record_that_no_store_accepts_and_stores_the_others(
    bad, ws, spool, shipper, tmp_path
):
    good = [block(f"{n}") for n in range(5)]
    put(spool, *good[:2], bad, *good[2:], LabelBlock("toy", ["0"], [1.0], [MICROS]))
    shipment = shipper.ship()
    assert stored_ids(ws) == ["0", "1", "2", "3", "4"]
    assert (shipment.rejected, shipment.labels) == (1, 1)
    assert spool.stats.records == 0
    assert spool.stats.dead_letters == 1
    [sentence] = undelivered_records(ws.store, "toy", run_id="one")
    assert "toy could not be stored" in sentence
    assert str(tmp_path / "spool" / "dead-letters") in sentence
    assert undelivered_records(ws.store, "toy", run_id="one") == [sentence], "the same run may have notified no one"
    assert undelivered_records(ws.store, "toy", run_id="two") == [], "it is reported once"


def test_ship_stores_a_value_of_another_type_as_it_is(ws, spool, shipper):
    odd = block("odd", numeric=["z"], numbers=packed([1.0]), texts={"x": ["one"], "colour": ["red"]})
    put(spool, block("a"), odd, block("b"))
    assert shipper.ship().rejected == 0
    tables = ws.store.predictions("toy", CONFIG.features).read(NOON, END)
    found = {row["id"]: row["x"] for table in tables for row in table.to_pylist()}
    assert found.pop("odd") == "one"
    assert {name: float(x) for name, x in found.items()} == {"a": 1.5, "b": 1.5}


def test_shipper_waits_for_a_locked_store_and_then_stores_everything(ws, spool, shipper, metrics, locked):
    put(spool, block("a"), LabelBlock("toy", ["a"], [1.0], [MICROS]))
    with pytest.raises(StoreUnavailable):
        shipper.ship()
    assert (spool.stats.records, spool.stats.dead_letters) == (2, 0)
    shipper.start()
    until(lambda: shipper.error is not None)
    assert shipper.is_alive()
    locked.execute("ROLLBACK")
    until(lambda: not spool.stats.records)
    until(lambda: shipper.error is None)
    assert shipper.stop(5)
    assert stored_ids(ws) == ["a"]
    assert metrics.registry.get_sample_value("keel_shipping_failures_total", {"kind": "StoreUnavailable"}) >= 1
    assert metrics.registry.get_sample_value("keel_spool_records") == 0


def test_stop_returns_in_time_if_the_store_does_not_answer(ws, spool, shipper, locked):
    put(spool, block("a"))
    shipper.start()
    started = time.monotonic()
    assert not shipper.stop(0.3)
    assert time.monotonic() - started < 1.8
    locked.execute("ROLLBACK")
    assert spool.stats.records == 1


def test_stop_ships_what_waits(ws, spool, shipper):
    for n in range(50):
        put(spool, block(f"{n}"))
    shipper.start()
    assert shipper.stop(10)
    assert stored(ws).num_rows == 50


def test_shipper_does_not_pause_between_batches_while_records_wait(ws, spool, shipper_of):
    shipper = shipper_of(batch_bytes=1, pause_seconds=60.0)
    for n in range(5):
        put(spool, block(f"{n}"))
    shipper.start()
    until(lambda: not spool.stats.records)
    assert shipper.stop(10)
    assert stored(ws).num_rows == 5


def test_shipper_refreshes_metrics_after_a_batch_and_survives_their_failure(spool, shipper_of):
    called = threading.Event()

    def fails():
        called.set()
        raise RuntimeError("no metrics")

    shipper = shipper_of(after_batch=fails)
    shipper.start()
    assert called.wait(10)
    put(spool, block("a"))
    assert shipper.stop(10)


def test_ship_counts_the_outcome_of_each_label(ws, spool, shipper, metrics):
    labels = LabelBlock("toy", ["a", "a", "a", "early"], [1.0, 1.0, 0.0, 0.0], [MICROS] * 4)
    put(spool, labels, block("a"))  # in one batch, predictions are stored first
    shipper.ship()
    outcomes = ("stored", "duplicate", "conflict", "unmatched")
    counts = [
        metrics.registry.get_sample_value("keel_labels_total", {"model": "toy", "outcome": outcome})
        for outcome in outcomes
    ]
    assert counts == [2, 1, 1, 1]
    put(spool, block("early"))
    shipper.ship()
    assert ws.store.predictions("toy", CONFIG.features).label_counts(NOON, END) == (2, 2)


def test_ship_stores_rows_of_a_model_that_is_no_longer_configured(ws, spool, shipper):
    ws.store.predictions("gone", CONFIG.features)
    put(spool, block("a", model="gone"), LabelBlock("gone", ["a"], [1.0], [MICROS]))
    assert shipper.ship().rejected == 0
    assert stored(ws, "gone")["colour"].to_pylist() == ["red"]


def test_ship_reports_damage_once_and_stores_the_rest(ws, shipper, spool, tmp_path):
    put(spool, block("a"), block("damaged"), block("b"))
    [segment] = [path for path in (tmp_path / "spool").rglob("*.seg") if b"damaged" in path.read_bytes()]
    segment.write_bytes(segment.read_bytes().replace(b"damaged", b"Damaged"))
    while shipper.ship() is not None:
        pass
    assert stored_ids(ws) == ["a", "b"]
    assert spool.stats.dead_letters == 1
    [sentence] = undelivered_records(ws.store, "toy", run_id="one")
    assert "cannot be read" in sentence
    assert segment.name in sentence
    shipper.ship()
    assert undelivered_records(ws.store, "toy", run_id="two") == []


def test_ship_of_many_rejected_records_reports_few_sentences(ws, spool, shipper):
    put(spool, block("good"), *[block(f"{n}\x00") for n in range(12)])
    assert shipper.ship().rejected == 12
    sentences = undelivered_records(ws.store, "toy", run_id="one")
    assert len(sentences) == 6
    assert sentences[-1].startswith("7 more")


def test_ship_keeps_the_batch_if_every_record_fails_unexpectedly(ws, spool, shipper, monkeypatch):
    put(spool, block("a"), block("b"))
    with monkeypatch.context() as patch:
        patch.setattr(PredictionLog, "append", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            shipper.ship()
    assert (spool.stats.records, spool.stats.dead_letters) == (2, 0)
    shipper.ship()
    assert stored_ids(ws) == ["a", "b"]


def test_ship_stores_rows_from_before_a_feature_changed_its_kind(ws, spool, shipper_of):
    ws.store.predictions("toy", CONFIG.features)
    put(spool, block("a"))
    changed = toy_config(features={**CONFIG.features, "x": "categorical"})
    assert shipper_of({"toy": changed}).ship().rejected == 0
    assert stored(ws)["x"].to_pylist() == [1.5]
