"""Whoever follows the numbers while processes write and die reads each row once, and none is missed."""

from __future__ import annotations

import pytest

from tests.support.chaos.arrival_races import require_each_row_once


@pytest.mark.slow
def test_follower_of_concurrent_and_killed_writers_reads_each_row_once(store_url: str) -> None:
    assert require_each_row_once(store_url, rounds=8, kills=1) > 1_000
