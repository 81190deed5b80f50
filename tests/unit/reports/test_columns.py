"""Cards of columns: their order, their words and the sentence of each measure."""

from __future__ import annotations

from keel.monitoring.records import StoredDriftReport
from keel.reports.charts.specs import Histogram, Sparkline
from keel.reports.columns import column_cards


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


def names(cards):
    return [card.name for card in cards.cards]


def test_column_cards_with_losses_rank_by_the_size_of_the_impact():
    found = column_cards(
        report(
            small={"impact": 0.001, "severity": "drift", "status": "drift"},
            helps={"impact": -0.05},
            costs={"impact": 0.02},
        ),
        {},
        impact_unit="Brier score",
    )
    assert names(found) == ["helps", "costs", "small"]
    assert [card.impact for card in found.cards] == ["−0.0500", "+0.0200", "+0.0010"]
    assert found.impact_unit == "Brier score"


def test_column_cards_without_losses_rank_by_status_then_excess():
    psi = {"psi": {"value": 0.4, "excess": 0.3}}
    found = column_cards(
        report(
            quiet={},
            warned={"severity": "warn", "status": "warn"},
            less={"severity": "drift", "status": "drift", "measures": {"psi": {"value": 0.3, "excess": 0.26}}},
            more={"severity": "drift", "status": "drift", "measures": psi},
        ),
        {},
        impact_unit="Brier score",
    )
    assert names(found) == ["more", "less", "warned", "quiet"]
    assert found.impact_unit == "", "without impacts there is no unit"


def test_column_cards_with_a_history_have_a_sparkline_and_its_sentence():
    found = column_cards(
        report(x={}, y={}).model_copy(update={"psi_alert": 0.25}), {}, histories={"x": (0.1, None, 0.4)}
    )
    with_history, without = found.cards
    assert with_history.history == Sparkline((0.1, None, 0.4), 0.25)
    assert with_history.history_sentence == ("PSI above chance over 3 checks: 0.1 to 0.4; drift from 0.25.")
    assert without.history is None
    assert not without.history_sentence


def test_column_cards_with_a_chart_have_a_figure_with_a_sentence():
    chart = Histogram("x", (0.0, 1.0, 2.0), (1.0, 0.0), (0.0, 1.0), medians=(0.5, 1.5))
    found = column_cards(report(x={}, y={}), {"x": chart, "y": None}, reference_label="March", current_label="June")
    assert found.cards[0].figure.chart == chart
    assert found.cards[0].figure.sentence == "The median is 0.5 (March) and 1.5 (June)."
    assert found.cards[1].figure is None
