"""Mistakes that tools of this kind have made, one test each (see docs/statistics.md)."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import chisquare, wasserstein_distance

from keel import DriftConfig, ReferenceGrid, detect
from keel.stats.drift.chi_square import chi_square
from keel.stats.drift.psi import psi

if TYPE_CHECKING:
    from keel.monitoring.drift import DriftReport


def compare(reference: dict[str, object], window: dict[str, object], kind: str, **config: float) -> DriftReport:
    grid = ReferenceGrid.fit(pa.table(reference), dict.fromkeys(reference, kind))
    return detect(grid, grid.count(pa.table(window)), DriftConfig(**{"min_rows": 10, **config}))


@pytest.mark.parametrize("categories", [5, 10, 30])
def test_chi_square_includes_the_sampling_error_of_the_reference(categories: int) -> None:
    rng = np.random.default_rng(0)
    shares = np.full(categories, 1 / categories)
    trials, ours, exact = 600, 0, 0
    for _ in range(trials):
        r, c = rng.multinomial(5000, shares), rng.multinomial(5000, shares)
        ours += chi_square(np.append(r, 0), np.append(c, 0), rng=rng, resamples=99)[1] <= 0.05
        exact += chisquare(c, r).pvalue <= 0.05
    assert ours / trials <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)
    assert exact / trials > 0.2, "the trap itself: the reference's shares taken for exact"


def test_one_unseen_category_is_neither_infinite_nor_a_crash() -> None:
    rng = np.random.default_rng(0)
    window = rng.choice(["a", "b"], 1000).astype(object)
    window[0] = "never seen"
    report = compare({"c": rng.choice(["a", "b"], 5000)}, {"c": window}, "categorical")
    column = report.column("c")
    assert column.status == "ok"
    assert math.isfinite(column.measured.measures["chi_square"]["statistic"])
    assert column.measured.p_value is not None
    assert column.measured.p_value > 0.01
    assert column.measured.current.other == 1


def test_empty_bin_does_not_decide_psi() -> None:
    rng = np.random.default_rng(0)
    ours, floored = [], []
    for _ in range(200):
        r, c = rng.multinomial(5000, [0.1] * 10), rng.multinomial(20, [0.1] * 10)
        ours.append(psi(r, c))
        p, q = np.maximum(r / 5000, 1e-4), np.maximum(c / 20, 1e-4)
        floored.append(float(np.sum((q - p) * np.log(q / p))))
    assert np.median(ours) < 0.6 < np.median(floored)
    change = psi(np.r_[np.full(10, 500)], np.r_[0, np.full(9, 500)]) - psi(np.full(10, 500), np.r_[1, np.full(9, 500)])
    assert abs(change) < 0.15, "one row more or less in a bin must not move the index far"


def test_one_outlier_does_not_hide_a_shift() -> None:
    rng = np.random.default_rng(0)
    x, moved = rng.normal(size=5000), rng.normal(size=2000) + 1.0
    without = compare({"x": x}, {"x": moved}, "numeric").column("x")
    for reference, window in ((x, np.r_[moved, 1e6]), (np.r_[x, 1e6], moved), (np.r_[x, -1e12], np.r_[moved, 1e6])):
        column = compare({"x": reference}, {"x": window}, "numeric").column("x")
        assert column.status == "drift"
        assert column.measured.excess == pytest.approx(without.measured.excess, rel=0.02)


def test_jensen_shannon_states_its_base() -> None:
    report = compare({"x": np.zeros(500)}, {"x": np.ones(500)}, "numeric")
    assert report.column("x").measured.measures["jensen_shannon"]["value"] == 1.0, "base 2: the greatest distance is 1"


@pytest.mark.parametrize("scale", [1e-300, 1e-5, 1.0, 1e6, 1e300])
def test_wasserstein_does_not_depend_on_the_unit(scale: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=5000)
    report = compare({"x": x * scale}, {"x": (x[:2000] + 5) * scale}, "numeric")
    assert report.column("x").measured.measures["wasserstein"]["value"] == pytest.approx(5 / 1.35, rel=0.05)


def test_windows_of_the_size_of_a_chunk_keep_the_stated_level() -> None:
    """Thresholds from ten chunks of the reference alarm on 4–6% of chunks *per column*; a test has its level."""
    rng = np.random.default_rng(0)
    names = [f"x{i}" for i in range(8)]
    grid = ReferenceGrid.fit(pa.table({n: rng.normal(size=5000) for n in names}), dict.fromkeys(names, "numeric"))
    trials = 300
    alarms = significant = 0
    for _ in range(trials):
        report = detect(grid, grid.count(pa.table({n: rng.normal(size=500) for n in names})), DriftConfig())
        alarms += report.status != "ok"
        significant += any(q <= 0.05 for column in report.columns for q in column.q_values.values())
    bound = 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)
    assert alarms / trials <= bound
    assert significant / trials <= bound, "also before asking whether it is material"


def test_bad_columns_do_not_prevent_the_report_of_the_others() -> None:
    rng = np.random.default_rng(0)
    good = {"good": rng.normal(size=1000)}
    reference = {**good, "constant": np.ones(1000), "missing": np.full(1000, np.nan), "typed": rng.normal(size=1000)}
    window = {**good, "constant": np.ones(1000), "missing": np.full(1000, np.nan), "typed": ["word"] * 1000}
    report = compare(reference, window, "numeric")
    assert {c.name: str(c.status) for c in report.columns} == {
        "good": "ok",
        "constant": "constant",
        "missing": "all_missing",
        "typed": "type_changed",
    }
    json.dumps(report.to_dict(), allow_nan=False)
    nothing = compare(reference, {name: np.zeros(0) for name in reference}, "numeric")
    assert nothing.status == "insufficient"


def test_simulated_p_value_is_never_zero_and_the_global_generator_is_left_alone() -> None:
    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]  # noqa: NPY002
    table = {"x": np.r_[np.zeros(990), np.ones(10)]}
    column = compare(table, {"x": np.r_[np.zeros(25), np.ones(25)]}, "numeric").column("x")
    assert 0 < (column.measured.p_value or 0) < 0.01
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index, union-attr]  # noqa: NPY002


def test_window_between_two_atoms_has_drifted() -> None:
    rng = np.random.default_rng(0)
    column = compare({"x": rng.integers(0, 2, 5000).astype(float)}, {"x": np.full(500, 0.9)}, "numeric").column("x")
    assert column.status == "drift"
    assert column.measured.measures["ks"]["statistic"] == pytest.approx(0.5, abs=0.02)


def test_window_just_below_an_atom_has_drifted() -> None:
    reference = np.r_[np.zeros(2500), np.ones(2500)]
    window = np.r_[np.zeros(500), np.full(500, 1 - 1e-6)]
    assert compare({"x": reference}, {"x": window}, "numeric").column("x").status == "drift"


@pytest.mark.parametrize("back", [False, True], ids=["asked as float32", "trained as float32"])
@pytest.mark.parametrize("prices", [[0.99, 1.99, 4.95, 9.95, 19.9], [0.0, -1e-9, 9_999.99, 10_000.0, 20_000.01]])
def test_window_one_rounding_beside_an_atom_has_not_drifted(prices: list[float], back: bool) -> None:
    exact = np.random.default_rng(0).choice(prices, 5000)
    rounded = exact.astype(np.float32).astype(np.float64)
    assert (rounded != exact).mean() > 0.5
    reference, window = (rounded, exact) if back else (exact, rounded)
    report = compare({"x": reference}, {"x": window}, "numeric")
    measures = report.column("x").measured.measures
    assert report.status == "ok"
    assert (measures["ks"]["statistic"], measures["psi"]["value"]) == (0.0, 0.0)
    scale = ReferenceGrid.fit(pa.table({"x": reference}), {"x": "numeric"}).column("x").scale
    assert measures["wasserstein"]["value"] == pytest.approx(wasserstein_distance(reference, window) / scale, abs=0.005)


def test_reference_of_float32_and_float64_rows_has_each_atom_once() -> None:
    rng = np.random.default_rng(0)
    exact = rng.choice(np.arange(1, 801) / 100, 20_000)
    mixed = np.where(rng.random(20_000) < 0.5, exact, exact.astype(np.float32))
    assert len(ReferenceGrid.fit(pa.table({"x": mixed}), {"x": "numeric"}).column("x").knots) == 800
    for window in (exact, exact.astype(np.float32)):
        assert compare({"x": mixed}, {"x": window}, "numeric").status == "ok"


def test_scores_that_differ_by_the_order_of_addition_have_not_drifted() -> None:
    """A batch may add up the trees of a forest in another order than a single row."""
    leaves = np.random.default_rng(0).choice([0.1, 0.2, 0.7], 5000)
    one_way, other_way = (leaves + 0.3) + 0.6, leaves + (0.3 + 0.6)
    assert (one_way != other_way).all()
    assert compare({"x": one_way}, {"x": other_way}, "numeric").status == "ok"


@pytest.mark.parametrize("step", [1.0, 100.0])
def test_column_finer_than_float32_is_counted_exactly(step: float) -> None:
    """Ten-digit codes: the reference has the even ones, the window the odd ones between them."""
    codes = 2e9 + step * np.random.default_rng(0).integers(0, 5, 5000)
    assert compare({"x": codes}, {"x": codes}, "numeric").status == "ok"
    assert compare({"x": codes}, {"x": codes + step / 2}, "numeric").status == "drift"


@pytest.mark.slow
def test_two_hundred_columns_do_not_alarm_every_day() -> None:
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(200)]
    grid = ReferenceGrid.fit(
        pa.table({n: rng.choice(list("abc"), 2000) for n in names}), dict.fromkeys(names, "categorical")
    )
    alarms = sum(
        detect(
            grid, grid.count(pa.table({n: rng.choice(list("abc"), 100) for n in names})), DriftConfig(min_rows=50)
        ).status
        != "ok"
        for _ in range(20)
    )
    assert alarms <= 4


@pytest.mark.parametrize("share", [0.05, 0.10, 0.14, 0.16, 0.40])
def test_rows_off_a_frequent_value_that_move_have_drifted(share: float) -> None:
    """Quantile bins that collapse on the zeros leave one bin for all claims, in which nothing can move."""
    rng = np.random.default_rng(7)

    def claims(low: float, rows: int) -> np.ndarray:
        return np.where(rng.random(rows) < share, rng.uniform(low, 1000, rows), 0.0)

    report = compare({"claims": claims(0, 20_000)}, {"claims": claims(800, 20_000)}, "numeric")
    assert report.column("claims").severity == "drift"
    assert report.status == "drift"
    assert compare({"claims": claims(0, 20_000)}, {"claims": claims(0, 20_000)}, "numeric").status == "ok"


def test_few_rows_off_a_frequent_value_that_move_only_warn() -> None:
    rng = np.random.default_rng(7)
    reference = np.where(rng.random(50_000) < 0.01, rng.uniform(0, 1000, 50_000), 0.0)
    window = np.where(rng.random(50_000) < 0.01, rng.uniform(800, 1000, 50_000), 0.0)
    column = compare({"x": reference}, {"x": window}, "numeric").column("x")
    assert (column.status, column.severity) == ("warn", "warn")
    assert column.to_dict()["measures"]["off_atoms"]["q_value"] < 1e-9
