"""The overview as a page: what its first sentence says, its cells, and the states in which there is no table."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from keel.deployments.history import Deployment, Probation
from keel.monitoring.check_times import CheckTimes
from keel.reports import fleet, html
from keel.reports.fleet.data import Fleet, ModelRow
from keel.reports.fleet.facts import ModelFacts, OpenAlarm, RunningExperiment
from keel.reports.fleet.first_sentence import first_sentence
from keel.reports.fleet.history import Measured
from keel.reports.fleet.sentences import sentence
from keel.reports.fleet.states import State, state_of
from keel.reports.page import Command, Local, Page, Sparkline, Stacked, Table
from keel.window import DAY, HOUR
from tests.support.checks.cases import CASES
from tests.support.toy import toy_config

if TYPE_CHECKING:
    from keel.reports.check.data import CheckData

NOW = datetime(2026, 3, 5, 14, tzinfo=UTC)
"""A Thursday."""


def facts(case: str = "all_clear", **changes: Any) -> ModelFacts:
    """Return the facts about a model whose last check is one of the cases."""
    check: CheckData | None = CASES[case]() if case else None
    known = ModelFacts(
        config=check.config if check else toy_config(),
        deployment=Deployment("toy", production=1, generation=1),
        times=CheckTimes(NOW - 2 * HOUR, NOW + 4 * HOUR),
        check=check,
        checked_at=NOW - 2 * HOUR,
    )
    return replace(known, **changes)


def row(model: str, found: ModelFacts) -> ModelRow:
    return ModelRow(model, state_of(found, NOW), found)


def fine(number: int) -> list[ModelRow]:
    return [row(f"fine_{i}", facts()) for i in range(number)]


def said(*rows: ModelRow) -> str:
    return first_sentence(Fleet(rows, NOW))


WORSE = facts("harm_being_retrained", alerts=({"kind": "performance", "first_seen": NOW - 2 * DAY, "state": "firing"},))
STAGED = facts(deployment=Deployment("toy", 1, staging=8, generation=2))
MISSING = facts("all_clear", times=CheckTimes(NOW - 2 * DAY, NOW - DAY))


def test_first_sentence_names_the_worst_and_counts_the_others() -> None:
    person = row("churn", STAGED), row("fraud", STAGED)
    worst = row("flight_delay", WORSE)
    expected = "flight_delay has been getting worse since Tuesday. Two models need a person; five are fine."
    assert said(worst, *person, *fine(5)) == expected
    assert said(worst, *fine(1)).endswith("The other model is fine.")
    assert said(worst, row("b", WORSE), *fine(12)).startswith("flight_delay and b have been getting worse. The other")
    assert said(worst, row("b", WORSE), row("c", WORSE)) == "Three models have been getting worse."
    assert said(*fine(8)) == "All eight models are fine."
    assert said(*fine(1)) == "fine_0 is fine."
    assert said(person[0], *fine(6)) == "churn needs a person; six are fine."
    assert said(row("late", MISSING), *fine(2)) == "The check of late is overdue. The other two models are fine."
    unknown = row("new", facts("", deployment=Deployment("new")))
    assert said(*fine(2), unknown) == "Two models are fine; one is not checked yet."
    assert said(unknown) == "new has no version in production yet."
    broken = ModelRow("bad", State.UNREADABLE, error="model.yaml: …")
    assert said(broken, *fine(1)) == "bad cannot be read. The other model is fine."


@pytest.mark.parametrize(
    ("case", "state"),
    [
        ("all_clear", State.FINE),
        ("harm_promoted", State.NOT_CHECKED),
        ("harm_being_retrained", State.WORSE),
        ("harm_champion_kept", State.WORSE),
        ("harm_staged", State.WORSE),
        ("broken_data", State.BROKEN_DATA),
        ("broken_labels", State.BROKEN_LABELS),
        ("broken_but_released", State.FINE),
        ("no_rows", State.NO_PREDICTIONS),
        ("too_few_rows", State.TOO_FEW),
        ("outputs_moved", State.ATTENTION),
    ],
)
def test_state_of_each_check(case: str, state: State) -> None:
    production = 2 if case == "harm_promoted" else 1
    found = facts(case, deployment=Deployment("toy", production=production, generation=1))
    assert state_of(found, NOW) is state


@pytest.mark.parametrize("case", sorted(CASES))
def test_every_check_has_a_row(case: str) -> None:
    found = facts(case)
    assert sentence(found, state_of(found, NOW), NOW).endswith(".")
    assert "toy" in html.render(fleet.page(Fleet((row("toy", found),), NOW), first_steps=True))


def test_sentence_of_a_model_that_is_worse_says_how_much_since_when_and_what_follows() -> None:
    shown = sentence(WORSE, State.WORSE, NOW)
    assert shown == (
        "Brier score 0.243, 0.077 worse than on the holdout since Tuesday. A new version is being trained and compared."
    )


def test_worse_without_an_alert_is_known_from_the_windows_before() -> None:
    history = tuple(
        Measured(NOW - days * DAY, 1, status, "brier", 0.2, 0.1)
        for days, status in ((20, "degraded"), (13, "ok"), (4, "degraded"), (1, "degraded"))
    )
    assert "since Sunday" in sentence(replace(WORSE, alerts=(), history=history), State.WORSE, NOW)


def test_sentences_of_what_is_under_way() -> None:
    plan = {
        "experiment_id": "e", "model": "toy", "champion": 1, "challenger": 5, "mode": "ab", "salt": "s", "margin": 0.0,
        "stages": [{"share": 0.2, "seconds": None}], "metric": "brier", "alpha": 0.05, "max_n": 50_000,
        "started_at": (NOW - 5 * DAY).isoformat(), "least": 604_800.0, "most": 5_270_400.0, "label_delay": 86_400.0,
        "promised": {"value": 0.16, "standard_error": 0.002, "n": 19_000},
    }  # fmt: skip
    running = facts(experiment=RunningExperiment(plan, {"n": 14_200}))
    assert sentence(running, state_of(running, NOW), NOW) == (
        "Version 5 answers 20%; no difference is shown yet on 14,200 outcomes."
    )
    waiting = replace(STAGED, staged={"improvement": 0.004, "lower_bound": 0.001})
    assert sentence(waiting, state_of(waiting, NOW), NOW) == (
        "Version 8 is better by 0.004 (at least 0.001), and waits for approval."
    )
    watched = facts(probation=Probation(1, None, NOW - DAY, NOW + 6 * DAY, 2))
    assert sentence(watched, state_of(watched, NOW), NOW) == "Version 1 is on probation until 11 March 2026 14:00."
    alarmed = facts(alarms=(OpenAlarm("column", "temp", NOW - HOUR),))
    assert "(temp)" in sentence(alarmed, state_of(alarmed, NOW), NOW)
    held = facts(quarantined=("data",))
    assert sentence(held, state_of(held, NOW), NOW) == "All checks passed. 1 quarantine waits for a release."


def table_of(page: Page) -> Table:
    [block] = page.sections[0].blocks
    assert isinstance(block, Table)
    return block


def test_table_has_a_link_a_history_with_the_holdout_and_no_empty_column() -> None:
    history = tuple(Measured(NOW - (9 - i) * DAY, 1, "ok", "brier", 0.1 + i / 100, 0.166) for i in range(8))
    table = table_of(fleet.page(Fleet((row("toy", facts(history=history)),), NOW), first_steps=True))
    cells = dict(zip(table.head, table.rows[0], strict=True))
    assert "Experiment" not in cells
    assert "Open alerts" not in cells
    assert cells["Model"] == Stacked(Local("toy", "models/toy"), "version 1")
    assert isinstance(cells["Performance"], Stacked)
    drawn = cells["Performance"].top
    assert isinstance(drawn, Sparkline)
    assert (len(drawn.values), drawn.threshold) == (8, 0.166)
    assert cells["Last check"] == Stacked("2 hours ago", "12:00")
    assert cells["Next check"] == Stacked("in 4 hours", "18:00")


def test_page_without_models_and_of_a_store_that_is_down() -> None:
    nothing = fleet.page(Fleet((), NOW), first_steps=True)
    assert nothing.headline == "No model is configured yet."
    assert any(isinstance(block, Command) for block in nothing.sections[0].blocks)
    assert fleet.page(Fleet((), NOW), first_steps=False).sections == ()
    down = fleet.page(fleet.unavailable("the store at … does not answer", NOW), first_steps=True)
    assert "does not answer" in down.headline
    assert "the store at … does not answer" in html.render(down)


def test_names_and_errors_are_text() -> None:
    hostile = "<img src=x onerror=alert(1)>"
    rows = (ModelRow(hostile, State.UNREADABLE, error=hostile), row(hostile, facts()))
    shown = html.render(fleet.page(Fleet(rows, NOW), first_steps=True))
    assert "<img" not in shown
    assert "&lt;img" in shown


def test_only_a_model_whose_name_is_valid_has_a_page_and_nothing_is_said_twice() -> None:
    rows = tuple(ModelRow(name, State.UNREADABLE, error="x") for name in ("toy", "To y", "a" * 41))
    shown = html.fragment(fleet.page(Fleet(rows, NOW), first_steps=True), root="/keel", may=bool)
    assert re.findall(r'href="([^"]*)"', shown) == ["/keel/models/toy"]
    assert "<h2" not in shown  # the table is the page
    assert re.findall(r"\w*[Mm]odels\b", re.sub(r"<[^>]*>", " ", shown)) == ["models", "models", "Models"]
