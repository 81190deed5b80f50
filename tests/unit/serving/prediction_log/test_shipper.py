"""From the spool to a real store: once, whatever happens on the way."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime

import adbc_driver_sqlite.dbapi
import msgspec
import pytest

from keel.errors import StoreUnavailable
from keel.serving.metrics import Metrics
from keel.serving.prediction_log.records import LabelBlock, PredictionBlock, encode, packed
from keel.serving.prediction_log.shipper import SpoolShipper
from keel.serving.prediction_log.spool import Durability, Spool
from keel.store import PredictionLog, Store
from keel.store.undelivered import undelivered_records
from keel.workspace import Workspace
from tests.support.toy import toy_config

CONFIG = toy_config()
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MICROS = int(NOON.timestamp() * 1e6)


@pytest.fixture
def ws(tmp_path, migrated_sqlite):
    shutil.copy(migrated_sqlite, tmp_path / "keel.db")
    with Store.open(f"sqlite:///{tmp_path / 'keel.db'}", timeout=0.3) as store:
        yield Workspace(tmp_path, store, None)


@pytest.fixture
def spool(tmp_path):
    opened = Spool.open(tmp_path / "spool", durability=Durability.WRITE)
    yield opened
    opened.close()


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def drain(ws, spool, metrics, tmp_path):
    return SpoolShipper(ws, {"toy": CONFIG}, spool, metrics, folder=tmp_path / "spool")


def block(*ids, model="toy", version=3, **changes):
    n = len(ids)
    plain = PredictionBlock(
        model, list(ids), [MICROS + i for i in range(n)], [version] * n, packed([0.25] * n), packed([0.0] * n),
        ["x", "z"], packed([[1.5, None]] * n), {"colour": ["red"] * n},
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def put(spool, *blocks):
    spool.append([b if isinstance(b, bytes) else encode(b) for b in blocks]).result(10)


def stored(ws, model="toy"):
    [table] = ws.store.predictions(model, CONFIG.features).read(NOON, datetime(2026, 1, 2, tzinfo=UTC))
    return table


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels)


def test_what_is_answered_reaches_the_store_and_leaves_the_spool(ws, spool, drain, metrics):
    arms = {"arms": ["champion", "challenger"], "allocations": packed([0.9, 0.1]), "entities": ["ann", None],
            "experiment": "exp"}  # fmt: skip
    put(spool, block("a", "b", **arms), block("c", version=4))
    assert drain.move().records == 2
    assert drain.move() is None
    assert spool.stats.records == 0
    table = stored(ws)
    assert sorted(table["id"].to_pylist()) == ["a", "b", "c"]
    assert table["colour"].to_pylist() == ["red"] * 3
    allocations = ws.store.predictions("toy", CONFIG.features).allocations(NOON, datetime(2026, 1, 2, tzinfo=UTC))
    assert allocations.select(["id", "version", "arm", "allocation"]).to_pylist() == [
        {"id": "a", "version": 3, "arm": "champion", "allocation": 0.9},
        {"id": "b", "version": 3, "arm": "challenger", "allocation": 0.1},
    ]
    assert value(metrics, "keel_stored_total", model="toy", outcome="stored") == 3


def test_a_try_that_fails_once_is_forgotten_when_nothing_waits(spool, drain, monkeypatch):
    adopt, tries = spool.adopt, []

    def failing_once():
        tries.append(1)
        if len(tries) == 1:
            raise OSError("the folder cannot be listed")
        return adopt()

    monkeypatch.setattr(spool, "adopt", failing_once)
    monkeypatch.setattr("keel.serving.prediction_log.shipper.ADOPT_SECONDS", 0.0)
    drain.start()
    assert until(lambda: len(tries) > 1 and drain.error is None)
    begun = time.monotonic()
    assert drain.stop(30)
    assert time.monotonic() - begun < 15, "or it would wait for a store that nobody needs"


def test_a_batch_that_comes_twice_is_there_once(ws, spool, drain, metrics, monkeypatch):
    put(spool, block("a", "b"))
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "acknowledge", lambda *_: pytest.fail("killed here"))
        with pytest.raises(pytest.fail.Exception):
            drain.move()
    assert sorted(stored(ws)["id"].to_pylist()) == ["a", "b"], "it was stored, and then the process was gone"
    drain.move()
    assert sorted(stored(ws)["id"].to_pylist()) == ["a", "b"]
    assert value(metrics, "keel_stored_total", model="toy", outcome="duplicate") == 2
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
def test_a_record_that_no_store_will_take_is_set_aside_and_told_and_holds_up_nothing(bad, ws, spool, drain, tmp_path):
    good = [block(f"{n}") for n in range(5)]
    put(spool, *good[:2], bad, *good[2:], LabelBlock("toy", ["0"], [1.0], [MICROS]))
    moved = drain.move()
    names = set(stored(ws)["id"].to_pylist())
    assert names >= {"0", "1", "2", "3", "4"}
    if isinstance(bad, PredictionBlock) and names > {"0", "1", "2", "3", "4"}:
        pytest.fail(f"the store took {names}")
    assert moved.rejected == 1
    assert moved.labels == 1
    assert spool.stats.records == 0
    assert spool.stats.set_aside == 1
    [told] = undelivered_records(ws.store, "toy", run_id="one")
    assert "of toy could not be stored" in told
    assert str(tmp_path / "spool" / "set-aside") in told
    assert undelivered_records(ws.store, "toy", run_id="one") == [told], "the same run may have told nobody"
    assert undelivered_records(ws.store, "toy", run_id="two") == [], "once"


def test_a_value_of_another_type_is_stored_as_it_came_beside_others(ws, spool, drain):
    odd = block("odd", numeric=["z"], numbers=packed([1.0]), texts={"x": ["one"], "colour": ["red"]})
    put(spool, block("a"), odd, block("b"))
    assert drain.move().rejected == 0
    tables = ws.store.predictions("toy", CONFIG.features).read(NOON, datetime(2026, 1, 2, tzinfo=UTC))
    found = {row["id"]: row["x"] for table in tables for row in table.to_pylist()}
    assert found.pop("odd") == "one"
    assert {name: float(x) for name, x in found.items()} == {"a": 1.5, "b": 1.5}


def test_while_the_store_is_locked_everything_waits_and_then_goes(ws, spool, drain, metrics, tmp_path):
    put(spool, block("before"))
    drain.move()
    other = adbc_driver_sqlite.dbapi.connect(str(tmp_path / "keel.db"), autocommit=True)
    with other.cursor() as cursor:
        cursor.execute("BEGIN EXCLUSIVE")
        put(spool, block("a"), LabelBlock("toy", ["a"], [1.0], [MICROS]))
        with pytest.raises(StoreUnavailable):
            drain.move()
        assert spool.stats.records == 2
        assert spool.stats.set_aside == 0
        drain.start()
        assert until(lambda: drain.error is not None)
        assert drain.is_alive()
        cursor.execute("ROLLBACK")
    other.close()
    assert until(lambda: not spool.stats.records)
    assert until(lambda: drain.error is None)
    assert drain.stop(5)
    assert set(stored(ws)["id"].to_pylist()) == {"before", "a"}
    assert value(metrics, "keel_drain_failures_total", kind="StoreUnavailable") >= 1
    assert value(metrics, "keel_spool_records") == 0


def test_it_stops_in_time_when_the_store_does_not_answer_and_leaves_the_rest(ws, spool, drain, tmp_path):
    other = adbc_driver_sqlite.dbapi.connect(str(tmp_path / "keel.db"), autocommit=True)
    put(spool, block("a"))
    ws.store.predictions("toy", CONFIG.features)
    with other.cursor() as cursor:
        cursor.execute("BEGIN EXCLUSIVE")
        drain.start()
        began = time.monotonic()
        assert not drain.stop(1.0)
        assert time.monotonic() - began < 2.5
        cursor.execute("ROLLBACK")
    other.close()
    assert spool.stats.records == 1


def test_stopping_brings_what_waits(ws, spool, drain):
    for n in range(50):
        put(spool, block(f"{n}"))
    drain.start()
    assert drain.stop(10)
    assert stored(ws).num_rows == 50


def test_what_does_not_fit_into_a_batch_does_not_wait_for_the_next_look(ws, spool, drain, monkeypatch):
    monkeypatch.setattr("keel.serving.prediction_log.shipper.BATCH_BYTES", 1)
    monkeypatch.setattr("keel.serving.prediction_log.shipper.PAUSE_SECONDS", 60.0)
    for n in range(5):
        put(spool, block(f"{n}"))
    drain.start()
    assert until(lambda: not spool.stats.records)
    assert drain.stop(10)
    assert stored(ws).num_rows == 5


def test_every_label_has_its_outcome(ws, spool, drain, metrics):
    labels = LabelBlock("toy", ["a", "a", "a", "early"], [1.0, 1.0, 0.0, 0.0], [MICROS] * 4)
    put(spool, labels, block("a"))  # in one batch, the prediction is there first
    drain.move()
    outcomes = {o: value(metrics, "keel_labels_total", model="toy", outcome=o)
                for o in ("stored", "duplicate", "conflict", "unmatched")}  # fmt: skip
    assert outcomes == {"stored": 2, "duplicate": 1, "conflict": 1, "unmatched": 1}
    put(spool, block("early"))
    drain.move()
    assert ws.store.predictions("toy", CONFIG.features).label_counts(NOON, datetime(2026, 1, 2, tzinfo=UTC)) == (2, 2)


def test_what_was_answered_for_a_model_no_longer_configured_is_stored_all_the_same(ws, spool, drain):
    ws.store.predictions("gone", CONFIG.features)
    put(spool, block("a", model="gone"), LabelBlock("gone", ["a"], [1.0], [MICROS]))
    assert drain.move().rejected == 0
    assert stored(ws, "gone")["colour"].to_pylist() == ["red"]


def test_damage_on_the_disk_is_told_and_the_rest_is_stored(ws, drain, spool, metrics, tmp_path):
    put(spool, block("a"), block("damaged"), block("b"))
    [segment] = [path for path in (tmp_path / "spool").rglob("*.seg") if b"damaged" in path.read_bytes()]
    content = segment.read_bytes()
    segment.write_bytes(content.replace(b"damaged", b"Damaged"))
    while drain.move() is not None:
        pass
    assert sorted(stored(ws)["id"].to_pylist()) == ["a", "b"]
    assert spool.stats.set_aside == 1
    [told] = undelivered_records(ws.store, "toy", run_id="one")
    assert "cannot be read any more" in told
    drain.move()
    assert undelivered_records(ws.store, "toy", run_id="two") == []


def test_many_that_were_set_aside_are_told_in_few_words(ws, spool, drain):
    put(spool, block("good"), *[block(f"{n}\x00") for n in range(12)])
    assert drain.move().rejected == 12
    told = undelivered_records(ws.store, "toy", run_id="one")
    assert len(told) == 6
    assert told[-1].startswith("7 more")


def test_what_fails_twice_for_no_known_reason_is_set_aside_while_others_go(ws, spool, drain, monkeypatch):
    append = PredictionLog.append

    def failing(log, table):
        if "odd" in table["id"].to_pylist():
            raise RuntimeError("a bug that only this row wakes")
        return append(log, table)

    put(spool, block("a"), block("odd"), block("b"))
    with monkeypatch.context() as patch:
        patch.setattr(PredictionLog, "append", failing)
        assert drain.move().rejected == 1
    assert sorted(stored(ws)["id"].to_pylist()) == ["a", "b"]


def test_what_was_answered_before_a_feature_became_another_kind_is_stored_as_it_was(ws, spool, metrics, tmp_path):
    ws.store.predictions("toy", CONFIG.features)
    put(spool, block("a"))
    changed = toy_config(features={**CONFIG.features, "x": "categorical"})
    assert SpoolShipper(ws, {"toy": changed}, spool, metrics, folder=tmp_path).move().rejected == 0
    assert stored(ws)["x"].to_pylist() == [1.5]


def test_a_bug_keeps_the_batch_where_it_is(ws, spool, drain, monkeypatch):
    put(spool, block("a"), block("b"))
    with monkeypatch.context() as patch:
        patch.setattr(PredictionLog, "append", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            drain.move()
    assert spool.stats.records == 2
    assert spool.stats.set_aside == 0
    drain.move()
    assert sorted(stored(ws)["id"].to_pylist()) == ["a", "b"]


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
