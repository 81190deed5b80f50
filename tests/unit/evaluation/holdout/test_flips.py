"""Flips are counted row by row, whatever the segments hold."""

from __future__ import annotations

import json

import numpy as np
import pytest

from keel.evaluation.holdout.flips import MAX_SEGMENTS, count_flips

N = 4_000


@pytest.fixture(scope="module")
def decisions():
    rng = np.random.default_rng(5)
    champion = (rng.uniform(size=N) < 0.3).astype(float)
    challenger = np.where(rng.uniform(size=N) < 0.1, 1 - champion, champion)
    champion[::500] = np.nan
    carriers = np.array(["UA", "B6", None, "<img src=x>"], dtype=object)[rng.integers(0, 4, N)]
    return champion, challenger, carriers


def brute_force(champion, challenger, of=lambda row: True, size=0.0):
    """Count one row after another."""
    counts = {"n": 0, "changed": 0, "up": 0, "down": 0}
    for row, (old, new) in enumerate(zip(champion.tolist(), challenger.tolist(), strict=True)):
        if old != old or new != new or not of(row):
            continue
        counts["n"] += 1
        if abs(new - old) > size:
            counts["changed"] += 1
            counts["up" if new > old else "down"] += 1
    return counts


def test_flips_of_decisions_equal_a_count_row_by_row(decisions):
    champion, challenger, carriers = decisions
    found = count_flips(champion, challenger, {"carrier": carriers})
    assert {name: found[name] for name in ("n", "changed", "up", "down")} == brute_force(champion, challenger)
    assert found["unusable"] == 8
    assert len(found["segments"]["found"]) == 4
    for segment in found["segments"]["found"]:
        value = None if segment["value"] == "(missing)" else segment["value"]
        expected = brute_force(champion, challenger, lambda row, value=value: carriers[row] == value)
        assert {name: segment[name] for name in expected} == expected


def test_flips_of_values_count_changes_beyond_the_size(decisions):
    rng = np.random.default_rng(1)
    champion, challenger = rng.normal(size=N), rng.normal(size=N)
    found = count_flips(champion, challenger, {}, size=1.5)
    expected = brute_force(champion, challenger, size=1.5)
    assert {name: found[name] for name in expected} == expected
    assert found["size"] == 1.5
    assert found["change"]["value"][2] == pytest.approx(np.median(challenger - champion))


def test_flips_list_the_segments_that_change_most_and_count_the_others():
    n = 60
    values = np.repeat([f"s{number:02}" for number in range(30)], n).astype(object)
    champion, challenger = np.zeros(30 * n), np.zeros(30 * n)
    for number in range(30):
        challenger[number * n : number * n + number] = 1
    found = count_flips(champion, challenger, {"s": values, "id": np.arange(30 * n).astype(object)})["segments"]
    assert [segment["value"] for segment in found["found"]] == [f"s{29 - k:02}" for k in range(MAX_SEGMENTS)]
    assert found["not_listed"] == 10


def test_flips_with_a_text_of_a_megabyte_stay_small():
    values = np.array(["x" * 1_000_000] * 60, dtype=object)
    assert len(json.dumps(count_flips(np.zeros(60), np.ones(60), {"text": values}))) < 1_000


@pytest.mark.parametrize("size", [None, 1.0])
def test_flips_without_rows_are_plain(size):
    found = count_flips(np.empty(0), np.empty(0), {"s": np.empty(0, dtype=object)}, size=size)
    assert found["n"] == found["changed"] == 0
    json.dumps(found, allow_nan=False)
