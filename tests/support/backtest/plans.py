"""A toy model with a past, and the plan of a backtest of it."""

from __future__ import annotations

from keel.backtest.plan import Plan
from keel.backtest.policies import choose_policies
from tests.support.toy import toy_config

SPAN = {"start": "2026-02-05", "end": "2026-03-02", "every": "5d"}
"""Twenty-five days, and the relation turns round after ten: a label takes a day."""


def past_config(**changes):
    """Return the toy model with a short training, on the pipeline that offers a past."""
    retrain = {"pipeline": "tests.support.pipelines.past", "window": "20d", "holdout": "3d", "min_rows": 200}
    return toy_config(**{"retrain": retrain, "check": {"schedule": None, "lookback": "3d"}, **changes})


def plan_of(*policies, config=None, changed=(), **span):
    """Return a plan of policies as the command line names them."""
    chosen = choose_policies(policies or ("default", "never"), changed)
    return Plan.of(config or past_config(), policies=chosen, **{**SPAN, **span})
