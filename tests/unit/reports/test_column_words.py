"""What a report says of a column."""

from __future__ import annotations

import pytest

from keel.monitoring.column_status import ColumnStatus
from keel.monitoring.records import StoredDriftReport
from keel.reports.charts.specs import Bar, Categories, Histogram
from keel.reports.column_words import figure_sentence, measures, status_tag, summary
from keel.reports.page import Tag, Tone


def report(**columns):
    """A stored report with these columns, given as what differs from an unremarkable numeric feature."""
    plain = {"kind": "numeric", "role": "feature", "status": "ok", "severity": "ok"}
    return StoredDriftReport(
        status="drift",
        n=1000,
        alpha=0.05,
        share_drifted=0.5,
        features={name: {**plain, **values} for name, values in columns.items()},
    )


@pytest.mark.parametrize("status", list(ColumnStatus))
def test_status_tag_of_every_status_is_a_word(status):
    column = report(x={"status": str(status), "severity": "warn"}).features["x"]
    tag = status_tag(column)
    assert tag.text
    assert "_" not in tag.text
    assert tag.tone is (Tone.GOOD if status is ColumnStatus.OK else Tone.WARN)


def test_status_tag_of_a_status_of_another_release_is_shown():
    column = report(x={"status": "moved_away", "severity": "drift"}).features["x"]
    assert status_tag(column) == Tag("moved away", Tone.BAD)


def test_measures_of_all_kinds_have_a_value_and_a_sentence():
    column = report(
        x={
            "q_value": 0.2,
            "measures": {
                "psi": {"value": 0.31, "excess": 0.3},
                "ks": {"statistic": 0.52, "p_value": 0.0},
                "chi_square": {"statistic": 41.2, "cells": 16, "p_value": 0.2},
                "jensen_shannon": {"value": 0.2},
                "wasserstein": {"value": 2.6},
                "off_atoms": {"psi": 0.5, "share": 0.03, "share_reference": 0.05},
            },
            "rates": {
                name: {"reference": 0.01, "current": 0.14, "q_value": 0.0001}
                for name in ("missing", "new_categories", "out_of_range", "infinite", "invalid")
            },
            "minimum": -1.5,
            "maximum": 3e9,
        }
    ).features["x"]
    found = {measure.name: measure for measure in measures(column, 0.05)}
    assert list(found) == [
        "PSI", "KS", "χ²", "q", "Jensen–Shannon", "Wasserstein", "PSI off the frequent values",
        "missing", "new categories", "out of range", "infinite", "of another type", "range",
    ]  # fmt: skip
    assert all(measure.value and measure.meaning.endswith(".") for measure in found.values())
    assert found["q"].meaning.startswith("Chance may explain")
    assert "52%" in found["KS"].meaning
    assert found["missing"].value == "14%, reference 1%"


def test_summary_names_what_was_measured_and_leaves_out_negligible_rates():
    column = report(
        x={
            "measures": {"psi": {"value": 3.6201}, "ks": {"statistic": 0.521}},
            "rates": {
                "missing": {"reference": 0.0, "current": 0.14},
                "invalid": {"reference": 0.0, "current": 0.0001},
            },
        }
    ).features["x"]
    assert summary(column) == "PSI 3.62 · KS 0.521 · 14% missing"


def test_summary_without_measures_is_the_reason():
    column = report(x={"status": "missing_column", "reasons": ("The column is absent from all 3 rows.",)}).features["x"]
    assert summary(column) == "The column is absent from all 3 rows."


@pytest.mark.parametrize(
    ("chart", "sentence"),
    [
        (
            Histogram("x", (0.0, 1.0), None, (1.0,), medians=(None, 0.5)),
            "The median is 0.5 (window).",
        ),
        (Histogram("x", (0.0, 1.0), (0.0,), (0.0,)), "Window has no number."),
        (
            Histogram("x", (0.0, 1.0), (1.0,), (0.0,), tails=(Bar("missing", 0.0, 1.0),), medians=(0.5, None)),
            "The median is 0.5 (reference). Window has no number. The share of missing rose from 0% to 100%.",
        ),
        (
            Histogram("x", (0.0, 9.0), (1.0,), (1.0,), medians=(2.0, None), outside=(0.0, 0.75), shape=(0.0, 4.0)),
            "The median is 2 (reference). 75% of window lie above 4, the greatest value of reference.",
        ),
        (
            Histogram("x", (-0.5, 0.5, 1.5), (0.5, 0.5), (0.5, 0.1), labels=("0", "7"), above=Bar("> 7", 0.0, 0.4)),
            "The share of 7 fell from 50% to 10%.",
        ),
        (
            Categories("c", (Bar("EV", 0.3, 0.1), Bar("UA", 0.7, 0.8)), (Bar("missing", 0.0, 0.1),)),
            "The share of EV fell from 30% to 10%.",
        ),
        (
            Categories("c", (Bar("EV", 0.3, 0.3),)),
            "No share has changed by more than half a percentage point.",
        ),
    ],
)
def test_figure_sentence_says_what_the_chart_shows(chart, sentence):
    assert figure_sentence(chart) == sentence


@pytest.mark.parametrize(("alpha", "meaning"), [(0.05, "Chance hardly"), (0.01, "Chance may"), (None, "The lower")])
def test_meaning_of_a_q_value_is_by_the_level_of_its_report(alpha, meaning):
    rates = {"missing": {"reference": 0.01, "current": 0.14, "q_value": 0.016}}
    found = {m.name: m for m in measures(report(x={"q_value": 0.016, "rates": rates}).features["x"], alpha)}
    assert found["q"].meaning.startswith(meaning)
    assert meaning in found["missing"].meaning


def test_meaning_of_the_psi_names_the_thresholds_of_its_report():
    column = report(x={"measures": {"psi": {"value": 0.31, "excess": 0.3}}}).features["x"]
    assert "from 0.15 is a change, from 0.4 drift" in measures(column, 0.05, (0.15, 0.4))[0].meaning
    assert "drift" not in measures(column, 0.05)[0].meaning
