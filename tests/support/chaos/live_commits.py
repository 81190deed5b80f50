"""A state of live monitors to commit."""

from __future__ import annotations

from datetime import timedelta

from keel.store.live import StoredMonitors
from tests.support.store_fixtures import NOON

HOUR = timedelta(hours=1)
STATE = StoredMonitors(
    model="m", version=3, generation=7, started_at=NOON, predictions_until=500, labels_until=450,
    rows=300, seen_until=NOON + HOUR, last_block_at=NOON + 2 * HOUR, state=b"\x00state\xff",
    updated_at=NOON + 2 * HOUR,
)  # fmt: skip
