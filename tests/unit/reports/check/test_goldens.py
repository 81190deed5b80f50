"""The page of a check of every status, as files that a person looked at in a browser."""

from __future__ import annotations

from functools import cache

import pytest

from keel.monitoring.column_status import ColumnStatus
from keel.monitoring.labels import LabelStatus
from keel.monitoring.performance import PerformanceStatus
from keel.monitoring.quality import QualityStatus
from keel.monitoring.records import Action
from keel.reports.check import CheckData, page
from keel.reports.html import render
from tests.support.checks.cases import CASES, MARKUP
from tests.support.reports.goldens import FOLDER, require_golden


@cache
def case(name: str) -> CheckData:
    return CASES[name]()


@pytest.mark.parametrize("name", CASES)
def test_page_is_the_golden_file(name: str) -> None:
    require_golden(name, render(page(case(name))))


def test_no_golden_file_is_of_no_case() -> None:
    assert {path.stem for path in FOLDER.glob("*.html")} == {*CASES, "stored_by_0.1.0"}


def test_cases_have_every_status() -> None:
    checks = [case(name) for name in CASES]
    columns = {column.status for check in checks if check.drift for column in check.drift.features.values()}
    assert columns == {str(status) for status in ColumnStatus}
    assert {check.drift.status for check in checks if check.drift} == {"ok", "warn", "drift", "insufficient"}
    assert {check.quality.status for check in checks if check.quality} == {str(status) for status in QualityStatus}
    found = {check.performance.status for check in checks if check.performance}
    assert found == {str(status) for status in PerformanceStatus}
    assert {check.labels.status for check in checks if check.labels} == {str(status) for status in LabelStatus}
    actions = {check.decision.action for check in checks if check.decision}
    assert actions == {Action.ALL_CLEAR, Action.RAISE_ALERT, Action.RETRAIN, Action.QUARANTINE}
    kinds = {finding.kind for check in checks if check.labels for finding in check.labels.findings}
    assert kinds >= {"invalid", "single_value", "coverage", "base_rate", "late"}


def test_page_of_the_same_records_has_the_same_bytes() -> None:
    first, second = (render(page(CASES["harm_promoted"]())) for _ in range(2))
    assert first == second


def test_name_with_markup_is_text() -> None:
    html = render(page(case("names_with_markup")))
    assert MARKUP not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "\x1b" not in html
