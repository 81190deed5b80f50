"""The page of a backtest."""

from __future__ import annotations

import shlex

import pytest

from keel.reports import html, markdown, text
from keel.reports.backtest import build_page, command, headline, summary
from keel.reports.backtest.records import BacktestResult
from keel.reports.page import Figure
from tests.support.backtest.result import comparison, difference, policy, result, step


def test_headline_says_what_the_first_policy_did_and_what_that_was_worth():
    assert headline(result()) == (
        "The default policy would have retrained twice and promoted once, and lowered the Brier score by 0.012 against "
        "never retraining."
    )


@pytest.mark.parametrize(
    ("value", "metric", "words"),
    [
        (-0.012, "brier", "raised the Brier score by 0.012 against never"),
        (0.001, "brier", "its Brier score is lower by 0.001 than with never retraining, which may be chance"),
        (0.012, "roc_auc", "raised the area under the ROC curve by 0.012"),
        (-0.012, "roc_auc", "lowered the area under the ROC curve by 0.012"),
        (0.0, "brier", "gives the same Brier score as never retraining"),
        (None, "brier", "its Brier score over the whole span is 0.2"),
    ],
)
def test_headline_names_the_direction_of_the_metric(value, metric, words):
    found = difference(value, lower=value and value - 0.01, upper=value and value + 0.01)
    first = policy("default", [step(0)], differences=[found])
    first = first.model_copy(update={"metrics": {metric: first.metrics["brier"]}})
    assert words in headline(result(first, metric=metric, higher_is_better=metric == "roc_auc"))


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, "The default policy would never have retrained;"),
        ({"trainings": 19}, "would have retrained 19 times and promoted nothing;"),
        ({"trainings": 3, "promotions": 2, "rollbacks": 1}, "3 times and promoted twice and rolled back once;"),
    ],
)
def test_headline_says_how_often_what_happened(counts, words):
    assert words in headline(result(policy("default", [step(0)], **counts)))


def test_headline_of_one_policy_gives_its_metric():
    assert "its Brier score over the whole span is 0.2" in headline(result(policy("never", [step(0)])))


@pytest.mark.parametrize(
    ("lower", "upper", "words"),
    [(0.002, 0.022, "more than chance"), (-0.01, 0.034, "may be chance"), (None, None, "cannot be said")],
)
def test_lead_says_whether_a_difference_may_be_chance(lower, upper, words):
    first = policy("default", [step(0)], differences=[difference(lower=lower, upper=upper)])
    assert words in build_page(result(first, policy("never", [step(0)]))).lead


def test_summary_has_a_row_for_each_policy_and_no_difference_of_a_policy_to_itself():
    head, rows = summary(result())
    assert head[:3] == ["policy", "Brier score", "better than never"]
    assert [row[:3] for row in rows] == [
        ["default", "0.200", "+0.012 (0.0020 to 0.0220)"],
        ["never", "0.212", "–"],
    ]


def test_command_runs_the_same_backtest_again():
    assert command(result()) == (
        "keel backtest toy --start 2026-01-01 --end 2026-01-22 --every 7d --source store "
        "--policy default --policy never"
    )


def test_command_of_a_setting_with_a_space_is_one_argument_of_a_shell():
    option = "y:performance.extra_metrics=[roc_auc, log_loss]"
    first = policy("y", [step(0)]).model_copy(update={"option": option})
    assert shlex.split(command(result(first)))[-2:] == ["--policy", option]


def test_build_page_has_assumptions_and_command_before_what_a_long_page_loses():
    titles = [section.title for section in build_page(result()).sections]
    assert titles[2:] == ["What a backtest assumes", "Run it again", "Decisions of default", "Decisions of never"]


def test_build_page_fits_a_terminal():
    assert "retrained twice" in text.plain(build_page(result()))


@pytest.mark.parametrize("render", [html.render, markdown.render])
def test_build_page_shows_decisions_in_every_renderer(render):
    shown = render(build_page(result()))
    for words in (
        "retrained twice",
        "Version 2 was not shown to be better; version 1 stayed.",
        "Version 2 was promoted.",
        "Version 1 answered all the time.",
        "Approvals are assumed.",
        "0123456789ab",
    ):
        assert words in shown, words


def test_build_page_names_what_went_wrong():
    steps = [
        step(0, failure="toy: labelled training rows: needs at least 200 rows, got 3"),
        step(1, rolled_back=2, probation="It does harm."),
        step(2, comparison=comparison("fail"), promoted=2, trained=True),
        step(3, comparison=comparison("fail", champion=2, challenger=2), trained=True),
    ]
    found = result(policy("always", steps, rollbacks=1, failed_trainings=1, unproven=1))
    shown = markdown.render(build_page(found))
    for words in (
        "The training failed: toy: labelled training rows: needs at least 200 rows, got 3.",
        "Version 2 was rolled back: It does harm.",
        "Version 2 was promoted, though it was not shown to be better.",
        "The same rows as before gave version 2 again.",
    ):
        assert words in shown, words


def test_build_page_of_many_policies_marks_no_more_promotions_than_can_be_read():
    always = policy("always", [step(i, promoted=i + 2) for i in range(20)], promotions=20)
    page = build_page(result(*result().policies, always))
    [trend] = [block for section in page.sections for block in section.blocks if isinstance(block, Figure)][1:]
    assert [mark.label for mark in trend.chart.marks] == ["default: version 2"]
    assert [label for label, _ in trend.chart.others] == ["never", "always"]


def test_build_page_shows_names_as_text():
    shown = html.render(build_page(result(model="<b>toy</b>")))
    assert "<b>toy" not in shown
    assert "&lt;b&gt;toy" in shown


def test_a_result_is_read_from_its_json_and_gives_the_same_page():
    read = BacktestResult.from_dict(result().to_dict())
    assert html.render(build_page(read)) == html.render(build_page(result()))
