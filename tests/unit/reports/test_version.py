"""The model card of a version: from real records, and with whatever of them is gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from keel.deployments.history import Status
from keel.errors import UnknownVersion
from keel.reports import html, text
from keel.reports.page import Tone
from keel.reports.status import model_status
from keel.reports.version import collect, page
from tests.support.versions.cloned import NOW, RIGHT, TRAINED_UNTIL

NAME = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def model(trained):
    made = trained.model(RIGHT, RIGHT)
    made.log(TRAINED_UNTIL, days=3)
    made.note(2, Status.REJECTED, f"not better {NAME}")
    return made


@pytest.fixture(scope="module")
def data(model):
    return collect(model.ws, model.config, 1)


def shown(found):
    return text.plain(page(found), width=1_000)


def test_page_of_the_version_in_production_says_so_with_its_metrics(model, data):
    found = page(data)
    assert (found.headline, found.tag.text) == ("Version 1 is in production.", "in production")
    reference = model.ws.registry.reference(model.name, 1)
    metric = reference["metrics"][model.config.performance.metric]
    assert found.facts[0].value.startswith(f"{metric['value']:.3g} ± ")
    assert f"{reference['holdout']['rows']:,} rows" in found.facts[0].lines[1]


def test_page_and_status_have_the_version_in_production_since_the_same_time(model, data):
    since = model_status(model.ws, model.config, NOW).since
    assert data.production_since == since
    moved = replace(data, production_since=datetime(2013, 7, 1, tzinfo=UTC))
    assert page(moved).lead.startswith("Since 1 July 2013: ")
    assert collect(model.ws, model.config, 2).production_since is None


def test_page_says_that_the_error_on_the_holdout_is_that_of_independent_rows(data):
    assert page(data).facts[0].lines[-1] == "± is the standard error if rows are independent"


@pytest.mark.parametrize(("metric", "sign"), [("brier", 1), ("roc_auc", -1)])
def test_page_of_live_performance_beyond_the_limit_shows_the_limit_and_what_to_do(data, metric, sign):
    performance = data.config.performance.model_copy(update={"metric": metric, "max_degradation": 0.01})
    config = data.config.model_copy(update={"performance": performance})
    reference = {**data.reference, "metrics": {metric: {"value": 0.6}}}
    worse, within = (
        replace(data, config=config, reference=reference, series=(replace(data.series[-1], value=0.6 + sign * change),))
        for change in (0.02, 0.005)
    )
    live, what = page(worse).facts[1], page(worse).facts[-1]
    assert live.lines[-1] == f"holdout 0.600, limit {0.6 + sign * 0.01:.3f}"
    assert (live.tone, what.value, what.lines[-1]) == (Tone.WARN, "See the last check", f"keel report {config.model}")
    assert (page(within).facts[1].tone, page(within).facts[-1].value) == (Tone.NEUTRAL, "Nothing to do")


def test_page_shows_its_training_data_live_labels_checksums_and_ledger(model, data):
    whole = shown(data)
    pin = model.state.pins[1]
    for part in (*pin.files, *pin.files.values(), pin.run_id):
        assert part in whole
    assert {column.name for column in data.columns} == set(model.config.features)
    assert sum(part.n for part in data.series) == 3 * 24 * 20
    assert "with 95% intervals" in whole
    assert [line.action for line in data.ledger] == ["register", "promote"]
    assert "Version 1 was trained and registered as a candidate." in whole


def test_collect_takes_only_the_ledger_rows_of_the_version(model):
    assert [line.action for line in collect(model.ws, model.config, 2).ledger] == ["register", "decline"]


def test_page_names_categories_that_were_hardly_seen_and_what_drifts_now(data):
    rare = replace(data.columns[-1], kind="categorical", categories=(("often", 900), (NAME, 7)))
    whole = shown(replace(data, columns=(rare,)))
    assert f"{rare.name}: fewer than 100 training rows of {NAME} (7)." in whole
    assert "<img src=x" not in html.render(page(replace(data, columns=(rare,))))


def test_page_of_a_rejected_version_has_its_reason_as_text(model):
    found = page(collect(model.ws, model.config, 2))
    assert found.headline == "Version 2 was rejected."
    assert found.lead.endswith(f"not better {NAME}.")
    assert "<img src=x" not in html.render(found)


def test_page_of_a_version_whose_files_changed_names_it_and_shows_the_rest(model):
    version = model.register(RIGHT, changed_file="keel/reference.json")
    found = collect(model.ws, model.config, version)
    assert found.reference == {}
    assert page(found).lead.startswith("Its files cannot be read: ")
    assert "keel/reference.json" in page(found).lead
    assert "was trained and registered" in shown(found)
    assert "None" not in shown(found)


def test_page_lists_its_comparisons_with_their_verdicts(data):
    body = {
        "verdict": "fail", "reason": "not better", "n": 500, "champion": 1, "challenger": 2, "champion_value": 0.2,
        "challenger_value": 0.3, "improvement": -0.1, "lower_bound": -0.12, "margin": 0, "level": 0.03,
        "metric": "brier", "report_id": "comparison-1", "holdout": {"start": NOW.isoformat(), "end": NOW.isoformat()},
    }  # fmt: skip
    whole = shown(replace(data, comparisons=(body,)))
    assert "Version 2 is worse than version 1." in whole
    assert f"keel versions compare {data.config.model} 1 2" in whole


def test_collect_of_a_version_that_does_not_exist_names_those_that_do(model):
    with pytest.raises(UnknownVersion, match=r"has no version 99; versions: 1, 2"):
        collect(model.ws, model.config, 99)


@pytest.mark.parametrize(("end", "lacks_seasons"), [("2025-12-31", True), ("2026-01-01", False), ("2027-06-01", False)])
def test_page_of_a_version_trained_on_a_whole_year_does_not_call_other_seasons_new(data, end, lacks_seasons):
    trained = {"start": "2025-01-01T00:00:00+00:00", "end": f"{end}T00:00:00+00:00"}
    whole = shown(replace(data, described={**data.described, "trained_on": trained}))
    assert "Time: it was trained on 1 January" in whole
    assert ("What happens at other times of the year is new to it." in whole) is lacks_seasons
