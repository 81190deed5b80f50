"""From counts to charts: nothing is lost, drift is seen, and a chart says no more than the counts know."""

from __future__ import annotations

import math

import numpy as np
import pytest

from keel.grid.column_grid import fit_categorical, fit_numeric
from keel.grid.counts import ColumnCounts
from keel.grid.kernel import count_column
from keel.grid.reference import ReferenceGrid
from keel.reports.charts.specs import Bar, Categories, Histogram
from keel.reports.charts.svg import draw
from keel.reports.distributions import MOST_CATEGORIES, distribution, distributions

RNG = np.random.default_rng(12)
NORMAL = RNG.normal(0, 1, 5000)
HEAVY = RNG.standard_cauchy(4000)
AMOUNTS = RNG.lognormal(5, 1.5, 4000)


def histogram(reference: object, current: object) -> Histogram:
    reference, current = np.asarray(reference, dtype=float), np.asarray(current, dtype=float)
    grid = fit_numeric("x", reference)
    chart = distribution(grid, count_column(grid, reference, len(reference)), count_column(grid, current, len(current)))
    assert isinstance(chart, Histogram)
    check_sums(chart, len(current))
    return chart


def categories(reference: list[str | None], current: list[str | None]) -> Categories:
    before, now = np.array(reference, dtype=object), np.array(current, dtype=object)
    grid = fit_categorical("x", before)
    chart = distribution(grid, count_column(grid, before, len(before)), count_column(grid, now, len(now)))
    assert isinstance(chart, Categories)
    for side in ("reference", "current"):
        assert sum(getattr(bar, side) for bar in (*chart.bars, *chart.tails)) == pytest.approx(1)
    return chart


def check_sums(chart: Histogram, rows: int) -> None:
    """All rows of both sides are in the chart, and its edges are usable."""
    beside = [bar for bar in (chart.below, chart.above, *chart.tails) if bar is not None]
    for side, n in (("reference", 1), ("current", rows)):
        bins = getattr(chart, side)
        assert min(bins, default=0.0) >= 0
        assert len(bins) == max(len(chart.edges) - 1, 0)
        assert sum(bins) + sum(getattr(bar, side) for bar in beside) == pytest.approx(1 if n else 0)
    assert all(a < b for a, b in zip(chart.edges, chart.edges[1:], strict=False))
    assert all(map(math.isfinite, chart.edges))
    assert "no values" not in draw(chart, description="")


def bin_of(chart: Histogram, value: float) -> int:
    return int(np.searchsorted(chart.edges, value, "right")) - 1


KINDS = {
    "normal": lambda rng, n: rng.normal(rng.uniform(-5, 5), rng.uniform(0.1, 5), n),
    "amounts": lambda rng, n: rng.lognormal(rng.uniform(0, 5), rng.uniform(0.1, 3), n),
    "zeros": lambda rng, n: np.where(rng.random(n) < 0.6, 0.0, rng.lognormal(3, 1.5, n)),
    "counts": lambda rng, n: rng.poisson(rng.uniform(0.1, 300), n),
    "lattice": lambda rng, n: np.round(rng.gamma(3, 5, n)) * 1.15078,
    "codes": lambda rng, n: rng.choice([1.0, 7.0, 99.0, 1e6], n),
    "heavy": lambda rng, n: rng.standard_cauchy(n) * 10.0 ** rng.integers(-300, 300),
    "constant": lambda rng, n: np.full(n, rng.normal()),
    "huge": lambda rng, n: rng.uniform(-1, 1, n) * 1.7e308,
    "epoch": lambda rng, n: 1.6e9 + rng.random(n) * 10.0 ** rng.integers(-6, 8),
}


@pytest.mark.parametrize("seed", range(60))
def test_distribution_of_any_two_columns_keeps_every_row(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = list(KINDS)
    before = KINDS[names[seed % len(names)]](rng, int(rng.integers(1, 3000))).astype(float)
    now = KINDS[names[rng.integers(len(names))]](rng, int(rng.integers(1, 300))).astype(float)
    if seed % 3 == 0:
        now[rng.random(len(now)) < 0.2] = rng.choice([np.nan, np.inf, -np.inf])
    histogram(before, now)


def test_histogram_bins_have_equal_width_and_round_edges() -> None:
    chart = histogram(NORMAL, NORMAL)
    widths = np.diff(chart.edges)
    assert 12 <= len(widths) <= 32
    assert widths == pytest.approx(np.full(len(widths), widths[0]))
    assert all(float(f"{edge:.6g}") == pytest.approx(edge) for edge in chart.edges)


def test_histogram_of_quantile_knots_is_near_the_histogram_of_the_rows() -> None:
    chart = histogram(NORMAL, NORMAL + 0.5)
    exact = np.histogram(NORMAL + 0.5, chart.edges)[0] / len(NORMAL)
    assert np.abs(np.array(chart.current) - exact).max() < 0.01


def test_histogram_shift_by_ten_deviations_is_seen_beside_the_reference() -> None:
    chart = histogram(NORMAL, NORMAL + 10)
    assert chart.reference is not None
    assert sum(share > 0.01 for share in chart.reference) >= 4
    assert sum(share > 0.01 for share in chart.current) >= 4
    assert chart.edges[-1] >= max(NORMAL) + 10
    assert sum(chart.current[bin_of(chart, 4.0) :]) > 0.9
    assert chart.shape == pytest.approx((min(NORMAL), max(NORMAL)))


def test_histogram_window_in_other_units_is_seen_on_a_logarithmic_axis() -> None:
    chart = histogram(RNG.normal(20, 5, 3000).clip(1), RNG.normal(2000, 500, 500).clip(100))
    assert chart.scale == "log"
    assert sum(share > 0.01 for share in chart.reference or ()) >= 4
    assert sum(chart.current[bin_of(chart, 50) :]) > 0.8


def test_histogram_window_too_far_for_any_axis_is_counted_beside_the_bins_with_its_extreme() -> None:
    chart = histogram(NORMAL, np.full(100, 1e9))
    assert chart.above is not None
    assert chart.above.current == pytest.approx(1)
    assert chart.above.label.endswith("(to 10⁹)")
    assert sum(share > 0.01 for share in chart.reference or ()) >= 10


def test_histogram_one_outlier_does_not_squeeze_the_rest() -> None:
    before = np.r_[NORMAL, 1e6]
    chart = histogram(before, np.r_[NORMAL, -1e9])
    assert sum(share > 0.01 for share in chart.reference or ()) >= 10
    assert chart.below is not None
    assert chart.below.current == pytest.approx(1 / len(before), abs=1e-3)
    assert chart.below.current > 0


def test_histogram_heavy_tails_leave_the_middle_its_space() -> None:
    chart = histogram(HEAVY, HEAVY)
    assert sum(share > 0.01 for share in chart.current) >= 6
    assert chart.below is not None
    assert chart.above is not None


def test_histogram_skewed_positive_values_have_a_logarithmic_axis() -> None:
    chart = histogram(AMOUNTS, AMOUNTS * 2)
    factors = np.array(chart.edges[1:]) / np.array(chart.edges[:-1])
    assert chart.scale == "log"
    assert factors == pytest.approx(np.full(len(factors), factors[0]))


def test_histogram_zeros_beside_skewed_values_have_a_bar_of_their_own() -> None:
    zeros = np.r_[np.zeros(800), AMOUNTS[:800]]
    chart = histogram(zeros, AMOUNTS[:800])
    assert chart.scale == "log"
    assert chart.below == Bar("0", 0.5, 0.0)
    less = histogram(zeros, np.r_[AMOUNTS[:800], [1e-3] * 200]).below
    assert less is not None
    assert less.label.startswith("0 to ")
    assert less.current == 0.2


@pytest.mark.parametrize("values", [NORMAL, NORMAL - 100, RNG.uniform(1, 50, 1000), -AMOUNTS], ids=range(4))
def test_histogram_other_values_have_a_linear_axis(values: np.ndarray) -> None:
    assert histogram(values, values).scale == "linear"


def test_histogram_lattice_has_as_many_values_in_each_bin() -> None:
    ages = np.tile(np.arange(18, 90), 50)
    chart = histogram(ages, ages)
    assert chart.reference is not None
    assert np.ptp(chart.reference[:-1]) == pytest.approx(0)
    assert chart.edges[0] == 17.5


def test_histogram_new_value_of_a_lattice_has_its_own_bin() -> None:
    years = np.tile(np.arange(2000, 2020), 100)
    chart = histogram(years, np.full(2000, 2021))
    assert chart.current[-2:] == (0.5, 0.5)
    assert chart.current[-3] == 0
    assert chart.edges[-1] == 2021.5


@pytest.mark.parametrize(
    ("before", "now", "labels", "shares"),
    [
        ([0, 1, 1, 1] * 9, [0, 0, 1, 1], ("0", "1"), (0.5, 0.5)),
        ([5] * 30, [5, 5], ("5",), (1.0,)),
        ([1, 7, 99] * 9, [1, 7, 3, 99], ("1", "1 to 7", "7", "99"), (0.25, 0.25, 0.25, 0.25)),
        ([100001, 100002] * 9, [100001], ("100001", "100002"), (1.0, 0.0)),
    ],
)
def test_histogram_few_values_are_a_bar_each(
    before: list[float], now: list[float], labels: tuple[str, ...], shares: tuple[float, ...]
) -> None:
    chart = histogram(before, now)
    assert chart.labels == labels
    assert chart.current == shares


def test_histogram_values_outside_few_ones_are_counted_beside_them() -> None:
    chart = histogram([0, 1] * 9, [0, 1, 2, 5, -3])
    assert chart.above == Bar("> 1 (to 5)", 0.0, 0.4)
    assert chart.below == Bar("< 0 (from −3)", 0.0, 0.2)


def test_histogram_tower_makes_the_shares_logarithmic_only_where_a_rest_is_worth_it() -> None:
    rest = np.arange(1, 61)
    assert histogram(np.r_[np.zeros(3000), rest], np.zeros(10)).log_shares
    assert not histogram(np.r_[np.zeros(300_000), rest], np.zeros(10)).log_shares
    assert not histogram(NORMAL, NORMAL).log_shares


def test_histogram_tails_are_named_and_only_those_that_occur() -> None:
    grid = fit_numeric("x", NORMAL)
    before = count_column(grid, NORMAL, len(NORMAL))
    now = ColumnCounts(
        "numeric", before.cells, missing=2500, neg_inf=500, pos_inf=500, invalid=1000, absent=500, minimum=0, maximum=0
    )
    chart = distribution(grid, before, now)
    assert chart.tails == (
        Bar("missing", 0.0, 0.25),
        Bar("infinite", 0.0, 0.1),
        Bar("invalid", 0.0, 0.1),
        Bar("absent", 0.0, 0.05),
    )
    assert distribution(grid, before, before).tails == ()


def test_histogram_all_missing_shows_the_reference_and_one_bar() -> None:
    chart = histogram(NORMAL, [np.nan] * 50)
    assert chart.tails == (Bar("missing", 0.0, 1.0),)
    assert sum(chart.current) == 0


@pytest.mark.parametrize("now", [[3.0, 4.0], [3.0], [np.inf]])
def test_histogram_reference_without_numbers_shows_the_range_of_the_window(now: list[float]) -> None:
    grid = fit_numeric("x", np.full(9, np.nan))
    chart = distribution(grid, count_column(grid, np.full(9, np.nan), 9), count_column(grid, np.array(now), len(now)))
    assert isinstance(chart, Histogram)
    assert chart.tails[0] == Bar("missing", 1.0, 0.0)
    assert chart.edges == ((3.0, 4.0) if len(now) == 2 else (-0.5, 0.5) if now == [3.0] else ())


def test_distribution_window_without_rows_is_the_reference_alone() -> None:
    grid = fit_numeric("x", NORMAL)
    chart = distribution(
        grid, count_column(grid, NORMAL, len(NORMAL)), ColumnCounts("numeric", np.zeros(grid.size, int))
    )
    assert isinstance(chart, Histogram)
    assert not any(chart.current)
    assert sum(chart.reference or ()) == pytest.approx(1)


def test_distribution_without_a_reference_is_the_window_alone() -> None:
    for grid, values in ((fit_numeric("x", NORMAL), NORMAL), (fit_numeric("x", np.ones(9)), np.ones(9))):
        chart = distribution(grid, None, count_column(grid, values, len(values)))
        assert isinstance(chart, Histogram)
        assert chart.reference is None
        assert sum(chart.current) == pytest.approx(1)
    names = fit_categorical("x", np.array(["a", "b"]))
    chart = distribution(names, None, count_column(names, np.array(["a", "c"]), 2))
    assert [(bar.reference, bar.current) for bar in (*chart.bars, *chart.tails)] == [
        (None, 0.5),
        (None, 0),
        (None, 0.5),
    ]


def test_histogram_medians_are_those_of_the_rows_or_not_known() -> None:
    chart = histogram(AMOUNTS, AMOUNTS * 1.5)
    assert chart.medians == pytest.approx((np.median(AMOUNTS), np.median(AMOUNTS) * 1.5), rel=0.02)
    assert histogram([0, 1, 1, 5] * 9, [5, 5, 0]).medians == (1.0, 5.0)
    beyond = histogram(NORMAL, NORMAL + 10)
    assert beyond.medians == (pytest.approx(np.median(NORMAL), abs=0.01), None)
    assert beyond.outside == pytest.approx((0.0, np.mean(max(NORMAL) < NORMAL + 10)))
    assert histogram(NORMAL, [np.nan]).medians[1] is None


def test_categories_are_the_most_frequent_of_either_side_in_the_order_of_the_reference() -> None:
    before = [name for i, name in enumerate("abcdefghijklmnopqrst") for _ in range(30 - i)]
    now = ["t"] * 50 + ["a"] * 10
    chart = categories(before, now)
    names = [bar.label for bar in chart.bars]
    assert names == [*"abcdefghijk", "t", "8 others"]
    assert len(names) == MOST_CATEGORIES + 1


def test_categories_one_more_than_most_is_named() -> None:
    names = [f"c{i:02}" for i in range(MOST_CATEGORIES + 1)]
    assert [bar.label for bar in categories(names, names).bars] == names


def test_categories_unseen_missing_and_empty_names_are_said() -> None:
    chart = categories(["a"] * 5 + [""] * 5, ["b", None, "a", ""])
    assert [bar.label for bar in chart.bars] == ["(empty)", "a"]
    assert [(bar.label, bar.reference, bar.current) for bar in chart.tails] == [
        ("unseen", 0, 0.25),
        ("missing", 0, 0.25),
    ]


def test_categories_beyond_the_vocabulary_are_rare_or_unseen() -> None:
    before = [f"c{i}" for i in range(1500)]
    chart = categories(before, ["c0", "new"])
    assert chart.tails[0].label == "rare or unseen"
    assert chart.tails[0].reference == pytest.approx(1 / 3)


def test_categories_name_of_a_megabyte_is_cut() -> None:
    chart = categories(["x" * 1_000_000, "b"], ["b", "b"])
    assert max(len(bar.label) for bar in chart.bars) == 201


def test_distributions_draws_the_columns_that_are_asked_for() -> None:
    import pandas as pd

    frame = pd.DataFrame({"temp": NORMAL, "carrier": ["UA", "DL"] * 2500})
    grid = ReferenceGrid.fit(frame, {"temp": "numeric", "carrier": "categorical"})
    counts = grid.count(frame)
    assert list(distributions(grid, counts)) == ["temp", "carrier"]
    drawn = distributions(grid, counts, names=["temp"])
    assert list(drawn) == ["temp"]
    with pytest.raises(KeyError):
        distributions(grid, counts, names=["wind"])
