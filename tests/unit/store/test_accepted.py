"""Accepted windows of the columns of a version, stored and deleted in the caller's transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from keel.store import accepted

if TYPE_CHECKING:
    from keel.store import Store

START = datetime(2026, 3, 2, tzinfo=UTC)
ROW = accepted.AcceptedCounts(
    model="toy",
    version=1,
    column="wind speed 💨",
    window_start=START,
    window_end=START + timedelta(days=7),
    grid_id="abc",
    payload=b"\x00counts\xff",
    accepted_by="ann",
    reason="it's the new normal; DROP TABLE alerts",
    accepted_at=START + timedelta(days=7, microseconds=1),
)


def put(store: Store, row: accepted.AcceptedCounts) -> None:
    with store.begin() as connection:
        accepted.put(connection, row)


def test_a_row_comes_back_as_it_was_stored(store: Store) -> None:
    put(store, ROW)
    assert store.accepted.of_version("toy", 1) == [ROW]
    assert store.accepted.of_version("toy", 2) == []
    assert store.accepted.of_version("other", 1) == []


def test_a_later_row_of_a_column_is_the_one_from_its_end_on(store: Store) -> None:
    then = START + timedelta(days=14)
    later = replace(ROW, payload=b"later", accepted_by="ben", window_end=then, accepted_at=then)
    put(store, later)
    put(store, ROW)
    put(store, replace(ROW, column="a", version=2))
    assert store.accepted.of_version("toy", 1) == [later]
    assert store.accepted.of_version("toy", 1, until=then) == [later]
    assert store.accepted.of_version("toy", 1, until=then - timedelta(hours=1)) == [ROW]
    assert store.accepted.of_version("toy", 1, until=ROW.window_end - timedelta(hours=1)) == []


def test_a_row_of_the_same_end_replaces_the_first_and_what_was_accepted_last_counts(store: Store) -> None:
    wide = replace(ROW, window_end=START + timedelta(days=14))
    again = replace(ROW, window_start=START + timedelta(days=1), accepted_at=ROW.accepted_at + timedelta(days=9))
    put(store, ROW)
    put(store, wide)
    put(store, again)
    assert store.accepted.of_version("toy", 1) == [again]
    with store.begin() as connection:
        accepted.delete(connection, "toy", 1, ROW.column)
    assert store.accepted.of_version("toy", 1) == []


def test_a_deleted_row_is_gone_and_the_others_stay(store: Store) -> None:
    put(store, ROW)
    put(store, replace(ROW, column="a"))
    with store.begin() as connection:
        accepted.delete(connection, "toy", 1, "a")
        accepted.delete(connection, "toy", 1, "never accepted")
    assert store.accepted.of_version("toy", 1) == [ROW]


def test_a_transaction_that_fails_leaves_what_was_there(store: Store) -> None:
    put(store, ROW)

    def replace_and_fail() -> None:
        with store.begin() as connection:
            accepted.put(connection, replace(ROW, reason="another"))
            raise RuntimeError("the process ends")

    with pytest.raises(RuntimeError):
        replace_and_fail()
    assert store.accepted.of_version("toy", 1) == [ROW]
