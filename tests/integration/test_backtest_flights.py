"""A backtest of the example model decides as the demo does, whose numbers the README shows."""

from __future__ import annotations

import re

import pytest

from keel.backtest.plan import Plan
from keel.backtest.policies import choose_policies
from keel.backtest.run import run_backtest
from keel.config import get_model
from tests.support.paths import PROJECT


@pytest.mark.slow
def test_backtest_of_the_demos_months_gives_the_demos_verdicts_and_bounds(tmp_path):
    plan = Plan.of(
        get_model("flight_delay"),
        start="2013-04-01",
        end="2013-07-01",
        every="month",
        policies=choose_policies(["default"]),
    )
    [default] = run_backtest(plan, home=tmp_path, store_url=None).result.policies
    may, june, july = default.steps
    assert (may.comparison.verdict, round(may.comparison.lower_bound, 4)) == ("fail", -0.0046)
    assert june.comparison is None
    assert (july.comparison.verdict, july.promoted) == ("pass", 3)
    told = " ".join((PROJECT / "README.md").read_text().split())
    assert (
        f"The improvement is {july.comparison.improvement:+.4f}, its lower bound {july.comparison.lower_bound:+.4f}"
        in told
    )
    assert re.search(rf"Holdout of 2013-06-09 to 2013-06-30, {july.comparison.n:,} rows", told)
    assert july.sentence.split(";")[0] in told
