"""The page of a check, whatever of its records exists."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from keel.monitoring.alarms import Judgement, Verdict
from keel.monitoring.records import StoredDriftReport
from keel.reports.check import CheckData, page
from keel.reports.page import ColumnCards, Page, Paragraph
from keel.reports.text import plain
from keel.window import Window
from tests.support.checks.cases import CASES, data, performance, rng, steady
from tests.support.live.alarms import live_alarm
from tests.support.toy import START, toy_config

WINDOW = Window(START, START + timedelta(days=7))


def test_page_without_any_record_says_what_is_missing() -> None:
    shown = page(CheckData(toy_config(), 1, WINDOW))
    assert shown.headline == "No report of this window is stored."
    assert shown.tag is not None
    assert shown.tag.text == "not checked"
    texts = {section.title: section.blocks[0] for section in shown.sections}
    for title in ("Does it hurt?", "Columns", "Data quality", "Labels", "What was decided"):
        block = texts[title]
        assert isinstance(block, Paragraph), title
        assert "stored" in block.text, title
    assert "keel report toy --window 2026-01-01T00:00Z/2026-01-08T00:00Z --json" in shown.footer[-1]


def cards_of(shown: Page) -> ColumnCards:
    return next(block for section in shown.sections for block in section.blocks if isinstance(block, ColumnCards))


@pytest.mark.parametrize("increase", [0.0099, -0.002])
def test_headline_without_shown_harm_does_not_exclude_it(increase: float) -> None:
    measured = performance(value=0.166 + increase, increase=increase)
    shown = page(replace(CASES["all_clear"](), performance=measured))
    assert shown.headline == "Nothing has changed, and predictions are not shown to be worse."
    assert "limit 0.01" in shown.lead


@pytest.mark.parametrize("are_earlier", [True, False])
def test_page_of_a_confirmed_alarm_does_not_answer_by_labels_from_before_its_change(are_earlier: bool) -> None:
    labelled = Window(START - timedelta(days=1), START)
    alarm = live_alarm("x", since=labelled.end if are_earlier else labelled.start)
    measured = performance(value=0.16, increase=-0.002).model_copy(update={"window": labelled})
    judged = (Judgement(alarm, Verdict.CONFIRMED),)
    shown = page(replace(CASES["all_clear"](), performance=measured, alarms=judged, decision=None))
    assert ("there are no labels yet to show whether it hurts" in shown.headline) is are_earlier
    assert ("not shown to be worse" in shown.headline) is not are_earlier
    assert ("from before the change" in shown.lead) is are_earlier


@pytest.mark.parametrize(
    ("metric", "loss"),
    [("roc_auc", "Brier score"), ("accuracy", "error rate"), ("log_loss", "log loss"), ("brier", "Brier score")],
)
def test_impacts_are_named_by_the_loss_of_a_row(metric: str, loss: str) -> None:
    config = toy_config(drift={"min_rows": 200}, performance={"metric": metric})
    check = data(steady(500, 1), {**steady(500, 2), "x": rng(2).normal(2.0, 1.0, 500)}, config=config)
    assert check.drift is not None
    estimates = {metric: {"value": 0.7, "standard_error": 0.01, "n": 900}}
    check = replace(
        check,
        performance=performance(metric=metric, current=estimates, reference=estimates),
        drift=check.drift.model_copy(update={"impact_total": 0.02}),
    )
    shown = page(check)
    assert cards_of(shown).impact_unit == loss
    columns = next(section for section in shown.sections if section.title.startswith("Columns"))
    assert isinstance(columns.blocks[0], Paragraph)
    assert f"costs +0.02 in the {loss}" in columns.blocks[0].text


def test_page_of_an_old_check_names_its_own_limits_and_not_those_configured_now() -> None:
    then = CASES["harm_promoted"]()
    now = toy_config(
        drift={"min_rows": 9, "drift_share": 0.9, "psi_warn": 0.4, "psi_alert": 0.7},
        performance={"metric": "log_loss", "max_degradation": 0.5},
        target={"name": "bought", "label_delay": "9d"},
        alerts={"email": ["oncall@example.com"], "runbook": "https://runbooks.example.com/toy"},
    )
    without_labels = replace(then, labels=None)
    assert page(replace(without_labels, config=now)) == page(without_labels)


def test_page_of_a_check_of_an_earlier_release_names_no_limit_that_it_does_not_have() -> None:
    check = CASES["drift_without_labels"]()
    assert check.drift is not None
    assert "30% or more" in plain(page(check))
    body = check.drift.model_dump(mode="json")
    for name in ("min_rows", "psi_warn", "psi_alert", "drift_share"):
        del body[name]
    old = replace(check, drift=StoredDriftReport.from_dict(body))
    assert "or more is a drifted window" not in plain(page(old))


def test_page_without_predictions_names_where_the_service_answers() -> None:
    commands = plain(page(CASES["no_rows"]()))
    assert "/health" in commands
    assert "keel status" not in commands
