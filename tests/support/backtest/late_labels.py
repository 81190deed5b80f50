"""A log of the toy model whose labels come later than the label delay says."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa

from tests.support.backtest.plans import past_config
from tests.support.toy import toy_rows

LATE = timedelta(days=3)
"""From a row to its label; the label delay is a day."""


def log_late_labels(store):
    """Log an hourly row of the whole span, and later its label. Returns the rows."""
    config = past_config()
    log = store.predictions(config.model, dict(config.features), target="binary")
    rows = toy_rows(days=60, per_hour=1)
    log.append(rows.drop_columns(["label"]))
    observed = pa.array([time.as_py() + LATE for time in rows["time"]], pa.timestamp("us", "UTC"))
    log.add_labels(pa.table({"id": rows["id"], "label": rows["label"], "observed_at": observed}))
    return rows
