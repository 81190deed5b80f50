"""The page of one column: against the reference of the version, in the window of a check."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keel import loop
from keel.errors import ArtifactChanged, KeelError, RegistryUnavailable
from keel.monitoring.storage import report_id
from keel.reports import html, text
from keel.reports.charts.specs import Heatmap, Histogram, Trend
from keel.reports.model import collect, column_page, page
from keel.reports.page import Figure, Tone
from keel.window import Window
from tests.support.versions.cloned import RIGHT, TRAINED_UNTIL

DAY = timedelta(days=1)
WINDOW = Window(TRAINED_UNTIL, TRAINED_UNTIL + 3 * DAY)
MARKUP = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def model(trained):
    """A model of which two windows were checked."""
    made = trained.model(RIGHT)
    made.log(TRAINED_UNTIL - 3 * DAY, days=6)
    for window in (WINDOW.earlier(3 * DAY), WINDOW):
        counted = loop.count_window(made.ws, made.config, window)
        loop.check_data_drift(made.ws, made.config, counted)
    return made


def charts(found):
    return [block.chart for section in found.sections for block in section.blocks if isinstance(block, Figure)]


def named(window):
    return f"{window.start:%Y-%m-%dT%H:%MZ}/{window.end:%Y-%m-%dT%H:%MZ}"


def test_column_is_shown_against_its_reference_with_its_measures_and_earlier_checks(model):
    found = column_page(model.ws, model.config, "x")
    distribution, history = charts(found)
    assert isinstance(distribution, Histogram)
    assert distribution.reference is not None
    assert isinstance(history, Trend)
    assert [point.time for point in history.points] == [WINDOW.end - 3 * DAY, WINDOW.end]
    assert (found.headline, found.facts[0].tone) == ("x has not changed.", Tone.GOOD)
    assert "PSI" in text.plain(found, width=500)
    fragment = html.fragment(found, root="/keel", may=bool)
    assert f'href="/keel/models/{model.name}"' in fragment
    assert f'href="/keel/models/{model.name}/checks?window={named(WINDOW)}"' in fragment


def test_window_is_the_named_one(model):
    found = column_page(model.ws, model.config, "x", named(WINDOW.earlier(3 * DAY)))
    assert len(charts(found)) == 1
    assert "no earlier check" in text.plain(found)


def test_every_cell_of_the_heatmap_leads_to_a_page_of_its_column(model):
    chart = next(
        each for each in charts(page(collect(model.ws, model.config, WINDOW.end))) if isinstance(each, Heatmap)
    )
    paths = {cell.path for row in chart.cells for cell in row if cell}
    assert len(paths) == len(chart.rows) * 2
    for path in paths:
        column, _, window = path.removeprefix(f"models/{model.name}/columns/").partition("?window=")
        assert column_page(model.ws, model.config, column, window).title == f"{model.name}: {column}"


@pytest.mark.parametrize(
    ("column", "window", "said"),
    [
        ("colours", "", "no column 'colours'; did you mean 'colour'?"),
        (MARKUP, "", "no column"),
        ("x", "2001-01-01T00:00Z/2001-01-08T00:00Z", "the nearest"),
        ("x", "yesterday/today", "yesterday"),
    ],
)
def test_unknown_column_and_window_are_named(model, column, window, said):
    with pytest.raises(KeelError) as raised:
        column_page(model.ws, model.config, column, window)
    assert said in str(raised.value)
    assert raised.value.exit_code == 2  # a mistake of who asks


def test_column_without_the_files_of_its_version_has_its_measures_and_says_why(model, monkeypatch):
    def gone(*_):
        raise ArtifactChanged("the files of version 1 are gone")

    monkeypatch.setattr(model.ws.registry, "grid", gone)
    whole = text.plain(column_page(model.ws, model.config, "x"), width=500)
    assert "the files of version 1 are gone" in whole
    assert "PSI" in whole


def test_column_without_mlflow_names_no_address(model, monkeypatch):
    def away(*_):
        raise RegistryUnavailable("http://mlflow.internal:5000: connection refused")

    monkeypatch.setattr(model.ws.registry, "grid", away)
    whole = text.plain(column_page(model.ws, model.config, "x"), width=500)
    assert "MLflow cannot be reached" in whole
    assert "mlflow.internal" not in whole


def test_column_with_markup_in_its_name_is_text(model):
    stored = model.ws.store.reports.get(report_id("drift", model.name, 1, WINDOW))
    body = {**stored["body"], "features": {MARKUP: stored["body"]["features"]["x"]}}
    later = Window(WINDOW.start + DAY, WINDOW.end + DAY)
    key = report_id("drift", model.name, 1, later)
    model.ws.store.reports.put(key, model.name, 1, "drift", later.start, later.end, "ok", body, later.end)
    found = column_page(model.ws, model.config, MARKUP, named(later))
    assert "<img" not in html.fragment(found, root="/keel", may=bool)
