"""A pipeline with a past: the toy model's relation turns round on day 45 of 60."""

from __future__ import annotations

import pyarrow as pa

from tests.support.pipelines.toy import build
from tests.support.toy import DAY, START, toy_rows

__all__ = ["build", "labelled_history"]

TURN = START + 45 * DAY
PER_HOUR = 5


def labelled_history(config):
    before = toy_rows(days=45, per_hour=PER_HOUR)
    after = toy_rows(TURN, days=15, per_hour=PER_HOUR, flip=True, seed=1)
    return pa.concat_tables([before, after])
