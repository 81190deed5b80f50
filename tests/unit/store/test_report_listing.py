"""Reports page by page: the order is total, no page repeats or misses one, and no body is read."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from keel.store.report_listing import ReportHeader, find_header, list_reports
from tests.support.store_fixtures import NOON

if TYPE_CHECKING:
    from keel.store import Store

HOUR = timedelta(hours=1)


@pytest.fixture
def filled(store: Store) -> Store:
    """Twelve reports of two models; those of one number are of the same moment."""
    for number in range(4):
        for name, model, kind in (("a", "one", "drift"), ("b", "one", "performance"), ("c", "two", "drift")):
            end = NOON + number * HOUR
            about = (f"{name}{number}", model, 1 + number % 2, kind, end - HOUR, end, "ok", {}, end)
            store.reports.put(*about)
    return store


def ids(found: list[ReportHeader]) -> list[str]:
    return [each.report_id for each in found]


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_pages_together_are_all_reports_once_and_newest_first(filled: Store, size: int) -> None:
    pages: list[ReportHeader] = []
    while page := list_reports(filled, ["one", "two"], limit=size, before=pages[-1] if pages else None):
        pages += page
    assert ids(pages) == [f"{name}{number}" for number in (3, 2, 1, 0) for name in "cba"]


def test_report_that_comes_meanwhile_shifts_no_page(filled: Store) -> None:
    first = list_reports(filled, ["two"], limit=2)
    filled.reports.put("c9", "two", 1, "drift", NOON, NOON + HOUR, "ok", {}, NOON + 9 * HOUR)
    assert ids(list_reports(filled, ["two"], limit=2, before=first[-1])) == ["c1", "c0"]


def test_filters_together_are_all_applied(filled: Store) -> None:
    found = list_reports(filled, ["one"], kind="drift", version=1, since=NOON + HOUR, until=NOON + 2 * HOUR, limit=10)
    assert ids(found) == ["a2"]
    assert list_reports(filled, [], limit=10) == []
    assert ids(list_reports(filled, ["two"], since=NOON + 3 * HOUR, limit=10)) == ["c3"]


def test_header_has_all_but_the_body(filled: Store) -> None:
    header = find_header(filled, "a1")
    assert header is not None
    stored = filled.reports.get("a1")
    assert stored is not None
    assert {name: stored[name] for name in header.__dict__} == header.__dict__
    assert isinstance(header.created_at, datetime)
    assert find_header(filled, "a9") is None
