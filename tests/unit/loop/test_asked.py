"""Questions between two checks: the answer is that of a check, and the store stays as it is."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from keel import loop
from keel.errors import BadRequest, ConfigError, NoProductionVersion, UnknownVersion
from keel.loop.asked import asked_window, drift_of_rows, drift_of_window, performance_of_window
from keel.monitoring.records import StoredDriftReport, StoredPerformanceReport
from keel.monitoring.storage import read_report
from keel.window import Window
from tests.support.toy import DAY, START, toy_config, toy_rows
from tests.support.versions.cloned import INVERTED, NOW, RIGHT

if TYPE_CHECKING:
    from tests.support.versions.cloned import ClonedModel, Trained

WINDOW = Window(NOW - 7 * DAY, NOW)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def model(trained: Trained) -> ClonedModel:
    """Two versions, of which the first has answered for twelve days; no check has counted its rows yet."""
    made = trained.model(RIGHT, INVERTED)
    made.deploy(production=1, staging=2)
    made.log(NOW - 12 * DAY, days=12)
    return made


def everything_in(model: ClonedModel) -> dict[str, list[Any]]:
    """Return every row of every table of the store."""
    with model.ws.store.connect() as connection:
        names = sa.inspect(connection).get_table_names()
        return {name: connection.execute(sa.text(f'SELECT * FROM "{name}"')).all() for name in names}  # noqa: S608


def test_answers_are_those_of_a_check_and_nothing_is_stored(model: ClonedModel) -> None:
    before = everything_in(model)
    drift = drift_of_window(model.ws, model.config, WINDOW)
    performance = performance_of_window(model.ws, model.config, WINDOW)
    assert everything_in(model) == before

    counted = loop.count_window(model.ws, model.config, WINDOW)
    loop.check_data_drift(model.ws, model.config, counted)
    loop.check_performance(model.ws, model.config, counted)
    assert drift.report == read_report(model.ws, StoredDriftReport, model.name, 1, WINDOW)
    assert performance.report == read_report(model.ws, StoredPerformanceReport, model.name, 1, WINDOW)
    assert (drift.rows, performance.status) == (7 * 24 * 20, "ok")
    assert performance.report.long_run is not None
    assert drift_of_window(model.ws, model.config, WINDOW) == drift


def test_version_is_a_number_or_an_alias(model: ClonedModel) -> None:
    staged = drift_of_window(model.ws, model.config, WINDOW, version="staging")
    assert (staged.version, staged.rows, staged.status) == (2, 0, "insufficient")
    for named in (None, 1, "1", "production"):
        assert drift_of_window(model.ws, model.config, WINDOW, version=named).version == 1
    for unknown in (7, "7", "stagin", "previous", "latest", "-1", "١", "9" * 5000):
        with pytest.raises(UnknownVersion, match="production 1, staging 2"):
            drift_of_window(model.ws, model.config, WINDOW, version=unknown)


def test_model_without_a_version_in_production_says_how_to_get_one(trained: Trained) -> None:
    empty = trained.model(production=None)
    with pytest.raises(NoProductionVersion, match=r"\.retrain"):
        drift_of_window(empty.ws, empty.config, WINDOW)


def test_rows_of_a_request_are_compared_without_a_score_too(model: ClonedModel) -> None:
    rows = toy_rows(START, days=4, shift=1.0).drop_columns(["id", "time", "label"])
    found = drift_of_rows(model.ws, model.config, rows.to_pydict() | {"weather": ["fine"] * rows.num_rows})
    assert (found.status, found.drifted, found.window) == ("drift", ("x",), None)
    assert found.not_given == ("score", "prediction")
    assert found.ignored == ("weather",)
    assert set(found.report.features) == {"x", "z", "colour"}
    assert found.report.impact_total is not None
    assert drift_of_rows(model.ws, model.config, rows).report == found.report

    scored = rows.append_column("score", pa.array([0.99] * rows.num_rows))
    assert "score" in drift_of_rows(model.ws, model.config, scored).drifted_outputs

    few = drift_of_rows(model.ws, model.config, rows.slice(0, 5))
    assert (few.status, few.rows) == ("insufficient", 5)


def test_missing_and_wrong_values_in_rows_have_a_named_status(model: ClonedModel) -> None:
    rows = toy_rows(START, days=4)
    texts = {"x": ["?"] * rows.num_rows, "z": rows["z"].to_pylist()}
    found = drift_of_rows(model.ws, model.config, texts).report.features
    assert (found["x"].status, found["colour"].status) == ("type_changed", "missing_column")


@pytest.mark.parametrize("rows", [{"x": []}, {}, {"a": [1, 2]}])
def test_rows_that_cannot_be_compared_are_refused(model: ClonedModel, rows: dict[str, list[Any]]) -> None:
    with pytest.raises((BadRequest, ConfigError), match="rows"):
        drift_of_rows(model.ws, model.config, rows)


def test_asked_window_is_widened_to_full_hours_and_bounded() -> None:
    config = toy_config()
    late = NOW + timedelta(minutes=20)
    assert asked_window(config, now=late) == Window(NOW - 7 * DAY, NOW + HOUR)
    assert asked_window(config, lookback=HOUR, now=NOW) == Window(NOW - HOUR, NOW)
    assert asked_window(config, since=NOW - DAY, until=NOW, now=late) == Window(NOW - DAY, NOW)
    wrong: list[dict[str, Any]] = [
        {"since": NOW, "until": NOW},
        {"since": NOW - 367 * DAY},
        {"lookback": 367 * DAY},
        {"lookback": timedelta(0)},
        {"since": NOW - DAY, "lookback": DAY},
    ]
    for each in wrong:
        with pytest.raises(BadRequest, match=r"since|lookback"):
            asked_window(config, now=NOW, **each)
