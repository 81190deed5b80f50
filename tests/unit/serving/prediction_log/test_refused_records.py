"""Records that the store refuses for a reason nobody foresaw: nothing behind them waits, and none is lost."""

from __future__ import annotations

import contextlib

import pytest
import sqlalchemy as sa

from keel.errors import SpoolFailed, StoreUnavailable
from keel.serving.prediction_log import delivery
from keel.serving.prediction_log.delivery import TRIES, Delivery
from keel.serving.prediction_log.records import LabelBlock, encode
from keel.serving.prediction_log.shipper import PATIENCE
from keel.serving.prediction_log.spool import Durability, Spool
from keel.serving.prediction_log.store_writer import LONGEST_REASON, reason_of
from keel.store.undelivered import undelivered_records
from tests.support.serving.spooled import CONFIG, MICROS, block, put, stored_ids
from tests.support.waiting import until

# what the store says; the second is of the kind that a store says while it is down
REASONS = ["nobody foresaw this", "disk I/O error"]


@contextlib.contextmanager
def refusing(ws, reason):
    """Let the store refuse rows whose id begins with ``odd``."""
    ws.store.predictions("toy", CONFIG.features)  # creates the table
    when = "BEFORE INSERT ON predictions_toy WHEN NEW.id LIKE 'odd%'"
    with ws.store.begin() as connection:
        connection.execute(sa.text(f"CREATE TRIGGER refuse {when} BEGIN SELECT RAISE(ABORT, '{reason}'); END"))
    yield
    with ws.store.begin() as connection:
        connection.execute(sa.text("DROP TRIGGER refuse"))


@pytest.fixture
def left(tmp_path):
    """A spool folder that an ended process left, with nothing but refused records."""
    with contextlib.closing(Spool.open(tmp_path / "spool", durability=Durability.WRITE)) as spool:
        put(spool, block("odd-1"), block("odd-2"))


@pytest.mark.parametrize("reason", REASONS)
def test_refused_records_of_an_ended_process_hold_up_nothing(ws, left, spool, shipper_of, reason):
    with refusing(ws, reason):
        put(spool, block("a"), LabelBlock("toy", ["a"], [1.0], [MICROS]), block("b"))
        shipper = shipper_of(retry_seconds=0.05)
        shipper.start()
        until(lambda: stored_ids(ws) == ["a", "b"])
        until(lambda: shipper.error is None and spool.stats.records == 2)
        assert (spool.stats.deferred, spool.stats.dead_letters) == (2, 0)
        assert reason in shipper.refusal
    until(lambda: stored_ids(ws) == ["a", "b", "odd-1", "odd-2"])
    assert shipper.stop(10)
    assert (spool.stats.records, spool.stats.dead_letters, shipper.refusal) == (0, 0, None)


def test_record_that_is_refused_for_good_becomes_a_dead_letter_after_the_stated_tries(
    ws, left, spool, shipper_of, tmp_path
):
    shipper, reason = shipper_of(retry_seconds=0.0), REASONS[0]
    with refusing(ws, reason):
        put(spool, block("a"))
        shipper.start()
        until(lambda: spool.stats.dead_letters == 2, 30)
        until(lambda: stored_ids(ws) == ["a"])
        assert shipper.stop(10)
    [one, other] = undelivered_records(ws.store, "toy", run_id="one")
    for sentence in (one, other):
        assert f"refused {TRIES} times, the last time with: " in sentence
        assert reason in sentence
        assert str(tmp_path / "spool" / "dead-letters") in sentence
    assert not spool.stats.records


def test_refused_record_among_others_waits_aside_and_is_stored_later(ws, spool, shipper_of):
    shipper = shipper_of(retry_seconds=0.0)
    with refusing(ws, REASONS[0]):
        put(spool, block("a"), block("odd"), block("b"))
        shipment = shipper.ship()
        assert (shipment.rejected, shipment.refused, stored_ids(ws)) == (0, 1, ["a", "b"])
        shipper.retry()
        assert spool.stats.deferred == 1
    shipper.retry()
    assert (stored_ids(ws), spool.stats.records) == (["a", "b", "odd"], 0)


def next_of(spool):
    return spool.next_batch(99, 2**20)


@pytest.fixture
def delivering(ws, metrics, tmp_path):
    return Delivery(ws, {"toy": CONFIG}, metrics, tmp_path / "spool")


def test_record_whose_table_is_unavailable_is_tried_again_for_as_long_as_it_is(ws, spool, delivering):
    with refusing(ws, REASONS[1]):
        put(spool, block("odd-1"), block("odd-2"))
        assert delivering.deliver(spool, next_of(spool), isolate=True).refused == 2
        for _ in range(TRIES + 1):
            assert delivering.deliver_again(spool, spool.deferred, next_of(spool.deferred)).refused == 2
        assert REASONS[1] in delivering.refusal
    delivering.deliver_again(spool, spool.deferred, next_of(spool.deferred))
    assert (stored_ids(ws), delivering.refusal) == (["odd-1", "odd-2"], None)
    assert (spool.stats.records, spool.stats.dead_letters) == (0, 0)


def test_refused_record_without_space_to_wait_is_a_dead_letter_and_those_that_wait_are_tried_on(
    ws, tmp_path, delivering
):
    folder, size = tmp_path / "small", len(encode(block("odd-1")))
    with (
        contextlib.closing(Spool.open(folder, durability=Durability.WRITE, max_bytes=2 * size - 1)) as spool,
        refusing(ws, REASONS[0]),
    ):
        put(spool, block("odd-1"))
        assert delivering.deliver(spool, next_of(spool), isolate=True).refused == 1
        put(spool, b"no record", block("odd-2"))
        shipment = delivering.deliver(spool, next_of(spool), isolate=True)
        assert (shipment.rejected, shipment.refused) == (2, 0)
        put(spool, block("a"))
        delivering.deliver(spool, next_of(spool))
        assert stored_ids(ws) == ["a"]
        for _ in range(2):
            assert delivering.deliver_again(spool, spool.deferred, next_of(spool.deferred)).refused == 1
        assert (spool.stats.records, spool.stats.deferred, len(spool.stats.damage)) == (1, 1, 2)
    found = [path.read_bytes() for path in (folder / "dead-letters").iterdir()]
    assert sum(b"without space to try it again later" in each and b"odd-2" in each for each in found) == 1


def test_batch_whose_refused_records_cannot_wait_aside_adds_no_dead_letter_before_it_is_tried_again(
    ws, spool, delivering
):
    with refusing(ws, REASONS[0]):
        put(spool, block("odd-1"))
        delivering.deliver(spool, next_of(spool), isolate=True)
        spool.deferred.close()
        put(spool, b"no record", block("odd-2"))
        for _ in range(2):
            with pytest.raises(SpoolFailed):
                delivering.deliver(spool, next_of(spool), isolate=True)
        assert (len(next_of(spool).records), spool.stats.dead_letters) == (2, 0)


def test_time_without_a_store_is_no_try(ws, spool, shipper_of, locked):
    put(spool, block("a"))
    shipper = shipper_of(retry_seconds=0.0)
    for _ in range(PATIENCE + 2):
        with pytest.raises(StoreUnavailable):
            shipper.ship()
    spool.defer(spool.next_batch(1, 1), [0])
    for _ in range(TRIES + 1):
        with contextlib.suppress(StoreUnavailable):
            shipper.retry()
    assert (spool.stats.deferred, spool.stats.dead_letters) == (1, 0)
    locked.execute("ROLLBACK")
    shipper.ship()
    assert stored_ids(ws) == ["a"]


def test_process_that_ends_while_records_wait_aside_leaves_them_to_the_next(ws, tmp_path, shipper_of, spool):
    shipper = shipper_of()
    with refusing(ws, REASONS[0]):
        with contextlib.closing(Spool.open(tmp_path / "spool", durability=Durability.WRITE)) as ended:
            put(ended, block("odd"), block("a"))
            batch = ended.next_batch(2, 999)
            ended.defer(batch, [0])  # ends before it acknowledges the batch
        assert spool.adopt() == 2
        for _ in range(PATIENCE + 4):
            with contextlib.suppress(Exception):
                shipper.ship()
    while shipper.ship() is not None:
        pass
    until(lambda: (shipper.retry(), stored_ids(ws) == ["a", "odd"])[1])


def test_record_that_cannot_be_decoded_for_any_reason_holds_up_nothing(ws, spool, shipper, monkeypatch):
    from keel.serving.prediction_log import store_writer

    decode = store_writer.decode

    def failing(record):
        if b"odd" in record:
            raise RecursionError("nobody foresaw this")
        return decode(record)

    put(spool, block("odd"), block("a"))
    with monkeypatch.context() as patch:
        patch.setattr(store_writer, "decode", failing)
        patch.setattr(delivery, "model_of", lambda _: "toy")
        assert shipper.ship().rejected == 1
    assert stored_ids(ws) == ["a"]


def test_reason_is_one_short_line_with_the_end_that_says_what_is_wrong():
    long = reason_of(ValueError(f"INSERT INTO predictions\n{'x, ' * 9_000}\nERROR: nobody foresaw this"))
    assert len(long) <= LONGEST_REASON
    assert long.startswith("ValueError: INSERT INTO predictions x, x,")
    assert long.endswith("ERROR: nobody foresaw this")
    assert "\n" not in long
    assert reason_of(ValueError("short")) == "ValueError: short"


def test_write_test_of_the_store_leaves_nothing_and_fails_if_it_is_locked(ws, locked):
    with pytest.raises(StoreUnavailable):
        ws.store.require_writable()
    locked.execute("ROLLBACK")
    ws.store.require_writable()
    with ws.store.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM reports")).scalar_one() == 0
