"""The reference of the live monitors: contexts, bins, and rows on them."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from keel.errors import SchemaError
from keel.grid.bins import TAIL, WIDTH, bin_column
from keel.grid.column_grid import ColumnGrid
from keel.grid.context_values import Contexts, most_frequent
from keel.grid.contexts import ContextReference
from keel.grid.reference import ReferenceGrid
from keel.stats.sequential.conformal import ConformalRanks

MONDAY = 1_704_067_200_000_000
DAY = 86_400_000_000


def hourly(n):
    """Times of n rows, an hour apart, from a Monday on."""
    return pa.array(MONDAY + 3_600_000_000 * np.arange(n)).cast(pa.timestamp("us", "UTC"))


def rows(n=2400, seed=0, **columns):
    """Rows whose x follows the hour of the day, with a category and an output."""
    rng = np.random.default_rng(seed)
    table = {
        "time": hourly(n),
        "x": 10.0 * (np.arange(n) % 24) + rng.standard_normal(n),
        "c": rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1]),
        "score": rng.random(n),
    }
    return pa.table({**table, **columns})


KINDS = {"x": "numeric", "c": "categorical"}


def grid_of(table, kinds=KINDS, **more):
    return ReferenceGrid.fit(table, kinds, **more)


def fitted(table, context=(), kinds=KINDS):
    return ContextReference.fit(grid_of(table, kinds), table, context=context)


def test_bins_by_hour_hold_about_equal_parts_of_each_hour():
    table = rows(24 * 1600)
    reference = fitted(table, ["hour"])
    assert reference.labels == (*(f"hour {h:02d}" for h in range(24)), "other")
    bins, context = reference.assign(table)
    np.testing.assert_array_equal(context, np.arange(24 * 1600) % 24)
    of_x = bins[reference.names.index("x")]
    for hour in (0, 7, 23):
        share = np.bincount(of_x[context == hour], minlength=WIDTH) / 1600
        assert share[:TAIL] == pytest.approx(0.05, abs=0.04)
        assert share[TAIL] == 0


def test_counts_leave_out_the_rows_that_chose_the_bins():
    reference = fitted(rows(2000), ["weekday"])
    assert reference.counts.shape == (2, 8, WIDTH)
    of_x, of_c = reference.counts.sum(axis=2)
    assert of_x.tolist() == of_c.tolist()
    assert 1400 < of_x.sum() < 1600
    assert of_x[:-1] == pytest.approx(2000 / 7 * 0.75, rel=0.15)
    assert of_x[-1] == 0


def test_outputs_are_counted_on_the_holdout():
    table, holdout = rows(2000), rows(500, seed=1)
    grid = grid_of(table, holdout=holdout, outputs={"score": "numeric"})
    reference = ContextReference.fit(grid, table, holdout=holdout)
    assert reference.names == ("x", "c", "score")
    assert reference.labels == ("all",)
    n_x, n_c, n_score = reference.counts.sum(axis=(1, 2))
    assert n_x == n_c == pytest.approx(1500, abs=100)
    assert n_score == pytest.approx(375, abs=50)


def test_context_that_is_a_feature_is_not_monitored_and_comes_before_the_hour_of_the_time():
    table = rows(hour=pa.array(np.arange(2400) % 3), c=np.where(np.arange(2400) % 2, "odd", "even"))
    kinds = {"x": "numeric", "hour": "numeric", "c": "categorical"}
    reference = fitted(table, ["hour", "c"], kinds)
    assert reference.names == ("x",)
    assert reference.labels[:2] == ("hour 0 · c even", "hour 0 · c odd")
    assert len(reference.labels) == 7
    _, context = reference.assign(table)
    assert set(context[:6].tolist()) == set(range(6))


@pytest.mark.parametrize(
    ("value", "label"),
    [("a", "c a"), ("never seen", "other"), (None, "c missing"), ("other", "other")],
)
def test_context_of_a_value_is_itself_missing_or_other(value, label):
    c = np.array(["a", "b", None], dtype=object)[np.arange(2400) % 3]
    reference = fitted(rows(c=pa.array(c)), ["c"])
    _, context = reference.assign(rows(1, c=pa.array([value], pa.string())))
    assert reference.labels[context[0]] == label


def test_null_context_that_the_reference_never_had_is_other():
    reference = fitted(rows(), ["c"])
    _, context = reference.assign(rows(1, c=pa.array([None], pa.string())))
    assert reference.labels[context[0]] == "other"
    _, context = reference.assign(rows(2).drop_columns(["c", "time"]))
    assert {reference.labels[i] for i in context} == {"other"}


def test_context_with_too_many_values_keeps_the_most_frequent_and_says_so():
    c = np.r_[np.arange(1000) % 200, 1000 + np.arange(300)].astype(str)
    reference = fitted(rows(1300, c=c), ["c"])
    assert len(reference.labels) == 201
    [said] = reference.remarks
    assert "c has 500 values" in said
    assert "at most 200" in said
    _, context = reference.assign(rows(2, c=np.array(["7", "1007"])))
    assert [reference.labels[i] for i in context] == ["c 7", "other"]


def test_times_without_a_reference_row_are_contexts_of_their_own_as_far_as_all_fit_and_else_it_says_so():
    working_hours = pa.array(MONDAY + 3_600_000_000 * (np.arange(2400) % 8)).cast(pa.timestamp("us", "UTC"))
    at_night = pa.array([MONDAY + 23 * 3_600_000_000]).cast(pa.timestamp("us", "UTC"))
    for values, known, label in ((8, 8 * 24, "c 3 · hour 23"), (9, 9 * 8, "other")):
        table = rows(time=working_hours, c=(np.arange(2400) // 8 % values).astype(str))
        reference = fitted(table, ["c", "hour"])
        assert len(reference.labels) == known + 1
        _, [context] = reference.assign(rows(1, time=at_night, c=np.array(["3"])))
        assert reference.labels[context] == label
        assert (label == "other") == any("c and hour have 216 combinations" in said for said in reference.remarks)


def test_contexts_of_more_combinations_than_fit_are_found_in_little_memory():
    contexts = Contexts.named(("a", "b", "hour", "weekday"), dict.fromkeys("ab", a_thousand_categories()))
    codes = np.random.default_rng(0).integers(0, (1000, 1000, 24, 7), (20_000, 4))
    tracemalloc.start()
    known, _ = most_frequent(contexts, codes)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(known.known) == 200
    assert peak < 20e6, "all of them at all times take 450 MB"


def a_thousand_categories():
    return ColumnGrid("a", "categorical", np.zeros(0), tuple(map(str, range(1000))))


def test_continuous_context_says_that_it_has_too_many_values():
    reference = fitted(rows(5000), ["x"])
    assert reference.names == ("c",)
    assert "at most 200" in reference.remarks[0]


def test_context_of_one_value_says_that_it_separates_no_rows():
    reference = fitted(rows(c=np.full(2400, "a")), ["c"])
    assert reference.labels == ("c a", "other")
    assert "one value in the reference (c a)" in reference.remarks[0]


@pytest.mark.parametrize("values", [[np.nan], [np.inf], [-np.inf], [None], ["three"]])
def test_value_without_a_rank_is_on_the_bin_of_the_tails(values):
    reference = fitted(rows(), ["hour"])
    bins, _ = reference.assign(rows(1, x=pa.array(values)))
    assert bins[0].tolist() == [TAIL]
    bins, _ = reference.assign(rows(1).drop_columns(["x"]))
    assert bins[0].tolist() == [TAIL]


def test_constant_column_has_a_bin_below_on_and_above_it():
    reference = fitted(rows(x=np.full(2400, 3.0)))
    bins, _ = reference.assign(rows(3, x=np.array([2.9, 3.0, 3.1])))
    assert bins[0].tolist() == [0, 1, 2]
    assert reference.counts[0, 0, 1] == reference.counts.sum(axis=(1, 2))[0] == pytest.approx(1800, abs=100)


def test_frequent_value_has_a_bin_of_its_own():
    rng = np.random.default_rng(0)
    x = np.where(rng.random(2400) < 0.3, 0.0, rng.standard_normal(2400))
    reference = fitted(rows(x=x))
    zero, just_above, just_below = reference.assign(rows(3, x=np.array([0.0, 1e-9, -1e-9])))[0][0].tolist()
    assert just_below < zero < just_above
    assert reference.counts[0, 0, zero] == pytest.approx(0.75 * np.count_nonzero(x == 0), rel=0.1)


def test_empty_column_has_one_bin_and_the_tails():
    reference = fitted(rows(x=pa.nulls(2400, pa.float64())), ["hour"])
    assert reference.counts[0, :, TAIL].sum() == reference.counts[0].sum()
    bins, _ = reference.assign(rows(1, x=np.array([1.0])))
    assert bins[0].tolist() == [0]


def test_rare_and_unseen_categories_share_the_last_bin():
    rng = np.random.default_rng(0)
    c = np.where(rng.random(4000) < 0.9, rng.choice(["a", "b"], 4000), rng.integers(0, 1000, 4000).astype(str))
    reference = fitted(rows(4000, c=c))
    bins, _ = reference.assign(rows(4, c=np.array(["a", "b", "999", "unseen"])))
    assert sorted(bins[1].tolist()) == [0, 1, 19, 19]
    assert reference.counts[1, 0, 19] == pytest.approx(300, rel=0.3)


def categories(rng, n):
    return rng.integers(0, 20, n).astype(str)


def numbers(rng, n):
    return rng.standard_normal(n)


def few_numbers(rng, n):
    return rng.poisson(4.0, n).astype(float)


@pytest.mark.parametrize(
    ("draw", "kind"),
    [(categories, "categorical"), (numbers, "numeric"), (few_numbers, "numeric")],
    ids=["categories", "numbers", "numbers with ties"],
)
@pytest.mark.parametrize(
    ("context", "n"),
    [(None, 1000), ((), 1000), (("hour", "weekday"), 2500)],
    ids=["by the grid alone", "by rows", "by hour and weekday"],
)
def test_ranks_of_new_rows_are_uniform_although_bins_are_values_of_the_reference(draw, kind, context, n):
    """On rows that are counted and chose the bins the mean rank is .483, by hour and weekday. None: the grid alone."""
    rng = np.random.default_rng(5)
    names = [f"x{i}" for i in range(40)]

    def drawn(n):
        times = pa.array(MONDAY + rng.integers(0, 28 * DAY, n)).cast(pa.timestamp("us", "UTC"))
        return pa.table({"time": times, **{name: draw(rng, n) for name in names}})

    found = []
    for _ in range(3):
        table = drawn(n)
        grid = grid_of(table, dict.fromkeys(names, kind))
        reference = (
            ContextReference.of_grid(grid) if context is None else ContextReference.fit(grid, table, context=context)
        )
        bins, contexts = reference.assign(drawn(200))
        ranks = ConformalRanks(reference.counts).p_values(bins, contexts, rng.random(bins.shape))
        found.append([ranks.mean(), (ranks < 0.1).mean(), (ranks > 0.9).mean()])
    mean, low, high = np.mean(found, axis=0)
    assert mean == pytest.approx(0.5, abs=0.007)
    assert (low, high) == pytest.approx((0.1, 0.1), abs=0.008)


def test_categories_that_are_equally_frequent_among_the_rows_that_choose_are_in_the_order_of_their_names():
    """The vocabulary is in the order of all rows, so it would tell which is more frequent among the counted ones."""
    grid = ColumnGrid("c", "categorical", np.zeros(0), ("z", "b", "a"))
    _, [bins] = bin_column(grid, np.array([[10, 20, 10, 0, 0, 0, 0, 0, 0]]))
    assert bins.tolist() == [2, 0, 1, 19, *5 * [TAIL]]


@pytest.mark.parametrize("n", [1, 2, 10])
def test_reference_of_a_few_rows_is_valid(n):
    table = rows(n)
    for context in ((), ("hour", "weekday"), ("c",)):
        reference = fitted(table, context)
        bins, places = reference.assign(rows(100, seed=1))
        assert bins.min() >= 0
        assert places.max() < len(reference.labels)
        assert ContextReference.from_bytes(reference.to_bytes()).counts.sum() == reference.counts.sum()


def test_rows_of_any_split_are_assigned_alike():
    reference, table = fitted(rows(), ["hour", "c"]), rows(1000, seed=2)
    bins, context = reference.assign(table)
    parts = [reference.assign(table.slice(at, 37)) for at in range(0, 1000, 37)]
    np.testing.assert_array_equal(np.hstack([part[0] for part in parts]), bins)
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), context)


@pytest.mark.parametrize("context", [(), ("hour",), ("c", "weekday"), ("k",)])
def test_saved_reference_assigns_alike(context):
    table = rows(k=pa.array(np.arange(2400) % 5 / 10))
    kinds = {**KINDS, "k": "numeric"}
    reference = fitted(table, context, kinds)
    read = ContextReference.from_bytes(reference.to_bytes())
    assert (read.names, read.labels, read.context) == (reference.names, reference.labels, context)
    assert read.to_bytes() == reference.to_bytes()
    later = rows(1000, seed=3, k=pa.array(np.arange(1000) % 6 / 10))
    for one, other in zip(read.assign(later), reference.assign(later), strict=True):
        np.testing.assert_array_equal(one, other)


def test_damaged_or_newer_archive_raises():
    data = bytearray(fitted(rows(100), ["c"]).to_bytes())
    for length in (0, 20, len(data) // 2):
        with pytest.raises(SchemaError, match="not a reference by context"):
            ContextReference.from_bytes(bytes(data[:length]))
    with pytest.raises(SchemaError, match="not a reference by context"):
        ContextReference.from_bytes(grid_of(rows(100)).to_bytes())


def test_grid_alone_gives_counts_without_contexts_and_none_with_them():
    grid = grid_of(rows(k=pa.array(np.arange(2400) % 5)), {**KINDS, "k": "numeric"})
    alone = ContextReference.of_grid(grid)
    assert alone.counts.sum(axis=(1, 2)).tolist() == [1800, 1800, 1800]
    assert not alone.remarks
    by_hour = ContextReference.of_grid(grid, ["hour", "k"])
    assert by_hour.names == ("x", "c")
    assert by_hour.counts.shape == (2, 24 * 6 + 1, WIDTH)
    assert not by_hour.counts.any()
    assert "no reference by hour and k" in by_hour.remarks[-1]
    _, context = by_hour.assign(rows(1, k=pa.array([4])))
    assert by_hour.labels[context[0]] == "hour 00 · k 4"


def test_grid_alone_without_the_feature_of_the_context_puts_all_rows_in_one():
    reference = ContextReference.of_grid(grid_of(rows()), ["carrier"])
    assert reference.labels == ("carrier missing", "other")
    assert "the version has no feature 'carrier'" in reference.remarks[0]
    assert set(reference.assign(rows(3))[1].tolist()) == {0}


def test_select_keeps_the_order_of_the_reference():
    reference = fitted(rows())
    chosen = reference.select(["c", "unknown", "x"])
    assert chosen.names == ("x", "c")
    only = reference.select(["c"])
    np.testing.assert_array_equal(only.assign(rows(5))[0][0], reference.assign(rows(5))[0][1])
    np.testing.assert_array_equal(only.counts[0], reference.counts[1])
