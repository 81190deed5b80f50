"""A year of checks and what each person is sent of it: little, the real incident at once, and an end for each alert.

The figures of whole years are those of ``python -m benchmarks.alert_year`` and ``… alert_reports``.
"""

from __future__ import annotations

import math
import os

import pytest

from benchmarks.alert_reports import simulate
from benchmarks.alert_world import NULL, YEAR, Stretch, World, config_of
from benchmarks.alert_world import Year as PassedYear
from benchmarks.alert_year import simulate as simulate_with_rows
from keel.alerts.budget import promise
from keel.alerts.records import Change

FULL = bool(os.environ.get("KEEL_FULL_SIZE"))
NULL_YEARS = 20 if FULL else 1
NULL_CHECKS = YEAR if FULL else YEAR // 3
MONTHS = NULL_CHECKS / 120


def assert_each_beginning_has_one_end(year: PassedYear) -> None:
    for changes in year.changes.values():
        assert changes.count(Change.FIRING) <= 1
        assert changes.count(Change.RESOLVED) <= 1
        if changes[0] is not Change.RESOLVED:  # what began and ended within one digest is told as over
            assert changes[0] in (Change.FIRING, Change.EVENT), changes
            assert Change.RESOLVED not in changes[:-1]


def test_year_of_checks_sends_few_messages_and_the_incident_at_once(tmp_path):
    year = simulate(tmp_path, seed=1)
    assert year.checks == YEAR
    assert year.harm_found is not None
    assert year.harm_told == year.harm_found
    for person, messages in year.sent.items():
        assert messages <= 24, person
        assert messages <= year.naive / 20, person
    assert any(Change.ESCALATED in changes for changes in year.changes.values())
    assert_each_beginning_has_one_end(year)


def test_whole_loop_with_live_monitors_tells_an_incident_in_the_check_that_finds_it(tmp_path):
    """Rows, labels, counts, monitors, decisions: everything is stored and read as in an installation."""
    if FULL:
        year = simulate_with_rows(tmp_path, seed=1).year
    else:
        # The labels of the incident's window are complete: on fewer, a check can decide before it may tell.
        world = World(price_from=4, wavers=Stretch(6, 16), no_labels=Stretch(8, 11), incident=Stretch(22, 26), season=0)
        year = simulate_with_rows(tmp_path, checks=120, world=world, seed=1).year
    assert year.blocks > year.checks
    assert year.harm_found is not None
    assert year.harm_told == year.harm_found
    assert max(year.sent.values()) <= (24 if FULL else 12)
    assert max(year.sent.values()) <= year.naive / (20 if FULL else 6)
    assert_each_beginning_has_one_end(year)


@pytest.mark.parametrize("budget", [2, 20])
def test_chance_alone_sends_no_more_than_is_promised(tmp_path, budget):
    """In years in which nothing is wrong; twenty messages a month leave a check its own error rate, nearly."""
    sent = []
    for seed in range(NULL_YEARS):
        year = simulate(tmp_path, checks=NULL_CHECKS, world=NULL, seed=seed, budget=budget, digest=None)
        sent.append(max(year.sent.values(), default=0))
        assert_each_beginning_has_one_end(year)
    made = promise([config_of(budget=budget)])
    expected = made.expected(made.people[0]) * MONTHS * NULL_YEARS
    assert expected <= budget * MONTHS * NULL_YEARS
    assert sum(sent) <= expected + 3 * math.sqrt(2 * expected), sent  # they come in pairs
