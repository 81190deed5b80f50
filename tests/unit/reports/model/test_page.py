"""The page of a model, from its records and from whatever of them is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from keel.deployments.history import Deployment, Status
from keel.deployments.ledger_rows import append_entry
from keel.reports import html, markdown, text
from keel.reports.charts.specs import Heatmap
from keel.reports.check.words import headline
from keel.reports.model import collect, page
from keel.reports.model.drift_history import MAX_CHECKS
from keel.reports.page import Actions, Details, Figure, Table
from keel.store.alerts import put_alerts
from keel.store.database.tables import reports
from keel.store.database.times import to_micros
from tests.support.checks import cases
from tests.unit.reports.model.conftest import NOW

DAY = timedelta(days=1)
MARKUP = "<img src=x onerror=alert(1)>"
CONFIG = cases.CONFIG


def everything(found) -> str:
    return text.plain(found, width=1_000)


def section(found, title):
    return next(each for each in found.sections if each.title == title)


def actions(blocks) -> list[str]:
    """The labels of all actions, in tables too."""
    labels = []
    for block in blocks:
        if isinstance(block, Actions):
            labels += [action.label for action in block.actions]
        elif isinstance(block, Details):
            labels += actions(block.blocks)
        elif isinstance(block, Table):
            labels += actions([cell for row in block.rows for cell in row if isinstance(cell, Actions)])
    return labels


def all_actions(found) -> list[str]:
    return [label for each in found.sections for label in actions(each.blocks)]


def rendered(found) -> str:
    """Every form; none raises."""
    markdown.render(found)
    everything(found)
    html.render(found)
    return html.fragment(found, root="/airflow/keel", may=lambda dag_id: dag_id.startswith("toy."))


def alert(number: int, **changes):
    row = dict.fromkeys(
        ("cleared_at", "resolved_at", "resolution", "acknowledged_by", "inhibited_by", "silenced_by", "told_severity"),
    )
    row |= {"alert_id": f"alert{number}", "fingerprint": f"f{number}", "model": "toy", "kind": "data_drift"}
    row |= {"subject": f"x{number}", "severity": "warning", "state": "firing", "sentence": "It moved.", "evidence": {}}
    row |= {"rank": 1.0, "first_seen": NOW, "last_seen": NOW, "seen": 1, "clear": 0, "fired_at": NOW}
    return row | {"told_episode": None, "told_at": None, "message_id": None} | changes


def test_model_without_anything_says_how_to_begin(ws):
    found = page(collect(ws, CONFIG, NOW))
    assert (found.headline, found.tag.text) == ("No version is in production yet.", "no version")
    assert "airflow dags trigger toy.retrain" in everything(found)
    assert all_actions(found) == []
    rendered(found)


def test_model_without_a_check_offers_one(ws, deploy):
    deploy(Deployment("toy"), production=1)
    found = page(collect(ws, CONFIG, NOW + timedelta(minutes=5)))
    assert (found.headline, found.tag.text) == ("No check of this model has run yet.", "not checked")
    assert all_actions(found) == ["Check now"]
    assert "nothing to compare yet" in everything(found)
    rendered(found)


def test_check_that_does_not_come_is_overdue(ws, deploy):
    deploy(Deployment("toy"), production=1)
    view = collect(ws, CONFIG, NOW + 2 * DAY)
    assert (view.overdue, page(view).tag.text) == (True, "check overdue")


def test_page_begins_as_the_report_of_its_newest_check_and_leads_there(ws, deploy, checked):
    deploy(Deployment("toy"), production=1)
    for i in range(3):
        checked(cases.WINDOW.earlier(i * DAY))
    found = page(collect(ws, CONFIG, NOW))
    assert found.headline == headline(replace(cases.drift_without_labels(), decision=None, outcome=None))
    content = rendered(found)
    window = f"{cases.WINDOW.start:%Y-%m-%dT%H:%MZ}/{cases.WINDOW.end:%Y-%m-%dT%H:%MZ}"
    assert f'href="/airflow/keel/models/toy/checks?window={window}"' in content
    assert f'href="/airflow/keel/models/toy/columns/x?window={window}"' in content


def test_heatmap_has_a_row_a_column_the_drifted_first_and_a_column_a_check(ws, deploy, checked):
    deploy(Deployment("toy"), production=1)
    for i in range(3):
        checked(cases.WINDOW.earlier(i * DAY), version=2 if i == 0 else 1)
    figure = next(b for b in section(page(collect(ws, CONFIG, NOW)), "Drift").blocks if isinstance(b, Figure))
    chart = figure.chart
    assert isinstance(chart, Heatmap)
    drift = cases.drift_without_labels().drift
    drifted = set(drift.names("drift"))
    assert drifted
    assert set(chart.rows[: len(drifted)]) == drifted
    assert len(chart.columns) == 3
    assert [cell.marked for cell in chart.cells[0]] == [True] * 3
    assert [mark.label for mark in chart.marks] == ["version 1", "version 2"]


def test_alerts_can_be_taken_over_and_silenced_and_those_explained_are_folded(ws, deploy):
    deploy(Deployment("toy"), production=1)
    rows = [
        alert(1, severity="info"),
        alert(2, severity="error", state="acknowledged", acknowledged_by="grace"),
        alert(3, inhibited_by="f2"),
        alert(4, state="pending"),
    ]
    with ws.store.begin() as connection:
        put_alerts(connection, rows, now=NOW)
    found = page(collect(ws, CONFIG, NOW))
    first, folded = (b for b in section(found, "Open alerts").blocks if isinstance(b, Table | Details))
    assert [row[0] for row in first.rows] == ["data drift: x2", "data drift: x1"]
    assert actions([first]) == ["Silence", "Acknowledge", "Silence"]
    assert actions([folded]) == ["Acknowledge", "Silence"]
    assert "acknowledged by grace" in first.rows[0][3]
    assert next(fact for fact in found.facts if "alert" in fact.value).value == "3 open alerts"


def test_silences_are_shown_until_they_end(ws):
    body = {"silence_id": "s1", "model": "toy", "kind": "data_drift", "subject": "wind_*", "actor": "ada"}
    body |= {"until": (NOW + DAY).isoformat(), "reason": "a storm"}
    with ws.store.begin() as connection:
        append_entry(connection, "toy", actor="ada", action="silence", body={"silence": body}, now=NOW)
        other = {**body, "silence_id": "s2", "model": "", "subject": None}
        append_entry(connection, "", actor="ada", action="silence", body={"silence": other}, now=NOW)
        append_entry(connection, "toy", actor="ada", action="silence", body={"silence": "broken"}, now=NOW)
    found = section(page(collect(ws, CONFIG, NOW)), "Open alerts")
    assert actions(found.blocks) == ["End it"]  # who reads one model ends no silence of all
    assert collect(ws, CONFIG, NOW + 2 * DAY).silences == ()
    with ws.store.begin() as connection:
        append_entry(connection, "toy", actor="ada", action="end_silence", body={"silence_id": "s1"}, now=NOW)
    assert [each.silence_id for each in collect(ws, CONFIG, NOW).silences] == ["s2"]


def test_versions_offer_a_promotion_and_deleted_ones_are_counted(ws, deploy):
    current = deploy(Deployment("toy"), production=1)
    statuses = {2: (Status.CANDIDATE, "trained"), 3: (Status.DELETED, "old"), 4: (Status.REJECTED, MARKUP)}
    deploy(current, statuses, staging=5)
    found = page(collect(ws, CONFIG, NOW))
    blocks = section(found, "Versions side by side").blocks
    assert [row[0] for row in blocks[0].rows] == ["version 5", "version 4", "version 2", "version 1"]
    assert actions(blocks) == ["Promote version 5", "Promote version 2"]
    assert "1 deleted version left out" in everything(found)
    assert "Version 5 waits for approval" in everything(found)


def test_roll_back_is_offered_where_there_is_a_version_to_go_to(ws, deploy):
    current = deploy(Deployment("toy"), production=1)
    assert "Roll back" not in " ".join(all_actions(page(collect(ws, CONFIG, NOW))))
    deploy(current, production=2, previous=1)
    found = page(collect(ws, CONFIG, NOW))
    action = next(
        a for b in section(found, "What to do").blocks if isinstance(b, Actions) for a in b.actions if a.danger
    )
    assert (action.label, action.dag_id, action.body) == (
        "Roll back to version 1",
        "toy.rollback",
        (("model", "toy"), ("version", 1)),
    )


def test_who_may_nothing_gets_no_button(ws, deploy, checked):
    deploy(Deployment("toy"), production=1)
    checked()
    with ws.store.begin() as connection:
        put_alerts(connection, [alert(1)], now=NOW)
    found = page(collect(ws, CONFIG, NOW))
    assert "<button" in html.fragment(found, root="/keel", may=lambda _: True)
    assert "<button" not in html.fragment(found, root="/keel", may=lambda _: False)


def test_texts_of_the_data_are_no_markup_on_the_page(ws, deploy, checked):
    config = CONFIG.model_copy(update={"model": "toy", "owner": MARKUP, "description": MARKUP})
    deploy(Deployment("toy"), {1: (Status.PRODUCTION, MARKUP)}, production=1)
    column = next(iter(cases.drift_without_labels().drift.to_dict()["features"].values()))
    checked(**{MARKUP: column, "a/b?c#d": column, "": column})
    with ws.store.begin() as connection:
        put_alerts(connection, [alert(1, subject=MARKUP, sentence=MARKUP)], now=NOW)
    content = rendered(page(collect(ws, config, NOW)))
    assert "<img" not in content
    assert "/columns/a%2Fb%3Fc%23d?window=" in content


def test_column_of_a_later_release_and_a_body_that_is_none_are_no_error(ws, deploy, checked, put):
    deploy(Deployment("toy"), production=1)
    checked()
    earlier = cases.WINDOW.earlier(DAY)
    strange = {
        "features": {"x": {"severity": "purple", "status": "new", "role": "feature"}, "y": None},
        "psi_warn": None,
    }
    put("drift", earlier, "drift", strange)
    assert "Drift" in rendered(page(collect(ws, CONFIG, NOW)))


def test_columns_beyond_those_that_fit_are_counted(ws, deploy, checked):
    deploy(Deployment("toy"), production=1)
    column = next(iter(cases.drift_without_labels().drift.to_dict()["features"].values()))
    checked(**{f"c{i:03}": column for i in range(300)})
    found = page(collect(ws, CONFIG, NOW))
    figure = next(b for b in section(found, "Drift").blocks if isinstance(b, Figure))
    assert "The worst 25 of 300 columns are shown." in figure.sentence
    assert len(rendered(found)) < 200_000


def test_year_of_checks_every_six_hours_is_read_by_week_and_in_bounds(ws, deploy, put, monkeypatch):
    deploy(Deployment("toy"), production=1)
    body = cases.drift_without_labels().drift.to_dict()
    put("drift", cases.WINDOW, "ok", body)
    checks = [cases.WINDOW.earlier(i * timedelta(hours=6)) for i in range(1, 4 * 365)]
    rows = [
        {
            **{"report_id": f"drift-{i}", "model": "toy", "version": 1, "kind": "drift", "body": json.dumps(body)},
            **{"window_start": to_micros(window.start), "window_end": to_micros(window.end)},
            **{"status": "drift" if i % 50 == 7 else "ok", "created_at": to_micros(window.end)},
        }
        for i, window in enumerate(checks)
    ]
    with ws.store.begin() as connection:
        connection.execute(sa.insert(reports), rows)
    read = []
    bodies = ws.store.reports.bodies
    monkeypatch.setattr(ws.store.reports, "bodies", lambda ids: read.extend(ids) or bodies(ids))
    view = collect(ws, CONFIG, NOW, days=300)
    assert (view.drift.group, view.drift.checks) == ("week", 1201)
    assert 40 < len(view.drift.windows) <= MAX_CHECKS
    assert len(read) < 120
    assert "the worst check of a week" in everything(page(view))
    assert collect(ws, CONFIG, NOW).drift.checks == 361


def test_collecting_a_model_imports_nothing_heavy(tmp_path):
    code = f"""
import sys
from datetime import datetime, UTC
from keel.reports.model import collect, page
from keel.reports.model.drift_history import MAX_CHECKS
from keel.reports.html import fragment
from keel.workspace import Workspace
from tests.support.toy import toy_config
with Workspace.open(home={str(tmp_path)!r}, environment={{}}) as ws:
    fragment(page(collect(ws, toy_config(), datetime.now(UTC))), root="/keel", may=bool)
found = {{"mlflow", "scipy", "sklearn", "pandas", "airflow"}} & set(sys.modules)
assert not found, found
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("days", [1, 30, 10_000])
def test_any_number_of_days_is_shown(ws, deploy, checked, days):
    deploy(Deployment("toy"), production=1)
    checked()
    assert "toy" in rendered(page(collect(ws, CONFIG, NOW, days=days)))
